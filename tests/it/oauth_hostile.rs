//! Authorization servers and web pages that are up to something: one clear
//! sentence, no browser where it does not belong, and a sign-in that goes on.

use std::io::Write as _;
use std::net::TcpStream;

use mcp_remote_tests::authorization_server::{Config, FakeAuthorizationServer};
use mcp_remote_tests::browser::{self, Browser};
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::shim::{INITIALIZE, TestShim};
use mcp_remote_tests::upstream::{FakeUpstream, Reply, hostile};
use serde_json::{Map, Value, json};

use crate::support::our_error;

fn patch(name: &str, value: impl Into<Value>) -> Map<String, Value> {
    let mut patch = Map::new();
    patch.insert(name.to_owned(), value.into());
    patch
}

/// Checks that the handshake fails with one sentence and no browser; returns it.
#[track_caller]
fn refused(config: Config, script: impl FnOnce(&FakeAuthorizationServer)) -> String {
    let server = FakeAuthorizationServer::with(config);
    let upstream = FakeUpstream::start();
    server.protect(&upstream);
    script(&server);
    let mut home = TestHome::new();
    let browser = Browser::agreeing(&mut home);
    let mut shim = home.shim(&[&upstream.url(), "--auth-timeout", "2"]);
    let error = our_error(&shim.handshake(), 0);
    assert_eq!(browser.visited(), [""; 0]);
    assert_eq!(server.count("token code"), 0, "{:?}", server.labels());
    error["message"].as_str().expect("a message").to_owned()
}

#[test]
fn no_url_of_a_server_is_opened_or_asked_that_is_no_web_address() {
    let long = format!("https://h/{}", "a".repeat(2 * 1024 * 1024));
    let urls = [
        "javascript:alert(1)",
        "file:///etc/passwd",
        "a:$(touch PWN)?response_type=code",
        "http://127.0.0.1:1$(touch PWN)/a",
        "http://h/%24%28x%29;`x`?x=$(x)&y='\"|calc",
        "-h",
        "--version",
        "http://user:pa$(id)ss@h/a",
        "https://h\u{e9}@/",
        "calculator:/x",
        "\\\\host\\share\\x",
        &long,
    ];
    for endpoint in [
        "authorization_endpoint",
        "token_endpoint",
        "registration_endpoint",
    ] {
        for url in urls {
            let config = Config {
                patch: patch(endpoint, url),
                ..Config::default()
            };
            let sentence = refused(config, |_| {});
            assert!(sentence.len() < 1000, "{sentence}");
            assert!(!sentence.contains("PWN"), "{sentence}");
        }
    }
}

#[test]
fn issuers_that_are_not_who_they_say_are_refused() {
    for config in [
        Config {
            patch: patch("issuer", "https://other.example.com"),
            ..Config::default()
        },
        Config {
            resource_patch: patch("resource", "https://other.example.com/mcp"),
            ..Config::default()
        },
        Config {
            resource_patch: patch("authorization_servers", json!([])),
            ..Config::default()
        },
        Config {
            patch: patch("code_challenge_methods_supported", Value::Null),
            ..Config::default()
        },
        Config {
            patch: patch("code_challenge_methods_supported", json!(["plain"])),
            ..Config::default()
        },
    ] {
        refused(config, |_| {});
    }
}

#[test]
fn nothing_follows_a_redirect_of_the_token_or_registration_endpoint() {
    let elsewhere = FakeUpstream::scripted(|_| Some(Reply::json(200, "{}")));
    for status in [301, 302, 303, 307, 308] {
        let location = elsewhere.origin();
        refused(Config::default(), move |server| {
            server.script(move |label, _| {
                (label == "register").then(|| hostile::redirect(status, &location))
            });
        });
    }
    assert_eq!(elsewhere.labels(), [""; 0]);
}

/// A sign-in under way with nobody at the browser; the URL of its page and where
/// that would lead.
struct Pending {
    server: FakeAuthorizationServer,
    _upstream: FakeUpstream,
    _home: TestHome,
    shim: TestShim,
    redirect: String,
}

fn pending(config: Config) -> Pending {
    let server = FakeAuthorizationServer::with(config);
    let upstream = FakeUpstream::start();
    server.protect(&upstream);
    let mut home = TestHome::new();
    let browser = Browser::idle(&mut home);
    let mut shim = home.shim(&[&upstream.url()]);
    shim.send(INITIALIZE);
    shim.wait_for_stderr("Browser opened automatically.");
    let page = browser::get(&browser.visited()[0]).expect("it answers");
    let redirect = page.header("location").expect("a redirect").to_owned();
    Pending {
        server,
        _upstream: upstream,
        _home: home,
        shim,
        redirect,
    }
}

impl Pending {
    /// Completes the sign-in and checks that the client gets its answer.
    #[track_caller]
    fn complete(self) {
        let page = browser::get(&self.redirect).expect("it listens");
        assert_eq!(page.status, 200, "{page:?}");
        let answer = self.shim.message();
        assert!(answer["result"].is_object(), "{answer}");
        assert_eq!(self.server.count("token code"), 1);
    }
}

