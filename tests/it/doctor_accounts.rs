//! `doctor URL` where nobody signs in: what is given is not looked for, where tokens are
//! asked for is looked at, and what is missing is said with the flag that gives it.

use std::os::unix::fs::PermissionsExt as _;

use mcp_remote_tests::authorization_server::{
    Config, FakeAuthorizationServer, Metadata, ResourceMetadata,
};
use mcp_remote_tests::home::{SECRET, TestHome};
use mcp_remote_tests::tls::TestCa;
use mcp_remote_tests::upstream::{self, FakeUpstream};
use serde_json::{Value, json};

use crate::doctor_url::Walk;

/// A guarded server, whose metadata lead nowhere, and a home without a browser.
fn guarded() -> (FakeAuthorizationServer, FakeUpstream, TestHome) {
    let server = FakeAuthorizationServer::with(Config {
        resource_patch: [("resource".to_owned(), json!("https://other.example/"))]
            .into_iter()
            .collect(),
        ..Config::default()
    });
    let upstream = FakeUpstream::start();
    server.protect(&upstream);
    (server, upstream, TestHome::new())
}

const LOOKED_FOR: [&str; 4] = ["resource", "metadata", "issuer", "registration"];

fn account(server: &FakeAuthorizationServer) -> String {
    let secret = server.service_account("ci-bot");
    json!({ "client_id": "ci-bot", "client_secret": secret }).to_string()
}

/// The command line of a service account, without its token endpoint.
fn line<'a>(url: &'a str, info: &'a str) -> Vec<&'a str> {
    let flags = ["--client-credentials", "--static-oauth-client-info", info];
    std::iter::once(url).chain(flags).collect()
}

#[test]
fn with_a_token_endpoint_that_is_looked_at_and_nothing_is_looked_for() {
    let (server, upstream, home) = guarded();
    let (url, info) = (upstream.url(), account(&server));
    let endpoint = format!("{}/token", server.origin());
    let mut line = line(&url, &info);
    line.extend(["--token-endpoint", &endpoint]);
    let walk = Walk::new(&home, &line);
    assert_eq!(walk.code, 0, "{walk:#?}");
    walk.only(&[]);
    for check in LOOKED_FOR {
        walk.says("skip", check, "not used: the token endpoint is given");
    }
    walk.says("ok", "endpoint", &format!("{endpoint} can be reached"));
    walk.says("ok", "endpoint", "127.0.0.1:");
    walk.says("ok", "tokens", "service account ci-bot");
    walk.says("ok", "initialize", "with the token");
    assert_eq!(server.labels(), ["token client"]);
}

#[test]
fn a_token_endpoint_that_cannot_be_reached_is_what_is_wrong() {
    let (mut server, upstream, home) = guarded();
    let (url, info) = (upstream.url(), account(&server));
    let endpoint = format!("{}/token", server.origin());
    server.go_down();
    let mut to_nobody = line(&url, &info);
    to_nobody.extend(["--token-endpoint", &endpoint]);
    let walk = Walk::new(&home, &to_nobody);
    assert_eq!(walk.code, 1, "{walk:#?}");
    walk.only(&["endpoint", "tokens"]);
    walk.says("skip", "initialize", "there is no token");
    walk.says("fail", "endpoint", "connection refused");
    walk.says("fail", "endpoint", &endpoint);
    walk.says("ok", "transport", "it wants a token");

    let (mut to_no_name, endpoint) = (line(&url, &info), "https://as.invalid/token");
    to_no_name.extend(["--token-endpoint", endpoint]);
    let walk = Walk::new(&home, &to_no_name);
    walk.says("fail", "endpoint", "as.invalid could not be resolved");

    let ca = TestCa::new();
    let tls = FakeUpstream::with(upstream::Config {
        tls: Some(ca.server()),
        ..upstream::Config::default()
    });
    let endpoint = format!("{}/token", tls.origin());
    let mut to_stranger = line(&url, &info);
    to_stranger.extend(["--token-endpoint", &endpoint]);
    let walk = Walk::new(&home, &to_stranger);
    walk.says("fail", "endpoint", "which this system does not trust");
    walk.says("fail", "endpoint", "--ca-file");
}

#[test]
fn where_nothing_says_who_gives_tokens_the_flag_that_does_is_named() {
    let server = FakeAuthorizationServer::with(Config {
        metadata: Metadata::None,
        resource_metadata: ResourceMetadata::None,
        ..Config::default()
    });
    let (upstream, home) = (FakeUpstream::start(), TestHome::new());
    server.protect(&upstream);
    let (url, info) = (upstream.url(), account(&server));
    let walk = Walk::new(&home, &line(&url, &info));
    assert_eq!(walk.code, 1, "{walk:#?}");
    walk.only(&["issuer", "tokens"]);
    walk.says("fail", "issuer", "--token-endpoint");
    walk.says("fail", "tokens", "--token-endpoint");
    assert_eq!(server.count("token client"), 0);
}

#[test]
fn a_token_that_is_given_is_tried_and_nothing_is_looked_for() {
    let (server, upstream, home) = guarded();
    let (url, token) = (upstream.url(), server.issue());
    let file = home.folder().join("token");
    let write = |text: &str| {
        std::fs::write(&file, text).expect("written");
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&file, mode).expect("ours");
    };
    write(&token);
    let path = file.display().to_string();
    home.configure(&format!(
        "[servers.commanded]\nurl = \"{url}\"\nbearer_token_command = [\"cat\", \"{path}\"]\n"
    ));
    let header = format!("Authorization: Bearer {token}");
    let by_file = [&*url, "--bearer-token-file", &path];
    let by_header = [&*url, "--header", &header];
    for line in [&by_file[..], &by_header, &["commanded"]] {
        let walk = Walk::new(&home, line);
        assert_eq!(walk.code, 0, "{walk:#?}");
        walk.only(&[]);
        for check in LOOKED_FOR {
            walk.says("skip", check, "nobody signs in");
        }
        walk.says("ok", "initialize", "fake-upstream");
    }
    // One that is not good is what is wrong, and nothing else is.
    write(&format!("{SECRET}stale"));
    // It is looked at every few seconds only.
    assert_eq!(home.run(&["stop"]).code, 0);
    for line in [&by_file[..], &["commanded"]] {
        let walk = Walk::new(&home, line);
        assert_eq!(walk.code, 1, "{walk:#?}");
        walk.only(&["initialize"]);
    }
    std::fs::remove_file(&file).expect("it is there");
    assert_eq!(home.run(&["stop"]).code, 0);
    let walk = Walk::new(&home, &by_file);
    walk.only(&["tokens"]);
    walk.says("fail", "tokens", &path);
    let labels = server.labels();
    assert_eq!(labels, [""; 0]);
}

#[test]
fn an_open_server_is_well_though_nobody_gives_tokens() {
    let server = FakeAuthorizationServer::start();
    let (upstream, home) = (FakeUpstream::start(), TestHome::new());
    let (url, info) = (upstream.url(), account(&server));
    let walk = Walk::new(&home, &line(&url, &info));
    assert_eq!(walk.code, 0, "{walk:#?}");
    walk.says("skip", "issuer", "it wants no token");
    walk.says("ok", "tokens", "there is none");
    walk.says("ok", "initialize", "fake-upstream");
    let has_token = |check: &Value| check["found"].to_string().contains("with the token");
    assert!(!walk.checks.iter().any(has_token), "{walk:#?}");
}
