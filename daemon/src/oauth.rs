//! OAuth 2.1 client: signs people in, keeps their tokens and renews them. Others
//! see [`Authority`] and [`TokenSource`]. Knows no MCP messages.
//!
//! A token leaves this module only as a sensitive header value; it is in no log,
//! error, `Debug` or status.

pub(crate) mod browsers;
pub(crate) mod grant_type;
pub(crate) mod identity;
pub(crate) mod obtain;
pub(crate) mod sign_in;
pub(crate) mod store;
pub(crate) mod survey;
pub(crate) mod token_source;

pub(crate) mod endpoints;
pub(crate) mod grant;
pub(crate) mod kept_device;
pub(crate) mod kept_sign_in;
pub(crate) mod loopback;
pub(crate) mod on_its_way;
pub(crate) mod pages;
pub(crate) mod redirect;
pub(crate) mod refresh;

pub(crate) mod address;
pub(crate) mod authorization;
pub(crate) mod authorize_url;
pub(crate) mod challenge;
pub(crate) mod client_assertion;
pub(crate) mod device;
pub(crate) mod discovery;
pub(crate) mod dpop;
pub(crate) mod federation;
pub(crate) mod http;
pub(crate) mod jose;
pub(crate) mod names;
mod one_at_a_time;
pub(crate) mod registration;
pub(crate) mod scope;
pub(crate) mod secret_file;
mod successor;
pub(crate) mod text;
pub(crate) mod token;
mod unused;

#[cfg(test)]
mod fake;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use futures_util::stream::{self, StreamExt as _};
use mcp_remote_proto::v1::Display;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::browsers::{Attending, Browsers, OpenBrowser};
use self::discovery::Known;
use self::endpoints::OverHttp;
use self::identity::{Identity, IdentityHash};
use self::loopback::Loopback;
use self::names::Names;
use self::on_its_way::OnItsWay;
use self::pages::Verdict;
use self::sign_in::Tools;
use self::store::{OnDisk, Store, StoreError, TokenStoreKind};
use self::survey::{Kept, Survey};
use self::token_source::{AuthState, LoggedOut, TokenSource};
use crate::changes::Changes;
use crate::http::{HttpClients, HttpError};

/// Identities remembered. Past it, those that nobody is signed in with are
/// forgotten.
const MAX_SOURCES: usize = 1000;

/// Grants that are revoked at the same time.
pub(crate) const REVOCATIONS: usize = 8;

/// All grants of this user. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Authority(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// What all work with, but for the store, which is that of their folder.
    tools: Tools,
    kind: TokenStoreKind,
    /// Whether an identity's folder is this daemon's own.
    folder: PathBuf,
    /// Over which, and looked up by whom, the servers of a survey are reached.
    network: (Arc<HttpClients>, Names),
    tasks: TaskTracker,
    stop: CancellationToken,
    sources: Mutex<HashMap<IdentityHash, TokenSource>>,
}

impl Authority {
    /// Uses the token files in the folders of those who sign in (`base`: whose name
    /// none), or the keyring; reads nothing yet. What it begins ends with `stop`.
    pub(crate) fn new(
        (base, kind): (&Path, TokenStoreKind),
        browsers: Browsers,
        clients: &Arc<HttpClients>,
        names: Names,
        changes: &Changes,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        let network = (clients.clone(), names.clone());
        let tools = Tools {
            endpoints: Arc::new(OverHttp::new(clients.clone(), names)),
            store: Store::new(base.to_owned(), kind),
            loopback: Loopback::new(tasks.clone()),
            browsers,
            on_its_way: OnItsWay::new(),
            now: SystemTime::now,
            changes: changes.clone(),
            provider: None,
        };
        Self(Arc::new(Inner {
            tools,
            kind,
            folder: base.to_owned(),
            network,
            tasks: tasks.clone(),
            stop: stop.clone(),
            sources: Mutex::default(),
        }))
    }

    /// Returns the source of an identity's tokens, the same one for everybody.
    pub(crate) fn source(&self, identity: Identity) -> TokenSource {
        let provider = identity.identity_provider();
        let provider = provider.map(|provider| self.source(provider));
        let hash = identity.hash();
        let mut sources = self.lock();
        if let Some(known) = sources.get(&hash) {
            return known.use_identity(identity);
        }
        if sources.len() >= MAX_SOURCES {
            // Its actor ends with it.
            sources.retain(|_, known| !known.is_idle());
        }
        let (tools, stop) = (self.tools(&identity.folder), self.0.stop.clone());
        let tools = Tools { provider, ..tools };
        let source = TokenSource::spawn(identity, tools, &self.0.tasks, stop);
        sources.insert(hash, source.clone());
        source
    }

