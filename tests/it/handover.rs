//! The newest release that is installed serves everybody: a newer shim has the
//! older daemon make place for it, and nobody loses anything by that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use mcp_remote_proto::VERSION;
use mcp_remote_tests::daemon::TestDaemon;
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::rpc::Rpc;
use mcp_remote_tests::shim::{INITIALIZE, INITIALIZED, TestShim, text_of};
use mcp_remote_tests::upstream::FakeUpstream;

use crate::support::{attached, one_sentence, one_shot, our_error};

const NEWER: &str = "0.9.9";
const BOTH: [&str; 2] = ["mcp-remote", "mcp-remoted"];

/// A home with this release installed.
fn installed() -> TestHome {
    let mut home = TestHome::new();
    home.install(&BOTH, VERSION);
    home
}

fn release_of_daemon(home: &TestHome) -> String {
    let hello = Rpc::connect(home).hello().expect("it answers");
    hello.version
}

fn session(shim: &mut TestShim) -> String {
    text_of(&shim.call("session", "{}"))
}

#[test]
fn a_newer_shim_replaces_an_older_daemon_and_nobody_loses_a_session() {
    let upstream = FakeUpstream::start();
    let mut home = installed();
    let mut attached_before = attached(&home, &[&upstream.url()]);
    let before = session(&mut attached_before);
    let mut idle = attached(&home, &[&upstream.url()]);
    let idle_session = session(&mut idle);
    assert_eq!(idle.finish(), 0);
    Rpc::connect(&home).watch_until(|status| (status.shims == 1).then_some(()));
    home.install(&BOTH, NEWER);
    let mut newer = attached(&home, &[&upstream.url()]);
    assert_eq!(release_of_daemon(&home), NEWER);
    assert_eq!(session(&mut newer), idle_session, "it was clean");
    assert_eq!(session(&mut attached_before), before);
    assert_eq!(upstream.sessions_made(), 2);
    assert_eq!(upstream.count("POST notifications/initialized"), 2);
    assert_eq!(upstream.count("DELETE"), 0);
    for shim in [newer, attached_before] {
        assert_eq!(shim.stderr(), "", "the user need not know");
        assert_eq!(shim.finish(), 0);
    }
}

#[test]
fn an_older_shim_uses_a_newer_daemon() {
    let upstream = FakeUpstream::start();
    let mut home = TestHome::new();
    home.install(&BOTH, NEWER);
    one_shot(&home, &[&upstream.url()]);
    let pid = home.daemon_pid();
    home.install(&BOTH, VERSION);
    let finished = one_shot(&home, &[&upstream.url()]);
    let line = one_sentence(&finished.stderr);
    for text in [VERSION, NEWER, "mcp-remoted", "update"] {
        assert!(line.contains(text), "no {text} in {line:?}");
    }
    assert_eq!(home.daemon_pid(), pid);
    assert_eq!(release_of_daemon(&home), NEWER);
    assert_eq!(upstream.sessions_made(), 1);
}

#[test]
fn status_and_stop_work_across_releases() {
    for (daemon, shim) in [(VERSION, NEWER), (NEWER, VERSION)] {
        let upstream = FakeUpstream::start();
        let mut home = TestHome::new();
        home.install(&BOTH, daemon);
        one_shot(&home, &[&upstream.url()]);
        let pid = home.daemon_pid();
        home.install(&BOTH, shim);
        let status = home.run(&["status"]);
        assert_eq!(status.code, 0, "{status:?}");
        let header = format!("mcp-remote {shim} (daemon {daemon}, pid");
        assert!(status.stdout.starts_with(&header), "{status:?}");
        assert_eq!(home.daemon_pid(), pid, "looking replaces nothing");
        let stopped = home.run(&["stop"]);
        assert_eq!((stopped.code, &*stopped.stderr), (0, ""), "{stopped:?}");
        assert_eq!(home.daemon_pid(), None);
    }
}

#[test]
fn an_older_daemon_stays_if_no_newer_one_would_follow() {
    let upstream = FakeUpstream::start();
    let mut home = installed();
    one_shot(&home, &[&upstream.url()]);
    let pid = home.daemon_pid();
    home.install(&["mcp-remote"], NEWER);
    for _ in 0..2 {
        let finished = one_shot(&home, &[&upstream.url()]);
        let line = one_sentence(&finished.stderr);
        for text in [VERSION, NEWER, "update"] {
            assert!(line.contains(text), "no {text} in {line:?}");
        }
    }
    assert_eq!(home.daemon_pid(), pid);
    assert_eq!(upstream.sessions_made(), 1);
}

