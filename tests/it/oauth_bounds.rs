//! What servers can make us do, and how long anybody waits for it: few tabs, few
//! refreshes, and an answer in time.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

use mcp_remote_tests::authorization_server::{Config, FakeAuthorizationServer};
use mcp_remote_tests::browser::Browser;
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::monitor::Monitor;
use mcp_remote_tests::shim::{conversation, text_of};
use mcp_remote_tests::upstream::{FakeUpstream, Reply, Request, Rpc};

use crate::support::{attached, messages, our_error, sign_in, signed_in};

/// A guarded server whose `script` answers what it wants to, and a person who agrees.
fn scene(
    script: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static,
) -> (FakeAuthorizationServer, FakeUpstream, TestHome, Browser) {
    let server = FakeAuthorizationServer::with(Config::default());
    let upstream = FakeUpstream::start();
    server.protect_scripted(&upstream, script);
    let mut home = TestHome::new();
    let browser = Browser::agreeing(&mut home);
    (server, upstream, home, browser)
}

fn calls(request: &Request, tool: &str) -> bool {
    Rpc::parse(&request.body).is_some_and(|rpc| rpc.param("/name") == tool)
}

fn invalid_token() -> Reply {
    Reply::status(401).with("WWW-Authenticate", r#"Bearer error="invalid_token""#)
}

#[test]
fn a_server_that_wants_another_scope_each_time_opens_three_tabs() {
    let asked = AtomicUsize::new(0);
    let (_server, upstream, home, browser) = scene(move |request| {
        calls(request, "greedy").then(|| {
            let number = asked.fetch_add(1, Ordering::Relaxed);
            let challenge = format!(r#"Bearer error="insufficient_scope", scope="s{number}""#);
            Reply::status(403).with("WWW-Authenticate", &challenge)
        })
    });
    let mut shim = attached(&home, &[&upstream.url()]);
    for id in 1..4 {
        let error = our_error(&shim.call("greedy", "{}"), id);
        assert_eq!(error["data"]["httpStatus"], 403, "{error}");
    }
    // The first is that of the sign-in.
    assert_eq!(browser.visited().len(), 4, "{:?}", browser.visited());
}

#[test]
fn a_tool_that_refuses_every_token_gets_an_answer_while_others_work() {
    let echoed: &'static Monitor<usize> = Box::leak(Box::default());
    let (server, upstream, home, browser) = scene(move |request| {
        if calls(request, "bad") {
            // Slowly: others are accepted with the same token meanwhile.
            let before = echoed.look(|echoed| *echoed);
            echoed.expect("another call", |now| (*now > before + 1).then_some(()));
            return Some(invalid_token());
        }
        echoed.update(|echoed| *echoed += usize::from(calls(request, "echo")));
        None
    });
    let mut busy = attached(&home, &[&upstream.url()]);
    let mut shim = attached(&home, &[&upstream.url()]);
    busy.echo("before");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                busy.echo("busy");
            }
        });
        let answer = shim.call("bad", "{}");
        over.store(true, Ordering::Relaxed);
        our_error(&answer, 1);
    });
    assert!(server.count("token refresh") <= 6, "{:?}", server.labels());
    assert_eq!(browser.visited().len(), 1);
}

#[test]
fn a_server_that_hears_of_new_tokens_late_costs_no_sign_in() {
    let seen: Mutex<BTreeSet<String>> = Mutex::default();
    let (server, upstream, home, browser) = scene(move |request| {
        let token = request.header("Authorization")?.to_owned();
        let is_new = seen.lock().ok()?.insert(token);
        is_new.then(invalid_token)
    });
    let mut shim = attached(&home, &[&upstream.url()]);
    shim.echo("signed in");
    server.expire_access_tokens();
    shim.echo("renewed");
    assert_eq!(server.count("token refresh"), 1, "{:?}", server.labels());
    assert_eq!(browser.visited().len(), 1);
}

