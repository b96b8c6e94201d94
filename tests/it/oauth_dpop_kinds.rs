//! What a command says of `--dpop` holds for tokens that are there already: it sends
//! none of the kind that it excludes, and gets another where that needs nobody.

use mcp_remote_tests::authorization_server::{Config, Dpop, FakeAuthorizationServer};
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::ports;
use mcp_remote_tests::upstream::{FakeUpstream, Request};
use serde_json::{Value, json};

use crate::oauth_dpop::{authorized, scheme, tokens};
use crate::support::{agreeing, attached, one_shot, our_error, sign_in, signed_in};

/// Servers that take both kinds; by themselves they give tokens that are not bound.
fn indifferent() -> Config {
    let silent = [("dpop_signing_alg_values_supported".to_owned(), Value::Null)];
    Config {
        dpop: Some(Dpop {
            bearer: true,
            ..Dpop::default()
        }),
        patch: silent.into_iter().collect(),
        ..Config::default()
    }
}

/// The requests with a token since the last call, each of this scheme.
#[track_caller]
fn all_are(expected: &str, upstream: &FakeUpstream) {
    let requests = authorized(upstream);
    assert!(!requests.is_empty());
    let schemes: Vec<&str> = requests.iter().map(scheme).collect();
    assert!(
        schemes.iter().all(|scheme| *scheme == expected),
        "{schemes:?}"
    );
    if expected == "Bearer" {
        let proofs = |request: &&Request| request.header("DPoP").is_some();
        assert_eq!(requests.iter().filter(proofs).count(), 0);
    }
    upstream.forget_requests();
}

#[test]
fn a_token_that_is_not_bound_is_exchanged_for_one_that_is() {
    let (server, upstream, home, browser) = signed_in(indifferent());
    all_are("Bearer", &upstream);
    let always = [&*upstream.url(), "--dpop", "always"];
    one_shot(&home, &always);
    all_are("DPoP", &upstream);
    assert_eq!(tokens(&home)["token_type"], "DPoP");
    // Whoever has no wish takes what there is.
    one_shot(&home, &[&upstream.url()]);
    all_are("DPoP", &upstream);
    assert_eq!(server.count("token refresh"), 1);
    // And so does the next daemon.
    assert_eq!(home.run(&["stop"]).code, 0);
    one_shot(&home, &[&upstream.url()]);
    server.expire_access_tokens();
    one_shot(&home, &[&upstream.url()]);
    all_are("DPoP", &upstream);
    assert_eq!(server.count("token refresh"), 2);
    assert_eq!(browser.visited().len(), 1);
}

#[test]
fn a_bound_grant_of_a_client_without_a_secret_is_no_use_without_proofs() {
    let (server, upstream, home, browser) = agreeing(indifferent());
    let url = upstream.url();
    sign_in(&home, &[&url, "--dpop", "always"]);
    for daemon in ["the same", "the next"] {
        upstream.forget_requests();
        let mut shim = home.shim(&[&url, "--dpop", "never", "--non-interactive"]);
        let error = our_error(&shim.handshake(), 0);
        let why = error["message"].as_str().expect("a sentence");
        let named = ["bound to a key", "run: mcp-remote login", "--dpop never"];
        assert!(
            named.iter().all(|name| why.contains(name)),
            "{daemon}: {why}"
        );
        assert_eq!(authorized(&upstream).len(), 0, "{daemon}");
        let doctor = home.run(&["doctor", &url, "--dpop", "never"]);
        assert_eq!(doctor.code, 11, "{doctor:?}");
        assert!(
            doctor.stdout.contains("--dpop never excludes"),
            "{doctor:?}"
        );
        assert_eq!(authorized(&upstream).len(), 0, "{daemon}");
        assert_eq!(home.run(&["stop"]).code, 0);
    }
    assert_eq!(server.count("token refresh"), 0);
    sign_in(&home, &[&url, "--dpop", "never"]);
    all_are("Bearer", &upstream);
    assert_eq!(browser.visited().len(), 2);
    assert_eq!(tokens(&home)["token_type"], "Bearer");
}

#[test]
fn a_client_with_a_secret_gets_others_for_its_bound_ones() {
    let (server, upstream, home, browser) = agreeing(indifferent());
    let port = ports::free().to_string();
    let secret = server.register("mine", &format!("http://localhost:{port}/oauth/callback"));
    let info = json!({ "client_id": "mine", "client_secret": secret }).to_string();
    let url = upstream.url();
    let with = |dpop| {
        let flags = ["--static-oauth-client-info", &*info, "--dpop", dpop];
        [&[&*url, &*port], &flags[..]].concat()
    };
    sign_in(&home, &with("always"));
    all_are("DPoP", &upstream);
    one_shot(&home, &with("never"));
    all_are("Bearer", &upstream);
    assert_eq!(tokens(&home)["token_type"], "Bearer");
    one_shot(&home, &with("always"));
    all_are("DPoP", &upstream);
    assert_eq!(server.count("token refresh"), 2);
    assert_eq!(browser.visited().len(), 1);
}

