//! What a client leaves in its session is undone for the next, and what it has in
//! it is there again when the session had to be made anew.

use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::shim::{TestShim, text_of};
use mcp_remote_tests::upstream::{Config, FakeUpstream, Kind, Refusal, Reply, Rpc, label};

use crate::support::{attached, one_shot};

const CAPABLE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"roots":{},"sampling":{}},"clientInfo":{"name":"tests","version":"1"}}}"#;

fn upstreams() -> [FakeUpstream; 2] {
    let http_sse = Config {
        kind: Kind::HttpSse(405),
        ..Config::default()
    };
    [FakeUpstream::start(), FakeUpstream::with(http_sse)]
}

fn ask(shim: &mut TestShim, method: &str, params: &str) {
    shim.send(&format!(
        r#"{{"jsonrpc":"2.0","id":"a","method":"{method}","params":{params}}}"#
    ));
    let answer = shim.message();
    assert!(answer["result"].is_object(), "{answer}");
}

/// Waits until the daemon has a session for the next client, or none.
fn wait_until_nobody_has_one(home: &TestHome) -> u32 {
    mcp_remote_tests::rpc::Rpc::connect(home).watch_until(|status| {
        let server = status.servers.first()?;
        (server.sessions_leased == 0).then_some(server.sessions_idle)
    })
}

#[test]
fn subscriptions_are_undone_before_the_next_client_has_the_session() {
    for upstream in upstreams() {
        let home = TestHome::new();
        let mut shim = attached(&home, &[&upstream.url()]);
        for uri in ["a:1", "a:2", "a:3"] {
            ask(
                &mut shim,
                "resources/subscribe",
                &format!(r#"{{"uri":"{uri}"}}"#),
            );
        }
        ask(&mut shim, "resources/unsubscribe", r#"{"uri":"a:2"}"#);
        assert_eq!(shim.finish(), 0);
        assert_eq!(wait_until_nobody_has_one(&home), 1);
        let mut undone: Vec<_> = (1..=3)
            .map(|nth| upstream.wait_for("POST resources/unsubscribe", nth))
            .map(|request| Rpc::parse(&request.body).expect("a request").param("/uri"))
            .collect();
        undone.sort_by_key(ToString::to_string);
        assert_eq!(undone, ["a:1", "a:2", "a:3"]);
        one_shot(&home, &[&upstream.url()]);
        assert_eq!(upstream.sessions_made(), 1);
    }
}

#[test]
fn a_session_that_cannot_be_cleaned_is_not_for_the_next() {
    let unsubscribe = |method: &str, params: &str, refused: bool| {
        let upstream = FakeUpstream::start();
        let home = TestHome::new();
        let mut shim = attached(&home, &[&upstream.url()]);
        ask(&mut shim, method, params);
        upstream.script(move |request| {
            let rpc = Rpc::parse(&request.body)?;
            (refused && rpc.method() == "resources/unsubscribe")
                .then(|| Reply::json(200, rpc.error(-32603, "No")))
        });
        assert_eq!(shim.finish(), 0);
        assert_eq!(wait_until_nobody_has_one(&home), 0);
        upstream.wait_for("DELETE", 1);
        one_shot(&home, &[&upstream.url()]);
        assert_eq!(upstream.sessions_made(), 2);
    };
    unsubscribe("resources/subscribe", r#"{"uri":"a:1"}"#, true);
    // What the level was before cannot be read.
    unsubscribe("logging/setLevel", r#"{"level":"debug"}"#, false);
}

#[test]
fn a_level_that_was_refused_changes_nothing() {
    let upstream = FakeUpstream::scripted(|request| {
        let rpc = Rpc::parse(&request.body)?;
        (rpc.method() == "logging/setLevel")
            .then(|| Reply::json(200, rpc.error(-32601, "Method not found")))
    });
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    shim.send(
        r#"{"jsonrpc":"2.0","id":"l","method":"logging/setLevel","params":{"level":"debug"}}"#,
    );
    assert_eq!(shim.message()["error"]["code"], -32601);
    assert_eq!(shim.finish(), 0);
    one_shot(&home, &[&upstream.url()]);
    assert_eq!(upstream.sessions_made(), 1);
}

#[test]
fn a_cancelled_call_that_has_ended_leaves_nothing() {
    for upstream in upstreams() {
        let home = TestHome::new();
        let mut shim = attached(&home, &[&upstream.url()]);
        let call = shim.begin_call("hold", r#"{"gate":"slow"}"#);
        upstream.wait_for_hold("slow");
        shim.send(&format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{call}}}}}"#
        ));
        upstream.wait_for("POST notifications/cancelled", 1);
        // The server answers all the same, while nobody is there.
        assert_eq!(shim.finish(), 0);
        upstream.open_gate("slow");
        assert_eq!(wait_until_nobody_has_one(&home), 1);
        one_shot(&home, &[&upstream.url()]);
        assert_eq!(upstream.sessions_made(), 1);
    }
}

