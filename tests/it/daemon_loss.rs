//! The daemon may die or stop under a shim: the next call works.

use std::time::{Duration, Instant};

use mcp_remote_tests::daemon::TestDaemon;
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::shim::{INITIALIZE, INITIALIZED};
use mcp_remote_tests::upstream::{FakeUpstream, Refusal, Reply, label};
use rustix::process::Signal;

use crate::support::{attached, our_error};

#[test]
fn a_daemon_killed_under_an_idle_shim_is_replaced_at_the_next_call() {
    let upstream = FakeUpstream::start();
    let home = TestHome::stripped();
    let mut shim = attached(&home, &[&upstream.url()]);
    shim.echo("before");
    for round in 1..=3 {
        let killed = home.daemon_pid();
        home.kill_daemon();
        shim.echo(&format!("after {round}"));
        assert_ne!(home.daemon_pid(), killed);
        assert_eq!(upstream.count("POST tools/call"), 1 + round);
    }
    assert_eq!(shim.stderr(), "", "the user need not know");
    assert_eq!(shim.finish(), 0);
}

#[test]
fn a_call_in_flight_when_the_daemon_dies_is_an_error_and_is_not_repeated() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    let calls = [0, 1].map(|_| shim.begin_call("hold", r#"{"gate":"never"}"#));
    upstream.wait_for("POST tools/call", 2);
    home.kill_daemon();
    let mut answers = [shim.message(), shim.message()];
    answers.sort_by_key(|answer| answer["id"].as_u64());
    for (answer, call) in answers.iter().zip(calls) {
        let error = our_error(answer, call);
        assert_eq!(error["data"]["maybeExecuted"], true);
    }
    shim.echo("after");
    assert_eq!(upstream.count("POST tools/call"), 3);
    assert_eq!(shim.finish(), 0);
}

#[test]
fn an_initialize_in_flight_when_the_daemon_dies_is_sent_again() {
    let upstream = FakeUpstream::scripted(|request| {
        (label(request) == "POST initialize").then_some(Reply::Hang)
    });
    let home = TestHome::new();
    let mut shim = home.shim(&[&upstream.url()]);
    shim.send(INITIALIZE);
    upstream.wait_for("POST initialize", 1);
    upstream.script(|_| None);
    home.kill_daemon();
    let answer = shim.message();
    assert_eq!(answer["id"], 0);
    assert!(answer["result"].is_object(), "{answer}");
    shim.send(INITIALIZED);
    shim.echo("goes on");
    assert_eq!(shim.finish(), 0);
}

#[test]
fn the_handshake_that_is_made_again_is_the_clients_own() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = home.shim(&[&upstream.url()]);
    let own = INITIALIZE.replace(r#""tests""#, r#""somebody \u00e9""#);
    shim.handshake_with(&own);
    shim.echo("before");
    home.kill_daemon();
    upstream.forget_sessions(Refusal::NotFound);
    shim.echo("after");
    let bodies: Vec<String> = upstream
        .requests()
        .iter()
        .filter(|request| label(request) == "POST initialize")
        .map(|request| request.text())
        .collect();
    assert_eq!(bodies.len(), 2);
    for body in bodies {
        assert!(
            body.contains(r#""clientInfo":{"name":"somebody \u00e9","version":"1"}"#),
            "{body}"
        );
    }
}

#[test]
fn a_handshake_that_was_refused_is_not_made_again() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = home.shim(&[&upstream.url()]);
    let bad = r#"{"jsonrpc":"2.0","id":"bad","method":"initialize","params":{}}"#;
    for good_before in [false, true] {
        if good_before {
            shim.handshake();
        }
        shim.send(bad);
        assert_eq!(shim.message()["error"]["code"], -32602);
        shim.echo("before");
        home.kill_daemon();
        shim.echo("after");
    }
    assert_eq!(shim.stderr(), "");
    assert_eq!(shim.finish(), 0);
}

#[test]
fn stop_really_stops_and_the_next_call_starts_anew() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    shim.echo("before");
    assert_eq!(home.run(&["stop"]).code, 0);
    assert_eq!(home.daemon_pid(), None);
    assert_eq!(home.run(&["status"]).code, 3);
    shim.echo("after");
    assert!(home.daemon_pid().is_some());
    assert_eq!(upstream.sessions_made(), 1, "the shim goes on where it was");
    assert_eq!(shim.finish(), 0);
}

#[test]
fn a_shim_whose_daemon_is_gone_for_good_says_so_and_tries_again() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let daemon = TestDaemon::start(&home, &[]);
    let mut shim = attached(&home, &[&upstream.url()]);
    // No daemon can be started while the folder is refused.
    let state = home.state();
    let mode = |mode| {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(&state, permissions).expect("set");
    };
    mode(0o755);
    daemon.kill();
    let error = our_error(&shim.call("echo", "{}"), 1);
    assert!(
        error["message"]
            .as_str()
            .expect("text")
            .contains("chmod 700"),
        "{error}"
    );
    mode(0o700);
    shim.echo("after");
}

