//! `doctor URL` on the way of a sign-in: documents, authorization server, client, tokens.
//! It asks nobody to sign in, registers nothing, and renews only what a session would.

use std::os::unix::fs::PermissionsExt as _;

use mcp_remote_tests::authorization_server::{
    Config, FakeAuthorizationServer, Metadata, ResourceMetadata,
};
use mcp_remote_tests::home::{SECRET, TestHome};
use mcp_remote_tests::upstream::Reply;
use serde_json::{Map, Value, json};

use crate::doctor_url::Walk;
use crate::support::{agreeing, signed_in, token_files};

fn patch(name: &str, value: impl Into<Value>) -> Map<String, Value> {
    let mut patch = Map::new();
    patch.insert(name.to_owned(), value.into());
    patch
}

#[test]
fn a_guarded_server_with_a_token_is_well_and_nothing_is_asked_for_anew() {
    let (server, upstream, home, browser) = signed_in(Config {
        scopes: Some("read write".into()),
        ..Config::default()
    });
    let count = |label: &str| server.count(label);
    let before = (
        count("register"),
        count("token refresh"),
        count("authorize"),
    );
    upstream.forget_requests();
    let walk = Walk::new(&home, &[&upstream.url()]);
    assert_eq!(walk.code, 0, "{walk:#?}");
    walk.only(&[]);
    walk.says("ok", "transport", "answered 401, so it wants a token");
    walk.says("ok", "resource", "/metadata-of-this-server");
    walk.says("ok", "metadata", "/.well-known/oauth-authorization-server");
    walk.says("ok", "issuer", "PKCE S256");
    walk.says("ok", "issuer", "read write");
    walk.says("ok", "registration", "registered earlier");
    walk.says("ok", "tokens", "the token expires in 59 min");
    walk.says("ok", "tokens", "(mode 600)");
    walk.says("ok", "initialize", "with the token");
    let after = (
        count("register"),
        count("token refresh"),
        count("authorize"),
    );
    assert_eq!(after, before);
    assert_eq!(browser.visited().len(), 1, "that of the sign-in");
    let deleted = upstream.count("DELETE");
    assert_eq!(deleted, 2, "{:?}", upstream.labels());
}

#[test]
fn where_somebody_has_to_sign_in_nobody_is_asked_to() {
    let (server, upstream, home, browser) = agreeing(Config::default());
    let walk = Walk::new(&home, &[&upstream.url()]);
    assert_eq!(walk.code, 11, "{walk:#?}");
    walk.only(&["tokens"]);
    let login = format!("run mcp-remote login {}", upstream.url());
    walk.says("fail", "tokens", &login);
    walk.says("ok", "registration", "none was registered now");
    walk.says("skip", "initialize", "somebody has to sign in first");
    assert_eq!(server.count("register") + server.count("authorize"), 0);
    assert_eq!(browser.visited(), [""; 0]);
    assert!(!home.home().join(".mcp-auth").exists(), "nothing was made");
}

/// Sets the end of the tokens to long ago, as if nobody had renewed them.
fn age(home: &TestHome) {
    home.kill_daemon();
    let file = token_files(home).into_iter();
    let mut file = file.filter(|file| file.display().to_string().ends_with("_tokens.json"));
    let file = file.next().expect("there are tokens");
    let content = std::fs::read(&file).expect("read");
    let mut tokens: Value = serde_json::from_slice(&content).expect("JSON");
    tokens["expires_at"] = 1_600_000_000_000_u64.into();
    std::fs::write(&file, tokens.to_string()).expect("written");
}

#[test]
fn an_expired_token_is_renewed_only_because_a_session_would() {
    let (server, upstream, home, _browser) = signed_in(Config::default());
    age(&home);
    let walk = Walk::new(&home, &[&upstream.url()]);
    assert_eq!(walk.code, 0, "{walk:#?}");
    walk.only(&["tokens"]);
    walk.says("warn", "tokens", "ago, a session renews it");
    walk.says("ok", "initialize", "renewed");
    assert_eq!(server.count("token refresh"), 1);
}

#[test]
fn an_expired_token_that_cannot_be_renewed_needs_somebody() {
    let (_server, upstream, home, browser) = signed_in(Config {
        refresh_tokens: false,
        ..Config::default()
    });
    // The server forgets it when its clock says so.
    _server.expire_access_tokens();
    age(&home);
    let walk = Walk::new(&home, &[&upstream.url()]);
    assert_eq!(walk.code, 11, "{walk:#?}");
    walk.only(&["tokens", "initialize"]);
    walk.says("fail", "tokens", "it cannot be renewed");
    walk.says("fail", "tokens", "run mcp-remote login");
    assert_eq!(browser.visited().len(), 1);
}

#[test]
fn tokens_that_were_open_to_others_are_named() {
    let (_server, upstream, home, _browser) = signed_in(Config::default());
    let files = token_files(&home);
    let open = |file: &&std::path::PathBuf| file.display().to_string().ends_with("_tokens.json");
    let file = files.iter().find(open).expect("there are tokens");
    let mode = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(file, mode).expect("set");
    let walk = Walk::new(&home, &[&upstream.url()]);
    assert_eq!(walk.code, 0);
    walk.says(
        "warn",
        "tokens",
        "(mode 644), which was open to other users",
    );
}

