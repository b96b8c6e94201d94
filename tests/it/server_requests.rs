//! What the server says on its own, progress, and cancellation.

use mcp_remote_tests::daemon::TestDaemon;
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::shim::{TestShim, text_of};
use mcp_remote_tests::upstream::{Config, FakeUpstream, Kind, Reply, Rpc, text_result};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::attached;

const CAPABLE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"roots":{},"sampling":{}},"clientInfo":{"name":"tests","version":"1"}}}"#;

fn capable(home: &TestHome, upstream: &FakeUpstream) -> TestShim {
    let mut shim = home.shim(&[&upstream.url()]);
    let answer = shim.handshake_with(CAPABLE);
    assert!(answer["result"].is_object(), "{answer}");
    shim
}

fn upstreams() -> [FakeUpstream; 2] {
    let http_sse = Config {
        kind: Kind::HttpSse(405),
        ..Config::default()
    };
    [FakeUpstream::start(), FakeUpstream::with(http_sse)]
}

#[test]
fn a_question_during_a_call_is_answered_by_the_client() {
    for upstream in upstreams() {
        for id in [r#""srv-1""#, "1", "9007199254740993"] {
            let home = TestHome::new();
            let mut shim = capable(&home, &upstream);
            let call = shim.begin_call("ask", &format!(r#"{{"id":{id},"method":"roots/list"}}"#));
            let question = shim.line();
            let question = Rpc::parse(question.as_bytes()).expect("a message");
            assert_eq!(question.method(), "roots/list");
            shim.send(&question.result(r#"{"roots":[],"n":1.0}"#));
            let answer = shim.message();
            assert_eq!(answer["id"], call);
            let seen = text_of(&answer);
            let expected =
                format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"roots":[],"n":1.0}}}}"#);
            assert_eq!(seen, expected, "what the server got");
            assert_eq!(shim.finish(), 0);
        }
    }
}

