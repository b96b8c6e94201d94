//! What the tests run against: a wall clock, an authorization server that rotates
//! refresh tokens and detects their reuse, and a server that wants its tokens.

use std::cell::Cell;
use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, UNIX_EPOCH};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;
use url::Url;

use super::*;
use crate::http::{HttpError, NetworkOptions};
use crate::oauth::authorization::{Code, Pending};
use crate::oauth::browsers::Browsers;
use crate::oauth::challenge::ChallengeError;
use crate::oauth::discovery::{AuthorizationServer, Discovered, DiscoveryError, Known};
use crate::oauth::endpoints::{Endpoints, RefreshRequest, Servers};
use crate::oauth::identity::ClientChoice;
use crate::oauth::loopback::Loopback;
use crate::oauth::on_its_way::OnItsWay;
use crate::oauth::registration::{self, Client, RegistrationError};
use crate::oauth::store::Store;
use crate::oauth::token::{TokenEndpointError, TokenResponse};
use crate::secret::Secret;
use crate::server_url::ServerUrl;

pub(super) const ISSUER: &str = "https://as.example";

thread_local! {
    /// Where the paused clock began, how long the machine has slept since, and how
    /// far its clock was set back.
    static CLOCK: Cell<Option<(Instant, Duration, Duration)>> = const { Cell::new(None) };
}

fn clock() -> (Instant, Duration, Duration) {
    CLOCK.get().unwrap_or_else(|| {
        let begun = (Instant::now(), Duration::ZERO, Duration::ZERO);
        CLOCK.set(Some(begun));
        begun
    })
}

/// The time: goes on while the machine sleeps.
fn time() -> SystemTime {
    let (begun, slept, _) = clock();
    UNIX_EPOCH + Duration::from_secs(1_800_000_000) + begun.elapsed() + slept
}

/// What the machine's wall clock says.
pub(super) fn now() -> SystemTime {
    time() - clock().2
}

/// Lets the machine sleep: timers stand still, the wall clock does not.
pub(super) fn sleep(time: Duration) {
    let (begun, slept, back) = clock();
    CLOCK.set(Some((begun, slept + time, back)));
}

/// Sets the machine's wall clock back. Others know the time.
pub(super) fn set_clock_back(time: Duration) {
    let (begun, slept, back) = clock();
    CLOCK.set(Some((begun, slept, back + time)));
}

/// How the token endpoint answers refreshes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Mode {
    #[default]
    Works,
    /// As after an outage: 503.
    Down,
    /// 400 without saying `invalid_grant`.
    Refuses,
    /// After 15 s.
    Slow,
    /// Replaces the refresh token, but gives nothing else that can be used.
    Spoils,
    /// 429, not before an hour has passed.
    Busy,
    /// The request is lost.
    LosesRequest,
    /// The answer is lost, after it has been given.
    LosesAnswer,
}

#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) mode: Mode,
    /// How long finding it takes.
    pub(super) slow_metadata: Duration,
    pub(super) issuer: String,
    /// What the server says that it is.
    pub(super) resource: Option<String>,
    pub(super) life: Option<u64>,
    pub(super) live_refresh: Option<String>,
    pub(super) spent: HashSet<String>,
    /// The client that the refresh token belongs to.
    pub(super) client: String,
    pub(super) access: Option<(String, SystemTime)>,
    pub(super) issued: u32,
    pub(super) refreshes: u32,
    pub(super) exchanges: u32,
    pub(super) registrations: u32,
    pub(super) revocations: u32,
    pub(super) asked_scopes: Vec<String>,
}

/// The authorization server.
#[derive(Debug)]
pub(super) struct World {
    facts: Mutex<Facts>,
    pub(super) asked: watch::Sender<u32>,
}

