//! A client that says nothing, since it waits for what its server says, does not
//! lose its server with the daemon.

use std::time::Duration;

use mcp_remote_tests::daemon::TestDaemon;
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::rpc::Rpc;
use mcp_remote_tests::shim::TestShim;
use mcp_remote_tests::upstream::FakeUpstream;
use rustix::process::Signal;

use crate::support::attached;

const UPDATED: &str =
    r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"file:///a"}}"#;

fn subscribed(home: &TestHome, upstream: &FakeUpstream) -> TestShim {
    let mut shim = attached(home, &[&upstream.url()]);
    shim.send(
        r#"{"jsonrpc":"2.0","id":"s","method":"resources/subscribe","params":{"uri":"file:///a"}}"#,
    );
    assert!(shim.message()["result"].is_object());
    upstream.wait_for_streams(1);
    shim
}

/// Waits for the GET stream of the daemon after this many.
fn hears_on(upstream: &FakeUpstream, shim: &TestShim, streams: usize) {
    upstream.wait_for("GET", streams + 1);
    // What goes out on the stream of a daemon that is gone is lost.
    let heard = (0..5).find_map(|_| {
        upstream.push(UPDATED);
        shim.line_within(Duration::from_secs(1))
    });
    assert_eq!(heard.as_deref(), Some(UPDATED));
}

#[test]
fn a_silent_client_hears_on_after_a_crash() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let shim = subscribed(&home, &upstream);
    for round in 1..=4 {
        let streams = upstream.count("GET");
        home.kill_daemon();
        hears_on(&upstream, &shim, streams);
        assert_eq!(upstream.count("POST resources/subscribe"), 1, "{round}");
    }
    assert_eq!(upstream.sessions_made(), 1);
    assert_eq!(upstream.count("DELETE"), 0);
    assert_eq!(shim.stderr(), "", "the user need not know");
    assert_eq!(shim.finish(), 0);
    // It is ended by the daemon that the client never spoke to.
    upstream.wait_for_sessions(0);
}

#[test]
fn a_silent_client_hears_on_after_an_upgrade() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let daemon = TestDaemon::start(&home, &[]);
    let shim = subscribed(&home, &upstream);
    let streams = upstream.count("GET");
    let answer = Rpc::connect(&home).handover("999.0.0").expect("it answers");
    assert!(answer.accepted);
    daemon.wait();
    hears_on(&upstream, &shim, streams);
    assert_eq!(upstream.sessions_made(), 1);
    assert_eq!(shim.finish(), 0);
}

#[test]
fn a_daemon_that_was_stopped_stays_so_until_a_client_speaks() {
    let upstream = FakeUpstream::start();
    for by_signal in [false, true] {
        let home = TestHome::new();
        let mut shim = subscribed(&home, &upstream);
        let daemon = home.daemon_pid();
        let streams = upstream.count("GET");
        match by_signal {
            false => assert_eq!(home.run(&["stop"]).code, 0),
            true => {
                let pid = daemon.and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed()));
                let pid = pid.expect("a daemon runs");
                rustix::process::kill_process(pid, Signal::TERM).expect("it is ours");
                home.wait_until_no_daemon();
            }
        }
        assert_eq!(shim.line_within(Duration::from_millis(1500)), None);
        assert_eq!(home.daemon_pid(), None, "nobody wants one");
        assert!(shim.runs());
        shim.echo("speaks");
        hears_on(&upstream, &shim, streams);
        assert_eq!(shim.finish(), 0);
    }
}
