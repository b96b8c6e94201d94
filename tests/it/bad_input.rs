//! Bad input gets an answer: an error a program can read and one sentence a
//! person can, never silence.

use mcp_remote_tests::daemon::TestDaemon;
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::shim::{INITIALIZE, call_line, text_of};
use mcp_remote_tests::upstream::{FakeUpstream, Reply, Request, hostile, label};
use serde_json::Value;

use crate::support::{attached, one_sentence, our_error};

#[test]
fn a_line_that_is_not_json_is_answered_and_the_relay_goes_on() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    let lines: [&[u8]; 4] = [
        b"hello",
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\"",
        b"{\"id\":1,\"method\":\"\xff\xfe\"}",
        b"{} {}",
    ];
    for line in lines {
        shim.send_raw(&[line, b"\n"].concat());
        let answer = shim.message();
        assert_eq!(answer["error"]["code"], -32700, "{answer}");
        assert_eq!(answer["id"], Value::Null, "{answer}");
        assert_eq!(answer["jsonrpc"], "2.0");
    }
    shim.echo("goes on");
    assert_eq!(shim.finish(), 0);
    assert_eq!(upstream.count("POST ?") + upstream.count("POST x"), 0);
}

#[test]
fn json_that_is_no_message_does_not_end_the_relay() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    for line in [
        "[]",
        "42",
        "null",
        "{}",
        r#"{"id":{},"method":"x"}"#,
        r#"{"id":9,"result":1}"#,
    ] {
        shim.send(line);
    }
    shim.send(&call_line("\"last\"", "echo", r#"{"message":"goes on"}"#));
    loop {
        let answer = shim.message();
        if answer["id"] == "last" {
            assert_eq!(text_of(&answer), "goes on");
            break;
        }
        assert!(answer["error"]["code"].is_i64(), "{answer}");
    }
}

#[test]
fn a_line_that_is_too_long_is_answered_with_its_id() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    let filler = "x".repeat(mcp_remote_proto::MAX_MESSAGE_LEN);
    let before = shim.peak_memory();
    for (line, id) in [
        (
            format!(r#"{{"id":"first","method":"x","params":"{filler}"}}"#),
            Value::from("first"),
        ),
        (
            format!(r#"{{"method":"x","params":["{filler}"],"id":7}}"#),
            Value::from(7),
        ),
        (format!("{filler}x"), Value::Null),
    ] {
        shim.send(&line);
        let answer = shim.message();
        assert_eq!(answer["error"]["code"], -32600, "{answer}");
        assert_eq!(answer["id"], id, "{answer}");
    }
    let grown = shim.peak_memory() - before;
    let limit = mcp_remote_proto::MAX_MESSAGE_LEN as u64;
    assert!(grown <= 2 * limit, "the shim grew by {grown} bytes");
    shim.echo("goes on");
    assert_eq!(upstream.count("POST x"), 0);
}

#[test]
fn a_line_beyond_the_daemons_own_limit_is_answered_with_its_id() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let _daemon = TestDaemon::start(&home, &["--max-message", "65536"]);
    let mut shim = attached(&home, &[&upstream.url()]);
    let filler = "x".repeat(65536);
    shim.send(&format!(
        r#"{{"method":"x","params":["{filler}"],"id":"tail"}}"#
    ));
    let answer = shim.message();
    assert_eq!(answer["error"]["code"], -32600, "{answer}");
    assert_eq!(answer["id"], "tail");
    shim.echo("goes on");
}

/// Checks that a server which cannot be used is one sentence on standard error,
/// and an error for `initialize` and for every later request.
#[track_caller]
fn unusable(home: &TestHome, url: &str) -> Value {
    let mut shim = home.shim(&[url]);
    shim.send(INITIALIZE);
    let error = our_error(&shim.message(), 0);
    our_error(&shim.call("echo", "{}"), 1);
    our_error(&shim.call("echo", "{}"), 2);
    shim.close_stdin();
    assert_eq!(shim.wait(), 0);
    let sentence = one_sentence(&shim.stderr()).to_owned();
    let server = url.trim_start_matches("http://");
    let host = server.split('/').next().unwrap_or_default();
    assert!(
        sentence.contains(host),
        "{sentence:?} does not say which server"
    );
    error
}

#[test]
fn a_refused_connection_is_said() {
    let mut upstream = FakeUpstream::start();
    upstream.go_down();
    let error = unusable(&TestHome::new(), &upstream.url());
    let cause = error["data"]["cause"].as_str().expect("a cause");
    assert!(cause.to_lowercase().contains("refused"), "{error}");
}

#[test]
fn a_name_that_does_not_resolve_is_said() {
    let home = TestHome::new();
    let mut shim = home.shim(&["http://nonexistent.invalid/mcp", "--allow-http"]);
    let error = our_error(&shim.handshake(), 0);
    assert!(error["data"]["cause"].is_string(), "{error}");
    our_error(&shim.call("echo", "{}"), 1);
    shim.close_stdin();
    shim.wait();
    assert!(one_sentence(&shim.stderr()).contains("nonexistent.invalid"));
}

#[test]
fn a_page_for_people_is_said() {
    for status in [200, 404, 502] {
        let upstream = FakeUpstream::scripted(move |_| Some(hostile::html(status)));
        let error = unusable(&TestHome::new(), &upstream.url());
        let message = error["message"].as_str().expect("a message");
        let named = message.contains("HTML")
            || message.contains("page")
            || message.contains(&status.to_string());
        assert!(named, "{message:?}");
    }
}

#[test]
fn a_status_of_failure_is_said() {
    for status in [400, 401, 403, 404, 405, 410, 429, 500, 503] {
        let upstream = FakeUpstream::scripted(move |_| Some(Reply::status(status)));
        let error = unusable(&TestHome::new(), &upstream.url());
        let data = &error["data"];
        // A fallback that failed as well may be what is reported.
        assert_eq!(data["httpStatus"], status, "{error}");
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains(&status.to_string()), "{message:?}");
    }
}

