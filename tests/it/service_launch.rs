//! Where the daemon is a service, a shim has it started by its manager, and starts
//! one itself only where there is no manager to ask.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use mcp_remote_proto::VERSION;
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::manager::FakeManager;
use mcp_remote_tests::rpc::Rpc;
use mcp_remote_tests::shim::{conversation, text_of};
use mcp_remote_tests::upstream::FakeUpstream;

use crate::support::{attached, messages, one_sentence, one_shot, our_error};

const START: &str = "start mcp-remoted.socket mcp-remoted.service";
const NEWER: &str = "0.9.9";
const BOTH: [&str; 2] = ["mcp-remote", "mcp-remoted"];

/// A home where the units are, and nothing runs.
fn managed() -> (TestHome, FakeManager) {
    let mut home = TestHome::new();
    let manager = FakeManager::new(&mut home);
    let folder = home.home().join(".config/systemd/user");
    std::fs::create_dir_all(&folder).expect("made");
    std::fs::write(folder.join("mcp-remoted.service"), "[Service]\n").expect("written");
    (home, manager)
}

fn started_by(home: &TestHome) -> String {
    Rpc::connect(home).hello().expect("it answers").started_by
}

#[test]
fn the_unit_is_preferred() {
    let upstream = FakeUpstream::start();
    let (home, manager) = managed();
    manager.starts_daemon();
    let finished = one_shot(&home, &[&upstream.url()]);
    assert_eq!(finished.stderr, "");
    assert_eq!(manager.told(), [START]);
    assert_eq!(started_by(&home), "systemd");
    one_shot(&home, &[&upstream.url()]);
    assert_eq!(manager.told(), [""; 0], "it runs already");
    assert_eq!(upstream.sessions_made(), 1);
}

#[test]
fn many_at_once_ask_for_it_once() {
    let upstream = FakeUpstream::start();
    let (home, manager) = managed();
    manager.starts_daemon();
    let mut shims: Vec<_> = (0..12).map(|_| home.shim(&[&upstream.url()])).collect();
    for shim in &mut shims {
        shim.handshake();
        shim.echo("x");
    }
    assert_eq!(manager.told(), [START]);
    assert_eq!(started_by(&home), "systemd");
}

#[test]
fn without_a_manager_to_ask_the_shim_starts_the_daemon_and_says_so() {
    let upstream = FakeUpstream::start();
    let (home, manager) = managed();
    manager.fails_at(&["start", "show"]);
    let finished = one_shot(&home, &[&upstream.url()]);
    let line = one_sentence(&finished.stderr);
    assert!(line.contains("manager cannot be asked"), "{line}");
    assert_eq!(started_by(&home), "shim");
    let finished = one_shot(&home, &[&upstream.url()]);
    assert_eq!(finished.stderr, "", "it runs now");
}

#[test]
fn a_manager_that_only_says_it_has_started_it_is_not_believed() {
    let upstream = FakeUpstream::start();
    let (home, manager) = managed();
    let finished = one_shot(&home, &[&upstream.url()]);
    assert_eq!(manager.told(), [START]);
    let line = one_sentence(&finished.stderr);
    assert!(line.contains("nothing answers"), "{line}");
    assert_eq!(started_by(&home), "shim");
}

#[test]
fn a_unit_that_cannot_be_started_is_named_and_none_is_started_beside() {
    let upstream = FakeUpstream::start();
    let (home, manager) = managed();
    manager.fails_at(&["start"]);
    let finished = home.run_with(&[&upstream.url()], &conversation("x"));
    assert_eq!(finished.code, 3, "{finished:?}");
    for message in messages(&finished.stdout) {
        let id = message["id"].clone();
        let error = our_error(&message, id);
        let text = error["message"].as_str().expect("a text");
        assert!(text.contains("mcp-remote service logs"), "{text}");
    }
    assert_eq!(home.daemon_pid(), None);
}

#[test]
fn looking_does_not_wake_the_daemon() {
    let (home, manager) = managed();
    let place = home.places().to_listen()[0].clone();
    let folder = place.path().parent().expect("a folder");
    std::fs::create_dir_all(folder).expect("made");
    std::fs::set_permissions(folder, PermissionsExt::from_mode(0o700)).expect("set");
    // The socket of a service whose daemon does not run.
    let socket = UnixListener::bind(place.path()).expect("bound");
    socket.set_nonblocking(true).expect("set");
    for command in ["status", "stop"] {
        assert_eq!(home.run(&[command]).code, 3, "{command}");
    }
    let connected = socket.accept().expect_err("nobody came");
    assert_eq!(connected.kind(), ErrorKind::WouldBlock);
    assert_eq!(manager.told(), [""; 0]);
}

#[test]
fn a_stop_is_no_crash_for_the_manager() {
    let upstream = FakeUpstream::start();
    let (home, manager) = managed();
    manager.starts_daemon();
    let mut shim = attached(&home, &[&upstream.url()]);
    assert_eq!(home.run(&["stop"]).code, 0);
    let told = manager.told();
    let last = told.last().expect("it was told something");
    assert!(last.starts_with("reset-failed"), "{told:?}");
    shim.echo("x");
    assert_eq!(manager.told(), [START], "by the shim that is attached");
    assert_eq!(started_by(&home), "systemd");
}

#[test]
fn a_newer_release_has_the_manager_start_the_daemon_again() {
    let upstream = FakeUpstream::start();
    let (mut home, manager) = managed();
    home.install(&BOTH, VERSION);
    manager.starts(&home.folder().join("bin/mcp-remoted"));
    let mut older = attached(&home, &[&upstream.url()]);
    let session = text_of(&older.call("session", "{}"));
    let before = home.daemon_pid();
    manager.told();
    home.install(&BOTH, NEWER);
    // This manager does not start it by itself, so it is told to.
    let mut newer = attached(&home, &[&upstream.url()]);
    newer.echo("x");
    let hello = Rpc::connect(&home).hello().expect("it answers");
    assert_eq!((&*hello.version, &*hello.started_by), (NEWER, "systemd"));
    assert_ne!(home.daemon_pid(), before);
    assert_eq!(manager.told(), [START]);
    assert_eq!(text_of(&older.call("session", "{}")), session);
    assert_eq!(newer.stderr(), "");
    assert_eq!(upstream.count("DELETE"), 0);
}

#[test]
fn a_service_whose_program_is_not_newer_is_left_to_its_user() {
    let upstream = FakeUpstream::start();
    let (mut home, manager) = managed();
    manager.starts_daemon();
    one_shot(&home, &[&upstream.url()]);
    let before = home.daemon_pid();
    manager.told();
    // A newer pair beside the unit's: it is not the one that would be started.
    home.install(&BOTH, NEWER);
    let finished = one_shot(&home, &[&upstream.url()]);
    let line = one_sentence(&finished.stderr);
    for part in [VERSION, NEWER, "update"] {
        assert!(line.contains(part), "no {part} in {line}");
    }
    assert_eq!(home.daemon_pid(), before);
    assert_eq!(manager.told(), [""; 0]);
}
