//! What the actor does at its time: renews tokens that are used, lets those lapse that
//! nobody uses, and has a new token sent once more that the server does not know yet.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::Unattended;
use crate::oauth::grant_type::GrantType;
use crate::oauth::token_source::Request;

/// The wall clock is looked at this often: timers stand still while the machine
/// sleeps, and nobody says when a token is used.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(60);

/// How long a server has to hear of a token that another has given.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Who waits to send the token in use once more.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    waiters: Vec<Request>,
    /// When it is sent again; refusals after that count.
    until: Option<Instant>,
}

impl Doubts {
    /// Forgets the token, which is not the one in use any more; returns who waited.
    pub(super) fn over(&mut self) -> Vec<Request> {
        std::mem::take(self).waiters
    }

    /// Counts those who wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiters.len()
    }
}

impl Unattended {
    /// Says whether a refusal of the new token in use is the first, or comes along with
    /// that.
    pub(super) fn may_doubt(&self) -> bool {
        self.doubts.until.is_none_or(|until| until > Instant::now())
    }

    /// Lets a request wait until the token is sent once more.
    pub(super) fn doubt(&mut self, request: Request) {
        self.doubts
            .until
            .get_or_insert_with(|| Instant::now() + PATIENCE);
        self.doubts.waiters.push(request);
    }

    /// Returns when the clock is looked at next.
    pub(super) fn wake(&self) -> Option<Instant> {
        let now = Instant::now();
        let in_time = |at: SystemTime| {
            let ahead = at.duration_since((self.tools.now)()).unwrap_or_default();
            now + ahead.min(LOOK_AT_CLOCK)
        };
        let is_idle = self.obtaining.is_none() && self.log_outs.is_empty();
        let renew = self.renew_at.filter(|_| is_idle).map(|at| {
            let due = match self.is_used() || at > (self.tools.now)() {
                true => in_time(at),
                false => now + LOOK_AT_CLOCK,
            };
            self.failures.until().map_or(due, |until| due.max(until))
        });
        let lapse = self.ends().filter(|_| is_idle).map(in_time);
        let doubts = self.doubts.until.filter(|_| self.doubts.waiting() > 0);
        [renew, lapse, doubts].into_iter().flatten().min()
    }

    /// Begins what is due.
    pub(super) fn look_at_clock(&mut self) {
        self.look_at_acceptance();
        self.try_again();
        if self.obtaining.is_some() || !self.log_outs.is_empty() {
            return;
        }
        let now = (self.tools.now)();
        let is_due = |at: Option<SystemTime>| at.is_some_and(|at| at <= now);
        if is_due(self.renew_at) && self.is_used() && self.failures.until().is_none() {
            self.obtain(false);
        } else if is_due(self.ends()) {
            // The next request gets another, without showing this one.
            self.withdraw();
        }
    }

    /// Lets those try again that have waited long enough.
    fn try_again(&mut self) {
        let is_over = self
            .doubts
            .until
            .is_some_and(|until| until <= Instant::now());
        let Some(current) = self.in_use.as_ref().filter(|_| is_over) else {
            return;
        };
        for request in std::mem::take(&mut self.doubts.waiters) {
            drop(request.reply.send(Ok(current.token.clone())));
        }
    }

    /// Says whether somebody uses the token: then another is obtained in time.
    fn is_used(&self) -> bool {
        let in_use = self.in_use.as_ref();
        self.reads_a_file() || in_use.is_some_and(|in_use| in_use.token.is_accepted())
    }

    /// Returns when the token in use ends, if we can have another then.
    fn ends(&self) -> Option<SystemTime> {
        let in_use = self.in_use.as_ref().filter(|_| !self.reads_a_file())?;
        // What was over when it came is for the server to judge.
        in_use.grant.life.and(in_use.grant.expires_at)
    }

    pub(super) fn runs_a_program(&self) -> bool {
        matches!(self.identity.grant_type, GrantType::TokenCommand(_))
    }

    pub(super) fn reads_a_file(&self) -> bool {
        matches!(self.identity.grant_type, GrantType::TokenFile(_))
    }
}

pub(super) async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}
