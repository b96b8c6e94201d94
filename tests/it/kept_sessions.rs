//! A session with a server outlives the daemon that opened it: its shim goes on in
//! it, nobody else gets it unless it was left clean, and it is ended in the end.

use mcp_remote_tests::daemon::TestDaemon;
use mcp_remote_tests::home::{SECRET, TestHome};
use mcp_remote_tests::rpc::Rpc;
use mcp_remote_tests::shim::{INITIALIZE, INITIALIZED, TestShim, text_of};
use mcp_remote_tests::upstream::{Config, FakeUpstream, Kind, Refusal};
use rustix::process::Signal;

use crate::support::{attached, one_shot, our_error};

/// Asks which session the shim is in.
fn session(shim: &mut TestShim) -> String {
    text_of(&shim.call("session", "{}"))
}

#[test]
fn every_shim_goes_on_in_its_own_session_after_a_crash() {
    const SHIMS: usize = 8;
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shims: Vec<TestShim> = (0..SHIMS)
        .map(|_| attached(&home, &[&upstream.url()]))
        .collect();
    let before: Vec<String> = shims.iter_mut().map(session).collect();
    upstream.wait_for_streams(SHIMS);
    let held = shims[0].begin_call("hold", r#"{"gate":"never"}"#);
    upstream.wait_for_hold("never");
    for round in 1..=3 {
        let killed = home.daemon_pid();
        home.kill_daemon();
        if round == 1 {
            let error = our_error(&shims[0].message(), held);
            assert_eq!(error["data"]["maybeExecuted"], true);
        }
        // All at once, the last first.
        for shim in shims.iter_mut().rev() {
            shim.begin_call("session", "{}");
        }
        let after: Vec<String> = shims.iter().map(|shim| text_of(&shim.message())).collect();
        assert_eq!(after, before);
        assert_ne!(home.daemon_pid(), killed);
    }
    assert_eq!(upstream.count("POST initialize"), SHIMS);
    assert_eq!(upstream.count("POST notifications/initialized"), SHIMS);
    assert_eq!(upstream.sessions_alive(), SHIMS);
    let held = upstream.requests();
    let held = held
        .iter()
        .filter(|request| request.text().contains("never"));
    assert_eq!(held.count(), 1, "it was not sent again");
    for shim in shims {
        assert_eq!(shim.stderr(), "");
        assert_eq!(shim.finish(), 0);
    }
    // Whether they are clean is not known any more.
    upstream.wait_for_sessions(0);
}

#[test]
fn a_crash_before_the_client_is_initialized_changes_nothing() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = home.shim(&[&upstream.url()]);
    shim.send(INITIALIZE);
    assert!(shim.message()["result"].is_object());
    home.kill_daemon();
    shim.send(INITIALIZED);
    shim.echo("x");
    assert_eq!(upstream.count("POST initialize"), 1);
    assert_eq!(upstream.count("POST notifications/initialized"), 1);
    assert_eq!(shim.finish(), 0);
}

#[test]
fn a_kept_session_that_the_server_forgot_is_made_again_once() {
    for refusal in [Refusal::NotFound, Refusal::BadRequest] {
        let upstream = FakeUpstream::start();
        let home = TestHome::new();
        let mut shim = attached(&home, &[&upstream.url()]);
        shim.echo("before");
        home.kill_daemon();
        upstream.forget_sessions(refusal);
        for _ in 0..5 {
            shim.begin_call("session", "{}");
        }
        for _ in 0..5 {
            assert_eq!(text_of(&shim.message()), "session-2");
        }
        home.kill_daemon();
        assert_eq!(session(&mut shim), "session-2", "it is kept in its turn");
        assert_eq!(upstream.sessions_made(), 2);
    }
}

#[test]
fn a_session_whose_shim_may_come_back_is_nobody_elses() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    assert_eq!(session(&mut shim), "session-1");
    for stops in [true, false] {
        match stops {
            true => assert_eq!(home.run(&["stop"]).code, 0),
            false => home.kill_daemon(),
        }
        one_shot(&home, &[&upstream.url()]);
        let mut other = attached(&home, &[&upstream.url()]);
        assert_ne!(session(&mut other), "session-1");
        assert_eq!(other.finish(), 0);
        assert_eq!(session(&mut shim), "session-1");
    }
    assert_eq!(shim.finish(), 0);
}

#[test]
fn idle_sessions_are_left_to_a_successor_and_to_no_one_else() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let daemon = TestDaemon::start(&home, &[]);
    one_shot(&home, &[&upstream.url()]);
    assert!(
        Rpc::connect(&home)
            .handover("999.0.0")
            .expect("it answers")
            .accepted
    );
    daemon.wait();
    let daemon = TestDaemon::start(&home, &[]);
    one_shot(&home, &[&upstream.url(), "--header", "X-Team: other"]);
    assert_eq!(upstream.sessions_made(), 2, "it is another's");
    one_shot(&home, &[&upstream.url()]);
    assert_eq!(upstream.sessions_made(), 2);
    assert_eq!(upstream.count("DELETE"), 0);
    // Clean as it was, it is reused, and with nobody there it is ended.
    one_shot(&home, &[&upstream.url()]);
    assert_eq!(daemon.terminate(), 0);
    assert_eq!(upstream.sessions_made(), 2);
    assert_eq!(upstream.count("DELETE"), 2);
    assert_eq!(upstream.sessions_alive(), 0);
}

