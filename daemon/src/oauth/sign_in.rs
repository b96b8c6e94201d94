//! One sign-in, from discovery to tokens that are kept. Belongs to the daemon: it
//! goes on whoever waits for it.
//!
//! It is kept before the browser is sent anywhere, and its code before that is
//! given away, so that the next daemon goes on with it; the tokens are kept before
//! the browser hears of success.

mod attempt;
mod by_device;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use self::attempt::{Attempt, Party};
use self::by_device::ByDevice;
use super::authorization;
use super::browsers::{Browsers, Shown, SignInUrl};
use super::challenge::Challenge;
use super::device;
use super::discovery::{Discovered, DiscoveryError, Known, scopes_to_ask};
use super::dpop::{self, Binding};
use super::endpoints::{Endpoints, Servers};
use super::grant::Grant;
use super::identity::Identity;
use super::kept_device::KeptDevice;
use super::kept_sign_in::KeptSignIn;
use super::loopback::{Answers, Loopback};
use super::on_its_way::OnItsWay;
use super::redirect::{self, Redirect};
use super::registration::{self, Client, RegistrationError};
use super::scope::Scope;
use super::store::{OnDisk, Store, StoreError, Unsaved};
use super::token::TokenEndpointError;
use super::token_source::TokenSource;
use crate::changes::Changes;

/// How long a person has. Pages of authorization servers live no longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// What sign-ins and refreshes work with.
#[derive(Debug, Clone)]
pub(crate) struct Tools {
    /// The OAuth servers.
    pub(crate) endpoints: Arc<dyn Endpoints>,
    /// The files.
    pub(crate) store: Store,
    /// The redirect listener.
    pub(crate) loopback: Loopback,
    /// Who opens browsers.
    pub(crate) browsers: Browsers,
    /// Token requests of one grant that are not to be cut off.
    pub(crate) on_its_way: OnItsWay,
    /// The wall clock.
    pub(crate) now: fn() -> SystemTime,
    /// Who hears that a grant has changed.
    pub(crate) changes: Changes,
    /// The grant by which an identity provider vouches for whoever has signed in there.
    pub(crate) provider: Option<TokenSource>,
}

/// What a sign-in is for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wish {
    /// What the server said when it refused.
    pub(crate) challenge: Challenge,
    /// With it, and from earlier days, who to ask.
    pub(crate) known: Known,
    /// Scopes that were asked for before and are not to be lost.
    pub(crate) already: Option<Scope>,
    /// The registered client, if it may still be good.
    pub(crate) client: Option<Client>,
    /// Whether a browser is opened unasked.
    pub(crate) tab: bool,
    /// When whoever wants more access has signed in.
    pub(crate) signed_in_at: Option<u64>,
}

/// How far a sign-in is.
#[derive(Debug, Clone, Default)]
pub(crate) enum Progress {
    /// Servers are being asked.
    #[default]
    Preparing,
    /// Somebody has to visit the page.
    Pending(PendingSignIn),
    /// The code is being turned into tokens.
    Finishing,
}

/// A sign-in that waits for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PendingSignIn {
    /// Its page.
    pub(crate) url: SignInUrl,
    /// Since when.
    pub(crate) since: SystemTime,
    /// Whether a browser shows it.
    pub(crate) shown: Shown,
    /// Whether it could be done by a code instead.
    pub(crate) offers_codes: bool,
}

/// Tokens that a sign-in gave.
#[derive(Debug)]
pub(crate) struct Kept {
    /// They, kept already.
    pub(crate) grant: Grant,
    /// Why they are not.
    pub(crate) unsaved: Option<Unsaved>,
}

/// How a sign-in ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The tokens.
    pub(crate) kept: Result<Kept, SignInError>,
    /// The client of the next sign-in; `None`: another one has to be registered.
    pub(crate) client: Option<Client>,
}

/// Why a sign-in gave nothing. One sentence each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignInError {
    /// It may work later without anybody doing anything.
    #[error("{0}")]
    Transient(String),
    /// Somebody has to do something.
    #[error("{0}")]
    Failed(String),
    /// The person or the authorization server said no.
    #[error("{0}")]
    Denied(String),
    /// The authorization server does not know the client.
    #[error("{0}")]
    Client(String),
    /// Nothing says that the server has anybody signed in.
    #[error("it offers no sign-in")]
    NotOffered,
    /// The last daemon ended while it turned the code into tokens, which the
    /// authorization server does once.
    #[error("the sign-in was cut off at its end: {0}")]
    Interrupted(String),
    /// The person did not come back.
    #[error("nobody finished the sign-in within {} minutes", PATIENCE.as_secs() / 60)]
    GivenUp,
    /// Nobody typed the code in.
    #[error("{0}")]
    Expired(String),
}

