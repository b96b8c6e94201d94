//! One session for several clients: who may have it, and who hears what.

use std::time::Duration;

use mcp_remote_proto::v1::relay_response::Frame;
use mcp_remote_proto::v1::{Open, RelayRequest, relay_request};
use mcp_remote_proto::{API_VERSION, VERSION};
use mcp_remote_tests::daemon::TestDaemon;
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::rpc::{RelayStream, Rpc as Daemon};
use mcp_remote_tests::shim::{INITIALIZE, TestShim, text_of};
use mcp_remote_tests::upstream::{Config, FakeUpstream, Kind, Replies, Reply, Rpc, label};
use serde_json::Value;

use crate::support::{attached, one_shot, our_error};

const CAPABLE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"roots":{},"sampling":{}},"clientInfo":{"name":"tests","version":"1"}}}"#;

/// A server that gives no session ids.
fn sessionless() -> FakeUpstream {
    FakeUpstream::with(Config {
        sessions: false,
        ..Config::default()
    })
}

/// Servers that keep sessions, over either transport.
pub(crate) fn stateful() -> [FakeUpstream; 3] {
    let events = Config {
        replies: Replies::Events,
        ..Config::default()
    };
    let http_sse = Config {
        kind: Kind::HttpSse(405),
        ..Config::default()
    };
    [
        FakeUpstream::start(),
        FakeUpstream::with(events),
        FakeUpstream::with(http_sse),
    ]
}

/// Two clients that have one session.
pub(crate) fn two(home: &TestHome, upstream: &FakeUpstream) -> [TestShim; 2] {
    let url = upstream.url();
    [0, 1].map(|_| attached(home, &[&url, "--reuse", "concurrent"]))
}

