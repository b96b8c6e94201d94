//! What the actor does with a request for a token: which of them a token that is
//! there already answers, which wait, which are refused at once.

use std::time::Duration;

use super::{Actor, Origin, SigningIn, Work};
use crate::oauth::challenge::{Challenge, ChallengeError};
use crate::oauth::sign_in::{PendingSignIn, SignInError};
use crate::oauth::token_source::brakes::Lack;
use crate::oauth::token_source::{AccessToken, Request, TokenError};

/// A token that is rejected sooner than this after somebody signed in for it, and was
/// never accepted, will not be better next time.
const YOUNG_SIGN_IN: Duration = Duration::from_secs(60);

/// Likewise after a refresh; a sign-in may be better.
const YOUNG_REFRESH: Duration = Duration::from_secs(10);

/// Requests that wait. Past it they are refused: each is a request of a client.
const MAX_WAITERS: usize = 4096;

impl Actor {
    pub(super) fn renew(&mut self, request: Request) {
        let current = self.held.borrow().token.clone();
        if let Some(current) = current
            && request.rejected.as_ref() != Some(&current)
        {
            // It was replaced meanwhile.
            drop(request.reply.send(Ok(current)));
            return;
        }
        // Whoever asks without having been refused knows less than the last one.
        if request.challenge != Challenge::default() {
            if request.challenge.resource_metadata != self.challenge.resource_metadata {
                // What failed without this hint may work with it.
                self.refreshes.over();
            }
            self.challenge = request.challenge.clone();
        }
        if request.wanting.explicit {
            self.sign_ins.over();
            self.refreshes.over();
            self.step_ups.forget();
            self.offered = true;
        }
        if self.waiters.len() >= MAX_WAITERS {
            let busy = TokenError::Transient("too many requests wait for its token".into());
            drop(request.reply.send(Err(busy)));
            return;
        }
        match &self.work {
            Work::Idle if self.loaded => self.decide(request),
            Work::Idle => {
                self.waiters.push(request);
                self.load();
            }
            _ => self.waiters.push(request),
        }
    }

    /// Decides for a request while no refresh is under way: its token is the one in use,
    /// or there is none.
    fn decide(&mut self, request: Request) {
        let age = self.since.elapsed();
        let has_token = self.grant.is_some();
        let was_accepted = request
            .rejected
            .as_ref()
            .is_some_and(AccessToken::is_accepted);
        let can_refresh = self
            .grant
            .as_ref()
            .is_some_and(|grant| grant.refresh_token.is_some());
        if has_token && request.challenge.error == Some(ChallengeError::InsufficientScope) {
            return self.step_up(request);
        }
        if has_token
            && self.origin == Origin::SignedIn
            && age < YOUNG_SIGN_IN
            && !was_accepted
            && !request.wanting.explicit
        {
            // Nobody is asked at once again.
            self.sign_ins.failed();
            let said = request.challenge.description.as_ref();
            let said = said.map(|said| format!(" ({said})")).unwrap_or_default();
            let sentence = format!("it rejects the token of the sign-in just finished{said}");
            drop(request.reply.send(Err(TokenError::Rejected(sentence))));
            return;
        }
        let just_refreshed =
            self.origin == Origin::Refreshed && age < YOUNG_REFRESH && !was_accepted;
        if !can_refresh || just_refreshed {
            self.ask_somebody(vec![request], None);
        } else if self.refreshes.until().is_none() {
            self.waiters.push(request);
            self.refresh(true);
        } else if self.refused {
            self.ask_somebody(vec![request], None);
        } else {
            let why = self.trouble.clone().unwrap_or_default();
            drop(request.reply.send(Err(TokenError::Transient(why))));
        }
    }