impl World {
    pub(super) fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().expect("no test panics in it")
    }

    /// Issues tokens; what was there before is spent.
    pub(super) fn issue(&self) -> TokenResponse {
        let mut facts = self.facts();
        facts.issued += 1;
        let (access, refresh) = (
            format!("access-{}", facts.issued),
            format!("refresh-{}", facts.issued),
        );
        if let Some(before) = facts.live_refresh.replace(refresh.clone()) {
            facts.spent.insert(before);
        }
        let life = facts.life.unwrap_or(3600).min(u64::from(u32::MAX));
        facts.access = Some((access.clone(), time() + Duration::from_secs(life)));
        TokenResponse {
            access_token: Secret::new(access),
            refresh_token: Some(Secret::new(refresh)),
            expires_in: Some(Duration::from_secs(facts.life.unwrap_or(3600))),
            scope: None,
            id_token: None,
        }
    }

    /// The server's view of a token.
    pub(super) fn accepts(&self, token: Option<&AccessToken>) -> bool {
        let facts = self.facts();
        let sent = token.and_then(|token| token.header().to_str().ok());
        facts.access.as_ref().is_some_and(|(access, until)| {
            sent == Some(&format!("Bearer {access}")) && *until > time()
        })
    }

    /// Ends the grant, as somebody who revokes it does.
    pub(super) fn revoke_all(&self) {
        let mut facts = self.facts();
        facts.live_refresh = None;
        facts.access = None;
    }

    fn refreshed(&self, request: RefreshRequest<'_>) -> Result<TokenResponse, TokenEndpointError> {
        let gone = || TokenEndpointError::InvalidGrant("the grant is gone".into());
        let sent = request.refresh_token.reveal();
        {
            let mut facts = self.facts();
            if facts.client != request.client.client_id {
                return Err(gone());
            }
            if facts.spent.contains(sent) {
                // Reuse: somebody else may have it, so the family goes.
                facts.live_refresh = None;
                facts.access = None;
                return Err(gone());
            }
            if facts.live_refresh.as_ref() != Some(sent) {
                return Err(gone());
            }
        }
        Ok(self.issue())
    }
}

#[derive(Debug)]
struct Reach(Arc<World>);

impl Endpoints for Reach {
    fn connect<'a>(
        &'a self,
        _: &'a Identity,
    ) -> BoxFuture<'a, Result<Box<dyn Servers>, HttpError>> {
        let servers: Box<dyn Servers> = Box::new(Reach(self.0.clone()));
        std::future::ready(Ok(servers)).boxed()
    }
}

impl Servers for Reach {
    fn forget(&self, _: &Identity) {}

