//! The actor of one grant: reads the files, renews the tokens in time, and does
//! one thing at a time for everybody who asks.
//!
//! A token is published only after it has been kept. Work belongs to the actor:
//! it goes on when those who wait for it have gone.

mod doubts;
mod identities;
mod looking;
mod pinning;
mod purging;
mod requests;
mod resuming;
mod work;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::doubts::Doubts;
use self::looking::Looked;
use super::brakes::{Lack, Limit, Pause, StepUps};
use super::{AccessToken, AuthState, AuthStatus, Held, LoggedOut, Message, Request};
use crate::oauth::challenge::Challenge;
use crate::oauth::grant::Grant;
use crate::oauth::http;
use crate::oauth::identity::Identity;
use crate::oauth::on_its_way::OnItsWay;
use crate::oauth::refresh::{self, Refreshed};
use crate::oauth::registration::Client;
use crate::oauth::sign_in::{Ended, PendingSignIn, Progress, Tools};
use crate::oauth::store::{StoreError, Stored, Unsaved};

/// The wall clock is looked at this often: timers stand still while the machine
/// sleeps.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(60);

/// Tokens are not renewed unasked more often than this, however short they live.
const MIN_REFRESH_INTERVAL: Duration = Duration::from_secs(30);

/// How often tokens that could not be stored are stored again, and files that could
/// not be read are read again.
const STORE_AGAIN: Duration = Duration::from_secs(5);

/// How long the end waits for tokens on their way, which may replace the only refresh
/// token: as long as they may take, and a while to store them.
pub(crate) const END_TIMEOUT: Duration = http::TIMEOUT.saturating_add(Duration::from_secs(5));

/// Tabs that are opened unasked within [`TABS_WITHIN`]. Past it a page is only named:
/// a browser that is signed in already consents without a person.
const MAX_TABS: usize = 10;

/// See [`MAX_TABS`].
const TABS_WITHIN: Duration = Duration::from_secs(3600);

/// Tokens that are fetched within [`REFRESHES_WITHIN`] because the server refuses
/// those before.
const MAX_REFRESHES: usize = 6;

/// See [`MAX_REFRESHES`].
const REFRESHES_WITHIN: Duration = Duration::from_secs(60);

/// What the actor is doing.
#[derive(Debug)]
enum Work {
    /// Nothing.
    Idle,
    /// Reading the files.
    Loading,
    /// Renewing the tokens.
    Refreshing,
    /// Storing tokens that could not be stored.
    Saving,
    /// Forgetting the grant.
    LoggingOut,
}

/// A sign-in under way. The tokens in use are renewed meanwhile: it may be for
/// scopes that a single operation lacked, and a person takes their time.
#[derive(Debug)]
struct SigningIn {
    progress: watch::Receiver<Progress>,
    lack: Option<Lack>,
    abort: AbortHandle,
    waiters: Vec<Request>,
}

/// What a task of the actor ended with.
#[derive(Debug)]
enum Done {
    Loaded(Box<Result<Stored, StoreError>>),
    /// The tokens of this generation were renewed, or not.
    Refreshed(u64, Refreshed),
    SignedIn(Box<Ended>),
    LoggedOut(LoggedOut),
    /// The store was read again for requests that somebody else may have seen to.
    Looked(Box<Looked>),
    /// Who gave these tokens was asked.
    Pinned(Box<Grant>, Option<String>),
    /// The tokens of this generation are kept, or not.
    Saved(u64, Result<(), StoreError>),
    Aside,
}

/// Where the tokens in use come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Stored,
    Refreshed,
    SignedIn,
}

