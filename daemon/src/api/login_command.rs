//! The command that signs in for whoever sent an opening frame: what they typed, and
//! nothing that the configuration says besides, which counts for that command too.
//!
//! Invariant: no secret. What may be one is written as `...`; all else can be pasted.

use std::borrow::Cow;
use std::path::Path;

use mcp_remote_proto::v1;
use url::Url;

use crate::config::Config;
use crate::server_url::ServerUrl;
use crate::shell::quoted;

/// What stands for a value that may be secret.
const HIDDEN: &str = "...";

/// Returns the command for a frame to which the configuration has added nothing yet.
pub(super) fn of(open: &v1::Open, config: &Config) -> String {
    let auth = open.auth.clone().unwrap_or_default();
    let options = open.options.clone().unwrap_or_default();
    let mut words = Vec::from_iter(folder(open, config));
    words.push("mcp-remote login".into());
    words.push(server(open));
    if auth.callback_port != 0 {
        words.push(auth.callback_port.to_string());
    }
    let hidden = |value: &str| (!value.is_empty()).then(|| HIDDEN.into());
    let many = |is_any: bool| is_any.then(|| HIDDEN.into());
    let flags: [(&str, Option<Cow<'_, str>>); 19] = [
        ("--ca-file", plain(&options.ca_file)),
        ("--header", many(!auth.raw_headers.is_empty())),
        (
            "--static-oauth-client-info",
            hidden(&auth.static_client_info),
        ),
        (
            "--static-oauth-client-metadata",
            hidden(&auth.static_client_metadata),
        ),
        ("--client-metadata-url", address(&auth.client_metadata_url)),
        ("--resource", address(&auth.resource)),
        ("--authorize-param", many(!auth.authorize_params.is_empty())),
        ("--host", plain(&auth.callback_host)),
        ("--callback-path", plain(&auth.callback_path)),
        ("--bearer-token-file", plain(&auth.bearer_token_file)),
        ("--token-endpoint", address(&auth.token_endpoint)),
        ("--client-key", plain(&auth.client_key)),
        ("--client-key-id", plain(&auth.client_key_id)),
        (
            "--client-assertion-audience",
            address(&auth.client_assertion_audience),
        ),
        ("--workload-token-file", plain(&auth.workload_token_file)),
        ("--identity-provider", address(&auth.identity_provider)),
        (
            "--identity-provider-client",
            hidden(&auth.identity_provider_client),
        ),
        (
            "--identity-provider-key",
            plain(&auth.identity_provider_key),
        ),
        ("--subject-token-file", plain(&auth.subject_token_file)),
    ];
    let given = flags.iter();
    words.extend(given.filter_map(|(flag, value)| Some(format!("{flag} {}", value.as_ref()?))));
    words.extend(switches(&options, &auth).map(str::to_owned));
    let mut command = words.join(" ");
    if command.contains(HIDDEN) {
        command += " (with what is configured in place of each ...)";
    }
    command
}

/// Flags whose values are words of ours, or that have none.
fn switches(
    options: &v1::Options,
    auth: &v1::AuthOptions,
) -> impl Iterator<Item = &'static str> + use<> {
    let switches = [
        ("--allow-http", options.allow_http),
        ("--ipv4", options.ipv4),
        ("--disable-resource-parameter", auth.disable_resource),
        ("--use-id-token", auth.use_id_token),
        ("--allow-missing-pkce", auth.allow_missing_pkce),
        ("--device-code", auth.device_code),
        ("--dpop always", auth.dpop() == v1::Dpop::Always),
        ("--dpop never", auth.dpop() == v1::Dpop::Never),
        ("--client-credentials", auth.client_credentials),
        (
            "--subject-token-type refresh-token",
            auth.subject_token_type == "refresh-token",
        ),
    ];
    let given = switches.into_iter().filter(|(_, given)| *given);
    given.map(|(flag, _)| flag)
}