#[test]
fn a_terminated_daemon_leaves_at_once_when_nothing_is_in_flight() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    for signal in [Signal::TERM, Signal::INT] {
        let daemon = TestDaemon::start(&home, &[]);
        let mut shim = attached(&home, &[&upstream.url()]);
        shim.echo("x");
        let begin = Instant::now();
        daemon.signal(signal);
        assert_eq!(daemon.wait(), 0);
        assert!(
            begin.elapsed() < Duration::from_secs(3),
            "{:?}",
            begin.elapsed()
        );
        assert!(shim.runs());
        assert!(
            !home.places().to_listen()[0].path().exists(),
            "the socket is gone"
        );
    }
    assert_eq!(upstream.count("DELETE"), 0, "the shims may come back");
}

#[test]
fn a_terminated_daemon_waits_for_calls_in_flight() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let daemon = TestDaemon::start(&home, &[]);
    let mut shim = attached(&home, &[&upstream.url()]);
    let held = shim.begin_call("hold", r#"{"gate":"soon"}"#);
    upstream.wait_for_hold("soon");
    daemon.signal(Signal::TERM);
    upstream.open_gate("soon");
    let answer = shim.message();
    assert_eq!(answer["id"], held);
    assert!(answer["result"].is_object(), "{answer}");
    assert_eq!(daemon.wait(), 0);
}

#[test]
fn a_terminated_daemon_does_not_wait_for_ever() {
    let upstream =
        FakeUpstream::scripted(|request| (request.method == "DELETE").then_some(Reply::Hang));
    let home = TestHome::new();
    let daemon = TestDaemon::start(&home, &[]);
    let mut shim = attached(&home, &[&upstream.url()]);
    let held = shim.begin_call("hold", r#"{"gate":"never"}"#);
    upstream.wait_for_hold("never");
    let begin = Instant::now();
    assert_eq!(daemon.terminate(), 0);
    // 5 s for what is in flight, 2 s for the server to forget the session.
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "{:?}",
        begin.elapsed()
    );
    let error = our_error(&shim.message(), held);
    assert_eq!(error["data"]["maybeExecuted"], true);
}

#[test]
fn a_second_signal_ends_the_daemon_at_once() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let daemon = TestDaemon::start(&home, &[]);
    let mut shim = attached(&home, &[&upstream.url()]);
    shim.begin_call("hold", r#"{"gate":"never"}"#);
    upstream.wait_for_hold("never");
    let begin = Instant::now();
    let mut ended = None;
    // Signals that come before the first is handled count as one.
    while ended.is_none() && begin.elapsed() < Duration::from_secs(4) {
        daemon.signal(Signal::TERM);
        ended = daemon.wait_for(Duration::from_millis(100));
    }
    assert!(
        begin.elapsed() < Duration::from_secs(4),
        "it drained all the same"
    );
    assert!(ended.is_some());
}

#[test]
fn a_stopped_process_does_not_hang_status() {
    let home = TestHome::new();
    let daemon = TestDaemon::start(&home, &[]);
    daemon.signal(Signal::STOP);
    let begin = Instant::now();
    let finished = home.run(&["status"]);
    assert!(
        begin.elapsed() < Duration::from_secs(12),
        "{:?}",
        begin.elapsed()
    );
    assert_ne!(finished.code, 0, "{finished:?}");
    assert!(finished.stderr.len() > 15, "{finished:?}");
    daemon.signal(Signal::CONT);
    assert_eq!(home.run(&["status"]).code, 0);
}

#[test]
fn a_stopped_process_does_not_hang_a_client() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let daemon = TestDaemon::start(&home, &[]);
    daemon.signal(Signal::STOP);
    let shim = home.run_with(&[&upstream.url()], INITIALIZE);
    assert_ne!(shim.code, 0, "{shim:?}");
    assert!(shim.stderr.contains(&daemon.pid().to_string()), "{shim:?}");
    daemon.signal(Signal::CONT);
}

#[test]
fn an_idle_daemon_exits_and_one_with_a_shim_does_not() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let daemon = TestDaemon::start(&home, &["--idle-exit", "1"]);
    let mut shim = attached(&home, &[&upstream.url()]);
    assert_eq!(
        daemon.wait_for(Duration::from_millis(1800)),
        None,
        "a shim is attached"
    );
    shim.echo("x");
    assert_eq!(shim.finish(), 0);
    assert_eq!(daemon.wait(), 0);
    assert_eq!(upstream.count("DELETE"), 1);
}

#[test]
fn looking_at_the_status_does_not_keep_a_daemon_alive() {
    let home = TestHome::new();
    let daemon = TestDaemon::start(&home, &["--idle-exit", "1"]);
    let rpc = mcp_remote_tests::rpc::Rpc::connect(&home);
    rpc.status().expect("it answers");
    assert_eq!(daemon.wait(), 0);
}