#[test]
fn what_web_pages_send_to_the_listener_neither_ends_nor_changes_a_sign_in() {
    let pending = pending(Config::default());
    let (callback, query) = pending.redirect.split_once('?').expect("a query");
    let origin = callback.split("/oauth").next().expect("an origin");
    let right = pending.redirect.as_str();
    let wrong_state = query.replace("state=", "state=x");
    let long = format!("{callback}?code=x&state={}", "a".repeat(1024 * 1024));
    for (method, url, fields) in [
        (
            "GET",
            format!("{callback}?error=access_denied"),
            &[] as &[(&str, &str)],
        ),
        ("GET", format!("{callback}?code=junk"), &[]),
        ("GET", callback.to_owned(), &[]),
        ("GET", format!("{callback}?{wrong_state}"), &[]),
        ("GET", format!("{callback}?{query}&state=y"), &[]),
        ("GET", format!("{callback}?{query}&code=second"), &[]),
        ("GET", long, &[]),
        ("GET", format!("{origin}/favicon.ico"), &[]),
        ("GET", format!("{origin}/other?{query}"), &[]),
        ("GET", right.to_owned(), &[("Host", "evil.example.com")]),
        (
            "GET",
            right.to_owned(),
            &[("Origin", "https://evil.example.com")],
        ),
        ("POST", right.to_owned(), &[("Content-Length", "0")]),
        ("HEAD", right.to_owned(), &[]),
        ("OPTIONS", right.to_owned(), &[]),
    ] {
        if let Ok(page) = browser::request(method, &url, fields) {
            assert!(page.status >= 400, "{method} {fields:?}: {page:?}");
            assert!(!page.body.contains("evil"), "{page:?}");
        }
    }
    assert_eq!(pending.server.count("token code"), 0);
    pending.complete();
}

#[test]
fn slow_and_many_connections_hold_up_no_sign_in() {
    let pending = pending(Config::default());
    let authority = pending.redirect.strip_prefix("http://").expect("http");
    let authority = authority
        .split('/')
        .next()
        .expect("an authority")
        .to_owned();
    let mut slow = Vec::new();
    for number in 0..300 {
        let Ok(mut socket) = TcpStream::connect(&authority) else {
            continue;
        };
        if number % 2 == 0 {
            drop(socket.write_all(b"GET /oauth/callback?code=x HTT"));
        }
        slow.push(socket);
    }
    pending.complete();
    drop(slow);
}

#[test]
fn what_a_refusal_says_is_shown_as_text() {
    let pending = pending(Config::default());
    let (callback, query) = pending.redirect.split_once('?').expect("a query");
    let state = query
        .split('&')
        .find(|pair| pair.starts_with("state="))
        .expect("state");
    let iss = query
        .split('&')
        .find(|pair| pair.starts_with("iss="))
        .expect("iss");
    let evil = "%3Cscript%3Ealert(1)%3C%2Fscript%3E%1B%5B2J%0D%0AX:%20y";
    let url = format!("{callback}?error=access_denied&error_description={evil}&{state}&{iss}");
    let page = browser::get(&url).expect("it listens");
    assert!(!page.body.contains("<script>alert"), "{page:?}");
    assert!(
        !page.body.contains('\u{1b}') && page.header("x").is_none(),
        "{page:?}"
    );
    let error = our_error(&pending.shim.message(), 0);
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains("access_denied"), "{message}");
    assert!(!pending.shim.stderr().contains('\u{1b}'));
}

#[test]
fn a_redirect_from_another_issuer_brings_no_code() {
    let pending = pending(Config::default());
    let evil = pending
        .redirect
        .replace("iss=", "iss=https%3A%2F%2Fevil.example.com%2F");
    let page = browser::get(&evil).expect("it listens");
    assert!(page.status >= 400, "{page:?}");
    assert_eq!(pending.server.count("token code"), 0);
    our_error(&pending.shim.message(), 0);
}

#[test]
fn a_code_works_once() {
    let pending = pending(Config::default());
    let again = pending.redirect.clone();
    let page = browser::get(&pending.redirect).expect("it listens");
    assert_eq!(page.status, 200);
    assert!(pending.shim.message()["result"].is_object());
    // Nobody listens any more, or it is refused.
    assert!(browser::get(&again).map_or(true, |page| page.status >= 400));
    assert_eq!(pending.server.count("token code"), 1);
}

#[test]
fn a_token_response_that_is_none_is_a_clear_error() {
    for (status, content_type, body) in [
        (200, "text/html", "<html>sign in</html>"),
        (200, "application/json", "[]"),
        (
            200,
            "application/json",
            r#"{"access_token":"s3cr3t-x\r\nX: y","token_type":"Bearer"}"#,
        ),
        (
            200,
            "application/json",
            r#"{"access_token":"s3cr3t-x","token_type":"mac"}"#,
        ),
        (
            200,
            "application/json",
            r#"{"access_token":7,"token_type":"Bearer"}"#,
        ),
        (400, "text/plain", "no"),
        (500, "text/html", "<html>"),
    ] {
        let pending = pending(Config::default());
        pending.server.script(move |label, _| {
            (label == "token code").then(|| Reply::body(status, content_type, body))
        });
        let page = browser::get(&pending.redirect).expect("it listens");
        assert!(!page.body.contains("s3cr3t"), "{page:?}");
        let error = our_error(&pending.shim.message(), 0);
        assert!(!error.to_string().contains("s3cr3t"), "{error}");
    }
}
