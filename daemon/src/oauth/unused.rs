//! Grants of servers that nobody has used since the daemon started: only their files
//! are known, which name who gave them but not what for, nor by which network.

use super::grant::Grant;
use super::identity::{Identity, IdentityHash};
use super::sign_in::Tools;
use super::store::{StoreError, Stored};
use super::successor;
use super::token_source::LoggedOut;
use crate::http::NetworkOptions;
use crate::server_url::ServerUrl;

/// Revokes a grant where that is offered, and deletes its files.
pub(super) async fn log_out(tools: Tools, hash: IdentityHash) -> LoggedOut {
    let (mut notes, mut provider) = (Vec::new(), None);
    match tools.store.read(&hash).await {
        // Revoked first: without the files nobody could do it any more.
        Ok(Stored {
            grant: Some(grant), ..
        }) => {
            let digits = grant.provider.as_deref();
            provider = digits.and_then(|digits| IdentityHash::parse(hash.folder(), digits));
            if let Err(why) = revoke(&tools, &grant).await {
                notes.push(format!(
                    "tokens of a server not used since the daemon started were deleted here but not revoked: {why}"
                ));
            }
        }
        Ok(_) => {}
        Err(error) => notes.push(error.to_string()),
    }
    if let Err(error) = tools.store.forget(&hash).await {
        notes.push(error.to_string());
    }
    if let Some(provider) = provider {
        notes.extend(successor::end_if_unused(&tools, &provider, None).await);
    }
    LoggedOut {
        was_signed_in: true,
        notes,
    }
}

/// Ends what replaced a refresh token of the user's.
pub(super) async fn end_successor(tools: Tools, provider: IdentityHash) -> LoggedOut {
    let ended = successor::end_if_unused(&tools, &provider, None).await;
    LoggedOut {
        was_signed_in: false,
        notes: ended.into_iter().collect(),
    }
}

/// Says what went wrong when it was forgotten who gave tokens, if anything did.
pub(super) fn unpinned(done: Result<(), StoreError>) -> Option<LoggedOut> {
    let error = done.err()?;
    Some(LoggedOut {
        was_signed_in: false,
        notes: vec![error.to_string()],
    })
}

async fn revoke(tools: &Tools, grant: &Grant) -> Result<(), String> {
    let issuer = grant.issuer.as_deref();
    let issuer = issuer.ok_or("nobody knows who gave them")?;
    // Checked when somebody signed in there.
    let itself = ServerUrl::parse(issuer, true).map_err(|error| error.to_string())?;
    let itself = Identity::new(itself, NetworkOptions::default());
    let servers = tools.endpoints.connect(&itself).await;
    let servers = servers.map_err(|error| error.to_string())?;
    let server = servers.of_issuer(issuer).await;
    let server = server.map_err(|error| error.to_string())?;
    let client = grant.client.clone();
    let client = client.ok_or_else(|| format!("the client at {issuer} is not known"))?;
    let client = client.known_to(&server);
    match servers.revoke(&server, &client, grant).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("{issuer} does not offer that")),
        Err(error) => Err(error.to_string()),
    }
}
