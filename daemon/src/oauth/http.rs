//! The only way to OAuth servers: where requests may go, and how long, how big
//! and how often redirected an answer may be. Knows no OAuth but whom it is for.
//!
//! The URLs come from servers, so each is checked before it is asked, and each
//! address that a name resolves to is checked as the connection is made: there is
//! no moment between check and use. No header of the user, no cookie and no token
//! ever goes along unless a caller puts it in.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::Url;

use super::address::{self, AddressClass, AddressPolicy};
use super::authorize_url;
use super::identity::Identity;
use super::names::Names;
use super::survey::Trace;
use crate::http::{HttpClient, HttpClients, HttpError, ProxySettings, Response, no_response};
use crate::secret::Secret;
use crate::server_url::{self, ServerUrl};
use crate::upstream::retry_after;

/// How long a request may take in all, its body included.
pub(super) const TIMEOUT: Duration = Duration::from_secs(20);

/// Largest body that is read; metadata and tokens are some kilobytes.
const MAX_BODY: usize = 1024 * 1024;

/// Redirects followed for one GET.
const MAX_REDIRECTS: usize = 3;

/// Longest URL that is asked.
const MAX_URL: usize = 8 * 1024;

/// Why there is no answer. Each completes "the sign-in failed: ...".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OAuthHttpError {
    /// We do not ask this; asking again changes nothing.
    #[error("{0}")]
    Refused(String),
    /// It redirects, which is not followed.
    #[error("{0}")]
    Redirected(String),
    /// Nobody answered, or not wholly; it may be different next time.
    #[error("{0}")]
    Unanswered(String),
}

/// An answer, read wholly.
#[derive(Clone)]
pub(crate) struct Reply {
    /// The HTTP status.
    pub(crate) status: StatusCode,
    /// The body.
    pub(crate) body: Bytes,
    /// How long not to ask again, if it says so.
    pub(crate) retry_after: Option<Duration>,
    /// When it was made, by the other side's clock.
    pub(crate) date: Option<SystemTime>,
    /// The header fields.
    pub(crate) headers: HeaderMap,
}

/// Bodies carry tokens.
impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reply")
            .field("status", &self.status)
            .field("bytes", &self.body.len())
            .finish()
    }
}

impl Reply {
    /// Reads the body as a JSON object.
    pub(crate) fn json(&self) -> Option<serde_json::Map<String, serde_json::Value>> {
        serde_json::from_slice(&self.body).ok()
    }
}

/// Asks the authorization servers of one MCP server. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct OAuthHttp {
    ways: Arc<Ways>,
    policy: AddressPolicy,
    server: ServerUrl,
    /// Notes what is asked for, if somebody wants to know.
    trace: Option<Trace>,
}

/// The ways to servers: each URL is asked through the proxy that is meant for it, or
/// directly.
#[derive(Debug)]
struct Ways {
    network: HttpClient,
    proxies: ProxySettings,
    /// For direct ways.
    guard: Guard,
    clients: Mutex<HashMap<Option<Secret<String>>, reqwest::Client>>,
}

impl Ways {
    fn to(&self, url: &Url) -> Result<reqwest::Client, HttpError> {
        let proxy = self.proxies.proxy_for(url);
        let clients = self.clients.lock();
        let mut clients = clients.expect("nothing panics while it holds the lock");
        if let Some(client) = clients.get(&proxy) {
            return Ok(client.clone());
        }
        let parsed = proxy.as_ref().map(|proxy| Url::parse(proxy.reveal()));
        let parsed = parsed.and_then(Result::ok);
        let resolver = Guard {
            // The proxy is the user's own choice, and looks up the names.
            trusted: parsed.and_then(|proxy| proxy.host_str().map(str::to_owned)),
            ..self.guard.clone()
        };
        let client = self.network.guarded(proxy.clone(), resolver)?;
        Ok(clients.entry(proxy).or_insert(client).clone())
    }
}

impl OAuthHttp {
    /// Builds it for one configured server, whose name is looked up: where it is
    /// decides where its metadata may lead.
    pub(crate) async fn new(
        clients: &HttpClients,
        names: &Names,
        identity: &Identity,
    ) -> Result<Self, HttpError> {
        let (network, server) = (&identity.network, &identity.server);
        let proxied = network.proxy.is_some();
        let policy = policy_around(server.url(), names, proxied).await?;
        let ways = Ways {
            network: clients.client(network).await?,
            proxies: identity.proxies.clone(),
            guard: Guard {
                names: names.clone(),
                policy,
                home: server.url().host_str().map(str::to_owned),
                trusted: None,
            },
            clients: Mutex::default(),
        };
        // What is wrong with a proxy is said before anything is asked.
        ways.to(server.url())?;
        Ok(Self {
            ways: Arc::new(ways),
            policy,
            server: server.clone(),
            trace: None,
        })
    }

