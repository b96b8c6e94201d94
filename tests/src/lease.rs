//! A program that cannot be started, nor said to be none, until it is let go: as on a
//! file system that does not answer.
//!
//! By a lease (fcntl(2)): whoever opens the file waits for its holder, for as long as
//! /proc/sys/fs/lease-break-time says (45 s).

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::Path;

/// `F_SETSIG`, which the libc crate has not everywhere.
const SET_SIGNAL: libc::c_int = 10;

/// A file that nobody else can open, until it is dropped.
#[derive(Debug)]
pub struct Lease {
    file: File,
}

impl Lease {
    /// Takes one; nobody may have the file open.
    pub fn take(path: &Path) -> Self {
        let file = File::open(path).expect("the file is there");
        let lease = Self { file };
        // The usual signal would end this process.
        lease.control(SET_SIGNAL, libc::SIGURG);
        lease.control(libc::F_SETLEASE, i32::from(libc::F_WRLCK as i16));
        lease
    }

    fn control(&self, command: libc::c_int, argument: libc::c_int) {
        #[expect(unsafe_code, reason = "leases have no safe form")]
        // SAFETY: the descriptor is open, and both commands take a number.
        let done = unsafe { libc::fcntl(self.file.as_raw_fd(), command, argument) };
        let error = std::io::Error::last_os_error();
        assert_eq!(done, 0, "fcntl {command}: {error}");
    }
}