#[test]
fn what_was_idle_in_a_crash_is_not_reused() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    one_shot(&home, &[&upstream.url()]);
    home.kill_daemon();
    one_shot(&home, &[&upstream.url()]);
    assert_eq!(upstream.sessions_made(), 2, "who had it last is not known");
}

/// Kills a daemon and the shim that is attached to it.
fn crash_with_its_shim(home: &TestHome, arguments: &[&str]) {
    let daemon = TestDaemon::start(home, &[]);
    let mut shim = attached(home, arguments);
    shim.echo("x");
    shim.signal(Signal::STOP);
    daemon.kill();
    shim.signal(Signal::KILL);
    shim.wait();
}

#[test]
fn a_session_that_nobody_claims_is_ended_in_time() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    crash_with_its_shim(&home, &[&upstream.url()]);
    assert_eq!(upstream.sessions_alive(), 1);
    let _daemon = TestDaemon::start(&home, &["--session-idle", "1"]);
    upstream.wait_for_sessions(0);
    assert_eq!(upstream.count("DELETE"), 1);
}

#[test]
fn one_that_needs_headers_is_ended_once_they_are_known_and_they_are_not_stored() {
    let header = format!("Authorization: Bearer {SECRET}kept");
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let arguments = [&upstream.url(), "--header", &header];
    crash_with_its_shim(&home, &arguments);
    for entry in std::fs::read_dir(home.state().join("store-v1")).expect("it exists") {
        let path = entry.expect("readable").path();
        let bytes = std::fs::read(&path).unwrap_or_default();
        let found = bytes
            .windows(SECRET.len())
            .any(|part| part == SECRET.as_bytes());
        assert!(!found, "a header value is in {}", path.display());
    }
    let _daemon = TestDaemon::start(&home, &["--session-idle", "2"]);
    let mut shim = attached(&home, &arguments);
    assert_eq!(session(&mut shim), "session-2");
    upstream.wait_for_sessions(1);
    let delete = upstream.wait_for("DELETE", 1);
    assert_eq!(delete.header("Mcp-Session-Id"), Some("session-1"));
    assert!(
        delete
            .header("Authorization")
            .is_some_and(|value| value.ends_with("kept"))
    );
    assert_eq!(session(&mut shim), "session-2");
}

#[test]
fn session_ids_are_in_a_private_folder_and_no_log() {
    use std::os::unix::fs::MetadataExt;
    let upstream = FakeUpstream::start();
    let mut home = TestHome::new();
    home.set("MCP_REMOTE_LOG", "trace");
    let mut shim = attached(&home, &[&upstream.url(), "--debug"]);
    shim.echo("x");
    home.kill_daemon();
    shim.echo("x");
    let store = std::fs::metadata(home.state().join("store-v1")).expect("it exists");
    assert_eq!(store.mode() & 0o777, 0o700);
    for text in [home.log(), shim.stderr()] {
        assert!(!text.contains("session-1"), "{text}");
    }
}

#[test]
fn a_warm_command_writes_nothing_to_the_store() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    one_shot(&home, &[&upstream.url()]);
    let store = || -> Vec<_> {
        let entries = std::fs::read_dir(home.state().join("store-v1")).expect("it exists");
        let files = entries.map(|entry| {
            let metadata = entry.expect("readable").metadata().expect("it is there");
            (metadata.len(), metadata.modified().expect("it has a time"))
        });
        files.collect()
    };
    // What the first one changed goes to the disk beside it.
    Rpc::connect(&home).watch_until(|status| (status.shims == 0).then_some(()));
    let before = store();
    for _ in 0..10 {
        one_shot(&home, &[&upstream.url()]);
    }
    assert_eq!(store(), before);
    assert_eq!(upstream.sessions_made(), 1);
}

#[test]
fn a_session_of_http_sse_ends_with_the_daemon_and_is_made_again() {
    let upstream = FakeUpstream::with(Config {
        kind: Kind::HttpSse(405),
        ..Config::default()
    });
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    shim.echo("before");
    home.kill_daemon();
    shim.echo("after");
    assert_eq!(upstream.sessions_made(), 2);
    assert_eq!(shim.finish(), 0);
}

#[test]
fn a_stopped_process_loses_nothing_when_it_goes_on() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let daemon = TestDaemon::start(&home, &[]);
    let mut shims: Vec<TestShim> = (0..4)
        .map(|_| attached(&home, &[&upstream.url()]))
        .collect();
    let before: Vec<String> = shims.iter_mut().map(session).collect();
    let held = shims[0].begin_call("hold", r#"{"gate":"soon"}"#);
    upstream.wait_for_hold("soon");
    daemon.signal(Signal::STOP);
    upstream.open_gate("soon");
    for shim in &mut shims {
        shim.begin_call("session", "{}");
    }
    let newcomer = home.run_with(&[&upstream.url()], INITIALIZE);
    assert_ne!(newcomer.code, 0, "{newcomer:?}");
    assert!(
        newcomer.stderr.contains(&daemon.pid().to_string()),
        "{newcomer:?}"
    );
    daemon.signal(Signal::CONT);
    let first = [shims[0].message(), shims[0].message()];
    let answer_to = |id: u64| first.iter().find(|answer| answer["id"] == id);
    assert_eq!(answer_to(held).map(text_of), Some("held soon".to_owned()));
    assert_eq!(answer_to(held + 1).map(text_of).as_ref(), Some(&before[0]));
    for (shim, before) in shims.iter().zip(&before).skip(1) {
        assert_eq!(&text_of(&shim.message()), before);
    }
    assert_eq!(home.daemon_pid(), Some(daemon.pid()));
    assert_eq!(upstream.sessions_made(), 4);
}
