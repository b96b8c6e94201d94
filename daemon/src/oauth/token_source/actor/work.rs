//! What the actor begins, and what becomes of it.

use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinError;
use tokio::time::Instant;

use super::{Actor, Done, Origin, SigningIn, Work};
use crate::oauth::challenge::Challenge;
use crate::oauth::discovery::Known;
use crate::oauth::grant::Grant;
use crate::oauth::refresh::{self, RefreshJob, Refreshed};
use crate::oauth::registration;
use crate::oauth::sign_in::{self, Ended, Kept, Progress, Wish};
use crate::oauth::store::{StoreError, Stored, Unsaved};
use crate::oauth::token_source::brakes::Lack;
use crate::oauth::token_source::{LoggedOut, Request, TokenError};

/// How long a logout waits for tokens on their way, which have to be revoked too.
const LOG_OUT_PATIENCE: Duration = Duration::from_secs(5);

/// How long it waits for the authorization server.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(8);

/// Why a refresh was in vain.
const NO_ID_TOKEN: &str = "its refresh brings no new ID token, which is what --use-id-token sends: somebody has to sign in whenever that expires";
/// How long nothing is renewed unasked that was refused: the next time would hardly
/// be different, and whoever needs it asks.
const REFUSED_PAUSE: Duration = Duration::from_secs(4 * 3600);

/// Servers that ask for a longer pause are not believed.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

impl Actor {
    pub(super) fn load(&mut self) {
        self.work = Work::Loading;
        let (store, identity) = (self.tools.store.clone(), self.identity.clone());
        self.tasks
            .spawn(async move { Done::Loaded(Box::new(store.load(&identity).await)) });
    }

    /// Renews the tokens; `rejected`: because the server wants no more of them.
    pub(super) fn refresh(&mut self, rejected: bool) {
        let Some(grant) = self.grant.clone() else {
            return;
        };
        self.work = Work::Refreshing;
        let job = RefreshJob {
            tools: self.tools.clone(),
            identity: self.identity.clone(),
            grant,
            unsaved: self.unsaved.clone(),
            challenge: self.challenge.clone(),
            rejected,
        };
        let generation = self.generation;
        let refreshing = self
            .tasks
            .spawn(async move { Done::Refreshed(generation, job.run().await) });
        self.refreshing = Some(refreshing);
    }

    pub(super) fn sign_in(
        &mut self,
        challenge: Challenge,
        lack: Option<Lack>,
        waiters: Vec<Request>,
        tab: bool,
    ) {
        self.note_tried();
        let (say, progress) = watch::channel(Progress::default());
        let more_access = self.grant.as_ref().filter(|_| lack.is_some());
        let challenge = challenge.of_grant(more_access);
        let asked_before = |grant: &Grant| grant.requested_scope.clone().or(grant.scope.clone());
        let wish = Wish {
            known: Known::of(&challenge, self.grant.as_ref()),
            challenge,
            already: self
                .grant
                .as_ref()
                .filter(|_| lack.is_some() || !self.scopes_refused)
                .and_then(asked_before),
            client: self.client.clone(),
            tab,
            signed_in_at: more_access.map(|grant| grant.signed_in_at.unwrap_or_default()),
        };
        let (tools, identity) = (self.tools.clone(), self.signing_in_as());
        let running = sign_in::run(tools, identity, wish, say);
        let abort = self
            .tasks
            .spawn(async move { Done::SignedIn(Box::new(running.await)) });
        self.offered = true;
        self.signing_in = Some(SigningIn {
            progress,
            lack,
            abort,
            waiters,
        });
    }

    pub(super) fn save(&mut self) {
        let Some((grant, unsaved)) = self.grant.clone().zip(self.unsaved.clone()) else {
            return;
        };
        self.work = Work::Saving;
        let (store, hash) = (self.tools.store.clone(), self.identity.hash());
        let generation = self.generation;
        self.tasks.spawn(async move {
            Done::Saved(generation, store.save(&hash, &grant, &unsaved).await)
        });
    }

    /// Forgets the grant, as soon as nothing else is under way.
    pub(super) fn log_out(&mut self, reply: oneshot::Sender<LoggedOut>) {
        self.log_outs.push(reply);
        let by = || Instant::now() + LOG_OUT_PATIENCE;
        self.log_out_by.get_or_insert_with(by);
        self.log_out_if_possible();
    }

