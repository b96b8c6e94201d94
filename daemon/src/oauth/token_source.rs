//! The token of one grant: what to send now, and how to get another one.
//!
//! An actor owns the grant and whatever is done to renew it; callers only wait.
//! The token in use is read from a watched value: no message, no await.

mod actor;
mod brakes;
mod kinds;
mod unattended;

pub(crate) use self::actor::END_TIMEOUT;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use http::HeaderValue;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::challenge::Challenge;
use super::dpop::{self, Proofs};
use super::grant::Grant;
use super::identity::{Identity, IdentityHash};
use super::scope::Scope;
use super::sign_in::{PendingSignIn, Tools};

/// Requests waiting for the actor, which takes them at once.
const MAILBOX: usize = 64;

/// How long a token is waited for that nobody has asked the server about yet.
const READY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a token is waited for that needs nobody: longer than any program or server
/// may take for it, shorter than a client waits for its first answer.
const OBTAIN_TIMEOUT: Duration = Duration::from_secs(25);

/// A token in use. Never shown.
#[derive(Debug, Clone)]
pub(crate) struct AccessToken {
    generation: u64,
    /// When somebody signed in for it; 0: nobody knows.
    signed_in_at: u64,
    header: HeaderValue,
    /// What has to go along with it.
    proofs: Option<Proofs>,
    /// The server has taken it.
    accepted: Arc<AtomicBool>,
}

impl AccessToken {
    fn new(generation: u64, grant: &Grant, use_id_token: bool) -> Option<Self> {
        let id_token = grant.id_token.as_ref().filter(|_| use_id_token);
        let token = id_token.unwrap_or(&grant.access_token).reveal();
        let binding = grant.binding.as_ref();
        let binding = binding.filter(|_| grant.is_bound && id_token.is_none());
        let proofs = binding.map(|binding| Proofs::new(binding.key.clone(), token));
        let scheme = if proofs.is_some() {
            dpop::SCHEME
        } else {
            "Bearer"
        };
        let mut header = HeaderValue::from_str(&format!("{scheme} {token}")).ok()?;
        header.set_sensitive(true);
        Some(Self {
            generation,
            signed_in_at: grant.signed_in_at.unwrap_or_default(),
            header,
            proofs,
            accepted: Arc::default(),
        })
    }

    /// Returns the token, to be taken out of foreign texts.
    pub(crate) fn text(&self) -> Option<&str> {
        let (_scheme, token) = self.header.to_str().ok()?.split_once(' ')?;
        Some(token)
    }

    /// Notes that the server has taken it.
    pub(crate) fn accept(&self) {
        if !self.is_accepted() {
            self.accepted.store(true, Ordering::Relaxed);
        }
    }

    fn is_accepted(&self) -> bool {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Returns what has to go along with it, one for each request; `None`: nothing.
    pub(crate) fn proofs(&self) -> Option<&Proofs> {
        self.proofs.as_ref()
    }

    /// Says whether it is bound to a key.
    fn is_bound(&self) -> bool {
        self.proofs.is_some()
    }

    /// Returns the value of `Authorization`.
    pub(crate) fn header(&self) -> &HeaderValue {
        &self.header
    }
}

/// Equal tokens are the same issue of a token.
impl PartialEq for AccessToken {
    fn eq(&self, other: &Self) -> bool {
        self.generation == other.generation
    }
}

impl Eq for AccessToken {}

/// On whose behalf a token is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Wanting {
    /// A person asks to sign in: earlier failures and refusals do not count.
    pub(crate) explicit: bool,
    /// Somebody may be asked to sign in.
    pub(crate) may_sign_in: bool,
    /// What was refused for lack of scopes, for instance a method and a tool.
    pub(crate) operation: String,
}

impl Default for Wanting {
    fn default() -> Self {
        Self {
            explicit: false,
            may_sign_in: true,
            operation: String::new(),
        }
    }
}

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    /// Somebody has to sign in.
    #[error("somebody has to sign in{}", after_colon(.why.as_deref()))]
    LoginRequired {
        /// The sign-in that is under way; `None`: nothing is.
        sign_in: Option<PendingSignIn>,
        /// What went wrong before, in one sentence.
        why: Option<String>,
    },
    /// The server has nobody signed in: it wants a token that we cannot get.
    #[error("it offers no sign-in")]
    NotOffered,
    /// Another token would be rejected as well.
    #[error("{0}")]
    Rejected(String),
    /// It may work later.
    #[error("{0}")]
    Transient(String),
}

fn after_colon(text: Option<&str>) -> String {
    text.map(|text| format!(": {text}")).unwrap_or_default()
}

/// What a grant can be used for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum AuthState {
    /// Nobody is signed in, and nobody has asked for it.
    #[default]
    Anonymous,
    /// There is a token that should be accepted.
    SignedIn,
    /// The token has expired and will be renewed.
    Expired,
    /// A sign-in is under way.
    SigningIn,
    /// Somebody has to sign in; nothing is under way.
    NeedsLogin,
    /// Nobody has to sign in, and no token could be obtained.
    Failed,
}

