//! Event streams in every shape the format allows.

use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::shim::text_of;
use mcp_remote_tests::upstream::{Config, FakeUpstream, Kind, Request, Rpc, hostile, text_result};

use crate::support::{attached, our_error};

/// Answers the tool `shape` with the pieces that `shape` makes of the response.
#[track_caller]
fn understood(shape: fn(String) -> Vec<Vec<u8>>) {
    let upstream = FakeUpstream::scripted(move |request: &Request| {
        if !request.text().contains("shape") {
            return None;
        }
        let rpc = Rpc::parse(&request.body)?;
        Some(hostile::pieces(shape(
            rpc.result(&text_result("grüße €🦀")),
        )))
    });
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    assert_eq!(text_of(&shim.call("shape", "{}")), "grüße €🦀");
    shim.echo("goes on");
}

#[test]
fn an_event_split_at_every_byte() {
    understood(|response| {
        let event = format!("event: message\r\ndata: {response}\r\n\r\n");
        event.bytes().map(|byte| vec![byte]).collect()
    });
}

#[test]
fn lines_that_end_with_cr_alone() {
    understood(|response| vec![format!("event: message\rdata: {response}\r\r").into()]);
}

#[test]
fn a_byte_order_mark() {
    understood(|response| vec![format!("\u{feff}data: {response}\n\n").into()]);
}

#[test]
fn a_split_byte_order_mark() {
    understood(|response| {
        let rest = format!("data: {response}\n\n").into_bytes();
        vec![vec![0xef], vec![0xbb], [b"\xbf".as_slice(), &rest].concat()]
    });
}

#[test]
fn comments_and_unknown_fields() {
    understood(|response| {
        vec![
            format!(": hello\n:\n\nretry: 10\nvendor: x\nid\ndata:{response}\nevent: message\n\n")
                .into(),
        ]
    });
}

#[test]
fn a_priming_event_without_data() {
    understood(|response| vec![format!("id: 1\ndata:\n\nid: 2\ndata: {response}\n\n").into()]);
}

#[test]
fn an_event_of_another_type_is_passed_over() {
    understood(|response| {
        vec![
            format!("event: heartbeat\ndata: not json\n\nevent: message\ndata: {response}\n\n")
                .into(),
        ]
    });
}

#[test]
fn a_document_over_several_data_lines() {
    understood(|response| {
        let lines = response.replacen("\"result\"", "\n\"result\"", 1);
        vec![format!("data: {}\n\n", lines.replace('\n', "\ndata: ")).into()]
    });
}

#[test]
fn an_event_that_is_not_json_is_passed_over() {
    understood(|response| vec![format!("data: {{broken\n\ndata: {response}\n\n").into()]);
}

#[test]
fn bytes_that_are_not_utf8_cost_at_most_their_call() {
    let upstream = FakeUpstream::scripted(|request| {
        let broken = b"data: {\"jsonrpc\":\"2.0\",\"method\":\"\xff\xfe\"}\n\n";
        let shape = request.text().contains("shape");
        shape.then(|| hostile::pieces(vec![broken.to_vec()]))
    });
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    our_error(&shim.call("shape", "{}"), 1);
    shim.echo("goes on");
}

#[test]
fn an_event_that_is_not_utf8_is_passed_over() {
    understood(|response| {
        vec![
            b"data: {\"jsonrpc\":\"2.0\",\"method\":\"\xff\xfe\"}\n\n".to_vec(),
            format!("data: {response}\n\n").into(),
        ]
    });
}

/// Answers a call on the stream of an HTTP+SSE session with what `spoil` makes of
/// its answer; the call has to get an error.
#[track_caller]
fn spoilt(spoil: fn(String) -> Vec<u8>) {
    let upstream = FakeUpstream::with(Config {
        kind: Kind::HttpSse(405),
        ..Config::default()
    });
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    let id = shim.begin_call("hold", r#"{"gate":"never"}"#);
    upstream.wait_for_hold("never");
    let request = upstream.wait_for("POST tools/call", 1);
    let rpc = Rpc::parse(&request.body).expect("a request");
    upstream.push(spoil(rpc.result(&text_result("caf\u{e9}"))));
    our_error(&shim.message(), id);
    shim.echo("goes on");
}

#[test]
fn an_answer_with_something_behind_it_is_an_error() {
    spoilt(|response| format!("{response} trailing").into());
}

#[test]
fn an_answer_in_latin_1_is_an_error() {
    spoilt(|response| {
        let characters = response.chars().map(u32::from);
        characters
            .map(|code| u8::try_from(code).expect("Latin-1"))
            .collect()
    });
}
