//! A shim finds this user's daemon or starts it; there is never a second one.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use mcp_remote_tests::daemon::TestDaemon;
use mcp_remote_tests::home::{TestHome, finish};
use mcp_remote_tests::process::binary;
use mcp_remote_tests::shim::{TestShim, conversation};
use mcp_remote_tests::upstream::FakeUpstream;

use crate::support::{attached, messages, one_sentence, one_shot};

/// Counts the daemons whose environment names this home's folder.
fn daemons_of(folder: &Path) -> usize {
    let folder = folder.to_str().expect("UTF-8");
    let processes = std::fs::read_dir("/proc")
        .expect("there is /proc")
        .flatten();
    let of_home = processes.filter(|process| {
        let read = |name: &str| std::fs::read(process.path().join(name)).unwrap_or_default();
        let environment = String::from_utf8_lossy(&read("environ")).into_owned();
        read("comm").starts_with(b"mcp-remoted") && environment.contains(folder)
    });
    of_home.count()
}

#[test]
fn home_path_and_user_are_enough() {
    let upstream = FakeUpstream::start();
    let home = TestHome::stripped();
    let finished = one_shot(&home, &[&upstream.url()]);
    assert_eq!(finished.stderr, "");
    let first = home.daemon_pid().expect("a daemon runs");
    one_shot(&home, &[&upstream.url()]);
    assert_eq!(home.daemon_pid(), Some(first));
    assert_eq!(upstream.sessions_made(), 1);
}

#[test]
fn fifty_shims_at_once_end_with_one_daemon() {
    let upstream = FakeUpstream::start();
    let home = TestHome::stripped();
    let mut shims: Vec<TestShim> = (0..50).map(|_| home.shim(&[&upstream.url()])).collect();
    for (number, shim) in shims.iter_mut().enumerate() {
        shim.send_raw(conversation(&number.to_string()).as_bytes());
        shim.close_stdin();
    }
    for (number, shim) in shims.iter().enumerate() {
        assert_eq!(shim.wait(), 0, "{}", shim.stderr());
        let output = shim.rest();
        assert_eq!(messages(&output).len(), 2, "{output} {}", shim.stderr());
        assert!(
            output.contains(&format!(r#""text":"{number}""#)),
            "{output}"
        );
        assert_eq!(shim.stderr(), "");
    }
    assert_eq!(daemons_of(home.folder()), 1);
}

#[test]
fn a_started_daemon_is_on_its_own() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    shim.echo("x");
    let pid = home.daemon_pid().expect("a daemon runs");
    let process = Path::new("/proc").join(pid.to_string());
    let folder = std::fs::read_link(process.join("cwd")).expect("it has a working folder");
    assert_eq!(folder, Path::new("/"));
    let stat = std::fs::read_to_string(process.join("stat")).expect("it runs");
    let after_name = stat.rsplit(')').next().expect("a name in parentheses");
    let session = after_name.split_whitespace().nth(3);
    assert_eq!(
        session,
        Some(pid.to_string().as_str()),
        "a session of its own"
    );
    for stream in 0..3 {
        let target = std::fs::read_link(process.join("fd").join(stream.to_string()));
        let target = target.expect("the standard streams are open");
        assert!(
            !target.to_string_lossy().starts_with("pipe:"),
            "{stream}: {target:?}"
        );
    }
    // A grandchild with our pipe would keep it open.
    assert_eq!(shim.finish(), 0);
    assert_eq!(home.daemon_pid(), Some(pid));
}

#[test]
fn folder_socket_and_endpoint_file_are_private() {
    let upstream = FakeUpstream::start();
    for home in [TestHome::new(), TestHome::stripped()] {
        one_shot(&home, &[&upstream.url()]);
        let mode = |path: &Path| std::fs::metadata(path).expect("it exists").mode() & 0o777;
        assert_eq!(mode(&home.state()), 0o700);
        let endpoint = std::fs::read_to_string(home.places().endpoint_file()).expect("written");
        let socket = Path::new(endpoint.trim_end());
        assert_eq!(mode(socket), 0o600);
        assert_eq!(mode(socket.parent().expect("a folder")), 0o700);
        let lock = std::fs::read_to_string(home.state().join("lock")).expect("written");
        assert_eq!(lock.trim().parse().ok(), home.daemon_pid());
        for entry in std::fs::read_dir(home.state())
            .expect("it exists")
            .flatten()
        {
            let file = entry.path();
            if file.is_file() {
                assert_eq!(mode(&file) & 0o022, 0, "{file:?} is writable for others");
            }
        }
    }
}

#[test]
fn a_second_daemon_refuses_and_the_first_goes_on() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let first = TestDaemon::start(&home, &[]);
    let second = TestDaemon::refuse(&home, &[]);
    assert_ne!(second.code, 0, "{second:?}");
    assert!(
        second.stderr.contains(&first.pid().to_string()),
        "{second:?}"
    );
    let spawned = TestDaemon::refuse(&home, &["--spawned"]);
    assert_eq!(spawned.stdout, format!("running {}\n", first.pid()));
    one_shot(&home, &[&upstream.url()]);
    assert_eq!(home.daemon_pid(), Some(first.pid()));
}

