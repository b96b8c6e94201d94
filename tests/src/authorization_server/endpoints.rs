//! The endpoints: authorize, token, register, revoke.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use url::form_urlencoded;

use super::proofs::{self, at_token_endpoint};
use super::{
    Client, Code, Grant, ResourceMetadata, Reuse, Shared, State, assertions, device, service,
};
use crate::upstream::{Reply, Request};

/// Names a request.
pub(super) fn label(request: &Request) -> String {
    let path = request.target.split('?').next().unwrap_or_default();
    match (request.method.as_str(), path) {
        ("GET", "/authorize") => "authorize".to_owned(),
        ("POST", "/register") => "register".to_owned(),
        ("POST", "/revoke") => "revoke".to_owned(),
        ("POST", "/device") => "device".to_owned(),
        ("POST", "/token") => match form(request).get("grant_type").map(String::as_str) {
            Some("authorization_code") => "token code".to_owned(),
            Some("refresh_token") => "token refresh".to_owned(),
            Some("client_credentials") => "token client".to_owned(),
            Some(device::GRANT_TYPE) => "token device".to_owned(),
            Some("urn:ietf:params:oauth:grant-type:jwt-bearer") => "token assertion".to_owned(),
            Some("urn:ietf:params:oauth:grant-type:token-exchange") => "token exchange".to_owned(),
            _ => "token ?".to_owned(),
        },
        ("GET", path) => path.to_owned(),
        (method, path) => format!("{method} {path}"),
    }
}

/// Answers at the endpoints of the authorization server at `origin`.
pub(super) fn reply(shared: &Shared, origin: &str, request: &Request) -> Option<Reply> {
    if request.header("Cookie").is_some() {
        shared.complain(format!("a cookie came along: {request:?}"));
    }
    match label(request).as_str() {
        "authorize" => Some(authorize(shared, origin, request)),
        "register" if shared.config.registration => Some(register(shared, request)),
        "revoke" => Some(revoke(shared, request)),
        "token client" => Some(service::client_credentials(shared, origin, request)),
        "token code" => Some(at_token_endpoint(shared, origin, request, exchange)),
        "token refresh" => Some(at_token_endpoint(shared, origin, request, refresh)),
        "device" => device::begin(shared, origin, request),
        "token device" => Some(at_token_endpoint(shared, origin, request, device::poll)),
        "token assertion" => Some(assertions::reply(shared, origin, request)),
        _ => None,
    }
}

fn pairs(text: &str) -> BTreeMap<String, String> {
    form_urlencoded::parse(text.as_bytes())
        .into_owned()
        .collect()
}

pub(super) fn form(request: &Request) -> BTreeMap<String, String> {
    pairs(&request.text())
}

/// Gives consent at once, as a person who is signed in would.
fn authorize(shared: &Shared, origin: &str, request: &Request) -> Reply {
    let query = request
        .target
        .split_once('?')
        .map_or("", |(_, query)| query);
    let asked = pairs(query);
    let get = |name: &str| asked.get(name).cloned().unwrap_or_default();
    let (client, redirect_uri, state) = (get("client_id"), get("redirect_uri"), get("state"));
    let known = shared
        .state
        .look(|state| state.clients.get(&client).cloned());
    let Some(known) = known else {
        return Reply::body(400, "text/plain", "unknown client");
    };
    if !known.redirect_uris.contains(&redirect_uri) {
        shared.complain(format!("{redirect_uri} is not registered: {known:?}"));
        return Reply::body(400, "text/plain", "unknown redirect URI");
    }
    for (name, expected) in [("response_type", "code"), ("code_challenge_method", "S256")] {
        if get(name) != expected {
            shared.complain(format!("{name} is {:?}", get(name)));
        }
    }
    if state.len() < 16 || get("code_challenge").len() < 43 {
        shared.complain(format!("state or code_challenge is too short: {query}"));
    }
    let code = Code {
        client,
        redirect_uri: redirect_uri.clone(),
        challenge: get("code_challenge"),
        resource: asked.get("resource").cloned(),
        scope: asked.get("scope").cloned(),
        jkt: asked.get("dpop_jkt").cloned(),
    };
    let minted = shared.state.update(|state| {
        let minted = state.mint("code");
        state.codes.insert(minted.clone(), code);
        minted
    });
    let mut answer = form_urlencoded::Serializer::new(String::new());
    answer
        .append_pair("code", &minted)
        .append_pair("state", &state);
    if shared.config.iss {
        answer.append_pair("iss", &shared.issuer(origin));
    }
    let location = format!("{redirect_uri}?{}", answer.finish());
    Reply::status(302).with("Location", &location)
}

