//! The command line of the npm package, and what is said about it.

use mcp_remote_proto::VERSION;
use mcp_remote_tests::daemon::TestDaemon;
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::shim::conversation;
use mcp_remote_tests::upstream::FakeUpstream;

use crate::support::{attached, messages, one_sentence, one_shot, our_error};

#[test]
fn help_and_version_win_wherever_they_stand() {
    let home = TestHome::new();
    for arguments in [
        &["--version"] as &[&str],
        &["http://127.0.0.1:1/", "--version"],
        &["--debug", "--version", "--unknown"],
    ] {
        let finished = home.run(arguments);
        assert_eq!(finished.code, 0, "{finished:?}");
        assert!(
            finished.stdout.trim_end().ends_with(VERSION),
            "{finished:?}"
        );
        assert_eq!(finished.stdout.lines().count(), 1);
    }
    for arguments in [
        &["--help"] as &[&str],
        &["-h"],
        &["http://127.0.0.1:1/", "--help"],
    ] {
        let finished = home.run(arguments);
        assert_eq!(finished.code, 0, "{finished:?}");
        for text in ["mcp-remote", "--header", "--transport", "status"] {
            assert!(finished.stdout.contains(text), "no {text} in {finished:?}");
        }
    }
    assert_eq!(home.daemon_pid(), None, "nothing was started");
}

#[test]
fn the_daemon_has_help_and_version_too() {
    let home = TestHome::new();
    for (flag, text) in [("--help", "--session-idle"), ("--version", VERSION)] {
        let finished = mcp_remote_tests::daemon::TestDaemon::refuse(&home, &[flag]);
        assert_eq!(finished.code, 0, "{finished:?}");
        assert!(finished.stdout.contains(text), "{finished:?}");
    }
    let wrong = mcp_remote_tests::daemon::TestDaemon::refuse(&home, &["--nonsense"]);
    assert_eq!(wrong.code, 2, "{wrong:?}");
    assert!(wrong.stderr.contains("--nonsense"), "{wrong:?}");
}

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    let home = TestHome::new();
    for arguments in [&[] as &[&str], &["--debug"], &["non/sense"]] {
        let finished = home.run(arguments);
        assert_eq!(finished.code, 2, "{arguments:?}: {finished:?}");
        assert_eq!(finished.stdout, "");
        assert!(finished.stderr.len() > 15, "{finished:?}");
    }
    // A word in the wrong place may be a secret: its position is said instead.
    let finished = home.run(&["s3cr3t/word"]);
    assert!(!finished.stderr.contains("s3cr3t"), "{finished:?}");
    assert!(finished.stderr.contains("position 1"), "{finished:?}");
    // Nor is one that could be the name of a server and is none.
    let finished = home.run(&["s3cr3t-word"]);
    assert_eq!(finished.code, 1, "{finished:?}");
    assert!(!finished.stderr.contains("s3cr3t"), "{finished:?}");
    assert!(
        finished.stderr.contains("no server of this name"),
        "{finished:?}"
    );
}

#[test]
fn a_usage_error_is_a_sentence_and_where_to_read_more() {
    let home = TestHome::new();
    for (arguments, help) in [
        (&[][..], "mcp-remote --help"),
        (&["non/sense"], "mcp-remote --help"),
        (&["call"], "mcp-remote call --help"),
        (&["--debug", "call", "everything"], "mcp-remote call --help"),
        (&["tools"], "mcp-remote tools --help"),
        (&["add", "name"], "mcp-remote add --help"),
        (
            &["service", "install", "--follow"],
            "mcp-remote service --help",
        ),
        (&["logs", "--level", "x"], "mcp-remote logs --help"),
        (&["status", "--nosuch"], "mcp-remote status --help"),
        (&["login"], "mcp-remote login --help"),
        (&["stop", "now"], "mcp-remote stop --help"),
        (&["adopt", "--npx", "--global"], "mcp-remote adopt --help"),
    ] {
        let finished = home.run(arguments);
        assert_eq!(finished.code, 2, "{arguments:?}: {finished:?}");
        let lines: Vec<&str> = finished.stderr.lines().collect();
        assert_eq!(lines.len(), 2, "{arguments:?}: {finished:?}");
        assert!(lines[1].starts_with(help), "{lines:?}");
        let words: Vec<&str> = help.split(' ').skip(1).collect();
        let helped = home.run(&words);
        let usage = format!("Usage: {}", help.trim_end_matches(" --help"));
        assert!(helped.stdout.starts_with(&usage), "{helped:?}");
    }
}

#[test]
fn flags_may_stand_anywhere_and_be_written_with_an_equals_sign() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let url = upstream.url();
    for arguments in [
        &["--header", "X-Key: v", &url, "--transport", "http-only"] as &[&str],
        &["--transport=http-only", "--header=X-Key: v", &url],
        &[
            &url,
            "--transport",
            "http-only",
            "--header",
            "X-Key:v",
            "--debug",
        ],
        &[&url, "9696", "--header=X-Key:   v", "--transport=http-only"],
    ] {
        one_shot(&home, arguments);
    }
    assert_eq!(upstream.sessions_made(), 1, "all mean the same");
    assert_eq!(upstream.requests()[0].header("X-Key"), Some("v"));
}