#[test]
fn a_spawned_daemon_reports_where_it_listens_and_closes_its_output() {
    let home = TestHome::new();
    let mut command = home.command("mcp-remoted", &["--spawned"]);
    let daemon = TestShim::start(command.stdin(Stdio::null()));
    let socket = home.places().to_listen()[0].to_string();
    assert_eq!(daemon.rest(), format!("ready {socket}\n"));
    assert!(daemon.runs());
    assert_eq!(home.run(&["stop"]).code, 0);
    assert_eq!(daemon.wait(), 0);
}

#[test]
fn a_daemon_of_another_home_is_not_used() {
    let upstream = FakeUpstream::start();
    let first = TestHome::new();
    let mut second = TestHome::new();
    // Both meet in the same runtime folder.
    second.set("XDG_RUNTIME_DIR", first.folder().join("run"));
    one_shot(&first, &[&upstream.url()]);
    one_shot(&second, &[&upstream.url()]);
    assert_ne!(first.daemon_pid(), second.daemon_pid());
    assert_eq!(upstream.sessions_made(), 2, "nothing is shared");
    one_shot(&first, &[&upstream.url()]);
    one_shot(&second, &[&upstream.url()]);
    assert_eq!(upstream.sessions_made(), 2);
    assert_eq!(second.run(&["stop"]).code, 0);
    one_shot(&first, &[&upstream.url()]);
    assert_eq!(upstream.sessions_made(), 2, "the first daemon goes on");
}

#[test]
fn a_long_home_gets_a_short_socket() {
    let upstream = FakeUpstream::start();
    let home = TestHome::named(&format!("{}/{}", "h".repeat(90), "o".repeat(90)));
    one_shot(&home, &[&upstream.url()]);
    let first = home.daemon_pid();
    one_shot(&home, &[&upstream.url()]);
    assert_eq!(home.daemon_pid(), first);
    assert_eq!(upstream.sessions_made(), 1);
    assert_eq!(home.run(&["status"]).code, 0);
}

#[test]
fn what_an_earlier_daemon_left_behind_does_not_matter() {
    let upstream = FakeUpstream::start();
    for endpoint in [
        "not a path".to_owned().into_bytes(),
        b"/nonexistent/daemon.sock\n".to_vec(),
        vec![0xff, 0, b'\n', b'/'],
        Vec::new(),
        vec![b'/'; 5000],
    ] {
        let home = TestHome::new();
        let state = home.make_state();
        std::fs::write(state.join("endpoint"), &endpoint).expect("written");
        std::fs::write(state.join("lock"), "999999999\n").expect("written");
        for place in home.places().to_listen() {
            let folder = place.path().parent().expect("a folder");
            if folder.starts_with(home.folder()) {
                std::fs::create_dir_all(folder).expect("made");
                let private = std::fs::Permissions::from_mode(0o700);
                std::fs::set_permissions(folder, private).expect("set");
                drop(UnixListener::bind(place.path()).expect("a socket nobody listens on"));
            }
        }
        one_shot(&home, &[&upstream.url()]);
    }
}