/// A grant as people see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AuthStatus {
    /// What it can be used for.
    pub(crate) state: AuthState,
    /// Who gave it.
    pub(crate) issuer: Option<String>,
    /// For what.
    pub(crate) scope: Option<Scope>,
    /// When the access token ends.
    pub(crate) expires_at: Option<SystemTime>,
    /// When it was renewed last.
    pub(crate) last_refresh: Option<SystemTime>,
    /// When it will be renewed unasked.
    pub(crate) next_refresh: Option<SystemTime>,
    /// The sign-in under way.
    pub(crate) sign_in: Option<PendingSignIn>,
    /// The newest failure, one sentence.
    pub(crate) trouble: Option<String>,
    /// Whether there is no token until somebody has changed something.
    pub(crate) to_be_mended: bool,
    /// Whether this daemon has taken it over from the npm package.
    pub(crate) taken_over: bool,
}

/// What became of a logout.
#[derive(Debug, Default)]
pub(crate) struct LoggedOut {
    /// Whether there were tokens.
    pub(crate) was_signed_in: bool,
    /// What did not go as hoped, or is to be done.
    pub(crate) notes: Vec<String>,
}

#[derive(Debug, Clone, Default)]
struct Held {
    /// The files have been read, and what had expired in them was renewed.
    ready: bool,
    token: Option<AccessToken>,
}

#[derive(Debug)]
struct Request {
    rejected: Option<AccessToken>,
    /// What the server said when it refused; empty if it said nothing.
    challenge: Challenge,
    /// Whether it has refused.
    was_refused: bool,
    wanting: Wanting,
    /// Which tokens it can be sent with.
    dpop: dpop::Choice,
    reply: oneshot::Sender<Result<AccessToken, TokenError>>,
}

#[derive(Debug)]
enum Message {
    Renew(Box<Request>),
    Identity(Arc<Identity>),
    LogOut(oneshot::Sender<LoggedOut>),
}

/// The source of a grant's tokens. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct TokenSource {
    hash: IdentityHash,
    /// Which of them whoever has it sends.
    dpop: dpop::Choice,
    identity: Arc<Mutex<Arc<Identity>>>,
    messages: mpsc::Sender<Message>,
    held: watch::Receiver<Held>,
    status: watch::Receiver<AuthStatus>,
    /// Somebody has been told that it was taken over.
    told_of_origin: Arc<AtomicBool>,
}

/// Equal sources are those of one identity that send the same tokens.
impl PartialEq for TokenSource {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.dpop == other.dpop
    }
}

impl Eq for TokenSource {}

impl std::hash::Hash for TokenSource {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.hash.hash(state);
    }
}

impl TokenSource {
    /// Starts the source of an identity, which reads its files.
    pub(super) fn spawn(
        identity: Identity,
        tools: Tools,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let (messages, received) = mpsc::channel(MAILBOX);
        let (held_tx, held) = watch::channel(Held::default());
        let (status_tx, status) = watch::channel(AuthStatus::default());
        let identity = Arc::new(identity);
        if identity.grant_type.needs_person() {
            let actor = actor::Actor::new(identity.clone(), tools, held_tx, status_tx);
            tasks.spawn(actor.run(received, stop));
        } else {
            let actor = unattended::Unattended::new(identity.clone(), tools, held_tx, status_tx);
            tasks.spawn(actor.run(received, stop));
        }
        Self {
            hash: identity.hash(),
            dpop: dpop::choice(&identity),
            identity: Arc::new(Mutex::new(identity)),
            messages,
            held,
            status,
            told_of_origin: Arc::default(),
        }
    }

    /// Says whether it is to be told that the grant was taken over; once.
    pub(crate) fn tell_of_origin(&self, status: &AuthStatus) -> bool {
        status.taken_over && !self.told_of_origin.swap(true, Ordering::Relaxed)
    }

    /// Says whether nobody has to sign in for it.
    pub(crate) fn is_unattended(&self) -> bool {
        !self.identity().grant_type.needs_person()
    }

    /// Returns what its files are named after.
    pub(crate) fn hash(&self) -> &IdentityHash {
        &self.hash
    }

    /// Returns whose it is.
    pub(crate) fn identity(&self) -> Arc<Identity> {
        self.identity
            .lock()
            .expect("nothing panics while it holds the lock")
            .clone()
    }

    /// Says whether it holds nothing that costs somebody a sign-in and nobody else has
    /// a handle on it.
    pub(super) fn is_idle(&self) -> bool {
        let is_cheap =
            || self.status.borrow().state == AuthState::Anonymous || self.is_unattended();
        Arc::strong_count(&self.identity) == 1 && is_cheap()
    }

    /// Takes what a newer shim says of the same identity: how to reach servers,
    /// as which client. Returns the source for it.
    pub(super) fn use_identity(&self, identity: Identity) -> Self {
        let for_it = Self {
            dpop: dpop::choice(&identity),
            ..self.clone()
        };
        let mut current = self
            .identity
            .lock()
            .expect("nothing panics while it holds the lock");
        if **current != identity {
            *current = Arc::new(identity);
            // A full mailbox is a storm of requests: the next shim says it again.
            drop(self.messages.try_send(Message::Identity(current.clone())));
        }
        drop(current);
        for_it
    }

