//! What the actor obtains, and what becomes of it.

use std::time::Duration;

use tokio::task::JoinError;

use super::{Done, InUse, MAX_TRIED, Unattended, told};
use crate::oauth::grant::Grant;
use crate::oauth::obtain::{Errand, ObtainError, Obtained, Shown};
use crate::oauth::refresh;
use crate::oauth::token_source::{AccessToken, Held, TokenError};

/// Tokens are not renewed unasked more often than this, however short they live.
const MIN_INTERVAL: Duration = Duration::from_secs(5);

/// How often a token file is looked at.
const FILE_INTERVAL: Duration = Duration::from_secs(5);

impl Unattended {
    /// Obtains a token; `is_refused`: since the server refuses the one in use.
    pub(super) fn obtain(&mut self, is_refused: bool) {
        self.obtaining = Some(is_refused);
        self.errand_wants = self.wanting();
        let errand = Errand {
            tools: self.tools.clone(),
            identity: self.identity.clone(),
            challenge: self.challenge.clone(),
            was_asked: self.was_asked,
            before: self.before.clone(),
            wanting: self.errand_wants.clone(),
            refused: self.refused_files(),
        };
        self.tasks
            .spawn(async move { Done::Obtained(errand.run().await.map(Box::new)) });
    }

    /// Returns what is not to be shown again so soon.
    fn refused_files(&self) -> Option<Shown> {
        match &self.failure {
            Some(ObtainError::RefusedFile(_, shown)) if self.failures.until().is_some() => {
                Some(shown.clone())
            }
            _ => None,
        }
    }

    pub(super) fn done(&mut self, done: Result<Done, JoinError>) {
        self.look_at_acceptance();
        match done {
            Ok(Done::Obtained(obtained)) => {
                let is_second = self.obtaining.take().unwrap_or_default();
                match obtained {
                    Ok(obtained) => self.obtained(*obtained, is_second),
                    Err(error) => self.failed(error),
                }
            }
            Ok(Done::LoggedOut(logged_out)) => self.logged_out(logged_out),
            Err(error) => {
                tracing::error!(%error, "a part of a grant panicked");
                self.obtaining = None;
                self.failed(ObtainError::Transient("an internal error".into()));
            }
        }
        self.log_out_if_possible();
    }

    fn obtained(&mut self, obtained: Obtained, is_second: bool) {
        self.failures.over();
        self.failure = None;
        self.tried.clear();
        let Obtained { grant, is_new } = obtained;
        let known = self.in_use.as_ref();
        if known.is_some_and(|known| known.grant.access_token == grant.access_token) {
            return self.still_the_same(grant, is_second);
        }
        let was_asked_for = is_second || known.is_some();
        if is_second {
            self.renewed.note();
            // Ends as soon as the server takes one.
            self.refusals.failed();
        }
        if was_asked_for {
            tracing::info!(account = %self.account(), "a token was renewed");
            self.last_renewal = Some((self.tools.now)());
        }
        self.generation += 1;
        let Some(token) = AccessToken::new(self.generation, &grant, false) else {
            let why = format!("the token from {} fits into no header", self.account());
            return self.failed(ObtainError::Here(why));
        };
        let is_given = self.identity.grant_type.is_given();
        self.schedule(&grant);
        self.before = Some(grant.clone());
        self.in_use = Some(InUse {
            grant,
            token: token.clone(),
            // Nobody knows since when there are others' tokens.
            is_new: is_new && !is_given,
            is_proven: false,
            is_second,
        });
        self.waiters.extend(self.doubts.over());
        self.held.send_replace(Held {
            ready: true,
            token: Some(token.clone()),
        });
        // Status before answers: who is answered may ask for it.
        self.say_status();
        for waiter in std::mem::take(&mut self.waiters) {
            match waiter.dpop.takes(token.is_bound()) {
                true => drop(waiter.reply.send(Ok(token.clone()))),
                false => self.renew(waiter),
            }
        }
    }

    /// The same token came again: whoever was refused with it is told whose it is.
    fn still_the_same(&mut self, grant: Grant, is_second: bool) {
        self.schedule(&grant);
        if is_second {
            self.refusals.failed();
            if let Some(in_use) = &mut self.in_use {
                in_use.is_second = true;
            }
        }
        if let Some(in_use) = &mut self.in_use {
            in_use.grant = grant;
        }
        self.say_status();
        let current = self.in_use.as_ref().map(|in_use| in_use.token.clone());
        for waiter in std::mem::take(&mut self.waiters) {
            let answer = match &current {
                Some(current) if waiter.is_answered_by(current) => Ok(current.clone()),
                _ => Err(self.refused(&waiter)),
            };
            drop(waiter.reply.send(answer));
        }
    }

    pub(super) fn failed(&mut self, error: ObtainError) {
        if self.is_worth_asking_for(&error) {
            self.failure = Some(error);
            return self.obtain(self.in_use.is_some());
        }
        if let (ObtainError::Unchanged, Some(known)) = (&error, &self.failure) {
            // Nothing was tried, so the pause is not longer for it.
            let answer = told(known);
            return self.answer_all(&answer);
        }
        match &error {
            ObtainError::SignIn { .. } => tracing::debug!("somebody has to sign in"),
            ObtainError::Unasked(why) => tracing::debug!(%why, "no token yet"),
            error => {
                tracing::warn!(account = %self.account(), %error, "no token could be obtained");
            }
        }
        if self.tried.len() < MAX_TRIED && !self.was_tried() {
            self.tried.push(self.identity.clone());
        }
        match &error {
            ObtainError::Unasked(_) | ObtainError::SignIn { .. } => {}
            ObtainError::Later(_, after) => self.failures.failed_for(*after),
            _ => self.failures.failed(),
        }
        let answer = match (&error, self.was_asked) {
            // The challenge did not help.
            (ObtainError::Unasked(why), true) => TokenError::Rejected(why.clone()),
            _ => told(&error),
        };
        self.failure = Some(error).filter(|error| !matches!(error, ObtainError::Unasked(_)));
        self.say_status();
        self.answer_all(&answer);
    }

    /// Answers everybody who waits: with the token in use, if that will do.
    fn answer_all(&mut self, answer: &TokenError) {
        let current = self.in_use.as_ref().map(|in_use| in_use.token.clone());
        for waiter in std::mem::take(&mut self.waiters) {
            let answer = match &current {
                Some(current) if waiter.is_answered_by(current) => Ok(current.clone()),
                _ => Err(answer.clone()),
            };
            drop(waiter.reply.send(answer));
        }
    }

    /// Decides when this token is renewed unasked.
    fn schedule(&mut self, grant: &Grant) {
        let now = (self.tools.now)();
        self.renew_at = match self.reads_a_file() {
            true => Some(now + FILE_INTERVAL),
            false => grant
                .renew_at(refresh::part_of_life())
                .map(|at| at.max(now + MIN_INTERVAL)),
        };
    }

    /// Takes the token out of use.
    pub(super) fn withdraw(&mut self) {
        self.waiters.extend(self.doubts.over());
        self.in_use = None;
        self.renew_at = None;
        self.held.send_modify(|held| held.token = None);
    }
}
