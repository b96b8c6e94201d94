//! What counts as the loss of a session and what does not, and what becomes of
//! what the server refused.

use std::path::Path;
use std::sync::Arc;

use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::monitor::Monitor;
use mcp_remote_tests::rpc::Rpc as DaemonRpc;
use mcp_remote_tests::shim::text_of;
use mcp_remote_tests::tls::TestCa;
use mcp_remote_tests::upstream::{
    Config, FakeUpstream, Kind, Refusal, Reply, Request, Rpc, hostile, label, text_result,
};

use crate::support::{attached, our_error};

#[test]
fn a_server_that_only_has_a_route_for_post_keeps_its_session() {
    let upstream = FakeUpstream::scripted(|request| {
        let listens = request.method == "GET";
        listens.then(|| hostile::html(404))
    });
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    shim.echo("before");
    upstream.wait_for("GET", 1);
    for _ in 0..20 {
        shim.echo("again");
    }
    assert_eq!(upstream.sessions_made(), 1);
    assert_eq!(upstream.count("GET"), 1);
    assert_eq!(shim.finish(), 0);
}

#[test]
fn an_answer_that_speaks_of_sessions_is_an_answer() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    upstream.script(|request| {
        let id = Rpc::parse(&request.body)?.id?;
        (label(request) == "POST tools/call").then(|| {
            Reply::json(
                400,
                format!(
                    r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32010,"message":"invalid session cookie","data":{{"k":1}}}}}}"#
                ),
            )
        })
    });
    let answer = shim.call("echo", "{}");
    assert_eq!(answer["error"]["code"], -32010, "{answer}");
    assert_eq!(answer["error"]["data"]["k"], 1, "{answer}");
    assert_eq!(upstream.count("POST tools/call"), 1);
    assert_eq!(upstream.sessions_made(), 1);
}

#[test]
fn what_a_new_session_does_not_mend_is_said_in_the_servers_words() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    upstream.script(|request| {
        let body = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32011,"message":"unknown session of the back end"}}"#;
        (label(request) == "POST tools/call").then(|| Reply::json(400, body))
    });
    let answer = shim.call("echo", "{}");
    assert_eq!(answer["error"]["code"], -32011, "{answer}");
    assert_eq!(upstream.count("POST tools/call"), 2);
    upstream.script(|request| {
        let call = label(request) == "POST tools/call";
        call.then(|| Reply::body(404, "text/plain", "nothing here"))
    });
    let error = our_error(&shim.call("echo", "{}"), 2);
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains("nothing here"), "{message}");
    assert_eq!(error["data"]["httpStatus"], 404);
}

/// Answers without sessions, as long as `keeps` is not set; from then on refuses
/// what has no session id.
fn keeps_none_at_first(keeps: &Monitor<bool>, refusal: &str, request: &Request) -> Option<Reply> {
    let has_id = request.header("Mcp-Session-Id").is_some();
    if request.method != "POST" {
        return (!has_id).then(|| Reply::status(405));
    }
    let rpc = Rpc::parse(&request.body)?;
    let is_initialize = rpc.method() == "initialize";
    if keeps.look(|keeps| *keeps) {
        let (status, text) = refusal.split_once(' ')?;
        let body = format!(
            r#"{{"jsonrpc":"2.0","error":{{"code":-32000,"message":"{text}"}},"id":null}}"#
        );
        return (!has_id && !is_initialize)
            .then(|| Reply::json(status.parse().expect("a status"), body));
    }
    Some(match (is_initialize, &rpc.id) {
        (true, _) => Reply::json(
            200,
            rpc.result(r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"fake-upstream","version":"1"}}"#),
        ),
        (false, None) => Reply::status(202),
        (false, Some(_)) => Reply::json(200, rpc.result(&text_result("no session"))),
    })
}

#[test]
fn a_server_that_begins_to_keep_sessions_is_used_on() {
    for refusal in [
        "404 Session not found",
        "400 Bad Request: No valid session ID provided",
    ] {
        let keeps: Arc<Monitor<bool>> = Arc::default();
        let known = keeps.clone();
        let upstream =
            FakeUpstream::scripted(move |request| keeps_none_at_first(&known, refusal, request));
        let home = TestHome::new();
        let mut shims = [
            attached(&home, &[&upstream.url()]),
            attached(&home, &[&upstream.url()]),
        ];
        for shim in &mut shims {
            shim.call("echo", "{}");
        }
        assert_eq!(upstream.count("POST initialize"), 1);
        keeps.update(|keeps| *keeps = true);
        for shim in &mut shims {
            shim.echo("kept");
            shim.echo("kept");
        }
        let mut own = [0, 1].map(|nth| text_of(&shims[nth].call("session", "{}")));
        own.sort();
        assert_eq!(own, ["session-1", "session-2"], "one for each");
        upstream.forget_sessions(Refusal::NotFound);
        for shim in &mut shims {
            shim.echo("made again");
        }
    }
}

