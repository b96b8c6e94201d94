//! Finds the authorization server of an MCP server, and what it can do: RFC 9728,
//! RFC 8414 and OpenID Connect Discovery, and behind all of them what revision
//! 2025-03-26 did.
//!
//! Metadata are used only if they name the one they were asked of: a server
//! cannot speak for a resource or an issuer that is not its own.

pub(crate) mod cache;
mod resource;
mod server;

use self::resource::Search;
pub(crate) use self::server::is_same_issuer;

use std::collections::BTreeSet;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use http::{HeaderMap, HeaderValue};
use serde_json::{Map, Value};
use url::Url;

use super::challenge::Challenge;
use super::dpop::Wanted;
use super::grant::Grant;
use super::http::{OAuthHttp, OAuthHttpError};
use super::identity::Identity;
use super::scope::Scope;
use crate::protocol::ProtocolVersion;

/// The scope that stands for an ID token (OpenID Connect Core, section 3.1.2.1).
const OPENID: &str = "openid";

/// The scope that stands for a refresh token (OpenID Connect Core, section 11).
const OFFLINE_ACCESS: &str = "offline_access";

/// What is known before anybody is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Known {
    /// Where the server said that its metadata are.
    pub(crate) resource_metadata: Option<Url>,
    /// Who was asked for tokens, or gave those that there are.
    pub(crate) asked: Option<Asked>,
}

/// An authorization server that was chosen before: it stays the one as long as the
/// server names it or cannot say which it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Asked {
    /// Who.
    pub(crate) issuer: String,
    /// The `resource` that was sent.
    pub(crate) resource: Option<String>,
}

impl Known {
    /// What a server said when it refused, with what it said in earlier days when it
    /// gave tokens: an expired grant is renewed before the first request.
    pub(crate) fn of(said: &Challenge, grant: Option<&Grant>) -> Self {
        let hint = || grant?.resource_metadata.clone();
        let asked = |grant: &Grant| {
            Some(Asked {
                issuer: grant.issuer.clone()?,
                resource: grant.resource.clone(),
            })
        };
        Self {
            resource_metadata: said.resource_metadata.clone().or_else(hint),
            asked: grant.and_then(asked),
        }
    }
}

/// Where and how to sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Discovered {
    /// The `resource` to send, byte for byte as published or given; `None`: send
    /// none.
    pub(crate) resource: Option<String>,
    /// The scopes that the resource lists.
    pub(crate) scopes_supported: Option<Scope>,
    /// Whether the resource wants tokens to be bound to a key.
    pub(crate) bound_tokens: Wanted,
    /// The authorization server.
    pub(crate) server: AuthorizationServer,
}

/// What an authorization server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AuthorizationServer {
    /// Its name, byte for byte: grants and registrations belong to it.
    pub(crate) issuer: String,
    /// Where the browser goes, or why nobody is sent there: it is missing, or does not
    /// announce PKCE. Whoever signs in by a code or not at all needs neither.
    pub(crate) authorization_endpoint: Result<Url, DiscoveryError>,
    /// Where codes and refresh tokens are exchanged.
    pub(crate) token_endpoint: Url,
    /// Where clients register themselves.
    pub(crate) registration_endpoint: Option<Url>,
    /// Where tokens are revoked.
    pub(crate) revocation_endpoint: Option<Url>,
    /// Where sign-ins by code begin (RFC 8628).
    pub(crate) device_authorization_endpoint: Option<Url>,
    /// The scopes that it lists.
    pub(crate) scopes_supported: Option<Scope>,
    /// How clients may say who they are; empty: not said.
    pub(crate) token_endpoint_auth_methods: Vec<String>,
    /// The grants it gives; empty: not said.
    pub(crate) grant_types: Vec<String>,
    /// Whether the id of a client may be the URL of a document about it.
    pub(crate) client_id_metadata_document_supported: bool,
    /// Whether its redirects always say who they come from (RFC 9207).
    pub(crate) iss_parameter_supported: bool,
    /// Whether it binds tokens to keys like ours; `None`: not said.
    pub(crate) takes_proofs: Option<bool>,
    /// Whether it takes an identity provider's word for a user; `None`: not said.
    pub(crate) takes_id_jags: Option<bool>,
    /// Whether nothing says that it is there: these are the endpoints that revision
    /// 2025-03-26 falls back to.
    pub(crate) is_assumed: bool,
}