    /// Tokens on their way are waited for, but not for ever: they are what has to be
    /// revoked. Any other sign-in ends.
    pub(super) fn log_out_if_possible(&mut self) {
        let is_late = self.log_out_by.is_some_and(|by| by <= Instant::now());
        let is_under_way = matches!(self.work, Work::LoggingOut);
        if is_late || is_under_way {
            self.log_out_by = None;
        }
        if self.log_outs.is_empty() || is_under_way {
            return;
        }
        if is_late && let (Work::Refreshing, Some(refreshing)) = (&self.work, &self.refreshing) {
            refreshing.abort();
            self.work = Work::Idle;
        }
        let busy = !matches!(self.work, Work::Idle) || (self.is_delicate() && !is_late);
        if busy {
            return;
        }
        self.log_out_by = None;
        if let Some(signing_in) = self.signing_in.take() {
            signing_in.abort.abort();
            self.waiters.extend(signing_in.waiters);
        }
        self.forget();
    }

    fn forget(&mut self) {
        let (tools, identity) = (self.tools.clone(), self.identity.clone());
        let grant = self.grant.clone();
        let challenge = self.challenge.clone();
        self.work = Work::LoggingOut;
        self.tasks.spawn(async move {
            let mut logged_out = LoggedOut {
                was_signed_in: grant.is_some(),
                notes: Vec::new(),
            };
            // Revoked first: without the files nobody could do it any more.
            if let Some(grant) = &grant {
                let revoked = revoke(&tools, &identity, &challenge, grant);
                let revoked = tokio::time::timeout(REVOKE_TIMEOUT, revoked).await;
                let late = |_| {
                    Err(not_revoked(
                        "its authorization server did not answer in time",
                    ))
                };
                logged_out.notes.extend(revoked.unwrap_or_else(late).err());
            }
            if let Err(error) = tools.store.forget(&identity.hash()).await {
                logged_out.notes.push(error.to_string());
            }
            Done::LoggedOut(logged_out)
        });
    }

    pub(super) fn done(&mut self, done: Result<Done, JoinError>) {
        self.look_at_acceptance();
        match done {
            Ok(Done::Loaded(loaded)) => self.loaded(*loaded),
            Ok(Done::Refreshed(generation, refreshed)) => self.refreshed(generation, refreshed),
            Ok(Done::SignedIn(ended)) => self.signed_in(*ended),
            Ok(Done::LoggedOut(logged_out)) => self.logged_out(logged_out),
            Ok(Done::Pinned(grant, issuer)) => self.pinned(&grant, issuer),
            Ok(Done::Looked(looked)) => self.looked(*looked),
            Ok(Done::Saved(generation, saved)) => self.saved(generation, saved),
            Ok(Done::Aside) => {}
            // A sign-in that a logout has ended.
            Err(error) if error.is_cancelled() => {}
            Err(error) => self.panicked(&error),
        }
        self.match_token();
        self.log_out_if_possible();
    }

    fn panicked(&mut self, error: &JoinError) {
        tracing::error!(%error, "a part of a grant panicked");
        match self.signing_in.take() {
            Some(signing_in) if signing_in.abort.id() == error.id() => {
                self.waiters.extend(signing_in.waiters);
            }
            other => {
                self.signing_in = other;
                self.work = Work::Idle;
            }
        }
        self.say_ready();
        self.fail_all("an internal error");
    }

    fn loaded(&mut self, loaded: Result<Stored, StoreError>) {
        self.work = Work::Idle;
        let stored = match loaded {
            Ok(stored) => stored,
            Err(error) => {
                tracing::warn!(%error, "no tokens could be read; this is tried again");
                self.storing.failed();
                self.say_ready();
                return self.fail_all(&error.to_string());
            }
        };
        self.loaded = true;
        self.storing.over();
        self.trouble = None;
        self.client = stored.client;
        self.taken_over = stored.taken_over;
        self.resume_sign_in(stored.sign_in, stored.grant.as_ref());
        self.resume_device(stored.device, stored.grant.as_ref());
        let Some(grant) = stored.grant else {
            self.say_ready();
            return self.decide_for_all();
        };
        let has_expired = grant.has_expired((self.tools.now)());
        if has_expired && grant.refresh_token.is_none() {
            self.delete(grant);
            self.say_ready();
            return self.decide_for_all();
        }
        self.take_up(grant);
        self.pin();
    }