#[test]
fn notifications_that_a_lost_session_refused_are_said_again_in_order() {
    let upstream = FakeUpstream::scripted(|request| {
        let listens = request.method == "GET";
        listens.then(|| Reply::status(405))
    });
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    shim.echo("before");
    upstream.forget_sessions(Refusal::NotFound);
    upstream.forget_requests();
    for name in ["a", "b"] {
        shim.send(&format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/{name}"}}"#
        ));
    }
    upstream.wait_for("POST notifications/b", 1);
    shim.echo("after");
    let expected = [
        "POST notifications/a",
        "POST initialize",
        "POST notifications/initialized",
        "POST notifications/a",
        "POST notifications/b",
        "POST tools/call",
    ];
    let mut posts = upstream.labels();
    posts.retain(|label| label != "GET");
    assert_eq!(posts, expected);
    assert_eq!(upstream.sessions_made(), 2);
    assert_eq!(shim.finish(), 0);
}

#[test]
fn a_server_that_does_not_take_our_answer_is_heard_on() {
    let upstream = FakeUpstream::with(Config {
        kind: Kind::HttpSse(405),
        ..Config::default()
    });
    upstream.script(|request| (label(request) == "POST response").then_some(Reply::Hang));
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url(), "--reuse", "concurrent"]);
    shim.echo("before");
    upstream.push(r#"{"jsonrpc":"2.0","id":900,"method":"ping"}"#);
    upstream.wait_for("POST response", 1);
    shim.echo("after");
}

#[test]
fn what_comes_with_the_answer_to_initialize_is_heard() {
    const SAID: [&str; 2] = [
        r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"starting"}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"started"}}"#,
    ];
    let answered: Arc<Monitor<Option<Request>>> = Arc::default();
    let seen = answered.clone();
    let upstream = FakeUpstream::scripted(move |request| {
        if request.method != "POST" {
            return Some(Reply::status(405));
        }
        let rpc = Rpc::parse(&request.body)?;
        if rpc.method.is_none() {
            seen.update(|seen| *seen = Some(request.clone()));
        }
        if rpc.method() != "initialize" {
            return Some(Reply::status(202));
        }
        let seen = seen.clone();
        let events = Reply::events(move |events| {
            events.message(SAID[0])?;
            events.message(r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#)?;
            seen.expect("an answer to the ping", |seen| seen.clone());
            events.message(rpc.result(r#"{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"fake-upstream","version":"1"}}"#))?;
            events.message(SAID[1])
        });
        Some(events.with("Mcp-Session-Id", "s-1"))
    });
    let home = TestHome::new();
    let mut shim = home.shim(&[&upstream.url()]);
    shim.send(
        r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}"#,
    );
    let mut lines = [shim.line(), shim.line(), shim.line()];
    lines.sort_by_key(|line| SAID.iter().position(|said| said == line));
    assert!(lines[0].contains("fake-upstream"), "{lines:?}");
    assert_eq!(&lines[1..], SAID);
    let pong = answered.look(Clone::clone).expect("the ping was answered");
    assert_eq!(pong.header("Mcp-Session-Id"), Some("s-1"));
    assert_eq!(pong.text(), r#"{"jsonrpc":"2.0","id":"p","result":{}}"#);
}

/// Puts a named pipe in place of a file; reading it waits for the writer.
fn stall(file: &Path) -> std::thread::JoinHandle<std::fs::File> {
    std::fs::remove_file(file).expect("it can be removed");
    let made = std::process::Command::new("mkfifo").arg(file).status();
    assert!(made.expect("mkfifo").success());
    let file = file.to_owned();
    // Opening it waits for a reader.
    std::thread::spawn(move || {
        let options = std::fs::OpenOptions::new().write(true).open(file);
        options.expect("a pipe can be written")
    })
}

#[test]
fn a_session_found_lost_while_it_gets_new_connections_is_made_again() {
    let home = TestHome::new();
    let file = TestCa::new().write(home.folder());
    let pem = std::fs::read(&file).expect("it was written");
    let finds_out: Arc<Monitor<bool>> = Arc::default();
    let told = finds_out.clone();
    let upstream = FakeUpstream::scripted(move |request| {
        if request.method == "GET" {
            return Some(Reply::status(405));
        }
        let is_slow = request.text().contains("slow");
        if is_slow {
            told.expect("leave to answer", |told| told.then_some(()));
        }
        None
    });
    let mut shim = attached(
        &home,
        &[&upstream.url(), "--ca-file", file.to_str().expect("UTF-8")],
    );
    let slow = shim.begin_call("echo", r#"{"message":"slow"}"#);
    upstream.wait_for("POST tools/call", 1);
    let writer = stall(&file);
    DaemonRpc::connect(&home)
        .reload()
        .expect("the daemon reloads");
    upstream.forget_sessions(Refusal::NotFound);
    // Waits for the new connections, which wait for the certificates.
    let next = shim.begin_call("echo", r#"{"message":"next"}"#);
    let writer = writer.join().expect("the certificates are read");
    std::fs::remove_file(&file).expect("it can be removed");
    std::fs::write(&file, pem).expect("it can be written");
    finds_out.update(|told| *told = true);
    let mut answered = [shim.message(), shim.message()].map(|answer| {
        assert!(answer["result"].is_object(), "{answer}");
        answer["id"].as_u64().expect("a number")
    });
    answered.sort_unstable();
    assert_eq!(answered, [slow, next]);
    assert_eq!(upstream.sessions_made(), 2);
    drop(writer);
}