    /// Has the documents that are asked for noted.
    #[must_use]
    pub(super) fn traced(self, trace: Trace) -> Self {
        Self {
            trace: Some(trace),
            ..self
        }
    }

    fn client(&self, url: &Url) -> Result<reqwest::Client, OAuthHttpError> {
        let client = self.ways.to(url);
        client.map_err(|error| OAuthHttpError::Refused(error.to_string()))
    }

    /// Checks whether a URL may be asked; what a name resolves to is checked when
    /// it is.
    pub(crate) fn check(&self, url: &Url) -> Result<(), OAuthHttpError> {
        let shown = server_url::shown(url);
        let refused = |why: &str| {
            let shown = super::text::printable(&shown);
            Err(OAuthHttpError::Refused(format!("{shown} {why}")))
        };
        if url.as_str().len() > MAX_URL {
            return refused("is too long a URL");
        }
        match url.scheme() {
            "https" => {}
            "http" if self.is_here() && server_url::is_loopback(url) => {}
            "http" if self.is_unencrypted() => {
                return refused(
                    "is not encrypted, and nobody signs in over that: give the server an https URL, or credentials with --header 'Authorization: Bearer ...'",
                );
            }
            "http" => return refused("is not encrypted: an authorization server must use https"),
            scheme => {
                // The rest of it may be anything.
                let scheme = super::text::printable(scheme);
                let sentence = format!("a URL that begins with {scheme}: is not an https URL");
                return Err(OAuthHttpError::Refused(sentence));
            }
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refused("has credentials in it, which a server's URL must not have");
        }
        if !authorize_url::has_plain_host(url) {
            return refused("has no usable host name");
        }
        if let Some(address) = address::literal(url) {
            if !self.policy.allows(address) {
                let class = AddressClass::of(address).as_str();
                return refused(&format!("is {class}, which this server may not lead to"));
            }
        } else if url.host_str().is_some_and(server_url::is_localhost) && !self.policy.is_loopback()
        {
            return refused("is this machine, which this server may not lead to");
        }
        Ok(())
    }

    /// Says whether the configured server is on this machine.
    fn is_here(&self) -> bool {
        server_url::is_loopback(self.server.url())
    }

    /// Says whether the user allows it to be asked without encryption (`--allow-http`).
    fn is_unencrypted(&self) -> bool {
        self.server.url().scheme() == "http" && !self.is_here()
    }

    /// Asks for a document. Redirects are followed within the origin.
    pub(crate) async fn get(
        &self,
        url: &Url,
        headers: &HeaderMap,
    ) -> Result<Reply, OAuthHttpError> {
        let asked = async {
            let mut url = url.clone();
            for _ in 0..=MAX_REDIRECTS {
                self.check(&url)?;
                let request = self
                    .client(&url)?
                    .get(url.clone())
                    .headers(headers.clone())
                    .header(header::ACCEPT, "application/json");
                let response = answered(&url, request).await?;
                if !response.status().is_redirection() {
                    return read(&url, response).await;
                }
                let target = response.header("location");
                let target = target.and_then(|target| url.join(target).ok());
                url = match target {
                    Some(target) if target.origin() == url.origin() => target,
                    _ => return Err(redirected(&url, target.as_ref())),
                };
            }
            Err(redirected(&url, Some(&url)))
        };
        let noted = self.trace.as_ref().map(|trace| trace.begin(url));
        let answer = in_time(url, asked).await;
        if let Some(noted) = noted {
            noted.end(&answer);
        }
        answer
    }

    /// Posts a JSON document. Redirects are never followed.
    pub(crate) async fn post_json(
        &self,
        url: &Url,
        document: &serde_json::Value,
    ) -> Result<Reply, OAuthHttpError> {
        let mut request = http::Request::new(document.to_string().into_bytes());
        let json = header::HeaderValue::from_static("application/json");
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, json.clone());
        headers.insert(header::ACCEPT, json);
        self.post(url, request).await
    }

    /// Posts a request's headers and body. Redirects are never followed, since
    /// what is posted is secret.
    pub(crate) async fn post(
        &self,
        url: &Url,
        request: http::Request<Vec<u8>>,
    ) -> Result<Reply, OAuthHttpError> {
        self.check(url)?;
        let (head, body) = request.into_parts();
        let asked = async {
            let request = self.client(url)?.post(url.clone());
            let request = request.headers(head.headers).body(body);
            let response = answered(url, request).await?;
            if response.status().is_redirection() {
                let target = response.header("location");
                let target = target.and_then(|target| url.join(target).ok());
                return Err(redirected(url, target.as_ref()));
            }
            read(url, response).await
        };
        in_time(url, asked).await
    }
}

