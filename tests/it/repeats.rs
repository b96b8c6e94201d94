//! What is safe to repeat is repeated, everything else is sent once.

use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::monitor::Monitor;
use mcp_remote_tests::shim::{TestShim, text_of};
use mcp_remote_tests::upstream::{Config, FakeUpstream, Kind, Reply, Request, Rpc, label};
use serde_json::Value;

use crate::support::{attached, our_error};

const LISTED: &str = r#"{"tools":[{"name":"look","annotations":{"readOnlyHint":true}},{"name":"set","annotations":{"idempotentHint":true}},{"name":"add","annotations":{"readOnlyHint":false,"idempotentHint":false}},{"name":"bare"}]}"#;

/// Fails the first `failures` requests that `wanted` names.
fn failing(
    upstream: &FakeUpstream,
    failures: usize,
    wanted: impl Fn(&Request) -> bool + Send + Sync + 'static,
    failure: impl Fn() -> Reply + Send + Sync + 'static,
) {
    let failed: Monitor<usize> = Monitor::default();
    upstream.script(move |request| {
        let fails = wanted(request)
            && failed.update(|failed| {
                *failed += 1;
                *failed <= failures
            });
        fails.then(&failure)
    });
}

fn ask(shim: &mut TestShim, method: &str) -> Value {
    shim.send(&format!(
        r#"{{"jsonrpc":"2.0","id":"{method}","method":"{method}","params":{{"_meta":{{"progressToken":"t"}}}}}}"#
    ));
    shim.message()
}

fn list(shim: &mut TestShim) {
    assert!(ask(shim, "tools/list")["result"].is_object());
}

/// The ids that requests of this label had.
fn ids(upstream: &FakeUpstream, wanted: &str) -> Vec<String> {
    let requests = upstream.requests();
    let found = requests.iter().filter(|request| label(request) == wanted);
    let rpc = found.filter_map(|request| Rpc::parse(&request.body));
    rpc.map(|rpc| rpc.id().to_owned()).collect()
}

fn vanish() -> Reply {
    Reply::raw(|_| Ok(()))
}

#[test]
fn what_changes_nothing_is_asked_three_times() {
    const SAFE: [&str; 8] = [
        "tools/list",
        "prompts/list",
        "resources/list",
        "resources/templates/list",
        "resources/read",
        "prompts/get",
        "completion/complete",
        "ping",
    ];
    let failures: [fn() -> Reply; 5] = [
        || Reply::status(500),
        || Reply::body(502, "text/html", "<html></html>"),
        || Reply::status(503),
        || {
            Reply::json(
                504,
                r#"{"jsonrpc":"2.0","error":{"code":-32603,"message":"m"},"id":null}"#,
            )
        },
        vanish,
    ];
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    for (nth, method) in SAFE.into_iter().enumerate() {
        upstream.answer(method, r#"{"tools":[],"n":9007199254740993}"#);
        let wanted = format!("POST {method}");
        let failure = failures[nth % failures.len()];
        let named = wanted.clone();
        failing(
            &upstream,
            2,
            move |request| label(request) == named,
            failure,
        );
        let answer = ask(&mut shim, method);
        assert_eq!(answer["result"]["n"], 9_007_199_254_740_993_u64, "{answer}");
        assert_eq!(answer["id"], method);
        let mut ids = ids(&upstream, &wanted);
        assert_eq!(ids.len(), 3, "{method}");
        ids.dedup();
        assert_eq!(ids.len(), 3, "an id was used twice");
    }
    assert_eq!(shim.finish(), 0);
}

#[test]
fn attempts_end_with_an_error_that_says_why() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    failing(
        &upstream,
        9,
        |request| label(request) == "POST tools/list",
        || Reply::status(502),
    );
    let error = our_error(&ask(&mut shim, "tools/list"), "tools/list");
    assert_eq!(error["data"]["httpStatus"], 502, "{error}");
    assert_eq!(upstream.count("POST tools/list"), 3);
}

#[test]
fn an_error_that_answers_the_request_is_not_repeated() {
    let upstream = FakeUpstream::scripted(|request| {
        let rpc = Rpc::parse(&request.body).filter(|rpc| rpc.method() == "prompts/get")?;
        Some(Reply::json(500, rpc.error(-32603, "the server's own")))
    });
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    let answer = ask(&mut shim, "prompts/get");
    assert_eq!(answer["error"]["message"], "the server's own", "{answer}");
    assert_eq!(upstream.count("POST prompts/get"), 1);
}

#[test]
fn a_call_is_sent_once_whatever_happens() {
    let failures: [fn() -> Reply; 4] = [
        || Reply::status(500),
        || Reply::status(503),
        || Reply::status(504),
        vanish,
    ];
    for failure in failures {
        let upstream = FakeUpstream::start();
        upstream.answer("tools/list", LISTED);
        let home = TestHome::new();
        let mut shim = attached(&home, &[&upstream.url()]);
        list(&mut shim);
        failing(
            &upstream,
            9,
            |request| label(request) == "POST tools/call",
            failure,
        );
        for tool in ["add", "bare", "unknown"] {
            let answer = shim.call(tool, "{}");
            let error = our_error(&answer, answer["id"].clone());
            assert_eq!(error["data"]["maybeExecuted"], true, "{error}");
        }
        assert_eq!(upstream.count("POST tools/call"), 3);
    }
}

