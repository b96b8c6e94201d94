//! Authorization server metadata (RFC 8414, OpenID Connect Discovery) and the
//! fallback of revision 2025-03-26.

use serde_json::{Map, Value};
use url::Url;

use super::{
    AuthorizationServer, DiscoveryError, Look, distinct, look_for_first, scopes, text, texts,
    well_known,
};
use crate::oauth::authorize_url;
use crate::oauth::dpop;
use crate::oauth::http::{OAuthHttp, OAuthHttpError};
use crate::oauth::identity::Identity;
use crate::oauth::text::printable;

impl AuthorizationServer {
    /// Returns the one of which the user names nothing but the token endpoint; that
    /// is also what it is called.
    pub(crate) fn at_token_endpoint(endpoint: &Url) -> Self {
        Self {
            authorization_endpoint: Err(DiscoveryError::Refused(
                "nobody signs in at a token endpoint".into(),
            )),
            token_endpoint: endpoint.clone(),
            registration_endpoint: None,
            is_assumed: false,
            ..default_endpoints(endpoint.as_str().to_owned(), endpoint)
        }
    }
}

/// Returns the metadata of an issuer that somebody has named, for this identity.
pub(super) async fn named(
    http: &OAuthHttp,
    issuer: &str,
    identity: &Identity,
) -> Result<AuthorizationServer, DiscoveryError> {
    of_issuer(http, issuer, identity.allow_missing_pkce).await
}

/// Returns the metadata of an issuer that somebody has named. `allow_missing_pkce`: its
/// page is trusted to have PKCE.
pub(super) async fn of_issuer(
    http: &OAuthHttp,
    issuer: &str,
    allow_missing_pkce: bool,
) -> Result<AuthorizationServer, DiscoveryError> {
    let refused = |why: &str| {
        let issuer = printable(issuer);
        DiscoveryError::Refused(format!("the authorization server {issuer} {why}"))
    };
    let url = Url::parse(issuer).map_err(|_| refused("is not named by a URL"))?;
    http.check(&url)?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refused("is named by a URL with a query or fragment"));
    }
    match look_for_first(http, &places(&url), is_metadata).await? {
        Look::Found(document) => {
            let found = text(&document, "issuer").unwrap_or_default();
            if !is_same_issuer(found, issuer) {
                let found = printable(found);
                return Err(refused(&format!(
                    "publishes the metadata of another one, {found}: nothing is sent there"
                )));
            }
            read(http, &document, allow_missing_pkce)
        }
        Look::Absent => Err(refused(
            "publishes no metadata, so nobody can sign in there",
        )),
        Look::Trouble(error) | Look::Broken(error) => Err(error),
    }
}

fn origin_of(identity: &Identity) -> String {
    identity.server.url().origin().ascii_serialization()
}

/// Says whether an issuer may have no metadata, since nothing but the MCP server's
/// origin has ever named it.
pub(super) fn is_assumed(identity: &Identity, issuer: &str, resource: Option<&str>) -> bool {
    resource.is_none() && is_same_issuer(issuer, &origin_of(identity))
}

/// Returns what revision 2025-03-26 finds (Authorization > Server Metadata
/// Discovery, Fallbacks): the metadata at the server's origin, or else its default
/// endpoints.
pub(super) async fn of_origin(
    http: &OAuthHttp,
    identity: &Identity,
) -> Result<AuthorizationServer, DiscoveryError> {
    let origin = origin_of(identity);
    let url = Url::parse(&origin).expect("the origin of an http URL is one");
    http.check(&url)?;
    match look_for_first(http, &places(&url), is_metadata).await? {
        Look::Found(document) => {
            let issuer = text(&document, "issuer").unwrap_or_default();
            if is_same_issuer(issuer, &origin) {
                return read(http, &document, identity.allow_missing_pkce);
            }
            // An origin cannot speak for another issuer, but it may name it.
            named(http, issuer, identity).await
        }
        Look::Absent => Ok(default_endpoints(origin, &url)),
        Look::Trouble(error) | Look::Broken(error) => Err(error),
    }
}

