//! The token endpoint: codes and refresh tokens are exchanged there (RFC 6749,
//! sections 4.1.3 and 6), bound to a key where that is wanted (RFC 9449, section 5),
//! and tokens revoked (RFC 7009). Keeps nothing.
//!
//! Only `InvalidGrant` says that a grant is gone. Whatever else happens, the
//! refresh token may still be good.

pub(crate) mod device;
mod request;
mod response;
mod vouch;

use std::pin::Pin;
use std::time::{Duration, SystemTime};

use http::{HeaderValue, header};
use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse,
};
use oauth2::{
    AsyncHttpClient, AuthType, AuthorizationCode, ClientId, ClientSecret, EndpointNotSet,
    EndpointSet, HttpRequest, HttpResponse, PkceCodeVerifier, RedirectUrl, RefreshToken,
    RequestTokenError, StandardRevocableToken, TokenUrl,
};
use serde_json::Value;

use super::authorization::{Code, Pending};
use super::client_assertion;
use super::discovery::AuthorizationServer;
use super::dpop::{self, Binding};
use super::endpoints::RefreshRequest;
use super::http::{OAuthHttp, OAuthHttpError, Reply};
use super::registration::{AuthMethod, Client};
use super::scope::Scope;
use super::text::{after_colon, printable, printable_without};
use crate::secret::Secret;

pub(crate) use request::{TokenRequest, request};
pub(crate) use response::TokenResponse;
use response::{Answer, Unusable};
pub(crate) use vouch::{ID_JAG, Vouched, is_jwt, vouch};

/// Why there is no token. Each completes "the sign-in failed: ..." or "the token
/// could not be refreshed: ...".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenEndpointError {
    /// The code or refresh token is not, or no longer, good.
    #[error("the authorization server no longer accepts the grant{}", after_colon(.0))]
    InvalidGrant(String),
    /// The client is not, or no longer, known.
    #[error("the authorization server does not accept the client{}", after_colon(.0))]
    InvalidClient(String),
    /// It refuses for another reason.
    #[error("the authorization server answered {status} {error}{}", after_colon(.description))]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The code of the error, as one harmless line.
        error: String,
        /// What it says, as one harmless line.
        description: String,
    },
    /// It did not answer, or cannot at the moment.
    #[error("{0}")]
    Transient(String),
    /// It cannot for this long.
    #[error("{0}")]
    Later(String, Duration),
    /// What it answered, or how it is reached, cannot be used.
    #[error("{0}")]
    Unusable(String),
    /// It wants another proof of our key, which can be made now; what was sent works
    /// only once.
    #[error("{0}")]
    Unproven(String),
    /// Nothing in what it answered can be used but the refresh token, in the place of
    /// the one that was sent.
    #[error("{why}")]
    Spoiled {
        /// What is wrong.
        why: String,
        /// The new one.
        refresh_token: Secret<String>,
    },
}

impl From<OAuthHttpError> for TokenEndpointError {
    fn from(error: OAuthHttpError) -> Self {
        match error {
            OAuthHttpError::Refused(why) | OAuthHttpError::Redirected(why) => Self::Unusable(why),
            OAuthHttpError::Unanswered(why) => Self::Transient(why),
        }
    }
}

/// Exchanges a code, with what the sign-in was begun with.
pub(crate) async fn exchange(
    http: &OAuthHttp,
    server: &AuthorizationServer,
    client: &Client,
    pending: &Pending,
    code: &Code,
) -> Result<TokenResponse, TokenEndpointError> {
    same_issuer(server, &pending.issuer)?;
    same_issuer(server, &client.issuer)?;
    let redirect = RedirectUrl::new(pending.redirect_uri.clone()).map_err(|_| {
        let uri = printable(&pending.redirect_uri);
        TokenEndpointError::Unusable(format!("{uri} is not a usable redirect URI"))
    })?;
    let assertion = assertion(client, server).await?;
    let oauth = oauth(server, client).set_redirect_uri(redirect);
    let mut request = oauth
        .exchange_code(AuthorizationCode::new(code.0.reveal().clone()))
        .set_pkce_verifier(PkceCodeVerifier::new(pending.verifier.reveal().clone()));
    if let Some(resource) = &pending.resource {
        request = request.add_extra_param("resource", resource);
    }
    for (name, value) in assertion.iter().flat_map(client_assertion::fields) {
        request = request.add_extra_param(name, value);
    }
    let secrets = [&code.0, &pending.verifier];
    let endpoint = Endpoint {
        http,
        server,
        secrets: secrets.into_iter().chain(&client.client_secret).collect(),
        client_assertion: assertion.as_ref(),
        binding: pending.binding.as_ref(),
    };
    let answer = request.request_async(&endpoint).await;
    let response = endpoint.answered(answer)?;
    match response.is_bound {
        None => Err(endpoint.unusable(Unusable::NoType)),
        Some(_) => endpoint.of_right_type(response).map_err(|(why, _)| why),
    }
}

