//! What the tests run against: a wall clock, an authorization server that rotates
//! refresh tokens and detects their reuse, and a server that wants its tokens.

mod device;

pub(super) use device::Polled;

use std::cell::Cell;
use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, UNIX_EPOCH};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use super::*;
use crate::http::HttpError;
use crate::oauth::authorization::{Code, Pending};
use crate::oauth::device::DeviceAuthorization;
use crate::oauth::discovery::{AuthorizationServer, Discovered, DiscoveryError, Known};
use crate::oauth::endpoints::{Endpoints, RefreshRequest, Servers};
use crate::oauth::fake::{authorization_server, endpoint};
use crate::oauth::kept_device::KeptDevice;
use crate::oauth::registration::{self, Client, RegistrationError};
use crate::oauth::token::device::PollError;
use crate::oauth::token::{TokenEndpointError, TokenRequest, TokenResponse, Vouched};
use crate::secret::Secret;

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
    /// Of tokens that need nobody.
    pub(super) requests: u32,
    pub(super) revocations: u32,
    pub(super) asked_scopes: Vec<String>,
    /// The ID token that comes along.
    pub(super) id_token: Option<&'static str>,
    /// Whether a refresh token does not.
    pub(super) no_refresh: bool,
    /// How sign-ins by code are answered; `None`: they are not offered.
    pub(super) device: Option<Polled>,
    /// When it was asked about a code, since the beginning.
    pub(super) polls: Vec<Duration>,
    /// How long its codes live.
    pub(super) code_life: Option<Duration>,
}

/// The authorization server.
#[derive(Debug)]
pub(super) struct World {
    facts: Mutex<Facts>,
    pub(super) asked: watch::Sender<u32>,
}

impl World {
    /// Starts one that behaves.
    pub(super) fn new() -> Self {
        let facts = Facts {
            issuer: ISSUER.into(),
            client: "c".into(),
            ..Facts::default()
        };
        Self {
            facts: Mutex::new(facts),
            asked: watch::Sender::new(0),
        }
    }

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
        let id_token = facts.id_token.map(|token| Secret::new(token.to_owned()));
        TokenResponse {
            access_token: Secret::new(access),
            refresh_token: (!facts.no_refresh).then(|| Secret::new(refresh)),
            id_token,
            expires_in: Some(Duration::from_secs(facts.life.unwrap_or(3600))),
            scope: None,
            is_bound: Some(false),
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

    fn server(&self) -> AuthorizationServer {
        let issuer = self.facts().issuer.clone();
        let gives_codes = self.facts().device.is_some();
        let device = gives_codes.then(|| endpoint(&issuer, "/device"));
        AuthorizationServer {
            registration_endpoint: Some(endpoint(&issuer, "/register")),
            revocation_endpoint: Some(endpoint(&issuer, "/revoke")),
            device_authorization_endpoint: device,
            token_endpoint_auth_methods: vec!["none".into()],
            ..authorization_server(&issuer)
        }
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
        Ok(TokenResponse {
            is_bound: Some(request.binding.is_some()),
            ..self.issue()
        })
    }
}

#[derive(Debug)]
pub(super) struct Reach(pub(super) Arc<World>);

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
        let server = self.0.server();
        let (resource, slow) = {
            let facts = self.0.facts();
            (facts.resource.clone(), facts.slow_metadata)
        };
        let discovered = Discovered {
            resource,
            scopes_supported: Scope::parse("read"),
            bound_tokens: crate::oauth::dpop::Wanted::Unsaid,
            server,
        };
        async move {
            tokio::time::sleep(slow).await;
            Ok(discovered)
        }
        .boxed()
    }

    fn vouch<'a>(
        &'a self,
        _: TokenRequest<'a>,
    ) -> BoxFuture<'a, Result<Vouched, TokenEndpointError>> {
        let why = "nobody vouches here";
        std::future::ready(Err(TokenEndpointError::Unusable(why.into()))).boxed()
    }

    fn of_issuer<'a>(
        &'a self,
        _: &'a str,
    ) -> BoxFuture<'a, Result<AuthorizationServer, DiscoveryError>> {
        std::future::ready(Ok(self.0.server())).boxed()
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

    fn register_device<'a>(
        &'a self,
        identity: &'a Identity,
        discovered: &'a Discovered,
        scope: Option<&'a Scope>,
    ) -> BoxFuture<'a, Result<Client, RegistrationError>> {
        std::future::ready(self.0.registered_for_codes(identity, discovered, scope)).boxed()
    }

    fn begin_device<'a>(
        &'a self,
        _: &'a AuthorizationServer,
        _: &'a Client,
        _: &'a [(&'a str, &'a str)],
    ) -> BoxFuture<'a, Result<DeviceAuthorization, TokenEndpointError>> {
        std::future::ready(self.0.code()).boxed()
    }

    fn poll_device<'a>(
        &'a self,
        _: &'a AuthorizationServer,
        client: &'a Client,
        kept: &'a KeptDevice,
    ) -> BoxFuture<'a, Result<TokenResponse, PollError>> {
        self.0.polled(client, kept).boxed()
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

    fn request_token<'a>(
        &'a self,
        request: TokenRequest<'a>,
    ) -> BoxFuture<'a, Result<TokenResponse, TokenEndpointError>> {
        async move {
            let mode = {
                let mut facts = self.0.facts();
                facts.requests += 1;
                let scope = request.scope.map(Scope::to_string);
                facts.asked_scopes.push(scope.unwrap_or_default());
                facts.mode
            };
            self.0.asked.send_modify(|asked| *asked += 1);
            // Others get their turn, as they do on a network.
            tokio::task::yield_now().await;
            match mode {
                Mode::Down => Err(TokenEndpointError::Transient("it is down".into())),
                Mode::Busy => {
                    let after = Duration::from_secs(3000);
                    Err(TokenEndpointError::Later("it is busy".into(), after))
                }
                Mode::Refuses => Err(TokenEndpointError::InvalidClient(String::new())),
                Mode::LosesRequest => std::future::pending().await,
                _ => Ok(TokenResponse {
                    is_bound: Some(request.binding.is_some()),
                    ..self.0.issue()
                }),
            }
        }
        .boxed()
    }

    fn revoke_refresh_token<'a>(
        &'a self,
        _: &'a AuthorizationServer,
        _: &'a Client,
        _: &'a Secret<String>,
    ) -> BoxFuture<'a, Result<bool, TokenEndpointError>> {
        std::future::ready(Ok(false)).boxed()
    }

    fn revoke<'a>(
        &'a self,
        _: &'a AuthorizationServer,
        _: &'a Client,
        _: &'a Grant,
    ) -> BoxFuture<'a, Result<bool, TokenEndpointError>> {
        let mut facts = self.0.facts();
        facts.revocations += 1;
        if facts.mode == Mode::LosesRequest {
            return std::future::pending().boxed();
        }
        drop(facts);
        self.0.revoke_all();
        std::future::ready(Ok(true)).boxed()
    }
}
