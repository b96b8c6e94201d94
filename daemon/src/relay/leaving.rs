//! The end of a lease: what the client leaves behind in its session is undone, so
//! that the next may have it. What cannot be undone ends the session.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Relay, open_lease};
use crate::jsonrpc::{self, Envelope, Kind, RequestId};
use crate::session::{Inbound, Outbound, OutboundKind, Outcome};

/// How long the server may take to end what was cancelled and to undo what was
/// switched on.
const CLEAN_TIMEOUT: Duration = Duration::from_secs(2);

/// How long answers are still waited for once the daemon stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Waits until the daemon stops, and as long as answers are waited for then.
pub(super) async fn drained(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(DRAIN_TIMEOUT).await;
}

impl Relay {
    /// Gives the session back without waiting; it is clean only if nothing of this
    /// client is left in it.
    pub(super) async fn give_back(&mut self) {
        let clean = self.in_flight.is_clean() && self.questions.is_empty() && self.said.is_empty();
        self.undo().await;
        if !clean || !self.changes.is_empty() {
            self.spoil();
        }
        self.settle_all().await;
        self.forget();
    }

    /// Declares the session unfit for another shim.
    pub(super) fn spoil(&mut self) {
        if let Some(lease) = &mut self.lease {
            lease.spoil();
        }
    }

    /// Forgets the session.
    pub(super) fn forget(&mut self) {
        self.changes.clear();
        self.named.clear();
        self.task_tokens.clear();
        self.lease = None;
        self.news = None;
    }

    /// Cancels what nobody waits for any more (a disconnect is not a cancellation:
    /// 2025-11-25, Cancellation), undoes what was switched on, then gives the session
    /// back.
    pub(super) async fn leave(&mut self, mut inbound: mpsc::Receiver<Box<Inbound>>) {
        for minted in self.in_flight.all() {
            self.cancel_upstream(minted, "the client has gone").await;
        }
        self.refuse_questions().await;
        if self.keep() {
            return self.forget();
        }
        self.undo().await;
        // What was passed on by the session meanwhile, and what is passed on now.
        while let Ok(left) = inbound.try_recv() {
            self.wind_up(*left).await;
        }
        let may_end = !self.in_flight.has_left_something() && !self.deps.stop.is_cancelled();
        if !self.is_wound_up() && may_end {
            // The shim need not wait for it: its stream ends here.
            self.out = mpsc::channel(1).0;
            let said = self.said.clone();
            said.close();
            let winding_up = async {
                while !self.is_wound_up() {
                    tokio::select! {
                        Some(left) = inbound.recv() => self.wind_up(*left).await,
                        Some(left) = open_lease::news(&mut self.news) => {
                            self.wind_up(std::sync::Arc::unwrap_or_clone(left)).await;
                        }
                        () = said.wait(), if !said.is_empty() => {}
                        else => break,
                    }
                }
            };
            drop(tokio::time::timeout(CLEAN_TIMEOUT, winding_up).await);
        }
        if !self.is_wound_up() {
            self.spoil();
        }
        self.settle_all().await;
        self.forget();
    }

    /// Notes that the client says no more. What the server has asked gets no answer of
    /// the client's, and what waits for one would not end.
    pub(super) async fn end_input(&mut self) {
        self.input_ended = true;
        self.refuse_questions().await;
    }

    async fn refuse_questions(&mut self) {
        for question in self.questions.take() {
            self.refuse_question(&question.id, question.generation)
                .await;
        }
    }

    /// Leaves the session as it is to a shim that stays while the daemon goes; false
    /// if nobody comes back for it.
    fn keep(&mut self) -> bool {
        let comes_back = self.comes_back && !self.out.is_closed();
        let lease = self.lease.as_mut().filter(|_| comes_back);
        lease.map(|lease| lease.keep()).is_some()
    }

    /// Drops a request that nobody waits for any more, and tells the server.
    pub(super) async fn cancel_upstream(&mut self, minted: u64, reason: &str) {
        let Some(sent) = self.abandon(minted).await else {
            return;
        };
        let message = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{minted},"reason":"{reason}"}}}}"#
        );
        self.send(message.into(), OutboundKind::Notification, Some(sent))
            .await;
    }

    /// Says whether nothing is left to wait for. In a session that others have too,
    /// a call that goes on bothers nobody: its answer has no owner.
    fn is_wound_up(&self) -> bool {
        let shared = self.lease.as_ref().is_none_or(|lease| lease.is_shared());
        self.changes.is_empty()
            && (shared || self.in_flight.is_clean())
            // It would come in the middle of what the next client says.
            && self.said.is_empty()
    }

    /// Undoes what this client alone has switched on.
    async fn undo(&mut self) {
        self.settle_all().await;
        let Some(lease) = &mut self.lease else { return };
        if !lease.session().is_usable() {
            // It is not opened again for this.
            return lease.spoil();
        }
        let mint = || lease.session().next_id();
        let undo = lease
            .membership()
            .switches(|switches, member| switches.leave(member, &mint));
        self.go_on(undo).await;
    }

    /// Takes what the session still says while its client is gone.
    async fn wind_up(&mut self, left: Inbound) {
        match left {
            Inbound::Message(envelope) if envelope.kind() == Kind::Response => {
                let Some(minted) = minted_id(&envelope) else {
                    return;
                };
                self.in_flight.over(minted);
                self.undone(minted, outcome(&envelope)).await;
            }
            Inbound::Ended(minted, error) => {
                self.in_flight.over(minted);
                let outcome = match error {
                    Some(_) => Outcome::Unknown,
                    None => Outcome::Refused,
                };
                self.undone(minted, outcome).await;
            }
            Inbound::Asked(request, generation) => {
                if let Some(id) = request.id() {
                    self.refuse_question(&id, generation).await;
                }
            }
            // Nothing is left of an opening that is lost.
            Inbound::Lost { .. } => {
                self.in_flight.all_over();
                self.spoil();
            }
            Inbound::Waiting(_, cancelled) => cancelled.cancel(),
            Inbound::Message(_) | Inbound::Skipped(..) => {}
        }
    }

    async fn undone(&mut self, minted: u64, outcome: Outcome) {
        if self.changes.contains_key(&minted) && outcome != Outcome::Done {
            self.spoil();
        }
        self.settle(minted, outcome).await;
    }

    /// Answers a question that the client will not.
    pub(super) async fn refuse_question(&self, id: &RequestId, generation: u64) {
        let refusal = "mcp-remote: the client does not answer any more";
        let answer = jsonrpc::error_response(Some(id), -32603, refusal, None);
        self.answer_question(answer, generation).await;
    }

    /// Answers a question in the client's place.
    pub(super) async fn answer_question(&self, answer: Bytes, generation: u64) {
        let kind = OutboundKind::Response(generation);
        if let Some(lease) = &self.lease {
            let outbound = Outbound::new(answer, kind, self.replies());
            drop(lease.session().send(outbound).await);
        }
    }
}

/// Returns the id of ours that a response answers.
pub(super) fn minted_id(response: &Envelope) -> Option<u64> {
    response.id()?.as_json().parse().ok()
}

/// Says what an answer means for a change.
pub(super) fn outcome(answer: &Envelope) -> Outcome {
    match answer.is_error() {
        true => Outcome::Refused,
        false => Outcome::Done,
    }
}
