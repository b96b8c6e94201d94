//! The relay stream to the daemon: being made, up, or down.
//!
//! Knows nothing of what goes over it. Down stays down until somebody asks.

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;

use mcp_remote_proto::calls::{self, Answers};
use mcp_remote_proto::v1::relay_response::Frame as Received;
use mcp_remote_proto::v1::{Open, Purpose, RelayRequest, RelayResponse, relay_request};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::{Code, Status};

use crate::daemon::Daemon;
use crate::exit::ShimError;
use crate::launch::{Launcher, PATIENCE};

/// Frames on their way to the daemon: one, since it may be as long as a message
/// can be, and the socket holds more.
const FRAMES: usize = 1;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The way to the daemon; dropping it half-closes the stream.
pub(crate) type Requests = mpsc::Sender<RelayRequest>;

/// The relay stream, or its absence.
pub(crate) enum Link {
    /// No stream.
    Down,
    /// A daemon is being found or started.
    Connecting(Boxed<Result<Daemon, ShimError>>),
    /// The daemon has not accepted the stream yet. No message goes out before
    /// that, so a daemon that refuses has executed nothing.
    Opening(Boxed<Result<(Relay, Requests), Status>>),
    /// The stream is open.
    Up(Relay),
}

/// What happens to a link.
pub(crate) enum Event {
    /// A daemon answered; the stream has not been opened yet.
    Found(Box<Daemon>),
    /// No daemon can be had.
    Failed(ShimError),
    /// The daemon accepted the stream.
    Opened(Requests),
    /// The daemon sent something.
    Frame(Received),
    /// The stream ended, in order or not.
    Ended(Result<(), Status>),
}

impl Link {
    /// Begins to look for a daemon.
    pub(crate) fn connect(launcher: &Arc<Launcher>) -> Self {
        let launcher = Arc::clone(launcher);
        Self::Connecting(Box::pin(async move { launcher.connect().await }))
    }

    /// Begins to open the stream.
    pub(crate) fn open(daemon: Daemon, open: Open) -> Self {
        Self::Opening(Box::pin(Relay::open(daemon, open)))
    }

    /// Whether there is no stream and none is being made.
    pub(crate) fn is_down(&self) -> bool {
        matches!(self, Self::Down)
    }

    /// Whether messages can go out. One that is hung up is about to say so: what
    /// went out to it would be lost.
    pub(crate) fn takes_messages(&self) -> bool {
        match self {
            Self::Up(relay) => !relay.daemon.is_hung_up(),
            Self::Down | Self::Connecting(_) | Self::Opening(_) => false,
        }
    }

    /// Waits for the next event; for ever while down. Cancel safe.
    pub(crate) async fn event(&mut self) -> Event {
        let (next, event) = match self {
            Self::Down => pending().await,
            Self::Connecting(connecting) => match connecting.await {
                Ok(daemon) => (Self::Down, Event::Found(Box::new(daemon))),
                Err(error) => (Self::Down, Event::Failed(error)),
            },
            Self::Opening(opening) => match opening.await {
                Ok((relay, requests)) => (Self::Up(relay), Event::Opened(requests)),
                Err(status) => (Self::Down, Event::Ended(Err(status))),
            },
            Self::Up(relay) => match relay.next().await {
                Ok(Some(frame)) => return Event::Frame(frame),
                Ok(None) => (Self::Down, Event::Ended(Ok(()))),
                Err(status) => (Self::Down, Event::Ended(Err(status))),
            },
        };
        *self = next;
        event
    }
}

/// An open stream.
pub(crate) struct Relay {
    responses: Box<Answers<RelayResponse>>,
    /// Hangs up when dropped.
    daemon: Daemon,
}

impl Relay {
    async fn open(mut daemon: Daemon, open: Open) -> Result<(Self, Requests), Status> {
        let (requests, receiver) = mpsc::channel(FRAMES);
        // Whoever only checks is told by the same status that the server is down.
        let bridges = !matches!(open.purpose(), Purpose::Check | Purpose::Login);
        let first = request(relay_request::Frame::Open(Box::new(open)));
        requests
            .try_send(first)
            .expect("a new channel has room for its first frame");
        let response = daemon.converse(calls::RELAY, receiver).await;
        let response = match response {
            Err(status) if status.code() == Code::Unavailable && bridges => {
                // It is stopping. Only once it has hung up can the next be found.
                let _late = timeout(PATIENCE, daemon.hung_up()).await;
                return Err(status);
            }
            response => response?,
        };
        let relay = Self {
            responses: Box::new(response),
            daemon,
        };
        Ok((relay, requests))
    }

    /// Returns the next frame; `None`: the daemon has ended the stream.
    async fn next(&mut self) -> Result<Option<Received>, Status> {
        while let Some(RelayResponse { frame }) = self.responses.message().await? {
            // Otherwise a frame of a kind that this release does not know.
            if frame.is_some() {
                return Ok(frame);
            }
        }
        Ok(None)
    }
}

/// Wraps a frame for the stream.
pub(crate) fn request(frame: relay_request::Frame) -> RelayRequest {
    RelayRequest { frame: Some(frame) }
}
