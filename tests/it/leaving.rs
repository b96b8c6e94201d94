//! When the shim leaves, how fast, and what it still says before.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::process::{Program, binary, capture};
use mcp_remote_tests::shim::{INITIALIZE, INITIALIZED, TestShim, call_line, conversation};
use mcp_remote_tests::upstream::{FakeUpstream, Reply};
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::support::{attached, messages, one_sentence, one_shot, with_open_output};

/// "Within 50 ms", on a machine that also runs the rest of the suite.
const PROMPTLY: Duration = Duration::from_millis(1000);

const HELD: &str = r#"{"gate":"never"}"#;

#[test]
fn a_conversation_from_a_pipe_is_answered_whole() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = home.shim(&[&upstream.url()]);
    shim.send_raw(conversation("x").as_bytes());
    shim.send(&call_line(2, "hold", r#"{"gate":"late"}"#));
    shim.send(r#"{"jsonrpc":"2.0","id":3,"method":"tools/list"}"#);
    shim.close_stdin();
    upstream.wait_for_hold("late");
    upstream.open_gate("late");
    assert_eq!(shim.wait(), 0);
    let mut ids: Vec<u64> = messages(&shim.rest())
        .iter()
        .map(|message| message["id"].as_u64().expect("an answer"))
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, [0, 1, 2, 3]);
}

#[test]
fn input_without_a_last_newline_is_a_message_too() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let text = conversation("x");
    let finished = home.run_with(&[&upstream.url()], text.trim_end());
    assert_eq!(messages(&finished.stdout).len(), 2, "{finished:?}");
}

#[test]
fn no_input_at_all_ends_well() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let finished = home.run_with(&[&upstream.url()], "");
    assert_eq!((finished.code, finished.stdout.as_str()), (0, ""));
}

#[test]
fn draining_ends_after_its_time() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url(), "--drain-timeout", "1"]);
    shim.begin_call("hold", HELD);
    upstream.wait_for_hold("never");
    let begin = Instant::now();
    assert_eq!(shim.finish(), 0);
    let took = begin.elapsed();
    assert!(
        (Duration::from_millis(900)..Duration::from_secs(5)).contains(&took),
        "{took:?}"
    );
    // What nobody waits for any more is cancelled.
    upstream.wait_for("POST notifications/cancelled", 1);
}

#[test]
fn draining_ends_when_nobody_reads() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let (mut shim, output) = with_open_output(&home, &upstream.url());
    shim.send(INITIALIZE);
    shim.send(INITIALIZED);
    shim.send(&call_line(1, "hold", HELD));
    upstream.wait_for_hold("never");
    shim.close_stdin();
    let begin = Instant::now();
    drop(output);
    assert_eq!(shim.wait(), 0);
    assert!(
        begin.elapsed() < Duration::from_secs(3),
        "{:?}",
        begin.elapsed()
    );
}

#[test]
fn a_closed_output_ends_an_idle_shim() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let (mut shim, output) = with_open_output(&home, &upstream.url());
    shim.send(INITIALIZE);
    upstream.wait_for("POST initialize", 1);
    drop(output);
    assert_eq!(shim.wait(), 0);
    assert_eq!(shim.stderr(), "");
}

#[test]
fn signals_end_an_idle_shim_promptly() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let shim = attached(&home, &[&upstream.url()]);
        ends_promptly(&shim, signal, code);
    }
}

#[track_caller]
fn ends_promptly(shim: &TestShim, signal: Signal, code: i32) {
    let begin = Instant::now();
    shim.signal(signal);
    assert_eq!(shim.wait(), code);
    assert!(begin.elapsed() < PROMPTLY, "{:?}", begin.elapsed());
}

#[test]
fn signals_end_a_shim_that_waits_for_an_answer() {
    let upstream = FakeUpstream::scripted(|_| Some(Reply::Hang));
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        for drains in [false, true] {
            let home = TestHome::new();
            let mut shim = home.shim(&[&upstream.url()]);
            let before = upstream.count("POST initialize");
            shim.send(INITIALIZE);
            upstream.wait_for("POST initialize", before + 1);
            if drains {
                shim.close_stdin();
            }
            ends_promptly(&shim, signal, code);
        }
    }
}

#[test]
fn signals_end_a_shim_that_nobody_reads() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let (mut shim, output) = with_open_output(&home, &upstream.url());
    shim.send(INITIALIZE);
    shim.send(INITIALIZED);
    let large = "x".repeat(1 << 20);
    for id in 1..=3 {
        shim.send(&call_line(
            id,
            "echo",
            &format!(r#"{{"message":"{large}"}}"#),
        ));
    }
    // More has been answered than a pipe holds.
    upstream.wait_for("POST tools/call", 3);
    ends_promptly(&shim, Signal::TERM, 143);
    drop(output);
}

