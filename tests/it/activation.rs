//! What the daemon and a service manager owe each other: the socket that is handed
//! over, and word of how it goes.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use mcp_remote_tests::daemon::TestDaemon;
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::monitor::PATIENCE;
use mcp_remote_tests::process::Program;
use mcp_remote_tests::rpc::Rpc;
use mcp_remote_tests::shim::INITIALIZE;
use mcp_remote_tests::upstream::FakeUpstream;
use rustix::process::Signal;

use crate::support::{attached, one_shot};

/// Starts what it is given again and again, as a service manager would, with the
/// socket in descriptor 3. While the file `hold` is there it does not.
const MANAGER: &str = r#"
while [ -d "$2" ]; do
    while [ -e "$2/hold" ]; do sleep 0.01; done
    sh -c 'LISTEN_PID=$$ exec "$0"' "$1" </dev/null
done"#;

fn socket(home: &TestHome) -> PathBuf {
    let place = home.places().to_listen()[0].path().to_owned();
    let folder = place.parent().expect("a folder");
    std::fs::create_dir_all(folder).expect("made");
    std::fs::set_permissions(folder, PermissionsExt::from_mode(0o700)).expect("set");
    place
}

/// A daemon behind a socket that `systemd-socket-activate` made and a shell keeps.
fn activated(home: &TestHome, mode: u32) -> Program {
    let place = socket(home);
    let mut command = home.command("mcp-remoted", &[]);
    let daemon = command.get_program().to_owned();
    let environment: Vec<_> = command
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .collect();
    command = std::process::Command::new("systemd-socket-activate");
    command.arg("--listen").arg(&place);
    command.env_clear().envs(environment.clone());
    // It passes on nothing but what it is told to.
    for (name, _) in &environment {
        let name = name.to_str().expect("ASCII");
        command.arg(format!("--setenv={name}"));
    }
    command.args(["sh", "-c", MANAGER, "manager"]);
    command.arg(daemon).arg(home.folder());
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::piped());
    let (program, _, _) = Program::start(&mut command);
    program.wait_for_stderr("Listening on");
    // A unit says so by SocketMode.
    std::fs::set_permissions(&place, PermissionsExt::from_mode(mode)).expect("set");
    program
}

fn identity(path: &Path) -> (u64, u64) {
    let metadata = std::fs::symlink_metadata(path).expect("the socket is there");
    (metadata.dev(), metadata.ino())
}

#[test]
fn whoever_connects_while_the_daemon_is_down_is_answered() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let manager = activated(&home, 0o600);
    let before = identity(&socket(&home));
    one_shot(&home, &[&upstream.url()]);
    let first = home.daemon_pid().expect("the connection started it");
    let mut attached_before = attached(&home, &[&upstream.url()]);
    assert_eq!(upstream.sessions_made(), 1);
    std::fs::write(home.folder().join("hold"), "").expect("written");
    assert_eq!(home.run(&["stop"]).code, 0);
    home.wait_until_no_daemon();
    assert_eq!(identity(&socket(&home)), before, "the socket stays");
    let mut waiting = home.shim(&[&upstream.url()]);
    waiting.send(INITIALIZE);
    assert_eq!(home.daemon_pid(), None);
    std::fs::remove_file(home.folder().join("hold")).expect("removed");
    assert!(waiting.message()["result"].is_object());
    attached_before.echo("x");
    let second = home.daemon_pid().expect("it was started again");
    assert_ne!(first, second);
    home.kill_daemon();
    waiting.send(mcp_remote_tests::shim::INITIALIZED);
    waiting.echo("after a crash");
    assert_eq!(identity(&socket(&home)), before);
    let named = std::fs::read_to_string(home.places().endpoint_file()).expect("written");
    assert_eq!(Path::new(named.trim_end()), socket(&home));
    assert_eq!(waiting.stderr(), "");
    drop(manager);
}

#[test]
fn a_service_that_takes_its_time_is_waited_for() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let units = home.home().join(".config/systemd/user");
    std::fs::create_dir_all(&units).expect("made");
    std::fs::write(units.join("mcp-remoted.service"), "[Service]\n").expect("written");
    let _manager = activated(&home, 0o600);
    one_shot(&home, &[&upstream.url()]);
    std::fs::write(home.folder().join("hold"), "").expect("written");
    assert_eq!(home.run(&["stop"]).code, 0);
    let mut waiting = home.shim(&[&upstream.url(), "--debug"]);
    waiting.send(INITIALIZE);
    waiting.wait_for_stderr("does not answer yet");
    std::fs::remove_file(home.folder().join("hold")).expect("removed");
    assert!(waiting.message()["result"].is_object());
    assert_eq!(waiting.finish(), 0);
}