fn register(shared: &Shared, request: &Request) -> Reply {
    let mut document: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let uris = document["redirect_uris"].as_array().cloned();
    let uris: Vec<String> = uris
        .unwrap_or_default()
        .iter()
        .filter_map(|uri| uri.as_str().map(str::to_owned))
        .collect();
    if uris.is_empty() || document["application_type"] != "native" {
        shared.complain(format!(
            "a registration that is not a native client's: {document}"
        ));
    }
    let secret = match document["token_endpoint_auth_method"].as_str() {
        Some("none") => None,
        _ => Some(shared.state.update(|state| state.mint("client"))),
    };
    let grants = document["grant_types"].as_array().into_iter().flatten();
    let device = { grants }.any(|grant| grant == device::GRANT_TYPE);
    let id = shared.state.update(|state| {
        let id = format!("client-{}", state.clients.len() + 1);
        let client = Client {
            redirect_uris: uris,
            secret: secret.clone(),
            device,
        };
        state.clients.insert(id.clone(), client);
        id
    });
    document["client_id"] = id.into();
    if let Some(secret) = secret {
        document["client_secret"] = secret.into();
        document["client_secret_expires_at"] = 0.into();
    }
    Reply::json(201, document.to_string())
}

fn revoke(shared: &Shared, request: &Request) -> Reply {
    let token = form(request).remove("token").unwrap_or_default();
    shared.state.update(|state| {
        let grant = state.refresh.get(&token).or(state.access.get(&token));
        if let Some(grant) = grant.copied() {
            state.grants[grant].revoked = true;
        }
    });
    Reply::status(200)
}

pub(super) fn refused(error: &str) -> Reply {
    Reply::json(400, json!({ "error": error }).to_string())
}

fn exchange(shared: &Shared, request: &Request) -> Reply {
    let form = form(request);
    let get = |name: &str| form.get(name).cloned().unwrap_or_default();
    let Some(code) = shared
        .state
        .update(|state| state.codes.remove(&get("code")))
    else {
        return refused("invalid_grant");
    };
    if let Some(refusal) = authenticate(shared, &code.client, request) {
        return refusal;
    }
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(get("code_verifier")));
    if challenge != code.challenge || get("redirect_uri") != code.redirect_uri {
        shared.complain(format!(
            "a code with another verifier or redirect URI: {code:?}"
        ));
        return refused("invalid_grant");
    }
    check_resource(shared, &code.resource, form.get("resource"));
    let jkt = proofs::thumbprint(request);
    if jkt != code.jkt {
        shared.complain(format!("a code with another key: {code:?}"));
        return refused("invalid_grant");
    }
    shared.state.update(|state| {
        let grant = Grant {
            client: code.client,
            resource: code.resource,
            scope: code.scope.or_else(|| shared.config.scopes.clone()),
            revoked: false,
            jkt,
        };
        state.grants.push(grant);
        tokens(shared, state, state.grants.len() - 1, None)
    })
}

fn refresh(shared: &Shared, request: &Request) -> Reply {
    let form = form(request);
    // Who asks comes before what is asked for (RFC 6749, section 3.2.1).
    let asking = form.get("client_id").cloned();
    if let Some(asking) = &asking
        && let Some(refusal) = authenticate(shared, asking, request)
    {
        return refusal;
    }
    let token = form.get("refresh_token").cloned().unwrap_or_default();
    let grant = shared.state.update(|state| {
        let reused = state.used.get(&token).copied();
        let grace = reused.filter(|_| shared.config.reuse == Reuse::Grace);
        if let (Some(grant), None) = (reused, grace) {
            // Somebody may have stolen it: the whole family is withdrawn.
            state.grants[grant].revoked = true;
            if shared.config.reuse == Reuse::Complaint {
                let complaint = "a refresh token came a second time";
                state.complaints.push(complaint.to_owned());
            }
        }
        let grant = state.refresh.get(&token).copied().or(grace)?;
        let granted = state.grants[grant].clone();
        (!granted.revoked).then_some((grant, granted))
    });
    let Some((number, grant)) = grant else {
        return refused("invalid_grant");
    };
    // An assertion is good once.
    if asking.as_ref() != Some(&grant.client)
        && let Some(refusal) = authenticate(shared, &grant.client, request)
    {
        return refusal;
    }
    check_resource(shared, &grant.resource, form.get("resource"));
    let jkt = proofs::thumbprint(request);
    let has_secret = |id: &str| {
        shared.state.look(|state| {
            let client = state.clients.get(id);
            client.is_some_and(|client| client.secret.is_some())
        })
    };
    // What is not bound may be from now on; only with a secret it need not stay so.
    let may_change = grant.jkt.is_none() || (jkt.is_none() && has_secret(&grant.client));
    if jkt != grant.jkt && !may_change {
        shared.complain("a refresh token with another key".to_owned());
        return refused("invalid_grant");
    }
    shared.state.update(|state| {
        state.grants[number].jkt = jkt;
        if shared.config.rotation {
            state.refresh.remove(&token);
            state.used.insert(token.clone(), number);
        }
        let kept = (!shared.config.rotation).then_some(token);
        tokens(shared, state, number, kept)
    })
}

