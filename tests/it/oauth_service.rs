//! Service accounts: no browser, no person, one token request for everybody, and one
//! sentence when there is no token.

mod refused;

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mcp_remote_tests::authorization_server::{
    Config, Dpop, FakeAuthorizationServer, Nonces, ResourceMetadata,
};
use mcp_remote_tests::home::{SECRET, TestHome};
use mcp_remote_tests::shim::{TestShim, text_of};
use mcp_remote_tests::upstream::{FakeUpstream, Reply, Request};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData as _};
use serde_json::{Value, json};

use crate::support::{attached, messages, one_sentence, one_shot, our_error, token_files};

/// A guarded server, and a home without a browser.
type Guarded = (FakeAuthorizationServer, FakeUpstream, TestHome);

fn guarded(config: Config) -> Guarded {
    let server = FakeAuthorizationServer::with(config);
    let upstream = FakeUpstream::start();
    server.protect(&upstream);
    (server, upstream, TestHome::new())
}

fn published() -> Config {
    Config {
        resource_metadata: ResourceMetadata::Path,
        ..Config::default()
    }
}

/// The flags of a service account with a secret.
fn flags(server: &FakeAuthorizationServer, id: &str) -> [String; 3] {
    let secret = server.service_account(id);
    let info = json!({ "client_id": id, "client_secret": secret }).to_string();
    [
        "--client-credentials".to_owned(),
        "--static-oauth-client-info".to_owned(),
        info,
    ]
}

fn line<'a>(url: &'a str, flags: &'a [String]) -> Vec<&'a str> {
    let flags = flags.iter().map(String::as_str);
    std::iter::once(url).chain(flags).collect()
}

/// The authorization field of the token request, if any, and its form.
fn asked(server: &FakeAuthorizationServer, nth: usize) -> (Option<String>, Vec<(String, String)>) {
    let request = server.wait_for("token client", nth);
    let form = url::form_urlencoded::parse(&request.body).into_owned();
    let header = request.header("Authorization").map(str::to_owned);
    (header, form.collect())
}

fn field(form: &[(String, String)], name: &str) -> Option<String> {
    let found = form.iter().find(|(found, _)| found == name);
    found.map(|(_, value)| value.clone())
}

#[test]
fn one_token_request_serves_every_call_and_the_next_daemon() {
    let (server, upstream, home) = guarded(published());
    let flags = flags(&server, "ci-bot");
    let (url, shown) = (upstream.url(), upstream.url());
    let line = line(&url, &flags);
    one_shot(&home, &line);
    let mut shim = attached(&home, &line);
    for _ in 0..10 {
        shim.echo("warm");
    }
    assert_eq!(shim.finish(), 0);
    let (header, form) = asked(&server, 1);
    assert!(header.is_some_and(|header| header.starts_with("Basic ")));
    assert_eq!(field(&form, "client_secret"), None);
    assert_eq!(field(&form, "resource"), Some(url.clone()));
    assert_eq!(field(&form, "scope"), None);
    // With the token from the very first request on.
    let bare = upstream.requests();
    let bare = bare.iter().filter(|it| it.target.starts_with("/mcp"));
    assert!(bare.clone().count() > 5);
    assert!(bare.clone().all(|it| it.header("Authorization").is_some()));
    let status = home.run(&["status"]);
    let said = format!("{shown} uses service account ci-bot at {}", server.origin());
    assert!(status.stdout.contains(&said), "{status:?}");
    assert!(status.stdout.contains("token 59m"), "{status:?}");
    assert_eq!(status.code, 0);
    let document = home.run(&["status", "--json"]);
    let document: Value = serde_json::from_str(&document.stdout).expect("JSON");
    let grant = &document["servers"][0]["auth"][0];
    assert_eq!(grant["account"], "service account ci-bot");
    assert_eq!(home.run(&["stop"]).code, 0);
    one_shot(&home, &line);
    assert_eq!(server.count("token client"), 1);
    assert_eq!(server.count("token refresh") + server.count("authorize"), 0);
    assert_eq!(server.count("register"), 0);
    for file in token_files(&home) {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            !text.contains("a/b+c"),
            "the secret is in {}",
            file.display()
        );
    }
    assert!(!home.log().contains(SECRET), "a secret is in the log");
}

