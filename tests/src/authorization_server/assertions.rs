//! The JWT bearer grant (RFC 7523, section 2.1): whoever the test trusts may vouch for
//! a client.

use std::collections::BTreeMap;

use serde_json::json;

use super::endpoints::{authenticate, check_resource, form, refused};
use super::service::{basic_id, signer};
use super::{FakeAuthorizationServer, Grant, Shared, proofs};
use crate::upstream::{Reply, Request};

/// Says whether an assertion is good.
pub(super) type Trust = Box<dyn Fn(&str) -> bool + Send + Sync>;

impl FakeAuthorizationServer {
    /// Takes the assertions that `trust` says are good; a client says who it is, or
    /// nobody asks.
    pub fn trust(&self, trust: impl Fn(&str) -> bool + Send + Sync + 'static) {
        *self.shared.trust() = Some(Box::new(trust));
    }

    /// Returns the client that a request comes from; `None`: it does not show it.
    pub fn client_of(&self, request: &Request) -> Option<String> {
        client(&self.shared, &self.shared.origin, request).ok()?
    }
}

/// Returns the client that a request comes from, if it says so; its refusal, if it is
/// another one.
fn client(shared: &Shared, origin: &str, request: &Request) -> Result<Option<String>, Reply> {
    let form = form(request);
    if let Some(assertion) = form.get("client_assertion") {
        return match signer(shared, origin, assertion, &form) {
            Ok(client) => Ok(Some(client)),
            Err(why) => {
                shared.complain(why);
                Err(refused("invalid_client"))
            }
        };
    }
    let Some(client) = basic_id(request).or_else(|| form.get("client_id").cloned()) else {
        return Ok(None);
    };
    match authenticate(shared, &client, request) {
        Some(refusal) => Err(refusal),
        None => Ok(Some(client)),
    }
}

/// Answers a request with an assertion.
pub(super) fn reply(shared: &Shared, origin: &str, request: &Request) -> Reply {
    let form = form(request);
    if request.target.contains('?') {
        shared.complain(format!("an assertion in a URL: {request:?}"));
    }
    let client = match client(shared, origin, request) {
        Ok(client) => client.unwrap_or_default(),
        Err(refusal) => return refusal,
    };
    // Before anything else is looked at, as for other grants.
    proofs::at_token_endpoint(shared, origin, request, |shared, request| {
        trusted(shared, &form, client.clone(), request)
    })
}

/// Answers a request whose proof is good, if it needs one.
fn trusted(
    shared: &Shared,
    form: &BTreeMap<String, String>,
    client: String,
    request: &Request,
) -> Reply {
    let assertion = form.get("assertion").cloned().unwrap_or_default();
    let trusted = shared.trust().as_ref().map(|trust| trust(&assertion));
    match trusted {
        None => return refused("unsupported_grant_type"),
        Some(false) => return refused("invalid_grant"),
        Some(true) => {}
    }
    check_resource(shared, &form.get("resource").cloned(), form.get("resource"));
    let grant = Grant {
        client,
        resource: form.get("resource").cloned(),
        scope: form.get("scope").cloned(),
        revoked: false,
        jkt: proofs::thumbprint(request),
    };
    shared.state.update(|state| {
        state.grants.push(grant);
        let access = state.mint("access");
        let number = state.grants.len() - 1;
        state.access.insert(access.clone(), number);
        let mut document = json!({ "access_token": access, "token_type": "Bearer" });
        if state.is_bound(number) {
            document["token_type"] = "DPoP".into();
        }
        if let Some(expires_in) = &shared.config.expires_in {
            document["expires_in"] = expires_in.clone();
        }
        Reply::json(200, document.to_string()).with("Cache-Control", "no-store")
    })
}