#[test]
fn a_socket_that_is_open_to_others_is_refused() {
    let home = TestHome::new();
    let manager = activated(&home, 0o666);
    drop(std::os::unix::net::UnixStream::connect(socket(&home)).expect("it listens"));
    manager.wait_for_stderr("SocketMode=0600");
    assert!(!home.places().endpoint_file().exists());
}

#[test]
fn a_socket_in_a_folder_open_to_others_is_refused_with_the_command_that_helps() {
    let home = TestHome::new();
    let place = socket(&home);
    let folder = place.parent().expect("a folder");
    let manager = activated(&home, 0o600);
    std::fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).expect("set");
    drop(std::os::unix::net::UnixStream::connect(&place).expect("it listens"));
    manager.wait_for_stderr(&format!("chmod 700 '{}'", folder.display()));
    assert!(!home.places().endpoint_file().exists());
}

#[test]
fn the_socket_of_a_manager_is_not_replaced_by_a_daemon_of_our_own() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let place = socket(&home);
    let managers = UnixListener::bind(&place).expect("bound");
    let before = identity(&place);
    let _daemon = TestDaemon::start(&home, &[]);
    assert_eq!(identity(&place), before);
    let named = std::fs::read_to_string(home.places().endpoint_file()).expect("written");
    assert_ne!(Path::new(named.trim_end()), place);
    one_shot(&home, &[&upstream.url()]);
    drop(managers);
}

#[test]
fn a_daemon_removes_its_own_socket_only() {
    let home = TestHome::new();
    let place = socket(&home);
    let daemon = TestDaemon::start(&home, &[]);
    std::fs::remove_file(&place).expect("a manager makes room");
    let _managers = UnixListener::bind(&place).expect("bound");
    assert_eq!(daemon.terminate(), 0);
    assert!(place.exists());
    let _second = TestDaemon::start(&home, &[]);
    assert!(home.state().join("daemon.sock").exists());
}

/// Reads what a manager is told, until `until` stands in it.
fn hear(notify: &UnixDatagram, until: &str) -> String {
    let begin = Instant::now();
    let mut heard = String::new();
    let mut message = [0; 1024];
    while !heard.contains(until) {
        assert!(begin.elapsed() < PATIENCE, "no {until} in {heard}");
        let length = notify.recv(&mut message).unwrap_or(0);
        heard.push_str(&String::from_utf8_lossy(&message[..length]));
        heard.push('\n');
    }
    heard
}

#[test]
fn the_manager_hears_that_it_is_ready_alive_and_stopping() {
    let mut home = TestHome::new();
    let path = home.folder().join("manager");
    let notify = UnixDatagram::bind(&path).expect("bound");
    let timeout = Some(Duration::from_millis(100));
    notify.set_read_timeout(timeout).expect("set");
    home.set("NOTIFY_SOCKET", &path);
    home.set("WATCHDOG_USEC", "300000");
    let mut command = home.command("mcp-remoted", &[]);
    let (daemon, _, _) = Program::start(command.stdin(Stdio::null()).stdout(Stdio::null()));
    let heard = hear(&notify, "READY=1");
    let heard = if heard.contains("STATUS=") {
        heard
    } else {
        hear(&notify, "STATUS=")
    };
    assert!(heard.contains("daemon.sock"), "{heard}");
    assert!(
        heard.contains(&format!("MAINPID={}", daemon.pid())),
        "{heard}"
    );
    for _ in 0..3 {
        hear(&notify, "WATCHDOG=1");
    }
    daemon.signal(Signal::TERM);
    hear(&notify, "STOPPING=1");
    assert_eq!(daemon.wait(), 0);
}

#[test]
fn a_service_takes_over_from_a_daemon_that_a_shim_started_and_no_other() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    let spawned = home.daemon_pid();
    // TestDaemon is a service, as far as it knows.
    let service = TestDaemon::start(&home, &[]);
    assert_ne!(home.daemon_pid(), spawned);
    shim.echo("x");
    assert_eq!(
        Rpc::connect(&home).hello().expect("it answers").pid,
        service.pid()
    );
    assert_eq!(upstream.sessions_made(), 1);
    assert_eq!(upstream.count("DELETE"), 0);
    service.signal(Signal::USR2);
    service.wait_for_log("it stays");
    shim.echo("y");
    assert_eq!(home.daemon_pid(), Some(service.pid()));
}
