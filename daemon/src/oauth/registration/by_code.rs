//! Clients that sign in by a code (RFC 8628), which need a grant of their own and no
//! redirect.

use serde_json::Value;

use super::{Client, GRANT_TYPES, RegistrationError, given, registered_with, wish};
use crate::oauth::device;
use crate::oauth::discovery::Discovered;
use crate::oauth::http::OAuthHttp;
use crate::oauth::identity::Identity;
use crate::oauth::redirect;
use crate::oauth::scope::Scope;

/// Returns the client to sign in as by a code. It may come back from a page too: with
/// another client the next sign-in in a browser would need a registration of its own.
pub(crate) async fn register_device(
    http: &OAuthHttp,
    identity: &Identity,
    discovered: &Discovered,
    scope: Option<&Scope>,
) -> Result<Client, RegistrationError> {
    let server = &discovered.server;
    if let Some(given) = given(identity, server) {
        return given;
    }
    let redirect_uris = redirect::usual(&identity.callback);
    let mut wish = wish(identity, discovered, &redirect_uris, scope);
    if let Some(Value::Array(grants)) = wish.get_mut(GRANT_TYPES)
        && !grants.iter().any(|grant| grant == device::GRANT_TYPE)
    {
        grants.push(device::GRANT_TYPE.into());
    }
    let asked = wish.get(GRANT_TYPES).cloned();
    let mut client = registered_with(http, server, wish, &redirect_uris).await?;
    client.note(&redirect_uris, scope);
    if let Some(asked) = asked {
        // Some do not repeat what was asked for.
        client.document.entry(GRANT_TYPES).or_insert(asked);
    }
    Ok(client)
}

impl Client {
    /// Says whether it may sign in by a code, as far as is known.
    pub(crate) fn may_use_codes(&self) -> bool {
        let grants = self.document.get(GRANT_TYPES).and_then(Value::as_array);
        let is_it = |grant: &Value| grant == device::GRANT_TYPE;
        grants.map_or(self.document.is_empty(), |grants| grants.iter().any(is_it))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    fn client(document: Value) -> Client {
        let document: Map<String, Value> = document.as_object().expect("an object").clone();
        Client::from_document("https://as", document).expect("a client")
    }

    #[test]
    fn a_client_may_use_codes_if_it_was_registered_for_them() {
        let of = |grants: Value| client(json!({ "client_id": "c", "grant_types": grants }));
        assert!(of(json!(["authorization_code", device::GRANT_TYPE])).may_use_codes());
        assert!(!of(json!(["authorization_code"])).may_use_codes());
        // What is not said is as RFC 7591 has it: codes of pages only.
        assert!(!client(json!({ "client_id": "c" })).may_use_codes());
        // Of one that was registered elsewhere nobody here knows.
        let mut given = client(json!({ "client_id": "c" }));
        given.document.clear();
        assert!(given.may_use_codes());
    }
}
