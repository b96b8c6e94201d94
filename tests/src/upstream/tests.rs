//! The fakes themselves, driven by bytes: a test that trusts a broken fake
//! proves nothing.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::hostile;
use super::*;
use crate::proxy::FakeProxy;

const HEADERS: &str =
    "Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\n";
const INITIALIZE: &str =
    r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#;
const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
const SESSION: &str = "MCP-Session-Id: session-1\r\nMCP-Protocol-Version: 2025-11-25\r\n";

/// Sends one request on a connection of its own; returns everything it gives.
fn send(port: u16, method: &str, target: &str, headers: &str, body: &str) -> String {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let length = body.len();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    );
    socket.write_all(request.as_bytes()).unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    let mut reply = Vec::new();
    socket.read_to_end(&mut reply).unwrap();
    String::from_utf8_lossy(&reply).into_owned()
}

fn post(fake: &FakeUpstream, headers: &str, body: &str) -> String {
    send(
        fake.port(),
        "POST",
        "/mcp",
        &format!("{HEADERS}{headers}"),
        body,
    )
}

#[test]
fn a_conversation_is_answered_and_recorded() {
    let fake = FakeUpstream::start();
    let answer = post(&fake, "", INITIALIZE);
    assert!(answer.contains("Mcp-Session-Id: session-1"), "{answer}");
    assert!(
        answer.contains(r#""id":1,"result":{"protocolVersion":"2025-11-25""#),
        "{answer}"
    );
    assert!(post(&fake, SESSION, INITIALIZED).starts_with("HTTP/1.1 202 "));
    let call =
        r#"{"id":"a","method":"tools/call","params":{"name":"echo","arguments":{"message":"hi"}}}"#;
    let answer = post(&fake, SESSION, call);
    assert!(answer.ends_with(r#""id":"a","result":{"content":[{"type":"text","text":"hi"}]}}"#));
    let labels = [
        "POST initialize",
        "POST notifications/initialized",
        "POST tools/call",
    ];
    assert_eq!(fake.labels(), labels);
}

#[test]
fn a_forgotten_session_is_refused_in_both_wordings() {
    for (refusal, status) in [(Refusal::NotFound, "404"), (Refusal::BadRequest, "400")] {
        let fake = FakeUpstream::start();
        post(&fake, "", INITIALIZE);
        fake.forget_sessions(refusal);
        let answer = post(&fake, SESSION, INITIALIZED);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
}

#[test]
fn what_no_client_may_do_is_a_complaint() {
    let check = |headers: &str, body: &str, complaint: &str| {
        let fake = FakeUpstream::start();
        post(&fake, "", INITIALIZE);
        post(&fake, headers, body);
        let complaints = fake
            .shared
            .state
            .update(|state| std::mem::take(&mut state.complaints));
        assert!(
            complaints.iter().any(|text| text.contains(complaint)),
            "{complaints:?}"
        );
    };
    let list = r#"{"id":2,"method":"tools/list"}"#;
    check("", list, "without a session id");
    check(SESSION, list, "before notifications/initialized");
    check(
        "Mcp-Session-Id: session-1\r\n",
        list,
        "MCP-Protocol-Version None",
    );
    check(SESSION, "[]", "without a JSON object");
    let cancel = r#"{"method":"notifications/cancelled","params":{"requestId":9}}"#;
    check(SESSION, cancel, "9 was cancelled and never asked");
}

#[test]
fn a_stream_carries_what_is_pushed_and_ends_with_its_session() {
    let fake = FakeUpstream::start();
    post(&fake, "", INITIALIZE);
    let headers = format!("{SESSION}Accept: text/event-stream\r\nCache-Control: no-cache\r\n");
    let port = fake.port();
    let reader = std::thread::spawn(move || send(port, "GET", "/mcp", &headers, ""));
    fake.push(r#"{"method":"x"}"#);
    fake.shared.state.expect("the queue is empty", |state| {
        state
            .sessions
            .values()
            .all(|session| session.queue.is_empty())
            .then_some(())
    });
    assert!(send(port, "DELETE", "/mcp", SESSION, "").starts_with("HTTP/1.1 200 "));
    let stream = reader.join().unwrap();
    assert!(
        stream.contains("event: message\ndata: {\"method\":\"x\"}\n\n"),
        "{stream}"
    );
    assert!(stream.ends_with("0\r\n\r\n"), "{stream}");
    assert_eq!(fake.sessions_alive(), 0);
}

#[test]
fn http_sse_opens_with_its_endpoint_and_answers_on_the_stream() {
    let fake = FakeUpstream::with(Config {
        kind: Kind::HttpSse(405),
        ..Config::default()
    });
    assert!(post(&fake, "", INITIALIZE).starts_with("HTTP/1.1 405 "));
    let port = fake.port();
    let accept = "Accept: text/event-stream\r\nCache-Control: no-cache\r\n";
    let reader = std::thread::spawn(move || send(port, "GET", "/mcp", accept, ""));
    fake.wait_for_streams(1);
    let accepted = send(port, "POST", "/messages?session=stream-1", "", INITIALIZE);
    assert!(accepted.starts_with("HTTP/1.1 202 "), "{accepted}");
    fake.shared.state.expect("the answer was sent", |state| {
        let queue = &state.sessions.get("stream-1")?.queue;
        queue.is_empty().then_some(())
    });
    fake.cut_streams();
    let stream = reader.join().unwrap();
    assert!(
        stream.contains("event: endpoint\ndata: /messages?session=stream-1\n\n"),
        "{stream}"
    );
}

#[test]
fn a_server_that_went_down_refuses_and_comes_back() {
    let mut fake = FakeUpstream::start();
    fake.go_down();
    assert!(TcpStream::connect(("127.0.0.1", fake.port())).is_err());
    fake.come_back();
    assert!(post(&fake, "", INITIALIZE).starts_with("HTTP/1.1 200 "));
}

#[test]
fn hostile_replies_are_what_they_say() {
    let fake = FakeUpstream::scripted(|request| {
        Some(match request.text().as_str() {
            "html" => hostile::html(404),
            "truncated" => hostile::truncated_json(),
            "bomb" => hostile::gzip_bomb(4),
            "redirect" => hostile::redirect(307, "/there"),
            _ => hostile::stream_without_answer(),
        })
    });
    assert!(post(&fake, "", "html").contains("Content-Type: text/html"));
    assert!(post(&fake, "", "truncated").ends_with("{\"jsonrpc\":"));
    let bomb = post(&fake, "", "bomb");
    assert!(bomb.contains("Content-Encoding: gzip") && bomb.len() < 100_000);
    assert!(post(&fake, "", "redirect").contains("Location: /there"));
    assert!(post(&fake, "", "").ends_with(": nothing to say\n\n\r\n0\r\n\r\n"));
}

#[test]
fn the_proxy_forwards_both_ways_and_remembers() {
    let fake = FakeUpstream::start();
    let proxy = FakeProxy::start(fake.port());
    let port = proxy.address().port();
    let headers = format!("{HEADERS}Connection: close\r\n");
    let answer = send(port, "POST", "http://a.invalid/mcp", &headers, INITIALIZE);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let inner = format!(
        "POST /mcp HTTP/1.1\r\n{HEADERS}{SESSION}Content-Length: {}\r\n\r\n{INITIALIZED}",
        INITIALIZED.len()
    );
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(socket, "CONNECT a.invalid:443 HTTP/1.1\r\n\r\n{inner}").unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(
        answer.contains("200 Connected") && answer.contains("HTTP/1.1 202 "),
        "{answer}"
    );
    assert_eq!(
        proxy.seen(),
        ["POST http://a.invalid/mcp", "CONNECT a.invalid:443"]
    );
    assert_eq!(fake.labels().len(), 2);
}
