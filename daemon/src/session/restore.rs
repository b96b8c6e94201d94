//! Tells a session that was opened again what its members had switched on, before
//! anything else is said in it. The answers are for nobody.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};

use super::audience::Inbox;
use super::authorize;
use super::exchange::{Inbound, Upstream, inbound, read};
use super::switches::Change;
use crate::jsonrpc::{Envelope, Kind};
use crate::upstream::sse::StreamEvent;
use crate::upstream::{PostReply, UpstreamError};

/// How long all of it may take; what comes after it waits.
const RESTORE_TIMEOUT: Duration = Duration::from_secs(10);

/// Requests at the same time.
const AT_ONCE: usize = 8;

/// Asks for all of `changes`, each with its request id.
pub(super) async fn restore(upstream: &Upstream, changes: Vec<(u64, Change)>, inbox: &Inbox) {
    let asking = stream::iter(changes).for_each_concurrent(AT_ONCE, |(id, change)| async move {
        if let Err(error) = ask(upstream, change.message(id), id, inbox).await {
            tracing::warn!(%error, "the new session could not be told what the old one was");
        }
    });
    if tokio::time::timeout(RESTORE_TIMEOUT, asking).await.is_err() {
        tracing::warn!("the new session was not told in time what the old one was");
    }
}

async fn ask(
    upstream: &Upstream,
    message: Bytes,
    id: u64,
    inbox: &Inbox,
) -> Result<(), UpstreamError> {
    let mut events = match authorize::post(upstream, message).await? {
        // On HTTP+SSE the answer comes on the session's stream, for nobody.
        PostReply::Accepted => return Ok(()),
        PostReply::Json(body) => {
            let messages = Envelope::parse_all(body).into_iter().map(inbound);
            relay(messages, id, inbox).await;
            return Ok(());
        }
        PostReply::Events(events) => events,
    };
    while let Some(event) = events.next().await {
        if let StreamEvent::Event { name, data, .. } = event?
            && relay(read(&name, data), id, inbox).await
        {
            break;
        }
    }
    Ok(())
}

/// Passes on all but the answer; says whether it was there.
async fn relay(messages: impl IntoIterator<Item = Inbound>, id: u64, inbox: &Inbox) -> bool {
    let mut answered = false;
    for message in messages {
        match &message {
            Inbound::Message(envelope) if envelope.kind() == Kind::Response => {
                let own = id.to_string();
                answered |= envelope.id().is_some_and(|id| id.as_json() == own);
                if envelope.is_error() {
                    tracing::warn!("the server refused in the new session what it did in the old");
                }
            }
            _ => drop(inbox.deliver(message).await),
        }
    }
    answered
}
