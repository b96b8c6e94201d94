//! The authorization code flow: the URL that begins it and the redirect that ends
//! it (RFC 6749, PKCE by RFC 7636, `iss` by RFC 9207, `resource` by RFC 8707).
//! No I/O.
//!
//! Nothing in a redirect is believed before its `state` is the one that was sent
//! out and its issuer the one that was asked.

use std::borrow::Cow;

use oauth2::basic::BasicClient;
use oauth2::{AuthUrl, ClientId, CsrfToken, PkceCodeChallenge, RedirectUrl};
use url::{Url, form_urlencoded};

use super::authorize_url::{self, AuthorizeUrlError};
use super::discovery::{Discovered, DiscoveryError};
use super::dpop::Binding;
use super::identity::Identity;
use super::registration::Client;
use super::scope::Scope;
use super::text::{after_colon, printable};
use crate::secret::Secret;

/// Parameters that decide whose sign-in it is; nobody but us sets them.
const RESERVED: [&str; 7] = [
    "client_id",
    "redirect_uri",
    "response_type",
    "state",
    "code_challenge",
    "code_challenge_method",
    "dpop_jkt",
];

/// Longest redirect query that is read, in bytes; codes may be some kilobytes.
const MAX_QUERY: usize = 32 * 1024;

/// A sign-in whose redirect is awaited.
#[derive(Clone)]
pub(crate) struct Pending {
    /// What the redirect must bring back.
    pub(crate) state: Secret<String>,
    /// What the code is exchanged with.
    pub(crate) verifier: Secret<String>,
    /// What the browser is sent to: checked and rebuilt. Has `state` in it.
    pub(crate) url: Url,
    /// Where the redirect leads, byte for byte.
    pub(crate) redirect_uri: String,
    /// Who was asked.
    pub(crate) issuer: String,
    /// Whether its redirects must say who they come from.
    pub(crate) iss_expected: bool,
    /// What was asked for.
    pub(crate) scope: Option<Scope>,
    /// The `resource` that was sent.
    pub(crate) resource: Option<String>,
    /// What the tokens are bound to.
    pub(crate) binding: Option<Binding>,
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending")
            .field("issuer", &self.issuer)
            .field("redirect_uri", &self.redirect_uri)
            .finish_non_exhaustive()
    }
}

/// Why no sign-in can begin. Each completes "the sign-in failed: ...".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BeginError {
    /// The redirect URI is none.
    #[error("{0} is not a usable redirect URI")]
    RedirectUri(String),
    /// There is no page.
    #[error(transparent)]
    NoPage(#[from] DiscoveryError),
    /// The browser must not be sent there.
    #[error("the sign-in page of {issuer} {why}")]
    Url {
        /// Whose.
        issuer: String,
        /// Why.
        why: AuthorizeUrlError,
    },
}

/// Begins a sign-in: makes `state` and the PKCE pair, and the URL with them.
pub(crate) fn begin(
    identity: &Identity,
    discovered: &Discovered,
    client: &Client,
    redirect_uri: &str,
    scope: Option<&Scope>,
    binding: Option<Binding>,
) -> Result<Pending, BeginError> {
    let unusable = || BeginError::RedirectUri(printable(redirect_uri));
    let redirect = RedirectUrl::new(redirect_uri.to_owned()).map_err(|_| unusable())?;
    let server = &discovered.server;
    let page = server.authorization_endpoint.as_ref();
    let endpoint = without_parameters_of_ours(page.map_err(Clone::clone)?);
    let oauth = BasicClient::new(ClientId::new(client.client_id.clone()))
        .set_auth_uri(AuthUrl::from_url(endpoint))
        .set_redirect_uri(redirect);
    let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
    let mut request = oauth
        // 32 bytes, so that nobody guesses it while it is pending.
        .authorize_url(|| CsrfToken::new_random_len(32))
        .set_pkce_challenge(challenge);
    for (name, value) in parameters(identity, discovered, scope) {
        request = request.add_extra_param(name, value);
    }
    if let Some(binding) = &binding {
        // The code itself is worth nothing without the key (RFC 9449, section 10).
        request = request.add_extra_param("dpop_jkt", binding.key.thumbprint());
    }
    let (url, state) = request.url();
    let url = authorize_url::rebuild(&url).map_err(|why| BeginError::Url {
        issuer: printable(&server.issuer),
        why,
    })?;
    Ok(Pending {
        state: Secret::new(state.into_secret()),
        verifier: Secret::new(verifier.into_secret()),
        url,
        redirect_uri: redirect_uri.to_owned(),
        issuer: server.issuer.clone(),
        iss_expected: server.iss_parameter_supported,
        scope: scope.cloned(),
        resource: discovered.resource.clone(),
        binding,
    })
}

