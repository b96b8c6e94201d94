//! What the members of one session switch on and own: subscriptions, log levels,
//! tasks.

use std::sync::{Arc, Mutex, mpsc};

use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::shim::{INITIALIZE, TestShim, text_of};
use mcp_remote_tests::upstream::{Config, FakeUpstream, Reply, Request, Rpc};

use crate::sharing::{settle, stateful, two};
use crate::support::{attached, one_shot};

#[test]
fn one_subscribes_for_all_and_the_last_unsubscribes() {
    for upstream in stateful() {
        let home = TestHome::new();
        let [mut first, mut second] = two(&home, &upstream);
        let mut third = attached(&home, &[&upstream.url(), "--reuse", "concurrent"]);
        let ask = |shim: &mut TestShim, what: &str, uri: &str| {
            shim.send(&format!(
                r#"{{"jsonrpc":"2.0","id":"s","method":"resources/{what}","params":{{"uri":"{uri}"}}}}"#
            ));
            let answer = shim.message();
            assert_eq!(
                answer,
                serde_json::json!({"jsonrpc":"2.0","id":"s","result":{}})
            );
        };
        ask(&mut first, "subscribe", "file:///a");
        ask(&mut second, "subscribe", "file:///a");
        ask(&mut second, "subscribe", "file:///b");
        assert_eq!(upstream.count("POST resources/subscribe"), 2);
        let updated = |uri: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{"uri":"{uri}"}}}}"#
            )
        };
        upstream.wait_for_streams(1);
        for uri in ["file:///a/sub", "file:///b", "file:///c"] {
            upstream.push(updated(uri));
        }
        assert_eq!(first.line(), updated("file:///a/sub"));
        assert_eq!(second.line(), updated("file:///a/sub"));
        assert_eq!(second.line(), updated("file:///b"));
        ask(&mut first, "unsubscribe", "file:///a");
        assert_eq!(upstream.count("POST resources/unsubscribe"), 0);
        upstream.push(updated("file:///a"));
        assert_eq!(second.line(), updated("file:///a"));
        // One that leaves takes along what only it had.
        assert_eq!(second.finish(), 0);
        upstream.wait_for("POST resources/unsubscribe", 2);
        upstream.push(updated("file:///a"));
        settle(&upstream, "read");
        first.echo("hears no more");
        third.echo("never did");
        assert_eq!(upstream.sessions_made(), 1);
    }
}

#[test]
fn a_subscription_that_was_refused_is_tried_again() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shims = two(&home, &upstream);
    upstream.script(|request| {
        let refused = Rpc::parse(&request.body)?;
        (refused.method() == "resources/subscribe")
            .then(|| Reply::json(200, refused.error(-32002, "Resource not found")))
    });
    let line =
        r#"{"jsonrpc":"2.0","id":"s","method":"resources/subscribe","params":{"uri":"a:b"}}"#;
    for shim in &mut shims {
        shim.send(line);
        assert_eq!(shim.message()["error"]["code"], -32002);
    }
    upstream.script(|_| None);
    for shim in &mut shims {
        shim.send(line);
        assert!(shim.message()["result"].is_object());
    }
    assert_eq!(upstream.count("POST resources/subscribe"), 3);
}

/// Lets each request of this method wait for a word; the first is answered with an
/// error.
fn one_by_one(upstream: &FakeUpstream, method: &'static str) -> mpsc::Sender<()> {
    let (word, words) = mpsc::channel();
    let words = Arc::new(Mutex::new((0, words)));
    upstream.script(move |request| {
        let rpc = Rpc::parse(&request.body).filter(|rpc| rpc.method() == method)?;
        let words = words.clone();
        Some(Reply::events(move |events| {
            let mut words = words.lock().expect("nobody panics");
            let _said = words.1.recv();
            words.0 += 1;
            events.message(match words.0 {
                1 => rpc.error(-32002, "Not yet"),
                _ => rpc.result("{}"),
            })
        }))
    });
    word
}

