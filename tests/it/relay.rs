//! What is said passes through byte for byte; each request has one answer.

use std::collections::BTreeSet;

use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::shim::{INITIALIZE, INITIALIZED, call_line, text_of};
use mcp_remote_tests::upstream::{
    Config, FakeUpstream, Replies, Reply, Request, Rpc, hostile, label,
};
use serde_json::Value;

use crate::support::attached;

/// Text that a decoder and encoder would change.
const ODD: &str = r#"{"z":1,"a":null,"n":12345678901234567890123,"f":1.50,"x":1E+2,"e":"\u00e9\/é\ud83d\ude00 \u2028","z":2,"":{"id":5,"method":"m"},"deep":[[{"jsonrpc":"1"}]]}"#;

fn both(check: impl Fn(FakeUpstream)) {
    for replies in [Replies::Json, Replies::Events] {
        let config = Config {
            replies,
            ..Config::default()
        };
        check(FakeUpstream::with(config));
    }
}

fn minted_id(request: &Request) -> String {
    let rpc = Rpc::parse(&request.body).expect("it is a message");
    rpc.id().to_owned()
}

/// Returns the request's body with its minted id replaced.
fn with_id(request: &Request, id: &str) -> String {
    let minted = minted_id(request);
    let body = request.text();
    for member in [r#""id":"#, r#""id" : "#] {
        if let Some(at) = body.find(&format!("{member}{minted}")) {
            let at = at + member.len();
            return format!("{}{id}{}", &body[..at], &body[at + minted.len()..]);
        }
    }
    panic!("no id in {body}")
}

