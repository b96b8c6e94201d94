//! `status --watch`: a screen that lives and gives the terminal back, or a line of
//! JSON after every change.

use mcp_remote_proto::v1::{ServerState, ServerStatus, StatusResponse};
use mcp_remote_tests::daemon::TestDaemon;
use mcp_remote_tests::fake_daemon::FakeDaemon;
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::terminal::TestTerminal;
use mcp_remote_tests::upstream::FakeUpstream;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{attached, one_sentence};

const ENTER: &str = "\u{1b}[?1049h";
const LEAVE: &str = "\u{1b}[?1049l";

/// A home whose programs believe that the terminal is a usual one.
fn home() -> TestHome {
    let mut home = TestHome::new();
    home.set("TERM", "xterm");
    home
}

fn watching(home: &TestHome, columns: u16) -> TestTerminal {
    let command = home.command("mcp-remote", &["status", "--watch"]);
    let terminal = TestTerminal::start(&command, columns, 30);
    terminal.wait_for_text(ENTER);
    terminal
}

#[test]
fn the_screen_follows_and_the_terminal_is_given_back() {
    let upstream = FakeUpstream::start();
    let home = home();
    let _daemon = TestDaemon::start(&home, &[]);
    let terminal = watching(&home, 200);
    terminal.wait_for_text("No server is known yet.");
    assert!(!terminal.is_usual(), "keys are not shown");
    terminal.press(b"typed");
    let shim = attached(&home, &[&upstream.url()]);
    terminal.wait_for_text("1 leased");
    terminal.wait_for_text("\u{1b}[32mready\u{1b}[0m");
    assert_eq!(shim.finish(), 0);
    terminal.wait_for_text("1 idle");
    assert!(!terminal.drawn().contains("typed"));
    terminal.press(b"\x03");
    assert_eq!(terminal.wait(), 130);
    terminal.wait_for("the shell's screen", |drawn| {
        drawn.ends_with(LEAVE).then_some(())
    });
    assert!(terminal.is_usual(), "keys are shown again");
}

#[test]
fn a_terminal_that_cannot_be_drawn_on_gets_a_sentence() {
    let mut home = home();
    home.set("TERM", "dumb");
    let _daemon = TestDaemon::start(&home, &[]);
    let command = home.command("mcp-remote", &["status", "--watch"]);
    let terminal = TestTerminal::start(&command, 80, 30);
    assert_eq!(terminal.wait(), 2);
    terminal.wait_for_text("--watch --json");
    assert!(!terminal.drawn().contains('\u{1b}'), "{}", terminal.drawn());
}

#[test]
fn any_end_gives_the_terminal_back() {
    let home = home();
    let _daemon = TestDaemon::start(&home, &[]);
    let terminal = watching(&home, 100);
    terminal.wait_for_text("Health: ");
    terminal.signal(Signal::TERM);
    assert_eq!(terminal.wait(), 143);
    terminal.wait_for("the shell's screen", |drawn| {
        drawn.ends_with(LEAVE).then_some(())
    });
    assert!(terminal.is_usual());
}

#[test]
fn ctrl_z_gives_the_terminal_back_for_a_while() {
    let home = home();
    let _daemon = TestDaemon::start(&home, &[]);
    let terminal = watching(&home, 100);
    terminal.wait_for_text("Health: ");
    terminal.forget();
    terminal.signal(Signal::TSTP);
    terminal.wait_for_text(LEAVE);
    // Before that it would not be noticed that it is to go on.
    terminal.wait_until_stopped();
    terminal.forget();
    terminal.signal(Signal::CONT);
    terminal.wait_for_text(ENTER);
    terminal.wait_for_text("Health: ");
    terminal.press(b"\x03");
    assert_eq!(terminal.wait(), 130);
}