/// Where an issuer's metadata may be, in the specified order.
fn places(issuer: &Url) -> Vec<Url> {
    const OPENID: &str = "openid-configuration";
    let mut appended = issuer.clone();
    let path = issuer.path().trim_end_matches('/');
    appended.set_path(&format!("{path}/.well-known/{OPENID}"));
    distinct([
        well_known(issuer, "oauth-authorization-server"),
        well_known(issuer, OPENID),
        appended,
    ])
}

/// Web sites answer anything, also with JSON.
fn is_metadata(document: &Map<String, Value>) -> bool {
    text(document, "issuer").is_some()
}

/// Says whether two names are the same. Only the slash that stands for no path
/// at all may be missing in one (RFC 3986, section 6.2.3).
pub(crate) fn is_same_issuer(one: &str, other: &str) -> bool {
    let bare = |name: &str| -> Option<String> {
        let bare = name.strip_suffix('/')?;
        let (_, authority) = bare.split_once("://")?;
        (!authority.contains('/')).then(|| bare.to_owned())
    };
    let reduce = |name: &str| bare(name).unwrap_or_else(|| name.to_owned());
    reduce(one) == reduce(other)
}

fn read(
    http: &OAuthHttp,
    document: &Map<String, Value>,
    allow_missing_pkce: bool,
) -> Result<AuthorizationServer, DiscoveryError> {
    let issuer = text(document, "issuer").unwrap_or_default().to_owned();
    let endpoint = |name: &str| endpoint(http, document, &issuer, name);
    let missing = |name: &str| refused(&issuer, name, "is missing in its metadata");
    let token_endpoint = endpoint("token_endpoint")?;
    let token_endpoint = token_endpoint.ok_or_else(|| missing("token_endpoint"))?;
    let page = endpoint("authorization_endpoint");
    let page = page.and_then(|page| page.ok_or_else(|| missing("authorization_endpoint")));
    let authorization_endpoint =
        page.and_then(|page| checked(page, document, &issuer, allow_missing_pkce));
    let registration_endpoint = endpoint("registration_endpoint")?;
    const PROOFS: &str = "dpop_signing_alg_values_supported";
    let flag = |name: &str| document.get(name).and_then(Value::as_bool) == Some(true);
    let list = |name: &str| texts(document, name).map(str::to_owned).collect();
    Ok(AuthorizationServer {
        authorization_endpoint,
        token_endpoint,
        registration_endpoint,
        // Nobody is kept from signing in by an endpoint that is not needed for it.
        revocation_endpoint: endpoint("revocation_endpoint").unwrap_or_default(),
        device_authorization_endpoint: endpoint("device_authorization_endpoint")
            .unwrap_or_default(),
        scopes_supported: scopes(document),
        token_endpoint_auth_methods: list("token_endpoint_auth_methods_supported"),
        grant_types: list("grant_types_supported"),
        client_id_metadata_document_supported: flag("client_id_metadata_document_supported"),
        iss_parameter_supported: flag("authorization_response_iss_parameter_supported"),
        takes_proofs: document
            .contains_key(PROOFS)
            .then(|| dpop::takes_ours(texts(document, PROOFS))),
        takes_id_jags: takes_id_jags(document),
        is_assumed: false,
        issuer,
    })
}

/// draft-ietf-oauth-identity-assertion-authz-grant; MCP, Enterprise-Managed Authorization.
fn takes_id_jags(document: &Map<String, Value>) -> Option<bool> {
    const PROFILES: &str = "authorization_grant_profiles_supported";
    const ID_JAG: &str = "urn:ietf:params:oauth:grant-profile:id-jag";
    document.get(PROFILES)?.as_array()?;
    Some(texts(document, PROFILES).any(|profile| profile == ID_JAG))
}

