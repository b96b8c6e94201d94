//! The daemon's log by its own stream: whoever started it, for one server, from a
//! level on, while it goes on, and never with a secret.

use mcp_remote_proto::API_VERSION;
use mcp_remote_tests::daemon::TestDaemon;
use mcp_remote_tests::fake_daemon::{Answers, FakeDaemon, Handover};
use mcp_remote_tests::home::{SECRET, TestHome};
use mcp_remote_tests::upstream::FakeUpstream;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{attached, one_sentence, one_shot};

#[test]
fn the_log_of_any_daemon_can_be_read() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    one_shot(&home, &[&upstream.url()]);
    let spawned = home.run(&["logs"]);
    let service = TestHome::new();
    let _daemon = TestDaemon::start(&service, &[]);
    one_shot(&service, &[&upstream.url()]);
    for finished in [spawned, service.run(&["logs"])] {
        assert_eq!(finished.code, 0, "{finished:?}");
        let opened = finished.stdout.lines().find(|line| {
            line.contains("session opened") && line.contains(&format!(" {}: ", upstream.url()))
        });
        let line = opened.expect("the session was opened");
        let (time, rest) = line.split_once(' ').expect("a time");
        assert_eq!((time.len(), time.ends_with('Z')), (24, true), "{line}");
        assert!(rest.starts_with("INFO "), "{line}");
        assert!(!finished.stdout.contains('\u{1b}'), "there is no terminal");
    }
}

#[test]
fn one_server_and_bad_news_can_be_picked() {
    let mut down = FakeUpstream::start();
    down.go_down();
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    one_shot(&home, &[&upstream.url()]);
    let failed = home.run(&[&down.url()]);
    assert_ne!(failed.code, 0);
    let of_one = home.run(&["logs", &upstream.url()]).stdout;
    assert!(of_one.contains("session opened"), "{of_one}");
    assert!(!of_one.contains(&down.url()), "{of_one}");
    let warnings = home.run(&["logs", "--level", "warn", "--json"]).stdout;
    let lines: Vec<Value> = warnings
        .lines()
        .map(|line| serde_json::from_str(line).expect("an object a line"))
        .collect();
    assert!(!lines.is_empty());
    for line in &lines {
        assert!(
            line["level"] == "warn" || line["level"] == "error",
            "{line}"
        );
        for name in ["target", "server", "text"] {
            assert!(line[name].is_string(), "{line}");
        }
        assert!(line["time_unix_ms"].is_u64());
    }
    assert!(
        lines
            .iter()
            .any(|line| line["server"] == down.url().as_str())
    );
}

#[test]
fn a_server_that_nobody_knows_is_said_to_be_unknown() {
    let home = TestHome::new();
    home.configure("[servers.quiet]\nurl = \"http://127.0.0.1:1/\"\n");
    let _daemon = TestDaemon::start(&home, &[]);
    for words in [&["logs", "nosuch"][..], &["logs", "--json", "nosuch"]] {
        let finished = home.run(words);
        assert_eq!((finished.code, finished.stdout.as_str()), (1, ""));
        assert!(one_sentence(&finished.stderr).contains("no server nosuch is known"));
    }
    let quiet = home.run(&["logs", "quiet"]);
    assert_eq!((quiet.code, quiet.stderr.as_str()), (0, ""));
}

#[test]
fn what_comes_is_followed_until_the_daemon_goes() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let _daemon = TestDaemon::start(&home, &[]);
    let following = home.shim(&["logs", "-f", "--level", "info"]);
    loop {
        if following.line().contains(" ready ") {
            break;
        }
    }
    one_shot(&home, &[&upstream.url()]);
    loop {
        if following.line().contains("session opened") {
            break;
        }
    }
    assert_eq!(home.run(&["stop"]).code, 0);
    assert_eq!(following.wait(), 3);
    one_sentence(&following.stderr());
}

#[test]
fn a_follower_ends_with_its_reader_and_with_signals() {
    let home = TestHome::new();
    let _daemon = TestDaemon::start(&home, &[]);
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let following = home.shim(&["logs", "-f"]);
        following.line();
        following.signal(signal);
        assert_eq!(following.wait(), code);
    }
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut command = home.command("mcp-remote", &["logs", "-f"]);
    let following = mcp_remote_tests::shim::TestShim::start(command.stdout(writer));
    drop(command);
    drop(reader);
    assert_eq!(following.wait(), 0);
}

#[test]
fn the_level_changes_while_the_daemon_runs() {
    let upstream = FakeUpstream::start();
    let mut home = TestHome::new();
    home.set("MCP_REMOTE_LOG", "warn");
    one_shot(&home, &[&upstream.url()]);
    let quiet = home.run(&["logs", "--level", "info"]);
    assert_eq!(quiet.stdout, "");
    assert!(quiet.stderr.contains("--set-level info"), "{quiet:?}");
    let changed = home.run(&["logs", "--set-level", "debug"]);
    assert_eq!((changed.code, changed.stdout.as_str()), (0, ""));
    let sentence = one_sentence(&changed.stderr);
    assert!(
        sentence.contains("debug") && sentence.contains("warn"),
        "{sentence}"
    );
    drop(attached(&home, &[&upstream.url()]));
    let log = home.run(&["logs"]).stdout;
    assert!(log.contains("DEBUG "), "{log}");
    // Others print headers at that level.
    let json = home.run(&["logs", "--json"]).stdout;
    for line in json.lines() {
        let line: Value = serde_json::from_str(line).expect("an object");
        let ours = line["target"]
            .as_str()
            .is_some_and(|it| it.starts_with("mcp_remote"));
        assert!(
            ours || line["level"] == "warn" || line["level"] == "error",
            "{line}"
        );
    }
    assert!(home.log().contains("DEBUG"), "the file has it too");
}

#[test]
fn no_secret_is_in_the_stream() {
    let upstream = FakeUpstream::start();
    let mut home = TestHome::new();
    home.set("MCP_REMOTE_LOG", "trace");
    let header = format!("Authorization: Bearer {SECRET}token");
    let url = format!("{}?key={SECRET}query", upstream.url());
    one_shot(&home, &["--header", &header, &url]);
    for flags in [&["logs"][..], &["logs", "--json"]] {
        let log = home.run(flags).stdout;
        assert!(log.lines().count() > 3, "{log}");
        assert!(!log.contains(SECRET), "a secret is in the log: {log}");
    }
}

#[test]
fn without_a_daemon_or_with_an_old_one_it_is_said_in_one_sentence() {
    let home = TestHome::new();
    let finished = home.run(&["logs"]);
    assert_eq!(finished.code, 3);
    one_sentence(&finished.stderr);
    assert_eq!(home.daemon_pid(), None, "none was started");
    let _old = FakeDaemon::start(
        &home,
        Answers {
            api_version: Some(API_VERSION),
            version: "0.0.9",
            handover: Handover::Goes,
        },
    );
    for flags in [&["logs"][..], &["logs", "--set-level", "info"]] {
        let finished = home.run(flags);
        assert_eq!(finished.code, 4, "{finished:?}");
        one_sentence(&finished.stderr);
    }
}
