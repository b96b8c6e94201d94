//! What is answered here, since no client can be asked: pings with a result, other
//! requests of the server with an error.
//!
//! Invariant: whoever reads a stream never waits for its answers to be taken.

use bytes::Bytes;
use tokio::task::JoinSet;

use super::exchange::{Upstream, post_bounded};
use crate::jsonrpc::{self, Envelope};

/// Answers on their way at the same time; a server that takes none gets no more.
const MAX_ANSWERS: usize = 16;

/// Answers on their way; dropping it gives them up.
#[derive(Debug, Default)]
pub(super) struct Answers(JoinSet<()>);

impl Answers {
    /// Answers a request of the server.
    pub(super) fn begin(&mut self, asked: &Envelope, upstream: &Upstream) {
        let id = asked.id();
        let answer = match (asked.method(), &id) {
            (Some("ping"), Some(id)) => id.empty_result(),
            _ => jsonrpc::error_response(
                id.as_ref(),
                -32601,
                "mcp-remote: there is no client, or no telling which, to answer this",
                None,
            ),
        };
        self.send(answer, upstream);
    }

    /// Sends an answer that is made already.
    pub(super) fn send(&mut self, answer: Bytes, upstream: &Upstream) {
        while self.0.try_join_next().is_some() {}
        if self.0.len() >= MAX_ANSWERS {
            tracing::warn!("left a request of the server unanswered: it does not take answers");
            return;
        }
        let upstream = upstream.clone();
        self.0.spawn(async move {
            if let Err(error) = post_bounded(&upstream, answer.into()).await {
                tracing::debug!(%error, "a request of the server could not be answered");
            }
        });
    }

    /// Waits until all have been taken or given up.
    pub(super) async fn finish(mut self) {
        while self.0.join_next().await.is_some() {}
    }
}