fn service(config: Config) -> (FakeAuthorizationServer, FakeUpstream, TestHome, [String; 4]) {
    let server = FakeAuthorizationServer::with(config);
    let upstream = FakeUpstream::start();
    server.protect(&upstream);
    let secret = server.service_account("ci-bot");
    let info = json!({ "client_id": "ci-bot", "client_secret": secret }).to_string();
    let line = [
        upstream.url(),
        "--client-credentials".into(),
        "--static-oauth-client-info".into(),
        info,
    ];
    (server, upstream, TestHome::new(), line)
}

#[test]
fn each_command_of_a_service_account_gets_its_kind() {
    let (server, upstream, home, line) = service(indifferent());
    let line = line.each_ref().map(String::as_str);
    let with = |dpop| [&line[..], &["--dpop", dpop]].concat();
    let (mut always, mut never) = (
        attached(&home, &with("always")),
        attached(&home, &with("never")),
    );
    for _ in 0..2 {
        always.echo("with a proof");
        never.echo("without");
    }
    for (said, expected) in [("with a proof", "DPoP"), ("without", "Bearer")] {
        let mut calls = authorized(&upstream);
        calls.retain(|request| request.text().contains(&format!("\"{said}\"")));
        assert_eq!(calls.len(), 2, "{calls:?}");
        assert!(calls.iter().all(|call| scheme(call) == expected));
    }
    // A token each time, but not for ever: the next ones are refused, with a reason.
    let asked = server.count("token client");
    assert!((4..8).contains(&asked), "{asked}");
    let mut said = String::new();
    for _ in 0..6 {
        for shim in [&mut always, &mut never] {
            let answer = shim.call("echo", r#"{"message":"x"}"#);
            if let Some(error) = answer["error"]["message"].as_str() {
                said = error.to_owned();
            }
        }
    }
    assert!(said.contains("disagree about --dpop"), "{said:?}");
    assert!(server.count("token client") < 10);
    // None was sent that was excluded: the guard complains of what is of another type.
    let kept = tokens(&home);
    assert_eq!(home.run(&["stop"]).code, 0);
    upstream.forget_requests();
    let (other, expected) = match kept["token_type"].as_str() {
        Some("DPoP") => ("never", "Bearer"),
        _ => ("always", "DPoP"),
    };
    one_shot(&home, &with(other));
    all_are(expected, &upstream);
}

#[test]
fn a_service_account_whose_token_has_to_be_bound_gets_such_a_one_at_once() {
    // Nothing but the refusal says that it has to be.
    let silent = [
        "dpop_signing_alg_values_supported",
        "dpop_bound_access_tokens_required",
    ];
    let silent = silent.map(|name| (name.to_owned(), Value::Null));
    let (server, upstream, home, line) = service(Config {
        dpop: Some(Dpop {
            bearer: true,
            ..Dpop::default()
        }),
        patch: silent.clone().into_iter().collect(),
        resource_patch: silent.into_iter().collect(),
        ..Config::default()
    });
    server.protect_scripted(&upstream, |request| {
        let challenge = r#"DPoP algs="ES256", error="invalid_token""#;
        (scheme(request) == "Bearer").then(|| {
            mcp_remote_tests::upstream::Reply::status(401).with("WWW-Authenticate", challenge)
        })
    });
    let line = line.each_ref().map(String::as_str);
    one_shot(&home, &line);
    assert_eq!(server.count("token client"), 2);
    let schemes = authorized(&upstream);
    let bearers = schemes.iter().filter(|request| scheme(request) == "Bearer");
    assert_eq!(bearers.count(), 1, "it was not sent a second time");

    let mut shim = home.shim(&[&line[..], &["--dpop", "never"]].concat());
    let error = our_error(&shim.handshake(), 0);
    let why = error["message"].as_str().expect("a sentence");
    assert!(why.contains("--dpop never"), "{why}");
}

#[test]
fn a_logout_ends_the_sessions_of_every_kind() {
    let (_server, upstream, home, line) = service(indifferent());
    let line = line.each_ref().map(String::as_str);
    let with = |dpop| [&line[..], &["--dpop", dpop]].concat();
    one_shot(&home, &with("never"));
    one_shot(&home, &with("always"));
    let finished = home.run(&[&["logout"], &line[..]].concat());
    assert_eq!(finished.code, 0, "{finished:?}");
    upstream.wait_for_sessions(0);
}
