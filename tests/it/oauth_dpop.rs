//! Tokens are bound to a key where the server asks for it, with a proof for each
//! request; the key is kept with them. The fakes check every proof, and complain of
//! one that comes twice or is for something else.

use mcp_remote_tests::authorization_server::{Config, Dpop, FakeAuthorizationServer, Nonces};
use mcp_remote_tests::browser::Browser;
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::shim::{TestShim, text_of};
use mcp_remote_tests::upstream::{self, FakeUpstream, Kind, Reply, Request};
use serde_json::{Value, json};

use crate::support::{agreeing, attached, one_shot, our_error, sign_in, signed_in};

/// Servers that take bound tokens only.
pub(crate) fn demanding() -> Config {
    Config {
        dpop: Some(Dpop::default()),
        ..Config::default()
    }
}

/// The same with nonces.
fn with_nonces(nonces: Nonces) -> Config {
    Config {
        dpop: Some(Dpop {
            nonces,
            ..Dpop::default()
        }),
        ..Config::default()
    }
}

pub(crate) fn scheme(request: &Request) -> &str {
    let authorization = request.header("Authorization").unwrap_or_default();
    authorization.split(' ').next().unwrap_or_default()
}

/// Requests that came with a token.
pub(crate) fn authorized(upstream: &FakeUpstream) -> Vec<Request> {
    let mut requests = upstream.requests();
    requests.retain(|request| request.header("Authorization").is_some());
    requests
}

/// The claims of a request's proof.
fn claims(request: &Request) -> Value {
    use base64::Engine as _;
    let proof = request.header("DPoP").expect("a proof");
    let claims = proof.split('.').nth(1).expect("three parts");
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims);
    serde_json::from_slice(&bytes.expect("base64url")).expect("JSON")
}

pub(crate) fn tokens_path(home: &TestHome) -> std::path::PathBuf {
    let mut files = crate::support::token_files(home).into_iter();
    let found = files.find(|path| path.to_string_lossy().ends_with("_tokens.json"));
    found.expect("there are tokens")
}

pub(crate) fn tokens(home: &TestHome) -> Value {
    let text = std::fs::read(tokens_path(home)).expect("it can be read");
    serde_json::from_slice(&text).expect("JSON")
}

/// What is answered to whoever cannot sign in.
#[track_caller]
pub(crate) fn why_nobody_is_signed_in(home: &TestHome, arguments: &[&str]) -> String {
    let mut shim = home.shim(arguments);
    let answer = shim.handshake();
    let error = our_error(&answer, 0);
    error["message"].as_str().expect("a message").to_owned()
}

