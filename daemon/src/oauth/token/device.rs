//! The requests of a sign-in by code (RFC 8628): the one that begins it, and those
//! that ask whether the code has been typed in. Keeps nothing.

use std::time::Duration;

use serde_json::Value;

use super::{
    Answer, Endpoint, TokenEndpointError, TokenResponse, assertion, authenticated, same_issuer,
};
use crate::oauth::device::{self, DeviceAuthorization, GRANT_TYPE};
use crate::oauth::discovery::AuthorizationServer;
use crate::oauth::dpop::Binding;
use crate::oauth::http::OAuthHttp;
use crate::oauth::registration::Client;
use crate::oauth::text::{after_colon, printable};
use crate::secret::Secret;

use super::response::Unusable;

/// Why there are no tokens yet, or none at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PollError {
    /// The code has not been typed in yet.
    #[error("the code has not been entered yet")]
    Pending,
    /// Likewise, and it was asked too often.
    #[error("the authorization server was asked too often")]
    SlowDown,
    /// The person said no.
    #[error("the authorization server refused: access_denied{}", after_colon(.0))]
    Denied(String),
    /// The code has ended.
    #[error("the code has ended")]
    Expired,
    /// It did not answer, or cannot for this long.
    #[error("{0}")]
    Unanswered(String, Option<Duration>),
    /// It refuses for another reason, or what it answered cannot be used.
    #[error(transparent)]
    Ended(TokenEndpointError),
}

impl From<TokenEndpointError> for PollError {
    fn from(error: TokenEndpointError) -> Self {
        match error {
            TokenEndpointError::Transient(why) => Self::Unanswered(why, None),
            TokenEndpointError::Later(why, after) => Self::Unanswered(why, Some(after)),
            error => Self::Ended(error),
        }
    }
}

/// Begins a sign-in; `parameters`: what is asked for.
pub(crate) async fn begin(
    http: &OAuthHttp,
    server: &AuthorizationServer,
    client: &Client,
    parameters: &[(&str, &str)],
) -> Result<DeviceAuthorization, TokenEndpointError> {
    same_issuer(server, &client.issuer)?;
    let url = device::endpoint(server).map_err(TokenEndpointError::Unusable)?;
    let assertion = assertion(client, server).await?;
    let request = authenticated(client, assertion.as_ref(), parameters);
    let reply = http.post(url, request).await?;
    let endpoint = Endpoint {
        client_assertion: assertion.as_ref(),
        ..endpoint(http, server, client, None, None)
    };
    if let Some(refusal) = endpoint.refusal(&reply) {
        return Err(refusal);
    }
    let issuer = printable(&server.issuer);
    let unusable = |why: &str| {
        TokenEndpointError::Unusable(format!("the authorization server {issuer} {why}"))
    };
    let document = reply.json();
    let document = document.ok_or_else(|| unusable(&Unusable::NotJson.to_string()))?;
    let check = |url: &url::Url| http.check(url).map_err(|why| why.to_string());
    device::read(&document, check).map_err(|why| unusable(&why))
}

/// Asks whether the code has been typed in: then there are tokens. `issuer`: who gave
/// the code; it is shown to nobody else.
pub(crate) async fn poll(
    http: &OAuthHttp,
    server: &AuthorizationServer,
    client: &Client,
    issuer: &str,
    device_code: &Secret<String>,
    resource: Option<&str>,
    binding: Option<&Binding>,
) -> Result<TokenResponse, PollError> {
    same_issuer(server, issuer)?;
    same_issuer(server, &client.issuer)?;
    let mut fields = vec![
        ("grant_type", GRANT_TYPE),
        ("device_code", device_code.reveal()),
    ];
    fields.extend(resource.map(|resource| ("resource", resource)));
    let assertion = assertion(client, server).await?;
    let request = authenticated(client, assertion.as_ref(), &fields);
    let endpoint = Endpoint {
        client_assertion: assertion.as_ref(),
        ..endpoint(http, server, client, Some(device_code), binding)
    };
    let reply = endpoint.post(request).await;
    let reply = reply.map_err(TokenEndpointError::from)?;
    let document = reply.json().unwrap_or_default();
    let error = document.get("error").and_then(Value::as_str);
    // Whatever the status: some answer 200, some 428 and 429.
    match error.filter(|_| !document.contains_key("access_token")) {
        Some("authorization_pending") => return Err(PollError::Pending),
        Some("slow_down") => return Err(PollError::SlowDown),
        Some("expired_token") => return Err(PollError::Expired),
        _ => {}
    }
    match endpoint.refusal(&reply) {
        Some(TokenEndpointError::Refused {
            error, description, ..
        }) if error == "access_denied" => return Err(PollError::Denied(description)),
        Some(refusal) => return Err(refusal.into()),
        None => {}
    }
    let answer = serde_json::from_slice::<Answer>(&reply.body);
    let answer = answer.map_err(|_| endpoint.unusable(Unusable::of(&reply.body)))?;
    let response = TokenResponse::from(answer);
    if response.is_bound.is_none() {
        return Err(endpoint.unusable(Unusable::NoType).into());
    }
    Ok(endpoint.of_right_type(response).map_err(|(why, _)| why)?)
}

fn endpoint<'a>(
    http: &'a OAuthHttp,
    server: &'a AuthorizationServer,
    client: &'a Client,
    device_code: Option<&'a Secret<String>>,
    binding: Option<&'a Binding>,
) -> Endpoint<'a> {
    Endpoint {
        http,
        server,
        secrets: device_code
            .into_iter()
            .chain(&client.client_secret)
            .collect(),
        client_assertion: None,
        binding,
    }
}

#[cfg(test)]
mod tests;