/// Gives a pair of tokens for a grant; one that is not rotated is not repeated.
pub(super) fn tokens(
    shared: &Shared,
    state: &mut State,
    grant: usize,
    kept: Option<String>,
) -> Reply {
    let access = state.mint("access");
    state.access.insert(access.clone(), grant);
    let mut document = json!({ "access_token": access, "token_type": "Bearer" });
    if state.is_bound(grant) {
        document["token_type"] = "DPoP".into();
    }
    if let Some(expires_in) = &shared.config.expires_in {
        document["expires_in"] = expires_in.clone();
    }
    if let Some(scope) = &state.grants[grant].scope {
        document["scope"] = scope.as_str().into();
    }
    if shared.config.refresh_tokens && kept.is_none() {
        let refresh = state.mint("refresh");
        state.refresh.insert(refresh.clone(), grant);
        document["refresh_token"] = refresh.into();
    }
    if shared.config.id_tokens {
        let id_token = format!("e30.{}.c2ln", state.mint("id"));
        state.id_tokens.insert(id_token.clone());
        document["id_token"] = id_token.into();
    }
    Reply::json(200, document.to_string()).with("Cache-Control", "no-store")
}

/// Says how a client that is not who it says is refused.
pub(super) fn authenticate(shared: &Shared, id: &str, request: &Request) -> Option<Reply> {
    let known = shared.state.look(|state| state.clients.get(id).cloned());
    let Some(known) = known else {
        return Some(Reply::json(
            401,
            json!({ "error": "invalid_client" }).to_string(),
        ));
    };
    let form = form(request);
    let has_key = shared.state.look(|state| state.keys.contains_key(id));
    let assertion = form.get("client_assertion");
    if has_key || assertion.is_some() {
        let assertion = assertion.map(String::as_str).unwrap_or_default();
        let shown = service::signer(shared, &shared.origin, assertion, &form);
        if shown.as_deref() == Ok(id) && !form.contains_key("client_secret") {
            return None;
        }
        shared.complain(format!("{id} authenticated as {shown:?}"));
        let document = json!({ "error": "invalid_client" });
        return Some(Reply::json(401, document.to_string()));
    }
    let basic = request.header("Authorization").and_then(|value| {
        let decoded = STANDARD.decode(value.strip_prefix("Basic ")?).ok()?;
        let text = String::from_utf8(decoded).ok()?;
        let (id, secret) = text.split_once(':')?;
        // Both parts are encoded (RFC 6749, section 2.3.1).
        let decoded = |part: &str| pairs(&format!("part={part}")).remove("part");
        Some((decoded(id)?, decoded(secret)?))
    });
    let sent = match basic {
        Some((id, secret)) => (Some(id), Some(secret)),
        None => (
            form.get("client_id").cloned(),
            form.get("client_secret").cloned(),
        ),
    };
    if sent != (Some(id.to_owned()), known.secret) {
        shared.complain(format!("{id} authenticated as {:?}", sent.0));
        return Some(Reply::json(
            401,
            json!({ "error": "invalid_client" }).to_string(),
        ));
    }
    None
}

pub(super) fn check_resource(shared: &Shared, asked: &Option<String>, sent: Option<&String>) {
    if asked.as_ref() != sent {
        shared.complain(format!("resource is {sent:?} after {asked:?}"));
    }
    let published = shared.config.resource_metadata != ResourceMetadata::None;
    if published != sent.is_some() && shared.config.resource_patch.is_empty() {
        shared.complain(format!("resource is {sent:?}"));
    }
}
