//! Which transport a server speaks is found out once and remembered.

use mcp_remote_tests::daemon::TestDaemon;
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::rpc::Rpc;
use mcp_remote_tests::shim::text_of;
use mcp_remote_tests::upstream::{Config, FakeUpstream, Kind, Reply, hostile};

use crate::support::{attached, one_shot, our_error};

fn http_sse(refusal: u16) -> FakeUpstream {
    FakeUpstream::with(Config {
        kind: Kind::HttpSse(refusal),
        ..Config::default()
    })
}

#[test]
fn a_server_of_2024_is_recognised_by_its_refusal() {
    for refusal in [400, 404, 405] {
        let upstream = http_sse(refusal);
        let home = TestHome::new();
        one_shot(&home, &[&upstream.url()]);
        let expected = [
            "POST initialize",
            "GET",
            "POST initialize",
            "POST notifications/initialized",
            "POST tools/call",
        ];
        assert_eq!(upstream.labels(), expected, "after {refusal}");
    }
}

#[test]
fn a_warm_call_over_http_sse_is_exactly_one_post() {
    let upstream = http_sse(405);
    let home = TestHome::new();
    let daemon = TestDaemon::start(&home, &[]);
    one_shot(&home, &[&upstream.url()]);
    upstream.forget_requests();
    one_shot(&home, &[&upstream.url()]);
    assert_eq!(daemon.terminate(), 0);
    assert_eq!(upstream.labels(), ["POST tools/call"]);
}

#[test]
fn the_verdict_outlives_the_daemon() {
    let upstream = http_sse(404);
    let home = TestHome::new();
    one_shot(&home, &[&upstream.url()]);
    assert_eq!(home.run(&["stop"]).code, 0);
    upstream.forget_requests();
    one_shot(&home, &[&upstream.url()]);
    assert_eq!(upstream.labels()[0], "GET");
    assert_eq!(upstream.count("POST initialize"), 1);
}

#[test]
fn a_reload_forgets_the_verdict() {
    let upstream = http_sse(404);
    let home = TestHome::new();
    one_shot(&home, &[&upstream.url()]);
    Rpc::connect(&home).reload().expect("it reloads");
    upstream.forget_requests();
    one_shot(&home, &[&upstream.url(), "--header", "X-New: session"]);
    assert_eq!(upstream.labels()[0], "POST initialize");
}

#[test]
fn a_verdict_that_is_no_longer_true_is_corrected() {
    let upstream = http_sse(404);
    let home = TestHome::new();
    one_shot(&home, &[&upstream.url()]);
    home.kill_daemon();
    // Its GET without a session is refused from now on.
    upstream.upgrade(Kind::StreamableHttp);
    one_shot(&home, &[&upstream.url()]);
    assert_eq!(upstream.sessions_made(), 2);
}

#[test]
fn transport_flags_decide() {
    let home = TestHome::new();
    let old = http_sse(405);
    one_shot(&home, &[&old.url(), "--transport", "sse-first"]);
    assert_eq!(old.labels()[0], "GET");
    one_shot(&home, &[&old.url(), "--transport", "sse-only"]);

    let old = http_sse(405);
    let mut shim = home.shim(&[&old.url(), "--transport", "http-only"]);
    let error = our_error(&shim.handshake(), 0);
    assert_eq!(error["data"]["httpStatus"], 405);
    assert_eq!(old.count("GET"), 0);

    let new = FakeUpstream::start();
    one_shot(&home, &[&new.url(), "--transport", "http-only"]);
    assert_eq!(new.labels()[0], "POST initialize");
}

#[test]
fn sse_first_falls_back_to_streamable_http() {
    let home = TestHome::new();
    for refusal in [400, 404, 405] {
        let new = FakeUpstream::scripted(move |request| {
            let early = request.method == "GET" && request.header("mcp-session-id").is_none();
            early.then(|| Reply::status(refusal))
        });
        one_shot(&home, &[&new.url(), "--transport", "sse-first"]);
        assert_eq!(new.labels()[..2], ["GET", "POST initialize"]);
        let mut shim = home.shim(&[&new.url(), "--transport", "sse-only"]);
        our_error(&shim.handshake(), 0);
    }
}

