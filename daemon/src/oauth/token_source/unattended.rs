//! The actor of one grant that needs nobody: obtains a token when one is wanted,
//! another in time while it is used, and one in the place of one that is refused, once
//! for everybody.
//!
//! A token of a server that is refused although it was given in the place of one that
//! was refused is an error; nobody is ever asked to sign in.

mod clock;
mod obtaining;
mod signing_out;
mod vouching;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::clock::Doubts;
use self::vouching::Provider;
use super::brakes::{Limit, Pause};
use super::kinds::{DISAGREE, EXCLUDED};
use super::{
    AccessToken, AuthState, AuthStatus, END_TIMEOUT, Held, LoggedOut, Message, Request, TokenError,
    Wanting,
};
use crate::oauth::challenge::{Challenge, ChallengeError};
use crate::oauth::dpop;
use crate::oauth::grant::Grant;
use crate::oauth::identity::Identity;
use crate::oauth::obtain::{ObtainError, Obtained};
use crate::oauth::on_its_way::OnItsWay;
use crate::oauth::scope::Scope;
use crate::oauth::sign_in::Tools;

/// Requests that wait. Past it they are refused: each is a request of a client.
const MAX_WAITERS: usize = 4096;

/// Tokens that are obtained within [`RENEWALS_WITHIN`] because the server refuses
/// those before.
const MAX_RENEWALS: usize = 6;

/// See [`MAX_RENEWALS`].
const RENEWALS_WITHIN: Duration = Duration::from_secs(60);

/// Ways to ask that are remembered as tried.
const MAX_TRIED: usize = 8;

/// A request tries what could not be reached for others if that is longer ago than
/// this.
const NEXT_ATTEMPT: Duration = Duration::from_secs(5);

/// The same for a program, which somebody may have mended. To look at a file again
/// costs nothing.
const NEXT_LOOK: Duration = Duration::from_secs(1);

/// What a task of the actor ended with.
#[derive(Debug)]
enum Done {
    Obtained(Result<Box<Obtained>, ObtainError>),
    LoggedOut(LoggedOut),
}

/// The token in use.
#[derive(Debug)]
struct InUse {
    grant: Grant,
    token: AccessToken,
    /// A server gave it just now: another need not know it yet.
    is_new: bool,
    /// The MCP server has taken it.
    is_proven: bool,
    /// It was obtained in the place of one that the server refused.
    is_second: bool,
}

/// The state of one grant.
#[derive(Debug)]
pub(super) struct Unattended {
    identity: Arc<Identity>,
    tools: Tools,
    in_use: Option<InUse>,
    /// The last token, whatever became of it.
    before: Option<Grant>,
    generation: u64,
    /// When another is obtained unasked.
    renew_at: Option<SystemTime>,
    last_renewal: Option<SystemTime>,
    /// What the server said last when it refused, if it has.
    challenge: Challenge,
    /// It has refused, however little it said.
    was_asked: bool,
    /// A token is being obtained; inside: because the server refuses the one before.
    obtaining: Option<bool>,
    waiters: Vec<Request>,
    doubts: Doubts,
    /// Between attempts that failed.
    failures: Pause,
    failure: Option<ObtainError>,
    /// Who wanted what is being obtained.
    errand_wants: Wanting,
    /// Who vouches for the user, and has somebody sign in for that.
    provider: Provider,
    /// As whom it was tried since it last went well.
    tried: Vec<Arc<Identity>>,
    /// Between tokens that the server refused one after another.
    refusals: Pause,
    renewed: Limit,
    log_outs: Vec<oneshot::Sender<LoggedOut>>,
    is_logging_out: bool,
    tasks: JoinSet<Done>,
    held: watch::Sender<Held>,
    status: watch::Sender<AuthStatus>,
}

impl Unattended {
    /// Makes one that has not begun.
    pub(super) fn new(
        identity: Arc<Identity>,
        tools: Tools,
        held: watch::Sender<Held>,
        status: watch::Sender<AuthStatus>,
    ) -> Self {
        let seconds = Duration::from_secs;
        // Files are read when a token is wanted.
        held.send_modify(|held| held.ready = true);
        let tools = Tools {
            on_its_way: OnItsWay::new(),
            ..tools
        };
        Self {
            identity,
            errand_wants: Wanting::default(),
            provider: Provider::of(tools.provider.as_ref()),
            tools,
            in_use: None,
            before: None,
            generation: 0,
            renew_at: None,
            last_renewal: None,
            challenge: Challenge::default(),
            was_asked: false,
            obtaining: None,
            waiters: Vec::new(),
            doubts: Doubts::default(),
            failures: Pause::new(seconds(1), seconds(300)),
            failure: None,
            tried: Vec::new(),
            refusals: Pause::new(seconds(10), seconds(600)),
            renewed: Limit::new(MAX_RENEWALS, RENEWALS_WITHIN),
            log_outs: Vec::new(),
            is_logging_out: false,
            tasks: JoinSet::new(),
            held,
            status,
        }
    }