    /// Asks for the scopes that an operation lacks, in addition to all others.
    fn step_up(&mut self, request: Request) {
        let scope = request.challenge.scope.as_ref();
        let lack: Lack = (
            request.wanting.operation.clone(),
            scope.map(ToString::to_string).unwrap_or_default(),
        );
        if self.signing_in.is_none()
            && let Some(why) = self.step_ups.refusal(&lack)
        {
            drop(request.reply.send(Err(TokenError::Rejected(why))));
            return;
        }
        self.ask_somebody(vec![request], Some(lack));
    }

    /// Has somebody sign in for these requests, unless somebody has.
    pub(super) fn ask_somebody(&mut self, requests: Vec<Request>, lack: Option<Lack>) {
        self.look_first(requests, lack);
    }

    /// Begins to sign somebody in for these requests, unless that is under way, or
    /// they do not want it, or it has just failed.
    pub(super) fn ask_somebody_now(&mut self, requests: Vec<Request>, lack: Option<Lack>) {
        self.needs_login |= lack.is_none() && self.offered;
        if let Some(signing_in) = &mut self.signing_in {
            signing_in.waiters.extend(requests);
            return self.progressed();
        }
        let explicit = requests.iter().any(|request| request.wanting.explicit);
        let allowed = explicit || self.sign_ins.until().is_none();
        let (ask, refuse): (Vec<_>, Vec<_>) = requests
            .into_iter()
            .partition(|request| request.wanting.may_sign_in && allowed);
        for request in refuse {
            drop(request.reply.send(Err(self.login_required(None))));
        }
        if ask.is_empty() {
            return;
        }
        let challenge = ask
            .last()
            .map(|request| request.challenge.clone())
            // A person asks without having been refused.
            .filter(|challenge| *challenge != Challenge::default())
            .unwrap_or_else(|| self.challenge.clone());
        if let Some(lack) = &lack {
            self.step_ups.asked(lack);
        }
        self.sign_in(challenge, lack, ask);
    }

    fn ask_somebody_again(&mut self, waiters: Vec<Request>) {
        if !waiters.is_empty() {
            self.ask_somebody(waiters, None);
        }
    }

    /// Tells everybody who waits for a sign-in where it is, once that is known.
    pub(super) fn progressed(&mut self) {
        let (Some(pending), Some(signing_in)) = (self.pending(), &mut self.signing_in) else {
            return;
        };
        for waiter in std::mem::take(&mut signing_in.waiters) {
            let error = self.login_required(Some(pending.clone()));
            drop(waiter.reply.send(Err(error)));
        }
    }

    pub(super) fn login_required(&self, sign_in: Option<PendingSignIn>) -> TokenError {
        if sign_in.is_none() && !self.offered {
            return TokenError::NotOffered;
        }
        TokenError::LoginRequired {
            why: self.trouble.clone().filter(|_| sign_in.is_none()),
            sign_in,
        }
    }

    /// Answers everybody who waits for a sign-in that gave nothing.
    pub(super) fn sign_in_failed(&mut self, error: &SignInError, ended: SigningIn) {
        let why = error.to_string();
        if let SignInError::Interrupted(_) = error {
            // Nobody said no: whoever waits gets another one at once.
            return self.ask_somebody_again(ended.waiters);
        }
        match (error, &ended.lack) {
            (SignInError::Denied(_), Some(lack)) => self.step_ups.denied(lack),
            (_, Some(_)) => {}
            (_, None) => self.sign_ins.failed(),
        }
        self.trouble = Some(why.clone());
        if *error == SignInError::NotOffered {
            self.offered = false;
            self.needs_login = false;
            self.trouble = None;
        }
        for waiter in ended.waiters {
            let answer = match error {
                SignInError::Transient(_) => TokenError::Transient(why.clone()),
                SignInError::Failed(_) | SignInError::Denied(_) | SignInError::Client(_) => {
                    TokenError::Rejected(why.clone())
                }
                SignInError::NotOffered | SignInError::GivenUp | SignInError::Interrupted(_) => {
                    self.login_required(None)
                }
            };
            drop(waiter.reply.send(Err(answer)));
        }
    }
}