/// Returns what has to stand before it: without it somebody else would be signed in.
/// Where certificates are is the business of every shell, and missing ones are noticed.
fn folder(open: &v1::Open, config: &Config) -> Option<String> {
    let folder = Path::new(&open.auth_folder);
    let is_ours = open.auth_folder.is_empty() || folder == config.auth_folder;
    (!is_ours).then(|| format!("MCP_REMOTE_CONFIG_DIR={}", quoted(&open.auth_folder)))
}

/// Returns the name or the URL; its query may be secret.
fn server(open: &v1::Open) -> String {
    if !open.name.is_empty() {
        return quoted(&open.name).into_owned();
    }
    // Whether it may be reached so is looked at elsewhere.
    let Ok(url) = ServerUrl::parse(&open.server_url, true) else {
        return HIDDEN.into();
    };
    match url.url().query() {
        None => quoted(url.shown()).into_owned(),
        Some(_) => quoted(&format!("{}?{HIDDEN}", url.shown())).into_owned(),
    }
}

fn plain(value: &str) -> Option<Cow<'_, str>> {
    (!value.is_empty()).then(|| quoted(value))
}

/// Returns a value that may be a URL: with credentials or a query in it, it is secret.
fn address(value: &str) -> Option<Cow<'_, str>> {
    let is_bare =
        |url: &Url| url.username().is_empty() && url.password().is_none() && url.query().is_none();
    match Url::parse(value) {
        Ok(url) if !is_bare(&url) => Some(HIDDEN.into()),
        _ => plain(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Flags;

    fn command(change: impl FnOnce(&mut v1::Open)) -> String {
        let mut open = v1::Open {
            server_url: "https://h/mcp".into(),
            auth: Some(v1::AuthOptions::default()),
            options: Some(v1::Options::default()),
            ..v1::Open::default()
        };
        change(&mut open);
        let config = Config::new(&Flags::default());
        of(&open, &config.expect("there is a home"))
    }

    fn options(open: &mut v1::Open) -> &mut v1::Options {
        open.options.as_mut().expect("set above")
    }

    fn auth(open: &mut v1::Open) -> &mut v1::AuthOptions {
        open.auth.as_mut().expect("set above")
    }

    #[test]
    fn what_was_not_given_is_not_named() {
        assert_eq!(command(|_| ()), "mcp-remote login https://h/mcp");
        let named = command(|open| {
            open.name = "hub".into();
            open.server_url.clear();
            auth(open).device_code = true;
        });
        assert_eq!(named, "mcp-remote login hub --device-code");
    }

    #[test]
    fn certificates_are_named_if_a_flag_did() {
        let by_flag = command(|open| {
            options(open).ca_file = "/it's ca.pem".into();
            options(open).environment_ca_file = "/unused.pem".into();
        });
        let expected = "mcp-remote login https://h/mcp --ca-file '/it'\\''s ca.pem'";
        assert_eq!(by_flag, expected);
        let by_environment = command(|open| {
            options(open).environment_ca_file = "/extra.pem".into();
            options(open).ssl_cert_file = "/system.pem".into();
        });
        assert_eq!(by_environment, "mcp-remote login https://h/mcp");
    }

    #[test]
    fn what_may_be_secret_is_not_shown_and_all_else_can_be_pasted() {
        let shown = command(|open| {
            open.server_url = "http://user:s3cret@nas.example/a;b?k=s3cret".into();
            open.auth_folder = "/srv/auth".into();
            options(open).allow_http = true;
            let auth = auth(open);
            auth.raw_headers = vec!["X-Team: s3cret".into(), "X-Other: s3cret".into()];
            auth.resource = "https://api/?s3cret".into();
            auth.token_endpoint = "https://as/token".into();
            auth.static_client_info = "s3cret".into();
            auth.client_key = "/k.pem".into();
            auth.callback_port = 9696;
            auth.client_credentials = true;
        });
        assert_eq!(
            shown,
            "MCP_REMOTE_CONFIG_DIR=/srv/auth mcp-remote login 'http://nas.example/a;b?...' 9696 \
             --header ... --static-oauth-client-info ... --resource ... \
             --token-endpoint https://as/token --client-key /k.pem --allow-http \
             --client-credentials (with what is configured in place of each ...)"
        );
    }
}
