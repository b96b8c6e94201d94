//! The second command finds everything warm, and the server sees nothing else.

use mcp_remote_tests::daemon::TestDaemon;
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::rpc::Rpc;
use mcp_remote_tests::shim::text_of;
use mcp_remote_tests::tls::TestCa;
use mcp_remote_tests::upstream::{Config, FakeUpstream, Replies};

use crate::support::{attached, messages, one_shot};

fn sorted(mut labels: Vec<String>) -> Vec<String> {
    labels.sort();
    labels
}

#[test]
fn a_cold_call_costs_what_it_must_and_a_warm_one_exactly_one_post() {
    for replies in [Replies::Json, Replies::Events] {
        let upstream = FakeUpstream::with(Config {
            replies,
            ..Config::default()
        });
        let home = TestHome::new();
        let daemon = TestDaemon::start(&home, &[]);
        one_shot(&home, &[&upstream.url()]);
        upstream.wait_for_streams(1);
        let expected = [
            "GET",
            "POST initialize",
            "POST notifications/initialized",
            "POST tools/call",
        ];
        assert_eq!(sorted(upstream.labels()), expected);
        upstream.forget_requests();
        one_shot(&home, &[&upstream.url()]);
        one_shot(&home, &[&upstream.url()]);
        assert_eq!(daemon.terminate(), 0);
        let expected = ["POST tools/call", "POST tools/call", "DELETE"];
        assert_eq!(upstream.labels(), expected);
        assert_eq!(upstream.sessions_alive(), 0);
    }
}

#[test]
fn a_warm_initialize_is_the_same_answer() {
    let upstream = FakeUpstream::start();
    upstream.answer(
        "initialize",
        r#"{"serverInfo":{"version":"1","name":"fake-upstream","é":"\u00e9"},"protocolVersion":"2025-11-25","capabilities":{},"n":1.50,"instructions":"be kind"}"#,
    );
    let home = TestHome::new();
    let initialize = |_| {
        let mut shim = home.shim(&[&upstream.url()]);
        shim.send(mcp_remote_tests::shim::INITIALIZE);
        let line = shim.line();
        shim.send(mcp_remote_tests::shim::INITIALIZED);
        shim.echo("x");
        assert_eq!(shim.finish(), 0);
        line
    };
    let [cold, warm] = [0, 1].map(initialize);
    assert_eq!(cold, warm);
    assert!(
        cold.contains(r#""é":"\u00e9"},"protocolVersion""#),
        "{cold}"
    );
    assert_eq!(upstream.count("POST initialize"), 1);
}

#[test]
fn two_shims_at_once_have_two_sessions_and_a_third_reuses_one() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut first = attached(&home, &[&upstream.url()]);
    let mut second = attached(&home, &[&upstream.url()]);
    let sessions = [&mut first, &mut second].map(|shim| text_of(&shim.call("session", "{}")));
    assert_ne!(sessions[0], sessions[1]);
    assert_eq!([first.finish(), second.finish()], [0, 0]);
    let mut third = attached(&home, &[&upstream.url()]);
    let session = text_of(&third.call("session", "{}"));
    assert!(sessions.contains(&session));
    assert_eq!(upstream.sessions_made(), 2);
}

#[test]
fn a_session_of_a_shim_that_was_killed_is_not_lost() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    shim.echo("x");
    shim.signal(rustix::process::Signal::KILL);
    shim.wait();
    mcp_remote_tests::rpc::Rpc::connect(&home).watch_until(|status| {
        let idle = status
            .servers
            .iter()
            .any(|server| server.sessions_idle == 1);
        idle.then_some(())
    });
    one_shot(&home, &[&upstream.url()]);
    assert_eq!(upstream.sessions_made(), 1);
}

#[test]
fn what_a_client_switched_on_does_not_reach_the_next() {
    for (request, undo) in [
        (
            r#"{"jsonrpc":"2.0","id":"s","method":"resources/subscribe","params":{"uri":"a:b"}}"#,
            "POST resources/unsubscribe",
        ),
        (
            r#"{"jsonrpc":"2.0","id":"s","method":"logging/setLevel","params":{"level":"debug"}}"#,
            "POST logging/setLevel",
        ),
    ] {
        let upstream = FakeUpstream::start();
        let home = TestHome::new();
        let mut shim = attached(&home, &[&upstream.url()]);
        shim.send(request);
        assert_eq!(shim.message()["id"], "s");
        assert_eq!(shim.finish(), 0);
        let before = usize::from(undo.ends_with("setLevel"));
        let mut next = attached(&home, &[&upstream.url()]);
        next.echo("x");
        let undone = upstream.count(undo) > before;
        assert!(
            undone || upstream.sessions_made() == 2,
            "neither {undo} nor another session"
        );
    }
}

#[test]
fn what_came_for_nobody_is_not_told_to_the_next_client() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    one_shot(&home, &[&upstream.url()]);
    upstream.wait_for_streams(1);
    upstream.push(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
    upstream.push(r#"{"jsonrpc":"2.0","id":"order","method":"ping"}"#);
    // Answered by the daemon, so what was pushed before has been read as well.
    upstream.wait_for_answer(r#""order""#);
    let finished = one_shot(&home, &[&upstream.url()]);
    assert_eq!(messages(&finished.stdout).len(), 2);
    assert_eq!(upstream.sessions_made(), 1);
}

#[test]
fn a_new_daemon_still_works_when_the_server_changed_meanwhile() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    one_shot(&home, &[&upstream.url()]);
    home.kill_daemon();
    upstream.answer(
        "initialize",
        r#"{"protocolVersion":"2025-06-18","capabilities":{},"serverInfo":{"name":"renamed","version":"2"}}"#,
    );
    let mut shim = home.shim(&[&upstream.url()]);
    let answer = shim.handshake();
    assert_eq!(
        answer["result"]["serverInfo"]["name"], "renamed",
        "{answer}"
    );
    assert_eq!(upstream.sessions_made(), 2);
}

#[test]
fn after_new_certificates_a_session_goes_on_over_new_connections() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let file = TestCa::new().write(home.folder());
    let mut shim = attached(
        &home,
        &[&upstream.url(), "--ca-file", file.to_str().expect("UTF-8")],
    );
    shim.echo("before");
    upstream.wait_for("GET", 1);
    TestCa::new().write(home.folder());
    Rpc::connect(&home).reload().expect("it reloads");
    let held = shim.begin_call("hold", r#"{"gate":"g"}"#);
    upstream.wait_for("GET", 2);
    upstream.open_gate("g");
    assert_eq!(shim.message()["id"], held);
    shim.echo("after");
    let requests = upstream.requests();
    let calls = requests
        .iter()
        .filter(|request| request.text().contains("tools/call"));
    let connections: Vec<usize> = calls.map(|call| call.connection).collect();
    assert_ne!(connections[0], connections[1]);
    assert_eq!(connections[1], connections[2]);
    assert_eq!(upstream.sessions_made(), 1);
    upstream.wait_for_streams(1);
    assert_eq!(shim.finish(), 0);
}
