//! The only way to OAuth servers: where requests may go, and how long, how big
//! and how often redirected an answer may be. Knows no OAuth.
//!
//! The URLs come from servers, so each is checked before it is asked, and each
//! address that a name resolves to is checked as the connection is made: there is
//! no moment between check and use. No header of the user, no cookie and no token
//! ever goes along unless a caller puts it in.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::Url;

use super::address::{self, AddressClass, AddressPolicy};
use super::authorize_url;
use crate::http::{HttpClients, HttpError, NetworkOptions, Response, no_response};
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
    client: reqwest::Client,
    policy: AddressPolicy,
    /// Whether http URLs on this machine are asked.
    plain_loopback: bool,
}

impl OAuthHttp {
    /// Builds it for one configured server, whose name is looked up: where it is
    /// decides where its metadata may lead.
    pub(crate) async fn new(
        clients: &HttpClients,
        network: &NetworkOptions,
        server: &ServerUrl,
    ) -> Result<Self, HttpError> {
        let proxy = match &network.proxy {
            Some(proxy) => Url::parse(proxy.reveal()).ok(),
            None => None,
        };
        let policy = policy_around(server.url(), proxy.is_some()).await?;
        let resolver = Guard {
            policy,
            // The proxy is the user's own choice.
            trusted: proxy.and_then(|proxy| proxy.host_str().map(str::to_owned)),
        };
        let client = clients.client(network).await?;
        Ok(Self {
            client: client.guarded(resolver)?,
            policy,
            plain_loopback: server_url::is_loopback(server.url()),
        })
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
            "http" if self.plain_loopback && server_url::is_loopback(url) => {}
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
                    .client
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
        in_time(url, asked).await
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
            let request = self.client.post(url.clone());
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
    let body = response.body(MAX_BODY).await.map_err(|error| match error {
        HttpError::TooLarge(limit) => refused(url, &format!("sent more than {limit} bytes")),
        error => unanswered(url, &format!("broke the connection: {error}")),
    })?;
    Ok(Reply {
        status,
        body,
        retry_after,
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

/// Finds out where the configured server is. Behind a proxy only what its URL
/// says counts, since the proxy looks up the names.
async fn policy_around(url: &Url, proxied: bool) -> Result<AddressPolicy, HttpError> {
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
    let addresses = look_up(name)
        .await
        .map_err(|_| HttpError::Connect("its host name could not be resolved".into()))?;
    Ok(AddressPolicy::around(addresses.iter().map(SocketAddr::ip)))
}

async fn look_up(name: &str) -> std::io::Result<Vec<SocketAddr>> {
    // The port is put in by who connects.
    let found = tokio::time::timeout(TIMEOUT, tokio::net::lookup_host((name, 0))).await;
    Ok(found.map_err(std::io::Error::from)??.collect())
}

/// Looks names up and leaves out the addresses that may not be asked.
struct Guard {
    policy: AddressPolicy,
    trusted: Option<String>,
}

/// A name that leads only where it must not.
#[derive(Debug, thiserror::Error)]
#[error("{0} resolves to {1}, which this server may not lead to")]
struct LeadsAstray(String, &'static str);

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = self.policy;
        let trusted = self.trusted.as_deref() == Some(name.as_str());
        Box::pin(async move {
            let found = look_up(name.as_str()).await?;
            let allowed = if trusted {
                found
            } else {
                allowed(policy, name.as_str(), found)?
            };
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

fn allowed(
    policy: AddressPolicy,
    name: &str,
    mut found: Vec<SocketAddr>,
) -> Result<Vec<SocketAddr>, LeadsAstray> {
    let first = found.first().map(SocketAddr::ip);
    found.retain(|address| policy.allows(address.ip()));
    match first {
        Some(address) if found.is_empty() => {
            let class = AddressClass::of(address).as_str();
            Err(LeadsAstray(name.to_owned(), class))
        }
        _ => Ok(found),
    }
}

#[cfg(test)]
mod tests;
