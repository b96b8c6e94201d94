//! What HTTP says instead of an answer: waited for where that helps, and said in
//! one sentence where it does not.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::monitor::Monitor;
use mcp_remote_tests::shim::text_of;
use mcp_remote_tests::upstream::{FakeUpstream, Reply, hostile, label};

use crate::support::{attached, our_error};

/// Gives the first `times` requests of this label this reply; counts them all.
fn busy(
    upstream: &FakeUpstream,
    wanted: &'static str,
    times: usize,
    reply: impl Fn() -> Reply + Send + Sync + 'static,
) -> Arc<Monitor<Vec<Instant>>> {
    let seen: Arc<Monitor<Vec<Instant>>> = Arc::default();
    let noted = seen.clone();
    upstream.script(move |request| {
        let refused = label(request) == wanted
            && noted.update(|seen| {
                seen.push(Instant::now());
                seen.len() <= times
            });
        refused.then(&reply)
    });
    seen
}

fn after(status: u16, value: &str) -> Reply {
    Reply::status(status).with("Retry-After", value)
}

#[test]
fn a_call_that_was_refused_for_lack_of_time_is_made_when_the_server_said() {
    for status in [429, 503] {
        let upstream = FakeUpstream::start();
        let home = TestHome::new();
        let mut shim = attached(&home, &[&upstream.url()]);
        let seen = busy(&upstream, "POST tools/call", 1, move || after(status, "1"));
        shim.echo("made");
        let seen = seen.look(Vec::clone);
        assert_eq!(seen.len(), 2);
        let waited = seen[1] - seen[0];
        assert!(waited >= Duration::from_secs(1), "{waited:?}");
        assert!(waited < Duration::from_secs(2), "{waited:?}");
    }
}

#[test]
fn a_date_to_come_back_is_understood() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    let date = SystemTime::now() + Duration::from_secs(3);
    let seen = busy(&upstream, "POST tools/call", 1, move || {
        after(503, &httpdate::fmt_http_date(date))
    });
    shim.echo("made");
    let waited = seen.look(|seen| seen[1] - seen[0]);
    // A date has whole seconds.
    assert!(waited > Duration::from_millis(1500), "{waited:?}");
    assert!(waited < Duration::from_millis(3700), "{waited:?}");
}

#[test]
fn nonsense_and_the_past_are_a_short_wait() {
    for value in ["0", "-5", "soon", "Sun, 06 Nov 1994 08:49:37 GMT"] {
        let upstream = FakeUpstream::start();
        let home = TestHome::new();
        let mut shim = attached(&home, &[&upstream.url()]);
        let seen = busy(&upstream, "POST tools/call", 1, move || after(429, value));
        shim.echo("made");
        let waited = seen.look(|seen| seen[1] - seen[0]);
        assert!(waited >= Duration::from_millis(500), "{value}: {waited:?}");
        assert!(waited < Duration::from_millis(1500), "{value}: {waited:?}");
    }
}

#[test]
fn three_refusals_are_an_error_that_says_when_to_come_back() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    busy(&upstream, "POST tools/call", 9, || after(429, "1"));
    let error = our_error(&shim.call("echo", "{}"), 1);
    assert_eq!(error["data"]["httpStatus"], 429, "{error}");
    assert!(error["data"].get("maybeExecuted").is_none(), "{error}");
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains("429"), "{message}");
    assert!(
        message.contains("too many requests; try again in 1 s"),
        "{message}"
    );
    assert_eq!(upstream.count("POST tools/call"), 3);
}

#[test]
fn a_server_that_wants_a_long_pause_is_not_asked_again_before() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    for (nth, status, value, advice) in [
        (1, 429, "31", "requests; try again in 31 s"),
        (2, 503, "99999999999999999999", "try again later"),
    ] {
        upstream.forget_requests();
        busy(&upstream, "POST tools/call", 9, move || {
            after(status, value)
        });
        let error = our_error(&shim.call("echo", "{}"), nth);
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains(advice), "{message}");
        assert_eq!(upstream.count("POST tools/call"), 1);
    }
}

#[test]
fn the_servers_own_words_about_its_load_are_passed_on() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    busy(&upstream, "POST tools/call", 9, || {
        let body = r#"{"jsonrpc":"2.0","error":{"code":-32005,"message":"slow down"},"id":null}"#;
        Reply::json(429, body)
    });
    let answer = shim.call("echo", "{}");
    assert_eq!(answer["error"]["code"], -32005, "{answer}");
    assert_eq!(upstream.count("POST tools/call"), 3);
}