    /// Finds the authorization server of an identity as a sign-in does, and tells how.
    ///
    /// # Errors
    /// Nobody can be asked.
    pub(crate) async fn survey(
        &self,
        identity: &Identity,
        known: &Known,
    ) -> Result<Survey, HttpError> {
        let (clients, names) = &self.0.network;
        survey::discover(clients, names, identity, known).await
    }

    /// Reads what is kept of an identity. Nothing is taken over or renewed.
    ///
    /// # Errors
    /// The store cannot be used.
    pub(crate) async fn kept(&self, identity: &Identity) -> Result<Kept, StoreError> {
        survey::kept(&self.tools(&identity.folder).store, identity).await
    }

    /// Adds a shim that can be asked to open a browser; see [`Browsers::attend`].
    pub(crate) fn attend(
        &self,
        hash: &IdentityHash,
        display: &Display,
        ask: mpsc::Sender<OpenBrowser>,
        asked_for: bool,
    ) -> Attending {
        // A sign-in with whoever vouches is theirs.
        let provider = {
            let sources = self.lock();
            let identity = sources.get(hash).map(|source| source.identity());
            identity.and_then(|identity| identity.identity_provider())
        };
        let provider = provider.map(|provider| provider.hash());
        let hash = provider.as_ref().unwrap_or(hash);
        self.0.tools.browsers.attend(hash, display, ask, asked_for)
    }

    /// Takes the redirect of a sign-in that a person pasted.
    ///
    /// # Errors
    /// Why it did not sign anybody in, in one sentence.
    pub(crate) async fn complete(&self, redirect_url: &str) -> Result<(), String> {
        match self.0.tools.loopback.answer(redirect_url).await {
            Some(Verdict::SignedIn { .. }) => Ok(()),
            Some(Verdict::Failed { why, .. } | Verdict::StillWaiting { why }) => Err(why),
            None => Err(
                "this URL belongs to no sign-in that is waiting: paste the whole address at which the browser ended"
                    .into(),
            ),
        }
    }

    /// Returns the sources with files in a folder, sorted by hash.
    pub(crate) fn sources_in(&self, folder: &Path) -> Vec<TokenSource> {
        let mut sources = self.sources();
        sources.retain(|source| source.hash().folder() == folder);
        sources
    }

    /// Returns the folder of an identity's files, unless it is the daemon's own.
    pub(crate) fn other_folder<'a>(&self, hash: &'a IdentityHash) -> Option<&'a Path> {
        Some(hash.folder()).filter(|folder| *folder != self.0.folder)
    }

    /// Returns all sources, sorted by hash.
    pub(crate) fn sources(&self) -> Vec<TokenSource> {
        let mut sources: Vec<_> = self.lock().values().cloned().collect();
        sources.sort_by(|one, other| one.hash().cmp(other.hash()));
        sources
    }

    /// Says whether a sign-in is waiting for somebody.
    pub(crate) fn is_signing_in(&self) -> bool {
        let signing_in =
            |source: &TokenSource| source.status().borrow().state == AuthState::SigningIn;
        self.sources().iter().any(signing_in)
    }

    /// Forgets the grants of a folder that no source is for, or that a source has left.
    pub(crate) async fn log_out_left(&self, folder: &Path) -> Vec<LoggedOut> {
        let tools = self.tools(folder);
        let left = tools.store.identities().await.unwrap_or_default();
        let forgetting = left
            .into_iter()
            .map(|hash| unused::log_out(tools.clone(), hash));
        let forgetting = stream::iter(forgetting).buffer_unordered(REVOCATIONS);
        let mut done: Vec<_> = forgetting.collect().await;
        let successors = tools.store.subjects().await.unwrap_or_default();
        let ending = successors
            .into_iter()
            .map(|hash| unused::end_successor(tools.clone(), hash));
        let mut ending = stream::iter(ending).buffer_unordered(REVOCATIONS);
        while let Some(ended) = ending.next().await {
            done.push(ended);
        }
        done.extend(unused::unpinned(tools.store.unpin_all(None).await));
        done
    }

    /// Forgets the grants of a server that no source is for, by whatever options.
    pub(crate) async fn log_out_unused(&self, identity: &Identity) -> Vec<LoggedOut> {
        let tools = self.tools(&identity.folder);
        let server = identity.server_digits();
        let mut done = Vec::new();
        for hash in tools.store.identities().await.unwrap_or_default() {
            let grant = tools
                .store
                .tokens(&hash)
                .await
                .ok()
                .and_then(OnDisk::tokens);
            if grant.is_some_and(|grant| grant.server.as_ref() == Some(&server)) {
                done.push(unused::log_out(tools.clone(), hash).await);
            }
        }
        done.extend(unused::unpinned(tools.store.unpin_all(Some(&server)).await));
        done
    }

    fn tools(&self, folder: &Path) -> Tools {
        Tools {
            store: Store::new(folder.to_owned(), self.0.kind),
            ..self.0.tools.clone()
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IdentityHash, TokenSource>> {
        self.0
            .sources
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}