#[test]
fn a_folder_open_to_others_is_refused_with_the_command_that_helps() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let state = home.make_state();
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o755)).expect("set");
    let expected = format!("chmod 700 '{}'", state.display());
    let shim = home.run_with(&[&upstream.url()], &conversation("x"));
    let daemon = TestDaemon::refuse(&home, &[]);
    for finished in [shim, daemon] {
        assert_eq!(finished.code, 5, "{finished:?}");
        assert!(finished.stderr.contains(&expected), "{finished:?}");
    }
    let mode = std::fs::metadata(&state).expect("it exists").mode() & 0o777;
    assert_eq!(mode, 0o755, "it is not tightened silently");
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o700)).expect("set");
    one_shot(&home, &[&upstream.url()]);
}

#[test]
fn a_socket_folder_open_to_others_is_refused_with_the_command_that_helps() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    assert_eq!(TestDaemon::start(&home, &[]).terminate(), 0);
    let folder = home.folder().join("run/mcp-remote");
    let mode = |mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&folder, permissions).expect("set");
    };
    mode(0o777);
    let expected = format!("run chmod 700 '{}'", folder.display());
    // The one that the shim starts may end a moment after it has said why.
    let daemon = TestDaemon::refuse(&home, &[]);
    let shim = home.run_with(&[&upstream.url()], &conversation("x"));
    for finished in [shim, daemon] {
        assert_eq!(finished.code, 5, "{finished:?}");
        assert!(finished.stderr.contains(&expected), "{finished:?}");
    }
    let doctor = home.run(&["doctor"]);
    assert!(doctor.stdout.contains(&expected), "{doctor:?}");
    mode(0o700);
    one_shot(&home, &[&upstream.url()]);
}

#[test]
fn a_state_folder_that_is_a_link_is_refused() {
    let home = TestHome::new();
    let state = home.make_state();
    let elsewhere = home.folder().join("elsewhere");
    std::fs::rename(&state, &elsewhere).expect("moved");
    std::os::unix::fs::symlink(&elsewhere, &state).expect("linked");
    assert_eq!(TestDaemon::refuse(&home, &[]).code, 5);
}

#[test]
fn a_named_socket_is_the_only_place() {
    let upstream = FakeUpstream::start();
    let mut home = TestHome::new();
    one_shot(&home, &[&upstream.url()]);
    let usual = home.daemon_pid();
    let mut other = TestHome::new();
    let folder = other.make_state();
    other.set("MCP_REMOTE_SOCKET", folder.join("named.sock"));
    let daemon = TestDaemon::start(&other, &[]);
    assert!(folder.join("named.sock").exists());
    home.set("MCP_REMOTE_SOCKET", folder.join("named.sock"));
    one_shot(&home, &[&upstream.url()]);
    assert_eq!(upstream.sessions_made(), 2, "the named daemon was asked");
    home.unset("MCP_REMOTE_SOCKET");
    assert_ne!(usual, Some(daemon.pid()));
}

#[test]
fn a_state_folder_can_be_named() {
    let upstream = FakeUpstream::start();
    let mut home = TestHome::new();
    let named = home.folder().join("named");
    home.set("MCP_REMOTE_STATE_DIR", &named);
    one_shot(&home, &[&upstream.url()]);
    assert!(named.join("lock").exists());
    assert!(!home.home().join(".local").exists());
}

