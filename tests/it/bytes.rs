//! What a decoder and encoder would change passes as it was written, both ways, in
//! every kind of message.

use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::shim::TestShim;
use mcp_remote_tests::upstream::{FakeUpstream, Replies, Reply, Rpc};

use crate::sharing::stateful;

/// Values that many programs do not give back as they were.
const ODD: &[&str] = &[
    "9007199254740993",
    "-9223372036854775809",
    "123456789012345678901234567890",
    "-0",
    "-0.0",
    "0.10",
    "1e400",
    "-1E-400",
    "1.0E+2",
    "null",
    r#"{"a":null,"b":[null]}"#,
    r#"{"z":1,"a":2,"m":3}"#,
    r#"{"a":1,"a":2,"a":1}"#,
    r#""\u0000\u001f\u007f""#,
    r#""\ud800""#,
    r#"["\udc00\ud800", {"\ud800":1}]"#,
    r#""\ud83d\ude00 😀 \/ \u002f \b\f\n\r\t""#,
    "\"\u{2028}\u{2029}\u{feff}\u{7f}\"",
    "{ \"a\" :\t[ 1 ,2 ] }",
    r#"{"":{"id":5,"jsonrpc":"1","method":"m","result":{},"params":{}}}"#,
    "[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]",
];

/// A client that can be asked things and says so in its own way.
fn capable(home: &TestHome, upstream: &FakeUpstream) -> TestShim {
    let mut shim = home.shim(&[&upstream.url()]);
    let answer = shim.handshake_with(&initialize("{}", r#"{"roots":{}}"#));
    assert!(answer["result"].is_object(), "{answer}");
    shim
}

fn initialize(client: &str, capabilities: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"initialize","x":{client},"params":{{"clientInfo":{client},"capabilities":{capabilities},"y":{client},"protocolVersion":"2025-11-25"}},"id":0}}"#
    )
}

#[test]
fn requests_and_results() {
    for upstream in stateful() {
        let home = TestHome::new();
        let mut shim = capable(&home, &upstream);
        for (nth, odd) in ODD.iter().enumerate() {
            upstream.answer("tools/call", odd);
            let message = |id: &str| {
                format!(
                    r#"{{"vendor":{odd},"jsonrpc":"2.0", "id":{id} ,"method":"tools/call","params":{{"_meta":{{"vendor":{odd}}},"name":"odd","arguments":{odd}}}}}"#
                )
            };
            shim.send(&message("\"q\""));
            let expected = format!(r#"{{"jsonrpc":"2.0","id":"q","result":{odd}}}"#);
            assert_eq!(shim.line(), expected);
            let request = upstream.wait_for("POST tools/call", nth + 1);
            let minted = Rpc::parse(&request.body).expect("a request");
            assert_eq!(request.text(), message(minted.id()));
        }
        assert_eq!(shim.finish(), 0);
    }
}

#[test]
fn a_progress_token_is_replaced_and_nothing_beside_it() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = capable(&home, &upstream);
    for (nth, odd) in ODD.iter().enumerate() {
        upstream.answer("odd", "{}");
        let message = |id: &str, token: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"a":{odd},"_meta":{{"a":{odd}, "progressToken" : {token} ,"b":{odd}}},"name":"odd","arguments":{{"progressToken":"x","_meta":{odd}}}}}}}"#
            )
        };
        shim.send(&message("7", "\"t\""));
        assert_eq!(shim.message()["id"], 7);
        let request = upstream.wait_for("POST tools/call", nth + 1);
        let minted = Rpc::parse(&request.body).expect("a request");
        assert_eq!(request.text(), message(minted.id(), minted.id()));
    }
}

