//! The client of a bridge: its two streams, and what makes the shim leave it.
//!
//! Knows no daemon and no message. Once an end is reached, nothing is read or
//! written any more.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::Bytes;

use crate::exit::{Exit, ShimError};
use crate::leave::{Leave, Reason};
use crate::stdio::{Input, Output};

/// Standard input and output, and reasons to leave.
pub(super) struct Client {
    pub(super) input: Input,
    pub(super) output: Output,
    pub(super) leave: Leave,
    drain_timeout: Duration,
}

/// How a conversation ends.
#[derive(Debug)]
pub(super) enum End {
    /// Standard input has ended, and everything owed is written or on its way.
    Said,
    /// Standard input has ended before anything was on it.
    Unused,
    /// Something else asks to leave.
    Left(Reason),
    /// Standard output cannot be written.
    OutputFailed(io::Error),
}

impl Client {
    /// Begins to read and to watch.
    ///
    /// # Errors
    /// Standard input or output is not there.
    pub(super) fn start(drain_timeout: Duration) -> Result<Self, ShimError> {
        let start = || {
            io::Result::Ok(Self {
                input: Input::start()?,
                output: Output::start()?,
                leave: Leave::new()?,
                drain_timeout,
            })
        };
        start().map_err(|error| unusable(&error))
    }

    /// Standard input has ended: from now on patience is limited.
    pub(super) fn begin_drain(&mut self) {
        self.leave.begin_drain(self.drain_timeout);
    }

    /// Writes the rest, if the conversation did not end otherwise.
    pub(super) async fn finish(self, end: End, rest: VecDeque<Bytes>) -> End {
        let Self {
            output, mut leave, ..
        } = self;
        if !matches!(end, End::Said) {
            return end;
        }
        tokio::select! {
            biased;
            reason = leave.reason() => End::Left(reason),
            result = output.finish(rest) => match result {
                Ok(()) => End::Said,
                Err(error) => End::OutputFailed(error),
            },
        }
    }
}

impl End {
    /// Returns the exit code: `usual`, unless a signal gives another.
    ///
    /// # Errors
    /// Standard output cannot be written; a reader who has gone is no error.
    pub(super) fn exit(self, usual: Exit) -> Result<Exit, ShimError> {
        match self {
            Self::Left(Reason::Signal(exit)) => Ok(exit),
            Self::OutputFailed(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(unusable(&error))
            }
            Self::Said | Self::Unused | Self::Left(_) | Self::OutputFailed(_) => Ok(usual),
        }
    }
}

fn unusable(error: &io::Error) -> ShimError {
    ShimError::general(format!("standard input or output cannot be used: {error}"))
}
