//! An OAuth authorization server that does what a test says and remembers what
//! it saw, and the guard that puts a fake MCP server behind it.
//!
//! Out of the box it is strict and well-behaved: one-time codes with PKCE,
//! rotating refresh tokens with reuse detection, consent given at once. What a
//! conforming client would not do is a complaint, and complaints fail the test
//! at the end. Every secret that it gives begins with [`SECRET`].

mod assertions;
mod config;
mod device;
mod endpoints;
mod guard;
mod metadata;
mod proofs;
mod service;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use self::config::{Config, Dpop, Metadata, Nonces, ResourceMetadata, Reuse};
pub use self::device::Device;
use self::device::DeviceCode;
use crate::home::SECRET;
use crate::monitor::Monitor;
use crate::upstream::{FakeUpstream, Reply, Request};

/// A registered client.
#[derive(Debug, Clone)]
struct Client {
    redirect_uris: Vec<String>,
    secret: Option<String>,
    /// Whether it may sign in by code.
    device: bool,
}

/// What a code was given for.
#[derive(Debug, Clone)]
struct Code {
    client: String,
    redirect_uri: String,
    challenge: String,
    resource: Option<String>,
    scope: Option<String>,
    /// The key that its tokens are to be bound to (`dpop_jkt`).
    jkt: Option<String>,
}

/// One person's consent, and what came of it.
#[derive(Debug, Clone, Default)]
struct Grant {
    client: String,
    resource: Option<String>,
    scope: Option<String>,
    revoked: bool,
    /// The key that it is bound to.
    jkt: Option<String>,
}

#[derive(Debug, Default)]
struct State {
    requests: Vec<(String, Request)>,
    clients: BTreeMap<String, Client>,
    codes: BTreeMap<String, Code>,
    device_codes: BTreeMap<String, DeviceCode>,
    grants: Vec<Grant>,
    /// Access tokens that work, and the grant of each.
    access: BTreeMap<String, usize>,
    /// Refresh tokens that work, and the grant of each.
    refresh: BTreeMap<String, usize>,
    /// Refresh tokens that have been used.
    used: BTreeMap<String, usize>,
    /// ID tokens that were given.
    id_tokens: BTreeSet<String>,
    minted: u64,
    /// Scopes that some request needs besides those of its token.
    wanted: BTreeSet<String>,
    complaints: Vec<String>,
    /// Requests whose answers are not sent.
    mute: BTreeSet<String>,
    /// Those of which that was so.
    muted: Vec<String>,
    /// Service accounts that show who they are with a key.
    keys: BTreeMap<String, service::Key>,
    /// What signed assertions are called that have come (`jti`).
    assertions: BTreeSet<String>,
    /// Tokens are looked at and nothing comes of it.
    holds_uses: bool,
    /// The `jti` of all proofs.
    proofs: BTreeSet<String>,
    /// Nonces that are good, with the origins that gave them.
    nonces: BTreeSet<(String, String)>,
    /// Access tokens are not bound any more.
    gives_bearer: bool,
    /// The request to the guarded server that is the first after the tokens' end.
    expire_before: Option<(String, usize)>,
}

type Script = Arc<dyn Fn(&str, &Request) -> Option<Reply> + Send + Sync>;

struct Shared {
    config: Config,
    origin: String,
    state: Monitor<State>,
    script: Mutex<Option<Script>>,
    trust: Mutex<Option<assertions::Trust>>,
}

/// An authorization server on loopback.
#[expect(missing_debug_implementations, reason = "holds a closure")]
pub struct FakeAuthorizationServer {
    shared: Arc<Shared>,
    http: FakeUpstream,
}

impl FakeAuthorizationServer {
    /// Starts a strict and well-behaved one.
    pub fn start() -> Self {
        Self::with(Config::default())
    }

    /// Starts one of this kind.
    pub fn with(config: Config) -> Self {
        let http = FakeUpstream::start();
        Self::at(config, http)
    }

    fn at(config: Config, http: FakeUpstream) -> Self {
        let shared = Arc::new(Shared {
            config,
            origin: http.origin(),
            state: Monitor::default(),
            script: Mutex::default(),
            trust: Mutex::default(),
        });
        let serving = shared.clone();
        http.script(move |request| Some(serving.reply(request)));
        Self { shared, http }
    }