#[test]
fn an_unknown_flag_is_one_warning() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let url = upstream.url();
    for (flags, name) in [
        (&["--no-such-flag"] as &[&str], "--no-such-flag"),
        (&["--protocol", "auto"], "--protocol"),
        (&["--body-timeout", "soon"], "--body-timeout"),
        (
            &["--token-endpoint", "https://api.example.com/"],
            "--token-endpoint",
        ),
        (&["--auth-timeout", "soon"], "--auth-timeout"),
    ] {
        for arguments in [
            [flags, &[url.as_str()]].concat(),
            [&[url.as_str()], flags].concat(),
        ] {
            let finished = one_shot(&home, &arguments);
            assert!(
                one_sentence(&finished.stderr).contains(name),
                "{finished:?}"
            );
        }
    }
}

#[test]
fn a_wrong_value_is_a_warning_and_the_usual_one_is_taken() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let url = upstream.url();
    for arguments in [
        [url.as_str(), "--transport", "nonsense"],
        [url.as_str(), "--header", "no colon"],
        [url.as_str(), "--header", "bad name: x"],
    ] {
        let finished = one_shot(&home, &arguments);
        one_sentence(&finished.stderr);
    }
    assert_eq!(upstream.sessions_made(), 1);
}

#[test]
fn a_header_file_that_cannot_be_read_is_fatal() {
    let home = TestHome::new();
    let finished = home.run(&[
        "http://127.0.0.1:1/",
        "--header-file",
        "/nonexistent/headers",
    ]);
    assert!([1, 2].contains(&finished.code), "{finished:?}");
    assert!(one_sentence(&finished.stderr).contains("/nonexistent/headers"));
}

#[test]
fn plain_http_needs_permission_except_on_loopback() {
    let home = TestHome::new();
    let finished = home.run_with(&["http://nonexistent.invalid/mcp"], "");
    assert_eq!(finished.code, 1, "{finished:?}");
    assert!(one_sentence(&finished.stderr).contains("--allow-http"));
    assert_eq!(finished.stdout, "");
    for host in ["127.0.0.1", "localhost", "[::1]", "127.9.9.9"] {
        let mut shim = home.shim(&[&format!("http://{host}:1/mcp")]);
        let error = our_error(&shim.handshake(), 0);
        assert!(
            !error.to_string().contains("--allow-http"),
            "{host}: {error}"
        );
    }
}

#[test]
fn a_url_of_another_kind_is_refused_at_once() {
    let home = TestHome::new();
    for url in [
        "ftp://127.0.0.1/mcp",
        "file:///etc/passwd",
        "https://",
        "http://127.0.0.1:99999/",
    ] {
        refused(&home, &[url]);
    }
}

/// Checks that the shim says why on standard error, answers every request of its
/// client with it, and fails.
#[track_caller]
fn refused(home: &TestHome, arguments: &[&str]) -> String {
    let finished = home.run_with(arguments, &conversation("x"));
    assert_eq!(finished.code, 1, "{arguments:?}: {finished:?}");
    let sentence = one_sentence(&finished.stderr);
    let answers = messages(&finished.stdout);
    assert_eq!(answers.len(), 2, "{arguments:?}: {finished:?}");
    for (answer, id) in answers.iter().zip([0, 1]) {
        let error = our_error(answer, id);
        assert_eq!(error["data"]["maybeExecuted"], false, "{error}");
        let said = error["message"].as_str().unwrap_or_default();
        let said = said.trim_start_matches("mcp-remote: ");
        assert!(sentence.contains(said), "{said:?} is not {sentence:?}");
    }
    sentence.to_owned()
}

#[test]
fn what_cannot_be_opened_answers_every_request() {
    let home = TestHome::new();
    let upstream = FakeUpstream::start();
    let url = upstream.url();
    for (arguments, named) in [
        (&["http://example.com/mcp"] as &[&str], "--allow-http"),
        (&["ftp://127.0.0.1/mcp"], "https://"),
        (
            &[&url, "--ca-file", "/nonexistent/ca.pem"],
            "/nonexistent/ca.pem",
        ),
    ] {
        let sentence = refused(&home, arguments);
        assert!(sentence.contains(named), "{sentence:?}");
    }
    assert_eq!(upstream.labels(), [""; 0]);
}

#[test]
fn a_limit_beyond_what_the_shim_takes_is_a_usage_error() {
    let home = TestHome::new();
    for limit in ["33554433", "4294967296", "99999999999999999999"] {
        let daemon = TestDaemon::refuse(&home, &["--max-message", limit]);
        assert_eq!(daemon.code, 2, "{daemon:?}");
        assert!(one_sentence(&daemon.stderr).contains(limit), "{daemon:?}");
    }
}

#[test]
fn silence_and_detail_are_the_users_choice() {
    let mut upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut debug = attached(&home, &[&upstream.url(), "--debug"]);
    debug.echo("x");
    let pid = home.daemon_pid().expect("it runs").to_string();
    debug.wait_for_stderr(&pid);
    for line in debug.stderr().lines() {
        assert!(line.starts_with(&format!("[{}] ", debug.pid())), "{line:?}");
    }
    upstream.go_down();
    let url = upstream.url().replace("/mcp", "/other");
    for (flags, silent) in [
        (&["--silent"] as &[&str], true),
        (&[], false),
        (&["--silent", "--debug"], false),
    ] {
        let mut shim = home.shim(&[&[url.as_str()], flags].concat());
        our_error(&shim.handshake(), 0);
        shim.close_stdin();
        assert_eq!(shim.wait(), 0);
        assert_eq!(
            shim.stderr().is_empty(),
            silent,
            "{flags:?}: {}",
            shim.stderr()
        );
    }
}
