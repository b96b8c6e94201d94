//! What the daemon writes down, where, and in which form.

use std::process::Command;

use mcp_remote_tests::daemon::TestDaemon;
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::process::binary;
use mcp_remote_tests::upstream::FakeUpstream;
use serde_json::Value;

use crate::support::one_shot;

#[test]
fn a_log_in_json_is_json_line_by_line() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let daemon = TestDaemon::start(&home, &["--log-format", "json"]);
    one_shot(&home, &[&upstream.url()]);
    assert_eq!(daemon.terminate(), 0);
    let log = daemon.stderr();
    assert!(log.lines().count() >= 2, "{log}");
    for line in log.lines() {
        let entry: Value = serde_json::from_str(line).expect("each line is JSON");
        for name in ["timestamp", "level"] {
            assert!(entry[name].is_string(), "no {name} in {line}");
        }
    }
}

#[test]
fn the_level_is_the_users_choice() {
    let upstream = FakeUpstream::start();
    let mut sizes = Vec::new();
    for level in ["error", "info", "trace"] {
        let mut home = TestHome::new();
        home.set("MCP_REMOTE_LOG", level);
        one_shot(&home, &[&upstream.url()]);
        assert_eq!(home.run(&["stop"]).code, 0);
        sizes.push(home.log().len());
    }
    assert!(sizes[0] < sizes[1] && sizes[1] < sizes[2], "{sizes:?}");
}

#[test]
fn a_call_leaves_nothing_in_the_usual_log() {
    let upstream = FakeUpstream::start();
    let mut home = TestHome::new();
    home.unset("MCP_REMOTE_LOG");
    let mut shim = crate::support::attached(&home, &[&upstream.url()]);
    shim.echo("first");
    let before = home.log();
    for _ in 0..10 {
        shim.echo("more");
    }
    assert_eq!(home.log(), before);
}

#[test]
#[cfg(target_os = "linux")]
fn the_daemon_may_open_as_many_files_as_the_system_lets_it() {
    let upstream = FakeUpstream::start();
    let home = TestHome::stripped();
    let finished = Command::new("/bin/sh")
        .args(["-c", r#"ulimit -Sn 256; exec "$0" "$1" </dev/null"#])
        .arg(binary("mcp-remote"))
        .arg(upstream.url())
        .env_clear()
        .env("HOME", home.home())
        .env("PATH", "/usr/bin:/bin")
        .status()
        .expect("there is a shell");
    assert!(finished.success());
    let pid = home.daemon_pid().expect("it runs");
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("it runs");
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let mut words = line.expect("there is such a limit").split_whitespace();
    assert_eq!(words.next(), words.next(), "{line:?}");
}