#[test]
fn what_may_change_something_is_asked_once() {
    let upstream = FakeUpstream::scripted(|request| {
        let rpc = Rpc::parse(&request.body)?;
        let asks = rpc.id.is_some() && rpc.method() != "initialize";
        asks.then(|| Reply::status(502))
    });
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    for method in [
        "logging/setLevel",
        "resources/subscribe",
        "tasks/cancel",
        "vendor/lists",
        "vendor",
    ] {
        let error = our_error(&ask(&mut shim, method), method);
        assert_eq!(error["data"]["maybeExecuted"], true, "{error}");
        assert_eq!(upstream.count(&format!("POST {method}")), 1);
    }
}

#[test]
fn a_tool_that_is_listed_as_harmless_is_called_again_once() {
    let upstream = FakeUpstream::start();
    upstream.answer("tools/list", LISTED);
    upstream.answer("look", r#"{"content":[{"type":"text","text":"seen"}]}"#);
    upstream.answer("set", r#"{"content":[{"type":"text","text":"seen"}]}"#);
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    let call = |request: &Request| label(request) == "POST tools/call";
    failing(&upstream, 1, call, vanish);
    // Nothing is listed yet.
    our_error(&shim.call("look", "{}"), 1);
    list(&mut shim);
    for tool in ["look", "set"] {
        failing(&upstream, 1, call, vanish);
        assert_eq!(text_of(&shim.call(tool, "{}")), "seen");
    }
    assert_eq!(upstream.count("POST tools/call"), 5);
    failing(&upstream, 9, call, vanish);
    let error = our_error(&shim.call("look", "{}"), 4);
    assert_eq!(error["data"]["maybeExecuted"], true);
    assert_eq!(upstream.count("POST tools/call"), 7);
    upstream.answer("tools/list", r#"{"tools":[{"name":"look"}]}"#);
    upstream.script(|_| None);
    list(&mut shim);
    failing(&upstream, 9, call, vanish);
    for tool in ["look", "set"] {
        let answer = shim.call(tool, "{}");
        our_error(&answer, answer["id"].clone());
    }
    assert_eq!(upstream.count("POST tools/call"), 9);
}

#[test]
fn a_list_in_flight_when_the_stream_of_http_sse_breaks_is_asked_again() {
    let upstream = FakeUpstream::with(Config {
        kind: Kind::HttpSse(405),
        ..Config::default()
    });
    upstream.answer("tools/list", LISTED);
    upstream.answer("look", r#"{"content":[{"type":"text","text":"seen"}]}"#);
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url(), "--cache-lists=never"]);
    list(&mut shim);
    upstream.forget_requests();
    // Accepted and never answered, once each.
    let seen: Monitor<Vec<String>> = Monitor::default();
    upstream.script(move |request| {
        let rpc = Rpc::parse(&request.body)?;
        let what = format!("{} {}", rpc.method(), rpc.param("/name"));
        let first = (what.starts_with("tools/") || what.starts_with("prompts/"))
            && seen.update(|seen| {
                let first = !seen.contains(&what);
                seen.push(what);
                first
            });
        first.then(|| Reply::status(202))
    });
    shim.send(r#"{"jsonrpc":"2.0","id":"list","method":"tools/list"}"#);
    shim.send(r#"{"jsonrpc":"2.0","id":"look","method":"tools/call","params":{"name":"look"}}"#);
    shim.send(r#"{"jsonrpc":"2.0","id":"add","method":"tools/call","params":{"name":"add"}}"#);
    upstream.wait_for("POST tools/list", 1);
    upstream.wait_for("POST tools/call", 2);
    upstream.cut_streams();
    let answers: Vec<Value> = (0..3).map(|_| shim.message()).collect();
    let of = |id: &str| answers.iter().find(|answer| answer["id"] == id);
    let error = our_error(of("add").expect("answered"), "add");
    assert_eq!(error["data"]["maybeExecuted"], true);
    assert!(
        of("list").is_some_and(|answer| answer["result"].is_object()),
        "{answers:?}"
    );
    assert_eq!(of("look").map(text_of).as_deref(), Some("seen"));
    assert_eq!(upstream.count("POST tools/list"), 2);
    assert_eq!(upstream.count("POST tools/call"), 3);
    assert_eq!(upstream.sessions_made(), 2);
}

#[test]
fn initialize_is_said_again_to_a_server_in_trouble() {
    let failures: [fn() -> Reply; 3] = [
        || Reply::status(502),
        || Reply::status(429).with("Retry-After", "0"),
        vanish,
    ];
    for failure in failures {
        let upstream = FakeUpstream::start();
        failing(
            &upstream,
            2,
            |request| label(request) == "POST initialize",
            failure,
        );
        let home = TestHome::new();
        let mut shim = attached(&home, &[&upstream.url()]);
        shim.echo("works");
        assert_eq!(upstream.count("POST initialize"), 3);
    }
}
