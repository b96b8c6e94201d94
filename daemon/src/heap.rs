//! Gives memory that is not used any more back to the system.
//!
//! glibc keeps what was freed between things that are still in use: after a burst
//! of clients that would be as much as all of them had needed, for ever. Other
//! allocators give it back by themselves.

/// Gives back what can be given. Takes 0.1 ms, and up to 10 ms if there is much.
pub(crate) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        #[expect(unsafe_code, reason = "the C library's call has no safe form")]
        // SAFETY: it takes no pointer, keeps what is allocated where it is, and may
        // be called at any time by any thread (malloc_trim(3): MT-Safe).
        let _given = unsafe { libc::malloc_trim(KEPT) };
    }
}

/// Free bytes that stay at the end of the heap, for what comes next.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT: usize = 128 * 1024;

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;

    const PIECE: usize = 4096;

    fn resident() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").expect("it is readable");
        let line = status.lines().find(|line| line.starts_with("VmRSS"));
        let size = line.and_then(|line| line.split_whitespace().nth(1));
        size.expect("a size").parse::<usize>().expect("a number") * 1024
    }

    #[test]
    fn what_was_freed_between_things_in_use_is_given_back() {
        let mut all: Vec<Option<Box<[u8]>>> = (0..16 * 1024)
            .map(|number| Some(vec![number as u8; PIECE].into()))
            .collect();
        for (number, piece) in all.iter_mut().enumerate() {
            if number % 64 != 63 {
                *piece = None;
            }
        }
        let before = resident();
        give_back();
        let given = before.saturating_sub(resident());
        assert!(
            given > all.len() * PIECE / 2,
            "{given} bytes were given back"
        );
    }
}