    fn saved(&mut self, generation: u64, saved: Result<(), StoreError>) {
        self.work = Work::Idle;
        match saved {
            Ok(()) if generation == self.generation => {
                tracing::info!("tokens that could not be stored are stored now");
                self.unsaved = None;
                self.storing.over();
            }
            Ok(()) => {}
            Err(_) => self.storing.failed(),
        }
        self.decide_for_all();
    }

    fn refreshed(&mut self, generation: u64, refreshed: Refreshed) {
        if !matches!(self.work, Work::Refreshing) {
            // A logout did not wait for it.
            return;
        }
        self.work = Work::Idle;
        if generation != self.generation {
            // A sign-in has finished meanwhile: what it gave is newer.
            return self.decide_for_all();
        }
        match refreshed {
            Refreshed::New { grant, unsaved } => {
                tracing::info!("tokens were renewed");
                self.not_saved(unsaved);
                self.last_refresh = Some((self.tools.now)());
                self.renewed.note();
                self.publish_refreshed(*grant);
            }
            Refreshed::Adopted(grant) => {
                tracing::info!("another daemon has renewed the tokens");
                self.renewed.note();
                self.unsaved = None;
                self.publish(*grant, Origin::Stored);
            }
            Refreshed::Rotated {
                grant,
                unsaved,
                why,
            } => {
                self.grant = Some(*grant);
                self.not_saved(unsaved);
                self.refresh_failed(&why, Duration::ZERO);
            }
            Refreshed::Failed(why) => self.refresh_failed(&why, Duration::ZERO),
            Refreshed::Later(why, after) if after > LONGEST_PAUSE => {
                self.refresh_failed(&why, Duration::ZERO);
            }
            Refreshed::Later(why, after) => {
                self.refresh_failed(&why, after);
                let at = (self.tools.now)() + after;
                self.renew_at = self.renew_at.map(|renew_at| renew_at.max(at));
            }
            Refreshed::Unasked(why) => {
                self.refresh_failed(&why, Duration::ZERO);
                self.renew_at = Some((self.tools.now)() + REFUSED_PAUSE);
            }
            Refreshed::Refused(why) => self.refresh_refused(why),
            Refreshed::ClientUnknown(why) => {
                self.client = None;
                self.refresh_refused(why);
            }
            Refreshed::Ended(why) => self.refresh_ended(why),
            Refreshed::Gone => {
                tracing::info!("the files of a grant are gone: nobody is signed in any more");
                self.client = None;
                self.withdraw();
                self.ask_somebody_for_all();
            }
        }
    }

    /// Publishes what a refresh has brought. An ID token that it did not bring is as
    /// worthless as before.
    fn publish_refreshed(&mut self, grant: Grant) {
        let before = self.grant.as_ref().and_then(|grant| grant.id_token.clone());
        let is_old = self.identity.use_id_token && before.is_some() && before == grant.id_token;
        let (mut refused, mut waiting) = (Vec::new(), std::mem::take(&mut self.waiters));
        if is_old {
            (refused, waiting) = waiting
                .into_iter()
                .partition(|waiter| waiter.rejected.is_some());
        }
        self.waiters = waiting;
        self.publish(grant, Origin::Refreshed);
        if is_old {
            tracing::warn!("{NO_ID_TOKEN}");
            self.trouble = Some(NO_ID_TOKEN.into());
        }
        if !refused.is_empty() {
            self.ask_somebody(refused, None);
        }
    }

    fn refresh_failed(&mut self, why: &str, after: Duration) {
        tracing::warn!(%why, "tokens could not be renewed; this is tried again");
        self.refreshes.failed_for(after);
        self.note_tried();
        self.still_there();
        self.fail_all(why);
    }

    fn refresh_ended(&mut self, why: String) {
        tracing::warn!(%why, "the grant cannot be renewed any more");
        let now = (self.tools.now)();
        let lives = |grant: &Grant| self.waiters.is_empty() && !grant.has_expired(now);
        match self.grant.as_mut() {
            Some(grant) if lives(grant) => {
                grant.refresh_token = None;
                self.renew_at = None;
            }
            _ => {
                self.ended = self.grant.clone();
                self.withdraw();
            }
        }
        self.trouble = Some(why);
        self.needs_login = true;
        self.ask_somebody_for_all();
    }