impl From<StoreError> for SignInError {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<DiscoveryError> for SignInError {
    fn from(error: DiscoveryError) -> Self {
        match error {
            DiscoveryError::Unanswered(why) => Self::Transient(why),
            error => Self::Failed(error.to_string()),
        }
    }
}

impl From<RegistrationError> for SignInError {
    fn from(error: RegistrationError) -> Self {
        match error {
            RegistrationError::Unanswered(why) => Self::Transient(why),
            error => Self::Failed(error.to_string()),
        }
    }
}

impl From<TokenEndpointError> for SignInError {
    fn from(error: TokenEndpointError) -> Self {
        match error {
            TokenEndpointError::Transient(why) | TokenEndpointError::Later(why, _) => {
                Self::Transient(why)
            }
            TokenEndpointError::InvalidClient(_) => Self::Client(error.to_string()),
            error => Self::Failed(error.to_string()),
        }
    }
}

/// Signs somebody in.
pub(crate) async fn run(
    tools: Tools,
    identity: Arc<Identity>,
    wish: Wish,
    progress: watch::Sender<Progress>,
) -> Ended {
    let mut client = wish.client.clone();
    let tab = wish.tab;
    let kept = attempt(&tools, &identity, wish, &mut client, progress).await;
    if !tab && matches!(kept, Err(SignInError::GivenUp)) {
        // Nobody has seen the page.
        return Ended { kept, client };
    }
    ended(&tools, &identity, kept, client).await
}

/// Goes on with a sign-in that was under way when the last daemon ended.
pub(crate) async fn resume(
    tools: Tools,
    identity: Arc<Identity>,
    sign_in: KeptSignIn,
    progress: watch::Sender<Progress>,
) -> Ended {
    let client = Some(sign_in.client.clone());
    let kept = attempt_again(&tools, &identity, sign_in, progress).await;
    ended(&tools, &identity, kept, client).await
}

/// Likewise with one by code.
pub(crate) async fn resume_device(
    tools: Tools,
    identity: Arc<Identity>,
    kept: KeptDevice,
    progress: watch::Sender<Progress>,
) -> Ended {
    let client = Some(kept.client.clone());
    let by_device = ByDevice {
        tools: &tools,
        identity: &identity,
        hash: &identity.hash(),
        kept,
        party: None,
        tab: false,
    };
    let kept = by_device.finish(progress).await;
    let kept = kept.map_err(|error| match error {
        // The last daemon may have got its tokens, and lost them.
        SignInError::Failed(why) | SignInError::Client(why) => SignInError::Interrupted(why),
        error => error,
    });
    ended(&tools, &identity, kept, client).await
}

async fn ended(
    tools: &Tools,
    identity: &Identity,
    kept: Result<Kept, SignInError>,
    mut client: Option<Client>,
) -> Ended {
    // Of a page that does not know our client only the person could tell.
    let may_be_unknown = matches!(kept, Err(SignInError::GivenUp | SignInError::Client(_)));
    if may_be_unknown && client.take().is_some() {
        let (store, hash) = (&tools.store, identity.hash());
        // The file is that of tokens as long as there are some.
        if let Ok(OnDisk::Nothing) = store.tokens(&hash).await {
            drop(store.remove_client(&hash).await);
        }
    }
    Ended { kept, client }
}

/// Where to sign in, what for, and what tokens will be bound to.
struct Found {
    servers: Box<dyn Servers>,
    discovered: Discovered,
    scope: Option<Scope>,
    binding: Option<Binding>,
}

async fn attempt(
    tools: &Tools,
    identity: &Identity,
    wish: Wish,
    client: &mut Option<Client>,
    progress: watch::Sender<Progress>,
) -> Result<Kept, SignInError> {
    let hash = identity.hash();
    let servers = tools.endpoints.connect(identity).await.map_err(unusable)?;
    // A person waits: what is old by an hour may cost a second attempt.
    servers.forget(identity);
    let discovered = servers.discover(identity, &wish.known).await?;
    if let Some(key) = identity.client_key() {
        // Before anybody signs in for nothing.
        let read = key.file.read().await;
        read.map_err(|error| SignInError::Failed(error.to_string()))?;
    }
    let already = wish.already.as_ref();
    let scope = scopes_to_ask(identity, &wish.challenge, &discovered, already);
    let binding = dpop::decide(identity, &wish.challenge, &discovered);
    let binding = binding.map_err(SignInError::Failed)?;
    let asked = (&wish, scope.as_ref(), binding.as_ref());
    if let Some(kept) =
        by_device::begin(tools, identity, &*servers, &discovered, asked, client).await?
    {
        let client = kept.client.clone();
        let by_device = ByDevice {
            tools,
            identity,
            hash: &hash,
            kept,
            party: Some(Party {
                servers,
                discovered,
                client,
            }),
            // Whoever wants a code may have no browser here on purpose.
            tab: wish.tab && !identity.by_code,
        };
        return by_device.finish(progress).await;
    }
    let found = Found {
        servers,
        discovered,
        scope,
        binding,
    };
    by_page(tools, identity, wish, client, progress, found).await
}

/// Signs in at a page that a browser shows, from which it comes back.
async fn by_page(
    tools: &Tools,
    identity: &Identity,
    wish: Wish,
    client: &mut Option<Client>,
    progress: watch::Sender<Progress>,
    found: Found,
) -> Result<Kept, SignInError> {
    let Found {
        servers,
        discovered,
        scope,
        binding,
    } = found;
    let (hash, scope) = (identity.hash(), scope.as_ref());
    // Before a client is registered for it.
    discovered.server.authorization_endpoint.clone()?;
    let offers_codes = device::is_offered(&discovered.server);
    let known = still_good(tools, identity, &discovered, scope, client.clone());
    let known = known.filter(|client| binding.is_some() || !client.binds_always());
    let redirect = redirect::listen(&tools.loopback, identity, known.as_ref())
        .map_err(|error| SignInError::Failed(error.to_string()))?;
    let known = known.filter(|_| redirect.registered);
    let client = client.insert(match known {
        Some(known) => known,
        None => register(&*servers, identity, &discovered, &redirect, scope).await?,
    });
    let uri = &redirect.uri;
    let pending = authorization::begin(identity, &discovered, client, uri, scope, binding)
        .map_err(|error| SignInError::Failed(error.to_string()))?;
    let sign_in = KeptSignIn {
        pending,
        client: client.clone(),
        since: (tools.now)(),
        shown: false,
        resource_metadata: wish.known.resource_metadata,
        signed_in_at: wish.signed_in_at,
        answer: None,
    };
    tools.store.put_sign_in(&hash, &sign_in).await?;
    let answers = expect(&redirect, &sign_in);
    let party = Party {
        servers,
        discovered,
        client: client.clone(),
    };
    let attempt = Attempt {
        tools,
        identity,
        hash: &hash,
        sign_in,
        party: Some(party),
        tab: wish.tab,
        offers_codes,
    };
    attempt.finish(Some(answers), progress).await
}

/// Returns the client of earlier days if it can be used here.
fn still_good(
    tools: &Tools,
    identity: &Identity,
    discovered: &Discovered,
    scope: Option<&Scope>,
    client: Option<Client>,
) -> Option<Client> {
    let server = &discovered.server;
    let is_ours = registration::given(identity, server).is_none();
    client
        .filter(|_| is_ours)
        .map(|client| client.known_to(server))
        .filter(|client| client.issuer == server.issuer && !client.has_expired((tools.now)()))
        .filter(|client| scope.is_none_or(|scope| client.may_ask_for(scope)))
}

async fn attempt_again(
    tools: &Tools,
    identity: &Identity,
    sign_in: KeptSignIn,
    progress: watch::Sender<Progress>,
) -> Result<Kept, SignInError> {
    let interrupted = |why| SignInError::Interrupted(why);
    let redirect = match sign_in.answer {
        Some(_) => None,
        // Another daemon may have it, and the sign-in with it.
        None => Some(
            redirect::listen_again(&tools.loopback, &sign_in.pending.redirect_uri)
                .map_err(|error| interrupted(error.to_string()))?,
        ),
    };
    let answers = redirect.as_ref().map(|redirect| expect(redirect, &sign_in));
    let was_answered = answers.is_none();
    let attempt = Attempt {
        tools,
        identity,
        hash: &identity.hash(),
        sign_in,
        party: None,
        tab: true,
        offers_codes: false,
    };
    let finishing = attempt.finish(answers, progress).await;
    finishing.map_err(|error| match error {
        SignInError::Failed(why) | SignInError::Client(why) if was_answered => interrupted(why),
        error => error,
    })
}

fn expect(redirect: &Redirect, sign_in: &KeptSignIn) -> Answers {
    let listening = &redirect.listening;
    listening.expect(&sign_in.pending.state, &redirect.host, &redirect.path)
}

fn unusable(error: crate::http::HttpError) -> SignInError {
    SignInError::Failed(error.to_string())
}

/// Returns the client to sign in as.
async fn register(
    servers: &dyn Servers,
    identity: &Identity,
    discovered: &Discovered,
    redirect: &Redirect,
    scope: Option<&Scope>,
) -> Result<Client, SignInError> {
    let uris = redirect::to_register(redirect);
    let registered = servers.register(identity, discovered, &uris, scope).await;
    let mut client = registered.map_err(|error| match error {
        // It may be in trouble.
        error @ (RegistrationError::Unanswered(_) | RegistrationError::Elsewhere { .. }) => {
            error.into()
        }
        _ if discovered.server.is_assumed => SignInError::NotOffered,
        error => error.into(),
    })?;
    client.note(std::slice::from_ref(&redirect.uri), scope);
    Ok(client)
}
