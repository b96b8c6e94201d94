//! To which authorization server an account shows its secret, or somebody's word: the
//! one that the user names, or else the one that gave its first token, whatever scopes
//! are asked for since. A server's metadata alone never lead to another.

use super::{Errand, ObtainError};
use crate::oauth::discovery::{Asked, AuthorizationServer, Known, is_same_issuer};
use crate::oauth::grant::Grant;
use crate::oauth::grant_type::ServiceAccount;
use crate::oauth::identity::Identity;
use crate::oauth::sign_in::Tools;
use crate::oauth::text::printable;

/// Refuses another authorization server than the one that gave the tokens before.
/// `what` says what that one does not get.
pub(super) async fn check(
    errand: &Errand,
    account: &ServiceAccount,
    server: &AuthorizationServer,
    what: &str,
) -> Result<(), ObtainError> {
    if account.token_endpoint.is_some() || errand.identity.issuer().is_some() {
        // The user has said where. A client for another one is refused elsewhere.
        return Ok(());
    }
    let before = before(errand).await?;
    let is_other = |issuer: &String| !is_same_issuer(issuer, &server.issuer);
    match before.filter(is_other) {
        None => Ok(()),
        Some(issuer) => Err(ObtainError::Refused(format!(
            "its authorization server is now {}, not {}, which gave the tokens before, and {what} to another: if that is right, run mcp-remote logout with the same flags",
            printable(&server.issuer),
            printable(&issuer)
        ))),
    }
}

/// Returns what is known before anybody is asked: the authorization server that gave
/// tokens before is the one, if it still is among several.
pub(super) async fn known(errand: &Errand, account: &ServiceAccount) -> Result<Known, ObtainError> {
    let mut known = Known::of(&errand.challenge, errand.before.as_ref());
    if known.asked.is_none() && account.token_endpoint.is_none() {
        // What the server calls itself is asked again; where it cannot say, its URL will do.
        let resource = errand.identity.server.as_resource().to_owned();
        let asked = |issuer| Asked {
            issuer,
            resource: Some(resource),
        };
        known.asked = before(errand).await?.map(asked);
    }
    Ok(known)
}

/// Returns who gave tokens before: these, or others of the same account.
async fn before(errand: &Errand) -> Result<Option<String>, ObtainError> {
    let before = errand.before.as_ref();
    if let Some(issuer) = before.and_then(|before| before.issuer.clone()) {
        return Ok(Some(issuer));
    }
    let hash = errand.identity.of_any_scope().hash();
    let pinned = errand.tools.store.pinned(&hash).await;
    pinned.map_err(|error| ObtainError::Here(error.to_string()))
}

/// Notes who has given a token.
pub(super) async fn keep(tools: &Tools, identity: &Identity, grant: &Grant) {
    let hash = identity.of_any_scope().hash();
    let Some(issuer) = &grant.issuer else {
        return;
    };
    if let Err(error) = tools
        .store
        .pin(&hash, issuer, identity.server_digits())
        .await
    {
        tracing::warn!(%error, "it could not be kept who gives these tokens");
    }
}

/// Forgets it.
pub(crate) async fn forget(tools: &Tools, identity: &Identity) {
    let hash = identity.of_any_scope().hash();
    if let Err(error) = tools.store.unpin(&hash).await {
        tracing::warn!(%error, "it could not be forgotten who gave these tokens");
    }
}

impl Identity {
    /// Returns the same account without the scopes that it is pinned to.
    fn of_any_scope(&self) -> Self {
        Self {
            scope: None,
            ..self.clone()
        }
    }
}
