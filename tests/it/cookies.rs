//! The cookies of a session: sent where they were set, in that session only.

use mcp_remote_tests::home::{SECRET, TestHome};
use mcp_remote_tests::upstream::{Config, FakeUpstream, Request, label};

use crate::support::{attached, one_shot};

/// A server that sets a cookie with every reply.
fn server(sessions: bool) -> FakeUpstream {
    let upstream = FakeUpstream::with(Config {
        sessions,
        ..Config::default()
    });
    let cookie = format!("lb={SECRET}machine; Path=/; HttpOnly");
    upstream.add_header("Set-Cookie", &cookie);
    upstream
}

/// The labels of the requests with that cookie, and of those without any.
fn sorted(upstream: &FakeUpstream) -> (Vec<String>, Vec<String>) {
    let requests = upstream.requests();
    let (with, without): (Vec<&Request>, Vec<&Request>) = requests
        .iter()
        .partition(|request| request.header("Cookie").is_some());
    let expected = format!("lb={SECRET}machine");
    for request in &with {
        assert_eq!(request.header("Cookie"), Some(expected.as_str()));
    }
    let labels = |requests: Vec<&Request>| requests.into_iter().map(label).collect();
    (labels(with), labels(without))
}

#[test]
fn what_the_server_sets_comes_back_in_the_same_session() {
    let upstream = server(true);
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url(), "--reuse", "never"]);
    upstream.wait_for_streams(1);
    shim.echo("with a cookie");
    assert_eq!(shim.finish(), 0);
    upstream.wait_for("DELETE", 1);
    let (with, without) = sorted(&upstream);
    assert_eq!(without, ["POST initialize"]);
    for label in [
        "GET",
        "POST notifications/initialized",
        "POST tools/call",
        "DELETE",
    ] {
        assert!(with.iter().any(|sent| sent == label), "{label}: {with:?}");
    }
}

#[test]
fn another_session_has_none_of_it() {
    let upstream = server(true);
    let home = TestHome::new();
    let url = upstream.url();
    let first = attached(&home, &[&url]);
    let second = attached(&home, &[&url]);
    assert_eq!(upstream.sessions_made(), 2);
    let (with, without) = sorted(&upstream);
    assert_eq!(without, ["POST initialize", "POST initialize"]);
    assert!(!with.contains(&"POST initialize".to_owned()));
    drop((first, second));
}

#[test]
fn where_several_share_a_server_without_sessions_none_is_kept() {
    let upstream = server(false);
    let home = TestHome::new();
    let url = upstream.url();
    let (mut first, mut second) = (attached(&home, &[&url]), attached(&home, &[&url]));
    first.echo("one");
    second.echo("two");
    assert_eq!(upstream.count("POST initialize"), 1);
    assert_eq!(sorted(&upstream).0, Vec::<String>::new());
    // Alone in it, a command keeps them.
    let mut alone = attached(&home, &[&url, "--reuse", "never"]);
    alone.echo("three");
    assert!(sorted(&upstream).0.contains(&"POST tools/call".to_owned()));
}

#[test]
fn cookies_can_be_switched_off_and_ones_own_count_alone() {
    let upstream = server(true);
    let home = TestHome::new();
    one_shot(&home, &[&upstream.url(), "--disable-cookies"]);
    assert_eq!(sorted(&upstream).0, Vec::<String>::new());
    upstream.forget_requests();
    one_shot(&home, &[&upstream.url(), "--header", "Cookie: mine=1"]);
    for request in upstream.requests() {
        assert_eq!(request.header("Cookie"), Some("mine=1"), "{request:?}");
    }
}

#[test]
fn a_cookie_in_an_error_of_the_server_is_not_passed_on() {
    let upstream = server(true);
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    upstream.script(|request| {
        let body = request.header("Cookie").unwrap_or_default().to_owned();
        (label(request) == "POST tools/call")
            .then(|| mcp_remote_tests::upstream::Reply::body(500, "text/plain", body))
    });
    let answer = shim.call("echo", "{}").to_string();
    assert!(
        answer.contains("[redacted]") && !answer.contains(SECRET),
        "{answer}"
    );
}
