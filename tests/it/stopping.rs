//! The daemon ends when it is told to, whatever the others do, and leaves
//! nothing behind on the servers.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use mcp_remote_proto::v1::ServerState;
use mcp_remote_tests::daemon::TestDaemon;
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::monitor::Monitor;
use mcp_remote_tests::rpc::Rpc;
use mcp_remote_tests::shim::{INITIALIZE, INITIALIZED};
use mcp_remote_tests::upstream::{FakeUpstream, hostile, label};
use rustix::process::Signal;

use crate::support::{attached, with_open_output};

#[test]
fn a_server_that_goes_on_talking_does_not_hold_it_up() {
    let upstream = FakeUpstream::scripted(|request| {
        let talks = request.text().contains("chatter");
        talks.then(hostile::chatter)
    });
    let home = TestHome::new();
    let daemon = TestDaemon::start(&home, &[]);
    let mut shim = attached(&home, &[&upstream.url()]);
    shim.begin_call("chatter", "{}");
    for _ in 0..3 {
        assert_eq!(shim.message()["method"], "notifications/message");
    }
    let stopped = home.run(&["stop"]);
    assert_eq!(stopped.code, 0, "{stopped:?}");
    assert_eq!(daemon.wait(), 0);
}

/// Serves a GET stream of large messages, once; returns how many went out.
fn flooding(count: usize, bytes: usize) -> (FakeUpstream, Arc<Monitor<usize>>) {
    let written = Arc::<Monitor<usize>>::default();
    let counter = written.clone();
    let upstream = FakeUpstream::scripted(move |request| {
        let first = request.method == "GET" && counter.look(|written| *written == 0);
        first.then(|| hostile::flood(count, bytes, counter.clone()))
    });
    (upstream, written)
}

/// Waits until the flood has not moved for two seconds: nobody takes any more.
fn wait_until_stuck(written: &Monitor<usize>) -> usize {
    let mut last = written.expect("a first message", |written| {
        (*written > 0).then_some(*written)
    });
    let moved = |last: usize| {
        written.poll(Duration::from_secs(2), |written| {
            (*written > last).then_some(*written)
        })
    };
    while let Some(now) = moved(last) {
        last = now;
    }
    last
}

#[test]
fn a_client_that_does_not_read_does_not_hold_it_up() {
    let (upstream, written) = flooding(16, 4 << 20);
    let home = TestHome::new();
    let daemon = TestDaemon::start(&home, &[]);
    let (mut shim, output) = with_open_output(&home, &upstream.url());
    shim.send(INITIALIZE);
    shim.send(INITIALIZED);
    assert!(wait_until_stuck(&written) < 16, "nobody reads");
    let stopped = home.run(&["stop"]);
    assert_eq!(stopped.code, 0, "{stopped:?}");
    assert_eq!(daemon.wait(), 0);
    drop(output);
}

#[test]
fn messages_that_nobody_reads_wait_at_the_server() {
    const MESSAGES: usize = 12;
    let (upstream, written) = flooding(MESSAGES, 20 << 20);
    let home = TestHome::new();
    let daemon = TestDaemon::start(&home, &[]);
    let (mut shim, mut output) = with_open_output(&home, &upstream.url());
    shim.send(INITIALIZE);
    shim.send(INITIALIZED);
    assert!(wait_until_stuck(&written) < MESSAGES, "nobody reads");
    let mut lines = 0;
    let mut buffer = vec![0; 1 << 20];
    // The answer to `initialize` comes before them.
    while lines <= MESSAGES {
        let length = output.read(&mut buffer).expect("the shim goes on");
        assert_ne!(length, 0, "the shim ended: {}", shim.stderr());
        lines += buffer[..length]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
    }
    let peak = daemon.peak_memory() >> 20;
    assert!(peak < 320, "the daemon had {peak} MiB");
}

#[test]
fn a_shim_that_leaves_while_its_session_opens_leaves_nothing_behind() {
    for drains in [false, true] {
        let opening = Arc::<Monitor<bool>>::default();
        let gate = opening.clone();
        let upstream = FakeUpstream::scripted(move |request| {
            if label(request) == "POST initialize" {
                gate.wait(|open| open.then_some(()));
            }
            None
        });
        let home = TestHome::new();
        let daemon = TestDaemon::start(&home, &[]);
        let arguments = [&upstream.url(), "--drain-timeout", "1"];
        let mut shim = home.shim(&arguments);
        shim.send(INITIALIZE);
        upstream.wait_for("POST initialize", 1);
        if drains {
            shim.close_stdin();
            assert_eq!(shim.wait(), 0);
        } else {
            shim.signal(Signal::TERM);
            assert_eq!(shim.wait(), 143);
        }
        let rpc = Rpc::connect(&home);
        rpc.watch_until(|status| (status.shims == 0).then_some(()));
        opening.update(|open| *open = true);
        rpc.watch_until(|status| {
            let server = status.servers.first()?;
            (server.state() != ServerState::Connecting).then_some(())
        });
        drop(rpc);
        assert_eq!(daemon.terminate(), 0);
        assert_eq!(upstream.count("DELETE"), upstream.sessions_made());
        assert_eq!(upstream.sessions_alive(), 0);
    }
}
