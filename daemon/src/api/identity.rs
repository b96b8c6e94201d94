//! What the user says of signing in, checked: the opening frame's `auth` becomes
//! an [`Identity`]. No sentence repeats a value, which may be a secret.

use mcp_remote_proto::v1;
use serde_json::{Map, Value};
use url::{Host, Url};

use crate::http::NetworkOptions;
use crate::oauth::dpop;
use crate::oauth::identity::{ClientChoice, Identity, ResourceChoice};
use crate::oauth::scope::Scope;
use crate::secret::Secret;
use crate::server_url::ServerUrl;

/// Parameters that decide whose sign-in it is; nobody but us sets them.
const RESERVED: [&str; 7] = [
    "client_id",
    "redirect_uri",
    "response_type",
    "state",
    "code_challenge",
    "code_challenge_method",
    "dpop_jkt",
];

/// Checks what an opening frame says of signing in.
///
/// # Errors
/// A sentence about the flag that is wrong.
pub(super) fn identity(
    open: &v1::Open,
    server: ServerUrl,
    network: NetworkOptions,
) -> Result<Identity, String> {
    let auth = open.auth.clone().unwrap_or_default();
    let allow_http = open
        .options
        .as_ref()
        .is_some_and(|options| options.allow_http);
    let mut identity = Identity::new(server, network);
    identity.server_as_typed = open.server_url.trim().to_owned();
    identity.resource = resource(&auth)?;
    identity.dpop = match auth.dpop() {
        v1::Dpop::Unspecified | v1::Dpop::Auto => dpop::Choice::Asked,
        v1::Dpop::Always => dpop::Choice::Always,
        v1::Dpop::Never => dpop::Choice::Never,
    };
    identity.client = client(
        "--static-oauth-client-info",
        &auth.static_client_info,
        &auth.client_metadata_url,
    )?;
    let authorizes = |header: &v1::Header| header.name.eq_ignore_ascii_case("authorization");
    let authorizes = open.headers.iter().any(authorizes);
    identity.grant_type = super::grant_type::grant_type(&auth, &identity.client, authorizes)?;
    identity.authorize_params = params(auth.authorize_params)?;
    identity.client_metadata = object(
        "--static-oauth-client-metadata",
        &auth.static_client_metadata,
    )?;
    let scope = identity
        .client_metadata
        .get("scope")
        .and_then(Value::as_str);
    identity.scope = scope.and_then(Scope::parse);
    if !auth.callback_host.is_empty() {
        identity.callback.host = host(&auth.callback_host)?;
    }
    if !auth.callback_path.is_empty() {
        identity.callback.path = path(auth.callback_path)?;
    }
    if auth.callback_port != 0 {
        let port = u16::try_from(auth.callback_port);
        identity.callback.port = Some(port.map_err(|_| "the callback port is above 65535")?);
    }
    identity.success_url = success_url(&auth.success_url, allow_http)?;
    identity.use_id_token = auth.use_id_token;
    identity.allow_missing_pkce = auth.allow_missing_pkce;
    identity.by_code = auth.device_code;
    identity.raw_headers = auth.raw_headers;
    Ok(identity)
}

fn resource(auth: &v1::AuthOptions) -> Result<ResourceChoice, String> {
    match auth.resource.as_str() {
        _ if auth.disable_resource => Ok(ResourceChoice::Disabled),
        "" => Ok(ResourceChoice::Derived),
        given => match Url::parse(given) {
            // RFC 8707, section 2.
            Ok(url) if url.fragment().is_none() => Ok(ResourceChoice::Given(given.to_owned())),
            _ => Err("the value of --resource is not an absolute URI without fragment".into()),
        },
    }
}

fn params(given: Vec<v1::AuthorizeParam>) -> Result<Vec<(String, String)>, String> {
    let param = |param: v1::AuthorizeParam| match RESERVED.contains(&param.name.as_str()) {
        true => Err(format!(
            "--authorize-param cannot set {}: the sign-in itself does",
            param.name
        )),
        false => Ok((param.name, param.value)),
    };
    given.into_iter().map(param).collect()
}

