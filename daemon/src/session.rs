//! Sessions with servers: who may share one, how one is opened, kept and ended.
//!
//! A session of the revisions to 2025-11-25 belongs to one shim at a time.
//! [`SessionKey`] is the only answer to the question who may have it next.

pub(crate) mod actor;
mod answers;
mod audience;
mod authorize;
mod connect;
mod connections;
mod count;
mod cursor;
mod exchange;
mod handle;
mod handshake;
pub(crate) mod kept;
mod latency;
mod listed_tools;
mod listener;
mod lists;
mod phase;
pub(crate) mod pool;
mod reconnect;
mod restore;
pub(crate) mod server;
mod switches;
mod terms;
pub(crate) mod trial;
pub(crate) mod waiting;

use std::sync::Arc;

use crate::http::{CookieJar, HttpClients, NetworkOptions};
use crate::oauth::token_source::{TokenError, TokenSource};
use crate::protocol::ProtocolVersion;
use crate::server_url::ServerUrl;
use crate::upstream::{Target, TransportKind, UpstreamError, UserHeaders};

pub(crate) use audience::{Membership, Replies, names};
pub(crate) use connections::Connections;
pub(crate) use exchange::{Fate, Inbound, Outbound, OutboundKind};
pub(crate) use handle::SessionHandle;
pub(crate) use handshake::{Handshake, InitializeResult};
pub(crate) use kept::{KeptSessions, LeaseToken};
pub(crate) use listed_tools::ListedTools;
pub(crate) use lists::{Asked, CacheLists};
pub(crate) use pool::{AcquireError, Found, Lease, SessionPoolHandle};
pub(crate) use reconnect::{REPEAT_DELAYS, jittered};
pub(crate) use server::{Server, Servers};
pub(crate) use switches::{Change, Course, Outcome};
pub(crate) use terms::{Outdated, Terms};

/// Which transports may be used, and which comes first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum TransportChoice {
    /// Streamable HTTP, then HTTP+SSE.
    #[default]
    HttpFirst,
    /// HTTP+SSE, then Streamable HTTP.
    SseFirst,
    /// Streamable HTTP.
    HttpOnly,
    /// HTTP+SSE.
    SseOnly,
}

impl TransportChoice {
    /// Returns the transports to try in order. A verdict from earlier goes first
    /// (the server may have changed since, so the others stay).
    pub(crate) fn order(self, verdict: Option<TransportKind>) -> Vec<TransportKind> {
        use TransportKind::{HttpSse, StreamableHttp};
        let mut order = match self {
            Self::HttpFirst => vec![StreamableHttp, HttpSse],
            Self::SseFirst => vec![HttpSse, StreamableHttp],
            Self::HttpOnly => vec![StreamableHttp],
            Self::SseOnly => vec![HttpSse],
        };
        if order.last().copied() == verdict {
            order.reverse();
        }
        order
    }
}

/// Who may have a session besides the shim that has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum Reuse {
    /// Nobody, ever.
    Never,
    /// The next one, when this one has gone.
    #[default]
    Sequential,
    /// Others at the same time.
    Concurrent,
}

/// How to reach a server: everything that changes a request or its connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ServerSpec {
    /// Where it is.
    pub(crate) url: ServerUrl,
    /// Over which transport.
    pub(crate) transport: TransportChoice,
    /// With which headers.
    pub(crate) headers: UserHeaders,
    /// Over which network.
    pub(crate) network: NetworkOptions,
    /// On whose behalf; none if the headers say it.
    pub(crate) tokens: Option<TokenSource>,
    /// Whether a session keeps the cookies that the server sets in it.
    pub(crate) cookies: bool,
}

impl ServerSpec {
    /// Returns which sign-in it is for now.
    fn signed_in_at(&self) -> Option<u64> {
        self.tokens.as_ref()?.signed_in_at()
    }

    /// Sees to it that a token is there that needs nobody.
    pub(crate) async fn prepare(&self) -> Result<(), UpstreamError> {
        let Some(tokens) = &self.tokens else {
            return Ok(());
        };
        tokens.prepare().await.map_err(|error| match error {
            TokenError::Transient(why) => UpstreamError::Here(why),
            error => UpstreamError::NoToken(error.to_string()),
        })
    }

    /// Returns where requests go, once it is known which token goes along.
    async fn target(
        &self,
        clients: &HttpClients,
        max_message: usize,
    ) -> Result<Target, UpstreamError> {
        self.prepare().await?;
        Ok(Target {
            url: self.url.clone(),
            client: clients.client(&self.network).await?,
            headers: self.headers.clone(),
            tokens: self.tokens.clone(),
            cookies: self.cookies.then(CookieJar::default),
            max_message,
        })
    }
}

/// Who may share a session: equal keys, as `reuse` says. Where the server keeps no
/// session there is nothing to share, so equal keys have it at the same time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct SessionKey {
    /// The server and the way to it.
    pub(crate) spec: Arc<ServerSpec>,
    /// The revision that the client asked for.
    pub(crate) version: ProtocolVersion,
    /// The client's capabilities, as JSON with sorted keys.
    pub(crate) capabilities: String,
    /// `clientInfo.name`: servers may treat clients differently by it.
    pub(crate) client_name: String,
    /// Whether one after the other, or at the same time.
    pub(crate) reuse: Reuse,
    /// Which sign-in it is for: the next person gets no session of this one.
    pub(crate) signed_in_at: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_goes_first_where_the_choice_leaves_one() {
        use TransportChoice::{HttpFirst, HttpOnly, SseFirst};
        use TransportKind::{HttpSse, StreamableHttp};
        assert_eq!(HttpFirst.order(None), [StreamableHttp, HttpSse]);
        assert_eq!(HttpFirst.order(Some(HttpSse)), [HttpSse, StreamableHttp]);
        assert_eq!(
            SseFirst.order(Some(StreamableHttp)),
            [StreamableHttp, HttpSse]
        );
        assert_eq!(SseFirst.order(Some(HttpSse)), [HttpSse, StreamableHttp]);
        assert_eq!(HttpOnly.order(Some(HttpSse)), [StreamableHttp]);
    }
}