#[test]
fn another_size_is_another_picture() {
    let home = home();
    let server = ServerStatus {
        url: "https://a-rather-long-name.example.com/mcp".to_owned(),
        state: ServerState::NeedsLogin.into(),
        ..ServerStatus::default()
    };
    let _daemon = FakeDaemon::showing(
        &home,
        StatusResponse {
            servers: vec![server],
            ..StatusResponse::default()
        },
    );
    let terminal = watching(&home, 250);
    terminal.wait_for_text("PROTOCOL");
    terminal.forget();
    terminal.resize(60, 20);
    let drawn = terminal.wait_for("the narrow picture", |drawn| {
        // Before the change the wide one may have been drawn once more.
        let (_, frame) = drawn.rsplit_once("\u{1b}[H")?;
        let narrow = frame.contains("Health: ") && !frame.contains("PROTOCOL");
        narrow.then(|| frame.to_owned())
    });
    // What does not fit goes on below, in whole words.
    let url = "\nhttps://a-rather-long-name.example.com/mcp\u{1b}";
    assert!(drawn.contains("run: mcp-remote login\u{1b}[K"), "{drawn}");
    assert!(drawn.contains(url), "{drawn}");
    let rows = drawn.split("\r\n").map(|row| row.trim_end_matches('\r'));
    for row in rows {
        let codes = row.split('\u{1b}').skip(1);
        let hidden: usize = codes
            .map(|code| {
                1 + code
                    .find(|it: char| it.is_ascii_alphabetic())
                    .map_or(0, |at| at + 1)
            })
            .sum();
        assert!(row.chars().count() - hidden <= 60, "{row:?}");
    }
    // All of it is drawn over, nothing is cleared first: that would flicker.
    assert!(!terminal.drawn().contains("\u{1b}[2J"));
    terminal.press(b"\x03");
    assert_eq!(terminal.wait(), 130);
}

#[test]
fn the_screen_outlives_the_daemon() {
    let home = home();
    let daemon = TestDaemon::start(&home, &[]);
    let terminal = watching(&home, 100);
    terminal.wait_for_text("Health: ");
    assert_eq!(daemon.terminate(), 0);
    terminal.wait_for_text("is not running");
    assert_eq!(home.daemon_pid(), None, "it starts none");
    terminal.forget();
    let _next = TestDaemon::start(&home, &[]);
    terminal.wait_for_text("Health: ");
    terminal.press(b"\x03");
    assert_eq!(terminal.wait(), 130);
}

#[test]
fn json_is_a_line_a_change() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let daemon = TestDaemon::start(&home, &[]);
    let watching = home.shim(&["status", "--watch", "--json"]);
    let until = |ready: &dyn Fn(&Value) -> bool| {
        let mut lines = 0;
        loop {
            lines += 1;
            if ready(&watching.message()) {
                return lines;
            }
        }
    };
    assert_eq!(until(&|status| status["shims"] == 0), 1);
    let mut shim = attached(&home, &[&upstream.url()]);
    until(&|status| status["servers"][0]["state"] == "ready" && status["shims"] == 1);
    // Many changes are few lines.
    for _ in 0..200 {
        shim.echo("x");
    }
    let lines = until(&|status| {
        let calls = status["servers"][0]["calls"].as_u64();
        calls.is_some_and(|calls| calls >= 200)
    });
    assert!(lines <= 40, "{lines} lines for 200 calls");
    drop(shim);
    until(&|status| status["shims"] == 0);
    assert_eq!(daemon.terminate(), 0);
    until(&|status| status["running"] == false);
    watching.signal(Signal::INT);
    assert_eq!(watching.wait(), 130);
}

#[test]
fn without_a_terminal_or_a_daemon_there_is_nothing_to_watch() {
    let home = TestHome::new();
    let finished = home.run(&["status", "--watch"]);
    assert_eq!(finished.code, 2);
    assert!(one_sentence(&finished.stderr).contains("--watch --json"));
    let finished = home.run(&["status", "--watch", "--json"]);
    assert_eq!(finished.code, 3);
    assert_eq!(finished.stdout, "{\"running\":false}\n");
    assert_eq!(home.daemon_pid(), None);
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let mut home = home();
    let _daemon = TestDaemon::start(&home, &[]);
    let shown = |home: &TestHome| {
        let command = home.command("mcp-remote", &["status"]);
        let terminal = TestTerminal::start(&command, 120, 30);
        assert_eq!(terminal.wait(), 0);
        terminal.wait_for_text("Health: ");
        terminal.drawn()
    };
    assert!(shown(&home).contains("\u{1b}[32mall is well."));
    home.set("NO_COLOR", "1");
    assert!(!shown(&home).contains('\u{1b}'));
}