    /// Waits until the files have been read, and renewed if that was due; not longer
    /// than a request may wait before it says something.
    pub(crate) async fn ready(&self) {
        let mut held = self.held.clone();
        let ready = held.wait_for(|held| held.ready);
        drop(tokio::time::timeout(READY_TIMEOUT, ready).await);
    }

    /// Does the same for whoever is about to send something; where nobody has to sign
    /// in, obtains a token.
    ///
    /// # Errors
    /// Why there is none, and nothing is to be sent without. Whether somebody has to
    /// sign in is for the server to say.
    pub(crate) async fn prepare(&self) -> Result<(), TokenError> {
        self.ready().await;
        if self.current().is_some() || !self.is_unattended() {
            return Ok(());
        }
        let wanting = Wanting {
            may_sign_in: false,
            ..Wanting::default()
        };
        let obtaining = self.renew(None, None, wanting);
        match tokio::time::timeout(OBTAIN_TIMEOUT, obtaining).await {
            // The server has to say first whom to ask.
            Ok(Ok(_) | Err(TokenError::NotOffered | TokenError::LoginRequired { .. })) => Ok(()),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(TokenError::Transient(format!(
                "there is no token after {} s",
                OBTAIN_TIMEOUT.as_secs()
            ))),
        }
    }

    /// Returns the token in use; `None`: there is none that may be sent.
    pub(crate) fn current(&self) -> Option<AccessToken> {
        let held = self.held.borrow();
        let takes = |token: &&AccessToken| self.dpop.takes(token.is_bound());
        held.token.as_ref().filter(takes).cloned()
    }

    /// Returns what tells this sign-in from those before and after it, whoever has
    /// signed in; `None`: nobody has. Stays the same when tokens are renewed.
    pub(crate) fn signed_in_at(&self) -> Option<u64> {
        self.held
            .borrow()
            .token
            .as_ref()
            .map(|token| token.signed_in_at)
    }

    /// Returns a token other than the rejected one (`None`: there was none), as
    /// soon as there is one without anybody doing something. `challenge`: what the server
    /// said when it refused, however little; `None`: it has not been asked.
    ///
    /// # Errors
    /// [`TokenError`]; after `LoginRequired` see [`TokenSource::signed_in`].
    pub(crate) async fn renew(
        &self,
        rejected: Option<&AccessToken>,
        challenge: Option<Challenge>,
        wanting: Wanting,
    ) -> Result<AccessToken, TokenError> {
        if let Some(current) = self.current()
            && rejected != Some(&current)
        {
            return Ok(current);
        }
        let (reply, answer) = oneshot::channel();
        let request = Request {
            rejected: rejected.cloned(),
            was_refused: challenge.is_some(),
            challenge: challenge.unwrap_or_default(),
            wanting,
            dpop: self.dpop,
            reply,
        };
        let stopping = || TokenError::Transient("the daemon is stopping".into());
        let sent = self.messages.send(Message::Renew(Box::new(request))).await;
        sent.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }

    /// Waits until a sign-in that is under way has ended, and returns its token.
    ///
    /// # Errors
    /// [`TokenError`] if it gave none.
    pub(crate) async fn signed_in(
        &self,
        rejected: Option<&AccessToken>,
    ) -> Result<AccessToken, TokenError> {
        let mut status = self.status.clone();
        let ended = status.wait_for(|status| status.state != AuthState::SigningIn);
        let why = match ended.await {
            Ok(status) => status.trouble.clone(),
            Err(_) => return Err(TokenError::Transient("the daemon is stopping".into())),
        };
        match self.current() {
            Some(token) if rejected != Some(&token) => Ok(token),
            _ => Err(TokenError::LoginRequired { sign_in: None, why }),
        }
    }

    /// Waits until there is a token other than the rejected one, whoever sees to it.
    /// Cancel safe.
    pub(crate) async fn replaced(&self, rejected: Option<&AccessToken>) {
        let mut held = self.held.clone();
        let takes = |token: &AccessToken| self.dpop.takes(token.is_bound());
        let is_other = |token: &AccessToken| takes(token) && Some(token) != rejected;
        let other = held.wait_for(|held| held.token.as_ref().is_some_and(is_other));
        if other.await.is_err() {
            // The daemon is stopping.
            std::future::pending().await
        }
    }

    /// Returns how it stands, now and after every change.
    pub(crate) fn status(&self) -> watch::Receiver<AuthStatus> {
        self.status.clone()
    }

    /// Revokes the tokens where that is offered and deletes the files. A sign-in
    /// that is under way ends.
    pub(crate) async fn log_out(&self) -> LoggedOut {
        let (reply, done) = oneshot::channel();
        drop(self.messages.send(Message::LogOut(reply)).await);
        done.await.unwrap_or_else(|_| LoggedOut {
            was_signed_in: false,
            notes: vec!["the daemon is stopping".into()],
        })
    }
}

#[cfg(test)]
mod tests;
