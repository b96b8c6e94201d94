//! The documents that say what there is: RFC 8414, OpenID Connect Discovery, and
//! RFC 9728 for the guarded server.

use serde_json::{Map, Value, json};

use super::{Metadata, ResourceMetadata, Shared, device};
use crate::upstream::{Reply, Request};

/// Answers where the metadata of the authorization server at `origin` stand.
pub(super) fn reply(shared: &Shared, origin: &str, request: &Request) -> Option<Reply> {
    let path = &shared.config.issuer_path;
    let place = match shared.config.metadata {
        Metadata::OAuth => format!("/.well-known/oauth-authorization-server{path}"),
        Metadata::OpenIdInserted => format!("/.well-known/openid-configuration{path}"),
        Metadata::OpenIdAppended => format!("{path}/.well-known/openid-configuration"),
        Metadata::None => return None,
    };
    if request.method != "GET" || request.target != place {
        return None;
    }
    let mut document = json!({
        "issuer": shared.issuer(origin),
        "authorization_endpoint": format!("{origin}/authorize"),
        "token_endpoint": format!("{origin}/token"),
        "revocation_endpoint": format!("{origin}/revoke"),
        "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
        "authorization_response_iss_parameter_supported": shared.config.iss,
    });
    if let Some(config) = &shared.config.device {
        document["device_authorization_endpoint"] = format!("{origin}/device").into();
        if config.listed {
            let grants = document["grant_types_supported"].as_array_mut();
            grants.expect("a list").push(device::GRANT_TYPE.into());
        }
    }
    if shared.config.dpop.is_some() {
        document["dpop_signing_alg_values_supported"] = json!(["ES256"]);
    }
    if shared.config.registration {
        document["registration_endpoint"] = format!("{origin}/register").into();
    }
    Some(patched(document, &shared.config.patch))
}

/// Answers where the metadata of the guarded server at `origin` stand.
pub(super) fn resource_reply(shared: &Shared, origin: &str, request: &Request) -> Option<Reply> {
    let place = match shared.config.resource_metadata {
        ResourceMetadata::Hint => "/metadata-of-this-server",
        ResourceMetadata::Path => "/.well-known/oauth-protected-resource/mcp",
        ResourceMetadata::Root => "/.well-known/oauth-protected-resource",
        ResourceMetadata::None => return None,
    };
    if request.method != "GET" || request.target != place {
        return None;
    }
    let mut document = json!({
        "resource": resource(origin),
        "authorization_servers": [shared.issuer(&shared.origin)],
        "bearer_methods_supported": ["header"],
    });
    if let Some(dpop) = &shared.config.dpop {
        document["dpop_signing_alg_values_supported"] = json!(["ES256"]);
        document["dpop_bound_access_tokens_required"] = (!dpop.bearer).into();
    }
    if let Some(scopes) = &shared.config.scopes {
        document["scopes_supported"] = scopes.split(' ').collect();
    }
    Some(patched(document, &shared.config.resource_patch))
}

/// The identifier of the guarded server.
pub(super) fn resource(origin: &str) -> String {
    format!("{origin}/mcp")
}

fn patched(mut document: Value, patch: &Map<String, Value>) -> Reply {
    for (name, value) in patch {
        match value {
            Value::Null => {
                document.as_object_mut().map(|object| object.remove(name));
            }
            value => document[name] = value.clone(),
        }
    }
    Reply::json(200, document.to_string())
}