#[test]
fn a_server_in_trouble_is_not_taken_for_an_old_one() {
    for status in [401, 403, 429, 500, 503] {
        let upstream = FakeUpstream::scripted(move |_| Some(Reply::status(status)));
        let home = TestHome::new();
        let mut shim = home.shim(&[&upstream.url()]);
        let error = our_error(&shim.handshake(), 0);
        assert_eq!(error["data"]["httpStatus"], status);
        // Whether it has people sign in is asked elsewhere.
        let asked = upstream.requests();
        let mut streams = asked.iter().filter(|request| request.method == "GET");
        assert!(
            streams.all(|request| request.target.starts_with("/.well-known/")),
            "after {status}"
        );
    }
}

#[test]
fn an_endpoint_elsewhere_is_not_used() {
    let elsewhere = FakeUpstream::start();
    let away = elsewhere.url();
    let upstream = http_sse(405);
    upstream.script(move |request| {
        let event = format!("event: endpoint\ndata: {away}\n\n");
        (request.method == "GET").then(|| hostile::pieces(vec![event.into_bytes()]))
    });
    let home = TestHome::new();
    let mut shim = home.shim(&[&upstream.url(), "--header", "X-Key: s3cr3t-endpoint"]);
    our_error(&shim.handshake(), 0);
    assert_eq!(elsewhere.labels(), Vec::<String>::new());
}

#[test]
fn a_lost_stream_is_opened_again_and_a_lost_call_is_not_repeated() {
    let upstream = http_sse(405);
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    shim.echo("x");
    let lost = shim.begin_call("hold", r#"{"gate":"never"}"#);
    upstream.wait_for_hold("never");
    upstream.cut_streams();
    let error = our_error(&shim.message(), lost);
    assert_eq!(error["data"]["maybeExecuted"], true);
    shim.echo("again");
    assert_eq!(text_of(&shim.call("session", "{}")), "stream-2");
    let requests = upstream.requests();
    let held = requests
        .iter()
        .filter(|request| request.text().contains("never"));
    assert_eq!(held.count(), 1);
    assert_eq!(upstream.count("GET"), 2);
}

#[test]
fn a_call_that_was_reported_lost_is_not_sent_again() {
    let upstream = http_sse(405);
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    shim.echo("x");
    let (refuse, refused) = std::sync::mpsc::sync_channel::<()>(1);
    let refused = std::sync::Mutex::new(Some(refused));
    upstream.script(move |request| {
        if !request.text().contains("never") {
            return None;
        }
        let refused = refused.lock().ok()?.take()?;
        Some(Reply::raw(move |wire| {
            // The refusal comes after the stream has ended.
            refused.recv().map_err(std::io::Error::other)?;
            wire.write_all(b"HTTP/1.1 404 Gone\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        }))
    });
    let lost = shim.begin_call("hold", r#"{"gate":"never"}"#);
    upstream.wait_for("POST tools/call", 2);
    upstream.cut_streams();
    our_error(&shim.message(), lost);
    refuse.send(()).expect("the script waits");
    shim.echo("x");
    // Whatever the refusal leads to has happened by then.
    assert_eq!(home.run(&["stop"]).code, 0);
    let requests = upstream.requests();
    let sent = requests
        .iter()
        .filter(|request| request.text().contains("never"));
    assert_eq!(sent.count(), 1);
}

#[test]
fn a_session_found_gone_fails_the_calls_that_wait_on_its_stream() {
    let upstream = http_sse(405);
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    let held = shim.begin_call("hold", r#"{"gate":"never"}"#);
    upstream.wait_for_hold("never");
    let once = std::sync::atomic::AtomicBool::new(true);
    upstream.script(move |request| {
        let refused = request.text().contains("refuse me")
            && once.swap(false, std::sync::atomic::Ordering::Relaxed);
        refused.then(|| Reply::status(404))
    });
    let refused = shim.begin_call("echo", r#"{"message":"refuse me"}"#);
    let mut answers = [shim.message(), shim.message()];
    answers.sort_by_key(|answer| answer["id"].as_u64());
    let error = our_error(&answers[0], held);
    assert_eq!(error["data"]["maybeExecuted"], true);
    assert_eq!(answers[1]["id"], refused);
    assert_eq!(text_of(&answers[1]), "refuse me");
}
