//! One sign-in, from discovery to tokens that are kept. Belongs to the daemon: it
//! goes on whoever waits for it.
//!
//! The verifier is kept before the browser is sent anywhere, room for the tokens
//! is taken before the code is given away, and the tokens are kept before the
//! browser hears of success.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{oneshot, watch};

use super::authorization::{self, CallbackError, Code, Pending};
use super::browsers::{Browsers, Shown, SignInUrl};
use super::challenge::Challenge;
use super::discovery::{AuthorizationServer, Discovered, DiscoveryError, scopes_to_ask};
use super::endpoints::{Endpoints, Servers};
use super::grant::Grant;
use super::identity::{ClientChoice, Identity, IdentityHash};
use super::loopback::{Answers, Loopback};
use super::pages::Verdict;
use super::redirect::{self, Redirect};
use super::registration::{Client, RegistrationError};
use super::scope::Scope;
use super::store::{Store, StoreError};
use super::token::TokenEndpointError;
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
    /// The wall clock.
    pub(crate) now: fn() -> SystemTime,
    /// Who hears that a grant has changed.
    pub(crate) changes: Changes,
}

/// What a sign-in is for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wish {
    /// What the server said when it refused.
    pub(crate) challenge: Challenge,
    /// Scopes that were asked for before and are not to be lost.
    pub(crate) already: Option<Scope>,
    /// The registered client, if it may still be good.
    pub(crate) client: Option<Client>,
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
}

/// How a sign-in ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The tokens, which are kept already.
    pub(crate) grant: Result<Grant, SignInError>,
    /// The client to use from now on; `None`: another one has to be registered.
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
    /// The person did not come back.
    #[error("nobody finished the sign-in within {} minutes", PATIENCE.as_secs() / 60)]
    GivenUp,
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
            TokenEndpointError::Transient(why) => Self::Transient(why),
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
    let grant = attempt(&tools, &identity, wish, &mut client, progress).await;
    // Of a page that does not know our client only the person could tell.
    let may_be_unknown = matches!(grant, Err(SignInError::GivenUp | SignInError::Client(_)));
    if may_be_unknown && client.take().is_some() {
        drop(tools.store.remove_client(&identity.hash()).await);
    }
    Ended { grant, client }
}

async fn attempt(
    tools: &Tools,
    identity: &Identity,
    wish: Wish,
    client: &mut Option<Client>,
    progress: watch::Sender<Progress>,
) -> Result<Grant, SignInError> {
    let hash = identity.hash();
    let unusable = |error: crate::http::HttpError| SignInError::Failed(error.to_string());
    let servers = tools.endpoints.connect(identity).await.map_err(unusable)?;
    // A person waits: what is old by an hour may cost a second attempt.
    servers.forget(identity);
    let discovered = servers.discover(identity, &wish.challenge).await?;
    let issuer = &discovered.server.issuer;
    let known = client
        .clone()
        .map(|client| of_issuer(client, issuer))
        .filter(|client| client.issuer == *issuer && !has_expired(client, (tools.now)()));
    let redirect = redirect::listen(&tools.loopback, identity, known.as_ref())
        .map_err(|error| SignInError::Failed(error.to_string()))?;
    let already = wish.already.as_ref();
    let scope = scopes_to_ask(identity, &wish.challenge, &discovered, already);
    let scope = scope.as_ref();
    let client = client.insert(match known.filter(|_| redirect.registered) {
        Some(known) => known,
        None => register(tools, &*servers, identity, &discovered, &redirect, scope).await?,
    });
    let pending = authorization::begin(identity, &discovered, client, &redirect.uri, scope)
        .map_err(|error| SignInError::Failed(error.to_string()))?;
    tools.store.put_verifier(&hash, &pending.verifier).await?;
    let listening = &redirect.listening;
    let answers = listening.expect(&pending.state, &redirect.host, &redirect.path);
    let attempt = Attempt {
        tools,
        identity,
        hash: &hash,
        servers: &*servers,
        discovered: &discovered,
        client,
        pending: &pending,
    };
    let ended = attempt.finish(answers, progress).await;
    if let Err(error) = tools.store.remove_verifier(&hash).await {
        tracing::warn!(%error, "the verifier of a sign-in that is over is still there");
    }
    ended
}

/// Returns the client to sign in as; one that we registered is kept.
async fn register(
    tools: &Tools,
    servers: &dyn Servers,
    identity: &Identity,
    discovered: &Discovered,
    redirect: &Redirect,
    scope: Option<&Scope>,
) -> Result<Client, SignInError> {
    let uris = redirect::to_register(redirect);
    let registered = servers.register(identity, discovered, &uris, scope).await;
    let client = registered.map_err(|error| match error {
        // It may be in trouble.
        error @ RegistrationError::Unanswered(_) => error.into(),
        _ if discovered.server.is_assumed => SignInError::NotOffered,
        error => error.into(),
    })?;
    if is_registered_by_us(identity, &discovered.server) {
        let document = document(&client, &uris);
        tools.store.put_client(&identity.hash(), &document).await?;
    }
    Ok(client)
}

