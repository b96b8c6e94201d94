//! The same on Windows, as far as it goes there: Ctrl-C and its relatives.
//! Never run so far: kept as thin as it can be.

use std::future::pending;
use std::io;

use tokio::signal::windows::{CtrlBreak, CtrlC, CtrlClose, ctrl_break, ctrl_c, ctrl_close};

use crate::exit::Exit;

/// Ctrl-C, Ctrl-Break and the closing of the console.
pub(super) struct Signals {
    interrupt: CtrlC,
    stop: CtrlBreak,
    close: CtrlClose,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: ctrl_c()?,
            stop: ctrl_break()?,
            close: ctrl_close()?,
        })
    }

    pub(super) async fn next(&mut self) -> Exit {
        tokio::select! {
            biased;
            Some(()) = self.close.recv() => Exit::TERMINATED,
            Some(()) = self.stop.recv() => Exit::TERMINATED,
            Some(()) = self.interrupt.recv() => Exit::INTERRUPTED,
            else => pending().await,
        }
    }
}

/// The next write tells; nothing does before.
pub(super) struct StandardOutput;

impl StandardOutput {
    pub(super) fn new() -> Self {
        Self
    }

    pub(super) async fn closed(&mut self) {
        pending().await
    }
}

/// Returns 0: a process here does not learn of its parent's end.
pub(super) fn parent() -> u32 {
    0
}