/// Exchanges a refresh token, which is shown to nobody but its issuer.
pub(crate) async fn refresh(
    http: &OAuthHttp,
    request: RefreshRequest<'_>,
) -> Result<TokenResponse, TokenEndpointError> {
    let RefreshRequest {
        server,
        client,
        issuer,
        refresh_token,
        resource,
        scope,
        binding,
    } = request;
    same_issuer(server, issuer)?;
    same_issuer(server, &client.issuer)?;
    let assertion = assertion(client, server).await?;
    let oauth = oauth(server, client);
    let token = RefreshToken::new(refresh_token.reveal().clone());
    let scopes = scope.into_iter().flat_map(Scope::tokens);
    let mut request = oauth
        .exchange_refresh_token(&token)
        .add_scopes(scopes.map(|token| oauth2::Scope::new(token.to_owned())));
    if let Some(resource) = resource {
        request = request.add_extra_param("resource", resource);
    }
    for (name, value) in assertion.iter().flat_map(client_assertion::fields) {
        request = request.add_extra_param(name, value);
    }
    let secrets = [refresh_token].into_iter();
    let endpoint = Endpoint {
        http,
        server,
        secrets: secrets.chain(&client.client_secret).collect(),
        client_assertion: assertion.as_ref(),
        binding,
    };
    let answer = request.request_async(&endpoint).await;
    let rotated = match &answer {
        Err(RequestTokenError::Parse(_, body)) => response::refresh_token_in(body),
        _ => None,
    };
    let answered = match endpoint.answered(answer) {
        Ok(response) => endpoint.of_right_type(response),
        Err(error) => Err((error, rotated)),
    };
    answered.map_err(|(error, rotated)| match rotated {
        Some(refresh_token) => TokenEndpointError::Spoiled {
            why: error.to_string(),
            refresh_token,
        },
        None => error,
    })
}

/// What a token is, for a revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// An access token.
    Access,
    /// A refresh token; with it goes all that came from it.
    Refresh,
}

/// Revokes a token. `Ok(false)`: the server has no way to.
pub(crate) async fn revoke(
    http: &OAuthHttp,
    server: &AuthorizationServer,
    client: &Client,
    token: &Secret<String>,
    kind: TokenKind,
) -> Result<bool, TokenEndpointError> {
    same_issuer(server, &client.issuer)?;
    let Some(endpoint) = &server.revocation_endpoint else {
        return Ok(false);
    };
    let assertion = assertion(client, server).await?;
    let request = revocation(client, assertion.as_ref(), token, kind);
    let reply = http.post(endpoint, request).await?;
    if reply.status.is_success() {
        return Ok(true);
    }
    // RFC 7009, section 2.2.1: JWTs, for instance, are nothing that it keeps.
    let document = reply.json();
    let error = document.as_ref().and_then(|document| document.get("error"));
    if error.is_some_and(|error| error == "unsupported_token_type") {
        return Ok(false);
    }
    let status = reply.status.as_u16();
    Err(TokenEndpointError::Refused {
        status,
        error: "to a revocation".into(),
        description: String::new(),
    })
}

/// The crate's own request takes no http URL, not even on this machine.
fn revocation(
    client: &Client,
    assertion: Option<&Secret<String>>,
    token: &Secret<String>,
    kind: TokenKind,
) -> http::Request<Vec<u8>> {
    let hint = match kind {
        TokenKind::Access => "access_token",
        TokenKind::Refresh => "refresh_token",
    };
    let fields = [
        ("token", token.reveal().as_str()),
        ("token_type_hint", hint),
    ];
    authenticated(client, assertion, &fields)
}

