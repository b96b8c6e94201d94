//! Both sides talk while calls are open: questions reach the client that they are
//! for and its answers reach the server at once, in every way that there is.

use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::shim::{TestShim, text_of};
use mcp_remote_tests::upstream::{FakeUpstream, Rpc};

use crate::sharing::stateful;

const CAPABLE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"roots":{},"sampling":{},"elicitation":{"form":{},"url":{}}},"clientInfo":{"name":"tests","version":"1"}}}"#;

/// Calls that wait while others go on.
const HELD: usize = 60;

/// What a server may ask, and an answer.
const QUESTIONS: [(&str, &str, &str); 5] = [
    (
        "sampling/createMessage",
        r#"{"messages":[{"role":"user","content":{"type":"text","text":"?"}}],"maxTokens":9007199254740993}"#,
        r#"{"role":"assistant","content":{"type":"text","text":"!"},"model":"m"}"#,
    ),
    (
        "elicitation/create",
        r#"{"message":"who?","requestedSchema":{"type":"object","properties":{}}}"#,
        r#"{"action":"accept","content":{"name":null}}"#,
    ),
    (
        "elicitation/create",
        r#"{"mode":"url","elicitationId":"e-1","url":"https://h/consent","message":"go"}"#,
        r#"{"action":"decline"}"#,
    ),
    ("roots/list", "{}", r#"{"roots":[]}"#),
    ("ping", "{}", "{}"),
];

fn capable(home: &TestHome, upstream: &FakeUpstream) -> TestShim {
    let mut shim = home.shim(&[&upstream.url()]);
    let answer = shim.handshake_with(CAPABLE);
    assert!(answer["result"].is_object(), "{answer}");
    shim
}

/// Begins calls that are answered only when the test says so.
fn hold_many(shim: &mut TestShim, upstream: &FakeUpstream) {
    for number in 0..HELD {
        shim.begin_call("hold", &format!(r#"{{"gate":"g{number}"}}"#));
    }
    for number in 0..HELD {
        upstream.wait_for_hold(&format!("g{number}"));
    }
}

/// Lets them go in the other order; each is answered at once.
fn release_many(shim: &TestShim, upstream: &FakeUpstream) {
    for number in (0..HELD).rev() {
        upstream.open_gate(&format!("g{number}"));
        assert_eq!(text_of(&shim.message()), format!("held g{number}"));
    }
}

#[test]
fn questions_on_the_stream_of_a_call_among_many() {
    for upstream in stateful() {
        let home = TestHome::new();
        let mut shim = capable(&home, &upstream);
        hold_many(&mut shim, &upstream);
        for (nth, (method, _, answer)) in QUESTIONS.iter().enumerate() {
            let call = shim.begin_call("ask", &format!(r#"{{"id":{nth},"method":"{method}"}}"#));
            let question = Rpc::parse(shim.line().as_bytes()).expect("a message");
            assert_eq!(question.method(), *method);
            shim.send(&question.result(answer));
            let reply = shim.message();
            assert_eq!(reply["id"], call);
            let seen = text_of(&reply);
            let expected = format!(r#"{{"jsonrpc":"2.0","id":{nth},"result":{answer}}}"#);
            assert_eq!(seen, expected, "what the server got");
        }
        release_many(&shim, &upstream);
        assert_eq!(shim.finish(), 0);
    }
}

#[test]
fn questions_on_the_servers_own_stream_while_calls_are_open() {
    for upstream in stateful() {
        let home = TestHome::new();
        let mut shim = capable(&home, &upstream);
        hold_many(&mut shim, &upstream);
        upstream.wait_for_streams(1);
        for (nth, (method, params, answer)) in QUESTIONS.iter().enumerate() {
            let question = |id: &str| {
                format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#)
            };
            let id = format!("\"q{nth}\"");
            upstream.push(question(&id));
            let line = shim.line();
            let asked = Rpc::parse(line.as_bytes()).expect("a message");
            assert_eq!(line, question(asked.id()));
            shim.send(&asked.result(answer));
            let expected = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{answer}}}"#);
            assert_eq!(upstream.wait_for_answer(&id), expected);
        }
        release_many(&shim, &upstream);
    }
}

#[test]
fn questions_may_be_answered_in_another_order() {
    for upstream in stateful() {
        let home = TestHome::new();
        let mut shim = capable(&home, &upstream);
        upstream.wait_for_streams(1);
        for number in 0..10 {
            upstream.push(format!(
                r#"{{"jsonrpc":"2.0","id":"{number}","method":"roots/list"}}"#
            ));
        }
        let questions: Vec<_> = (0..10)
            .map(|_| Rpc::parse(shim.line().as_bytes()).expect("a message"))
            .collect();
        for (number, question) in questions.iter().enumerate().rev() {
            shim.send(&question.result(&format!(r#"{{"number":{number}}}"#)));
        }
        for number in 0..10 {
            let answer = upstream.wait_for_answer(&format!("\"{number}\""));
            assert!(answer.contains(&format!(r#"{{"number":{number}}}"#)));
        }
        shim.echo("goes on");
        assert_eq!(upstream.count("POST response"), 10);
    }
}

#[test]
fn an_unasked_answer_stays_here() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = capable(&home, &upstream);
    for id in ["1", "\"1\"", "0", "null"] {
        shim.send(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#));
    }
    shim.echo("goes on");
    assert_eq!(upstream.count("POST response"), 0);
}

#[test]
fn notifications_of_one_stream_keep_their_order() {
    for upstream in stateful() {
        let home = TestHome::new();
        let mut shim = capable(&home, &upstream);
        let line = |number: usize| {
            format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"info","data":{number}}}}}"#
            )
        };
        upstream.wait_for_streams(1);
        for number in 0..100 {
            upstream.push(line(number));
        }
        for number in 0..100 {
            assert_eq!(shim.line(), line(number));
        }
        for number in 0..100 {
            shim.send(&line(number));
        }
        upstream.wait_for("POST notifications/message", 100);
        let mut said = upstream.requests();
        said.retain(|request| request.text().contains("notifications/message"));
        for (number, request) in said.iter().enumerate() {
            assert_eq!(request.text(), line(number));
        }
        // Progress too, and all of it before the answer.
        shim.send(r#"{"jsonrpc":"2.0","id":"p","method":"tools/call","params":{"_meta":{"progressToken":"t"},"name":"progress","arguments":{"steps":100}}}"#);
        for step in 1..=100 {
            assert_eq!(shim.message()["params"]["progress"], step);
        }
        assert_eq!(text_of(&shim.message()), "done");
    }
}
