//! A daemon in the world, over a folder that outlives it, and what its clients and
//! their people do.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use serde_json::json;
use url::Url;

use super::world::{ISSUER, Reach, World, now};
use super::*;
use crate::changes::Changes;
use crate::http::NetworkOptions;
use crate::oauth::browsers::Browsers;
use crate::oauth::challenge::ChallengeError;
use crate::oauth::identity::ClientChoice;
use crate::oauth::loopback::Loopback;
use crate::oauth::on_its_way::OnItsWay;
use crate::oauth::registration::Client;
use crate::oauth::store::{Store, TokenStoreKind};
use crate::secret::Secret;
use crate::server_url::ServerUrl;

/// A daemon's share of it, over a folder that outlives it.
#[derive(Debug)]
pub(super) struct Daemon {
    pub(super) source: TokenSource,
    pub(super) tools: Tools,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

thread_local! {
    /// The port of one test, which runs on a thread of its own: side by side on one port,
    /// the next daemon of one could find that another has taken it.
    static PORT: u16 = free_port();
}

/// Returns a port below those that the system gives to connections.
fn free_port() -> u16 {
    static TRIED: AtomicU32 = AtomicU32::new(0);
    let is_free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let numbers = std::iter::repeat_with(|| TRIED.fetch_add(1, Relaxed));
    let ports = numbers.map(|tried| 10_000 + (std::process::id() * 101 + tried) % 20_000);
    let mut ports = ports.map(|port| u16::try_from(port).expect("less than 30000"));
    ports.find(is_free).expect("some port is free")
}

#[derive(Debug)]
pub(super) struct Setup {
    pub(super) world: Arc<World>,
    pub(super) base: tempfile::TempDir,
}

impl Setup {
    pub(super) fn new() -> Self {
        Self {
            world: Arc::new(World::new()),
            base: tempfile::tempdir().expect("a folder"),
        }
    }

    /// The same server with a client that its user has registered.
    pub(super) fn identity_of(client_id: &str) -> Identity {
        Identity {
            client: ClientChoice::PreRegistered {
                client_id: client_id.into(),
                client_secret: Some(Secret::new("hidden".into())),
                auth_method: None,
                // At any port, since tests run side by side.
                redirect_uris: vec!["http://127.0.0.1/cb".into()],
                issuer: None,
            },
            ..Self::identity()
        }
    }

    pub(super) fn identity() -> Identity {
        let server = ServerUrl::parse("https://h/mcp", false).expect("valid");
        let mut identity = Identity::new(server, NetworkOptions::default());
        identity.callback.port = Some(PORT.with(|port| *port));
        identity
    }

    pub(super) fn store(&self) -> Store {
        Store::new(self.base.path().to_owned(), TokenStoreKind::Files)
    }

    pub(super) fn start(&self) -> Daemon {
        self.start_as(Self::identity())
    }

    pub(super) fn start_as(&self, identity: Identity) -> Daemon {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let tools = Tools {
            endpoints: Arc::new(Reach(self.world.clone())),
            store: self.store(),
            loopback: Loopback::new(tasks.clone()),
            browsers: Browsers::new(),
            on_its_way: OnItsWay::new(),
            now,
            changes: Changes::default(),
            provider: None,
        };
        let source = TokenSource::spawn(identity, tools.clone(), &tasks, stop.clone());
        Daemon {
            source,
            tools,
            stop,
            tasks,
        }
    }

    /// Starts with somebody signed in already.
    pub(super) async fn signed_in(&self) -> Daemon {
        let response = self.world.issue();
        let keeps = response.id_token.is_some();
        let client = json!({ "client_id": "c", "issuer": ISSUER, "scope": "read" });
        let client = Client::of_kept(client.as_object().expect("an object").clone());
        let client = client.expect("a client");
        let scope = Scope::parse("read");
        let grant = Grant::new(response, None, client, None, scope, keeps, now());
        let (store, hash) = (self.store(), Self::identity().hash());
        store.put_grant(&hash, &grant).await.expect("kept");
        let daemon = self.start();
        daemon.source.ready().await;
        assert!(self.world.accepts(daemon.source.current().as_ref()));
        daemon
    }

    /// The access token in the file.
    pub(super) async fn stored(&self) -> Option<String> {
        let on_disk = self.store().tokens(&Self::identity().hash()).await;
        let grant = on_disk.expect("readable").tokens();
        grant.map(|grant| grant.access_token.reveal().clone())
    }
}

impl Daemon {
    /// Asks for a token as a request does that the server has refused.
    pub(super) async fn renew(
        &self,
        rejected: Option<&AccessToken>,
    ) -> Result<AccessToken, TokenError> {
        self.source
            .renew(
                rejected,
                rejected.map(|_| Challenge::default()),
                Wanting::default(),
            )
            .await
    }

    /// The same for lack of a scope, by an operation that always needs it.
    pub(super) async fn step_up(
        &self,
        rejected: &AccessToken,
        scope: &str,
    ) -> Result<AccessToken, TokenError> {
        let operation = format!("tools/call {scope}");
        self.step_up_for(&operation, rejected, scope).await
    }

    /// The same by this operation.
    pub(super) async fn step_up_for(
        &self,
        operation: &str,
        rejected: &AccessToken,
        scope: &str,
    ) -> Result<AccessToken, TokenError> {
        let challenge = Challenge {
            scope: Scope::parse(scope),
            error: Some(ChallengeError::InsufficientScope),
            ..Challenge::default()
        };
        let wanting = Wanting {
            operation: operation.to_owned(),
            ..Wanting::default()
        };
        self.source
            .renew(Some(rejected), Some(challenge), wanting)
            .await
    }

    /// Signs somebody in on a page; returns the token.
    pub(super) async fn sign_in(&self, url: &str, rejected: Option<&AccessToken>) -> AccessToken {
        self.come_back(url, "code=good").await;
        let signed_in = self.source.signed_in(rejected).await;
        signed_in.expect("signed in")
    }

    /// Answers a sign-in as the browser of a person does.
    pub(super) async fn come_back(&self, url: &str, answer: &str) {
        let url = Url::parse(url).expect("a URL");
        let state = url.query_pairs().find(|(name, _)| name == "state");
        let state = state.expect("it has one").1.into_owned();
        let redirect = format!("http://localhost/?{answer}&state={state}");
        drop(self.tools.loopback.answer(&redirect).await);
    }

    /// Ends as after SIGTERM.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        drop(self.source);
        self.tasks.wait().await;
    }
}

/// Returns the page of a sign-in that somebody has to visit.
pub(super) fn page(answer: Result<AccessToken, TokenError>) -> String {
    match answer {
        Err(TokenError::LoginRequired {
            sign_in: Some(sign_in),
            ..
        }) => sign_in.url.as_str().to_owned(),
        other => panic!("nobody has to sign in: {other:?}"),
    }
}