/// Why nobody can sign in. Each completes "the sign-in failed: ...".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DiscoveryError {
    /// What was found cannot be used; asking again changes nothing.
    #[error("{0}")]
    Refused(String),
    /// Somebody did not answer; it may be different next time.
    #[error("{0}")]
    Unanswered(String),
    /// The authorization server does not announce PKCE with S256.
    #[error(
        "the authorization server {0} does not announce that it checks PKCE (S256), without which a sign-in can be stolen: ask who runs it to announce it, or trust it all the same with --allow-missing-pkce"
    )]
    NoPkce(String),
}

impl From<OAuthHttpError> for DiscoveryError {
    fn from(error: OAuthHttpError) -> Self {
        match error {
            OAuthHttpError::Refused(why) | OAuthHttpError::Redirected(why) => Self::Refused(why),
            OAuthHttpError::Unanswered(why) => Self::Unanswered(why),
        }
    }
}

/// Finds the authorization server in the specified order (MCP, Authorization >
/// Authorization Server Discovery).
pub(crate) async fn discover(
    http: &OAuthHttp,
    identity: &Identity,
    known: &Known,
) -> Result<Discovered, DiscoveryError> {
    if identity.vouches.is_some() {
        return identity_provider(http, identity).await;
    }
    let asked = known.asked.as_ref();
    let mut bound_tokens = Wanted::default();
    let (issuer, published, scopes_supported) = match resource::find(http, identity, known).await? {
        Search::Found(metadata) => {
            bound_tokens = metadata.bound_tokens;
            let issuer = metadata.issuer(identity.issuer(), asked).map(str::to_owned);
            (issuer, Some(metadata.resource), metadata.scopes)
        }
        Search::Nothing => (None, None, None),
        Search::Trouble(error) => match asked {
            Some(asked) => (Some(asked.issuer.clone()), asked.resource.clone(), None),
            None => return Err(error),
        },
    };
    let server = match issuer {
        Some(issuer) if !server::is_assumed(identity, &issuer, published.as_deref()) => {
            server::named(http, &issuer, identity).await?
        }
        _ => server::of_origin(http, identity).await?,
    };
    Ok(Discovered {
        resource: identity.resource.or(published),
        scopes_supported,
        bound_tokens,
        server,
    })
}

/// Asks an identity provider, whose issuer the user names: there is no resource, and
/// what is wanted is an ID token.
async fn identity_provider(
    http: &OAuthHttp,
    identity: &Identity,
) -> Result<Discovered, DiscoveryError> {
    let issuer = identity.server.url().as_str();
    let server = server::named(http, issuer, identity).await?;
    Ok(Discovered {
        resource: None,
        scopes_supported: Scope::parse(OPENID),
        bound_tokens: Wanted::default(),
        server,
    })
}

/// Asks the authorization server of this name what it offers, whoever it serves.
/// Nobody is signed in with that.
pub(crate) async fn of_issuer(
    http: &OAuthHttp,
    issuer: &str,
) -> Result<AuthorizationServer, DiscoveryError> {
    server::of_issuer(http, issuer, false).await
}

/// Returns the scopes to ask for (MCP, Authorization > Scope Selection Strategy);
/// `None`: leave `scope` out. `already`: what was asked for before, which is not lost
/// while it is given.
pub(crate) fn scopes_to_ask(
    identity: &Identity,
    challenge: &Challenge,
    discovered: &Discovered,
    already: Option<&Scope>,
) -> Option<Scope> {
    if let Some(pinned) = &identity.scope {
        return Some(pinned.clone());
    }
    let named = challenge.scope.as_ref();
    let named = named.or(discovered.scopes_supported.as_ref());
    // Not every scope that is given is listed: a step-up drops none.
    let given = discovered.server.scopes_supported.as_ref();
    let still_given =
        |token: &&str| challenge.scope.is_some() || given.is_none_or(|given| given.contains(token));
    let already =
        already.and_then(|already| Scope::from_tokens(already.tokens().filter(still_given)));
    let wanted = match (already, named) {
        (Some(already), Some(named)) => already.union(named),
        (already, named) => already.or_else(|| named.cloned())?,
    };
    let server = &discovered.server;
    let offers_refresh = server
        .scopes_supported
        .as_ref()
        .is_some_and(|scopes| scopes.contains(OFFLINE_ACCESS));
    // Nobody renews tokens that a service account gets: it asks again.
    if !offers_refresh || !identity.grant_type.needs_person() {
        return Some(wanted);
    }
    let offline = Scope::parse(OFFLINE_ACCESS).expect("it is a token");
    Some(wanted.union(&offline))
}

