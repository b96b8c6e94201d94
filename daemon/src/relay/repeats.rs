//! Which requests may be said again after their answer was lost, how often, and
//! when. Everything else is said once: whoever asked decides what to do next.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::in_flight::Entry;
use super::{Gone, Relay, Sent};
use crate::jsonrpc::Envelope;
use crate::session::{ListedTools, Outbound, OutboundKind, Outcome, REPEAT_DELAYS, jittered};
use crate::upstream::UpstreamError;

/// What a request asks for, as far as saying it again is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nature {
    /// It changes nothing.
    Safe,
    /// The same; its answer lists tools. `first`: from the beginning.
    ToolsList { first: bool },
    /// It calls a tool, which may or may not change something.
    ToolCall,
    /// It may change something.
    Other,
}

impl Nature {
    /// Tells it by the method.
    pub(super) fn of(request: &Envelope) -> Self {
        match request.method().unwrap_or_default() {
            "tools/call" => Self::ToolCall,
            "tools/list" => Self::ToolsList {
                first: begins_list(request),
            },
            "ping" | "resources/read" | "prompts/get" | "completion/complete" => Self::Safe,
            method if method.ends_with("/list") => Self::Safe,
            _ => Self::Other,
        }
    }
}

fn begins_list(request: &Envelope) -> bool {
    #[derive(Deserialize)]
    struct Params<'a> {
        #[serde(borrow)]
        cursor: Option<&'a RawValue>,
    }
    request
        .params::<Params<'_>>()
        .is_none_or(|params| params.cursor.is_none())
}

/// Returns how long to wait before a request that ended in this error is said
/// again; `None`: it is not.
pub(super) fn delay(entry: &Entry, error: &UpstreamError, tools: &ListedTools) -> Option<Duration> {
    let delay = match error {
        // The session is opened again first; that is wait enough.
        UpstreamError::SessionLost(_) if entry.repeats == 0 => Duration::ZERO,
        error if error.may_pass() => jittered(*REPEAT_DELAYS.get(entry.repeats)?),
        _ => return None,
    };
    let may = match entry.nature {
        Nature::Safe | Nature::ToolsList { .. } => true,
        Nature::ToolCall => entry.repeats == 0 && is_listed(&entry.message, tools),
        Nature::Other => false,
    };
    may.then_some(delay)
}

fn is_listed(call: &Bytes, tools: &ListedTools) -> bool {
    #[derive(Deserialize)]
    struct Call {
        name: String,
        /// A call that becomes a task leaves one behind each time.
        task: Option<serde::de::IgnoredAny>,
    }
    let call = Envelope::parse(call.clone())
        .ok()
        .and_then(|call| call.params::<Call>());
    call.is_some_and(|call| call.task.is_none() && tools.may_repeat(&call.name))
}

/// Says whether the server may still work on a request in the same session, and
/// so may say something about it that the next shim must not hear.
fn may_still_run(error: &UpstreamError) -> bool {
    match error {
        UpstreamError::Interrupted(_) => true,
        UpstreamError::Status { status, .. } => *status >= 500,
        _ => false,
    }
}

impl Relay {
    /// Answers a request that is over, if nothing has, or says it again.
    pub(super) async fn ended(
        &mut self,
        minted: u64,
        error: Option<UpstreamError>,
    ) -> Result<(), Gone> {
        let error = error.unwrap_or_else(|| {
            UpstreamError::Protocol("it ended its reply without an answer".into())
        });
        if may_still_run(&error) && self.in_flight.get(minted).is_some() {
            self.in_flight.leave_behind();
        }
        let outcome = match error.maybe_executed() {
            true => Outcome::Unknown,
            false => Outcome::Refused,
        };
        self.settle(minted, outcome).await;
        let error = match self.hold_refused(minted, error) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let minted = match self.repeat(minted, &error).await {
            Ok(()) => return Ok(()),
            Err(minted) => minted,
        };
        let Some(failed) = self.in_flight.fail(minted) else {
            return Ok(());
        };
        self.disown(minted);
        if let (Some(asked), Some(lease)) = (&failed.list, &self.lease) {
            lease.session().lists().failed(asked);
        }
        self.deps.server.unanswered();
        self.deps.server.failed(&error);
        let sent = Sent {
            minted,
            maybe_executed: failed.repeats > 0 || error.maybe_executed(),
        };
        self.fault(&failed.id, &error, Some(sent)).await
    }

    /// Says a request again, under another id since the server may know the first,
    /// if that is safe and may help. The error is the id under which it failed.
    async fn repeat(&mut self, minted: u64, error: &UpstreamError) -> Result<(), u64> {
        let lease = self.lease.as_ref().ok_or(minted)?;
        let entry = self.in_flight.get(minted).ok_or(minted)?;
        let session = lease.session().clone();
        let delay = delay(entry, error, session.tools()).ok_or(minted)?;
        let again = session.next_id();
        let (message, fate) = self.in_flight.repeat(minted, again).ok_or(minted)?;
        lease.membership().disown(minted);
        lease.membership().own(again);
        self.batches.rename(minted, again);
        if let Some(named) = self.named.remove(&minted) {
            self.named.insert(again, named);
        }
        tracing::info!(%error, ?delay, "a request got no answer and is said again");
        let outbound = Outbound {
            fate,
            delay,
            ..Outbound::new(message, OutboundKind::Request(again), self.replies())
        };
        // A session that has ended for good will not say so for each request.
        session.send(outbound).await.map_err(|_| again)
    }
}
