//! Clients that the user gives, and which client tokens belong to. One that is known to a
//! certain issuer is shown to no other.

use super::{AuthMethod, Client, RegistrationError};
use crate::oauth::discovery::{AuthorizationServer, is_same_issuer};
use crate::oauth::identity::{ClientChoice, Identity};
use crate::oauth::text::printable;
use crate::secret::Secret;

/// Returns the client that the user gave; `None`: we register one.
pub(crate) fn given(
    identity: &Identity,
    server: &AuthorizationServer,
) -> Option<Result<Client, RegistrationError>> {
    match &identity.client {
        ClientChoice::PreRegistered {
            client_id,
            client_secret,
            auth_method,
            redirect_uris,
            issuer,
        } => {
            let is_it = |issuer: &&String| is_same_issuer(issuer, &server.issuer);
            if let Some(issuer) = issuer.as_ref().filter(|issuer| !is_it(issuer)) {
                return Some(Err(elsewhere(identity, issuer, server)));
            }
            let key = identity.client_key().cloned();
            // A key makes the secret superfluous, which is not shown then.
            let client_secret = client_secret.as_ref().filter(|_| key.is_none());
            let auth_method = auth_method.as_deref();
            let client = pre_registered(server, client_id, client_secret, auth_method);
            Some(client.map(|client| Client {
                redirect_uris: redirect_uris.clone(),
                key,
                ..client
            }))
        }
        ClientChoice::MetadataUrl(url) if server.client_id_metadata_document_supported => {
            Some(Ok(Client::public(&server.issuer, url.as_str())))
        }
        ClientChoice::MetadataUrl(_) | ClientChoice::Dynamic => None,
    }
}

fn elsewhere(identity: &Identity, issuer: &str, server: &AuthorizationServer) -> RegistrationError {
    RegistrationError::Elsewhere {
        flag: match identity.vouches {
            Some(_) => "--identity-provider-client",
            None => "--static-oauth-client-info",
        },
        issuer: printable(issuer),
        found: printable(&server.issuer),
    }
}

/// Returns the client that tokens or a sign-in belong to, whoever asks by now;
/// `kept`: as which it was kept with them. `None`: it is not known.
pub(crate) fn of_tokens(
    kept: Option<&Client>,
    identity: &Identity,
    server: &AuthorizationServer,
) -> Result<Option<Client>, RegistrationError> {
    match (kept, given(identity, server)) {
        // Who gives it may know a newer secret.
        (Some(kept), Some(Ok(given))) if given.client_id == kept.client_id => Ok(Some(given)),
        // The same secret, which is kept with them.
        (Some(kept), Some(Err(error @ RegistrationError::Elsewhere { .. })))
            if identity.client_id() == Some(&kept.client_id) =>
        {
            Err(error)
        }
        (Some(kept), _) => Ok(Some(kept.clone().known_to(server))),
        (None, given) => given.transpose(),
    }
}

fn pre_registered(
    server: &AuthorizationServer,
    client_id: &str,
    client_secret: Option<&Secret<String>>,
    auth_method: Option<&str>,
) -> Result<Client, RegistrationError> {
    let auth_method = match (auth_method, client_secret) {
        (_, None) => AuthMethod::None,
        (None, Some(_)) => secret_method(server),
        (Some(method), Some(_)) => AuthMethod::parse(method).ok_or_else(|| {
            RegistrationError::Unusable(format!(
                "the token_endpoint_auth_method {} of --static-oauth-client-info is not known: use none, client_secret_basic or client_secret_post",
                printable(method)
            ))
        })?,
    };
    Ok(Client {
        client_secret: client_secret
            .cloned()
            .filter(|_| auth_method != AuthMethod::None),
        auth_method,
        ..Client::public(&server.issuer, client_id)
    })
}

/// How a client with a secret shows it: in the way that every server takes, if
/// it is not said to be another (RFC 8414, section 2).
pub(super) fn secret_method(server: &AuthorizationServer) -> AuthMethod {
    let methods = &server.token_endpoint_auth_methods;
    let offers = |method: AuthMethod| methods.iter().any(|offered| offered == method.as_str());
    if offers(AuthMethod::Post) && !offers(AuthMethod::Basic) {
        AuthMethod::Post
    } else {
        AuthMethod::Basic
    }
}
