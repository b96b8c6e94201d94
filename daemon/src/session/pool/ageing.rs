//! Which idle sessions stay longer than others, and which end before their time.

use std::time::Duration;

use tokio::time::Instant;

use super::asking::SignedOut;
use super::{Entry, SessionPool};
use crate::oauth::token_source::TokenSource;
use crate::session::Outdated;
use crate::session::handle::SessionHandle;

impl SessionPool {
    /// Says whether a session is the only one of a name that is kept warm.
    pub(super) fn is_kept_warm(&self, number: u64) -> bool {
        let Some(entry) = self.entries.get(&number) else {
            return false;
        };
        let terms = &entry.terms;
        let another = |(other, known): (&u64, &Entry)| {
            *other != number && known.terms.name == terms.name && known.session.is_usable()
        };
        terms.warm && entry.session.is_usable() && !self.entries.iter().any(another)
    }

    /// Keeps an idle session for as long again; false if it is not idle.
    pub(super) fn postpone(&mut self, number: u64) -> bool {
        let Some(entry) = self.entries.get_mut(&number) else {
            return false;
        };
        let Some(until) = &mut entry.idle_until else {
            return false;
        };
        self.expiries.remove(&(*until, number));
        // Even if it is kept for no time at all.
        let for_long = entry.terms.idle_for.unwrap_or(self.config.idle_for);
        *until = Instant::now() + for_long.max(Duration::from_secs(1));
        self.expiries.insert((*until, number), ());
        true
    }

    /// Ends what was made from a configuration that is no longer in force: now if
    /// nobody has it, else when it is given back.
    pub(super) fn end_outdated(&mut self, outdated: &Outdated) {
        let mut idle = Vec::new();
        for (number, entry) in &mut self.entries {
            if outdated.covers(&entry.terms) {
                entry.outdated = true;
                idle.extend(entry.idle_until.map(|_| *number));
            }
        }
        for number in idle {
            self.remove(number);
        }
        self.serve_waiting();
    }

    /// Ends the sessions of these tokens that nobody has, and returns them; those in
    /// use, likewise, are kept from others until they end.
    pub(super) fn signed_out(&mut self, tokens: &TokenSource) -> SignedOut {
        let mut idle = Vec::new();
        let mut used = Vec::new();
        for (number, entry) in &mut self.entries {
            let of = entry.key.spec.tokens.as_ref();
            // Whichever of them it sends: it is one grant.
            if of.is_some_and(|of| of.hash() == tokens.hash()) {
                entry.outdated = true;
                match entry.idle_until {
                    Some(_) => idle.push(*number),
                    None => used.push(entry.session.clone()),
                }
                self.kinds.remove(&entry.key);
            }
        }
        let ended = idle.iter().filter_map(|number| self.take_out(*number));
        let ending: Vec<_> = ended.map(|entry| entry.session).collect();
        ending.iter().for_each(SessionHandle::close);
        self.serve_waiting();
        SignedOut { ending, used }
    }
}
