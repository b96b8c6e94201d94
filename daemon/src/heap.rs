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
