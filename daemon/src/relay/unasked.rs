//! Shims for which nobody is asked to sign in: where somebody would have to, or to see to
//! a token, they are told to end. Knows no shim and no sign-in.
//!
//! Invariant: no relay ends while it owes an answer, or for want of access to one thing.

use super::{Relay, fault};
use crate::oauth::challenge::ChallengeError;
use crate::oauth::token_source::AccessToken;
use crate::upstream::{Refusal, UpstreamError};

/// A token that only somebody who signs in could replace.
#[derive(Debug)]
pub(super) struct Unasked {
    /// The token that was refused; `None`: there was none.
    token: Option<AccessToken>,
    /// Whether it is good for other requests.
    lacks_scope: bool,
}

impl Unasked {
    /// The one that was refused so.
    pub(super) fn of(refusal: &Refusal) -> Self {
        Self {
            token: refusal.token.clone(),
            lacks_scope: refusal.challenge.error == Some(ChallengeError::InsufficientScope),
        }
    }
}

impl Relay {
    /// Notes that nobody was asked for a token.
    pub(super) fn note_unasked(&mut self, unasked: Unasked, error: &UpstreamError) {
        if self.lease.is_none() || !unasked.lacks_scope {
            let sentence = fault::sentence(self.deps.whom(), error);
            self.sign_in.unasked = Some((unasked, sentence));
        }
    }

    /// Notes that there is no token, or none that is good, before anything was reached
    /// with one: somebody has to see to it, and nobody is asked to.
    pub(super) fn note_refused(&mut self, error: &UpstreamError) {
        let wants_token = match error {
            UpstreamError::NoToken(_) => true,
            UpstreamError::NotSignedIn { status, .. } => *status == 401,
            UpstreamError::Unauthorized(refusal) => refusal.status == 401,
            _ => false,
        };
        let may_wait = !self.deps.non_interactive || self.lease.is_some();
        if !wants_token || may_wait || self.sign_in.unasked.is_some() {
            return;
        }
        let unasked = Unasked {
            token: self.token_in_use(),
            lacks_scope: false,
        };
        let sentence = fault::sentence(self.deps.whom(), error);
        self.sign_in.unasked = Some((unasked, sentence));
    }

    fn token_in_use(&self) -> Option<AccessToken> {
        self.deps.spec.tokens.as_ref()?.current()
    }

    /// Says what to tell the shim if it cannot go on; only once nothing is owed to it.
    pub(super) fn needs_person(&mut self) -> Option<String> {
        let (unasked, sentence) = self.sign_in.unasked.take()?;
        let now = self.token_in_use();
        // Somebody may have signed in meanwhile, for another command.
        (now.is_none() || now == unasked.token).then_some(sentence)
    }
}
