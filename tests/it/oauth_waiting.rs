//! What becomes of requests while somebody has to sign in.

use mcp_remote_tests::authorization_server::FakeAuthorizationServer;
use mcp_remote_tests::browser::{self, Browser};
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::shim::text_of;
use mcp_remote_tests::upstream::FakeUpstream;

use crate::support::{attached, our_error};

/// A home that was signed in once and is not any more; its browser's person is away.
fn signed_out() -> (FakeAuthorizationServer, FakeUpstream, TestHome, Browser) {
    let server = FakeAuthorizationServer::start();
    let upstream = FakeUpstream::start();
    server.protect(&upstream);
    let mut home = TestHome::new();
    Browser::agreeing(&mut home);
    let mut shim = attached(&home, &[&upstream.url()]);
    shim.echo("signed in");
    assert_eq!(shim.finish(), 0);
    assert_eq!(home.run(&["logout", &upstream.url()]).code, 0);
    assert_eq!(home.run(&["stop"]).code, 0);
    let browser = Browser::idle(&mut home);
    (server, upstream, home, browser)
}

/// Does what the person at the browser would.
fn agree(browser: &Browser) {
    let visited = browser.visited();
    let page = browser::visit(visited.last().expect("a page")).expect("it answers");
    assert_eq!(page.status, 200, "{page:?}");
}