/// Reads a client that was registered by hand (`flag`), or the URL of its document.
pub(super) fn client(flag: &str, info: &str, metadata_url: &str) -> Result<ClientChoice, String> {
    if info.is_empty() {
        return match metadata_url {
            "" => Ok(ClientChoice::Dynamic),
            url => Ok(ClientChoice::MetadataUrl(document_url(url)?)),
        };
    }
    let info = object(flag, info)?;
    let text = |name: &str| match info.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("{name} in the value of {flag} is not a string")),
    };
    let issuer = text("issuer")?.filter(|issuer| !issuer.is_empty());
    let is_url = |issuer: &String| Url::parse(issuer).is_ok_and(|url| is_plain(&url));
    if issuer.as_ref().is_some_and(|issuer| !is_url(issuer)) {
        return Err(format!(
            "issuer in the value of {flag} is not a URL without credentials"
        ));
    }
    let client_id = text("client_id")?.filter(|id| !id.is_empty());
    let uris = match info.get("redirect_uris") {
        Some(Value::Array(uris)) => uris.as_slice(),
        _ => &[],
    };
    Ok(ClientChoice::PreRegistered {
        client_id: client_id.ok_or_else(|| format!("the value of {flag} has no client_id"))?,
        client_secret: text("client_secret")?.map(Secret::new),
        auth_method: text("token_endpoint_auth_method")?,
        redirect_uris: uris
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        issuer,
    })
}

/// A client id that is a URL has a path and nothing secret (Client ID Metadata
/// Document, section 3).
fn document_url(text: &str) -> Result<Url, String> {
    let usable = |url: &Url| {
        url.scheme() == "https" && url.path() != "/" && is_plain(url) && url.fragment().is_none()
    };
    let url = Url::parse(text).ok().filter(usable);
    url.ok_or_else(|| "the value of --client-metadata-url is not an https URL with a path".into())
}

/// Says whether a URL has no credentials in it.
pub(super) fn is_plain(url: &Url) -> bool {
    url.username().is_empty() && url.password().is_none()
}

fn object(flag: &str, text: &str) -> Result<Map<String, Value>, String> {
    if text.is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(format!("the value of {flag} is JSON, but not an object")),
        Err(error) => Err(format!(
            "the value of {flag} is not JSON (line {}, column {})",
            error.line(),
            error.column()
        )),
    }
}

/// Some register a name of their own for this machine, so any name will do: we
/// listen on loopback only.
fn host(text: &str) -> Result<String, String> {
    let bare = text.trim_matches(['[', ']']);
    let host = match bare.parse::<std::net::Ipv6Addr>() {
        Ok(address) => Ok(Host::Ipv6(address)),
        Err(_) => Host::parse(text),
    };
    let host = host.map_err(|_| "the value of --host is not the name of a host")?;
    Ok(host.to_string())
}

fn path(path: String) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    match path.starts_with('/') && !path.starts_with("//") && path.bytes().all(plain) {
        true => Ok(path),
        false => Err("the value of --callback-path is not a path like /oauth/callback".into()),
    }
}