/// The state of one grant.
#[derive(Debug)]
pub(super) struct Actor {
    identity: Arc<Identity>,
    tools: Tools,
    grant: Option<Grant>,
    client: Option<Client>,
    generation: u64,
    origin: Origin,
    /// When the tokens in use were published.
    since: Instant,
    /// When they are renewed unasked.
    renew_at: Option<SystemTime>,
    last_refresh: Option<SystemTime>,
    /// Why the tokens in use are newer than the file, if they are.
    unsaved: Option<Unsaved>,
    taken_over: bool,
    /// Tokens that the server has ended; the file may still be there.
    ended: Option<Grant>,
    /// The files have been read.
    loaded: bool,
    /// Between attempts to read or write the files.
    storing: Pause,
    /// What the server said last when it refused.
    challenge: Challenge,
    work: Work,
    signing_in: Option<SigningIn>,
    waiters: Vec<Request>,
    log_outs: Vec<oneshot::Sender<LoggedOut>>,
    /// When those have waited long enough for what is under way.
    log_out_by: Option<Instant>,
    tasks: JoinSet<Done>,
    /// Ends the refresh under way.
    refreshing: Option<AbortHandle>,
    refreshes: Pause,
    renewed: Limit,
    /// The server refuses refreshes without saying that the grant is gone.
    refused: bool,
    sign_ins: Pause,
    step_ups: StepUps,
    tabs: Limit,
    /// Nobody came to the last sign-in: the next ones open no tab.
    nobody_came: bool,
    /// The tokens of this generation were refused although somebody had just signed
    /// in for them, which counts as one failure until they are accepted.
    blamed: Option<u64>,
    /// The last sign-in was refused, perhaps for scopes that are not given any more.
    scopes_refused: bool,
    /// As whom it was tried since it last went well.
    tried: Vec<Arc<Identity>>,
    doubts: Doubts,
    /// Whether it is the ID token that is sent.
    sends_id_token: bool,
    /// When the file of tokens that nobody can renew is deleted.
    purge_at: Option<SystemTime>,
    trouble: Option<String>,
    needs_login: bool,
    /// The server has people signed in, as far as is known.
    offered: bool,
    held: watch::Sender<Held>,
    status: watch::Sender<AuthStatus>,
}

impl Actor {
    /// Makes one that has not begun.
    pub(super) fn new(
        identity: Arc<Identity>,
        tools: Tools,
        held: watch::Sender<Held>,
        status: watch::Sender<AuthStatus>,
    ) -> Self {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        let tools = Tools {
            on_its_way: OnItsWay::new(),
            ..tools
        };
        Self {
            identity,
            tools,
            grant: None,
            client: None,
            generation: 0,
            origin: Origin::Stored,
            since: Instant::now(),
            renew_at: None,
            last_refresh: None,
            unsaved: None,
            taken_over: false,
            ended: None,
            loaded: false,
            storing: Pause::new(STORE_AGAIN, minutes(1)),
            challenge: Challenge::default(),
            work: Work::Idle,
            signing_in: None,
            waiters: Vec::new(),
            log_outs: Vec::new(),
            log_out_by: None,
            tasks: JoinSet::new(),
            refreshing: None,
            refreshes: Pause::new(Duration::from_secs(1), minutes(1)),
            renewed: Limit::new(MAX_REFRESHES, REFRESHES_WITHIN),
            refused: false,
            sign_ins: Pause::new(minutes(1), minutes(60)),
            step_ups: StepUps::default(),
            tabs: Limit::new(MAX_TABS, TABS_WITHIN),
            nobody_came: false,
            blamed: None,
            scopes_refused: false,
            tried: Vec::new(),
            doubts: Doubts::default(),
            sends_id_token: false,
            purge_at: None,
            trouble: None,
            needs_login: false,
            offered: true,
            held,
            status,
        }
    }

    /// Runs until the daemon stops.
    pub(super) async fn run(
        mut self,
        mut messages: mpsc::Receiver<Message>,
        stop: CancellationToken,
    ) {
        self.load();
        loop {
            let wake = self.wake();
            tokio::select! {
                () = stop.cancelled() => break,
                message = messages.recv() => match message {
                    Some(message) => self.handle(message),
                    None => break,
                },
                Some(done) = self.tasks.join_next() => self.done(done),
                () = progressed(&mut self.signing_in) => self.progressed(),
                () = sleep_until(wake) => self.look_at_clock(),
            }
            self.say_status();
        }
        self.end().await;
    }

