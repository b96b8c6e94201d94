//! The JWT bearer grant (RFC 7523, section 2.1): whoever the test trusts may vouch for
//! a client.

use serde_json::json;

use super::endpoints::{authenticate, check_resource, form, refused};
use super::{FakeAuthorizationServer, Grant, Shared};
use crate::upstream::{Reply, Request};

/// Says whether an assertion is good.
pub(super) type Trust = Box<dyn Fn(&str) -> bool + Send + Sync>;

impl FakeAuthorizationServer {
    /// Takes the assertions that `trust` says are good; a client says who it is, or
    /// nobody asks.
    pub fn trust(&self, trust: impl Fn(&str) -> bool + Send + Sync + 'static) {
        *self.shared.trust() = Some(Box::new(trust));
    }
}

/// Answers a request with an assertion.
pub(super) fn reply(shared: &Shared, request: &Request) -> Reply {
    let form = form(request);
    if request.target.contains('?') {
        shared.complain(format!("an assertion in a URL: {request:?}"));
    }
    let is_client = request.header("Authorization").is_some() || form.contains_key("client_id");
    let client = match request.header("Authorization") {
        Some(_) => "service".to_owned(),
        None => form.get("client_id").cloned().unwrap_or_default(),
    };
    if is_client && let Some(refusal) = authenticate(shared, &client, request) {
        return refusal;
    }
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
    };
    shared.state.update(|state| {
        state.grants.push(grant);
        let access = state.mint("access");
        state.access.insert(access.clone(), state.grants.len() - 1);
        let mut document = json!({ "access_token": access, "token_type": "Bearer" });
        if let Some(expires_in) = &shared.config.expires_in {
            document["expires_in"] = expires_in.clone();
        }
        Reply::json(200, document.to_string()).with("Cache-Control", "no-store")
    })
}
