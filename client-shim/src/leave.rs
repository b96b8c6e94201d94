//! What ends a bridge whatever it is doing: a signal, a reader who has gone,
//! and, after the end of standard input, a lost parent or lost patience.
//!
//! Waits only; never blocks and never writes.

use std::time::Duration;

use tokio::time::{Instant, Interval, interval};

use crate::exit::Exit;

#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix::{Signals, StandardOutput, parent};
#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows::{Signals, StandardOutput, parent};

/// How often to look whether the parent is still there: no event tells.
const PARENT_INTERVAL: Duration = Duration::from_millis(500);

/// Why to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// A signal asks for it, with this exit code.
    Signal(Exit),
    /// Nobody reads standard output any more.
    OutputClosed,
    /// Standard input has ended and the parent has gone.
    ParentGone,
    /// Answers took longer than the drain timeout.
    DrainTimeout,
}

/// Watches for reasons to leave.
pub(crate) struct Leave {
    signals: Signals,
    output: StandardOutput,
    parent: u32,
    drain: Option<Drain>,
}

struct Drain {
    deadline: Instant,
    looks: Interval,
}

impl Leave {
    /// Begins to watch. Signals no longer end the process by themselves.
    ///
    /// # Errors
    /// Signals cannot be received.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            signals: Signals::new()?,
            output: StandardOutput::new(),
            parent: parent(),
            drain: None,
        })
    }

    /// Standard input has ended: from now on patience is limited.
    pub(crate) fn begin_drain(&mut self, timeout: Duration) {
        let now = Instant::now();
        // What overflows a clock is as good as for ever: a year.
        let deadline = now
            .checked_add(timeout)
            .unwrap_or(now + Duration::from_secs(365 * 24 * 3600));
        self.drain = Some(Drain {
            deadline,
            looks: interval(PARENT_INTERVAL),
        });
    }

    /// Waits for a reason to leave. Cancel safe.
    pub(crate) async fn reason(&mut self) -> Reason {
        tokio::select! {
            biased;
            exit = self.signals.next() => Reason::Signal(exit),
            () = self.output.closed() => Reason::OutputClosed,
            reason = drained(&mut self.drain, self.parent) => reason,
        }
    }
}

async fn drained(drain: &mut Option<Drain>, original: u32) -> Reason {
    let Some(Drain { deadline, looks }) = drain else {
        return std::future::pending().await;
    };
    let lost = async {
        loop {
            looks.tick().await;
            if parent() != original {
                return;
            }
        }
    };
    tokio::select! {
        biased;
        () = lost => Reason::ParentGone,
        () = tokio::time::sleep_until(*deadline) => Reason::DrainTimeout,
    }
}
