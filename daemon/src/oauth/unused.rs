//! Grants of servers that nobody has used since the daemon started: only their files
//! are known, which name who gave them but not what for, nor by which network.

use super::grant::Grant;
use super::identity::{Identity, IdentityHash};
use super::registration::Client;
use super::sign_in::{Tools, of_issuer};
use super::store::Stored;
use super::token_source::LoggedOut;
use crate::http::NetworkOptions;
use crate::server_url::ServerUrl;

/// Revokes a grant where that is offered, and deletes its files.
pub(super) async fn log_out(tools: Tools, hash: IdentityHash) -> LoggedOut {
    let mut note = None;
    match tools.store.read(&hash).await {
        // Revoked first: without the files nobody could do it any more.
        Ok(Stored {
            grant: Some(grant),
            client,
            ..
        }) => {
            let client = client.and_then(|document| {
                let issuer = document.get("issuer").and_then(|issuer| issuer.as_str());
                let issuer = issuer.unwrap_or_default().to_owned();
                Client::from_document(&issuer, document)
            });
            if let Err(why) = revoke(&tools, &grant, client).await {
                note = Some(format!(
                    "tokens of a server not used since the daemon started were deleted here but not revoked: {why}"
                ));
            }
        }
        Ok(_) => {}
        Err(error) => note = Some(error.to_string()),
    }
    if let Err(error) = tools.store.forget(&hash).await {
        note = Some(error.to_string());
    }
    LoggedOut {
        was_signed_in: true,
        note,
    }
}

async fn revoke(tools: &Tools, grant: &Grant, client: Option<Client>) -> Result<(), String> {
    let issuer = grant
        .issuer
        .as_deref()
        .ok_or("nobody knows who gave them")?;
    let client = client
        .map(|client| of_issuer(client, issuer))
        .filter(|client| client.issuer == *issuer)
        .ok_or_else(|| format!("the client at {issuer} is not known"))?;
    // Checked when somebody signed in there.
    let itself = ServerUrl::parse(issuer, true).map_err(|error| error.to_string())?;
    let itself = Identity::new(itself, NetworkOptions::default());
    let servers = tools.endpoints.connect(&itself).await;
    let servers = servers.map_err(|error| error.to_string())?;
    let server = servers.of_issuer(issuer).await;
    let server = server.map_err(|error| error.to_string())?;
    match servers.revoke(&server, &client, grant).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("{issuer} does not offer that")),
        Err(error) => Err(error.to_string()),
    }
}
