//! Tokens that are bound to a key and tokens that are not: which of them a request is
//! sent with. All commands of an identity share one grant, whatever they say of
//! `--dpop`; none of them sends a token of the kind that it excludes.

use super::{AccessToken, READY_TIMEOUT, Request, TokenSource, Wanting};
use crate::oauth::dpop::Wanted;

impl Request {
    /// Says whether it can be sent with this token and has not been.
    pub(super) fn is_answered_by(&self, token: &AccessToken) -> bool {
        self.dpop.takes(token.is_bound()) && self.rejected.as_ref() != Some(token)
    }

    /// Says whether this token was refused since it is not bound to a key, so that it
    /// will be no better a moment later.
    pub(super) fn demands_another_kind(&self, token: &AccessToken) -> bool {
        self.challenge.bound_tokens == Wanted::Demanded && !token.is_bound()
    }
}

/// Why nothing is to be had from a server that takes bound tokens only.
pub(super) const EXCLUDED: &str = "it takes tokens that are bound to a key (DPoP) and no others, which --dpop never excludes: do without that";

/// Why there is no end to changing tokens.
pub(super) const DISAGREE: &str = "commands that share its tokens disagree about --dpop, one says always and another never: make them agree";

impl TokenSource {
    /// Returns the token to send; `None`: the server gets none. One of the kind that
    /// `--dpop` excludes is replaced first, where nobody has to do anything for that.
    pub(crate) async fn to_send(&self) -> Option<AccessToken> {
        let current = self.current();
        if current.is_some() || self.held.borrow().token.is_none() {
            return current;
        }
        let wanting = Wanting {
            may_sign_in: false,
            ..Wanting::default()
        };
        let replacing = self.renew(None, None, wanting);
        drop(tokio::time::timeout(READY_TIMEOUT, Box::pin(replacing)).await);
        self.current()
    }
}