#[test]
fn a_cancelled_call_that_goes_on_ends_the_session() {
    for upstream in upstreams() {
        let home = TestHome::new();
        let mut shim = attached(&home, &[&upstream.url()]);
        shim.begin_call("hold", r#"{"gate":"slow"}"#);
        upstream.wait_for_hold("slow");
        shim.signal(rustix::process::Signal::KILL);
        assert_eq!(wait_until_nobody_has_one(&home), 0);
        upstream.open_gate("slow");
        one_shot(&home, &[&upstream.url()]);
        assert_eq!(upstream.sessions_made(), 2);
    }
}

#[test]
fn a_question_that_the_client_leaves_open_is_answered_with_an_error() {
    for upstream in upstreams() {
        let home = TestHome::new();
        let mut shim = home.shim(&[&upstream.url()]);
        shim.handshake_with(CAPABLE);
        upstream.wait_for_streams(1);
        upstream.push(r#"{"jsonrpc":"2.0","id":"q","method":"roots/list"}"#);
        assert_eq!(shim.message()["method"], "roots/list");
        assert_eq!(shim.finish(), 0);
        let answer = upstream.wait_for_answer(r#""q""#);
        assert!(answer.contains(r#""error""#), "{answer}");
        assert_eq!(wait_until_nobody_has_one(&home), 1);
        let mut next = home.shim(&[&upstream.url()]);
        next.handshake_with(CAPABLE);
        next.echo("is asked nothing");
        assert_eq!(upstream.sessions_made(), 1);
    }
}

#[test]
fn what_was_switched_on_is_so_again_in_a_new_session() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    ask(&mut shim, "logging/setLevel", r#"{"level":"warning"}"#);
    ask(&mut shim, "resources/subscribe", r#"{"uri":"a:\"1"}"#);
    upstream.wait_for_streams(1);
    upstream.script(|request| (request.method == "GET").then(|| Reply::status(405)));
    upstream.forget_sessions(Refusal::NotFound);
    upstream.forget_requests();
    let session = text_of(&shim.call("session", "{}"));
    assert_eq!(session, "session-2");
    let mut posts = upstream.requests();
    posts.retain(|request| request.method == "POST" && !request.text().contains(r#""session""#));
    let labels: Vec<_> = posts.iter().map(label).collect();
    assert_eq!(
        labels[..2],
        ["POST initialize", "POST notifications/initialized"]
    );
    let told: String = posts[2..].iter().map(|request| request.text()).collect();
    assert_eq!(posts.len(), 4, "{labels:?}");
    assert!(told.contains(r#"{"level":"warning"}"#), "{told}");
    assert!(told.contains(r#"{"uri":"a:\"1"}"#), "{told}");
    // The call came after them, and the answers to them were for nobody.
    let calls = upstream.labels();
    let last = calls.iter().rfind(|label| label.starts_with("POST"));
    assert_eq!(last.map(String::as_str), Some("POST tools/call"));
    shim.echo("goes on");
}

#[test]
fn what_was_switched_on_is_so_again_after_a_stream_was_lost() {
    let upstream = FakeUpstream::with(Config {
        kind: Kind::HttpSse(405),
        ..Config::default()
    });
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    ask(&mut shim, "resources/subscribe", r#"{"uri":"a:1"}"#);
    upstream.cut_streams();
    upstream.wait_for_sessions(0);
    // One that goes out before the end of the stream is seen is lost with it.
    let mut tries = (0..100).map(|_| shim.call("echo", r#"{"message":"x"}"#));
    assert!(tries.any(|answer| answer["result"].is_object()));
    assert_eq!(upstream.count("POST resources/subscribe"), 2);
    let line =
        r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:1"}}"#;
    upstream.push(line);
    assert_eq!(shim.line(), line);
}

#[test]
fn an_answer_for_a_lost_session_does_not_reach_the_next() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = home.shim(&[&upstream.url()]);
    shim.handshake_with(CAPABLE);
    let question = r#"{"jsonrpc":"2.0","id":0,"method":"roots/list"}"#;
    upstream.wait_for_streams(1);
    upstream.push(question);
    let before = Rpc::parse(shim.line().as_bytes()).expect("a message");
    upstream.forget_sessions(Refusal::NotFound);
    shim.echo("in the next");
    upstream.wait_for_streams(1);
    // The same id means another question now.
    upstream.push(question);
    let after = Rpc::parse(shim.line().as_bytes()).expect("a message");
    assert_ne!(before.id(), after.id());
    shim.send(&before.result(r#"{"roots":["before"]}"#));
    shim.send(&after.result(r#"{"roots":["after"]}"#));
    let answer = upstream.wait_for_answer("0");
    assert!(answer.contains("after"), "{answer}");
    shim.echo("goes on");
    assert_eq!(upstream.count("POST response"), 1);
}

#[test]
fn a_question_is_taken_back_under_the_id_that_the_client_knows() {
    for upstream in upstreams() {
        let home = TestHome::new();
        let mut shim = home.shim(&[&upstream.url()]);
        shim.handshake_with(CAPABLE);
        upstream.wait_for_streams(1);
        upstream.push(r#"{"jsonrpc":"2.0","id":"srv","method":"roots/list"}"#);
        let question = Rpc::parse(shim.line().as_bytes()).expect("a message");
        upstream.push(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"srv","reason":"r"}}"#);
        let cancelled = shim.line();
        let expected = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{},"reason":"r"}}}}"#,
            question.id()
        );
        assert_eq!(cancelled, expected);
        // An answer that crossed it is for nobody.
        shim.send(&question.result("{}"));
        shim.echo("goes on");
        assert_eq!(upstream.count("POST response"), 0);
    }
}
