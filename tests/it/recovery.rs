//! A session or a server that went away comes back without the client's doing.

use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::shim::text_of;
use mcp_remote_tests::upstream::{Config, FakeUpstream, Refusal, Replies, hostile, label};

use crate::support::{attached, one_shot, our_error};

#[test]
fn a_refused_session_is_made_again_and_the_call_answered() {
    for refusal in [Refusal::NotFound, Refusal::BadRequest] {
        let upstream = FakeUpstream::start();
        let home = TestHome::new();
        let mut shim = attached(&home, &[&upstream.url()]);
        shim.echo("before");
        upstream.wait_for_streams(1);
        upstream.script(|request| {
            // Only the call shall find out that the session is gone.
            let again = request.method == "GET";
            again.then(|| mcp_remote_tests::upstream::Reply::status(405))
        });
        upstream.forget_requests();
        upstream.forget_sessions(refusal);
        shim.echo("after");
        let mut posts = upstream.labels();
        posts.retain(|label| label.starts_with("POST"));
        let expected = [
            "POST tools/call",
            "POST initialize",
            "POST notifications/initialized",
            "POST tools/call",
        ];
        assert_eq!(posts, expected, "{refusal:?}");
        assert_eq!(shim.finish(), 0);
    }
}

#[test]
fn many_calls_refused_at_once_make_one_new_session() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    shim.echo("before");
    upstream.forget_sessions(Refusal::NotFound);
    for _ in 0..20 {
        shim.begin_call("session", "{}");
    }
    for _ in 0..20 {
        assert_eq!(text_of(&shim.message()), "session-2");
    }
    assert_eq!(upstream.sessions_made(), 2);
}

#[test]
fn an_idle_session_that_the_server_forgot_is_made_again_for_the_next_shim() {
    for refusal in [Refusal::NotFound, Refusal::BadRequest] {
        let upstream = FakeUpstream::start();
        let home = TestHome::new();
        one_shot(&home, &[&upstream.url()]);
        upstream.forget_sessions(refusal);
        one_shot(&home, &[&upstream.url()]);
    }
}

#[test]
fn a_server_that_refuses_every_session_is_an_error_not_a_loop() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    upstream.script(|request| {
        let call = label(request) == "POST tools/call";
        call.then(|| hostile::html(404))
    });
    our_error(&shim.call("echo", "{}"), 1);
    assert!(upstream.count("POST tools/call") <= 3);
    assert!(upstream.sessions_made() <= 3);
}

#[test]
fn a_server_that_restarts_is_used_again_by_the_same_shim() {
    let mut upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    shim.echo("before");
    upstream.go_down();
    let error = our_error(&shim.call("echo", "{}"), 2);
    let cause = error["data"]["cause"].as_str().expect("a cause");
    // Refused, or reset if the daemon had not seen the old connection's end yet.
    assert!(cause.contains("connection"), "{error}");
    upstream.come_back();
    shim.echo("after");
    assert_eq!(shim.finish(), 0);
}

#[test]
fn a_server_that_starts_late_is_used_by_the_same_shim() {
    let mut upstream = FakeUpstream::start();
    upstream.go_down();
    let home = TestHome::new();
    let mut shim = home.shim(&[&upstream.url()]);
    our_error(&shim.handshake(), 0);
    our_error(&shim.call("echo", "{}"), 1);
    upstream.come_back();
    // A failure stands for a moment for what is asked right behind it.
    let mut tries = (0..1000).map(|_| shim.handshake());
    let found = tries.find(|answer| answer["result"].is_object());
    assert!(found.is_some(), "no answer from a server that came back");
    shim.echo("after");
    assert_eq!(shim.finish(), 0);
}

#[test]
fn the_servers_own_stream_is_opened_again() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let shim = attached(&home, &[&upstream.url()]);
    upstream.wait_for_streams(1);
    upstream.cut_streams();
    upstream.wait_for("GET", 2);
    let line = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
    upstream.push(line);
    assert_eq!(shim.line(), line);
    assert_eq!(upstream.sessions_made(), 1);
}

#[test]
fn a_call_whose_answer_was_lost_is_not_repeated() {
    for replies in [Replies::Json, Replies::Events] {
        let upstream = FakeUpstream::with(Config {
            replies,
            ..Config::default()
        });
        let home = TestHome::new();
        let mut shim = attached(&home, &[&upstream.url()]);
        let error = our_error(&shim.call("vanish", "{}"), 1);
        assert_eq!(error["data"]["maybeExecuted"], true);
        let held = shim.begin_call("hold", r#"{"gate":"never"}"#);
        upstream.wait_for_hold("never");
        upstream.open_gate("never");
        assert_eq!(shim.message()["id"], held);
        assert_eq!(upstream.count("POST tools/call"), 2);
    }
}

#[test]
fn a_session_in_which_a_call_may_still_run_goes_to_nobody_else() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    our_error(&shim.call("vanish", "{}"), 1);
    shim.echo("goes on");
    assert_eq!(upstream.sessions_made(), 1);
    assert_eq!(shim.finish(), 0);
    upstream.wait_for("DELETE", 1);
    one_shot(&home, &[&upstream.url()]);
    assert_eq!(upstream.sessions_made(), 2);
}

#[test]
fn a_call_in_flight_when_the_server_dies_is_an_error_that_says_so() {
    let mut upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    let held = shim.begin_call("hold", r#"{"gate":"never"}"#);
    upstream.wait_for_hold("never");
    upstream.go_down();
    let error = our_error(&shim.message(), held);
    assert_eq!(error["data"]["maybeExecuted"], true);
    upstream.come_back();
    shim.echo("after");
    let requests = upstream.requests();
    let held = requests
        .iter()
        .filter(|request| request.text().contains("never"));
    assert_eq!(held.count(), 1);
}
