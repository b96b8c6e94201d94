//! Descriptors that say when they are ready. Saves a thread, and the two changes
//! of thread that each message would cost.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::framing::Line;
use super::input::Reader;

/// What a pipe takes without blocking once it says that it is writable: POSIX
/// promises 512 bytes, Linux and macOS a page; sockets take more.
const WRITABLE: usize = if cfg!(target_os = "linux") { 4096 } else { 512 };

/// Standard input that says when it is readable.
pub(super) struct ReadyInput {
    input: AsyncFd<File>,
    reader: Reader,
}

impl ReadyInput {
    /// `None`: a plain file, which is always ready and cannot be asked.
    pub(super) fn new() -> Option<Self> {
        let input = io::stdin().as_fd().try_clone_to_owned().ok()?;
        #[expect(
            deprecated,
            reason = "the replacement is unsafe for types that could swap their descriptor; File does not"
        )]
        let input = AsyncFd::with_interest(File::from(input), Interest::READABLE).ok()?;
        Some(Self {
            input,
            reader: Reader::default(),
        })
    }

    /// Waits for the next lines; `None` at the end. Cancel safe.
    pub(super) async fn lines(&mut self) -> Option<Vec<Line>> {
        loop {
            let Ok(mut guard) = self.input.readable_mut().await else {
                return None;
            };
            // Readiness is remembered from before the last read: asks again,
            // because a read that finds nothing would block.
            if !is_ready(guard.get_inner(), PollFlags::IN) {
                guard.clear_ready();
                continue;
            }
            let lines = self.reader.read(guard.get_inner_mut())?;
            if !lines.is_empty() {
                return Some(lines);
            }
        }
    }
}

/// Whether `length` bytes can be written without blocking.
pub(super) fn takes(output: &File, length: usize) -> bool {
    length <= WRITABLE && is_ready(output, PollFlags::OUT)
}

/// Waits, on a thread, until something can be written without blocking.
pub(super) fn wait_until_writable(output: &File) -> io::Result<()> {
    match poll(&mut [PollFd::new(output, PollFlags::OUT)], None) {
        Err(error) if error != rustix::io::Errno::INTR => Err(error.into()),
        _ => Ok(()),
    }
}

fn is_ready(file: &File, wanted: PollFlags) -> bool {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut [PollFd::new(file, wanted)], Some(&now)).is_ok_and(|ready| ready > 0)
}
