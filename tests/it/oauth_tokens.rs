//! Tokens are renewed once for everybody, are never lost while the server would
//! still take them, and cost nobody a sign-in that is not needed.

use std::time::{Duration, Instant};

use mcp_remote_tests::authorization_server::{Config, FakeAuthorizationServer};
use mcp_remote_tests::browser::Browser;
use mcp_remote_tests::daemon::TestDaemon;
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::shim::{TestShim, text_of};
use mcp_remote_tests::upstream::{FakeUpstream, Reply};
use serde_json::{Value, json};

use crate::support::{attached, one_shot, our_error, signed_in, token_files};

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

#[test]
fn logging_out_everywhere_revokes_what_this_daemon_has_not_used_as_well() {
    let (server, _upstream, home, _browser) = signed_in(Config::default());
    assert_eq!(home.run(&["stop"]).code, 0);
    let all = home.run(&["logout", "--all"]);
    assert_eq!(all.stdout, "Signed out 1 times.\n", "{all:?}");
    assert_eq!(all.stderr, "", "nothing was left undone");
    assert_eq!(server.count("revoke"), 2, "{:?}", server.labels());
}

#[test]
fn an_expired_grant_of_a_server_that_only_hints_is_renewed_before_it_is_used() {
    let (server, upstream, home, browser) = signed_in(Config::default());
    assert_eq!(home.run(&["stop"]).code, 0);
    server.expire_access_tokens();
    let path = token_file(&home);
    let text = std::fs::read(&path).expect("it can be read");
    let mut tokens: Value = serde_json::from_slice(&text).expect("JSON");
    tokens["expires_at"] = 1.into();
    std::fs::write(&path, tokens.to_string()).expect("written");
    upstream.forget_requests();
    // The challenge alone says where the metadata are, and a new daemon has not
    // heard it.
    one_shot(&home, &[&upstream.url()]);
    assert_eq!(upstream.count("POST tools/call"), 1);
    assert_eq!(upstream.count("POST initialize"), 1);
    assert_eq!(server.count("token refresh"), 1);
    assert_eq!(browser.visited().len(), 1);
}

/// The file of the tokens.
fn token_file(home: &TestHome) -> std::path::PathBuf {
    let folder = home.home().join(".mcp-auth/mcp-remote-d1");
    let entries = std::fs::read_dir(folder).expect("there is a folder");
    let mut paths = entries.flatten().map(|entry| entry.path());
    let found = paths.find(|path| path.to_string_lossy().ends_with("_tokens.json"));
    found.expect("there are tokens")
}

#[test]
fn tokens_that_cannot_be_stored_are_used_and_stored_as_soon_as_possible() {
    let (server, upstream, home, browser) = signed_in(Config::default());
    let tokens = token_file(&home);
    let in_the_way = tokens.clone();
    server.script(move |label, _| {
        if label == "token refresh" && !in_the_way.is_dir() {
            // The old ones are spent now, and nothing can take their place.
            let aside = in_the_way.with_extension("old");
            std::fs::rename(&in_the_way, aside).expect("there were tokens");
            std::fs::create_dir_all(in_the_way.join("x")).expect("made");
        }
        None
    });
    server.expire_access_tokens();
    one_shot(&home, &[&upstream.url()]);
    one_shot(&home, &[&upstream.url()]);
    assert_eq!(server.count("token refresh"), 1);
    let status = home.run(&["status"]);
    assert!(status.stdout.contains("not stored"), "{status:?}");
    assert!(!status.stdout.contains("s3cr3t"), "{status:?}");
    assert!(home.log().contains("could not be stored"), "{}", home.log());
    std::fs::remove_dir_all(&tokens).expect("it was in the way");
    // No file at all would say that somebody has signed out.
    let aside = tokens.with_extension("old");
    let old = std::fs::read(&aside).expect("kept");
    std::fs::rename(aside, &tokens).expect("back");
    let rpc = mcp_remote_tests::rpc::Rpc::connect(&home);
    rpc.watch_until(|status| {
        let grant = status.servers.first()?.auth.first()?;
        grant.last_error.is_empty().then_some(())
    });
    assert_ne!(std::fs::read(&tokens).expect("there"), old);
    home.kill_daemon();
    one_shot(&home, &[&upstream.url()]);
    assert_eq!(browser.visited().len(), 1, "they were stored");
    assert_eq!(server.count("token refresh"), 1);
}

#[test]
fn tokens_that_are_wanted_in_a_keyring_go_to_no_file_where_there_is_none() {
    let server = FakeAuthorizationServer::start();
    let upstream = FakeUpstream::start();
    server.protect(&upstream);
    let mut home = TestHome::new();
    let browser = Browser::agreeing(&mut home);
    home.set("MCP_REMOTE_TOKEN_STORE", "keyring");
    let mut shim = home.shim(&[&upstream.url()]);
    let error = our_error(&shim.handshake(), 0);
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains("the keyring cannot be used"), "{message}");
    assert!(message.contains("MCP_REMOTE_TOKEN_STORE"), "{message}");
    assert_eq!(browser.visited(), [""; 0]);
    drop(shim);
    let kept = std::fs::read_dir(home.home().join(".mcp-auth/mcp-remote-d1"));
    let kept = kept.into_iter().flatten().flatten();
    let mut names = kept.map(|entry| entry.file_name().to_string_lossy().into_owned());
    assert!(names.all(|name| !name.contains("json") && !name.contains("verifier")));

    home.set("MCP_REMOTE_TOKEN_STORE", "keychain");
    let refused = TestDaemon::refuse(&home, &[]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("file or keyring"), "{refused:?}");
}
