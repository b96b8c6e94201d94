//! A handshake for its own sake: opened as any session is, and ended at once. What is
//! found out of the server is told and not remembered.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::exchange::Upstream;
use super::server::Server;
use super::{Handshake, InitializeResult, ServerSpec, authorize, connect};
use crate::http::HttpClients;
use crate::upstream::{TransportKind, UpstreamError};

/// What came of a handshake.
#[derive(Debug)]
pub(crate) struct Trial {
    /// The transports that failed and why, in the order of the attempts.
    pub(crate) failed: Vec<(TransportKind, UpstreamError)>,
    /// What the server said of itself, or why it said nothing.
    pub(crate) outcome: Result<InitializeResult, UpstreamError>,
    /// How long that took.
    pub(crate) took: Duration,
}

/// Shakes hands with a server in the daemon's own name, and ends the session.
pub(crate) async fn shake_hands(
    clients: &HttpClients,
    server: &Arc<Server>,
    spec: &ServerSpec,
    max_message: usize,
) -> Trial {
    let handshake = Handshake::of_daemon();
    let begun = Instant::now();
    let mut failed = Vec::new();
    let opening = connect::open_telling(
        clients,
        spec,
        server,
        &handshake,
        (0, max_message),
        &mut failed,
    );
    let opened = opening.await;
    let took = begun.elapsed();
    let outcome = match opened {
        Ok(opened) => {
            end(&opened.upstream).await;
            Ok(opened.result)
        }
        Err(error) => Err(error),
    };
    Trial {
        failed,
        outcome,
        took,
    }
}

/// The stream of HTTP+SSE is the session, and ends with it.
async fn end(upstream: &Upstream) {
    if let Upstream::StreamableHttp(endpoint) = upstream
        && endpoint.session().is_some()
        && let Err(error) = authorize::delete(endpoint).await
    {
        tracing::debug!(%error, "a session for trial could not be ended at the server");
    }
}
