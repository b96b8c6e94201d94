//! The loss of a session: who has to hear of it, and what becomes of what waits.

use std::time::Duration;

use super::{Session, SessionState};
use crate::session::exchange::{Inbound, Outbound, OutboundKind, Upstream};
use crate::session::listener::ListenEnd;
use crate::session::phase::{Phase, TaskEnd};
use crate::upstream::UpstreamError;

impl Session {
    /// On HTTP+SSE all answers come on one stream; with Streamable HTTP each
    /// request learns its fate from its own POST.
    pub(super) fn answers_come_on_stream(&self) -> bool {
        match &self.phase {
            Phase::Uninitialized(open) | Phase::Initializing(open) | Phase::Ready(open) => {
                matches!(open.upstream, Upstream::HttpSse(_))
            }
            Phase::Opening | Phase::Lost => false,
        }
    }

    /// Tells the relay which requests the end of a stream leaves unanswered: all
    /// that went out, but not those that wait here.
    pub(super) fn report_lost(&mut self, error: UpstreamError, refused: Option<u64>) {
        self.lost_generation = self.generation;
        let parked = self
            .parked
            .iter()
            .filter_map(|outbound| match outbound.kind {
                OutboundKind::Request(id) => Some(id),
                _ => None,
            });
        let lost = Inbound::Lost {
            error,
            up_to: self.sent.highest(),
            unsent: parked
                .chain(refused)
                .chain(self.sent.passed_over())
                .collect(),
        };
        let inbox = self.inbox.clone();
        self.tasks.spawn(async move {
            drop(inbox.deliver(lost).await);
            TaskEnd::Aside
        });
    }

    /// Says whether messages of this opening may be under way: it is open, or gets
    /// new connections.
    pub(super) fn is_in_use(&self) -> bool {
        matches!(self.phase, Phase::Ready(_) | Phase::Initializing(_))
    }

    /// Opens the session again for a message that the server refused with these
    /// words, since it does not know the session, and sends it in the new one.
    pub(super) fn session_gone(&mut self, generation: u64, refused: Outbound, said: UpstreamError) {
        let request = match refused.kind {
            OutboundKind::Request(id) => Some(id),
            OutboundKind::Notification if refused.after.is_none() => None,
            // What a cancellation or a response is about went with the session.
            OutboundKind::Notification | OutboundKind::Response(_) => return,
        };
        // A session that is refused right after it was opened will not get better.
        if refused.resent {
            return self.refuse(refused, said);
        }
        // What was reported lost must not be executed after all.
        if request.is_some() && generation <= self.lost_generation {
            return self.refuse(refused, UpstreamError::SessionGone(Box::new(said)));
        }
        if generation == self.generation && self.is_in_use() {
            tracing::info!("the server has ended the session, opening it again");
            if self.answers_come_on_stream() {
                let ended = UpstreamError::SessionLost("it has ended it".into());
                self.report_lost(ended, request);
            }
            self.open();
        }
        let again = Outbound {
            resent: true,
            delay: Duration::ZERO,
            ..refused
        };
        if request.is_some() {
            return self.send(again);
        }
        // Those behind it have waited for it.
        self.notifications.push_front(again);
        if matches!(self.phase, Phase::Lost) {
            self.open();
        }
    }

    pub(super) fn listening_ended(&mut self, end: ListenEnd) {
        let ListenEnd::SessionLost(error) = end else {
            return;
        };
        tracing::info!(%error, "the session is lost");
        if self.answers_come_on_stream() {
            self.report_lost(error.clone(), None);
        }
        self.phase = Phase::Lost;
        let lost = match &error {
            UpstreamError::SessionGone(_) | UpstreamError::SessionLost(_) => error.clone(),
            // With the stream of HTTP+SSE the session is lost, whatever broke it.
            error => UpstreamError::SessionLost(error.to_string()),
        };
        self.deps.server.failed(&lost);
        self.state.send_replace(SessionState::Lost(error));
        if !self.parked.is_empty() {
            self.open();
        }
    }
}