#[test]
fn twenty_clients_at_once_with_an_expired_token_cause_one_request() {
    let (server, upstream, home) = guarded(published());
    let flags = flags(&server, "ci-bot");
    let url = upstream.url();
    let line = line(&url, &flags);
    one_shot(&home, &line);
    assert_eq!(home.run(&["stop"]).code, 0);
    // While no daemon ran.
    server.expire_access_tokens();
    for file in token_files(&home) {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        if let Ok(mut tokens) = serde_json::from_str::<Value>(&text) {
            tokens["expires_at"] = 1.into();
            std::fs::write(&file, tokens.to_string()).expect("ours");
        }
    }
    let mut shims: Vec<TestShim> = (0..20).map(|_| home.shim(&line)).collect();
    for shim in &mut shims {
        let answer = shim.handshake();
        assert!(answer["result"].is_object(), "{answer}");
        shim.echo("first");
    }
    assert_eq!(server.count("token client"), 2, "{:?}", server.labels());
    // And in the middle of their work.
    server.expire_access_tokens();
    for shim in &mut shims {
        shim.begin_call("echo", r#"{"message":"after"}"#);
    }
    for shim in &shims {
        assert_eq!(text_of(&shim.message()), "after", "{}", shim.stderr());
    }
    assert_eq!(server.count("token client"), 3, "{:?}", server.labels());
}

#[test]
fn a_server_that_only_hints_is_asked_first_and_the_hint_is_remembered() {
    let (server, upstream, home) = guarded(Config::default());
    let flags = flags(&server, "ci-bot");
    let url = upstream.url();
    one_shot(&home, &line(&url, &flags));
    assert_eq!(server.count("token client"), 1);
    assert_eq!(upstream.count("POST initialize"), 2, "refused once");
    // No secret went to the server itself.
    let guess = upstream.requests().into_iter();
    assert!(!guess.into_iter().any(|it| it.target.starts_with("/token")));
}

#[test]
fn secrets_are_shown_as_the_server_wants_them_or_as_the_user_says() {
    let posts = || Config {
        patch: [(
            "token_endpoint_auth_methods_supported".to_owned(),
            json!(["client_secret_post"]),
        )]
        .into_iter()
        .collect(),
        ..published()
    };
    for (config, method, in_form) in [
        (posts(), None, true),
        (published(), None, false),
        (published(), Some("client_secret_post"), true),
        (published(), Some("client_secret_basic"), false),
    ] {
        let (server, upstream, home) = guarded(config);
        let secret = server.service_account("ci-bot");
        let mut info = json!({ "client_id": "ci-bot", "client_secret": secret });
        if let Some(method) = method {
            info["token_endpoint_auth_method"] = method.into();
        }
        let (url, info) = (upstream.url(), info.to_string());
        let line = [
            &*url,
            "--client-credentials",
            "--static-oauth-client-info",
            &info,
        ];
        one_shot(&home, &line);
        let (header, form) = asked(&server, 1);
        assert_eq!(header.is_none(), in_form, "{method:?}");
        assert_eq!(field(&form, "client_secret").is_some(), in_form);
    }
}

/// Writes a key that only its owner can read.
fn key_file(home: &TestHome, text: &str) -> PathBuf {
    let path = home.home().join("key.pem");
    std::fs::write(&path, text).expect("written");
    mode(&path, 0o600);
    path
}

fn mode(path: &std::path::Path, mode: u32) {
    let permissions = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, permissions).expect("ours");
}

const INFO: &str = r#"{"client_id":"ci-bot"}"#;

/// A service account with a key.
fn with_key() -> (Guarded, PathBuf) {
    let guarded = guarded(published());
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    let (server, _, home) = &guarded;
    server.service_key("ci-bot", "ES256", key.der_bytes());
    let path = key_file(home, &key.serialize_pem());
    (guarded, path)
}

fn key_line<'a>(url: &'a str, path: &'a str) -> Vec<&'a str> {
    vec![
        url,
        "--client-credentials",
        "--static-oauth-client-info",
        INFO,
        "--client-key",
        path,
    ]
}

#[test]
fn keys_of_every_kind_sign_another_assertion_each_time() {
    let rsa = include_str!("../../daemon/src/oauth/jose/fixtures/rsa.pkcs8.pem");
    let keys = [
        (KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256), "ES256"),
        (KeyPair::generate_for(&PKCS_ED25519), "EdDSA"),
        (KeyPair::from_pem(rsa), "RS256"),
    ];
    for (key, algorithm) in keys {
        let key = key.expect("a key");
        let (server, upstream, home) = guarded(published());
        server.service_key("ci-bot", algorithm, key.der_bytes());
        let pem = match algorithm {
            "RS256" => rsa.to_owned(),
            _ => key.serialize_pem(),
        };
        let path = key_file(&home, &pem).display().to_string();
        let url = upstream.url();
        let line = key_line(&url, &path);
        one_shot(&home, &line);
        server.expire_access_tokens();
        one_shot(&home, &line);
        // It complains of an assertion that comes twice.
        assert_eq!(server.count("token client"), 2, "{algorithm}");
        let (header, form) = asked(&server, 2);
        assert_eq!((header, field(&form, "client_id")), (None, None));
    }
}