async fn in_time(
    url: &Url,
    asked: impl Future<Output = Result<Reply, OAuthHttpError>>,
) -> Result<Reply, OAuthHttpError> {
    tokio::time::timeout(TIMEOUT, asked)
        .await
        .unwrap_or_else(|_| {
            let seconds = TIMEOUT.as_secs();
            Err(unanswered(
                url,
                &format!("did not answer within {seconds} s"),
            ))
        })
}

async fn answered(url: &Url, request: reqwest::RequestBuilder) -> Result<Response, OAuthHttpError> {
    let response = request.send().await.map_err(|error| {
        if let Some(astray) = astray(&error) {
            return OAuthHttpError::Refused(astray.to_string());
        }
        match no_response(&error) {
            HttpError::Connect(cause) => unanswered(url, &format!("could not be reached: {cause}")),
            error => unanswered(url, &format!("broke the connection: {error}")),
        }
    })?;
    Ok(response.into())
}

fn astray(error: &reqwest::Error) -> Option<&LeadsAstray> {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if let Some(astray) = error.downcast_ref() {
            return Some(astray);
        }
        cause = error.source();
    }
    None
}

async fn read(url: &Url, response: Response) -> Result<Reply, OAuthHttpError> {
    let status = response.status();
    let retry_after = response.header("retry-after");
    let retry_after = retry_after.and_then(|it| retry_after::read(it, SystemTime::now()));
    let date = response.header("date");
    let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
    let headers = response.headers().clone();
    let body = response.body(MAX_BODY).await.map_err(|error| match error {
        HttpError::TooLarge(limit) => refused(url, &format!("sent more than {limit} bytes")),
        error => unanswered(url, &format!("broke the connection: {error}")),
    })?;
    Ok(Reply {
        status,
        body,
        retry_after,
        date,
        headers,
    })
}

fn redirected(url: &Url, target: Option<&Url>) -> OAuthHttpError {
    let target = target.map_or_else(
        || "an unreadable address".into(),
        |target| super::text::printable(&server_url::shown(target)),
    );
    let url = server_url::shown(url);
    OAuthHttpError::Redirected(format!(
        "{url} redirects to {target}, which is not followed"
    ))
}

fn refused(url: &Url, why: &str) -> OAuthHttpError {
    OAuthHttpError::Refused(format!("{} {why}", server_url::shown(url)))
}

fn unanswered(url: &Url, why: &str) -> OAuthHttpError {
    OAuthHttpError::Unanswered(format!("{} {why}", server_url::shown(url)))
}

/// Finds out where the configured server is: a name that has led to different kinds of
/// addresses counts as public. Behind a proxy only what its URL says counts, since the
/// proxy looks up the names.
async fn policy_around(
    url: &Url,
    names: &Names,
    proxied: bool,
) -> Result<AddressPolicy, HttpError> {
    if let Some(address) = address::literal(url) {
        return Ok(AddressPolicy::around([address]));
    }
    let name = url.host_str().unwrap_or_default();
    if server_url::is_localhost(name) {
        return Ok(AddressPolicy::around([IpAddr::from([127, 0, 0, 1])]));
    }
    if proxied {
        return Ok(AddressPolicy::around([]));
    }
    names
        .look_up(name)
        .await
        .map_err(|_| HttpError::Connect("its host name could not be resolved".into()))?;
    Ok(AddressPolicy::around_classes(names.led_to(name)))
}

/// Looks names up and leaves out the addresses that may not be asked.
#[derive(Debug, Clone)]
struct Guard {
    names: Names,
    policy: AddressPolicy,
    /// The configured server's own name, by which only addresses of its kind are asked.
    home: Option<String>,
    trusted: Option<String>,
}

/// A name that leads only where it must not.
#[derive(Debug, thiserror::Error)]
#[error("{0} resolves to {1}, which this server may not lead to")]
struct LeadsAstray(String, &'static str);

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        let is = |known: &Option<String>| known.as_deref() == Some(name.as_str());
        let (trusted, home) = (is(&self.trusted), is(&self.home));
        Box::pin(async move {
            let found = guard.names.look_up(name.as_str()).await?;
            let policy = guard.policy;
            let allowed = match (trusted, home) {
                (true, _) => found,
                (false, true) => allowed(|address| policy.is_home(address), &name, found)?,
                (false, false) => allowed(|address| policy.allows(address), &name, found)?,
            };
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

fn allowed(
    allows: impl Fn(IpAddr) -> bool,
    name: &Name,
    mut found: Vec<SocketAddr>,
) -> Result<Vec<SocketAddr>, LeadsAstray> {
    let first = found.first().map(SocketAddr::ip);
    found.retain(|address| allows(address.ip()));
    match first {
        Some(address) if found.is_empty() => {
            let class = AddressClass::of(address).as_str();
            Err(LeadsAstray(name.as_str().to_owned(), class))
        }
        _ => Ok(found),
    }
}

#[cfg(test)]
mod tests;
