//! The shim as its relay sees it: what goes there, how it begins and goes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::fault::Whom;
use super::tool_filter::ToolFilter;
use crate::session::{
    CacheLists, Change, Handshake, InitializeResult, LeaseToken, Reuse, Server, ServerSpec,
    SessionPoolHandle, Terms,
};

/// What goes to the shim.
#[derive(Debug)]
pub(crate) enum ToShim {
    /// An MCP message.
    Message(Bytes),
    /// A sentence for the user.
    Notice(NoticeLevel, String),
    /// Who answers, whether the session was warm, and what stands for it.
    Server(Arc<InitializeResult>, bool, LeaseToken),
    /// The daemon stops: it waits for no more messages.
    Goodbye,
    /// Somebody has to sign in, which nobody is asked to: this sentence says so, and
    /// nothing follows.
    SignInNeeded(String),
}

/// How loud a notice is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoticeLevel {
    /// Only for `--debug`.
    Debug,
    /// The user should know.
    Info,
    /// Something went wrong.
    Error,
}

/// The shim's connection broke: not an orderly end.
#[derive(Debug)]
pub(crate) struct ShimGone;

/// What a relay is made with.
#[derive(Debug, Clone)]
pub(crate) struct RelayDeps {
    /// The pool.
    pub(crate) pool: SessionPoolHandle,
    /// The server, for statistics.
    pub(crate) server: Arc<Server>,
    /// How to reach it.
    pub(crate) spec: Arc<ServerSpec>,
    /// Who may have the session besides this shim.
    pub(crate) reuse: Reuse,
    /// How a session is kept afterwards.
    pub(crate) terms: Terms,
    /// Whether lists may be answered from here.
    pub(crate) cache_lists: CacheLists,
    /// Largest message from the shim, in bytes.
    pub(crate) max_message: usize,
    /// Sentences for the user about what was left out.
    pub(crate) warnings: Vec<String>,
    /// Whether the shim wants debug notices.
    pub(crate) debug: bool,
    /// How long a request may go without an answer or progress; none: for ever.
    pub(crate) request_timeout: Option<Duration>,
    /// Which tools the client does not see.
    pub(crate) tools: ToolFilter,
    /// How often the server is pinged while the shim has a session; none: never.
    pub(crate) ping_interval: Option<Duration>,
    /// How long a request waits for somebody to sign in.
    pub(crate) auth_timeout: Duration,
    /// Whether nobody is asked to sign in for it, and nobody waited for.
    pub(crate) non_interactive: bool,
    /// Ends the relay, after answers in flight.
    pub(crate) stop: CancellationToken,
}

impl RelayDeps {
    /// Returns whom sentences are about.
    pub(crate) fn whom(&self) -> Whom<'_> {
        Whom {
            server: &self.server.shown,
            tokens: self.spec.tokens.as_ref(),
        }
    }
}

/// A handshake that the shim's client has already seen answered.
#[derive(Debug)]
pub(crate) struct Resumed {
    /// The client's `initialize`.
    pub(crate) initialize: Handshake,
    /// Its `notifications/initialized`, if sent.
    pub(crate) initialized: Option<Bytes>,
    /// What it had from the daemon before.
    pub(crate) earlier: Earlier,
}

/// What a shim had from an earlier daemon.
#[derive(Debug, Default)]
pub(crate) struct Earlier {
    /// Its lease.
    pub(crate) lease: Option<LeaseToken>,
    /// What its client has switched on.
    pub(crate) switched_on: Vec<Change>,
}

/// Counts a shim while it is attached.
#[derive(Debug)]
pub(super) struct Attached(Arc<Server>);

impl Attached {
    /// Counts one.
    pub(super) fn new(server: Arc<Server>) -> Self {
        server.shims.add();
        Self(server)
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.0.shims.remove();
    }
}