#[test]
fn every_request_of_either_transport_proves_that_the_token_is_ours() {
    for kind in [Kind::StreamableHttp, Kind::HttpSse(405)] {
        let server = FakeAuthorizationServer::with(demanding());
        let upstream = FakeUpstream::with(upstream::Config {
            kind,
            ..upstream::Config::default()
        });
        server.protect(&upstream);
        let mut home = TestHome::new();
        let browser = Browser::agreeing(&mut home);
        sign_in(&home, &[&upstream.url()]);
        one_shot(&home, &[&upstream.url()]);
        assert_eq!(home.run(&["stop"]).code, 0);
        let methods: Vec<String> = authorized(&upstream)
            .iter()
            .map(|request| {
                assert_eq!(scheme(request), "DPoP");
                assert!(request.header("DPoP").is_some(), "{request:?}");
                request.method.clone()
            })
            .collect();
        let expected: &[&str] = match kind {
            Kind::StreamableHttp => &["GET", "POST", "DELETE"],
            Kind::HttpSse(_) => &["GET", "POST"],
        };
        for method in expected {
            assert!(methods.iter().any(|found| found == method), "{methods:?}");
        }
        assert_eq!(browser.visited().len(), 1);
        let registration = server.wait_for("register", 1).text();
        assert!(
            registration.contains(r#""dpop_bound_access_tokens":true"#),
            "{registration}"
        );
        assert!(server.wait_for("authorize", 1).target.contains("dpop_jkt="));
    }
}

#[test]
fn a_warm_call_asks_nobody_for_anything() {
    let (server, upstream, home, _browser) = signed_in(with_nonces(Nonces::Current));
    one_shot(&home, &[&upstream.url()]);
    upstream.wait_for_streams(1);
    let asked = server.labels().len();
    upstream.forget_requests();
    for _ in 0..3 {
        one_shot(&home, &[&upstream.url()]);
    }
    assert_eq!(upstream.labels(), ["POST tools/call"; 3]);
    assert_eq!(server.labels().len(), asked);
}

#[test]
fn nonces_of_both_servers_are_learned_at_once_and_once() {
    let (server, upstream, home, browser) = signed_in(with_nonces(Nonces::Current));
    assert_eq!(server.count("token code"), 2, "the first one had no nonce");
    let mut shim = attached(&home, &[&upstream.url()]);
    shim.echo("before");
    server.change_nonce(&server.origin(), "next-at-the-authorization-server");
    server.change_nonce(&upstream.origin(), "next-at-the-server");
    upstream.forget_requests();
    shim.echo("after");
    assert_eq!(upstream.count("POST tools/call"), 2);
    shim.echo("after that");
    assert_eq!(upstream.count("POST tools/call"), 3);
    server.expire_access_tokens();
    shim.echo("renewed");
    assert_eq!(server.count("token refresh"), 2);
    assert_eq!(upstream.count("POST tools/call"), 5);
    assert_eq!(browser.visited().len(), 1);
}

#[test]
fn a_nonce_that_comes_with_an_answer_is_the_next_one() {
    let (server, upstream, home, _browser) = signed_in(with_nonces(Nonces::Current));
    let mut shim = attached(&home, &[&upstream.url()]);
    upstream.add_header("DPoP-Nonce", "announced");
    shim.echo("announces it");
    server.change_nonce(&upstream.origin(), "announced");
    upstream.forget_requests();
    shim.echo("needs it");
    assert_eq!(upstream.count("POST tools/call"), 1);
    let request = upstream.wait_for("POST tools/call", 1);
    assert_eq!(claims(&request)["nonce"], "announced");
}

#[test]
fn nonces_that_work_once_do_not_mix_requests_up() {
    let (server, upstream, home, browser) = signed_in(with_nonces(Nonces::Once));
    let mut shims: Vec<TestShim> = (0..10)
        .map(|_| attached(&home, &[&upstream.url()]))
        .collect();
    for shim in &mut shims {
        for _ in 0..3 {
            shim.begin_call("echo", r#"{"message":"together"}"#);
        }
    }
    for shim in &shims {
        for _ in 0..3 {
            assert_eq!(text_of(&shim.message()), "together", "{}", shim.stderr());
        }
    }
    assert_eq!(browser.visited().len(), 1);
    assert_eq!(server.count("token refresh"), 0);
}

#[test]
fn nonces_that_are_never_enough_end_in_one_sentence() {
    let (server, upstream, home, browser) = agreeing(demanding());
    server.protect_scripted(&upstream, |request| {
        (request.header("DPoP").is_some()).then(|| {
            Reply::status(401)
                .with(
                    "WWW-Authenticate",
                    r#"DPoP error="use_dpop_nonce", algs="ES256""#,
                )
                .with("DPoP-Nonce", "never-enough")
        })
    });
    let why = why_nobody_is_signed_in(&home, &[&upstream.url()]);
    assert!(
        why.contains("clock") && why.contains("--dpop never"),
        "{why}"
    );
    assert_eq!(authorized(&upstream).len(), 2);
    assert_eq!(
        server.count("token refresh"),
        0,
        "another token would not help"
    );
    assert_eq!(browser.visited().len(), 1);
}

#[test]
fn fifty_clients_with_an_expired_bound_token_renew_it_once() {
    let (server, upstream, home, browser) = signed_in(demanding());
    let mut shims: Vec<TestShim> = (0..50)
        .map(|_| attached(&home, &[&upstream.url()]))
        .collect();
    for shim in &mut shims {
        shim.echo("before");
    }
    server.expire_access_tokens();
    for shim in &mut shims {
        shim.begin_call("echo", r#"{"message":"after"}"#);
    }
    for shim in &shims {
        assert_eq!(text_of(&shim.message()), "after", "{}", shim.stderr());
    }
    assert_eq!(server.count("token refresh"), 1);
    assert_eq!(browser.visited().len(), 1);
}

#[test]
fn the_key_outlives_the_daemon_and_every_rotation() {
    let (server, upstream, home, browser) = signed_in(demanding());
    let key = tokens(&home)["dpop_key"].clone();
    assert!(key.is_string());
    assert_eq!(tokens(&home)["token_type"], "DPoP");
    for _ in 0..3 {
        home.kill_daemon();
        server.expire_access_tokens();
        one_shot(&home, &[&upstream.url()]);
        assert_eq!(tokens(&home)["dpop_key"], key);
    }
    assert_eq!(server.count("token refresh"), 3);
    assert_eq!(browser.visited().len(), 1);
    let key = key.as_str().expect("text");
    let status = home.run(&["status", "--json"]);
    assert!(!home.log().contains(key) && !status.stdout.contains(key));
}

#[test]
fn a_kept_session_is_taken_up_with_its_key() {
    let (_server, upstream, home, browser) = signed_in(demanding());
    let mut shim = attached(&home, &[&upstream.url()]);
    let session = text_of(&shim.call("session", "{}"));
    home.kill_daemon();
    let again = text_of(&shim.call("session", "{}"));
    assert_eq!(session, again);
    assert_eq!(browser.visited().len(), 1);
}

#[test]
fn without_its_key_a_grant_is_gone_and_one_sign_in_follows() {
    let mut tabs = 1;
    let (_server, upstream, home, browser) = signed_in(demanding());
    for key in [
        Value::Null,
        json!("garbage"),
        json!(""),
        json!({ "kty": "EC" }),
        json!("x".repeat(100_000)),
    ] {
        assert_eq!(home.run(&["stop"]).code, 0);
        let mut kept = tokens(&home);
        kept["dpop_key"] = key.clone();
        std::fs::write(tokens_path(&home), kept.to_string()).expect("written");
        sign_in(&home, &[&upstream.url()]);
        tabs += 1;
        assert_eq!(browser.visited().len(), tabs, "{key}");
    }
}

#[test]
fn a_clock_that_is_off_is_made_up_for() {
    for clock_ahead in [3600, -3600] {
        let (server, upstream, home, browser) = signed_in(Config {
            dpop: Some(Dpop {
                clock_ahead,
                ..Dpop::default()
            }),
            ..Config::default()
        });
        upstream.wait_for_streams(1);
        upstream.forget_requests();
        one_shot(&home, &[&upstream.url()]);
        assert_eq!(upstream.labels(), ["POST tools/call"], "it is known by now");
        assert_eq!(server.count("token code"), 2);
        assert_eq!(browser.visited().len(), 1);
    }
}

#[test]
fn a_clock_that_is_off_by_days_is_said_to_be() {
    let (_server, upstream, home, _browser) = agreeing(Config {
        dpop: Some(Dpop {
            clock_ahead: 1_000_000,
            ..Dpop::default()
        }),
        ..Config::default()
    });
    let why = why_nobody_is_signed_in(&home, &[&upstream.url()]);
    assert!(why.contains("check the clock of this machine"), "{why}");
}

#[test]
fn a_redirect_has_a_proof_of_its_own() {
    let (server, upstream, home, _browser) = agreeing(demanding());
    server.protect_scripted(&upstream, |request| {
        let moved = request.method == "POST" && request.target == "/mcp";
        moved.then(|| Reply::status(307).with("Location", "/messages?to=here"))
    });
    sign_in(&home, &[&upstream.url()]);
    let moved = upstream.requests().into_iter().find(|request| {
        request.target.starts_with("/messages") && request.header("DPoP").is_some()
    });
    let expected = format!("{}/messages", upstream.origin());
    assert_eq!(claims(&moved.expect("it was followed"))["htu"], expected);
}