    /// Lets tokens on their way be kept; what is not kept yet gets a last chance.
    async fn end(mut self) {
        self.tools.on_its_way.close();
        let ending = async {
            while self.tools.on_its_way.is_any() {
                match self.tasks.join_next().await {
                    Some(done) => self.done(done),
                    None => break,
                }
            }
            while let Some(done) = self.tasks.try_join_next() {
                self.done(done);
            }
            // A sign-in is kept: the next daemon goes on with it.
            if let (Some(grant), Some(unsaved)) = (&self.grant, &self.unsaved)
                && let Err(error) = self
                    .tools
                    .store
                    .save(&self.identity.hash(), grant, unsaved)
                    .await
            {
                tracing::error!(%error, "the newest tokens could not be stored");
            }
        };
        if tokio::time::timeout(END_TIMEOUT, ending).await.is_err() {
            tracing::warn!("tokens on their way did not come in time");
        }
    }

    /// Says whether tokens may be on their way that exist nowhere else.
    fn is_delicate(&self) -> bool {
        let finishing =
            |signing_in: &SigningIn| matches!(*signing_in.progress.borrow(), Progress::Finishing);
        matches!(self.work, Work::Refreshing) || self.signing_in.as_ref().is_some_and(finishing)
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Renew(request) => self.renew(*request),
            Message::Identity(identity) => self.use_identity(identity),
            Message::LogOut(reply) => self.log_out(reply),
        }
    }

    /// Returns when the clock is looked at next.
    fn wake(&self) -> Option<Instant> {
        let now = Instant::now();
        let in_time = |at: SystemTime| {
            let ahead = at.duration_since((self.tools.now)()).unwrap_or_default();
            now + ahead.min(LOOK_AT_CLOCK)
        };
        let is_idle = matches!(self.work, Work::Idle);
        let store = self.has_to_store().then(|| self.storing.until());
        let store = store.map(|until| until.unwrap_or(now));
        let renew = self.renew_at.map(|at| {
            let due = in_time(at);
            self.refreshes.until().map_or(due, |until| due.max(until))
        });
        let begun = [store, renew].map(|at| at.filter(|_| is_idle));
        let purge = self.purge_at.map(in_time);
        let others = [purge, self.doubts.end(), self.log_out_by];
        begun.into_iter().chain(others).flatten().min()
    }

    /// Says whether files are still to be read or written.
    fn has_to_store(&self) -> bool {
        !self.loaded || self.unsaved.is_some()
    }

    /// Begins what is due. One thing at a time: each may replace the tokens.
    fn look_at_clock(&mut self) {
        self.try_again();
        self.log_out_if_possible();
        if self.purge_at.is_some_and(|at| at <= (self.tools.now)()) {
            self.purge();
        }
        let due = self.renew_at.is_some_and(|at| at <= (self.tools.now)());
        if !matches!(self.work, Work::Idle) {
        } else if self.has_to_store() && self.storing.until().is_none() {
            match self.loaded {
                true => self.save(),
                false => self.load(),
            }
        } else if due && self.refreshes.until().is_none() {
            self.refresh(false);
        }
    }

    /// Makes tokens that have been kept the ones to send.
    fn hold(&mut self, grant: Grant, origin: Origin) -> Option<AccessToken> {
        self.generation += 1;
        self.origin = origin;
        self.since = Instant::now();
        self.waiters.extend(self.doubts.over());
        self.sends_id_token = self.identity.use_id_token;
        let token = AccessToken::new(self.generation, &grant, self.identity.use_id_token);
        let renewable = grant.refresh_token.is_some();
        let at = grant
            .renew_at(refresh::part_of_life())
            .filter(|_| renewable);
        self.renew_at = match origin {
            Origin::Stored => at,
            _ => at.map(|at| at.max((self.tools.now)() + MIN_REFRESH_INTERVAL)),
        };
        self.purge_at = purging::purge_at(&grant);
        self.grant = Some(grant);
        self.held.send_replace(Held {
            ready: true,
            token: token.clone(),
        });
        token
    }

    /// Puts tokens to use that are good, and answers everybody with them.
    fn publish(&mut self, grant: Grant, origin: Origin) {
        let token = self.hold(grant, origin);
        self.trouble = None;
        self.refused = false;
        self.needs_login = false;
        self.refreshes.over();
        self.tried.clear();
        // Status before answers: who is answered may ask for it.
        self.say_status();
        let asking = self.signing_in.as_mut();
        let asking = asking.map(|signing_in| std::mem::take(&mut signing_in.waiters));
        let waiters = std::mem::take(&mut self.waiters).into_iter();
        for waiter in waiters.chain(asking.into_iter().flatten()) {
            let answer = match &token {
                Some(token) if !waiter.dpop.takes(token.is_bound()) => {
                    self.renew(waiter);
                    continue;
                }
                Some(token) => Ok(token.clone()),
                None => Err(super::TokenError::Rejected(
                    "the token that is stored fits into no header".into(),
                )),
            };
            drop(waiter.reply.send(answer));
        }
    }

    /// Takes the tokens out of use.
    fn withdraw(&mut self) {
        self.waiters.extend(self.doubts.over());
        self.grant = None;
        self.renew_at = None;
        self.purge_at = None;
        self.unsaved = None;
        self.held.send_replace(Held {
            ready: true,
            token: None,
        });
    }

    /// Says that the files have been read, whatever came of it.
    fn say_ready(&self) {
        self.held.send_if_modified(|held| {
            let changed = !held.ready;
            held.ready = true;
            changed
        });
    }

    fn pending(&self) -> Option<PendingSignIn> {
        match &*self.signing_in.as_ref()?.progress.borrow() {
            Progress::Pending(pending) => Some(pending.clone()),
            Progress::Preparing | Progress::Finishing => None,
        }
    }

    fn unsaved_trouble(&self) -> Option<String> {
        let why = &self.unsaved.as_ref()?.why;
        Some(format!(
            "its newest tokens are in use but not stored, which is tried again: {why}"
        ))
    }

    fn say_status(&self) {
        let now = (self.tools.now)();
        let state = match &self.grant {
            _ if self.signing_in.is_some() => AuthState::SigningIn,
            Some(grant) if !grant.has_expired(now) => AuthState::SignedIn,
            Some(grant) if grant.refresh_token.is_some() => AuthState::Expired,
            Some(_) => AuthState::NeedsLogin,
            None if self.needs_login => AuthState::NeedsLogin,
            None => AuthState::Anonymous,
        };
        let grant = self.grant.as_ref();
        let status = AuthStatus {
            state,
            issuer: grant.and_then(|grant| grant.issuer.clone()),
            scope: grant.and_then(|grant| grant.scope.clone()),
            expires_at: grant.and_then(|grant| grant.expires_at),
            last_refresh: self.last_refresh,
            next_refresh: self.renew_at,
            sign_in: self.pending(),
            trouble: self.trouble.clone().or_else(|| self.unsaved_trouble()),
            to_be_mended: false,
            taken_over: self.taken_over,
        };
        let changed = self.status.send_if_modified(|current| {
            let changed = *current != status;
            *current = status;
            changed
        });
        if changed {
            self.tools.changes.note();
        }
    }
}

/// Waits until a sign-in under way has more to say. Cancel safe.
async fn progressed(signing_in: &mut Option<SigningIn>) {
    if let Some(SigningIn { progress, .. }) = signing_in
        && progress.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}