#[test]
fn a_change_that_is_cancelled_while_it_waits_blocks_nobody() {
    for (method, params) in [
        ("resources/subscribe", r#"{"uri":"a:1"}"#),
        ("logging/setLevel", r#"{"level":"debug"}"#),
    ] {
        let upstream = FakeUpstream::start();
        let word = one_by_one(&upstream, method);
        let home = TestHome::new();
        let [mut first, mut second] = two(&home, &upstream);
        let url = upstream.url();
        let timeout = ["--reuse", "concurrent", "--request-timeout", "0.5"];
        let mut third = attached(&home, &[&[url.as_str()], &timeout[..]].concat());
        let line = |id: u64| {
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#)
        };
        first.send(&line(1));
        upstream.wait_for(&format!("POST {method}"), 1);
        second.send(&line(1));
        second.send(
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#,
        );
        second.echo("cancelled");
        third.send(&line(1));
        assert!(third.message()["error"].is_object(), "in time");
        word.send(()).expect("the server waits");
        assert_eq!(first.message()["error"]["code"], -32002);
        for shim in [&mut second, &mut third] {
            shim.send(&line(2));
            // Only the first of them goes upstream.
            word.send(()).expect("the server waits");
            let answer = shim.message();
            assert!(answer["result"].is_object(), "{method}: {answer}");
        }
        assert_eq!(upstream.count(&format!("POST {method}")), 2);
        assert_eq!(upstream.count("POST notifications/cancelled"), 0);
    }
}

#[test]
fn who_says_that_it_is_another_client_blocks_nobody() {
    let upstream = FakeUpstream::with(Config {
        sessions: false,
        ..Config::default()
    });
    let home = TestHome::new();
    let [mut first, mut second] = two(&home, &upstream);
    let subscribe =
        r#"{"jsonrpc":"2.0","id":"s","method":"resources/subscribe","params":{"uri":"a:1"}}"#;
    first.send(subscribe);
    assert!(first.message()["result"].is_object());
    first.send(&INITIALIZE.replace(r#""name":"tests""#, r#""name":"another""#));
    assert!(first.message()["result"].is_object());
    upstream.wait_for("POST resources/unsubscribe", 1);
    second.send(subscribe);
    assert!(second.message()["result"].is_object());
}

#[test]
fn the_server_logs_as_the_most_curious_wants_and_each_hears_its_own() {
    for upstream in stateful() {
        let home = TestHome::new();
        let [mut curious, mut calm] = two(&home, &upstream);
        let set = |shim: &mut TestShim, level: &str| {
            shim.send(&format!(
                r#"{{"jsonrpc":"2.0","id":"l","method":"logging/setLevel","params":{{"level":"{level}"}}}}"#
            ));
            assert!(shim.message()["result"].is_object());
        };
        set(&mut curious, "debug");
        set(&mut calm, "error");
        assert_eq!(upstream.count("POST logging/setLevel"), 1);
        let log = |level: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"{level}","data":1}}}}"#
            )
        };
        upstream.wait_for_streams(1);
        for level in ["debug", "error", "info"] {
            upstream.push(log(level));
        }
        for level in ["debug", "error", "info"] {
            assert_eq!(curious.line(), log(level));
        }
        assert_eq!(calm.line(), log("error"));
        // On the stream of its own call too.
        let message = serde_json::json!({ "message": log("info") }).to_string();
        assert_eq!(text_of(&calm.call("notify", &message)), "notified");
        curious.close_stdin();
        assert_eq!(curious.wait(), 0);
        let lowered = upstream.wait_for("POST logging/setLevel", 2);
        assert!(lowered.text().contains(r#""level":"error""#), "{lowered:?}");
        assert_eq!(calm.finish(), 0);
        // What the level was at first nobody knows: the session is not for the next.
        one_shot(&home, &[&upstream.url(), "--reuse=concurrent"]);
        assert_eq!(upstream.sessions_made(), 2);
    }
}

/// A server that makes a task of a call, and has one that nobody here has made.
fn keeps_tasks(request: &Request) -> Option<Reply> {
    let rpc = Rpc::parse(&request.body)?;
    let result = match rpc.method() {
        "tools/call" => {
            let task = rpc.param("/arguments/task");
            task.as_str()?;
            format!(r#"{{"task":{{"taskId":{task},"status":"working"}}}}"#)
        }
        "tasks/list" => {
            r#"{ "tasks" : [ {"taskId":"a", "n":1e2}, {"taskId":"b"},{"taskId":"c"} ], "x":1.0 }"#
                .to_owned()
        }
        "tasks/get" => r#"{"status":"working"}"#.to_owned(),
        _ => return None,
    };
    Some(Reply::json(200, rpc.result(&result)))
}

#[test]
fn tasks_are_whose_they_are() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shims = two(&home, &upstream);
    upstream.script(keeps_tasks);
    for (shim, task) in shims.iter_mut().zip(["a", "b"]) {
        shim.send(&format!(
            r#"{{"jsonrpc":"2.0","id":"t","method":"tools/call","params":{{"name":"x","task":{{"ttl":1}},"arguments":{{"task":"{task}"}}}}}}"#
        ));
        assert_eq!(shim.message()["result"]["task"]["taskId"], task);
    }
    let [mut first, mut second] = shims;
    first.send(r#"{"jsonrpc":"2.0","id":"l","method":"tasks/list"}"#);
    // Its own, and the one that nobody here has made.
    assert_eq!(
        first.line(),
        r#"{"jsonrpc":"2.0","id":"l","result":{ "tasks" : [{"taskId":"a", "n":1e2},{"taskId":"c"}], "x":1.0 }}"#
    );
    for (task, code) in [("a", None), ("b", Some(-32602)), ("c", None)] {
        first.send(&format!(
            r#"{{"jsonrpc":"2.0","id":"g","method":"tasks/get","params":{{"taskId":"{task}"}}}}"#
        ));
        let answer = first.message();
        assert_eq!(answer["error"]["code"].as_i64(), code, "{task}: {answer}");
    }
    upstream.wait_for_streams(1);
    let status = |task: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{{"taskId":"{task}","status":"completed"}}}}"#
        )
    };
    for task in ["a", "b", "c"] {
        upstream.push(status(task));
    }
    // What belongs to a task says so, and finds its owner.
    upstream.push(r#"{"jsonrpc":"2.0","id":5,"method":"vendor/ask","params":{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"b"}}}}"#);
    assert_eq!(first.line(), status("a"));
    assert_eq!(second.line(), status("b"));
    let asked = Rpc::parse(second.line().as_bytes()).expect("a message");
    second.send(&asked.result(r#"{"mine":true}"#));
    let answer = upstream.wait_for_answer("5");
    assert!(answer.contains(r#"{"mine":true}"#), "{answer}");
    first.echo("no more");
    // What one has made is nobody's once it has gone.
    assert_eq!(second.finish(), 0);
    upstream.push(status("b"));
    upstream.push(r#"{"jsonrpc":"2.0","id":6,"method":"vendor/ask","params":{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"b"}}}}"#);
    let answer = upstream.wait_for_answer("6");
    assert!(answer.contains(r#""error""#), "{answer}");
    first.send(r#"{"jsonrpc":"2.0","id":"l","method":"tasks/list"}"#);
    let listed = first.line();
    assert!(!listed.contains(r#""b""#), "{listed}");
    first.send(r#"{"jsonrpc":"2.0","id":"r","method":"tasks/result","params":{"taskId":"b"}}"#);
    assert_eq!(first.message()["error"]["code"], -32602);
}
