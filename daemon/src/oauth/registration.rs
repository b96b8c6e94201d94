//! As which client we sign in: one that the user registered, one that a document
//! describes (Client ID Metadata Document), or one that we register (RFC 7591),
//! in that order. Keeps nothing.
//!
//! A client belongs to the issuer that knows it and is never shown to another;
//! tokens belong to the client that got them and are shown by no other.

mod by_code;
mod given;

pub(crate) use by_code::register_device;
use given::secret_method;
pub(crate) use given::{given, of_tokens};

use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::discovery::{AuthorizationServer, Discovered, is_same_issuer};
use super::dpop::{self, BINDS_ALWAYS};
use super::grant_type::ClientKey;
use super::http::{OAuthHttp, OAuthHttpError, Reply};
use super::identity::Identity;
use super::scope::Scope;
use super::text::{after_colon, printable};
use crate::secret::Secret;

/// The name that people see on consent pages.
const CLIENT_NAME: &str = "mcp-remote";

/// Where a kept registration says for which scopes it was made.
const REQUESTED_SCOPE: &str = "requested_scope";

/// How a client says who it is at the token endpoint (RFC 7591, section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AuthMethod {
    /// By its id alone.
    None,
    /// `client_secret_basic`.
    Basic,
    /// `client_secret_post`.
    Post,
}

impl AuthMethod {
    /// Reads its registered name.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::None, Self::Basic, Self::Post]
            .into_iter()
            .find(|method| method.as_str() == text)
    }

    /// Returns its registered name.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Basic => "client_secret_basic",
            Self::Post => "client_secret_post",
        }
    }
}

/// A client that an authorization server knows.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Client {
    /// Who knows it.
    pub(crate) issuer: String,
    /// Its id.
    pub(crate) client_id: String,
    /// Its secret.
    pub(crate) client_secret: Option<Secret<String>>,
    /// How it says who it is.
    pub(crate) auth_method: AuthMethod,
    /// The key by which it shows that where it signs people in, instead of a secret
    /// (`private_key_jwt`). What is kept of a client is kept without it.
    pub(crate) key: Option<ClientKey>,
    /// Where it may be redirected to; empty: not known.
    pub(crate) redirect_uris: Vec<String>,
    /// When its secret ends, in seconds since the epoch.
    pub(crate) secret_expires_at: Option<u64>,
    /// The registration as it came, secrets included; empty for other clients.
    pub(super) document: Map<String, Value>,
}