#[test]
fn many_newer_shims_at_once_replace_the_daemon_once() {
    const SHIMS: usize = 12;
    let upstream = FakeUpstream::start();
    let mut home = installed();
    let mut older = attached(&home, &[&upstream.url()]);
    home.install(&BOTH, NEWER);
    let mut shims: Vec<TestShim> = (0..SHIMS).map(|_| home.shim(&[&upstream.url()])).collect();
    for shim in &mut shims {
        shim.send(INITIALIZE);
    }
    for shim in &mut shims {
        assert!(shim.message()["result"].is_object(), "{}", shim.stderr());
        shim.send(INITIALIZED);
        shim.echo("x");
    }
    older.echo("x");
    for shim in shims {
        assert_eq!(shim.stderr(), "");
        assert_eq!(shim.finish(), 0);
    }
    let log = home.log();
    let ready = format!("version=\"{NEWER}\"");
    assert_eq!(log.matches(&ready).count(), 1, "{log}");
    assert_eq!(log.matches("making place").count(), 1, "{log}");
}

#[test]
fn a_service_is_only_asked_to_exit_and_started_by_its_manager() {
    let upstream = FakeUpstream::start();
    let mut home = installed();
    let service = TestDaemon::start(&home, &[]);
    let mut older = attached(&home, &[&upstream.url()]);
    let before = session(&mut older);
    home.install(&BOTH, NEWER);
    let mut newer = home.shim(&[&upstream.url()]);
    newer.send(INITIALIZE);
    assert_eq!(service.wait(), 75, "the unit says what that means");
    let successor = TestDaemon::start(&home, &[]);
    assert!(newer.message()["result"].is_object());
    assert_eq!(home.daemon_pid(), Some(successor.pid()));
    newer.send(INITIALIZED);
    newer.echo("x");
    assert_eq!(session(&mut older), before);
    assert_eq!(release_of_daemon(&home), NEWER);
}

#[test]
fn a_service_that_is_not_started_again_is_replaced_all_the_same() {
    let upstream = FakeUpstream::start();
    let mut home = installed();
    let service = TestDaemon::start(&home, &[]);
    home.install(&BOTH, NEWER);
    one_shot(&home, &[&upstream.url()]);
    assert_eq!(service.wait(), 75);
    assert_eq!(release_of_daemon(&home), NEWER);
}

/// Calls until told to stop; returns the answers, each for its own call.
fn call_on(mut shim: TestShim, end: &AtomicBool, calls: &AtomicUsize) -> (usize, usize) {
    let (mut answered, mut failed) = (0, 0);
    while !end.load(SeqCst) {
        let id = shim.begin_call("echo", r#"{"message":"x"}"#);
        let answer = shim.message();
        if answer["result"].is_object() {
            assert_eq!(answer["id"], id, "{answer}");
            answered += 1;
        } else {
            let error = our_error(&answer, id);
            assert_eq!(error["data"]["maybeExecuted"], true, "{answer}");
            failed += 1;
        }
        calls.fetch_add(1, SeqCst);
    }
    assert_eq!(shim.stderr(), "");
    assert_eq!(shim.finish(), 0);
    (answered, failed)
}

#[test]
fn an_upgrade_under_calling_clients_loses_none_of_them() {
    const SHIMS: usize = 6;
    let upstream = FakeUpstream::start();
    let mut home = installed();
    let end = Arc::new(AtomicBool::new(false));
    let calls: Vec<Arc<AtomicUsize>> = (0..SHIMS).map(|_| Arc::default()).collect();
    let callers: Vec<_> = calls
        .iter()
        .map(|calls| {
            let shim = attached(&home, &[&upstream.url()]);
            let (end, calls) = (end.clone(), calls.clone());
            std::thread::spawn(move || call_on(shim, &end, &calls))
        })
        .collect();
    let all_go_on = || {
        let before: Vec<usize> = calls.iter().map(|calls| calls.load(SeqCst)).collect();
        let moved = || {
            let now = calls.iter().map(|calls| calls.load(SeqCst));
            now.zip(&before).all(|(now, before)| now > before + 20)
        };
        let begin = std::time::Instant::now();
        while !moved() {
            assert!(begin.elapsed().as_secs() < 60, "some caller is stuck");
            std::thread::yield_now();
        }
    };
    all_go_on();
    home.install(&BOTH, NEWER);
    all_go_on();
    let newer = attached(&home, &[&upstream.url()]);
    assert_eq!(release_of_daemon(&home), NEWER);
    all_go_on();
    end.store(true, SeqCst);
    for caller in callers {
        let (answered, failed) = caller.join().expect("no assertion failed");
        assert!(answered >= 60 && failed <= 1, "{answered}, {failed} failed");
    }
    assert_eq!(newer.finish(), 0);
    let opened = upstream.count("POST initialize");
    assert!(opened <= SHIMS + 1, "{opened} sessions were opened");
}