    /// Puts an MCP server behind this authorization server.
    pub fn protect(&self, upstream: &FakeUpstream) {
        self.protect_scripted(upstream, |_| None);
    }

    /// The same where `script` answers what it wants to of what has a token.
    pub fn protect_scripted(
        &self,
        upstream: &FakeUpstream,
        script: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static,
    ) {
        let (shared, origin) = (self.shared.clone(), upstream.origin());
        upstream.script(move |request| {
            guard::reply(&shared, &origin, request).or_else(|| script(request))
        });
    }

    /// Lets `script` answer the requests that it wants to; it gets their labels.
    pub fn script(&self, script: impl Fn(&str, &Request) -> Option<Reply> + Send + Sync + 'static) {
        let slot = self.shared.script.lock();
        *slot.unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(script));
    }

    /// Ends scripting.
    pub fn behave(&self) {
        let slot = self.shared.script.lock();
        *slot.unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Returns its origin, which with the path of the configuration is its issuer.
    pub fn origin(&self) -> String {
        self.shared.origin.clone()
    }

    /// Returns what it was asked, in order: "authorize", "token code", "token
    /// refresh", "token client", "token device", "token assertion", "token exchange",
    /// "device", "register", "revoke", or the path of a metadata document.
    pub fn labels(&self) -> Vec<String> {
        self.shared.state.look(|state| {
            let labels = state.requests.iter().map(|(label, _)| label.clone());
            labels.collect()
        })
    }

    /// Counts the requests of this label.
    pub fn count(&self, wanted: &str) -> usize {
        self.labels()
            .iter()
            .filter(|label| *label == wanted)
            .count()
    }

    /// Waits for the `nth` request (from 1) of this label.
    ///
    /// # Panics
    /// If it does not come.
    pub fn wait_for(&self, wanted: &str, nth: usize) -> Request {
        let what = format!("request {nth} of {wanted:?}");
        self.shared.state.expect(&what, |state| {
            let mut found = state.requests.iter().filter(|(label, _)| label == wanted);
            found.nth(nth - 1).map(|(_, request)| request.clone())
        })
    }

    /// Does what requests of this label ask for from now on, and loses the answers.
    pub fn lose_answers(&self, label: &str) {
        self.shared.state.update(|state| {
            state.muted.clear();
            state.mute.insert(label.to_owned());
        });
    }

    /// Waits until an answer to this label has been lost since then.
    ///
    /// # Panics
    /// If none is.
    pub fn wait_until_lost(&self, label: &str) {
        let what = format!("a lost answer to {label:?}");
        self.shared.state.expect(&what, |state| {
            state.muted.iter().any(|lost| lost == label).then_some(())
        });
    }

    /// Loses no more answers, and lets tokens be used.
    pub fn lose_nothing(&self) {
        self.shared.state.update(|state| {
            state.mute.clear();
            state.holds_uses = false;
        });
    }

    /// Lets requests with tokens that are good wait for ever.
    pub fn hold_uses(&self) {
        self.shared.state.update(|state| state.holds_uses = true);
    }

    /// Forgets the ID tokens that it has given.
    pub fn forget_id_tokens(&self) {
        self.shared.state.update(|state| state.id_tokens.clear());
    }

    /// Says whether it has given this ID token.
    pub fn has_given(&self, id_token: &str) -> bool {
        self.shared
            .state
            .look(|state| state.id_tokens.contains(id_token))
    }

    /// Makes every access token so far worthless; refresh tokens still work.
    pub fn expire_access_tokens(&self) {
        self.shared.state.update(|state| state.access.clear());
    }

    /// The same just before the `nth` request (from 1) to the guarded server with this
    /// label, from now on.
    pub fn expire_before(&self, label: &str, nth: usize) {
        self.shared
            .state
            .update(|state| state.expire_before = Some((label.to_owned(), nth)));
    }

    /// Withdraws everything that was granted.
    pub fn revoke_all(&self) {
        self.shared.state.update(|state| {
            state.access.clear();
            for grant in &mut state.grants {
                grant.revoked = true;
            }
        });
    }

    /// Forgets all registered clients.
    pub fn forget_clients(&self) {
        self.shared.state.update(|state| state.clients.clear());
    }

    /// Registers a client by hand; returns its secret.
    pub fn register(&self, id: &str, redirect_uri: &str) -> String {
        let secret = format!("{SECRET}client");
        let client = Client {
            redirect_uris: vec![redirect_uri.to_owned()],
            secret: Some(secret.clone()),
            device: true,
        };
        self.shared
            .state
            .update(|state| state.clients.insert(id.to_owned(), client));
        secret
    }

    /// Registers a client by hand that has no secret.
    pub fn register_public(&self, id: &str, redirect_uri: &str) {
        let client = Client {
            redirect_uris: vec![redirect_uri.to_owned()],
            secret: None,
            device: true,
        };
        self.shared
            .state
            .update(|state| state.clients.insert(id.to_owned(), client));
    }

    /// Takes this nonce at `origin` from now on, and none of those before.
    pub fn change_nonce(&self, origin: &str, nonce: &str) {
        self.shared.state.update(|state| {
            state.nonces.retain(|(at, _)| at != origin);
            state.nonces.insert((origin.to_owned(), nonce.to_owned()))
        });
    }

    /// Gives access tokens that are bound to no key from now on, whatever is proved.
    pub fn give_bearer_tokens(&self) {
        self.shared.state.update(|state| state.gives_bearer = true);
    }

    /// Asks for this scope from now on, with 403 where a token does not have it.
    pub fn want_scope(&self, scope: &str) {
        self.shared
            .state
            .update(|state| state.wanted.insert(scope.to_owned()));
    }

    /// Stops listening and ends all connections.
    pub fn go_down(&mut self) {
        self.http.go_down();
    }

    /// Listens again where it did before.
    pub fn come_back(&mut self) {
        self.http.come_back();
    }
}

