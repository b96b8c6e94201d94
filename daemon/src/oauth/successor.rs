//! The end of a refresh token that an identity provider gave in the place of the one in a
//! user's file: once no tokens of a server depend on it, it is revoked and deleted.
//!
//! The user's file stays as it is, with a token that the provider has replaced.

use std::time::Duration;

use super::federation::{IdentityProvider, is_private};
use super::identity::{Identity, IdentityHash};
use super::registration::Client;
use super::sign_in::Tools;
use super::store::{StoreError, Successor};
use crate::http::NetworkOptions;
use crate::server_url::ServerUrl;

/// How long somebody who is using it is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long the provider is waited for.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(8);

/// Ends it, unless another server's tokens depend on it; returns what to tell. `provider`:
/// as whom and how it is reached, if that is known.
pub(super) async fn end_if_unused(
    tools: &Tools,
    hash: &IdentityHash,
    provider: Option<(&Identity, &IdentityProvider)>,
) -> Option<String> {
    let failed = |error: StoreError| Some(error.to_string());
    match tools.store.successor(hash).await {
        Ok(Some(_)) => {}
        Ok(None) => return None,
        Err(error) => return failed(error),
    }
    let Ok(locked) = tokio::time::timeout(PATIENCE, tools.store.lock(hash)).await else {
        return Some("the refresh token that replaced the one of --subject-token-file is in use and was not removed: try again".into());
    };
    let _lock = match locked {
        Ok(lock) => lock,
        Err(error) => return failed(error),
    };
    match tools.store.is_vouched_by(hash).await {
        Ok(false) => {}
        Ok(true) => return None,
        Err(error) => return failed(error),
    }
    let successor = match tools.store.successor(hash).await {
        Ok(successor) => successor?,
        Err(error) => return failed(error),
    };
    // Revoked first: without the file nobody could do it any more.
    let revoking = revoke(tools, provider, &successor);
    let revoked = tokio::time::timeout(REVOKE_TIMEOUT, revoking).await;
    let revoked = revoked.unwrap_or_else(|_| Err("it did not answer in time".into()));
    match tools.store.remove_subject(hash).await {
        Ok(()) => Some(told(&successor, revoked)),
        Err(error) => failed(error),
    }
}

/// What is in the user's file was replaced: it is shown again, but may be refused.
fn told(successor: &Successor, revoked: Result<(), String>) -> String {
    let file = successor.file.as_deref();
    let file = file.unwrap_or("the --subject-token-file");
    let removed = match revoked {
        Ok(()) => "was revoked and removed".to_owned(),
        Err(why) => format!("was removed, but not revoked by the identity provider ({why})"),
    };
    format!(
        "the refresh token that had replaced the one in {file} {removed}: put a new one into that file, since the old one may be refused"
    )
}

async fn revoke(
    tools: &Tools,
    provider: Option<(&Identity, &IdentityProvider)>,
    successor: &Successor,
) -> Result<(), String> {
    let client = successor.client.clone();
    let client = client.ok_or("nobody knows which client it was given to")?;
    let there = match provider {
        Some((identity, provider)) => provider.identity(identity),
        None => {
            // Checked when it was used there.
            let issuer = ServerUrl::parse(&client.issuer, true);
            let issuer = issuer.map_err(|error| error.to_string())?;
            Identity::new(issuer, NetworkOptions::default())
        }
    };
    let servers = tools.endpoints.connect(&there).await;
    let servers = servers.map_err(|error| error.to_string())?;
    let server = servers.of_issuer(&client.issuer).await;
    let server = server.map_err(|error| error.to_string())?;
    if server
        .revocation_endpoint
        .as_ref()
        .is_some_and(|url| !is_private(url))
    {
        return Err("its revocation endpoint is not encrypted".into());
    }
    let client = Client {
        key: provider.and_then(|(_, provider)| provider.key.clone()),
        ..client
    };
    let revoked = servers.revoke_refresh_token(&server, &client, &successor.refresh_token);
    match revoked.await {
        Ok(true) => Ok(()),
        Ok(false) => Err("it does not offer that".into()),
        Err(error) => Err(error.to_string()),
    }
}