/// An authorization server that takes requests and is silent.
fn silent() -> (FakeAuthorizationServer, FakeUpstream, TestHome, Browser) {
    let scene = scene(|_| None);
    scene.0.script(|_, _| Some(Reply::Hang));
    scene
}

#[test]
fn initialize_is_answered_in_time_when_an_authorization_server_is_silent() {
    let (_server, upstream, home, _browser) = silent();
    let began = Instant::now();
    let mut shim = home.shim(&[&upstream.url(), "--auth-timeout", "1"]);
    let error = our_error(&shim.handshake(), 0);
    assert!(began.elapsed() < Duration::from_secs(8), "{error}");
    let message = error["message"].as_str().expect("a message");
    assert!(
        message.contains("401") && message.contains("within 1 s"),
        "{message}"
    );
}

#[test]
fn a_client_that_has_said_all_is_answered_when_an_authorization_server_is_silent() {
    let (_server, upstream, home, _browser) = silent();
    let began = Instant::now();
    let finished = home.run_with(&[&upstream.url()], &conversation("x"));
    assert!(began.elapsed() < Duration::from_secs(15), "{finished:?}");
    let answers = messages(&finished.stdout);
    assert_eq!(answers.len(), 2, "{finished:?}");
    for answer in answers {
        let message = answer["error"]["message"].as_str().expect("an error");
        assert!(message.contains("has not answered yet"), "{message}");
    }
}

#[test]
fn an_expired_token_whose_renewal_hangs_holds_nobody_up() {
    let (server, upstream, home, _browser) = scene(|_| None);
    let mut shim = attached(&home, &[&upstream.url(), "--auth-timeout", "1"]);
    shim.echo("signed in");
    server.expire_access_tokens();
    server.script(|label, _| (label == "token refresh").then_some(Reply::Hang));
    let began = Instant::now();
    let error = our_error(&shim.call("echo", r#"{"message":"x"}"#), 2);
    assert!(began.elapsed() < Duration::from_secs(12), "{error}");
    // It goes on, and is of use to the next one.
    server.behave();
    let began = Instant::now();
    loop {
        let answer = shim.call("echo", r#"{"message":"later"}"#);
        if answer["error"].is_null() {
            assert_eq!(text_of(&answer), "later");
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{answer}");
    }
}

#[test]
fn a_logout_is_answered_when_an_authorization_server_is_silent() {
    let (server, upstream, home, _browser) = scene(|_| None);
    let mut shim = attached(&home, &[&upstream.url()]);
    shim.echo("signed in");
    server.expire_access_tokens();
    server.script(|_, _| Some(Reply::Hang));
    shim.begin_call("echo", r#"{"message":"x"}"#);
    server.wait_for("/.well-known/oauth-authorization-server", 2);
    let began = Instant::now();
    let finished = home.run(&["logout", &upstream.url()]);
    assert!(began.elapsed() < Duration::from_secs(20), "{finished:?}");
    let said = format!("{}{}", finished.stdout, finished.stderr);
    assert!(said.contains("not revoked"), "{finished:?}");
}

#[test]
fn a_logout_of_all_asks_several_authorization_servers_at_a_time() {
    let (server, upstream, home, _browser) = signed_in(Config::default());
    let (other, elsewhere) = (
        FakeAuthorizationServer::with(Config::default()),
        FakeUpstream::start(),
    );
    other.protect(&elsewhere);
    sign_in(&home, &[&elsewhere.url()]);
    // Each answers only when the other one has been asked too.
    let both = Arc::new(Barrier::new(2));
    for server in [&server, &other] {
        let (both, met) = (both.clone(), AtomicBool::new(false));
        server.script(move |label, _| {
            if label == "revoke" && !met.swap(true, Ordering::SeqCst) {
                both.wait();
            }
            None
        });
    }
    let out = home.run(&["logout", "--all"]);
    assert_eq!(out.stdout, "Signed out 2 times.\n", "{out:?}");
    assert_eq!(out.stderr, "", "each was revoked: {}", upstream.url());
}
