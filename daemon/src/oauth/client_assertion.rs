//! How a client shows with its key who it is: a JWT of its own (RFC 7523, section 2.2),
//! another one for each request.

use std::time::{Duration, SystemTime};

use super::discovery::AuthorizationServer;
use super::grant_type::{Audience, ClientKey};
use super::jose::{self, Claims, Header, KeyFileError};
use super::registration::Client;
use crate::secret::Secret;

/// `client_assertion_type`.
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// How long it is good: as long as a request may take, and clocks may differ.
const LIFE: Duration = Duration::from_secs(120);

/// Signs one for a client that has its key with it; `None`: it has none.
pub(crate) async fn of(
    client: &Client,
    server: &AuthorizationServer,
) -> Result<Option<Secret<String>>, KeyFileError> {
    match &client.key {
        Some(key) => sign(key, &client.client_id, server, SystemTime::now())
            .await
            .map(Some),
        None => Ok(None),
    }
}

/// Returns the fields of a form that show it.
pub(crate) fn fields(assertion: &Secret<String>) -> [(&'static str, &str); 2] {
    [
        ("client_assertion_type", JWT_BEARER),
        ("client_assertion", assertion.reveal()),
    ]
}

/// Signs one for this authorization server.
pub(crate) async fn sign(
    key: &ClientKey,
    client_id: &str,
    server: &AuthorizationServer,
    now: SystemTime,
) -> Result<Secret<String>, KeyFileError> {
    let signing = key.file.read().await?;
    let signing = match &key.id {
        Some(id) => signing.with_id(id),
        None => signing,
    };
    let audience = match &key.audience {
        Audience::Issuer => server.issuer.as_str(),
        Audience::TokenEndpoint => server.token_endpoint.as_str(),
        Audience::Given(audience) => audience,
    };
    let claims = Claims::new(now)
        .expires_at(now + LIFE)
        .with("iss", client_id)
        .with("sub", client_id)
        .with("aud", audience);
    Ok(jose::sign(&signing, Header::JWT, &claims))
}
