//! Tokens are renewed once for everybody, are never lost while the server would
//! still take them, and cost nobody a sign-in that is not needed.

use std::time::{Duration, Instant};

use mcp_remote_tests::authorization_server::{Config, FakeAuthorizationServer};
use mcp_remote_tests::browser::Browser;
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::shim::{TestShim, text_of};
use mcp_remote_tests::upstream::{FakeUpstream, Reply};
use serde_json::{Value, json};

use crate::support::{attached, one_shot, token_files};

fn signed_in(config: Config) -> (FakeAuthorizationServer, FakeUpstream, TestHome, Browser) {
    let server = FakeAuthorizationServer::with(config);
    let upstream = FakeUpstream::start();
    server.protect(&upstream);
    let mut home = TestHome::new();
    let browser = Browser::agreeing(&mut home);
    let mut shim = attached(&home, &[&upstream.url()]);
    shim.echo("signed in");
    assert_eq!(shim.finish(), 0);
    (server, upstream, home, browser)
}

/// Attaches shims that each have called once, then lets them call all at once.
fn storm(home: &TestHome, url: &str, count: usize, change: impl FnOnce()) {
    let mut shims: Vec<TestShim> = (0..count).map(|_| attached(home, &[url])).collect();
    for shim in &mut shims {
        shim.echo("before");
    }
    change();
    for shim in &mut shims {
        shim.begin_call("echo", r#"{"message":"after"}"#);
    }
    for shim in &shims {
        assert_eq!(text_of(&shim.message()), "after", "{}", shim.stderr());
    }
}

#[test]
fn fifty_clients_that_meet_an_expired_token_refresh_it_once() {
    let (server, upstream, home, browser) = signed_in(Config::default());
    storm(&home, &upstream.url(), 50, || server.expire_access_tokens());
    assert_eq!(server.count("token refresh"), 1);
    assert_eq!(server.count("authorize"), 1, "nobody signed in again");
    assert_eq!(browser.visited().len(), 1);
}

#[test]
fn fifty_clients_that_meet_a_revoked_grant_cause_one_sign_in() {
    let (server, upstream, home, browser) = signed_in(Config::default());
    storm(&home, &upstream.url(), 50, || server.revoke_all());
    assert_eq!(server.count("authorize"), 2);
    assert_eq!(browser.visited().len(), 2, "one tab");
    assert!(server.count("token refresh") <= 1, "{:?}", server.labels());
}

#[test]
fn a_server_in_trouble_costs_no_refresh_token() {
    let (server, upstream, home, browser) = signed_in(Config::default());
    for status in [500, 502, 503, 429] {
        server.expire_access_tokens();
        server.script(move |label, _| {
            (label == "token refresh").then(|| {
                Reply::body(status, "text/html", "<html>trouble").with("Retry-After", "1000000000")
            })
        });
        let mut shim = attached(&home, &[&upstream.url()]);
        let answer = shim.call("echo", r#"{"message":"x"}"#);
        assert!(answer["error"].is_object(), "{status}: {answer}");
        server.behave();
        drop(shim);
    }
    // The next attempt is made after a pause.
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut shim = attached(&home, &[&upstream.url()]);
    while shim.call("echo", r#"{"message":"x"}"#)["error"].is_object() {
        assert!(Instant::now() < deadline, "{}", shim.stderr());
    }
    assert_eq!(browser.visited().len(), 1, "the old refresh token worked");
}

#[test]
fn a_daemon_killed_while_it_refreshes_loses_nothing() {
    let (server, upstream, home, browser) = signed_in(Config::default());
    server.expire_access_tokens();
    // The server does not get to it before the daemon dies.
    server.script(|label, _| (label == "token refresh").then_some(Reply::Hang));
    let mut shim = attached(&home, &[&upstream.url()]);
    shim.begin_call("echo", r#"{"message":"x"}"#);
    server.wait_for("token refresh", 1);
    home.kill_daemon();
    server.behave();
    drop(shim);
    one_shot(&home, &[&upstream.url()]);
    assert_eq!(browser.visited().len(), 1);
}

#[test]
fn tokens_whose_file_is_damaged_are_written_again() {
    let (server, upstream, home, browser) = signed_in(Config::default());
    let mut shim = attached(&home, &[&upstream.url()]);
    shim.echo("before");
    let damage = |path: &std::path::PathBuf| {
        let text = std::fs::read_to_string(path).expect("it can be read");
        std::fs::write(path, &text[..text.len() / 2]).expect("ours");
    };
    token_files(&home).iter().for_each(damage);
    server.expire_access_tokens();
    shim.echo("after");
    assert_eq!(shim.finish(), 0);
    home.kill_daemon();
    one_shot(&home, &[&upstream.url()]);
    assert_eq!(browser.visited().len(), 1);
}

#[test]
fn whatever_a_token_response_says_of_its_life_the_token_works() {
    for expires_in in [
        None,
        Some(json!(0)),
        Some(json!(-1)),
        Some(json!(1e18)),
        Some(json!("3600")),
        Some(json!("soon")),
        Some(Value::Null),
    ] {
        let shown = format!("{expires_in:?}");
        let (server, upstream, home, browser) = signed_in(Config {
            expires_in,
            ..Config::default()
        });
        one_shot(&home, &[&upstream.url()]);
        assert_eq!(browser.visited().len(), 1, "{shown}");
        assert!(
            server.count("token refresh") <= 3,
            "{shown}: {:?}",
            server.labels()
        );
    }
}

#[test]
fn a_refresh_that_brings_no_new_refresh_token_keeps_the_old_one() {
    let (server, upstream, home, browser) = signed_in(Config {
        rotation: false,
        ..Config::default()
    });
    for _ in 0..3 {
        server.expire_access_tokens();
        one_shot(&home, &[&upstream.url()]);
    }
    assert_eq!(server.count("token refresh"), 3);
    assert_eq!(browser.visited().len(), 1);
}

#[test]
fn without_refresh_tokens_an_expired_token_is_one_sign_in() {
    let (server, upstream, home, browser) = signed_in(Config {
        refresh_tokens: false,
        ..Config::default()
    });
    server.expire_access_tokens();
    let mut shim = attached(&home, &[&upstream.url()]);
    shim.echo("again");
    assert_eq!(browser.visited().len(), 2);
    assert_eq!(server.count("token refresh"), 0);
}

#[test]
fn a_registration_that_was_forgotten_is_made_again() {
    let (server, upstream, home, _browser) = signed_in(Config::default());
    server.forget_clients();
    server.revoke_all();
    let mut shim = attached(&home, &[&upstream.url()]);
    shim.echo("again");
    assert_eq!(server.count("register"), 2);
}

#[test]
fn a_scope_that_is_missing_is_asked_for_with_the_others() {
    let (server, upstream, home, browser) = signed_in(Config {
        scopes: Some("read".to_owned()),
        ..Config::default()
    });
    server.want_scope("write");
    let mut shim = attached(&home, &[&upstream.url()]);
    shim.echo("more");
    assert_eq!(browser.visited().len(), 2);
    let asked = server.wait_for("authorize", 2).target;
    assert!(
        asked.contains("scope=read+write") || asked.contains("scope=read%20write"),
        "{asked}"
    );
}

#[test]
fn a_scope_that_is_never_given_is_not_asked_for_for_ever() {
    let (server, upstream, home, browser) = signed_in(Config::default());
    server.script(|label, _| {
        // Grants, and never what was asked for.
        (label == "authorize").then(|| Reply::body(200, "text/plain", "not now"))
    });
    server.want_scope("write");
    for _ in 0..6 {
        let mut shim = home.shim(&[&upstream.url(), "--auth-timeout", "1"]);
        let answer = shim.handshake();
        assert!(answer["result"].is_object() || answer["error"].is_object());
    }
    assert!(browser.visited().len() <= 4, "{:?}", browser.visited());
}
