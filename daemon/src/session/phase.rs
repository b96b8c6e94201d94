//! The phases of a session, and the ends of its tasks.

use tokio_util::sync::{CancellationToken, DropGuard};

use super::connect::Opened;
use super::exchange::{ExchangeEnd, OutboundKind, Upstream};
use super::listener::{ListenEnd, Place};
use crate::http::{HttpClient, HttpError};
use crate::upstream::UpstreamError;

/// How far an opening is.
pub(super) enum Phase {
    /// It is being opened, for the first time or again.
    Opening,
    /// Open; the server has not heard `notifications/initialized` yet.
    Uninitialized(Open),
    /// It is being told, or the session gets new connections.
    Initializing(Open),
    /// Open and told.
    Ready(Open),
    /// Lost or refused; the next message opens it.
    Lost,
}

/// An open session; dropping it ends its listening stream, and the waiting for
/// streams that are to be resumed.
pub(super) struct Open {
    /// Where its messages go.
    pub(super) upstream: Upstream,
    /// How far its own stream has been read.
    pub(super) place: Place,
    /// Cancelled when the session is lost.
    pub(super) lost: CancellationToken,
    /// Does so.
    pub(super) _lost_guard: DropGuard,
    /// Cancelled when its listening has to end.
    pub(super) listening: CancellationToken,
    /// Does so.
    pub(super) _listening_guard: DropGuard,
}

/// How a task of a session ended.
pub(super) enum TaskEnd {
    Opened(Box<Result<Opened, UpstreamError>>),
    Initialized {
        generation: u64,
        error: Option<UpstreamError>,
    },
    Renewed {
        generation: u64,
        client: Box<Result<HttpClient, HttpError>>,
    },
    Exchange {
        generation: u64,
        kind: OutboundKind,
        /// Whether the next notification waits for it.
        in_order: bool,
        end: ExchangeEnd,
    },
    Listening {
        generation: u64,
        end: ListenEnd,
    },
    Aside,
}
