//! A batch is answered element by element: a bad one costs itself only.

use mcp_remote_tests::daemon::TestDaemon;
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::shim::{INITIALIZE, TestShim, call_line, text_of};
use mcp_remote_tests::upstream::{Config, FakeUpstream, Kind, Replies, Reply, Rpc, text_result};
use serde_json::Value;

use crate::support::{attached, messages, our_error};

/// A client of the revision that has batches.
fn of_that_revision(home: &TestHome, upstream: &FakeUpstream) -> TestShim {
    let mut shim = home.shim(&[&upstream.url()]);
    let answer = shim.handshake_with(&INITIALIZE.replace("2025-11-25", "2025-03-26"));
    assert_eq!(answer["result"]["protocolVersion"], "2025-03-26");
    shim
}

/// Returns the answers in the next line, which is an array, by their ids.
#[track_caller]
fn array(shim: &TestShim) -> Vec<Value> {
    match shim.message() {
        Value::Array(answers) => answers,
        other => panic!("no array: {other}"),
    }
}

#[test]
fn the_answers_to_a_batch_come_in_one_array() {
    for replies in [Replies::Json, Replies::Events] {
        let upstream = FakeUpstream::with(Config {
            replies,
            ..Config::default()
        });
        let home = TestHome::new();
        let mut shim = of_that_revision(&home, &upstream);
        let slow = call_line(1, "hold", r#"{"gate":"slow"}"#);
        let echo = call_line(r#""é""#, "echo", r#"{"message":"x"}"#);
        let unknown = call_line(3, "no such tool", "{}");
        let notification = r#"{"jsonrpc":"2.0","method":"notifications/vendor"}"#;
        shim.send(&format!(
            r#" [ {slow}, {notification} ,{echo}, 42, {unknown}, {INITIALIZE}, {{"jsonrpc":"2.0","id":9,"result":{{}}}}]"#
        ));
        upstream.wait_for_hold("slow");
        upstream.wait_for("POST notifications/vendor", 1);
        // One beside the batch does not wait for it.
        shim.echo("beside");
        upstream.open_gate("slow");
        let answers = array(&shim);
        assert_eq!(answers.len(), 5, "{answers:?}");
        assert_eq!(text_of(of(&answers, &1.into())), "held slow");
        assert_eq!(text_of(of(&answers, &"é".into())), "x");
        assert_eq!(of(&answers, &3.into())["error"]["code"], -32602);
        assert_eq!(of(&answers, &0.into())["error"]["code"], -32600);
        assert_eq!(of(&answers, &Value::Null)["error"]["code"], -32600);
        assert_eq!(upstream.count("POST initialize"), 1);
        assert_eq!(shim.finish(), 0);
    }
}

#[test]
fn a_batch_without_requests_is_answered_by_nothing() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = of_that_revision(&home, &upstream);
    shim.send(r#"[{"jsonrpc":"2.0","method":"notifications/a"},{"jsonrpc":"2.0","method":"notifications/b"}]"#);
    upstream.wait_for("POST notifications/b", 1);
    shim.send("[]");
    let refused = shim.message();
    assert_eq!(refused["error"]["code"], -32600, "{refused}");
    assert_eq!(refused["id"], Value::Null);
    shim.send(r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
    let refused = shim.message();
    assert_eq!(refused["error"]["code"], -32700, "{refused}");
    shim.send("[1]");
    assert_eq!(array(&shim)[0]["error"]["code"], -32600);
    shim.echo("goes on");
    assert_eq!(shim.finish(), 0);
}

#[test]
fn a_cancelled_request_of_a_batch_is_not_waited_for() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = of_that_revision(&home, &upstream);
    let held = ["a", "b"].map(|gate| {
        call_line(
            format!("\"{gate}\""),
            "hold",
            &format!(r#"{{"gate":"{gate}"}}"#),
        )
    });
    shim.send(&format!("[{}]", held.join(",")));
    upstream.wait_for_hold("a");
    upstream.wait_for_hold("b");
    upstream.open_gate("a");
    shim.send(
        r#"[{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"b"}}]"#,
    );
    let answers = array(&shim);
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(answers[0]["id"], "a");
    upstream.open_gate("b");
    assert_eq!(shim.finish(), 0);
}

#[test]
fn a_batch_to_a_server_that_went_away_is_answered_in_one_array() {
    let mut upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = of_that_revision(&home, &upstream);
    upstream.go_down();
    let calls = [1, 2].map(|id| call_line(id, "echo", "{}"));
    shim.send(&format!("[{}]", calls.join(",")));
    let answers = array(&shim);
    for id in [1, 2] {
        our_error(of(&answers, &id.into()), id);
    }
    assert_eq!(shim.finish(), 0);
}

#[test]
fn answers_that_are_too_long_together_all_come() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let _daemon = TestDaemon::start(&home, &["--max-message", "65536"]);
    let mut shim = of_that_revision(&home, &upstream);
    let long = "x".repeat(40_000);
    upstream.answer("long", &text_result(&long));
    let calls = [1, 2, 3].map(|id| call_line(id, "long", "{}"));
    shim.send(&format!("[{}]", calls.join(",")));
    let mut answers = Vec::new();
    while answers.len() < 3 {
        answers.extend(array(&shim));
    }
    for id in [1, 2, 3] {
        assert_eq!(text_of(of(&answers, &id.into())), long);
    }
    assert_eq!(shim.finish(), 0);
}

#[test]
fn other_revisions_get_their_answers_one_by_one() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    let calls = [1, 2].map(|id| call_line(id, "echo", r#"{"message":"x"}"#));
    shim.send(&format!("[{}]", calls.join(",")));
    let answers = [shim.message(), shim.message()];
    for id in [1, 2] {
        assert_eq!(text_of(of(&answers, &id.into())), "x");
    }
}

#[test]
fn what_the_server_says_in_arrays_is_heard_one_by_one() {
    for events in [false, true] {
        let upstream = FakeUpstream::scripted(move |request| {
            let rpc = Rpc::parse(&request.body)?;
            if rpc.param("/name") != "arrays" {
                return None;
            }
            let vendor = r#"{"jsonrpc":"2.0","method":"notifications/vendor"}"#;
            let array = format!("[{vendor} , {}, 42]", rpc.result(r#"{"n":1e2}"#));
            Some(match events {
                true => Reply::events(move |events| events.message(&array)),
                false => Reply::json(200, array),
            })
        });
        let home = TestHome::new();
        let mut shim = attached(&home, &[&upstream.url()]);
        shim.send(&call_line(5, "arrays", "{}"));
        assert_eq!(shim.message()["method"], "notifications/vendor");
        let answer = r#"{"jsonrpc":"2.0","id":5,"result":{"n":1e2}}"#;
        assert_eq!(shim.line(), answer);
        shim.echo("goes on");
    }
}

#[test]
fn arrays_on_the_servers_own_stream_are_heard_one_by_one() {
    let http_sse = Config {
        kind: Kind::HttpSse(405),
        ..Config::default()
    };
    for upstream in [FakeUpstream::start(), FakeUpstream::with(http_sse)] {
        let home = TestHome::new();
        let mut shim = attached(&home, &[&upstream.url()]);
        upstream.push(r#"[{"jsonrpc":"2.0","method":"notifications/one"}, 42 ,{"jsonrpc":"2.0","id":8,"method":"ping"}]"#);
        assert_eq!(shim.message()["method"], "notifications/one");
        let asked = Rpc::parse(shim.line().as_bytes()).expect("a message");
        shim.send(&asked.result("{}"));
        upstream.wait_for_answer("8");
    }
}

/// Sends lines after a handshake and ends; returns every answer, of batches too.
#[track_caller]
fn answers_to(lines: &[&str]) -> Vec<Value> {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    for line in lines {
        shim.send(line);
    }
    shim.close_stdin();
    assert_eq!(shim.wait(), 0, "{}", shim.stderr());
    let flat = messages(&shim.rest())
        .into_iter()
        .flat_map(|message| match message {
            Value::Array(elements) => elements,
            message => vec![message],
        });
    flat.collect()
}

#[track_caller]
fn of<'a>(answers: &'a [Value], id: &Value) -> &'a Value {
    let found: Vec<_> = answers
        .iter()
        .filter(|answer| answer["id"] == *id)
        .collect();
    assert_eq!(found.len(), 1, "answers to {id}: {answers:?}");
    found[0]
}

#[test]
fn a_bad_element_costs_itself_only() {
    for bad in ["42", "{}", "null", "[]", r#"{"jsonrpc":"2.0","id":null}"#] {
        let line = format!(r#"[{{"jsonrpc":"2.0","id":7,"method":"ping"}},{bad}]"#);
        let answers = answers_to(&[&line]);
        assert_eq!(answers.len(), 2, "{bad}: {answers:?}");
        assert_eq!(
            of(&answers, &Value::from(7))["result"],
            Value::Object(Default::default())
        );
        let refusal = of(&answers, &Value::Null);
        assert_eq!(refusal["error"]["code"], -32600, "{bad}: {refusal}");
    }
}

#[test]
fn an_empty_batch_is_refused() {
    let answers = answers_to(&["[]"]);
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(of(&answers, &Value::Null)["error"]["code"], -32600);
}

#[test]
fn a_request_that_is_refused_is_answered_once() {
    for line in [
        r#"{"jsonrpc":"2.0","id":7,"method":5}"#,
        r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":7,"method":"ping","params":tru}"#,
        "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"ping\",\"params\":\"\u{1}\"}",
    ] {
        let answers = answers_to(&[line]);
        assert_eq!(answers.len(), 1, "{line}: {answers:?}");
        let code = &answers[0]["error"]["code"];
        assert!(*code == -32600 || *code == -32700, "{line}: {answers:?}");
    }
}
