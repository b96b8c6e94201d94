//! Token requests that exchange neither a code nor a refresh token: of service
//! accounts, and of whoever shows an assertion (RFC 6749, section 4.5). One form, one
//! answer.

use std::time::{Duration, SystemTime};

use http::{HeaderValue, header};

use super::response::{Answer, Unusable};
use super::{Endpoint, TokenEndpointError, TokenResponse, basic, same_issuer};
use crate::oauth::client_assertion;
use crate::oauth::discovery::AuthorizationServer;
use crate::oauth::dpop::Binding;
use crate::oauth::http::{OAuthHttp, Reply};
use crate::oauth::registration::{AuthMethod, Client};
use crate::oauth::scope::Scope;
use crate::secret::Secret;

/// Clocks that differ less do no harm.
const WORTH_SAYING: Duration = Duration::from_secs(60);

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TokenRequest<'a> {
    /// Where.
    pub(crate) server: &'a AuthorizationServer,
    /// As whom; `None`: the grant says it.
    pub(crate) client: Option<&'a Client>,
    /// What shows that we are this client, instead of a secret.
    pub(crate) client_assertion: Option<&'a Secret<String>>,
    /// `grant_type`.
    pub(crate) grant_type: &'a str,
    /// What belongs to the grant; each may be secret.
    pub(crate) fields: &'a [(&'a str, &'a Secret<String>)],
    /// For which resource.
    pub(crate) resource: Option<&'a str>,
    /// With which scope.
    pub(crate) scope: Option<&'a Scope>,
    /// What the token is to be bound to.
    pub(crate) binding: Option<&'a Binding>,
}

/// Asks for a token.
pub(crate) async fn request(
    http: &OAuthHttp,
    request: TokenRequest<'_>,
) -> Result<TokenResponse, TokenEndpointError> {
    let endpoint = endpoint(http, &request)?;
    let reply = post(&endpoint, &request).await?;
    let answer = serde_json::from_slice::<Answer>(&reply.body);
    let answer = answer.map_err(|_| endpoint.unusable(Unusable::of(&reply.body)))?;
    let response = TokenResponse::from(answer);
    if response.is_bound.is_none() {
        return Err(endpoint.unusable(Unusable::NoType));
    }
    endpoint.of_right_type(response).map_err(|(why, _)| why)
}

/// Asks for what is no access token; whoever asks reads the answer.
pub(super) async fn ask(
    http: &OAuthHttp,
    request: &TokenRequest<'_>,
) -> Result<Reply, TokenEndpointError> {
    post(&endpoint(http, request)?, request).await
}

fn endpoint<'a>(
    http: &'a OAuthHttp,
    request: &TokenRequest<'a>,
) -> Result<Endpoint<'a>, TokenEndpointError> {
    let server = request.server;
    if let Some(client) = request.client {
        same_issuer(server, &client.issuer)?;
    }
    let secret = request
        .client
        .and_then(|client| client.client_secret.as_ref());
    let fields = request.fields.iter().map(|(_, value)| *value);
    Ok(Endpoint {
        http,
        server,
        secrets: fields.chain(secret).collect(),
        client_assertion: request.client_assertion,
        binding: request.binding,
    })
}

/// Posts the form; returns what is no refusal.
async fn post(
    endpoint: &Endpoint<'_>,
    request: &TokenRequest<'_>,
) -> Result<Reply, TokenEndpointError> {
    let form = form(request);
    // What works once is made anew for the next proof, if it is ours to make.
    let works_once = request.client_assertion.is_some() || !request.fields.is_empty();
    let reply = match request.binding.filter(|_| works_once) {
        Some(binding) => {
            let (http, url) = (endpoint.http, &endpoint.server.token_endpoint);
            let (reply, next_may_do) = binding.key.post_once(http, url, form).await?;
            if let (true, Some(refusal)) = (next_may_do, endpoint.refusal(&reply)) {
                return Err(TokenEndpointError::Unproven(refusal.to_string()));
            }
            reply
        }
        None => endpoint.post(form).await?,
    };
    match endpoint.refusal(&reply) {
        Some(refusal) => Err(refusal),
        None => Ok(reply),
    }
}

/// Says of a refusal that the clocks differ, which may be why.
pub(super) fn with_clock(
    mut refusal: TokenEndpointError,
    theirs: Option<SystemTime>,
    ours: SystemTime,
) -> TokenEndpointError {
    let Some(theirs) = theirs else {
        return refusal;
    };
    let (difference, way) = match ours.duration_since(theirs) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    if difference >= WORTH_SAYING
        && let TokenEndpointError::InvalidClient(said)
        | TokenEndpointError::InvalidGrant(said)
        | TokenEndpointError::Refused {
            description: said, ..
        } = &mut refusal
    {
        let minutes = difference.as_secs() / 60;
        let clock = format!("the clock of this machine is {minutes} min {way} its own");
        *said = match said.is_empty() {
            true => clock,
            false => format!("{said} ({clock})"),
        };
    }
    refusal
}

fn form(request: &TokenRequest<'_>) -> http::Request<Vec<u8>> {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", request.grant_type);
    for (name, value) in request.fields {
        form.append_pair(name, value.reveal());
    }
    if let Some(scope) = request.scope {
        form.append_pair("scope", &scope.to_string());
    }
    if let Some(resource) = request.resource {
        form.append_pair("resource", resource);
    }
    let mut authorization = None;
    match (request.client, request.client_assertion) {
        // It names the client.
        (_, Some(assertion)) => {
            form.extend_pairs(client_assertion::fields(assertion));
        }
        (Some(client), None) => match (&client.client_secret, client.auth_method) {
            (Some(secret), AuthMethod::Basic) => authorization = Some(basic(client, secret)),
            (secret, _) => {
                form.append_pair("client_id", &client.client_id);
                if let Some(secret) = secret {
                    form.append_pair("client_secret", secret.reveal());
                }
            }
        },
        (None, None) => {}
    }
    let mut request = http::Request::new(form.finish().into_bytes());
    let headers = request.headers_mut();
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    headers.insert(header::CONTENT_TYPE, form);
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    if let Some(authorization) = authorization {
        headers.insert(header::AUTHORIZATION, authorization);
    }
    request
}