/// The document has secrets in it.
impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("issuer", &self.issuer)
            .field("client_id", &self.client_id)
            .field("auth_method", &self.auth_method)
            .field("redirect_uris", &self.redirect_uris)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Reads a registration, new or kept; `None` if it has no usable client in it.
    pub(crate) fn from_document(issuer: &str, document: Map<String, Value>) -> Option<Self> {
        let text = |name: &str| document.get(name).and_then(Value::as_str);
        let client_id = text("client_id").filter(|id| !id.is_empty())?.to_owned();
        let secret = text("client_secret").filter(|secret| !secret.is_empty());
        let auth_method = match text("token_endpoint_auth_method") {
            Some(method) => AuthMethod::parse(method)?,
            None if secret.is_none() => AuthMethod::None,
            None => AuthMethod::Basic,
        };
        if auth_method != AuthMethod::None && secret.is_none() {
            return None;
        }
        let uris = document.get("redirect_uris").and_then(Value::as_array);
        let uris = uris.into_iter().flatten().filter_map(Value::as_str);
        let expires_at = document.get("client_secret_expires_at");
        Some(Self {
            issuer: issuer.to_owned(),
            client_id,
            client_secret: secret
                .filter(|_| auth_method != AuthMethod::None)
                .map(|secret| Secret::new(secret.to_owned())),
            auth_method,
            key: None,
            redirect_uris: uris.map(str::to_owned).collect(),
            // Zero says that it does not end.
            secret_expires_at: expires_at.and_then(Value::as_u64).filter(|at| *at > 0),
            document,
        })
    }

    /// Returns one that is known to this issuer by its id alone.
    pub(crate) fn public(issuer: &str, client_id: &str) -> Self {
        Self {
            issuer: issuer.to_owned(),
            client_id: client_id.to_owned(),
            client_secret: None,
            auth_method: AuthMethod::None,
            key: None,
            redirect_uris: Vec::new(),
            secret_expires_at: None,
            document: Map::new(),
        }
    }

    /// Reads one that was kept. The files of old npm packages do not name its issuer.
    pub(crate) fn of_kept(document: Map<String, Value>) -> Option<Self> {
        let issuer = document.get("issuer").and_then(Value::as_str);
        let issuer = issuer.unwrap_or_default().to_owned();
        Self::from_document(&issuer, document)
    }

    /// Returns what is kept of it: the registration as it came, and in any case what
    /// a sign-in or a refresh needs.
    pub(crate) fn to_keep(&self) -> Map<String, Value> {
        let mut document = self.document.clone();
        document.insert("client_id".into(), self.client_id.clone().into());
        document.insert("issuer".into(), self.issuer.clone().into());
        let mut add = |name: &str, value: Value| {
            document.entry(name).or_insert(value);
        };
        if let Some(secret) = &self.client_secret {
            add("client_secret", secret.reveal().clone().into());
        }
        if self.document.is_empty() {
            add(
                "token_endpoint_auth_method",
                self.auth_method.as_str().into(),
            );
        }
        if !self.redirect_uris.is_empty() {
            add("redirect_uris", self.redirect_uris.clone().into());
        }
        document
    }

    /// Notes where it is redirected to and for which scopes it was made, if its
    /// registration does not say: a port is chosen by it.
    pub(crate) fn note(&mut self, redirect_uris: &[String], scope: Option<&Scope>) {
        if self.redirect_uris.is_empty() {
            self.redirect_uris = redirect_uris.to_vec();
        }
        if let Some(scope) = scope.filter(|_| !self.document.is_empty()) {
            let scope = scope.to_string().into();
            self.document.insert(REQUESTED_SCOPE.into(), scope);
        }
    }

    /// Returns it as a server knows it: the files of old npm packages do not name
    /// their issuer, which is the one there was, and some registrations do not say how
    /// to show a secret.
    #[must_use]
    pub(crate) fn known_to(mut self, server: &AuthorizationServer) -> Self {
        if self.issuer.is_empty() || is_same_issuer(&self.issuer, &server.issuer) {
            self.issuer.clone_from(&server.issuer);
        }
        let says_how = self.document.contains_key("token_endpoint_auth_method");
        if self.client_secret.is_some() && !self.document.is_empty() && !says_how {
            self.auth_method = secret_method(server);
        }
        self
    }

    /// Says whether it gets no tokens that are not bound to a key.
    pub(crate) fn binds_always(&self) -> bool {
        let said = self.document.get(BINDS_ALWAYS).and_then(Value::as_bool);
        said == Some(true)
    }

    /// Says whether its secret has ended.
    pub(crate) fn has_expired(&self, now: SystemTime) -> bool {
        let seconds = super::grant::milliseconds(now) / 1000;
        self.secret_expires_at.is_some_and(|at| at <= seconds)
    }

    /// Says whether it may ask for these scopes, as far as is known: it may not
    /// where they were neither asked for nor given when it was registered.
    pub(crate) fn may_ask_for(&self, scope: &Scope) -> bool {
        let of = |name: &str| self.document.get(name).and_then(Value::as_str);
        let Some(given) = of("scope").and_then(Scope::parse) else {
            return true;
        };
        let asked = of(REQUESTED_SCOPE).and_then(Scope::parse);
        let asked_for = |token| asked.as_ref().is_some_and(|asked| asked.contains(token));
        let mut tokens = scope.tokens();
        tokens.all(|token| given.contains(token) || asked_for(token))
    }
}

/// Why there is no client. Each completes "the sign-in failed: ...".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RegistrationError {
    /// The user has to register one.
    #[error(
        "the authorization server {0} does not let programs register themselves: register a client there and give it with --static-oauth-client-info '{{\"client_id\":\"...\"}}'"
    )]
    Closed(String),
    /// It does not take ours.
    #[error(
        "the authorization server {issuer} refused to register a client ({status}){}",
        after_colon(.said)
    )]
    Rejected {
        /// Who.
        issuer: String,
        /// The HTTP status.
        status: u16,
        /// What it said, as one harmless line.
        said: String,
    },
    /// The one that the user gives is known to another.
    #[error(
        "the authorization server is {found}, and the client of {flag} is for {issuer} alone, which is named with it or gave the tokens before, so that nothing was shown there: ask who runs the server; if that is right, correct that issuer, or run mcp-remote logout with the same flags"
    )]
    Elsewhere {
        /// Where it is given.
        flag: &'static str,
        /// Who knows it.
        issuer: String,
        /// Who would have been shown it.
        found: String,
    },
    /// What it answered, or how it is reached, cannot be used.
    #[error("{0}")]
    Unusable(String),
    /// It did not answer; it may be different next time.
    #[error("{0}")]
    Unanswered(String),
}

impl From<OAuthHttpError> for RegistrationError {
    fn from(error: OAuthHttpError) -> Self {
        match error {
            OAuthHttpError::Refused(why) | OAuthHttpError::Redirected(why) => Self::Unusable(why),
            OAuthHttpError::Unanswered(why) => Self::Unanswered(why),
        }
    }
}

