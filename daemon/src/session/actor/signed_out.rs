//! A session belongs to whoever was signed in when it was opened: it ends when they
//! sign out, and where somebody has signed in since, another is opened.

use tokio::sync::oneshot;

use super::{Session, SessionState};
use crate::session::authorize;
use crate::session::exchange::Upstream;
use crate::session::phase::{Open, Phase, TaskEnd};
use crate::upstream::UpstreamError;

impl Session {
    /// Gives the session up if it was opened for an earlier sign-in than the one whose
    /// token the next message would carry.
    pub(super) fn check_sign_in(&mut self) {
        let now = self.key.spec.signed_in_at();
        let is_another = self.key.signed_in_at.is_some() && self.key.signed_in_at != now;
        // Without a token nothing can be done in it, and the next one tells.
        if now.is_some() && is_another && self.is_open() {
            tracing::info!("somebody has signed in anew, opening another session");
            if let Some(Upstream::StreamableHttp(endpoint)) = self
                .give_up("somebody has signed in anew")
                .map(|old| old.upstream)
                && endpoint.session().is_some()
            {
                self.tasks.spawn(async move {
                    // It may not be theirs to end: nothing is done about that.
                    drop(endpoint.delete().await);
                    TaskEnd::Aside
                });
            }
        }
        if self.key.signed_in_at.is_none() && !matches!(self.phase, Phase::Opening) {
            self.key.signed_in_at = now;
        }
    }

    /// Ends the session at the server with the token that is about to be revoked.
    pub(super) fn signed_out(&mut self, ended: oneshot::Sender<()>) {
        if !self.is_open() {
            return;
        }
        let old = self.give_up("somebody has signed out");
        self.tasks.spawn(async move {
            if let Some(Upstream::StreamableHttp(endpoint)) = old.as_ref().map(|old| &old.upstream)
                && endpoint.session().is_some()
                && let Err(error) = authorize::delete(endpoint).await
            {
                tracing::debug!(%error, "the session could not be ended at the server");
            }
            drop(ended);
            TaskEnd::Aside
        });
    }

    fn is_open(&self) -> bool {
        !matches!(self.phase, Phase::Opening | Phase::Lost)
    }

    /// Lets go of the open session; the next message opens another.
    fn give_up(&mut self, why: &str) -> Option<Open> {
        let error = UpstreamError::SessionLost(why.into());
        if self.answers_come_on_stream() {
            self.report_lost(error.clone(), None);
        }
        self.state.send_replace(SessionState::Lost(error));
        match std::mem::replace(&mut self.phase, Phase::Lost) {
            Phase::Uninitialized(open) | Phase::Initializing(open) | Phase::Ready(open) => {
                Some(open)
            }
            Phase::Opening | Phase::Lost => None,
        }
    }
}