#[test]
fn where_tokens_are_bound_to_a_key_those_of_a_service_account_are_too() {
    // Of nonces that work once the next one is not known.
    for (nonces, requests_later) in [(Nonces::Current, 1), (Nonces::Once, 2)] {
        let (server, upstream, home) = guarded(Config {
            dpop: Some(Dpop {
                nonces,
                ..Dpop::default()
            }),
            ..published()
        });
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        server.service_key("ci-bot", "ES256", key.der_bytes());
        let path = key_file(&home, &key.serialize_pem()).display().to_string();
        let url = upstream.url();
        let line = key_line(&url, &path);
        // What says who it is works once: that is made anew for the nonce.
        one_shot(&home, &line);
        assert_eq!(server.count("token client"), 2);
        let mut requests = upstream.requests();
        requests.retain(|request| request.header("Authorization").is_some());
        let is_bound = |request: &Request| {
            let authorization = request.header("Authorization").unwrap_or_default();
            authorization.starts_with("DPoP ") && request.header("DPoP").is_some()
        };
        assert!(requests.iter().all(is_bound), "{requests:?}");
        server.expire_access_tokens();
        one_shot(&home, &line);
        assert_eq!(server.count("token client"), 2 + requests_later);
    }
}

#[test]
fn offline_access_is_nothing_that_a_service_account_asks_for() {
    let offered = json!({ "scopes_supported": ["read", "offline_access"] });
    let (server, upstream, home) = guarded(Config {
        scopes: Some("read".into()),
        patch: offered.as_object().expect("an object").clone(),
        ..published()
    });
    let flags = flags(&server, "ci-bot");
    let url = upstream.url();
    one_shot(&home, &line(&url, &flags));
    let (_, form) = asked(&server, 1);
    assert_eq!(field(&form, "scope").as_deref(), Some("read"));
}

