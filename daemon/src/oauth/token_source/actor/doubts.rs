//! Tokens that the server refuses although they were given just now. It may know of
//! them a moment later: clocks differ, and what one server gives another has to hear
//! of. So they are sent once more before anybody is asked to sign in again.

use std::time::Duration;

use tokio::time::Instant;

use super::{Actor, Origin};
use crate::oauth::token_source::{AccessToken, Request};

/// How long a server has to hear of a token.
const PATIENCE: Duration = Duration::from_millis(1500);

/// A token that is refused sooner than this after somebody signed in for it, and was
/// never accepted, will not be better next time.
const YOUNG_SIGN_IN: Duration = Duration::from_secs(60);

/// Likewise after a refresh; a sign-in may be better.
const YOUNG_REFRESH: Duration = Duration::from_secs(10);

/// Tokens that live shorter could be renewed for ever without ever being accepted.
const SHORTEST_LIFE: Duration = Duration::from_secs(1);

/// Who waits to send the token in use once more.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    waiters: Vec<Request>,
    /// When it is sent again; refusals after that count.
    until: Option<Instant>,
}

impl Doubts {
    /// Returns when the waiting ends, if somebody waits.
    pub(super) fn end(&self) -> Option<Instant> {
        self.until.filter(|_| !self.waiters.is_empty())
    }

    /// Forgets the token, which is not the one in use any more; returns who waited.
    pub(super) fn over(&mut self) -> Vec<Request> {
        std::mem::take(self).waiters
    }

    /// Counts those who wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiters.len()
    }
}

impl Actor {
    /// Returns where the token in use comes from if that was just now and it has not
    /// been accepted yet.
    pub(super) fn unproven(&self, rejected: Option<&AccessToken>) -> Option<Origin> {
        let young = match self.origin {
            Origin::Stored => return None,
            Origin::Refreshed => YOUNG_REFRESH,
            Origin::SignedIn => YOUNG_SIGN_IN,
        };
        let was_accepted = rejected.is_some_and(AccessToken::is_accepted);
        let grant = self.grant.as_ref()?;
        // What has ended is rejected for that alone: nobody used it in time, or the
        // machine slept, where timers stand still.
        let has_ended = grant.life >= Some(SHORTEST_LIFE) && grant.has_expired((self.tools.now)());
        let unproven = !was_accepted && !has_ended && self.since.elapsed() < young;
        unproven.then_some(self.origin)
    }

    /// Says whether a refusal of the new token in use is the first, or comes along with
    /// that: then its request waits.
    pub(super) fn is_doubtful(&mut self) -> bool {
        let now = Instant::now();
        *self.doubts.until.get_or_insert(now + PATIENCE) > now
    }

    /// Lets a request wait until the token is sent once more.
    pub(super) fn doubt(&mut self, request: Request) {
        self.doubts.waiters.push(request);
    }

    /// Lets those try again that have waited long enough.
    pub(super) fn try_again(&mut self) {
        if self.doubts.end().is_none_or(|end| end > Instant::now()) {
            return;
        }
        let current = self.held.borrow().token.clone();
        for request in std::mem::take(&mut self.doubts.waiters) {
            match &current {
                Some(current) => drop(request.reply.send(Ok(current.clone()))),
                None => self.renew(request),
            }
        }
    }
}