/// Returns the client to sign in as, registering it if there is no other way.
/// `redirect_uris`: the one to use first, then others that may be used.
pub(crate) async fn register(
    http: &OAuthHttp,
    identity: &Identity,
    discovered: &Discovered,
    redirect_uris: &[String],
    scope: Option<&Scope>,
) -> Result<Client, RegistrationError> {
    let server = &discovered.server;
    if let Some(given) = given(identity, server) {
        return given;
    }
    let wish = wish(identity, discovered, redirect_uris, scope);
    registered_with(http, server, wish, redirect_uris).await
}

async fn registered_with(
    http: &OAuthHttp,
    server: &AuthorizationServer,
    wish: Map<String, Value>,
    redirect_uris: &[String],
) -> Result<Client, RegistrationError> {
    let Some(endpoint) = &server.registration_endpoint else {
        return Err(RegistrationError::Closed(printable(&server.issuer)));
    };
    let mut reply = http
        .post_json(endpoint, &Value::Object(wish.clone()))
        .await?;
    if reply.status.as_u16() == 400
        && let Some(less) = smaller(&wish)
    {
        reply = http.post_json(endpoint, &Value::Object(less)).await?;
    }
    registered(server, &reply, redirect_uris)
}

/// Which grants a client may ask for, in its registration.
const GRANT_TYPES: &str = "grant_types";

/// What a registration asks for.
fn wish(
    identity: &Identity,
    discovered: &Discovered,
    redirect_uris: &[String],
    scope: Option<&Scope>,
) -> Map<String, Value> {
    let server = &discovered.server;
    let methods = &server.token_endpoint_auth_methods;
    let offered = [AuthMethod::None, AuthMethod::Post, AuthMethod::Basic]
        .into_iter()
        .find(|method| methods.iter().any(|offered| offered == method.as_str()));
    let mut grants = vec!["authorization_code"];
    let refresh = "refresh_token";
    if server.grant_types.is_empty() || server.grant_types.iter().any(|grant| grant == refresh) {
        grants.push(refresh);
    }
    let wish = json!({
        "client_name": CLIENT_NAME,
        "software_id": CLIENT_NAME,
        "software_version": env!("CARGO_PKG_VERSION"),
        "application_type": "native",
        GRANT_TYPES: grants,
        "response_types": ["code"],
        "token_endpoint_auth_method": offered.unwrap_or(AuthMethod::None).as_str(),
    });
    let Value::Object(mut wish) = wish else {
        unreachable!("it is written as an object");
    };
    if let Some(scope) = scope {
        wish.insert("scope".into(), scope.to_string().into());
    }
    wish.extend(identity.client_metadata.clone());
    if dpop::binds_always(identity, discovered) {
        wish.insert(BINDS_ALWAYS.into(), true.into());
    }
    // Others lead to no listener of ours.
    wish.insert("redirect_uris".into(), redirect_uris.into());
    wish
}

/// The same with only what is needed: some servers refuse what they do not know,
/// or more than one redirect URI. `None`: it is no smaller.
fn smaller(wish: &Map<String, Value>) -> Option<Map<String, Value>> {
    let mut less = wish.clone();
    for name in ["software_id", "software_version", "scope", BINDS_ALWAYS] {
        less.remove(name);
    }
    if let Some(Value::Array(uris)) = less.get_mut("redirect_uris") {
        uris.truncate(1);
    }
    (less != *wish).then_some(less)
}

fn registered(
    server: &AuthorizationServer,
    reply: &Reply,
    redirect_uris: &[String],
) -> Result<Client, RegistrationError> {
    let issuer = printable(&server.issuer);
    let document = reply.json();
    if !reply.status.is_success() {
        return Err(match reply.status.as_u16() {
            401 | 403 | 404 | 405 => RegistrationError::Closed(issuer),
            status @ (408 | 429 | 500..) => RegistrationError::Unanswered(format!(
                "the authorization server {issuer} answered {status} to a registration: try again later"
            )),
            status => RegistrationError::Rejected {
                issuer,
                status,
                said: said(document.as_ref()),
            },
        });
    }
    let unusable = || {
        RegistrationError::Unusable(format!(
            "the authorization server {issuer} answered a registration with no usable client"
        ))
    };
    let document = document.ok_or_else(unusable)?;
    let client = Client::from_document(&server.issuer, document).ok_or_else(unusable)?;
    let mut client = client.known_to(server);
    if client.redirect_uris.is_empty() {
        client.redirect_uris = redirect_uris.to_vec();
    }
    Ok(client)
}

fn said(document: Option<&Map<String, Value>>) -> String {
    let text = |name: &str| document?.get(name)?.as_str().map(printable);
    let said = [text("error"), text("error_description")];
    said.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