#[test]
fn a_server_known_from_before_answers_initialize_at_once_and_calls_wait() {
    let (_server, upstream, home, browser) = signed_out();
    let mut shim = attached(&home, &[&upstream.url()]);
    shim.wait_for_stderr("Browser opened automatically.");
    upstream.forget_requests();
    let first = shim.begin_call("echo", r#"{"message":"first"}"#);
    let second = shim.begin_call("echo", r#"{"message":"second"}"#);
    agree(&browser);
    for _ in 0..2 {
        let answer = shim.message();
        let expected = if answer["id"] == first {
            "first"
        } else {
            "second"
        };
        assert!(answer["id"] == first || answer["id"] == second, "{answer}");
        assert_eq!(text_of(&answer), expected);
    }
    assert_eq!(upstream.count("POST tools/call"), 2, "each is said once");
    assert_eq!(shim.finish(), 0);
}

#[test]
fn a_call_that_is_cancelled_while_it_waits_is_never_made() {
    let (_server, upstream, home, browser) = signed_out();
    let mut shim = attached(&home, &[&upstream.url()]);
    shim.wait_for_stderr("Browser opened automatically.");
    upstream.forget_requests();
    let id = shim.begin_call("echo", r#"{"message":"cancelled"}"#);
    shim.send(&format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
    ));
    // Answered here, and after all that was said before.
    shim.send(r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#);
    assert_eq!(shim.message()["id"], "p");
    shim.begin_call("echo", r#"{"message":"wanted"}"#);
    agree(&browser);
    assert_eq!(text_of(&shim.message()), "wanted");
    assert_eq!(upstream.count("POST tools/call"), 1);
    assert_eq!(shim.finish(), 0);
}

#[test]
fn only_so_many_calls_wait_for_a_sign_in() {
    let (_server, upstream, home, browser) = signed_out();
    let mut shim = attached(&home, &[&upstream.url()]);
    shim.wait_for_stderr("Browser opened automatically.");
    for _ in 0..1000 {
        shim.begin_call("echo", r#"{"message":"waits"}"#);
    }
    let error = our_error(&shim.call("echo", r#"{"message":"one too many"}"#), 1001);
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains("too many requests wait"), "{message}");
    agree(&browser);
    for _ in 0..1000 {
        assert_eq!(text_of(&shim.message()), "waits");
    }
    assert_eq!(upstream.count("POST tools/call"), 1001, "one of before");
    assert_eq!(shim.finish(), 0);
}

#[test]
fn nobody_waits_longer_than_the_user_allows_and_the_sign_in_goes_on() {
    let (_server, upstream, home, browser) = signed_out();
    let mut shim = attached(&home, &[&upstream.url(), "--auth-timeout", "1"]);
    let error = our_error(&shim.call("echo", r#"{"message":"x"}"#), 1);
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains("within 1 s"), "{message}");
    let visited = browser.visited();
    assert_eq!(error["data"]["authorizationUrl"], visited[1]);
    assert!(error["data"].get("maybeExecuted").is_none(), "{error}");
    agree(&browser);
    shim.wait_for_stderr("Signed in to");
    shim.echo("now");
    assert_eq!(browser.visited(), visited);
}

#[test]
fn with_credentials_of_their_own_nobody_is_asked_to_sign_in() {
    let (server, upstream, home, browser) = signed_out();
    let before = server.labels().len();
    let mut shim = home.shim(&[&upstream.url(), "--header", "Authorization: Bearer mine"]);
    let error = our_error(&shim.handshake(), 0);
    let message = error["message"].as_str().expect("a message");
    assert!(
        message.contains("401") && message.contains("--header"),
        "{message}"
    );
    assert!(error["data"].get("authorizationUrl").is_none(), "{error}");
    assert_eq!(server.labels().len(), before);
    assert_eq!(browser.visited().len(), 1, "the sign-in of before");
}

/// An `initialize` of a client that shows pages to its user.
const SHOWS_PAGES: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{"url":{}}},"clientInfo":{"name":"tests","version":"1"}}}"#;

/// The same home, without any browser.
fn without_browser() -> (FakeAuthorizationServer, FakeUpstream, TestHome) {
    let (server, upstream, mut home, _browser) = signed_out();
    home.unset("BROWSER");
    (server, upstream, home)
}

#[test]
fn a_client_that_shows_pages_is_offered_the_one_that_no_browser_shows() {
    let (_server, upstream, home) = without_browser();
    let mut shim = home.shim(&[&upstream.url()]);
    assert!(shim.handshake_with(SHOWS_PAGES)["result"].is_object());
    let call = shim.begin_call("echo", r#"{"message":"shown"}"#);
    let question = shim.message();
    assert_eq!(question["method"], "elicitation/create", "{question}");
    let asked = &question["params"];
    assert_eq!(asked["mode"], "url");
    let url = asked["url"].as_str().expect("a URL");
    assert!(shim.stderr().contains(url), "{}", shim.stderr());
    let id = &question["id"];
    shim.send(&format!(
        r#"{{"jsonrpc":"2.0","id":{id},"result":{{"action":"accept"}}}}"#
    ));
    assert_eq!(browser::visit(url).expect("it answers").status, 200);
    let (mut completed, mut answered) = (false, false);
    for _ in 0..2 {
        let message = shim.message();
        if message["id"] == call {
            assert_eq!(text_of(&message), "shown");
            answered = true;
        } else {
            assert_eq!(message["method"], "notifications/elicitation/complete");
            assert_eq!(message["params"]["elicitationId"], asked["elicitationId"]);
            completed = true;
        }
    }
    assert!(completed && answered);
    // Neither the question nor its answer is the server's.
    assert_eq!(
        upstream.count("POST response"),
        0,
        "{:?}",
        upstream.labels()
    );
    assert_eq!(shim.finish(), 0);
}

#[test]
fn no_page_is_offered_to_who_did_not_ask_for_it_or_has_a_browser() {
    let (_server, upstream, home) = without_browser();
    let mut shim = attached(&home, &[&upstream.url(), "--auth-timeout", "1"]);
    our_error(&shim.call("echo", r#"{"message":"x"}"#), 1);
    drop(shim);
    let (_server, upstream, home, browser) = signed_out();
    let mut shim = home.shim(&[&upstream.url()]);
    assert!(shim.handshake_with(SHOWS_PAGES)["result"].is_object());
    let call = shim.begin_call("echo", r#"{"message":"x"}"#);
    shim.wait_for_stderr("Browser opened automatically.");
    agree(&browser);
    assert_eq!(shim.message()["id"], call);
    assert_eq!(shim.finish(), 0);
}

#[test]
fn what_a_server_says_to_one_is_not_told_to_another() {
    let (_server, upstream, home, _browser) = signed_out();
    let mut known = home.shim(&[&upstream.url()]);
    assert!(known.handshake()["result"].is_object(), "from earlier days");
    let header = ["--header", "X-Team: b", "--auth-timeout", "1"];
    let mut other = home.shim(&[&[&*upstream.url()], &header[..]].concat());
    our_error(&other.handshake(), 0);
}
