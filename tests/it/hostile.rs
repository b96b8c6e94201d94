//! A hostile server costs its session, and at most four times the limit for a
//! moment.

use mcp_remote_tests::daemon::TestDaemon;
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::shim::TestShim;
use mcp_remote_tests::upstream::{FakeUpstream, Reply, Request, hostile};
use serde_json::Value;

use crate::support::{attached, one_shot};

const LIMIT: u64 = 4 << 20;

/// Calls the tool that the server answers with evil; it has to be an error for
/// that call.
#[track_caller]
fn evil_call(shim: &mut TestShim) {
    let response = shim.call("evil", "{}");
    let code = &response["error"]["code"];
    assert!(*code == -32001 || *code == -32600, "{response}");
}

#[track_caller]
fn costs_at_most_four_limits(flags: &[&str], limit: u64, evil: fn(&Request) -> Reply) {
    let upstream = FakeUpstream::scripted(move |request| {
        request.text().contains("evil").then(|| evil(request))
    });
    let innocent = FakeUpstream::start();
    let home = TestHome::new();
    let daemon = TestDaemon::start(&home, flags);
    one_shot(&home, &[&innocent.url()]);
    let mut other = attached(&home, &[&innocent.url()]);
    let mut shim = attached(&home, &[&upstream.url()]);
    shim.echo("before");
    let before = daemon.peak_memory();
    evil_call(&mut shim);
    let grown = daemon.peak_memory() - before;
    assert!(
        grown <= 4 * limit,
        "the daemon grew by {} KiB",
        grown / 1024
    );
    shim.echo("after");
    other.echo("nobody else noticed");
}

fn quickly(evil: fn(&Request) -> Reply) {
    costs_at_most_four_limits(&["--max-message", &LIMIT.to_string()], LIMIT, evil);
}

#[test]
fn an_endless_line() {
    quickly(|_| hostile::endless_line());
}

#[test]
fn an_endless_event() {
    quickly(|_| hostile::endless_event());
}

#[test]
fn an_endless_document() {
    quickly(|_| hostile::endless_json());
}

#[test]
fn endless_headers() {
    quickly(|_| hostile::endless_headers());
}

#[test]
fn a_gzip_bomb() {
    quickly(|_| hostile::gzip_bomb(64));
}

#[test]
fn an_event_of_three_limits() {
    quickly(|request| hostile::huge_event(request, 3 * LIMIT as usize));
}

#[test]
fn a_document_of_three_limits() {
    quickly(|request| hostile::huge_json(request, 3 * LIMIT as usize));
}

#[test]
fn an_endless_line_at_the_usual_limit() {
    costs_at_most_four_limits(&[], 32 << 20, |_| hostile::endless_line());
}

#[test]
fn an_oversized_message_on_the_servers_own_stream_costs_the_stream_only() {
    let upstream = FakeUpstream::scripted(|request| {
        let evil = request.method == "GET";
        evil.then(hostile::endless_event)
    });
    let home = TestHome::new();
    let daemon = TestDaemon::start(&home, &["--max-message", &LIMIT.to_string()]);
    let mut shim = attached(&home, &[&upstream.url()]);
    // It is opened again, with patience.
    upstream.wait_for("GET", 2);
    shim.echo("goes on");
    let peak = daemon.peak_memory();
    assert!(peak < 96 << 20, "the daemon has {} KiB", peak / 1024);
}

#[test]
fn an_endless_answer_to_the_handshake_is_an_error() {
    for evil in [
        hostile::endless_line,
        hostile::endless_json,
        hostile::endless_headers,
    ] {
        let upstream = FakeUpstream::scripted(move |_| Some(evil()));
        let home = TestHome::new();
        let _daemon = TestDaemon::start(&home, &["--max-message", "65536"]);
        let mut shim = home.shim(&[&upstream.url()]);
        let answer = shim.handshake();
        assert_eq!(answer["id"], 0, "{answer}");
        assert!(answer["error"]["code"].is_i64(), "{answer}");
    }
}

#[test]
fn answers_that_nobody_asked_for_reach_nobody() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    for id in ["1", "\"1\"", "null", "999999"] {
        upstream.push(format!(
            r#"{{"jsonrpc":"2.0","id":{id},"result":{{"forged":true}}}}"#
        ));
    }
    let last = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
    upstream.push(last);
    assert_eq!(shim.line(), last);
    shim.echo("mine");
    assert_eq!(shim.finish(), 0);
}

#[test]
fn escapes_in_a_servers_name_do_not_reach_the_terminal() {
    let upstream = FakeUpstream::start();
    upstream.answer(
        "initialize",
        r#"{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"evil\u001b]0;x\u0007\u009b31m\nname","version":"\u001b[2J"}}"#,
    );
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url(), "--debug"]);
    shim.echo("x");
    let status = home.run(&["status"]);
    let json = home.run(&["status", "--json"]);
    for text in [shim.stderr(), status.stdout, json.stdout] {
        let evil = |character: char| character.is_control() && character != '\n';
        assert!(!text.contains(evil), "{text:?}");
        assert!(!text.contains("\nname"), "{text:?}");
    }
    assert!(Value::is_object(&shim.call("session", "{}")));
}
