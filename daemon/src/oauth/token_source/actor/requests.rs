//! What the actor does with a request for a token: which of them a token that is
//! there already answers, which wait, which are refused at once.

use std::time::Duration;

use super::identities::Kind;
use super::{Actor, MAX_REFRESHES, Origin, SigningIn, Work};
use crate::oauth::challenge::{Challenge, ChallengeError};
use crate::oauth::sign_in::{PendingSignIn, Progress, SignInError};
use crate::oauth::token_source::brakes::Lack;
use crate::oauth::token_source::kinds::{DISAGREE, EXCLUDED};
use crate::oauth::token_source::{Request, TokenError};

/// A request tries what failed for others if that is longer ago than this.
const NEXT_ATTEMPT: Duration = Duration::from_secs(5);

/// Requests that wait. Past it they are refused: each is a request of a client.
const MAX_WAITERS: usize = 4096;

impl Actor {
    pub(super) fn renew(&mut self, request: Request) {
        self.look_at_acceptance();
        self.take_word(request.dpop);
        let current = self.held.borrow().token.clone();
        if let Some(current) = current
            && request.is_answered_by(&current)
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
            self.renewed.forget();
            self.step_ups.forget();
            self.tabs.forget();
            self.nobody_came = false;
            self.offered = true;
        }
        if self.waiters.len() + self.doubts.waiting() >= MAX_WAITERS {
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

    /// Takes a failure back that the server has corrected: it accepts the tokens of the
    /// last sign-in after all.
    pub(super) fn look_at_acceptance(&mut self) {
        let token = self.held.borrow().token.clone();
        let accepted = token.filter(|token| token.is_accepted());
        if accepted.is_some_and(|token| self.blamed == Some(token.generation)) {
            self.blamed = None;
            self.sign_ins.over();
        }
    }

    /// Decides for a request while no refresh is under way: its token is the one in use,
    /// or there is none.
    fn decide(&mut self, request: Request) {
        let has_token = self.grant.is_some();
        if has_token && request.challenge.error == Some(ChallengeError::InsufficientScope) {
            return self.step_up(request);
        }
        let kind = self.kind_for(&request);
        if kind == Kind::Excluded {
            return drop(
                request
                    .reply
                    .send(Err(TokenError::Rejected(EXCLUDED.into()))),
            );
        }
        let unproven = self.unproven(request.rejected.as_ref());
        let unproven = unproven.filter(|_| kind == Kind::Right);
        if unproven.is_some() && !request.wanting.explicit {
            if self.is_doubtful() {
                return self.doubt(request);
            }
            if unproven == Some(Origin::SignedIn) {
                return self.blame(request);
            }
        }
        let can_refresh = self
            .grant
            .as_ref()
            .is_some_and(|grant| grant.refresh_token.is_some());
        if !can_refresh && kind == Kind::Other {
            self.trouble = Some(request.dpop.of_no_use().into());
        }
        if !can_refresh || unproven == Some(Origin::Refreshed) {
            return self.ask_somebody(vec![request], None);
        }
        if self.refused && self.refreshes.until().is_some() {
            return self.ask_somebody(vec![request], None);
        }
        let refusal = if !self.renewed.allows() && kind == Kind::Other {
            TokenError::Rejected(DISAGREE.into())
        } else if !self.renewed.allows() {
            let sentence =
                format!("it refuses one token after another, {MAX_REFRESHES} within a minute");
            TokenError::Rejected(sentence)
        } else if self.refreshes.is_over_after(NEXT_ATTEMPT) {
            let is_refused = request.rejected.is_some();
            self.waiters.push(request);
            return self.refresh(is_refused);
        } else {
            TokenError::Transient(self.trouble.clone().unwrap_or_default())
        };
        drop(request.reply.send(Err(refusal)));
    }

    /// Refuses a request whose token somebody has just signed in for: nobody is asked
    /// at once again.
    fn blame(&mut self, request: Request) {
        if self.blamed.replace(self.generation) != Some(self.generation) {
            self.sign_ins.failed();
        }
        let said = request.challenge.description.as_ref();
        let said = said.map(|said| format!(" ({said})")).unwrap_or_default();
        let sentence = format!("it rejects the token of the sign-in just finished{said}");
        drop(request.reply.send(Err(TokenError::Rejected(sentence))));
    }

    /// Asks for the scopes that an operation lacks, in addition to all others.
    fn step_up(&mut self, request: Request) {
        let lack: Lack = request.wanting.operation.clone();
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
        let Some(requests) = self.join(requests) else {
            return self.progressed();
        };
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
        let tab = explicit || (self.tabs.allows() && !self.nobody_came);
        if tab {
            self.tabs.note();
        }
        self.sign_in(challenge, lack, ask, tab);
    }

    /// Lets requests wait for the sign-in under way; returns them if there is none, with
    /// those of one that has to be done in another way.
    fn join(&mut self, mut requests: Vec<Request>) -> Option<Vec<Request>> {
        let asked_for = requests.iter().any(|request| request.wanting.explicit);
        let has_page = |pending: PendingSignIn| pending.url.code().is_none();
        if asked_for && self.identity.by_code && self.pending().is_some_and(has_page) {
            // Whoever wants a code cannot visit that page.
            if let Some(signing_in) = self.signing_in.take() {
                signing_in.abort.abort();
                requests.extend(signing_in.waiters);
            }
        }
        let Some(signing_in) = &mut self.signing_in else {
            return Some(requests);
        };
        // Who asks nobody does not wait for servers to say where it would be either.
        let is_preparing = matches!(*signing_in.progress.borrow(), Progress::Preparing);
        let (join, refuse): (Vec<_>, Vec<_>) = requests
            .into_iter()
            .partition(|request| request.wanting.may_sign_in || !is_preparing);
        signing_in.waiters.extend(join);
        for request in refuse {
            drop(request.reply.send(Err(self.login_required(None))));
        }
        None
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
            // Whoever comes later finds the next page without a tab.
            (SignInError::GivenUp, _) => self.nobody_came = true,
            // The server is asked all the time while a code lives.
            (SignInError::Expired(_), _) => {
                if std::mem::replace(&mut self.nobody_came, true) {
                    self.sign_ins.failed();
                }
            }
            (SignInError::Denied(_), Some(lack)) => self.step_ups.denied(lack),
            (_, Some(_)) => {}
            (_, None) => self.sign_ins.failed(),
        }
        if ended.lack.is_none() && matches!(error, SignInError::Denied(_)) {
            self.scopes_refused = true;
            self.challenge.scope = None;
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
                SignInError::NotOffered
                | SignInError::GivenUp
                | SignInError::Expired(_)
                | SignInError::Interrupted(_) => self.login_required(None),
            };
            drop(waiter.reply.send(Err(answer)));
        }
    }
}