fn success_url(text: &str, allow_http: bool) -> Result<Option<Url>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let usable = ServerUrl::parse(text, allow_http).is_ok();
    let plain = |url: &Url| is_plain(url) && url.query().is_none() && url.fragment().is_none();
    match Url::parse(text).ok().filter(|url| usable && plain(url)) {
        Some(url) => Ok(Some(url)),
        None => Err(
            "the value of --auth-success-url is not an https URL without credentials, query and fragment"
                .into(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(auth: v1::AuthOptions) -> Result<Identity, String> {
        let server = ServerUrl::parse("https://h/mcp", false).expect("valid");
        let open = v1::Open {
            server_url: "https://h/mcp".into(),
            auth: Some(auth),
            ..v1::Open::default()
        };
        identity(&open, server, NetworkOptions::default())
    }

    #[test]
    fn nothing_given_is_the_usual() {
        let identity = made(v1::AuthOptions::default()).expect("usable");
        assert_eq!(identity.resource, ResourceChoice::Derived);
        assert_eq!(identity.client, ClientChoice::Dynamic);
        assert_eq!(identity.callback.path, "/oauth/callback");
        assert_eq!(identity.callback.port, None);
    }

    #[test]
    fn what_is_given_counts() {
        let identity = made(v1::AuthOptions {
            static_client_info:
                r#"{"client_id":"id","client_secret":"s","redirect_uris":["http://localhost:1/"]}"#
                    .into(),
            static_client_metadata: r#"{"client_name":"n","scope":"a b"}"#.into(),
            resource: "urn:api".into(),
            callback_port: 9696,
            callback_host: "::1".into(),
            callback_path: "/cb".into(),
            success_url: "http://127.0.0.1:1/done".into(),
            ..v1::AuthOptions::default()
        });
        let identity = identity.expect("usable");
        assert!(matches!(
            &identity.client,
            ClientChoice::PreRegistered { client_id, redirect_uris, .. }
                if client_id == "id" && redirect_uris.len() == 1
        ));
        assert_eq!(identity.resource, ResourceChoice::Given("urn:api".into()));
        assert_eq!(identity.scope, Scope::parse("a b"));
        assert_eq!(identity.callback.host, "[::1]");
        assert_eq!(identity.callback.port, Some(9696));
        assert!(identity.success_url.is_some());
    }

    #[test]
    fn the_issuer_of_a_client_is_a_url_without_secrets() {
        let made = |issuer: &str| {
            let info = serde_json::json!({ "client_id": "i", "issuer": issuer });
            made(v1::AuthOptions {
                static_client_info: info.to_string(),
                ..v1::AuthOptions::default()
            })
        };
        let identity = made("https://as.example/tenant").expect("usable");
        assert_eq!(identity.issuer(), Some("https://as.example/tenant"));
        assert_eq!(made("").expect("as if absent").issuer(), None);
        for issuer in ["s3cret", "https://u:s3cret@as.example", "//s3cret"] {
            let sentence = made(issuer).expect_err(issuer);
            assert!(
                sentence.contains("issuer in the value of --static"),
                "{sentence}"
            );
            assert!(!sentence.contains("s3cret"), "{sentence}");
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn what_is_wrong_is_refused_by_its_flag_and_not_repeated() {
        type Set = fn(&mut v1::AuthOptions, String);
        let cases: [(&str, &str, Set); 18] = [
            ("client-info", "s3cret", |a, v| a.static_client_info = v),
            ("client-info", r#"["s3cret"]"#, |a, v| {
                a.static_client_info = v
            }),
            ("client-info", r#"{"client_secret":"s3cret"}"#, |a, v| {
                a.static_client_info = v
            }),
            ("client-info", r#"{"client_id":"","x":"s3cret"}"#, |a, v| {
                a.static_client_info = v
            }),
            (
                "client_secret",
                r#"{"client_id":"i","client_secret":{"s3cret":1}}"#,
                |a, v| a.static_client_info = v,
            ),
            ("client-metadata", "{s3cret", |a, v| {
                a.static_client_metadata = v
            }),
            ("metadata-url", "http://h/s3cret", |a, v| {
                a.client_metadata_url = v
            }),
            ("metadata-url", "https://h/", |a, v| {
                a.client_metadata_url = v
            }),
            ("metadata-url", "https://u:s3cret@h/a", |a, v| {
                a.client_metadata_url = v
            }),
            ("--resource", "s3cret", |a, v| a.resource = v),
            ("--resource", "https://h/#s3cret", |a, v| a.resource = v),
            ("--callback-path", "s3cret", |a, v| a.callback_path = v),
            ("--callback-path", "//s3cret", |a, v| a.callback_path = v),
            ("--host", "a b s3cret", |a, v| a.callback_host = v),
            ("--host", "h/s3cret", |a, v| a.callback_host = v),
            ("success-url", "http://example.com/s3cret", |a, v| {
                a.success_url = v
            }),
            ("success-url", "https://h/?s3cret", |a, v| a.success_url = v),
            ("success-url", "javascript:s3cret", |a, v| a.success_url = v),
        ];
        for (flag, value, set) in cases {
            let mut auth = v1::AuthOptions::default();
            set(&mut auth, value.to_owned());
            let sentence = made(auth).expect_err(value);
            assert!(sentence.contains(flag), "{sentence}");
            assert!(!sentence.contains("s3cret"), "{sentence}");
        }
        let sentence = made(v1::AuthOptions {
            authorize_params: vec![v1::AuthorizeParam {
                name: "state".into(),
                value: "s3cret".into(),
            }],
            ..v1::AuthOptions::default()
        });
        assert!(
            sentence
                .expect_err("reserved")
                .contains("--authorize-param")
        );
        let port = made(v1::AuthOptions {
            callback_port: 70_000,
            ..v1::AuthOptions::default()
        });
        assert!(port.is_err());
    }
}