#[test]
fn a_token_endpoint_that_is_given_is_all_that_is_asked() {
    let (server, upstream, home) = guarded(published());
    let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
    server.service_key("ci-bot", "EdDSA", key.der_bytes());
    let path = key_file(&home, &key.serialize_pem()).display().to_string();
    let (url, endpoint) = (upstream.url(), format!("{}/token", server.origin()));
    let mut line = key_line(&url, &path);
    line.extend(["--token-endpoint", &endpoint, "--client-key-id", "k1"]);
    one_shot(&home, &line);
    assert_eq!(server.labels(), ["token client"]);
    let posts = upstream.requests();
    assert!(posts.iter().all(|it| it.target == "/mcp"), "{posts:?}");
    let said = home.run(&["login", line[0], "--token-endpoint"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.stderr.contains("--token-endpoint needs a value"));
}

#[test]
fn a_token_endpoint_hears_for_which_server_the_token_is() {
    let (server, upstream, home) = guarded(published());
    let token = server.issue();
    server.script(move |label, _| {
        let token = json!({ "access_token": token, "token_type": "Bearer" });
        (label == "token client").then(|| Reply::json(200, token.to_string()))
    });
    let flags = flags(&server, "ci-bot");
    let endpoint = format!("{}/token", server.origin());
    // The query may hold a key.
    let url = format!("{}?key={SECRET}", upstream.url());
    let line = [
        &line(&url, &flags)[..],
        &["--token-endpoint", &endpoint, "--resource"],
    ]
    .concat();
    let other = "urn:example:resource";
    let cases = [
        (&line[..line.len() - 1], Some(upstream.url())),
        (&[&line[..], &[other]].concat()[..], Some(other.to_owned())),
        (&[&line[..], &[""]].concat()[..], None),
    ];
    for (nth, (line, resource)) in cases.into_iter().enumerate() {
        one_shot(&home, line);
        home.run(&[&["logout"], line].concat());
        let (_, form) = asked(&server, nth + 1);
        assert_eq!(field(&form, "resource"), resource, "{line:?}");
    }
    server.script(|label, _| {
        let said = json!({ "error": "invalid_target" });
        (label == "token client").then(|| Reply::json(400, said.to_string()))
    });
    let refused = home.run(&[&["login"], &line[..line.len() - 1]].concat());
    assert!(
        refused.stderr.contains("--disable-resource-parameter"),
        "{refused:?}"
    );
}

#[test]
fn a_scope_that_a_server_asks_for_costs_a_second_token_only_once() {
    let (server, upstream, home) = guarded(published());
    server.want_scope("write");
    let flags = flags(&server, "ci-bot");
    let (url, endpoint) = (upstream.url(), format!("{}/token", server.origin()));
    let line = [&line(&url, &flags)[..], &["--token-endpoint", &endpoint]].concat();
    one_shot(&home, &line);
    assert_eq!(server.count("token client"), 2);
    for nth in 3..5 {
        // The next daemon knows it, and so does the one after that.
        assert_eq!(home.run(&["stop"]).code, 0);
        server.expire_access_tokens();
        let file = token_files(&home).into_iter().find(|path| {
            let name = path.to_string_lossy();
            name.ends_with("_tokens.json")
        });
        let file = file.expect("there are tokens");
        let text = std::fs::read(&file).expect("ours");
        let mut tokens: Value = serde_json::from_slice(&text).expect("JSON");
        tokens["expires_at"] = 1.into();
        std::fs::write(&file, tokens.to_string()).expect("ours");
        one_shot(&home, &line);
        let (_, form) = asked(&server, nth);
        assert_eq!(field(&form, "scope").as_deref(), Some("write"));
        assert_eq!(server.count("token client"), nth);
    }
}

#[test]
fn metadata_of_a_server_where_nobody_can_sign_in_are_enough() {
    let patch = [
        "authorization_endpoint",
        "registration_endpoint",
        "code_challenge_methods_supported",
        "response_types_supported",
    ];
    let patch = patch.map(|name| (name.to_owned(), Value::Null));
    let (server, upstream, home) = guarded(Config {
        patch: patch.into_iter().collect(),
        ..published()
    });
    let flags = flags(&server, "ci-bot");
    one_shot(&home, &line(&upstream.url(), &flags));
    // Somebody who signs in is still told why that cannot be.
    let refused = home.run(&["login", &upstream.url(), "--no-browser"]);
    assert!(
        refused.stderr.contains("authorization_endpoint"),
        "{refused:?}"
    );
}

#[test]
fn accounts_and_scopes_do_not_get_each_others_tokens() {
    let (server, upstream, home) = guarded(published());
    let (one, two) = (flags(&server, "one"), flags(&server, "two"));
    let url = upstream.url();
    let wide = [&*url, "--static-oauth-client-metadata", r#"{"scope":"w"}"#];
    let mut of_wide = wide.to_vec();
    of_wide.extend(one.iter().map(String::as_str));
    one_shot(&home, &line(&url, &one));
    one_shot(&home, &line(&url, &two));
    one_shot(&home, &of_wide);
    one_shot(&home, &line(&url, &one));
    assert_eq!(server.count("token client"), 3);
    let (_, form) = asked(&server, 3);
    assert_eq!(field(&form, "scope").as_deref(), Some("w"));
    let bearers = upstream.requests();
    let bearers: std::collections::BTreeSet<_> = bearers
        .iter()
        .filter_map(|request| request.header("Authorization"))
        .collect();
    assert_eq!(bearers.len(), 3);
}

#[test]
fn a_scope_that_is_missing_is_asked_for_and_not_for_ever() {
    let (server, upstream, home) = guarded(Config {
        scopes: Some("read".to_owned()),
        ..published()
    });
    let flags = flags(&server, "ci-bot");
    let url = upstream.url();
    one_shot(&home, &line(&url, &flags));
    server.want_scope("write");
    one_shot(&home, &line(&url, &flags));
    let (_, form) = asked(&server, 2);
    assert_eq!(field(&form, "scope").as_deref(), Some("read write"));
    // This one it never gives.
    server.script(|label, _| {
        let token = json!({ "access_token": "none", "token_type": "Bearer", "scope": "read" });
        (label == "token client").then(|| Reply::json(200, token.to_string()))
    });
    server.want_scope("admin");
    let mut shim = attached(&home, &line(&url, &flags));
    let answer = shim.call("echo", r#"{"message":"x"}"#);
    let error = our_error(&answer, 1);
    let said = error["message"].as_str().unwrap_or_default();
    assert!(said.contains("service account ci-bot"), "{said}");
    assert!(server.count("token client") <= 4, "{:?}", server.labels());
}

#[track_caller]
fn logout_revokes((server, _, home): &Guarded, line: &[&str]) {
    one_shot(home, line);
    let finished = home.run(&[&["logout"], line].concat());
    assert_eq!((finished.code, &*finished.stderr), (0, ""), "{finished:?}");
    assert_eq!(server.count("revoke"), 1);
    one_shot(home, line);
    assert_eq!(server.count("token client"), 2);
}

#[test]
fn a_logout_revokes_the_token() {
    let guarded = guarded(published());
    let flags = flags(&guarded.0, "ci-bot");
    let url = guarded.1.url();
    logout_revokes(&guarded, &line(&url, &flags));
}

#[test]
fn a_logout_revokes_what_a_key_got() {
    let (guarded, path) = with_key();
    let url = guarded.1.url();
    logout_revokes(&guarded, &key_line(&url, path.to_str().expect("UTF-8")));
}
