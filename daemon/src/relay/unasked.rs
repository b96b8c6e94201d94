//! Shims for which nobody is asked to sign in: where somebody would have to, they are
//! told to end. Knows no shim and no sign-in.
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

    /// Says what to tell the shim if it cannot go on; only once nothing is owed to it.
    pub(super) fn needs_person(&mut self) -> Option<String> {
        let (unasked, sentence) = self.sign_in.unasked.take()?;
        let now = self.deps.spec.tokens.as_ref()?.current();
        // Somebody may have signed in meanwhile, for another command.
        (now.is_none() || now == unasked.token).then_some(sentence)
    }
}