/// Signs what shows who a client with a key is; `None`: it has none.
async fn assertion(
    client: &Client,
    server: &AuthorizationServer,
) -> Result<Option<Secret<String>>, TokenEndpointError> {
    let signed = client_assertion::of(client, server).await;
    signed.map_err(|error| TokenEndpointError::Unusable(error.to_string()))
}

/// Makes a form that says who the client is, as it was registered to.
fn authenticated(
    client: &Client,
    assertion: Option<&Secret<String>>,
    fields: &[(&str, &str)],
) -> http::Request<Vec<u8>> {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(fields);
    form.extend_pairs(assertion.into_iter().flat_map(client_assertion::fields));
    let mut authorization = None;
    match (&client.client_secret, client.auth_method) {
        (Some(secret), AuthMethod::Basic) => authorization = Some(basic(client, secret)),
        (secret, _) => {
            form.append_pair("client_id", &client.client_id);
            if let Some(secret) = secret {
                form.append_pair("client_secret", secret.reveal());
            }
        }
    }
    let mut request = http::Request::new(form.finish().into_bytes());
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    request.headers_mut().insert(header::CONTENT_TYPE, form);
    if let Some(authorization) = authorization {
        request
            .headers_mut()
            .insert(header::AUTHORIZATION, authorization);
    }
    request
}

/// HTTP Basic as OAuth has it: both parts form-encoded (RFC 6749, section 2.3.1).
fn basic(client: &Client, secret: &Secret<String>) -> HeaderValue {
    use base64::Engine as _;
    let encode =
        |part: &str| -> String { url::form_urlencoded::byte_serialize(part.as_bytes()).collect() };
    let pair = format!("{}:{}", encode(&client.client_id), encode(secret.reveal()));
    let encoded = base64::prelude::BASE64_STANDARD.encode(pair);
    let mut value =
        HeaderValue::try_from(format!("Basic {encoded}")).expect("base64 fits into a header");
    value.set_sensitive(true);
    value
}

/// Grants and clients go only to the issuer that gave them.
fn same_issuer(server: &AuthorizationServer, issuer: &str) -> Result<(), TokenEndpointError> {
    if server.issuer == issuer {
        return Ok(());
    }
    Err(TokenEndpointError::Unusable(format!(
        "the authorization server is now {}, not {}, which gave the grant: sign in again",
        printable(&server.issuer),
        printable(issuer)
    )))
}

type Oauth = oauth2::Client<
    BasicErrorResponse,
    Answer,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

fn oauth(server: &AuthorizationServer, client: &Client) -> Oauth {
    let oauth = oauth2::Client::new(ClientId::new(client.client_id.clone()))
        .set_token_uri(TokenUrl::from_url(server.token_endpoint.clone()))
        .set_auth_type(match client.auth_method {
            AuthMethod::Basic => AuthType::BasicAuth,
            AuthMethod::None | AuthMethod::Post => AuthType::RequestBody,
        });
    match &client.client_secret {
        Some(secret) => oauth.set_client_secret(ClientSecret::new(secret.reveal().clone())),
        None => oauth,
    }
}

/// The token endpoint of one server, as the `oauth2` crate asks it.
struct Endpoint<'a> {
    http: &'a OAuthHttp,
    server: &'a AuthorizationServer,
    /// What it is asked with, and must not be shown when it comes back.
    secrets: Vec<&'a Secret<String>>,
    /// What shows who we are, instead of a secret; no more to be shown than those.
    client_assertion: Option<&'a Secret<String>>,
    /// What the tokens are to be bound to.
    binding: Option<&'a Binding>,
}

impl<'c> AsyncHttpClient<'c> for Endpoint<'_> {
    type Error = TokenEndpointError;
    type Future =
        Pin<Box<dyn Future<Output = Result<HttpResponse, TokenEndpointError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let reply = self.post(request).await?;
            if let Some(refusal) = self.refusal(&reply) {
                return Err(refusal);
            }
            // Its status and media type have said what they can.
            Ok(HttpResponse::new(reply.body.into()))
        })
    }
}