#[test]
fn a_question_on_the_servers_own_stream_is_answered_by_the_client() {
    for upstream in upstreams() {
        let home = TestHome::new();
        let mut shim = capable(&home, &upstream);
        upstream.push(
            r#"{"jsonrpc":"2.0","id":77,"method":"sampling/createMessage","params":{"x":1}}"#,
        );
        let question = Rpc::parse(shim.line().as_bytes()).expect("a message");
        assert_eq!(question.method(), "sampling/createMessage");
        shim.send(&question.error(-1, "User rejected"));
        let answer = upstream.wait_for_answer("77");
        assert!(
            answer.contains(r#""error":{"code":-1,"message":"User rejected"}"#),
            "{answer}"
        );
    }
}

#[test]
fn a_notification_of_the_server_is_delivered() {
    for upstream in upstreams() {
        let home = TestHome::new();
        let shim = attached(&home, &[&upstream.url()]);
        let line = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
        upstream.push(line);
        assert_eq!(shim.line(), line);
    }
}

#[test]
fn the_server_is_told_that_somebody_is_there() {
    for upstream in upstreams() {
        let home = TestHome::new();
        let mut shim = attached(&home, &[&upstream.url()]);
        let ping = r#"{"jsonrpc":"2.0","id":"alive?","method":"ping"}"#;
        upstream.push(ping);
        // With a client attached it is the client that is asked.
        let asked = Rpc::parse(shim.line().as_bytes()).expect("a message");
        assert_eq!(asked.method(), "ping");
        shim.send(&asked.result("{}"));
        let answer = r#"{"jsonrpc":"2.0","id":"alive?","result":{}}"#;
        assert_eq!(upstream.wait_for_answer(r#""alive?""#), answer);
        assert_eq!(shim.finish(), 0);
        upstream.push(ping.replace("alive", "still alive"));
        let answer = upstream.wait_for_answer(r#""still alive?""#);
        assert!(answer.contains(r#""result":{}"#), "{answer}");
    }
}

#[test]
fn the_client_is_told_that_we_are_there() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    shim.send(r#"{"jsonrpc":"2.0","id":"alive?","method":"ping"}"#);
    assert_eq!(
        shim.message(),
        serde_json::json!({"jsonrpc": "2.0", "id": "alive?", "result": {}})
    );
}

#[test]
fn progress_carries_the_clients_token() {
    for upstream in upstreams() {
        let home = TestHome::new();
        let mut shim = attached(&home, &[&upstream.url()]);
        for token in [r#""tök""#, "5", r#""5""#, "9007199254740993"] {
            shim.send(&format!(
                r#"{{"jsonrpc":"2.0","id":"p","method":"tools/call","params":{{"_meta":{{"progressToken":{token}}},"name":"progress","arguments":{{"steps":3}}}}}}"#
            ));
            for step in 1..=3 {
                let line = shim.line();
                assert!(
                    line.contains(&format!(r#""progressToken":{token},"#)),
                    "{line}"
                );
                let message: Value = serde_json::from_str(&line).expect("a message");
                assert_eq!(message["method"], "notifications/progress");
                assert_eq!(message["params"]["progress"], step);
            }
            assert_eq!(text_of(&shim.message()), "done");
        }
    }
}

#[test]
fn progress_of_a_task_goes_on_until_it_has_ended() {
    for reuse in ["sequential", "concurrent"] {
        let upstream = FakeUpstream::scripted(|request| {
            let rpc = Rpc::parse(&request.body)?;
            let task = r#"{"task":{"taskId":"t","status":"working"}}"#;
            (rpc.param("/name") == "slow").then(|| Reply::json(200, rpc.result(task)))
        });
        let home = TestHome::new();
        let mut shim = attached(&home, &[&upstream.url(), "--reuse", reuse]);
        upstream.wait_for_streams(1);
        shim.send(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"slow","task":{},"_meta":{"progressToken":"p"}}}"#);
        assert_eq!(shim.message()["result"]["task"]["taskId"], "t");
        let call = upstream.wait_for("POST tools/call", 1);
        let call = Rpc::parse(&call.body).expect("a request");
        let progress = |token: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1e0}}}}"#
            )
        };
        let status = |status: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{{"taskId":"t","status":"{status}"}}}}"#
            )
        };
        for said in ["working", "completed"] {
            upstream.push(progress(call.id()));
            assert_eq!(shim.line(), progress(r#""p""#));
            upstream.push(status(said));
            assert_eq!(shim.line(), status(said));
        }
        upstream.push(progress(call.id()));
        upstream.push(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
        assert_eq!(shim.message()["method"], "notifications/tools/list_changed");
    }
}

#[test]
fn what_is_asked_after_the_end_of_the_input_is_refused_at_once() {
    for upstream in upstreams() {
        let home = TestHome::new();
        let mut shim = capable(&home, &upstream);
        // One that is open then, and one that comes later.
        let first = shim.begin_call("ask", r#"{"id":"a","method":"roots/list"}"#);
        assert_eq!(shim.message()["method"], "roots/list");
        let held = shim.begin_call("hold", r#"{"gate":"g"}"#);
        upstream.wait_for_hold("g");
        shim.close_stdin();
        let answer = shim.message();
        assert_eq!(answer["id"], first);
        assert!(text_of(&answer).contains("-32603"), "{answer}");
        upstream.push(r#"{"jsonrpc":"2.0","id":"b","method":"sampling/createMessage"}"#);
        assert!(upstream.wait_for_answer(r#""b""#).contains("-32603"));
        upstream.push(r#"{"jsonrpc":"2.0","id":"c","method":"ping"}"#);
        let pong = r#"{"jsonrpc":"2.0","id":"c","result":{}}"#;
        assert_eq!(upstream.wait_for_answer(r#""c""#), pong);
        upstream.open_gate("g");
        assert_eq!(shim.message()["id"], held);
        assert_eq!(shim.wait(), 0);
    }
}

#[test]
fn a_question_or_an_answer_over_the_limit_is_an_error_for_the_server() {
    for upstream in upstreams() {
        let home = TestHome::new();
        let _daemon = TestDaemon::start(&home, &["--max-message", "65536"]);
        let mut shim = capable(&home, &upstream);
        upstream.wait_for_streams(1);
        let long = "x".repeat(70_000);
        upstream.push(format!(
            r#"{{"jsonrpc":"2.0","id":"long","method":"sampling/createMessage","params":"{long}"}}"#
        ));
        let answer = upstream.wait_for_answer(r#""long""#);
        assert!(answer.contains("-32603"), "{answer}");
        upstream.push(r#"{"jsonrpc":"2.0","id":"short","method":"roots/list"}"#);
        let question = Rpc::parse(shim.line().as_bytes()).expect("a message");
        assert_eq!(question.method(), "roots/list");
        shim.send(&question.result(&format!("\"{long}\"")));
        let answer = upstream.wait_for_answer(r#""short""#);
        assert!(
            answer.contains("-32603") && answer.contains("65536"),
            "{answer}"
        );
        shim.echo("goes on");
    }
}

#[test]
fn a_question_over_the_limit_on_the_stream_of_a_call_is_refused() {
    let upstream = FakeUpstream::scripted(|request| {
        let rpc = Rpc::parse(&request.body).filter(|rpc| rpc.param("/name") == "long")?;
        let question = format!(
            r#"{{"jsonrpc":"2.0","id":7,"method":"sampling/createMessage","params":"{}"}}"#,
            "x".repeat(70_000)
        );
        Some(Reply::events(move |events| {
            events.message(question)?;
            events.message(rpc.result(&text_result("asked")))
        }))
    });
    let home = TestHome::new();
    let _daemon = TestDaemon::start(&home, &["--max-message", "65536"]);
    let mut shim = capable(&home, &upstream);
    assert_eq!(text_of(&shim.call("long", "{}")), "asked");
    assert!(upstream.wait_for_answer("7").contains("-32603"));
}

#[test]
fn a_cancelled_call_is_cancelled_at_the_server_and_never_answered() {
    for upstream in upstreams() {
        let home = TestHome::new();
        let mut shim = attached(&home, &[&upstream.url()]);
        let call = shim.begin_call("hold", r#"{"gate":"slow"}"#);
        upstream.wait_for_hold("slow");
        let request = upstream.wait_for("POST tools/call", 1);
        shim.send(&format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{call},"reason":"bored"}}}}"#
        ));
        let cancelled = upstream.wait_for("POST notifications/cancelled", 1);
        let cancelled = Rpc::parse(&cancelled.body).expect("a message");
        let minted = Rpc::parse(&request.body)
            .expect("a message")
            .id()
            .to_owned();
        assert_eq!(cancelled.param("/requestId").to_string(), minted);
        assert_eq!(cancelled.param("/reason"), "bored");
        upstream.open_gate("slow");
        shim.echo("the next answer is mine");
        assert_eq!(shim.finish(), 0);
    }
}

#[test]
fn a_cancellation_of_nothing_stays_here() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    shim.send(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"never asked"}}"#);
    shim.echo("goes on");
    assert_eq!(upstream.count("POST notifications/cancelled"), 0);
}

#[test]
fn calls_of_a_shim_that_dies_are_cancelled() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    shim.begin_call("hold", r#"{"gate":"slow"}"#);
    upstream.wait_for_hold("slow");
    shim.signal(Signal::KILL);
    upstream.wait_for("POST notifications/cancelled", 1);
}

#[test]
fn two_shims_get_their_own_answers_questions_and_progress() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shims = [capable(&home, &upstream), capable(&home, &upstream)];
    for (number, shim) in shims.iter_mut().enumerate() {
        // The ids and tokens are the same on purpose.
        shim.send(&format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"_meta":{{"progressToken":1}},"name":"ask","arguments":{{"id":"same-{number}","method":"roots/list"}}}}}}"#
        ));
    }
    for (number, shim) in shims.iter_mut().enumerate().rev() {
        let question = Rpc::parse(shim.line().as_bytes()).expect("a message");
        shim.send(&question.result(&format!(r#"{{"mine":{number}}}"#)));
        let answer = shim.message();
        assert_eq!(answer["id"], 1);
        let seen = text_of(&answer);
        assert!(seen.contains(&format!(r#"{{"mine":{number}}}"#)), "{seen}");
    }
}