#[test]
fn signals_end_a_shim_whose_client_says_more_than_can_be_taken() {
    let upstream = FakeUpstream::scripted(|_| Some(Reply::Hang));
    let home = TestHome::new();
    let mut shim = home.shim(&[&upstream.url()]);
    shim.send(INITIALIZE);
    upstream.wait_for("POST initialize", 1);
    let pid = shim.pid();
    let writer = std::thread::spawn(move || {
        // Ends when the shim does, which closes the pipe.
        for id in 1..200 {
            shim.send(&call_line(
                id,
                "echo",
                &format!(r#"{{"m":"{}"}}"#, "x".repeat(1 << 20)),
            ));
            if !shim.runs() {
                break;
            }
        }
        shim
    });
    mcp_remote_tests::process::send_signal(pid, Signal::TERM);
    let shim = writer.join().expect("the writer ends");
    assert_eq!(shim.wait(), 143);
}

#[test]
fn draining_ends_when_the_parent_is_gone() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    one_shot(&home, &[&upstream.url()]);
    upstream.forget_requests();
    let mut command = Command::new("/bin/sh");
    let script = r#"exec 3<&0; "$0" "$1" <&3 & exec 3<&- </dev/null; wait"#;
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
    let (shell, stdin, stdout) = Program::start(&mut command);
    let mut stdin = stdin.expect("a pipe");
    let stdout = capture(stdout.expect("a pipe"));
    let held = call_line(1, "hold", HELD);
    write!(stdin, "{INITIALIZE}\n{INITIALIZED}\n{held}\n").expect("the shim reads");
    upstream.wait_for_hold("never");
    drop(stdin);
    shell.signal(Signal::KILL);
    let begin = Instant::now();
    stdout.expect("the end of the shim's output", |captured| {
        captured.ended.then_some(())
    });
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "{:?}",
        begin.elapsed()
    );
}

/// Starts a shim with a terminal on standard input; the test keeps its other end.
fn at_a_terminal(home: &TestHome, url: &str) -> (TestShim, OwnedFd) {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&controller).expect("granted");
    unlockpt(&controller).expect("unlocked");
    let name = ptsname(&controller, Vec::new()).expect("a name");
    let terminal = File::options()
        .read(true)
        .write(true)
        .open(name.to_str().expect("UTF-8"));
    let mut command = home.command("mcp-remote", &[url]);
    let shim = TestShim::start(command.stdin(terminal.expect("it opens")));
    (shim, controller)
}

#[test]
fn at_a_terminal_one_line_says_who_answers() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let (shim, _terminal) = at_a_terminal(&home, &upstream.url());
    assert_eq!(shim.wait(), 0, "{}", shim.stderr());
    assert_eq!(shim.rest(), "");
    let stderr = shim.stderr();
    let line = one_sentence(&stderr);
    for text in ["fake-upstream", "1.2.3", &upstream.url(), "2025-11-25"] {
        assert!(line.contains(text), "no {text:?} in {line:?}");
    }
    assert_eq!(upstream.count("POST tools/call"), 0);
}

#[test]
fn at_a_terminal_one_line_says_why_nobody_answers() {
    let mut upstream = FakeUpstream::start();
    upstream.go_down();
    let home = TestHome::new();
    let (shim, _terminal) = at_a_terminal(&home, &upstream.url());
    assert_eq!(shim.wait(), 1, "{}", shim.stderr());
    let stderr = shim.stderr();
    assert!(
        one_sentence(&stderr).to_lowercase().contains("refused"),
        "{stderr}"
    );
    assert_eq!(shim.rest(), "");
}

#[test]
fn at_a_terminal_a_warm_session_is_asked_whether_its_server_is_there() {
    let mut upstream = FakeUpstream::start();
    let home = TestHome::new();
    for _ in 0..2 {
        let (shim, _terminal) = at_a_terminal(&home, &upstream.url());
        assert_eq!(shim.wait(), 0, "{}", shim.stderr());
    }
    assert_eq!(upstream.sessions_made(), 1, "it was warm");
    upstream.go_down();
    let (shim, _terminal) = at_a_terminal(&home, &upstream.url());
    assert_eq!(shim.wait(), 1, "{}", shim.stderr());
    let stderr = shim.stderr();
    assert!(one_sentence(&stderr).contains("127.0.0.1"), "{stderr}");
    assert_eq!(shim.rest(), "");
}