    fn discover<'a>(
        &'a self,
        _: &'a Identity,
        _: &'a Known,
    ) -> BoxFuture<'a, Result<Discovered, DiscoveryError>> {
        let (issuer, resource, slow) = {
            let facts = self.0.facts();
            let resource = facts.resource.clone();
            (facts.issuer.clone(), resource, facts.slow_metadata)
        };
        let endpoint = |path: &str| Url::parse(&format!("{issuer}/{path}")).expect("a URL");
        let server = AuthorizationServer {
            authorization_endpoint: endpoint("authorize"),
            token_endpoint: endpoint("token"),
            registration_endpoint: Some(endpoint("register")),
            revocation_endpoint: Some(endpoint("revoke")),
            scopes_supported: None,
            token_endpoint_auth_methods: vec!["none".into()],
            grant_types: Vec::new(),
            client_id_metadata_document_supported: false,
            iss_parameter_supported: false,
            is_assumed: false,
            issuer,
        };
        let discovered = Discovered {
            resource,
            scopes_supported: Scope::parse("read"),
            server,
        };
        async move {
            tokio::time::sleep(slow).await;
            Ok(discovered)
        }
        .boxed()
    }

    fn register<'a>(
        &'a self,
        identity: &'a Identity,
        discovered: &'a Discovered,
        redirect_uris: &'a [String],
        scope: Option<&'a Scope>,
    ) -> BoxFuture<'a, Result<Client, RegistrationError>> {
        if let Some(given) = registration::given(identity, &discovered.server) {
            return std::future::ready(given).boxed();
        }
        let mut facts = self.0.facts();
        facts.registrations += 1;
        facts.asked_scopes.extend(scope.map(Scope::to_string));
        let document = json!({
            "client_id": format!("c{}", facts.registrations),
            "redirect_uris": redirect_uris,
            "scope": scope.map(Scope::to_string),
        });
        let document = document.as_object().expect("an object").clone();
        let client = Client::from_document(&discovered.server.issuer, document);
        std::future::ready(Ok(client.expect("a client"))).boxed()
    }

    fn exchange<'a>(
        &'a self,
        _: &'a AuthorizationServer,
        client: &'a Client,
        pending: &'a Pending,
        code: &'a Code,
    ) -> BoxFuture<'a, Result<TokenResponse, TokenEndpointError>> {
        async move {
            let mode = {
                let mut facts = self.0.facts();
                facts.exchanges += 1;
                facts.client.clone_from(&client.client_id);
                facts.mode
            };
            self.0.asked.send_modify(|asked| *asked += 1);
            if mode == Mode::Slow {
                tokio::time::sleep(Duration::from_secs(15)).await;
            }
            match code.0.reveal().as_str() {
                "good" => Ok(TokenResponse {
                    scope: pending.scope.clone(),
                    ..self.0.issue()
                }),
                _ => Err(TokenEndpointError::InvalidGrant("no such code".into())),
            }
        }
        .boxed()
    }

    fn refresh<'a>(
        &'a self,
        request: RefreshRequest<'a>,
    ) -> BoxFuture<'a, Result<TokenResponse, TokenEndpointError>> {
        async move {
            let mode = {
                let mut facts = self.0.facts();
                facts.refreshes += 1;
                facts.mode
            };
            self.0.asked.send_modify(|asked| *asked += 1);
            // Others get their turn, as they do on a network.
            tokio::task::yield_now().await;
            match mode {
                Mode::Works => self.0.refreshed(request),
                Mode::Slow => {
                    tokio::time::sleep(Duration::from_secs(15)).await;
                    self.0.refreshed(request)
                }
                Mode::Spoils => {
                    let response = self.0.refreshed(request)?;
                    Err(TokenEndpointError::Spoiled {
                        why: "it gave no access token".into(),
                        refresh_token: response.refresh_token.expect("it has one"),
                    })
                }
                Mode::Busy => {
                    let after = Duration::from_secs(3000);
                    Err(TokenEndpointError::Later("it is busy".into(), after))
                }
                Mode::Down => Err(TokenEndpointError::Transient("it is down".into())),
                Mode::Refuses => Err(TokenEndpointError::Refused {
                    status: 400,
                    error: "unauthorized_client".into(),
                    description: String::new(),
                }),
                Mode::LosesRequest => std::future::pending().await,
                Mode::LosesAnswer => {
                    drop(self.0.refreshed(request));
                    std::future::pending().await
                }
            }
        }
        .boxed()
    }

    fn revoke<'a>(
        &'a self,
        _: &'a AuthorizationServer,
        _: &'a Client,
        _: &'a Grant,
    ) -> BoxFuture<'a, Result<bool, TokenEndpointError>> {
        self.0.facts().revocations += 1;
        self.0.revoke_all();
        std::future::ready(Ok(true)).boxed()
    }
}

/// A daemon's share of it, over a folder that outlives it.
#[derive(Debug)]
pub(super) struct Daemon {
    pub(super) source: TokenSource,
    pub(super) tools: Tools,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

#[derive(Debug)]
pub(super) struct Setup {
    pub(super) world: Arc<World>,
    pub(super) base: tempfile::TempDir,
}

impl Setup {
    pub(super) fn new() -> Self {
        let facts = Facts {
            issuer: ISSUER.into(),
            client: "c".into(),
            ..Facts::default()
        };
        Self {
            world: Arc::new(World {
                facts: Mutex::new(facts),
                asked: watch::Sender::new(0),
            }),
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
            },
            ..Self::identity()
        }
    }

    pub(super) fn identity() -> Identity {
        let server = ServerUrl::parse("https://h/mcp", false).expect("valid");
        Identity::new(server, NetworkOptions::default())
    }

    pub(super) fn store(&self) -> Store {
        Store::new(self.base.path().to_owned())
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
        let client = json!({ "client_id": "c", "issuer": ISSUER, "scope": "read" });
        let client = Client::of_kept(client.as_object().expect("an object").clone());
        let grant = Grant::new(
            self.world.issue(),
            None,
            client.expect("a client"),
            None,
            Scope::parse("read"),
            false,
            now(),
        );
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
            .renew(rejected, Challenge::default(), Wanting::default())
            .await
    }

    /// The same for lack of a scope.
    pub(super) async fn step_up(
        &self,
        rejected: &AccessToken,
        scope: &str,
    ) -> Result<AccessToken, TokenError> {
        let challenge = Challenge {
            scope: Scope::parse(scope),
            error: Some(ChallengeError::InsufficientScope),
            ..Challenge::default()
        };
        let wanting = Wanting {
            operation: "tools/call x".into(),
            ..Wanting::default()
        };
        self.source.renew(Some(rejected), challenge, wanting).await
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
