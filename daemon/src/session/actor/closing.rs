//! The end of a session: what is still to be said is said, then DELETE.

use super::Session;
use crate::session::exchange::{OutboundKind, Upstream};
use crate::session::phase::{Phase, TaskEnd};

impl Session {
    /// A server may have made the session whose answer is under way.
    async fn await_opening(&mut self) {
        while let Some(end) = self.tasks.join_next().await {
            if let Ok(TaskEnd::Opened(opened)) = end {
                if let Ok(opened) = *opened {
                    self.opened(opened);
                }
                return;
            }
        }
    }

    /// Says what is still to be said (cancellations), then ends the session.
    pub(super) async fn end(&mut self) {
        if matches!(self.phase, Phase::Opening) {
            self.await_opening().await;
        }
        let open = match std::mem::replace(&mut self.phase, Phase::Lost) {
            Phase::Uninitialized(open) | Phase::Initializing(open) | Phase::Ready(open) => open,
            Phase::Opening | Phase::Lost => return,
        };
        while self.saying > 0 {
            match self.tasks.join_next().await {
                Some(Ok(TaskEnd::Exchange {
                    kind: OutboundKind::Notification,
                    ..
                })) => self.saying -= 1,
                Some(_) => {}
                None => self.saying = 0,
            }
        }
        for next in std::mem::take(&mut self.notifications) {
            drop(open.upstream.post(next.message).await);
        }
        self.tasks.shutdown().await;
        if let Upstream::StreamableHttp(endpoint) = &open.upstream
            && endpoint.has_session()
            && let Err(error) = endpoint.delete().await
        {
            tracing::debug!(%error, "the session could not be ended at the server");
        }
    }
}
