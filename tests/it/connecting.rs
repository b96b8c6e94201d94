//! The flags about connections: how long they may take, and where to.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::shim::INITIALIZE;
use mcp_remote_tests::upstream::{FakeUpstream, Reply, Rpc, label};
use serde_json::Value;

use crate::support::{attached, one_shot, our_error};

/// Checks that something took as long as it should, on a busy machine too.
#[track_caller]
fn took(began: Instant, least: u64) {
    let took = began.elapsed();
    let expected = Duration::from_millis(least)..Duration::from_secs(8);
    assert!(expected.contains(&took), "{took:?}");
}

fn message(error: &Value) -> &str {
    error["message"].as_str().expect("errors have a message")
}

#[test]
fn connecting_takes_no_longer_than_allowed() {
    // What it accepts is never read: TLS waits for ever.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("bound").port();
    let home = TestHome::new();
    let url = format!("https://127.0.0.1:{port}/mcp");
    let mut shim = home.shim(&[&url, "--connect-timeout", "0.3"]);
    let began = Instant::now();
    shim.send(INITIALIZE);
    let error = our_error(&shim.message(), 0);
    took(began, 300);
    assert!(
        message(&error).contains("no connection within 0.3 s"),
        "{error}"
    );
}

#[test]
fn a_response_begins_within_the_time_allowed() {
    let upstream = FakeUpstream::scripted(|request| {
        let rpc = Rpc::parse(&request.body)?;
        (rpc.param("/name") == "silent").then_some(Reply::Hang)
    });
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url(), "--headers-timeout", "0.4"]);
    let began = Instant::now();
    let id = shim.begin_call("silent", "{}");
    let other = shim.begin_call("echo", r#"{"message":"meanwhile"}"#);
    assert_eq!(shim.message()["id"], other);
    let error = our_error(&shim.message(), id);
    took(began, 400);
    assert!(
        message(&error).contains("did not answer within 0.4 s"),
        "{error}"
    );
    assert_eq!(error["data"]["maybeExecuted"], true);
    shim.echo("afterwards");
    assert_eq!(upstream.sessions_made(), 1);
}

#[test]
fn a_response_is_not_silent_for_longer_than_allowed() {
    let upstream = FakeUpstream::start();
    let held = std::sync::Arc::new(std::sync::Mutex::new(()));
    let guard = held.lock().expect("nobody panicked");
    let gate = held.clone();
    upstream.script(move |request| {
        let rpc = Rpc::parse(&request.body)?;
        let gate = gate.clone();
        (rpc.param("/name") == "stops").then(|| {
            Reply::events(move |events| {
                events.raw(b": here I am\n\n")?;
                drop(gate.lock());
                Ok(())
            })
        })
    });
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url(), "--body-timeout", "0.4"]);
    let began = Instant::now();
    let id = shim.begin_call("stops", "{}");
    let error = our_error(&shim.message(), id);
    took(began, 400);
    assert!(
        message(&error).contains("nothing came for 0.4 s (--body-timeout)"),
        "{error}"
    );
    assert_eq!(error["data"]["maybeExecuted"], true);
    drop(guard);
    // The stream for what the server says unasked is just opened anew.
    upstream.wait_for("GET", 2);
    shim.echo("afterwards");
    assert_eq!(upstream.sessions_made(), 1);
}

#[test]
fn with_ipv4_alone_no_other_address_is_connected_to() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let url = format!("http://localhost:{}/mcp", upstream.port());
    one_shot(&home, &[&url, "--ipv4"]);
    let Ok(other) = TcpListener::bind("[::1]:0") else {
        // A machine without IPv6 cannot show it.
        return;
    };
    other.set_nonblocking(true).expect("it is a socket");
    let port = other.local_addr().expect("bound").port();
    let mut shim = home.shim(&[&format!("http://[::1]:{port}/mcp"), "--ipv4"]);
    shim.send(INITIALIZE);
    let error = our_error(&shim.message(), 0);
    assert!(message(&error).contains("could not be reached"), "{error}");
    assert!(other.accept().is_err(), "nobody has connected");
}

#[test]
fn a_session_is_shared_with_who_connects_likewise_only() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let url = upstream.url();
    for (flags, sessions) in [
        (&[][..], 1),
        (&["--connect-timeout", "5"], 2),
        (&["--headers-timeout", "5"], 3),
        (&["--body-timeout", "5"], 4),
        (&["--ipv4"], 5),
        (&["--disable-cookies"], 6),
        // These change nothing about the session.
        (&["--headers-timeout", "0", "--body-timeout=0"], 6),
        (&["--enable-proxy", "--protocol", "legacy"], 6),
        (&["--keep-alive", "--ignore-tool", "x"], 6),
    ] {
        let finished = one_shot(&home, &[&[url.as_str()][..], flags].concat());
        assert_eq!(finished.stderr, "", "{flags:?}");
        assert_eq!(upstream.sessions_made(), sessions, "{flags:?}");
    }
    let posts = upstream.requests();
    assert!(
        posts
            .iter()
            .any(|request| label(request) == "POST tools/call")
    );
}
