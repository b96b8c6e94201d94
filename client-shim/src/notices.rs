//! Sentences for the person in front of the shim, on standard error as
//! `[pid] text`.
//!
//! Decides what `--silent` and `--debug` show. Never carries a message of MCP,
//! a header value or a token.

use std::fmt::Display;
use std::io::Write;

/// What `--silent` and `--debug` ask for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Volume {
    /// `--silent`: nothing, unless `debug`.
    pub(crate) silent: bool,
    /// `--debug` or `--verbose`: everything.
    pub(crate) debug: bool,
}

/// The way to standard error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Notices(Volume);

impl Notices {
    /// Speaks as loudly as the user wants.
    pub(crate) fn new(volume: Volume) -> Self {
        Self(volume)
    }

    /// Says what went wrong.
    pub(crate) fn error(self, text: impl Display) {
        self.info(text);
    }

    /// Says what the user would care about.
    pub(crate) fn info(self, text: impl Display) {
        if !self.0.silent || self.0.debug {
            write(text);
        }
    }

    /// Says what only `--debug` shows.
    pub(crate) fn debug(self, text: impl Display) {
        if self.0.debug {
            write(text);
        }
    }
}

fn write(text: impl Display) {
    let line = format!("[{}] {text}\n", std::process::id());
    // A client that never reads standard error must not stop the relay.
    if has_room() {
        // One write, so that lines of several shims on one terminal stay whole.
        // Nobody is left to tell if standard error is gone.
        let _written = std::io::stderr().write_all(line.as_bytes());
    }
}

/// Whether a line can be written without waiting: a pipe that polls writable
/// takes at least 4 KiB.
#[cfg(unix)]
fn has_room() -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let stderr = std::io::stderr();
    let mut fds = [PollFd::new(&stderr, PollFlags::OUT)];
    !matches!(poll(&mut fds, Some(&Timespec::default())), Ok(0))
}

#[cfg(not(unix))]
fn has_room() -> bool {
    true
}
