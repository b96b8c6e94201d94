//! `--keep-alive` and `--ping-interval`: pings that only the server sees, and what
//! is mended because of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::shim::text_of;
use mcp_remote_tests::upstream::{Config, FakeUpstream, Kind, Refusal, Reply, label};

use crate::support::attached;

const PING: &str = "POST ping";

fn pinging(home: &TestHome, upstream: &FakeUpstream) -> mcp_remote_tests::shim::TestShim {
    attached(home, &[&upstream.url(), "--ping-interval", "0.2"])
}

#[test]
fn the_server_is_pinged_while_a_command_has_the_session() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = pinging(&home, &upstream);
    upstream.wait_for(PING, 3);
    shim.echo("as ever");
    // The client has seen nothing of it.
    assert_eq!(shim.finish(), 0);
    let pings = upstream.count(PING);
    let mut next = attached(&home, &[&upstream.url()]);
    assert_eq!(next.line_within(Duration::from_millis(700)), None);
    next.echo("without the flag");
    assert!(upstream.count(PING) <= pings + 1, "{:?}", upstream.labels());
    assert_eq!(upstream.sessions_made(), 1);
}

#[test]
fn a_session_that_the_server_forgot_is_made_anew_before_it_is_needed() {
    for kind in [Kind::StreamableHttp, Kind::HttpSse(404)] {
        let upstream = FakeUpstream::with(Config {
            kind,
            ..Config::default()
        });
        let home = TestHome::new();
        let mut shim = pinging(&home, &upstream);
        shim.echo("first");
        upstream.forget_sessions(Refusal::NotFound);
        upstream.wait_for("POST initialize", 2);
        upstream.wait_for("POST notifications/initialized", 2);
        upstream.forget_requests();
        shim.echo("second");
        assert_eq!(upstream.count("POST initialize"), 0, "{kind:?}");
        assert_eq!(shim.finish(), 0);
    }
}

/// Answers the first ping, and not those that follow.
fn deaf(kind: Kind, silent: usize) -> FakeUpstream {
    let upstream = FakeUpstream::with(Config {
        kind,
        ..Config::default()
    });
    let pings = Arc::new(AtomicUsize::new(0));
    upstream.script(move |request| {
        let is_silent = || {
            let is_ping = label(request) == PING;
            is_ping && (1..=silent).contains(&pings.fetch_add(1, Ordering::Relaxed))
        };
        is_silent().then(|| match kind {
            Kind::StreamableHttp => Reply::Hang,
            Kind::HttpSse(_) => Reply::status(202),
        })
    });
    upstream
}

#[test]
fn connections_on_which_nothing_is_answered_are_replaced() {
    let upstream = deaf(Kind::StreamableHttp, 1);
    let home = TestHome::new();
    let mut shim = pinging(&home, &upstream);
    shim.echo("first");
    // The listening stream too is opened anew.
    let first = upstream.wait_for("GET", 1).connection;
    let again = upstream.wait_for("GET", 2).connection;
    let before: Vec<usize> = upstream
        .requests()
        .iter()
        .filter(|request| label(request) != "GET")
        .map(|request| request.connection)
        .take(4)
        .collect();
    shim.echo("second");
    let after = upstream.wait_for("POST tools/call", 2).connection;
    assert!(
        first != again && !before.contains(&after),
        "{before:?} {after}"
    );
    assert_eq!(upstream.sessions_made(), 1);
}

#[test]
fn a_stream_on_which_nothing_is_answered_is_another_session() {
    let upstream = deaf(Kind::HttpSse(404), 1);
    let home = TestHome::new();
    let mut shim = pinging(&home, &upstream);
    shim.echo("first");
    upstream.wait_for("POST notifications/initialized", 2);
    shim.echo("second");
    assert_eq!(shim.finish(), 0);
}

#[test]
fn a_server_that_works_on_a_call_may_leave_pings_alone() {
    let upstream = deaf(Kind::HttpSse(404), 2);
    let home = TestHome::new();
    let mut shim = pinging(&home, &upstream);
    let id = shim.begin_call("hold", r#"{"gate":"long"}"#);
    upstream.wait_for_hold("long");
    // Each comes when the one before has been answered or given up.
    upstream.wait_for(PING, 4);
    upstream.open_gate("long");
    let answer = shim.message();
    assert_eq!(
        (answer["id"].as_u64(), text_of(&answer)),
        (Some(id), "held long".into())
    );
    assert_eq!(upstream.count("POST notifications/initialized"), 1);
}

#[test]
fn a_server_that_never_answers_a_ping_keeps_its_session() {
    let upstream = FakeUpstream::with(Config {
        kind: Kind::HttpSse(404),
        ..Config::default()
    });
    upstream.script(|request| (label(request) == PING).then(|| Reply::status(202)));
    let home = TestHome::new();
    let mut shim = pinging(&home, &upstream);
    upstream.wait_for(PING, 3);
    shim.echo("as ever");
    assert_eq!(upstream.count("POST notifications/initialized"), 1);
}

#[test]
fn who_shares_a_session_shares_its_pings() {
    let upstream = FakeUpstream::with(Config {
        sessions: false,
        ..Config::default()
    });
    let home = TestHome::new();
    let shims: Vec<_> = (0..4)
        .map(|_| attached(&home, &[&upstream.url(), "--ping-interval", "0.3"]))
        .collect();
    let began = Instant::now();
    let first = upstream.count(PING);
    upstream.wait_for(PING, first + 6);
    // Each for itself would have taken two rounds.
    assert!(began.elapsed() > Duration::from_millis(1000));
    for shim in shims {
        assert_eq!(shim.finish(), 0);
    }
}
