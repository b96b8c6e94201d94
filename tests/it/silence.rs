//! A server that keeps silent where it owes a word holds up that exchange only.

use std::time::{Duration, Instant};

use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::shim::{INITIALIZE, INITIALIZED, call_line};
use mcp_remote_tests::upstream::{FakeUpstream, Reply, Rpc, hostile, label, text_result};

use crate::support::{attached, messages, one_shot, our_error};

/// Less than what a daemon waits for a server that owes an answer to nothing.
const UNHINDERED: Duration = Duration::from_secs(7);

#[test]
fn a_call_goes_on_without_an_answer_to_initialized() {
    let upstream = FakeUpstream::scripted(|request| match label(request).as_str() {
        "POST notifications/initialized" => Some(Reply::Hang),
        "POST tools/call" => {
            let rpc = Rpc::parse(&request.body)?;
            Some(Reply::json(200, rpc.result(&text_result("hello"))))
        }
        _ => None,
    });
    one_shot(&TestHome::new(), &[&upstream.url()]);
    assert_eq!(upstream.count("POST notifications/initialized"), 1);
}

#[test]
fn a_failure_without_its_body_is_an_answer() {
    let upstream = FakeUpstream::scripted(|request| {
        let fails = request.text().contains("fails");
        fails.then(|| hostile::promised_body(500))
    });
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    let error = our_error(&shim.call("fails", "{}"), 1);
    assert_eq!(error["data"]["httpStatus"], 500, "{error}");
    shim.echo("goes on");
}

#[test]
fn a_notification_that_hangs_does_not_hold_up_a_cancellation() {
    let upstream = FakeUpstream::scripted(|request| {
        let hangs = label(request) == "POST notifications/roots/list_changed";
        hangs.then_some(Reply::Hang)
    });
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    let id = shim.begin_call("hold", r#"{"gate":"never"}"#);
    upstream.wait_for_hold("never");
    shim.send(r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#);
    upstream.wait_for("POST notifications/roots/list_changed", 1);
    let begin = Instant::now();
    shim.send(&format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
    ));
    upstream.wait_for("POST notifications/cancelled", 1);
    assert!(begin.elapsed() < UNHINDERED, "{:?}", begin.elapsed());
    shim.echo("goes on");
}

#[test]
fn many_calls_wait_for_a_slow_initialized() {
    const CALLS: usize = 400;
    let upstream = FakeUpstream::scripted(|request| {
        if label(request) == "POST notifications/initialized" {
            hostile::pause(Duration::from_millis(300));
        }
        None
    });
    let home = TestHome::new();
    let calls = (1..=CALLS).map(|id| {
        let arguments = format!(r#"{{"message":"{id}"}}"#);
        call_line(id, "echo", &arguments) + "\n"
    });
    let input = format!("{INITIALIZE}\n{INITIALIZED}\n{}", calls.collect::<String>());
    let finished = home.run_with(&[&upstream.url()], &input);
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    let answers = messages(&finished.stdout);
    assert_eq!(answers.len(), CALLS + 1);
    for answer in answers.iter().filter(|answer| answer["id"] != 0) {
        let text = answer.pointer("/result/content/0/text");
        let text = text.and_then(serde_json::Value::as_str).unwrap_or_default();
        assert_eq!(text, answer["id"].to_string(), "{answer}");
    }
}
