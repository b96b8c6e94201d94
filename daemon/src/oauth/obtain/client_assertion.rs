//! How a client shows with its key who it is: a JWT of its own (RFC 7523, section 2.2),
//! another one for each request.

use std::time::{Duration, SystemTime};

use crate::oauth::discovery::AuthorizationServer;
use crate::oauth::grant_type::{Audience, ClientKey};
use crate::oauth::jose::{self, Claims, Header, KeyFileError};
use crate::secret::Secret;

/// How long it is good: as long as a request may take, and clocks may differ.
const LIFE: Duration = Duration::from_secs(120);

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