#[test]
fn a_call_that_waits_delays_nobody_and_ends_when_cancelled() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    upstream.script(|request| {
        let waits = request.text().contains("waits");
        (waits && label(request) == "POST tools/call").then(|| after(429, "30"))
    });
    let id = shim.begin_call("echo", r#"{"message":"waits"}"#);
    upstream.wait_for("POST tools/call", 1);
    let begin = Instant::now();
    for nth in 0..5 {
        shim.echo(&format!("{nth}"));
    }
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "{:?}",
        begin.elapsed()
    );
    shim.send(&format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
    ));
    upstream.wait_for("POST notifications/cancelled", 1);
    shim.echo("goes on");
    assert_eq!(shim.finish(), 0);
    upstream.wait_for("DELETE", 1);
    assert_eq!(upstream.count("POST tools/call"), 7);
}

#[test]
fn a_call_that_is_cancelled_while_it_waits_is_not_made() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    busy(&upstream, "POST tools/call", 2, || after(429, "1"));
    let id = shim.begin_call("echo", "{}");
    upstream.wait_for("POST tools/call", 1);
    shim.send(&format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
    ));
    upstream.wait_for("POST notifications/cancelled", 1);
    // Waits as long as the first would have, and a little later.
    shim.echo("made");
    assert_eq!(upstream.count("POST tools/call"), 3);
}

#[test]
fn a_call_that_waits_ends_with_its_shim() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    busy(&upstream, "POST tools/call", 9, || after(503, "20"));
    shim.begin_call("echo", "{}");
    upstream.wait_for("POST tools/call", 1);
    shim.signal(rustix::process::Signal::KILL);
    upstream.wait_for("DELETE", 1);
    assert_eq!(upstream.count("POST tools/call"), 1);
}

#[test]
fn notifications_keep_their_order_when_one_has_to_wait() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    busy(&upstream, "POST notifications/a", 2, || after(429, "0"));
    for name in ["a", "b", "c"] {
        shim.send(&format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/{name}"}}"#
        ));
    }
    shim.echo("overtakes");
    upstream.wait_for("POST notifications/c", 1);
    let mut labels = upstream.labels();
    labels.retain(|label| label.len() == "POST notifications/a".len());
    let order: String = labels
        .iter()
        .filter_map(|label| label.chars().last())
        .collect();
    assert_eq!(order, "aaabc");
    assert_eq!(shim.finish(), 0);
}

#[test]
fn what_the_client_answers_is_said_again_too() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    busy(&upstream, "POST response", 1, || after(503, "0"));
    let id = shim.begin_call("ask", r#"{"id":5,"method":"ping"}"#);
    let asked = shim.message();
    assert_eq!(asked["method"], "ping");
    shim.send(&format!(
        r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}"#,
        asked["id"]
    ));
    let answer = shim.message();
    assert_eq!(answer["id"], id);
    assert!(text_of(&answer).contains(r#""result":{}"#), "{answer}");
}

#[test]
fn initialized_is_said_again_before_anything_else() {
    let upstream = FakeUpstream::start();
    busy(&upstream, "POST notifications/initialized", 1, || {
        after(429, "0")
    });
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    // The fake complains of a call that comes too early.
    shim.echo("in order");
    assert_eq!(upstream.count("POST notifications/initialized"), 2);
}

#[test]
fn every_refusal_is_one_sentence_that_says_what_to_do() {
    type Case = (u16, fn() -> Reply, &'static str);
    let cases: [Case; 8] = [
        (413, || Reply::status(413), "send less"),
        (415, || Reply::status(415), "check the URL"),
        (405, || Reply::status(405), "check it"),
        (
            303,
            || hostile::redirect(303, "/elsewhere"),
            "check the URL",
        ),
        (300, || Reply::status(300), "check the URL"),
        (200, || hostile::html(200), "check the URL"),
        (400, || hostile::html(400), "a web page"),
        (502, || hostile::html(502), "try again"),
    ];
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    for (nth, (status, reply, advice)) in (1..).zip(cases) {
        busy(&upstream, "POST tools/call", 9, reply);
        let error = our_error(&shim.call("echo", "{}"), nth);
        assert_eq!(error["data"]["httpStatus"], status, "{error}");
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains(advice), "{message}");
        assert!(message.contains(&upstream.url()), "{message}");
    }
    assert_eq!(upstream.count("POST tools/call"), 8);
}

#[test]
fn what_opens_a_session_is_said_again_where_it_was_refused() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let initialized = "POST notifications/initialized";
    let refused = || Reply::status(401).with("WWW-Authenticate", "Bearer");
    busy(&upstream, initialized, 1, refused);
    let header = "Authorization: Bearer expired";
    let mut shim = attached(&home, &[&upstream.url(), "--header", header]);
    // Refused too, if it has waited for that.
    shim.call("echo", r#"{"message":"x"}"#);
    shim.echo("now it is initialized");
    let labels = upstream.labels();
    let calls = labels.iter().filter(|label| **label != "GET");
    let first: Vec<_> = calls.take(4).collect();
    assert_eq!(
        first,
        [
            "POST initialize",
            initialized,
            initialized,
            "POST tools/call"
        ]
    );
}