/// What goes into the URL besides what every sign-in has; the user's parameters
/// take the place of ours.
fn parameters<'a>(
    identity: &'a Identity,
    discovered: &'a Discovered,
    scope: Option<&Scope>,
) -> Vec<(&'a str, Cow<'a, str>)> {
    let mut parameters: Vec<(&str, Cow<'_, str>)> = Vec::new();
    if let Some(scope) = scope {
        parameters.push(("scope", scope.to_string().into()));
        if scope.contains("offline_access") {
            // Without it no refresh token is given (OpenID Connect Core, section 11).
            parameters.push(("prompt", "consent".into()));
        }
    }
    if let Some(resource) = &discovered.resource {
        parameters.push(("resource", resource.into()));
    }
    let given = &identity.authorize_params;
    parameters.retain(|(name, _)| !given.iter().any(|(given, _)| given == name));
    let given = given
        .iter()
        .map(|(name, value)| (name.as_str(), value.into()));
    parameters.extend(given.filter(|(name, _)| !RESERVED.contains(name)));
    parameters
}

/// An endpoint may come with a query, but not with an answer to our questions.
fn without_parameters_of_ours(endpoint: &Url) -> Url {
    let mut url = endpoint.clone();
    url.set_fragment(None);
    let ours = |name: &str| RESERVED.contains(&name);
    if url.query_pairs().any(|(name, _)| ours(&name)) {
        let kept = endpoint.query_pairs().filter(|(name, _)| !ours(name));
        url.query_pairs_mut().clear().extend_pairs(kept);
    }
    url
}

/// An authorization code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Code(pub(crate) Secret<String>);

/// Why a redirect brings no code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallbackError {
    /// It belongs to no sign-in of ours: the sign-in goes on.
    #[error("this redirect does not belong to a sign-in that is under way")]
    NotOurs,
    /// It comes from another issuer than the one that was asked, or does not say
    /// from whom although it must; nothing in it is believed or shown.
    #[error(
        "the redirect does not come from {0}, which was asked: the sign-in is given up for safety"
    )]
    Issuer(String),
    /// The user or the authorization server said no.
    #[error("the authorization server refused: {error}{}", after_colon(.description))]
    Denied {
        /// The code of the error, as one harmless line.
        error: String,
        /// What it says, as one harmless line.
        description: String,
    },
    /// It has neither a code nor an error.
    #[error("the redirect of the authorization server has no code in it")]
    NoCode,
}

/// Checks the query of a redirect, and returns the code in it.
pub(crate) fn check_callback(pending: &Pending, query: &str) -> Result<Code, CallbackError> {
    let state = the_one(query, "state").ok().flatten();
    let state = CsrfToken::new(state.ok_or(CallbackError::NotOurs)?);
    // These compare digests, so that time says nothing about how much is right.
    if state != CsrfToken::new(pending.state.reveal().clone()) {
        return Err(CallbackError::NotOurs);
    }
    let not_asked = || CallbackError::Issuer(printable(&pending.issuer));
    match the_one(query, "iss") {
        Ok(Some(issuer)) if issuer == pending.issuer => {}
        Ok(None) if !pending.iss_expected => {}
        _ => return Err(not_asked()),
    }
    let one = |name| the_one(query, name).map_err(|Repeated| CallbackError::NoCode);
    if let Some(error) = one("error")? {
        return Err(CallbackError::Denied {
            error: printable(&error),
            description: printable(&one("error_description")?.unwrap_or_default()),
        });
    }
    let code = one("code")?.filter(|code| !code.is_empty());
    Ok(Code(Secret::new(code.ok_or(CallbackError::NoCode)?)))
}

/// A parameter that stands more than once (RFC 6749, section 3.1).
struct Repeated;

fn the_one(query: &str, name: &str) -> Result<Option<String>, Repeated> {
    if query.len() > MAX_QUERY {
        return Ok(None);
    }
    let pairs = form_urlencoded::parse(query.as_bytes());
    let mut values = pairs.filter(|(found, _)| found == name);
    let value = values.next().map(|(_, value)| value.into_owned());
    match values.next() {
        Some(_) => Err(Repeated),
        None => Ok(value),
    }
}

#[cfg(test)]
mod tests;
