//! Protected resource metadata (RFC 9728): where they are, and whether they are
//! those of the server that we talk to.

use serde_json::{Map, Value};
use url::Url;

use super::{
    Asked, DiscoveryError, Known, Look, distinct, is_same_issuer, look, scopes, text, texts,
    well_known,
};
use crate::oauth::dpop::{Wanted, takes_ours};
use crate::oauth::http::OAuthHttp;
use crate::oauth::identity::{Identity, ResourceChoice};
use crate::oauth::scope::Scope;
use crate::oauth::text::printable;

/// What a resource says of itself.
pub(super) struct ResourceMetadata {
    /// Its name, byte for byte.
    pub(super) resource: String,
    /// The authorization servers that it names.
    issuers: Vec<String>,
    /// The scopes that it lists.
    pub(super) scopes: Option<Scope>,
    /// Whether it wants tokens to be bound to a key.
    pub(super) bound_tokens: Wanted,
}

impl ResourceMetadata {
    /// Returns the authorization server that knows the user's client (`chosen`) or was
    /// chosen before, if it is still named, else the first one.
    pub(super) fn issuer(&self, chosen: Option<&str>, asked: Option<&Asked>) -> Option<&str> {
        let wanted = chosen.or(asked.map(|asked| asked.issuer.as_str()));
        let is_it = |issuer: &&String| wanted.is_some_and(|it| is_same_issuer(it, issuer));
        let issuer = self.issuers.iter().find(is_it).or(self.issuers.first());
        issuer.map(String::as_str)
    }
}

/// What looking in all places came to.
pub(super) enum Search {
    Found(ResourceMetadata),
    Nothing,
    /// Nothing was found, and somebody did not say whether it is there.
    Trouble(DiscoveryError),
}

/// Looks where the challenge says, then under the server's path, then at the
/// root; one after the other, as specified.
pub(super) async fn find(
    http: &OAuthHttp,
    identity: &Identity,
    known: &Known,
) -> Result<Search, DiscoveryError> {
    let mut trouble = None;
    let is_there =
        |url: &Url| known.asked.is_some() || known.resource_metadata.as_ref() == Some(url);
    for url in places(identity.server.url(), known) {
        match look(http, &url).await? {
            Look::Found(document) if text(&document, "resource").is_some() => {
                return Ok(Search::Found(read(&document, identity, &url)?));
            }
            Look::Trouble(error) => trouble = trouble.or(Some(error)),
            // Where nobody has said that there is something, there may be nothing.
            Look::Broken(error) if is_there(&url) => trouble = trouble.or(Some(error)),
            Look::Found(_) | Look::Absent | Look::Broken(_) => {}
        }
    }
    Ok(trouble.map_or(Search::Nothing, Search::Trouble))
}

fn places(server: &Url, known: &Known) -> Vec<Url> {
    const NAME: &str = "oauth-protected-resource";
    let mut server = server.clone();
    // Both fail only for URLs without a host.
    let _no_host = server.set_username("");
    let _no_host = server.set_password(None);
    let mut root = server.clone();
    root.set_path("");
    root.set_query(None);
    let hint = known.resource_metadata.clone();
    let places = hint
        .into_iter()
        .chain([well_known(&server, NAME), well_known(&root, NAME)]);
    distinct(places)
}

fn read(
    document: &Map<String, Value>,
    identity: &Identity,
    from: &Url,
) -> Result<ResourceMetadata, DiscoveryError> {
    let resource = text(document, "resource").expect("the caller has seen it");
    let given = matches!(&identity.resource, ResourceChoice::Given(given) if given == resource);
    if !given && !covers(resource, identity.server.url()) {
        return Err(DiscoveryError::Refused(format!(
            "the metadata at {} are those of {}, not of {}: nothing is sent there",
            crate::server_url::shown(from),
            printable(resource),
            identity.server,
        )));
    }
    Ok(ResourceMetadata {
        resource: resource.to_owned(),
        issuers: texts(document, "authorization_servers")
            .map(str::to_owned)
            .collect(),
        scopes: scopes(document),
        bound_tokens: bound_tokens(document),
    })
}

/// RFC 9728, section 2.
fn bound_tokens(document: &Map<String, Value>) -> Wanted {
    let demands = document.get("dpop_bound_access_tokens_required");
    if demands.and_then(Value::as_bool) == Some(true) {
        return Wanted::Demanded;
    }
    match takes_ours(texts(document, "dpop_signing_alg_values_supported")) {
        true => Wanted::Taken,
        false => Wanted::Unsaid,
    }
}

/// Says whether metadata for `resource` are those of a server: it is the server
/// itself or a parent on the same origin (RFC 9728, section 3.3, and what the
/// official SDKs accept).
fn covers(resource: &str, server: &Url) -> bool {
    let Ok(resource) = Url::parse(resource) else {
        return false;
    };
    if resource.origin() != server.origin() || resource.fragment().is_some() {
        return false;
    }
    let parent = resource.path().trim_end_matches('/');
    let path = server.path();
    let inside = match path.strip_prefix(parent) {
        Some(rest) => rest.is_empty() || rest.starts_with('/'),
        None => false,
    };
    inside && (resource.query().is_none() || resource.query() == server.query())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_server_and_its_parents_are_its_resource() {
        let check = |resource: &str, expected: bool| {
            let server = Url::parse("https://h/a/mcp").expect("valid");
            assert_eq!(covers(resource, &server), expected, "{resource}");
        };
        for resource in [
            "https://h/a/mcp",
            "https://h/a/mcp/",
            "https://h/a",
            "https://h/a/",
            "https://h/",
            "https://h",
            "HTTPS://H:443/a",
        ] {
            check(resource, true);
        }
        for resource in [
            "https://h/a/mcp/more",
            "https://h/a/mc",
            "https://h/b",
            "https://other/a/mcp",
            "https://h:8443/a/mcp",
            "http://h/a/mcp",
            "https://h/a/mcp#x",
            "https://h/a/mcp?x=1",
            "h/a/mcp",
            "",
            "javascript:alert(1)",
        ] {
            check(resource, false);
        }
    }

    #[test]
    fn the_places_stand_in_the_specified_order() {
        let check = |server: &str, hint: Option<&str>, expected: &[&str]| {
            let known = Known {
                resource_metadata: hint.map(|hint| Url::parse(hint).expect("valid")),
                ..Known::default()
            };
            let places = places(&Url::parse(server).expect("valid"), &known);
            let places: Vec<_> = places.iter().map(Url::as_str).collect();
            assert_eq!(places, expected, "{server}");
        };
        const ROOT: &str = "https://h/.well-known/oauth-protected-resource";
        let at = |path: &str| format!("{ROOT}{path}");
        check("https://h/a/mcp", None, &[&at("/a/mcp"), ROOT]);
        check("https://u:p@h/mcp/?k=1", None, &[&at("/mcp?k=1"), ROOT]);
        check("https://h", None, &[ROOT]);
        check(
            "https://h/mcp",
            Some("https://x/meta"),
            &["https://x/meta", &at("/mcp"), ROOT],
        );
        check("https://h/mcp", Some(ROOT), &[ROOT, &at("/mcp")]);
    }
}