#[test]
fn documents_are_told_in_the_order_in_which_they_are_asked_for() {
    let (_server, upstream, home, _browser) = agreeing(Config {
        metadata: Metadata::None,
        resource_metadata: ResourceMetadata::None,
        ..Config::default()
    });
    let walk = Walk::new(&home, &[&upstream.url()]);
    assert_eq!(walk.code, 11, "{walk:#?}");
    let documents = walk.checks.iter().filter(|it| {
        let check = it["check"].as_str().expect("text");
        check == "resource" || check == "metadata"
    });
    let documents: Vec<&str> = documents
        .map(|it| it["found"].as_str().expect("text"))
        .collect();
    let origin = upstream.origin();
    let at = |path: &str| format!("{origin}/.well-known/{path} answered 404: there is none");
    let expected = [
        at("oauth-protected-resource/mcp"),
        at("oauth-protected-resource"),
        at("oauth-authorization-server"),
        at("openid-configuration"),
    ];
    assert_eq!(documents, expected);
    walk.says("warn", "issuer", "endpoints of revision 2025-03-26");
}

#[test]
fn a_document_that_the_server_names_has_to_be_there() {
    let (_server, upstream, home, _browser) = agreeing(Config {
        resource_patch: patch("resource", Value::Null),
        ..Config::default()
    });
    let walk = Walk::new(&home, &[&upstream.url()]);
    walk.says("warn", "resource", "has no resource: not used");
    walk.says("warn", "resource", "the server itself names this document");
}

#[test]
fn missing_pkce_is_refused_with_the_flag_that_accepts_it() {
    let (_server, upstream, home, _browser) = agreeing(Config {
        patch: patch("code_challenge_methods_supported", Value::Null),
        ..Config::default()
    });
    let walk = Walk::new(&home, &[&upstream.url()]);
    assert_eq!(walk.code, 1, "{walk:#?}");
    walk.says("fail", "issuer", "PKCE (S256)");
    walk.says("fail", "issuer", "--allow-missing-pkce");
    let walk = Walk::new(&home, &[&upstream.url(), "--allow-missing-pkce"]);
    assert_eq!(walk.code, 11, "{walk:#?}");
    walk.says("ok", "issuer", "PKCE is not asked for");
}

#[test]
fn without_registration_a_client_has_to_be_given() {
    let (_server, upstream, home, _browser) = agreeing(Config {
        registration: false,
        ..Config::default()
    });
    let walk = Walk::new(&home, &[&upstream.url()]);
    assert_eq!(walk.code, 1, "{walk:#?}");
    walk.says("fail", "registration", "--static-oauth-client-info");
    let info = format!(r#"{{"client_id":"mine","client_secret":"{SECRET}x"}}"#);
    let walk = Walk::new(
        &home,
        &[&upstream.url(), "--static-oauth-client-info", &info],
    );
    assert_eq!(walk.code, 11, "{walk:#?}");
    walk.says("ok", "registration", "as the client mine");
}

#[test]
fn hostile_metadata_are_shown_short_and_harmless() {
    let long = "x".repeat(500_000);
    let evil = format!("\u{1b}[2J\u{202e}evil\r\n{long}");
    for (name, value) in [
        ("issuer", json!(evil)),
        ("authorization_endpoint", json!("javascript:alert(1)")),
        ("token_endpoint", json!(format!("https://h/{long}"))),
        ("registration_endpoint", json!("file:///etc/passwd")),
        ("grant_types_supported", json!(vec!["\u{1b}[2Jevil"; 5000])),
        ("scopes_supported", json!(vec!["s"; 5000])),
    ] {
        let (_server, upstream, home, browser) = agreeing(Config {
            patch: patch(name, value),
            ..Config::default()
        });
        let walk = Walk::new(&home, &[&upstream.url()]);
        let harmless = name.ends_with("_supported");
        assert_eq!(walk.code == 1, !harmless, "{name}: {walk:#?}");
        assert_eq!(browser.visited(), [""; 0]);
    }
    let (_server, upstream, home, _browser) = agreeing(Config {
        resource_patch: patch("resource", evil),
        ..Config::default()
    });
    let walk = Walk::new(&home, &[&upstream.url()]);
    assert_eq!(walk.code, 1, "{walk:#?}");
    walk.says("fail", "issuer", "nothing is sent there");
}

#[test]
fn a_document_that_does_not_come_costs_a_bounded_time() {
    let (server, upstream, home, _browser) = agreeing(Config::default());
    server.script(|label, _| {
        label
            .contains("oauth-authorization-server")
            .then(|| Reply::status(503))
    });
    let walk = Walk::new(&home, &[&upstream.url()]);
    assert_eq!(walk.code, 1, "{walk:#?}");
    walk.says("warn", "metadata", "answered 503");
    walk.says("fail", "issuer", "try again later");
}

#[test]
fn another_authorization_server_than_before_is_told() {
    let (_server, upstream, home, _browser) = signed_in(Config::default());
    let other = FakeAuthorizationServer::start();
    other.protect(&upstream);
    let walk = Walk::new(&home, &[&upstream.url()]);
    assert_eq!(walk.code, 11, "{walk:#?}");
    walk.says(
        "fail",
        "tokens",
        &format!("now {} signs people in", other.origin()),
    );
}
