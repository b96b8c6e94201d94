//! What newer shims say of the same identity: as which client it is asked, and which
//! token is sent.
//!
//! Invariant: shims that take turns do not make each other's failures forgotten.

use std::sync::Arc;

use super::{Actor, Work};
use crate::oauth::dpop;
use crate::oauth::identity::{ClientChoice, Identity};
use crate::oauth::token_source::Request;

/// Of which kind a token is, bound to a key or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Of the kind that is wanted, as far as is known.
    Right,
    /// Of the other.
    Other,
    /// Of the only one that the user lets us send, and the server does not take.
    Excluded,
}

/// Ways to ask that are remembered as tried.
const MAX_TRIED: usize = 8;

impl Actor {
    pub(super) fn use_identity(&mut self, identity: Arc<Identity>) {
        self.identity = identity;
        self.match_token();
        let alike = |tried: &Arc<Identity>| asks_alike(tried, &self.identity);
        if self.tried.len() < MAX_TRIED && !self.tried.iter().any(alike) {
            // What failed as another client need not fail as this one.
            self.sign_ins.over();
            self.refreshes.over();
            self.offered = true;
        }
    }

    /// Takes what whoever asks says of the tokens that are sent.
    pub(super) fn take_word(&mut self, said: dpop::Choice) {
        if dpop::choice(&self.identity) != said {
            let identity = Identity {
                dpop: said,
                ..(*self.identity).clone()
            };
            self.use_identity(Arc::new(identity));
        }
    }

    /// Returns as whom somebody is asked to sign in: a client of the user's is known to
    /// the authorization server that gave it tokens, and is shown to no other.
    pub(super) fn signing_in_as(&self) -> Arc<Identity> {
        let mut identity = self.identity.clone();
        let ClientChoice::PreRegistered {
            client_id,
            issuer: None,
            ..
        } = &identity.client
        else {
            return identity;
        };
        let kept = self.grant.as_ref().and_then(|grant| grant.client.as_ref());
        let Some(kept) = kept.filter(|kept| kept.client_id == *client_id) else {
            return identity;
        };
        let known_to = kept.issuer.clone();
        if let ClientChoice::PreRegistered { issuer, .. } = &mut Arc::make_mut(&mut identity).client
        {
            *issuer = Some(known_to);
        }
        identity
    }

    /// Says of which kind the token in use is to a request.
    pub(super) fn kind_for(&self, request: &Request) -> Kind {
        let held = self.held.borrow();
        match &held.token {
            Some(token) if !request.dpop.takes(token.is_bound()) => Kind::Other,
            Some(token) if request.demands_another_kind(token) => {
                match request.dpop == dpop::Choice::Never {
                    true => Kind::Excluded,
                    false => Kind::Other,
                }
            }
            _ => Kind::Right,
        }
    }

    /// Notes as whom it is tried now.
    pub(super) fn note_tried(&mut self) {
        let alike = |tried: &Arc<Identity>| asks_alike(tried, &self.identity);
        if self.tried.len() < MAX_TRIED && !self.tried.iter().any(alike) {
            self.tried.push(self.identity.clone());
        }
    }

    /// Sends the token of the kind that the newest shim wants. What a refresh under
    /// way brings is of that kind anyway.
    pub(super) fn match_token(&mut self) {
        if self.sends_id_token == self.identity.use_id_token
            || !matches!(self.work, Work::Idle)
            || self.held.borrow().token.is_none()
        {
            return;
        }
        if let Some(grant) = self.grant.clone() {
            let _token = self.hold(grant, self.origin);
            self.decide_for_all();
        }
    }
}

/// Says whether an authorization server is asked the same way, whatever else differs.
fn asks_alike(one: &Identity, other: &Identity) -> bool {
    one.client == other.client
        && one.client_key() == other.client_key()
        && one.client_metadata == other.client_metadata
        && one.scope == other.scope
        && one.resource == other.resource
        && one.use_id_token == other.use_id_token
        && one.allow_missing_pkce == other.allow_missing_pkce
        && one.by_code == other.by_code
        && one.dpop == other.dpop
}