/// Returns the page if somebody may be sent there to sign in.
fn checked(
    page: Url,
    document: &Map<String, Value>,
    issuer: &str,
    allow_missing_pkce: bool,
) -> Result<Url, DiscoveryError> {
    const METHODS: &str = "code_challenge_methods_supported";
    authorize_url::rebuild(&page)
        .map_err(|error| refused(issuer, "authorization_endpoint", &error.to_string()))?;
    let announces = match document.get(METHODS) {
        Some(Value::Array(_)) => texts(document, METHODS).any(|method| method == "S256"),
        _ => allow_missing_pkce,
    };
    match announces {
        true => Ok(page),
        false => Err(DiscoveryError::NoPkce(printable(issuer))),
    }
}

fn endpoint(
    http: &OAuthHttp,
    document: &Map<String, Value>,
    issuer: &str,
    name: &str,
) -> Result<Option<Url>, DiscoveryError> {
    let value = match document.get(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(value) => value,
    };
    let url = value.as_str().and_then(|text| Url::parse(text).ok());
    let url = url.ok_or_else(|| refused(issuer, name, "is not a URL"))?;
    if url.fragment().is_some() {
        return Err(refused(issuer, name, "has a fragment"));
    }
    http.check(&url).map_err(|error| match error {
        OAuthHttpError::Refused(why) => refused(issuer, name, &format!("cannot be used: {why}")),
        other => other.into(),
    })?;
    Ok(Some(url))
}

fn refused(issuer: &str, name: &str, why: &str) -> DiscoveryError {
    let issuer = printable(issuer);
    DiscoveryError::Refused(format!(
        "the {name} of the authorization server {issuer} {why}"
    ))
}

/// The endpoints of a server without metadata; PKCE is required of it by the
/// revision, and it has no way to announce it.
fn default_endpoints(issuer: String, origin: &Url) -> AuthorizationServer {
    let at = |path: &str| {
        let mut url = origin.clone();
        url.set_path(path);
        url
    };
    AuthorizationServer {
        issuer,
        authorization_endpoint: Ok(at("/authorize")),
        token_endpoint: at("/token"),
        registration_endpoint: Some(at("/register")),
        revocation_endpoint: None,
        device_authorization_endpoint: None,
        scopes_supported: None,
        token_endpoint_auth_methods: Vec::new(),
        grant_types: Vec::new(),
        client_id_metadata_document_supported: false,
        iss_parameter_supported: false,
        takes_proofs: None,
        takes_id_jags: None,
        is_assumed: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_places_stand_in_the_specified_order() {
        let check = |issuer: &str, expected: &[&str]| {
            let places = places(&Url::parse(issuer).expect("valid"));
            let places: Vec<_> = places.iter().map(Url::as_str).collect();
            assert_eq!(places, expected, "{issuer}");
        };
        for issuer in ["https://as", "https://as/"] {
            check(
                issuer,
                &[
                    "https://as/.well-known/oauth-authorization-server",
                    "https://as/.well-known/openid-configuration",
                ],
            );
        }
        for issuer in ["https://as/t/1", "https://as/t/1/"] {
            check(
                issuer,
                &[
                    "https://as/.well-known/oauth-authorization-server/t/1",
                    "https://as/.well-known/openid-configuration/t/1",
                    "https://as/t/1/.well-known/openid-configuration",
                ],
            );
        }
    }

    #[test]
    fn issuers_are_compared_byte_for_byte() {
        let check = |one: &str, other: &str, expected: bool| {
            assert_eq!(is_same_issuer(one, other), expected, "{one} {other}");
            assert_eq!(is_same_issuer(other, one), expected, "{other} {one}");
        };
        check("https://as", "https://as", true);
        check("https://as/", "https://as", true);
        check("https://as/t", "https://as/t", true);
        check("https://as/t/", "https://as/t", false);
        check("https://AS", "https://as", false);
        check("https://as:443", "https://as", false);
        check("https://as//", "https://as", false);
        check("https://as.evil", "https://as", false);
        check("http://as", "https://as", false);
        check("", "https://as", false);
        check("", "/", false);
    }
}