    fn refresh_refused(&mut self, why: String) {
        tracing::warn!(%why, "tokens could not be renewed");
        self.refreshes.failed();
        self.note_tried();
        self.refused = true;
        self.trouble = Some(why);
        self.still_there();
        self.renew_at = Some((self.tools.now)() + REFUSED_PAUSE);
        self.ask_somebody_for_all();
    }

    /// A grant that has expired when it was loaded was not published yet.
    fn still_there(&mut self) {
        if self.held.borrow().ready {
            return;
        }
        if let Some(grant) = self.grant.clone() {
            // Whoever sends it and is refused comes back with a challenge.
            let _token = self.hold(grant, Origin::Stored);
        }
    }

    fn signed_in(&mut self, ended: Ended) {
        let Some(mut signing_in) = self.signing_in.take() else {
            // A logout has come first.
            return;
        };
        self.client = ended.client;
        match ended.kept {
            Ok(Kept { grant, unsaved }) => {
                tracing::info!("somebody signed in");
                self.not_saved(unsaved);
                self.sign_ins.over();
                self.nobody_came = false;
                self.scopes_refused = false;
                // What was wanted is part of the grant now.
                self.challenge.scope = None;
                if signing_in.lack.is_none() {
                    self.step_ups.count_anew();
                }
                self.waiters.append(&mut signing_in.waiters);
                self.publish(grant, Origin::SignedIn);
            }
            Err(error) => {
                tracing::warn!(%error, "a sign-in failed");
                self.sign_in_failed(&error, signing_in);
            }
        }
    }

    fn logged_out(&mut self, logged_out: LoggedOut) {
        self.work = Work::Idle;
        self.client = None;
        self.trouble = None;
        self.needs_login = false;
        self.withdraw();
        let mut waiting = std::mem::take(&mut self.log_outs).into_iter();
        if let Some(first) = waiting.next() {
            drop(first.send(logged_out));
        }
        for another in waiting {
            drop(another.send(LoggedOut::default()));
        }
        for waiter in std::mem::take(&mut self.waiters) {
            drop(waiter.reply.send(Err(self.login_required(None))));
        }
    }

    fn not_saved(&mut self, unsaved: Option<Unsaved>) {
        if unsaved.is_some() {
            self.storing.failed();
        }
        self.unsaved = unsaved;
    }

    pub(super) fn decide_for_all(&mut self) {
        for waiter in std::mem::take(&mut self.waiters) {
            self.renew(waiter);
        }
    }

    fn ask_somebody_for_all(&mut self) {
        let waiters = std::mem::take(&mut self.waiters);
        if !waiters.is_empty() {
            self.ask_somebody(waiters, None);
        }
    }

    fn fail_all(&mut self, why: &str) {
        self.trouble = Some(why.to_owned());
        for waiter in std::mem::take(&mut self.waiters) {
            drop(
                waiter
                    .reply
                    .send(Err(TokenError::Transient(why.to_owned()))),
            );
        }
    }
}

fn not_revoked(why: impl std::fmt::Display) -> String {
    format!("the tokens were deleted here but not revoked: {why}")
}

/// Revokes a grant at the server that gave it.
async fn revoke(
    tools: &sign_in::Tools,
    identity: &crate::oauth::identity::Identity,
    challenge: &Challenge,
    grant: &Grant,
) -> Result<(), String> {
    let servers = tools.endpoints.connect(identity).await;
    let servers = servers.map_err(not_revoked)?;
    let known = Known::of(challenge, Some(grant));
    let discovered = servers.discover(identity, &known).await;
    let discovered = discovered.map_err(not_revoked)?;
    let server = &discovered.server;
    if !refresh::is_of(grant, server) {
        return Err(not_revoked("its authorization server is another one now"));
    }
    let client = registration::of_tokens(grant.client.as_ref(), identity, server);
    let client = client.map_err(not_revoked)?;
    let client = client.ok_or_else(|| not_revoked("its client is not known"))?;
    match servers.revoke(server, &client, grant).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(not_revoked("its authorization server does not offer that")),
        Err(error) => Err(not_revoked(error)),
    }
}