/// Names the npm package's files for a server without options.
pub fn npm_hash(url: &str) -> String {
    use md5::Digest as _;
    let digest = md5::Md5::digest(url);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Shared {
    fn complain(&self, complaint: String) {
        self.state.update(|state| state.complaints.push(complaint));
    }

    fn trust(&self) -> MutexGuard<'_, Option<assertions::Trust>> {
        self.trust.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn issuer(&self, origin: &str) -> String {
        format!("{origin}{}", self.config.issuer_path)
    }

    fn reply(&self, request: &Request) -> Reply {
        self.answer(&self.origin, request)
            .unwrap_or_else(|| Reply::status(404))
    }

    /// Answers as the authorization server at `origin`; `None`: nothing is there.
    fn answer(&self, origin: &str, request: &Request) -> Option<Reply> {
        let label = endpoints::label(request);
        let script = {
            let script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
            script.clone()
        };
        // Only now: whoever waits for it may end the script.
        self.state
            .update(|state| state.requests.push((label.clone(), request.clone())));
        let reply = script
            .and_then(|script| script(&label, request))
            .or_else(|| endpoints::reply(self, origin, request))
            .or_else(|| metadata::reply(self, origin, request));
        let lost = self.state.update(|state| {
            let lost = state.mute.contains(&label);
            state.muted.extend(lost.then_some(label));
            lost
        });
        match lost {
            true => Some(Reply::Hang),
            false => reply,
        }
    }
}

impl State {
    /// Says whether the access tokens of a grant are bound to its key.
    fn is_bound(&self, grant: usize) -> bool {
        self.grants[grant].jkt.is_some() && !self.gives_bearer
    }

    /// Makes a value that nobody else has.
    fn mint(&mut self, kind: &str) -> String {
        self.minted += 1;
        format!("{SECRET}{kind}-{}", self.minted)
    }
}

impl Drop for FakeAuthorizationServer {
    fn drop(&mut self) {
        self.http.go_down();
        if !std::thread::panicking() {
            let complaints = self.shared.state.look(|state| state.complaints.clone());
            assert!(
                complaints.is_empty(),
                "the fake authorization server complains: {complaints:#?}"
            );
        }
    }
}

#[cfg(test)]
mod tests;