/// What looking for a document came to.
enum Look {
    Found(Map<String, Value>),
    /// Nothing of the kind is there.
    Absent,
    /// Nobody said whether it is there.
    Trouble(DiscoveryError),
    /// The same, in a way that some servers have for what is not there.
    Broken(DiscoveryError),
}

/// Asks for a JSON document. What is refused for safety ends the sign-in.
async fn look(http: &OAuthHttp, url: &Url) -> Result<Look, DiscoveryError> {
    let mut headers = HeaderMap::new();
    // Wanted by revision 2025-03-26 (Authorization > Server Metadata Discovery).
    let version = HeaderValue::from_static(ProtocolVersion::LATEST.as_str());
    headers.insert("mcp-protocol-version", version);
    let reply = match http.get(url, &headers).await {
        Ok(reply) => reply,
        // Where nothing is, some servers lead to their web site.
        Err(OAuthHttpError::Redirected(_)) => return Ok(Look::Absent),
        Err(error @ OAuthHttpError::Unanswered(_)) => return Ok(Look::Trouble(error.into())),
        Err(error @ OAuthHttpError::Refused(_)) => return Err(error.into()),
    };
    let trouble = |status| {
        let url = crate::server_url::shown(url);
        DiscoveryError::Unanswered(format!("{url} answered {status}: try again later"))
    };
    Ok(match reply.status.as_u16() {
        200 => reply.json().map_or(Look::Absent, Look::Found),
        status @ (500 | 501) => Look::Broken(trouble(status)),
        status @ (408 | 429 | 500..) => Look::Trouble(trouble(status)),
        _ => Look::Absent,
    })
}

/// Asks for several documents at once; the first in their order that is there
/// counts.
async fn look_for_first(
    http: &OAuthHttp,
    urls: &[Url],
    is_it: impl Fn(&Map<String, Value>) -> bool,
) -> Result<Look, DiscoveryError> {
    let mut looks: FuturesOrdered<_> = urls.iter().map(|url| look(http, url)).collect();
    let mut outcome = Look::Absent;
    while let Some(look) = looks.next().await {
        match look? {
            Look::Found(document) if is_it(&document) => return Ok(Look::Found(document)),
            Look::Trouble(error) | Look::Broken(error) if matches!(outcome, Look::Absent) => {
                outcome = Look::Trouble(error);
            }
            _ => {}
        }
    }
    Ok(outcome)
}

fn text<'a>(document: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    document.get(name)?.as_str()
}

fn texts<'a>(document: &'a Map<String, Value>, name: &str) -> impl Iterator<Item = &'a str> {
    let array = document.get(name).and_then(Value::as_array);
    array.into_iter().flatten().filter_map(Value::as_str)
}

fn scopes(document: &Map<String, Value>) -> Option<Scope> {
    Scope::from_tokens(texts(document, "scopes_supported"))
}

/// Returns a URL with a well-known name between its host and its path (RFC 8414,
/// section 3.1).
fn well_known(url: &Url, name: &str) -> Url {
    let path = format!("/.well-known/{name}{}", url.path().trim_end_matches('/'));
    let mut url = url.clone();
    url.set_path(&path);
    url
}

/// Leaves out what comes a second time.
fn distinct(urls: impl IntoIterator<Item = Url>) -> Vec<Url> {
    let mut seen = BTreeSet::new();
    let urls = urls.into_iter();
    urls.filter(|url| seen.insert(url.clone())).collect()
}

#[cfg(test)]
mod tests;