#[test]
fn an_id_comes_back_as_it_was_written() {
    both(|upstream| {
        let home = TestHome::new();
        let mut shim = attached(&home, &[&upstream.url()]);
        for id in [
            "1",
            "\"1\"",
            "-7",
            "9007199254740993",
            "-9223372036854775808",
            "123456789012345678901234567890",
            "\"\"",
            r#""\u00e9\"\\ é""#,
        ] {
            shim.send(&call_line(id, "echo", r#"{"message":"x"}"#));
            let line = shim.line();
            assert!(
                line.contains(&format!(r#""id":{id},"#)),
                "{id} became {line}"
            );
        }
        assert_eq!(shim.finish(), 0);
    });
}

#[test]
fn a_request_goes_up_byte_for_byte_but_for_its_id() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    for (nth, line) in [
        format!(r#"{{"method":"tools/call","vendor":[1, 2],"params":{{"name":"odd","arguments":{ODD}}},"id":"q","jsonrpc":"2.0"}}"#),
        format!(r#" {{ "id" : "q" , "jsonrpc":"2.0","method":"tools/call","params":{ODD} }} "#),
        r#"{"jsonrpc":"2.0","id":"q","method":"tools/call","params":null}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":"q","method":"tools/call"}"#.to_owned(),
    ]
    .iter()
    .enumerate()
    {
        shim.send(line);
        assert_eq!(shim.message()["id"], "q");
        let request = upstream.wait_for("POST tools/call", nth + 1);
        let body = with_id(&request, r#""q""#);
        assert_eq!(body.trim(), line.trim());
    }
}

#[test]
fn a_notification_goes_up_byte_for_byte() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    let line = format!(r#"{{"params":{ODD},"method":"notifications/vendor","jsonrpc":"2.0"}}"#);
    shim.send(&line);
    assert_eq!(
        upstream.wait_for("POST notifications/vendor", 1).text(),
        line
    );
}

#[test]
fn a_result_comes_down_byte_for_byte_but_for_its_id() {
    both(|upstream| {
        upstream.answer("odd", ODD);
        let home = TestHome::new();
        let mut shim = attached(&home, &[&upstream.url()]);
        shim.send(&call_line(7, "odd", "{}"));
        let expected = format!(r#"{{"jsonrpc":"2.0","id":7,"result":{ODD}}}"#);
        assert_eq!(shim.line(), expected);
    });
}

#[test]
fn an_error_of_the_server_comes_down_as_it_is() {
    both(|upstream| {
        let home = TestHome::new();
        let mut shim = attached(&home, &[&upstream.url()]);
        let answer = shim.call("no such tool", "{}");
        assert_eq!(answer["error"]["code"], -32602);
        assert_eq!(answer["error"]["message"], "Unknown tool");
        shim.echo("goes on");
    });
}

#[test]
fn a_pretty_printed_answer_becomes_one_line() {
    let upstream = FakeUpstream::scripted(|request| {
        if label(request) != "POST tools/call" {
            return None;
        }
        let id = minted_id(request);
        let pretty = format!(
            "{{\n  \"jsonrpc\": \"2.0\",\n  \"id\": {id},\n  \"result\": {{\n    \"a b\": [1,\r\n 2]\n  }}\n}}\n"
        );
        Some(match request.text().contains("events") {
            true => hostile::pieces(vec![
                format!(
                    "data: {}\n\n",
                    pretty.replace('\r', "").replace('\n', "\ndata: ")
                )
                .into(),
            ]),
            false => Reply::json(200, pretty),
        })
    });
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    for tool in ["json", "events"] {
        let answer = shim.call(tool, "{}");
        assert_eq!(answer["result"], serde_json::json!({"a b": [1, 2]}));
    }
}

#[test]
fn a_slow_call_does_not_delay_a_fast_one() {
    both(|upstream| {
        let home = TestHome::new();
        let mut shim = attached(&home, &[&upstream.url()]);
        let slow = shim.begin_call("hold", r#"{"gate":"slow"}"#);
        upstream.wait_for_hold("slow");
        shim.echo("overtakes");
        upstream.open_gate("slow");
        let answer = shim.message();
        assert_eq!(answer["id"], slow);
        assert_eq!(text_of(&answer), "held slow");
    });
}

#[test]
fn however_many_calls_wait_another_one_goes_out() {
    both(|upstream| {
        let home = TestHome::new();
        let mut shim = attached(&home, &[&upstream.url()]);
        for number in 0..150 {
            shim.begin_call("hold", &format!(r#"{{"gate":"g{number}"}}"#));
        }
        for number in 0..150 {
            upstream.wait_for_hold(&format!("g{number}"));
        }
        shim.echo("overtakes");
        for number in 0..150 {
            upstream.open_gate(&format!("g{number}"));
            assert_eq!(text_of(&shim.message()), format!("held g{number}"));
        }
    });
}

#[test]
fn each_of_many_calls_at_once_is_answered_once() {
    both(|upstream| {
        let home = TestHome::new();
        let mut shim = attached(&home, &[&upstream.url()]);
        let mut waiting: BTreeSet<u64> = (0..100)
            .map(|number| shim.begin_call("echo", &format!(r#"{{"message":"{number}"}}"#)))
            .collect();
        while !waiting.is_empty() {
            let answer = shim.message();
            let id = answer["id"].as_u64().expect("the id is a number");
            assert!(waiting.remove(&id), "{id} was answered twice");
            assert_eq!(text_of(&answer), (id - 1).to_string());
        }
        assert_eq!(upstream.count("POST tools/call"), 100);
        assert_eq!(shim.finish(), 0);
    });
}

#[test]
fn a_large_message_passes_both_ways() {
    both(|upstream| {
        let home = TestHome::new();
        let mut shim = attached(&home, &[&upstream.url()]);
        let large = "0123456789abcdef".repeat(6 * 65536);
        shim.echo(&large);
        shim.echo("goes on");
    });
}

#[test]
fn what_precedes_an_answer_on_its_stream_is_delivered_first() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    let log = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"héllo"}}"#;
    let arguments = serde_json::json!({ "message": log }).to_string();
    let id = shim.begin_call("notify", &arguments);
    assert_eq!(shim.line(), log);
    assert_eq!(shim.message()["id"], id);
}

#[test]
fn a_server_without_session_ids_serves_two_shims_at_once() {
    let upstream = FakeUpstream::with(Config {
        sessions: false,
        get_stream: false,
        ..Config::default()
    });
    let home = TestHome::new();
    let mut first = attached(&home, &[&upstream.url()]);
    let mut second = attached(&home, &[&upstream.url()]);
    let slow = first.begin_call("hold", r#"{"gate":"slow"}"#);
    upstream.wait_for_hold("slow");
    second.echo("b");
    upstream.open_gate("slow");
    assert_eq!(first.message()["id"], slow);
}

#[test]
fn a_request_before_initialize_is_answered_too() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = home.shim(&[&upstream.url()]);
    shim.send(r#"{"jsonrpc":"2.0","id":"early","method":"tools/list"}"#);
    shim.send(INITIALIZE);
    let answers = [shim.message(), shim.message()];
    shim.send(INITIALIZED);
    let with_id = |id: Value| answers.iter().find(|answer| answer["id"] == id);
    assert!(with_id("early".into()).is_some(), "{answers:?}");
    let answer = with_id(0.into()).expect("initialize is answered");
    assert!(answer["result"].is_object(), "{answer}");
    shim.echo("goes on");
}

#[test]
fn blank_lines_and_carriage_returns_are_nothing() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = home.shim(&[&upstream.url()]);
    shim.send_raw(b"\r\n\n  \n");
    shim.send(&format!("{INITIALIZE}\r"));
    assert_eq!(shim.message()["id"], 0);
    shim.send(&format!("\r\n{INITIALIZED}\r"));
    shim.echo("goes on");
    assert_eq!(shim.finish(), 0);
}
