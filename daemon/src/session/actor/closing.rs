//! The end of a session: what is still to be said is said, then DELETE, unless it
//! is left behind for the next daemon.

use super::Session;
use crate::session::authorize;
use crate::session::exchange::{OutboundKind, Upstream};
use crate::session::handle::Keep;
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
        // What is not taken out is forgotten at the end.
        let keeping = self.keeping.get().copied();
        let left_behind = keeping.zip(self.note.take_if(|_| keeping.is_some()));
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
            drop(authorize::post(&open.upstream, next.message).await);
        }
        self.tasks.shutdown().await;
        if let Some((keep, note)) = left_behind {
            if keep == Keep::Clean {
                self.deps.kept.update(&self.lease, note.cleaned()).await;
            }
            return;
        }
        if let Upstream::StreamableHttp(endpoint) = &open.upstream
            && endpoint.session().is_some()
            && let Err(error) = authorize::delete(endpoint).await
        {
            tracing::debug!(%error, "the session could not be ended at the server");
        }
    }
}
