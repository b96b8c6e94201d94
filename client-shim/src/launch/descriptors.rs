//! Keeps what the client left open in this process out of the daemon, which
//! outlives both: somebody may wait for the end of such a pipe.

use std::os::fd::{BorrowedFd, RawFd};

use rustix::io::{FdFlags, fcntl_setfd};

/// Lists the open descriptors of the process that reads it.
const OPEN: &str = if cfg!(target_os = "linux") {
    "/proc/self/fd"
} else {
    "/dev/fd"
};

/// Marks every descriptor but the standard streams to be closed in programs that
/// this one starts. Does nothing where the system does not list them.
pub(crate) fn keep_from_children() {
    let Ok(entries) = std::fs::read_dir(OPEN) else {
        return;
    };
    let number = |name: std::ffi::OsString| name.to_str()?.parse::<RawFd>().ok();
    let open = entries
        .flatten()
        .filter_map(|entry| number(entry.file_name()));
    // Reading the folder has a descriptor too: it is closed before the first call.
    let open: Vec<RawFd> = open.filter(|descriptor| *descriptor > 2).collect();
    for descriptor in open {
        #[expect(
            unsafe_code,
            reason = "the descriptors came from outside: no safe type holds them"
        )]
        // SAFETY: borrowed for the one call below, which neither reads, writes nor
        // closes. If another thread closed it meanwhile, the call fails; if it
        // opened another one instead, that is marked already, as all of ours are.
        let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
        // Fails only if it has been closed: then there is nothing to keep out.
        let _marked = fcntl_setfd(borrowed, FdFlags::CLOEXEC);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inherited_descriptor_is_marked() {
        let (inherited, _writer) = std::io::pipe().expect("a pipe");
        fcntl_setfd(&inherited, FdFlags::empty()).expect("unmarked");
        keep_from_children();
        let flags = rustix::io::fcntl_getfd(&inherited).expect("it is open");
        assert_eq!(flags, FdFlags::CLOEXEC);
    }
}