    /// Runs until the daemon stops. What is under way then is lost: it can be had again.
    pub(super) async fn run(
        mut self,
        mut messages: mpsc::Receiver<Message>,
        stop: CancellationToken,
    ) {
        loop {
            let wake = self.wake();
            tokio::select! {
                () = stop.cancelled() => break,
                message = messages.recv() => match message {
                    Some(message) => self.handle(message),
                    None => break,
                },
                Some(done) = self.tasks.join_next() => self.done(done),
                () = self.provider.changed() => self.provider_changed(),
                () = clock::sleep_until(wake) => self.look_at_clock(),
            }
            self.say_status();
        }
        self.end().await;
    }

    /// Lets what may have spent the only refresh token be kept.
    async fn end(mut self) {
        self.tools.on_its_way.close();
        let ending = async {
            while self.tools.on_its_way.is_any() && self.tasks.join_next().await.is_some() {}
        };
        if tokio::time::timeout(END_TIMEOUT, ending).await.is_err() {
            tracing::warn!("a token on its way did not come in time");
        }
        self.tasks.shutdown().await;
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Renew(request) => self.renew(*request),
            Message::Identity(identity) => self.use_identity(identity),
            Message::LogOut(reply) => self.log_out(reply),
        }
    }

    /// Takes what a newer shim says. Shims that take turns do not make each other's
    /// failures forgotten.
    fn use_identity(&mut self, identity: Arc<Identity>) {
        self.identity = identity;
        if self.tried.len() < MAX_TRIED && !self.was_tried() {
            // What failed with another secret need not fail with this one.
            self.failures.over();
            self.refusals.over();
        }
    }

    fn was_tried(&self) -> bool {
        let now = &self.identity;
        let alike = |tried: &Arc<Identity>| {
            tried.client == now.client
                && tried.grant_type == now.grant_type
                && tried.resource == now.resource
                && tried.dpop == now.dpop
        };
        self.tried.iter().any(alike)
    }

    /// Takes a request for a token: one that is there already answers it, or it waits,
    /// or it is refused at once.
    pub(super) fn renew(&mut self, request: Request) {
        self.look_at_acceptance();
        if dpop::choice(&self.identity) != request.dpop {
            let identity = Identity {
                dpop: request.dpop,
                ..(*self.identity).clone()
            };
            self.use_identity(Arc::new(identity));
        }
        if let Some(current) = self.in_use.as_ref().map(|in_use| in_use.token.clone())
            && request.is_answered_by(&current)
        {
            // It was replaced meanwhile.
            drop(request.reply.send(Ok(current)));
            return;
        }
        if request.challenge != Challenge::default() {
            self.challenge = request.challenge.clone();
        }
        self.was_asked |= request.was_refused;
        if request.wanting.explicit {
            self.failures.over();
            self.refusals.over();
            self.renewed.forget();
        }
        if self.waiters.len() + self.doubts.waiting() >= MAX_WAITERS {
            let busy = TokenError::Transient("too many requests wait for its token".into());
            drop(request.reply.send(Err(busy)));
            return;
        }
        match self.obtaining.is_some() || !self.log_outs.is_empty() {
            true => self.waiters.push(request),
            false => self.decide(request),
        }
    }

    /// Notes that the server takes the token in use.
    fn look_at_acceptance(&mut self) {
        if let Some(in_use) = &mut self.in_use
            && !in_use.is_proven
            && in_use.token.is_accepted()
        {
            in_use.is_proven = true;
            (in_use.is_new, in_use.is_second) = (false, false);
            self.refusals.over();
        }
    }

    /// Decides for a request while nothing is being obtained: its token is the one in
    /// use, or there is none.
    fn decide(&mut self, request: Request) {
        let refusal = match &self.in_use {
            None => self.pause_of_failures(),
            Some(_) if request.challenge.error == Some(ChallengeError::InsufficientScope) => {
                self.lacks(request.challenge.scope.as_ref())
            }
            Some(in_use) if !request.dpop.takes(in_use.token.is_bound()) => {
                self.pause_between_kinds()
            }
            Some(in_use) if request.demands_another_kind(&in_use.token) => {
                match request.dpop == dpop::Choice::Never {
                    true => Some(TokenError::Rejected(EXCLUDED.into())),
                    false => self.pause_of_renewals(),
                }
            }
            Some(in_use) if in_use.is_new && self.may_doubt() => return self.doubt(request),
            // A look costs nobody anything, and it may hold another by now.
            Some(_) if self.reads_a_file() => None,
            Some(in_use) => {
                let is_vain = in_use.is_second && self.refusals.until().is_some();
                match is_vain {
                    true => Some(self.refused(&request)),
                    false => self.pause_of_renewals(),
                }
            }
        };
        match refusal {
            Some(refusal) => drop(request.reply.send(Err(refusal))),
            None => {
                // Not where it is only of the other kind.
                let is_refused = self.in_use.is_some() && request.rejected.is_some();
                self.waiters.push(request);
                self.obtain(is_refused);
            }
        }
    }

    /// Says why nothing is obtained so soon after a failure.
    fn pause_of_failures(&self) -> Option<TokenError> {
        let failure = self.failure.as_ref()?;
        let is_over = match failure {
            ObtainError::Here(_) if self.runs_a_program() => self.failures.is_over_after(NEXT_LOOK),
            ObtainError::Here(_) => true,
            ObtainError::Transient(_) | ObtainError::Unproven(_) => {
                self.failures.is_over_after(NEXT_ATTEMPT)
            }
            // What the files hold is looked at, and shown only if it is something else.
            ObtainError::RefusedFile(..) => true,
            ObtainError::Unasked(_) | ObtainError::SignIn { .. } | ObtainError::Unchanged => true,
            ObtainError::Refused(_) | ObtainError::Later(..) => self.failures.until().is_none(),
        };
        (!is_over).then(|| told(failure))
    }

    /// Says why no other token is obtained in the place of one that is refused.
    fn pause_of_renewals(&self) -> Option<TokenError> {
        if self.renewed.allows() {
            return self.pause_of_failures();
        }
        Some(TokenError::Rejected(format!(
            "it refuses one token from {} after another, {MAX_RENEWALS} within a minute",
            self.account()
        )))
    }

    /// Says why no token of the other kind is obtained, where commands disagree all the
    /// time.
    fn pause_between_kinds(&mut self) -> Option<TokenError> {
        if !self.renewed.allows() {
            return Some(TokenError::Rejected(DISAGREE.into()));
        }
        self.renewed.note();
        self.pause_of_failures()
    }

    /// Says why another token would not help an operation that lacks this scope.
    fn lacks(&self, scope: Option<&Scope>) -> Option<TokenError> {
        let asked = self.before.as_ref();
        let asked = asked.and_then(|before| before.requested_scope.as_ref());
        let may_ask = !self.identity.grant_type.is_given() && self.identity.scope.is_none();
        let is_new = |scope: &Scope| {
            let known = |token| asked.is_some_and(|asked| asked.contains(token));
            !scope.tokens().all(known)
        };
        if may_ask && scope.is_some_and(is_new) {
            return self.pause_of_renewals();
        }
        let wanted = scope.map(|scope| format!(" (scope {scope})"));
        Some(TokenError::Rejected(format!(
            "the token from {} does not have the access that this needs{}",
            self.account(),
            wanted.unwrap_or_default()
        )))
    }

    /// Says whose token it is that the server refuses.
    fn refused(&self, request: &Request) -> TokenError {
        let said = request.challenge.description.as_ref();
        let said = said.map(|said| format!(" ({said})")).unwrap_or_default();
        let ends = self.in_use.as_ref().and_then(|it| it.grant.expires_at);
        let ended = ends.and_then(|ends| (self.tools.now)().duration_since(ends).ok());
        let ended = ended.map(|ago| format!(", which ended {} s ago", ago.as_secs()));
        TokenError::Rejected(format!(
            "it refuses the token from {}{}{said}",
            self.account(),
            ended.unwrap_or_default()
        ))
    }

    fn account(&self) -> String {
        self.identity.account().unwrap_or_default()
    }

    fn say_status(&self) {
        let now = (self.tools.now)();
        let grant = self.in_use.as_ref().map(|in_use| &in_use.grant);
        let waits = self.state_of_sign_in();
        let state = match grant {
            _ if waits == Some(AuthState::SigningIn) => AuthState::SigningIn,
            Some(grant) if grant.has_expired(now) => AuthState::Expired,
            Some(_) => AuthState::SignedIn,
            None if waits.is_some() => AuthState::NeedsLogin,
            None if self.failure.is_some() => AuthState::Failed,
            None => AuthState::Anonymous,
        };
        let status = AuthStatus {
            state,
            issuer: grant.and_then(|grant| grant.issuer.clone()),
            scope: grant.and_then(|grant| grant.scope.clone()),
            expires_at: grant.and_then(|grant| grant.expires_at),
            last_refresh: self.last_renewal,
            next_refresh: self.renew_at.filter(|_| !self.reads_a_file()),
            sign_in: match &self.failure {
                Some(ObtainError::SignIn { sign_in, .. }) => sign_in.as_deref().cloned(),
                _ => None,
            },
            trouble: match &self.failure {
                Some(ObtainError::SignIn { why, .. }) => why.clone(),
                failure => failure.as_ref().map(ToString::to_string),
            },
            to_be_mended: matches!(state, AuthState::Failed | AuthState::Expired)
                && self.failure.as_ref().is_some_and(ObtainError::stays),
            taken_over: false,
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

/// Tells a failure to whoever waits.
fn told(failure: &ObtainError) -> TokenError {
    match failure {
        ObtainError::Transient(why) | ObtainError::Unproven(why) | ObtainError::Later(why, _) => {
            TokenError::Transient(why.clone())
        }
        ObtainError::Here(why) | ObtainError::Refused(why) | ObtainError::RefusedFile(why, _) => {
            TokenError::Rejected(why.clone())
        }
        ObtainError::Unchanged => TokenError::Rejected(failure.to_string()),
        ObtainError::Unasked(_) => TokenError::NotOffered,
        ObtainError::SignIn { sign_in, why } => TokenError::LoginRequired {
            sign_in: sign_in.as_deref().cloned(),
            why: why.clone(),
        },
    }
}