impl Endpoint<'_> {
    /// Posts a request, with a proof if its tokens are to be bound.
    async fn post(&self, request: HttpRequest) -> Result<Reply, OAuthHttpError> {
        let url = &self.server.token_endpoint;
        match self.binding {
            Some(binding) => binding.key.post(self.http, url, request).await,
            None => self.http.post(url, request).await,
        }
    }

    /// Tells whether an answer is a refusal, and of one whether our clock may be why.
    fn refusal(&self, reply: &Reply) -> Option<TokenEndpointError> {
        let refusal = self.refusal_in(reply)?;
        Some(match self.client_assertion {
            // It is good for a short time only.
            Some(_) => request::with_clock(refusal, reply.date, SystemTime::now()),
            None => refusal,
        })
    }

    /// Reads a refusal. Some servers report errors with 200.
    fn refusal_in(&self, reply: &Reply) -> Option<TokenEndpointError> {
        let status = reply.status.as_u16();
        if matches!(status, 408 | 429 | 500..) {
            let issuer = printable(&self.server.issuer);
            let why =
                format!("the authorization server {issuer} answered {status}: try again later");
            return Some(match reply.retry_after {
                Some(after) => TokenEndpointError::Later(why, after),
                None => TokenEndpointError::Transient(why),
            });
        }
        let document = reply.json().unwrap_or_default();
        let clean = |name: &str| {
            let text = document.get(name).and_then(Value::as_str)?;
            let secrets = self.secrets.iter().copied();
            Some(printable_without(
                text,
                secrets.chain(self.client_assertion),
            ))
        };
        let error = clean("error").filter(|_| !document.contains_key("access_token"));
        let description = clean("error_description").unwrap_or_default();
        match error.as_deref() {
            None if reply.status.is_success() => None,
            Some("invalid_grant") => Some(TokenEndpointError::InvalidGrant(description)),
            Some("invalid_client") => Some(TokenEndpointError::InvalidClient(description)),
            Some(error) if self.binding.is_some() && dpop::is_about_proof(error) => {
                Some(TokenEndpointError::Unusable(format!(
                    "the authorization server {} does not take our proof of the key that tokens are bound to ({error}){}: check the clock of this machine",
                    printable(&self.server.issuer),
                    after_colon(&description)
                )))
            }
            Some(error) if dpop::is_about_proof(error) => Some(TokenEndpointError::Refused {
                status,
                error: error.to_owned(),
                description: "it binds tokens to a key (DPoP), for which nobody has asked: sign in with --dpop always"
                    .into(),
            }),
            _ => Some(TokenEndpointError::Refused {
                status,
                error: error.unwrap_or_else(|| "without saying why".into()),
                description,
            }),
        }
    }

    fn answered(
        &self,
        answer: Result<Answer, RequestTokenError<TokenEndpointError, BasicErrorResponse>>,
    ) -> Result<TokenResponse, TokenEndpointError> {
        Err(match answer {
            Ok(answer) => return Ok(answer.into()),
            Err(RequestTokenError::Request(error)) => error,
            Err(RequestTokenError::Parse(_, body)) => self.unusable(Unusable::of(&body)),
            // The crate does not see refusals, so this is an empty answer.
            Err(RequestTokenError::ServerResponse(_) | RequestTokenError::Other(_)) => {
                self.unusable(Unusable::NotJson)
            }
        })
    }

    /// Checks that a token is bound where it has to be and only where we have the key;
    /// otherwise returns the refresh token that came with it.
    fn of_right_type(
        &self,
        response: TokenResponse,
    ) -> Result<TokenResponse, (TokenEndpointError, Option<Secret<String>>)> {
        let demanded = self.binding.is_some_and(|binding| binding.demanded);
        let why = match response.is_bound {
            Some(true) if self.binding.is_none() => Unusable::Type,
            Some(false) if demanded => Unusable::NotBound,
            _ => return Ok(response),
        };
        Err((self.unusable(why), response.refresh_token))
    }

    fn unusable(&self, why: Unusable) -> TokenEndpointError {
        let issuer = printable(&self.server.issuer);
        TokenEndpointError::Unusable(format!("the authorization server {issuer} {why}"))
    }
}

#[cfg(test)]
mod tests;