#[test]
fn errors() {
    for replies in [Replies::Json, Replies::Events] {
        let upstream = FakeUpstream::scripted(move |request| {
            let rpc = Rpc::parse(&request.body)?;
            let at = rpc.param("/arguments/at").as_u64()?;
            let odd = ODD[usize::try_from(at).ok()?];
            let error = format!(
                r#"{{"error":{{"data":{odd},"code":-32000,"x":{odd},"message":"no"}},"id":{},"jsonrpc":"2.0","y":{odd}}}"#,
                rpc.id()
            );
            Some(match replies {
                Replies::Json => Reply::json(200, error),
                Replies::Events => Reply::events(move |events| events.message(&error)),
            })
        });
        let home = TestHome::new();
        let mut shim = capable(&home, &upstream);
        for (at, odd) in ODD.iter().enumerate() {
            let id = shim.begin_call("odd", &format!(r#"{{"at":{at}}}"#));
            let expected = format!(
                r#"{{"error":{{"data":{odd},"code":-32000,"x":{odd},"message":"no"}},"id":{id},"jsonrpc":"2.0","y":{odd}}}"#
            );
            assert_eq!(shim.line(), expected);
        }
    }
}

#[test]
fn notifications_both_ways() {
    for upstream in stateful() {
        let home = TestHome::new();
        let mut shim = capable(&home, &upstream);
        upstream.wait_for_streams(1);
        for (nth, odd) in ODD.iter().enumerate() {
            let line = format!(
                r#"{{"x":{odd},"params":{{"a":{odd}}},"method":"notifications/vendor", "jsonrpc":"2.0"}}"#
            );
            shim.send(&line);
            let request = upstream.wait_for("POST notifications/vendor", nth + 1);
            assert_eq!(request.text(), line);
            upstream.push(&line);
            assert_eq!(shim.line(), line);
        }
    }
}

#[test]
fn questions_and_their_answers() {
    for upstream in stateful() {
        let home = TestHome::new();
        let mut shim = capable(&home, &upstream);
        upstream.wait_for_streams(1);
        for (nth, odd) in ODD.iter().enumerate() {
            let id = format!("\"{nth}\"");
            let question = |id: &str| {
                format!(
                    r#"{{"x":{odd},"id":{id}, "method":"roots/list","params":{{"_meta":{{"progressToken":5,"a":{odd}}},"b":{odd}}},"jsonrpc":"2.0"}}"#
                )
            };
            upstream.push(question(&id));
            let line = shim.line();
            let ours = Rpc::parse(line.as_bytes()).expect("a question");
            assert_eq!(line, question(ours.id()));
            let answer = |id: &str| {
                format!(r#"{{"result":{{"roots":{odd}}},"x":{odd},"id": {id},"jsonrpc":"2.0"}}"#)
            };
            shim.send(&answer(ours.id()));
            assert_eq!(upstream.wait_for_answer(&id), answer(&id));
        }
    }
}

#[test]
fn a_clients_own_introduction() {
    for odd in ODD {
        let upstream = FakeUpstream::start();
        let home = TestHome::new();
        let client = format!(r#"{{"version":"1","name":"odd","title":{odd},"x":{odd}}}"#);
        let capabilities = format!(r#"{{"experimental":{{"x":{odd}}}}}"#);
        let line = initialize(&client, &capabilities);
        let mut shim = home.shim(&[&upstream.url()]);
        let answer = shim.handshake_with(&line);
        assert!(answer["result"].is_object(), "{odd}: {answer}");
        let request = upstream.wait_for("POST initialize", 1);
        let minted = Rpc::parse(&request.body).expect("a request");
        let expected = line.replace(r#""id":0}"#, &format!(r#""id":{}}}"#, minted.id()));
        assert_eq!(request.text(), expected);
        shim.echo("goes on");
    }
}

#[test]
fn a_servers_own_introduction() {
    for odd in ODD {
        let upstream = FakeUpstream::start();
        let result = format!(
            r#"{{"x":{odd},"serverInfo":{{"version":{odd},"name":{odd},"y":{odd}}},"protocolVersion":"2025-11-25","capabilities":{{"experimental":{{"x":{odd}}}}},"instructions":{odd}}}"#
        );
        upstream.answer("initialize", &result);
        let home = TestHome::new();
        for _ in 0..2 {
            let mut shim = home.shim(&[&upstream.url()]);
            shim.send(mcp_remote_tests::shim::INITIALIZE);
            let expected = format!(r#"{{"jsonrpc":"2.0","id":0,"result":{result}}}"#);
            assert_eq!(shim.line(), expected);
            assert_eq!(shim.finish(), 0);
        }
        assert_eq!(upstream.sessions_made(), 1);
    }
}
