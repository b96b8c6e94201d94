//! The guard before a fake MCP server: no token, no answer.

use super::{ResourceMetadata, Shared, metadata, proofs};
use crate::upstream::{Reply, Request};

/// Answers what is not for the MCP server itself, which is at `origin`.
pub(super) fn reply(shared: &Shared, origin: &str, request: &Request) -> Option<Reply> {
    if let Some(reply) = metadata::resource_reply(shared, origin, request) {
        return Some(reply);
    }
    let path = request.target.split('?').next().unwrap_or_default();
    if path != "/mcp" && path != "/messages" {
        let here = shared.config.resource_metadata == ResourceMetadata::None;
        let answer = here.then(|| shared.answer(origin, request)).flatten();
        return Some(answer.unwrap_or_else(|| Reply::status(404)));
    }
    expire(shared, request);
    let challenge = match shared.config.resource_metadata {
        ResourceMetadata::Hint => {
            format!(r#", resource_metadata="{origin}/metadata-of-this-server""#)
        }
        _ => String::new(),
    };
    let refused = |about: &str| Some(refused(shared, &format!("{about}{challenge}")));
    let Some(authorization) = request.header("Authorization") else {
        return refused(r#"realm="fake""#);
    };
    let (scheme, token) = authorization.split_once(' ').unwrap_or_default();
    let granted = shared.state.look(|state| {
        let number = *state.access.get(token)?;
        let grant = &state.grants[number];
        (!grant.revoked).then(|| (grant.clone(), state.is_bound(number)))
    });
    let Some((grant, is_bound)) = granted else {
        return refused(r#"error="invalid_token""#);
    };
    if is_bound != (scheme == "DPoP") || is_bound != request.header("DPoP").is_some() {
        shared.complain(format!("a token of another type: {request:?}"));
    }
    if let Some(jkt) = grant.jkt.as_ref().filter(|_| is_bound) {
        if let Some(reply) = proofs::at_guard(shared, origin, request, token, jkt) {
            return Some(reply);
        }
    } else if shared.config.dpop.as_ref().is_some_and(|it| !it.bearer) {
        return refused(r#"error="invalid_token""#);
    }
    if shared.state.look(|state| state.holds_uses) {
        return Some(Reply::Hang);
    }
    let expected = metadata::resource(origin);
    if grant
        .resource
        .as_deref()
        .is_some_and(|resource| resource != expected)
    {
        shared.complain(format!(
            "a token for {:?} came to {expected}",
            grant.resource
        ));
    }
    let scope = missing_scope(shared, &grant.scope.unwrap_or_default())?;
    let challenge = format!(r#"Bearer error="insufficient_scope", scope="{scope}"{challenge}"#);
    Some(Reply::status(403).with("WWW-Authenticate", &challenge))
}

/// Asks for a token, and says `about` it what a client may use.
fn refused(shared: &Shared, about: &str) -> Reply {
    let schemes = match &shared.config.dpop {
        None => format!("Bearer {about}"),
        Some(dpop) if dpop.bearer => format!(r#"Bearer {about}, DPoP algs="ES256 PS256""#),
        Some(_) => format!(r#"DPoP {about}, algs="ES256 PS256""#),
    };
    Reply::status(401).with("WWW-Authenticate", &schemes)
}

/// Takes every access token back, when the request is the one that a test named.
fn expire(shared: &Shared, request: &Request) {
    let label = crate::upstream::label(request);
    shared.state.update(|state| {
        let Some((of, left)) = &mut state.expire_before else {
            return;
        };
        *left -= usize::from(*of == label);
        if *left == 0 {
            state.expire_before = None;
            state.access.clear();
        }
    });
}

/// Returns the first scope that is wanted and not among the `granted`.
fn missing_scope(shared: &Shared, granted: &str) -> Option<String> {
    shared.state.look(|state| {
        let mut wanted = state.wanted.iter();
        let missing = wanted.find(|wanted| !granted.split(' ').any(|scope| scope == *wanted));
        missing.cloned()
    })
}