/// A shim without a daemon beside it.
fn lonely_shim(home: &TestHome) -> Command {
    let folder = home.folder().join("bin");
    std::fs::create_dir_all(&folder).expect("made");
    let copy = folder.join("mcp-remote");
    // Not by this process: a child forked meanwhile would hold the file open for
    // writing, and it could not be executed.
    let copied = Command::new("cp")
        .arg(binary("mcp-remote"))
        .arg(&copy)
        .status();
    assert!(copied.expect("there is cp").success());
    let mut command = Command::new(copy);
    command
        .env_clear()
        .env("HOME", home.home())
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[test]
fn without_a_daemon_to_start_the_shim_says_so() {
    let home = TestHome::stripped();
    let finished = finish(lonely_shim(&home).arg("http://127.0.0.1:1/mcp"));
    assert_eq!(finished.code, 3, "{finished:?}");
    assert!(one_sentence(&finished.stderr).contains("mcp-remoted"));
}

#[test]
fn a_daemon_on_the_path_is_started() {
    let upstream = FakeUpstream::start();
    let home = TestHome::stripped();
    let folder = binary("mcp-remoted").parent().expect("a folder").to_owned();
    let path = format!("/nonexistent:/usr/bin:/bin:{}", folder.display());
    let mut shim = TestShim::start(lonely_shim(&home).arg(upstream.url()).env("PATH", path));
    shim.handshake();
    shim.echo("x");
    assert_eq!(shim.finish(), 0);
}

#[test]
fn a_link_to_the_shim_finds_the_daemon_beside_the_file() {
    let upstream = FakeUpstream::start();
    let home = TestHome::stripped();
    let link = home.folder().join("mcp-remote");
    std::os::unix::fs::symlink(binary("mcp-remote"), &link).expect("linked");
    let mut command = Command::new(link);
    command
        .arg(upstream.url())
        .env_clear()
        .env("HOME", home.home())
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut shim = TestShim::start(&mut command);
    shim.handshake();
    shim.echo("x");
    assert_eq!(shim.finish(), 0);
}

#[test]
fn a_started_daemon_holds_nothing_that_its_starter_had_open() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut command = Command::new("/bin/sh");
    // Nothing but descriptor 3 leads to the pipe that the test reads.
    let script = r#"exec 3>&1; exec "$0" "$1" >/dev/null"#;
    command
        .args(["-c", script])
        .arg(binary("mcp-remote"))
        .arg(upstream.url())
        .env_clear()
        .env("HOME", home.home())
        .env("PATH", "/usr/bin:/bin")
        .env("XDG_RUNTIME_DIR", home.folder().join("run"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut shim = TestShim::start(&mut command);
    shim.send_raw(conversation("x").as_bytes());
    shim.close_stdin();
    assert_eq!(shim.wait(), 0);
    assert!(home.daemon_pid().is_some(), "the daemon goes on");
    // It waits for the end of the pipe.
    assert_eq!(shim.rest(), "");
    assert_eq!(upstream.count("POST tools/call"), 1);
}

#[cfg(target_os = "linux")]
#[test]
fn a_home_that_is_dropped_leaves_no_daemon_though_its_shim_is_killed_early() {
    for _ in 0..20 {
        let home = TestHome::stripped();
        let folder = home.folder().to_owned();
        let shim = home.shim(&["http://127.0.0.1:9/mcp"]);
        // It is about to start the daemon.
        while !home.state().join("start.lock").exists() {
            assert!(shim.runs(), "{}", shim.stderr());
            std::thread::yield_now();
        }
        drop(shim);
        drop(home);
        assert_eq!(daemons_of(&folder), 0);
        assert!(!folder.exists());
    }
}

/// Elsewhere file names have to be UTF-8.
#[cfg(target_os = "linux")]
#[test]
fn a_home_that_is_not_utf8_has_its_daemon_too() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let upstream = FakeUpstream::start();
    let mut home = TestHome::stripped();
    let name: &OsStr = OsStrExt::from_bytes(b"h\xffme");
    let folder = home.folder().join(name);
    std::fs::create_dir(&folder).expect("made");
    home.set("HOME", folder);
    one_shot(&home, &[&upstream.url()]);
    let first = home.daemon_pid().expect("a daemon runs");
    one_shot(&home, &[&upstream.url()]);
    assert_eq!(home.daemon_pid(), Some(first));
    assert_eq!(upstream.sessions_made(), 1);
    assert_eq!(home.run(&["status"]).code, 0);
    assert_eq!(home.run(&["stop"]).code, 0);
    home.wait_until_no_daemon();
}
