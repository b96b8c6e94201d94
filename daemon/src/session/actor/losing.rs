//! The loss of a session: who has to hear of it, and what becomes of what waits.

use super::{Session, SessionState};
use crate::session::exchange::{Inbound, OutboundKind, Upstream};
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
            up_to: self.highest_id,
            unsent: parked.chain(refused).collect(),
        };
        let inbox = self.inbox.clone();
        self.tasks.spawn(async move {
            drop(inbox.deliver(lost).await);
            TaskEnd::Aside
        });
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
        self.state.send_replace(SessionState::Lost(error));
        if !self.parked.is_empty() {
            self.open();
        }
    }
}
