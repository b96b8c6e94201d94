//! Signals, the other end of standard output, and the parent, on Unix.

use std::fs::File;
use std::future::pending;
use std::io;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Exit;
use crate::stdio::standard_output;

/// SIGTERM and SIGINT.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    pub(super) async fn next(&mut self) -> Exit {
        tokio::select! {
            biased;
            Some(()) = self.terminate.recv() => Exit::TERMINATED,
            Some(()) = self.interrupt.recv() => Exit::INTERRUPTED,
            else => pending().await,
        }
    }
}

/// Notices that nobody reads standard output any more, also while there is
/// nothing to write. Leaves the file's blocking mode alone: it is shared with
/// whoever gave it to us. `None`: a plain file, which has no reader to lose.
pub(super) struct StandardOutput(Option<AsyncFd<File>>);

impl StandardOutput {
    pub(super) fn new() -> Self {
        // On Linux a hang-up is always reported; asking for writability there
        // would wake us each time the reader reads.
        let interest = if cfg!(target_os = "linux") {
            Interest::ERROR
        } else {
            Interest::WRITABLE
        };
        #[expect(
            deprecated,
            reason = "the replacement is unsafe for types that could swap their descriptor; File does not"
        )]
        let watch = |output| AsyncFd::with_interest(output, interest);
        let watched = standard_output().and_then(watch);
        Self(watched.ok())
    }

    pub(super) async fn closed(&mut self) {
        let Some(output) = &self.0 else {
            return pending().await;
        };
        loop {
            let Ok(mut guard) = output.ready(Interest::WRITABLE | Interest::ERROR).await else {
                return pending().await;
            };
            let ready = guard.ready();
            if ready.is_write_closed() || ready.is_error() {
                return;
            }
            guard.clear_ready();
        }
    }
}

/// Returns the parent's process id; another one than before: it has gone.
pub(super) fn parent() -> u32 {
    std::os::unix::process::parent_id()
}