/// Waits until everything that was pushed before has been read by the daemon,
/// which answers pings of a shared session itself.
pub(crate) fn settle(upstream: &FakeUpstream, id: &str) {
    upstream.push(format!(
        r#"{{"jsonrpc":"2.0","id":"{id}","method":"ping"}}"#
    ));
    upstream.wait_for_answer(&format!(r#""{id}""#));
}

fn stream(rpc: &Daemon, url: &str) -> RelayStream {
    let mut stream = rpc
        .relay(Open {
            server_url: url.to_owned(),
            api_version: API_VERSION,
            shim_version: VERSION.to_owned(),
            shim_pid: std::process::id(),
            ..Open::default()
        })
        .expect("a stream opens");
    say(rpc, &mut stream, INITIALIZE);
    stream
}

fn say(rpc: &Daemon, stream: &mut RelayStream, message: &str) {
    let message = relay_request::Frame::Message(message.to_owned().into());
    let frame = RelayRequest {
        frame: Some(message),
    };
    let outbox = stream.outbox.as_ref().expect("it is open");
    rpc.block_on(outbox.send(frame)).expect("the daemon reads");
}

fn hear(rpc: &Daemon, stream: &mut RelayStream) -> Value {
    loop {
        let frame = rpc.frame(stream).expect("no error");
        if let Some(Frame::Message(answer)) = frame.expect("the stream goes on").frame {
            return serde_json::from_slice(&answer).expect("JSON");
        }
    }
}

#[test]
fn a_stampede_on_a_server_without_sessions_makes_one() {
    let upstream = sessionless();
    let home = TestHome::new();
    let _daemon = TestDaemon::start(&home, &[]);
    let rpc = Daemon::connect(&home);
    // More than the pool has sessions.
    let mut streams: Vec<_> = (0..400).map(|_| stream(&rpc, &upstream.url())).collect();
    for stream in &mut streams {
        assert_eq!(hear(&rpc, stream)["id"], 0);
    }
    for (number, stream) in streams.iter_mut().enumerate() {
        let call =
            mcp_remote_tests::shim::call_line(1, "echo", &format!(r#"{{"message":"{number}"}}"#));
        say(&rpc, stream, &call);
    }
    for (number, stream) in streams.iter_mut().enumerate() {
        assert_eq!(text_of(&hear(&rpc, stream)), number.to_string());
    }
    assert_eq!(upstream.count("POST initialize"), 1);
    assert_eq!(upstream.count("POST notifications/initialized"), 1);
    upstream.wait_for("GET", 1);
    assert_eq!(upstream.count("GET"), 1);
    let leased = rpc.status().expect("a status").servers[0].sessions_leased;
    assert_eq!(leased, 1);
}

#[test]
fn a_server_without_sessions_is_known_to_be_one_at_the_next_start() {
    let upstream = sessionless();
    let home = TestHome::new();
    let url = upstream.url();
    one_shot(&home, &[&url]);
    let mut capable = home.shim(&[&url]);
    capable.handshake_with(CAPABLE);
    let mut other = home.shim(&[&url]);
    other.handshake_with(CAPABLE);
    capable.echo("a");
    other.echo("b");
    one_shot(&home, &[&url]);
    // One for the plain clients, one for the capable ones.
    assert_eq!(upstream.count("POST initialize"), 2);
}

#[test]
fn shims_that_wait_for_one_opening_share_its_failure() {
    let upstream = FakeUpstream::scripted(|request| {
        let initialize = label(request) == "POST initialize";
        initialize.then(|| Reply::status(500))
    });
    let home = TestHome::new();
    let _daemon = TestDaemon::start(&home, &[]);
    let mut shims: Vec<_> = (0..8).map(|_| home.shim(&[&upstream.url()])).collect();
    for shim in &mut shims {
        shim.send(INITIALIZE);
    }
    for shim in &mut shims {
        our_error(&shim.message(), 0);
    }
    upstream.script(|_| None);
    for shim in &mut shims {
        let mut tries = (0..1000).map(|_| shim.handshake());
        assert!(tries.any(|answer| answer["result"].is_object()));
        shim.echo("after");
    }
}

#[test]
fn never_means_a_session_of_its_own() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let url = upstream.url();
    one_shot(&home, &[&url]);
    for nth in 1..=2 {
        let mut shim = attached(&home, &[&url, "--reuse", "never"]);
        let session = text_of(&shim.call("session", "{}"));
        assert_eq!(session, format!("session-{}", nth + 1));
        assert_eq!(shim.finish(), 0);
        let deleted = upstream.wait_for("DELETE", nth);
        assert_eq!(deleted.header("mcp-session-id"), Some(session.as_str()));
    }
    let sessionless = sessionless();
    for _ in 0..2 {
        one_shot(&home, &[&sessionless.url(), "--reuse", "never"]);
    }
    assert_eq!(sessionless.count("POST initialize"), 2);
}

#[test]
fn concurrent_clients_have_one_session() {
    for upstream in stateful() {
        let home = TestHome::new();
        let mut shims = two(&home, &upstream);
        let sessions = shims
            .each_mut()
            .map(|shim| text_of(&shim.call("session", "{}")));
        assert_eq!(sessions[0], sessions[1]);
        assert_eq!(upstream.sessions_made(), 1);
        for shim in shims {
            assert_eq!(shim.finish(), 0);
        }
        // It stays for the next one, who may wish to share it or not.
        one_shot(&home, &[&upstream.url(), "--reuse=concurrent"]);
        assert_eq!(upstream.sessions_made(), 1);
        one_shot(&home, &[&upstream.url()]);
        assert_eq!(upstream.sessions_made(), 2);
    }
}

#[test]
fn capable_clients_do_not_share() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shims = [0, 1].map(|_| home.shim(&[&upstream.url(), "--reuse", "concurrent"]));
    for shim in &mut shims {
        shim.handshake_with(CAPABLE);
    }
    let sessions = shims
        .each_mut()
        .map(|shim| text_of(&shim.call("session", "{}")));
    assert_ne!(sessions[0], sessions[1]);
}

#[test]
fn answers_and_progress_go_to_who_asked() {
    for upstream in stateful() {
        let home = TestHome::new();
        let mut shims = two(&home, &upstream);
        // Equal ids and tokens, answered in the other order.
        let held: Vec<_> = shims
            .iter_mut()
            .enumerate()
            .map(|(number, shim)| {
                let gate = format!("gate-{number}");
                let id = shim.begin_call("hold", &format!(r#"{{"gate":"{gate}"}}"#));
                upstream.wait_for_hold(&gate);
                (id, gate)
            })
            .collect();
        assert_eq!(held[0].0, held[1].0);
        for (shim, (id, gate)) in shims.iter_mut().zip(&held).rev() {
            upstream.open_gate(gate);
            let answer = shim.message();
            assert_eq!(answer["id"], *id);
            assert_eq!(text_of(&answer), format!("held {gate}"));
        }
        for shim in &mut shims {
            shim.send(r#"{"jsonrpc":"2.0","id":"p","method":"tools/call","params":{"_meta":{"progressToken":"t"},"name":"progress","arguments":{"steps":2}}}"#);
        }
        for shim in &mut shims {
            for step in 1..=2 {
                let progress = shim.message();
                assert_eq!(progress["params"]["progressToken"], "t");
                assert_eq!(progress["params"]["progress"], step);
            }
            assert_eq!(shim.message()["id"], "p");
        }
        assert_eq!(shims.map(TestShim::finish), [0, 0]);
    }
}

#[test]
fn progress_on_the_servers_own_stream_goes_to_who_asked() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let [mut first, mut second] = two(&home, &upstream);
    first.echo("an id before");
    let line = r#"{"jsonrpc":"2.0","id":"p","method":"tools/call","params":{"_meta":{"progressToken":"t"},"name":"hold","arguments":{"gate":"g"}}}"#;
    second.send(line);
    upstream.wait_for_hold("g");
    let request = upstream.wait_for("POST tools/call", 2);
    let token = Rpc::parse(&request.body)
        .expect("a request")
        .param("/_meta/progressToken");
    upstream.push(format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#
    ));
    assert_eq!(second.message()["params"]["progressToken"], "t");
    upstream.open_gate("g");
    assert_eq!(second.message()["id"], "p");
    first.echo("heard nothing");
}

#[test]
fn what_changed_is_told_to_all_and_what_has_no_owner_to_nobody() {
    for upstream in stateful() {
        let home = TestHome::new();
        let mut shims = two(&home, &upstream);
        upstream.wait_for_streams(1);
        upstream.push(r#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{}}"#);
        let refused = upstream.wait_for_answer("1");
        assert!(refused.contains("-32601"), "{refused}");
        for vendor in [
            r#"{"jsonrpc":"2.0","method":"notifications/vendor"}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/elicitation/complete","params":{"elicitationId":"e"}}"#,
        ] {
            upstream.push(vendor);
        }
        let line = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
        upstream.push(line);
        for shim in &mut shims {
            assert_eq!(shim.line(), line);
            shim.echo("goes on");
        }
    }
}

#[test]
fn a_client_cancels_its_own_call_only() {
    for upstream in stateful() {
        let home = TestHome::new();
        let mut shims = two(&home, &upstream);
        for (number, shim) in shims.iter_mut().enumerate() {
            shim.begin_call("hold", &format!(r#"{{"gate":"g{number}"}}"#));
            upstream.wait_for_hold(&format!("g{number}"));
        }
        let [mut first, second] = shims;
        first.send(
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#,
        );
        upstream.wait_for("POST notifications/cancelled", 1);
        upstream.open_gate("g0");
        upstream.open_gate("g1");
        assert_eq!(text_of(&second.message()), "held g1");
        first.echo("heard nothing");
        // One that dies takes its calls along, not the session.
        first.begin_call("hold", r#"{"gate":"g2"}"#);
        upstream.wait_for_hold("g2");
        first.signal(rustix::process::Signal::KILL);
        upstream.wait_for("POST notifications/cancelled", 2);
        let mut second = second;
        assert_eq!(text_of(&second.call("echo", r#"{"message":"x"}"#)), "x");
        assert_eq!(upstream.sessions_made(), 1);
    }
}

#[test]
fn a_client_that_does_not_read_holds_up_nobody() {
    for upstream in stateful() {
        let home = TestHome::new();
        let [mut deaf, mut other] = two(&home, &upstream);
        upstream.wait_for_streams(1);
        deaf.signal(rustix::process::Signal::STOP);
        let large = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{{"x":"{}"}}}}"#,
            "0123456789abcdef".repeat(65536)
        );
        for _ in 0..100 {
            upstream.push(&large);
        }
        for _ in 0..100 {
            assert_eq!(other.line().len(), large.len());
        }
        other.echo("goes on");
        deaf.signal(rustix::process::Signal::CONT);
        deaf.send(r#"{"jsonrpc":"2.0","id":"back","method":"ping"}"#);
        let answered = std::iter::from_fn(|| deaf.line_within(Duration::from_secs(20)))
            .any(|line| line.contains(r#""id":"back""#));
        assert!(answered);
    }
}

#[test]
fn a_server_that_begins_to_keep_sessions_is_shared_no_longer() {
    let upstream = sessionless();
    let home = TestHome::new();
    let url = upstream.url();
    let mut first = attached(&home, &[&url]);
    first.echo("before");
    upstream.script(|request| {
        let rpc = Rpc::parse(&request.body)?;
        (rpc.method() == "initialize").then(|| {
            let result = r#"{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"fake-upstream","version":"2"}}"#;
            Reply::json(200, rpc.result(result)).with("Mcp-Session-Id", "kept")
        })
    });
    drop(home.run_with(&[&url, "--reuse", "never"], &format!("{INITIALIZE}\n")));
    // Those that are there go on.
    first.echo("after");
}

#[test]
fn all_members_learn_that_their_session_was_lost() {
    for upstream in stateful() {
        let home = TestHome::new();
        let mut shims = two(&home, &upstream);
        for (number, shim) in shims.iter_mut().enumerate() {
            shim.send(r#"{"jsonrpc":"2.0","id":"s","method":"resources/subscribe","params":{"uri":"a:b"}}"#);
            assert!(shim.message()["result"].is_object());
            shim.begin_call("hold", &format!(r#"{{"gate":"g{number}"}}"#));
            upstream.wait_for_hold(&format!("g{number}"));
        }
        let one_stream = upstream.count("POST initialize") != upstream.sessions_made()
            || upstream.requests()[0].method == "GET";
        upstream.forget_sessions(mcp_remote_tests::upstream::Refusal::NotFound);
        if one_stream {
            for shim in &shims {
                let error = our_error(&shim.message(), 1);
                assert_eq!(error["data"]["maybeExecuted"], true);
            }
        }
        for (number, shim) in shims.iter_mut().enumerate() {
            upstream.open_gate(&format!("g{number}"));
            if !one_stream {
                // Its POST outlives the session.
                assert_eq!(text_of(&shim.message()), format!("held g{number}"));
            }
            shim.echo("in the next");
        }
        assert_eq!(upstream.sessions_made(), 2);
        assert_eq!(upstream.count("POST resources/subscribe"), 2);
        let line = r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:b"}}"#;
        upstream.wait_for_streams(1);
        upstream.push(line);
        for shim in &shims {
            assert_eq!(shim.line(), line);
        }
    }
}

#[test]
fn a_member_does_not_speak_of_its_folders_for_all() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let [mut first, _second] = two(&home, &upstream);
    first.send(r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#);
    first.send(r#"{"jsonrpc":"2.0","method":"notifications/vendor"}"#);
    upstream.wait_for("POST notifications/vendor", 1);
    assert_eq!(upstream.count("POST notifications/roots/list_changed"), 0);
}