/// Says whether the client is one that registers itself; others are known by what
/// the user gave.
pub(crate) fn is_registered_by_us(identity: &Identity, server: &AuthorizationServer) -> bool {
    match identity.client {
        ClientChoice::Dynamic => true,
        ClientChoice::PreRegistered { .. } => false,
        ClientChoice::MetadataUrl(_) => !server.client_id_metadata_document_supported,
    }
}

/// Some servers do not repeat the redirect URIs, by which a port is chosen.
fn document(client: &Client, uris: &[String]) -> super::store::ClientDocument {
    let mut document = client.document.clone();
    document.insert("issuer".into(), client.issuer.clone().into());
    document.entry("redirect_uris").or_insert(uris.into());
    document
}

/// The files of old npm packages do not name the issuer: it is the one there was.
pub(crate) fn of_issuer(mut client: Client, issuer: &str) -> Client {
    if client.issuer.is_empty() {
        issuer.clone_into(&mut client.issuer);
    }
    client
}

/// Says whether a client's secret has ended.
pub(crate) fn has_expired(client: &Client, now: SystemTime) -> bool {
    let seconds = super::grant::milliseconds(now) / 1000;
    client.secret_expires_at.is_some_and(|at| at <= seconds)
}

struct Attempt<'a> {
    tools: &'a Tools,
    identity: &'a Identity,
    hash: &'a IdentityHash,
    servers: &'a dyn Servers,
    discovered: &'a Discovered,
    client: &'a Client,
    pending: &'a Pending,
}

impl Attempt<'_> {
    /// Sends somebody to the page, waits for the answer, and turns it into
    /// tokens that are kept.
    async fn finish(
        &self,
        mut answers: Answers,
        progress: watch::Sender<Progress>,
    ) -> Result<Grant, SignInError> {
        let url = SignInUrl::new(self.pending.url.clone());
        let since = (self.tools.now)();
        let say = |shown| {
            let url = url.clone();
            progress.send_replace(Progress::Pending(PendingSignIn { url, since, shown }));
        };
        say(Shown::Opening);
        let (code, verdict) = tokio::select! {
            answered = self.answered(&mut answers) => answered?,
            () = self.tools.browsers.show(self.hash, &url, say) => return Err(SignInError::GivenUp),
            () = tokio::time::sleep(PATIENCE) => return Err(SignInError::GivenUp),
        };
        // A second answer to the same question means nothing.
        drop(answers);
        progress.send_replace(Progress::Finishing);
        let grant = self.exchange(&code).await;
        let server = self.identity.server.shown().to_owned();
        let said = match &grant {
            Ok(_) => Verdict::SignedIn {
                server,
                next: self.identity.success_url.clone(),
            },
            Err(error) => Verdict::Failed {
                server,
                why: error.to_string(),
            },
        };
        // The browser may have gone.
        drop(verdict.send(said));
        grant
    }

    /// Waits for the answer that counts. Cancel safe.
    async fn answered(
        &self,
        answers: &mut Answers,
    ) -> Result<(Code, oneshot::Sender<Verdict>), SignInError> {
        while let Some(answer) = answers.next().await {
            let error = match authorization::check_callback(self.pending, answer.query.reveal()) {
                Ok(code) => return Ok((code, answer.verdict)),
                Err(error) => error,
            };
            let why = error.to_string();
            let ends = matches!(
                error,
                CallbackError::Denied { .. } | CallbackError::Issuer(_)
            );
            let verdict = match ends {
                true => Verdict::Failed {
                    server: self.identity.server.shown().to_owned(),
                    why: why.clone(),
                },
                false => Verdict::StillWaiting { why: why.clone() },
            };
            drop(answer.verdict.send(verdict));
            if ends {
                return Err(SignInError::Denied(why));
            }
        }
        Err(SignInError::GivenUp)
    }

    async fn exchange(&self, code: &Code) -> Result<Grant, SignInError> {
        let _lock = self.tools.store.lock(self.hash).await?;
        let reserved = self.tools.store.reserve(self.hash).await?;
        let exchanging =
            self.servers
                .exchange(&self.discovered.server, self.client, self.pending, code);
        let grant = Grant::new(
            exchanging.await?,
            None,
            &self.pending.issuer,
            self.pending.scope.clone(),
            self.identity.use_id_token,
            (self.tools.now)(),
        );
        reserved.put(&grant).await?;
        Ok(grant)
    }
}