#[test]
fn an_answer_that_is_no_answer_is_said() {
    let answers: [fn() -> Reply; 8] = [
        || Reply::body(200, "text/plain", "fine"),
        || Reply::body(200, "application/octet-stream", vec![0; 100]),
        || Reply::json(200, "not json"),
        || Reply::json(200, "{}"),
        || Reply::status(200),
        || Reply::status(202),
        || Reply::status(204),
        || Reply::raw(|wire| wire.write_all(b"SSH-2.0-OpenSSH_9.6\r\n")),
    ];
    for answer in answers {
        let upstream = FakeUpstream::scripted(move |_| Some(answer()));
        unusable(&TestHome::new(), &upstream.url());
    }
}

#[test]
fn a_broken_answer_to_a_call_is_an_error_and_the_next_call_works() {
    let broken: [fn(&Request) -> Reply; 9] = [
        |_| hostile::truncated_json(),
        |_| hostile::truncated_event(),
        |_| hostile::stream_without_answer(),
        |_| hostile::html(200),
        |_| hostile::html(500),
        |_| Reply::json(200, "{\"jsonrpc\":"),
        |_| Reply::status(202),
        |_| {
            Reply::json(
                200,
                r#"{"jsonrpc":"2.0","id":"of somebody else","result":{}}"#,
            )
        },
        |_| Reply::raw(|_| Ok(())),
    ];
    for (number, answer) in broken.into_iter().enumerate() {
        let upstream = FakeUpstream::scripted(move |request| {
            request.text().contains("break").then(|| answer(request))
        });
        let home = TestHome::new();
        let mut shim = attached(&home, &[&upstream.url()]);
        let response = shim.call("break", "{}");
        our_error(&response, 1);
        assert_eq!(upstream.count("POST tools/call"), 1, "case {number}");
        shim.echo("goes on");
        assert_eq!(shim.finish(), 0);
    }
}

#[test]
fn an_initialize_that_the_server_refuses_is_the_servers_error() {
    let upstream = FakeUpstream::scripted(|request| {
        if label(request) != "POST initialize" {
            return None;
        }
        let rpc = mcp_remote_tests::upstream::Rpc::parse(&request.body)?;
        Some(Reply::json(
            200,
            rpc.error(-32602, "Unsupported protocol version"),
        ))
    });
    let home = TestHome::new();
    let mut shim = home.shim(&[&upstream.url()]);
    let answer = shim.handshake();
    assert_eq!(answer["id"], 0);
    let message = answer["error"]["message"].as_str().expect("an error");
    assert!(message.contains("Unsupported protocol version"), "{answer}");
}

#[test]
fn a_call_that_hangs_holds_up_nobody() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url(), "--drain-timeout", "1"]);
    shim.begin_call("hold", r#"{"gate":"never"}"#);
    shim.echo("meanwhile");
    assert_eq!(shim.finish(), 0);
}

#[test]
fn an_error_without_an_id_is_the_answer_to_its_request() {
    for status in [200, 400] {
        let upstream = FakeUpstream::scripted(move |request| {
            let error =
                r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32603,"message":"Parser is out"}}"#;
            let named = request.text().contains("evil");
            named.then(|| Reply::json(status, error))
        });
        let home = TestHome::new();
        let mut shim = attached(&home, &[&upstream.url()]);
        let answer = shim.call("evil", "{}");
        let error = &answer["error"];
        assert_eq!(error["code"], -32603, "{status}: {answer}");
        assert_eq!(error["message"], "Parser is out", "{status}: {answer}");
        shim.echo("goes on");
    }
}
