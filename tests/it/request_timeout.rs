//! `--request-timeout`: a request of which nothing is heard is given up.

use std::time::{Duration, Instant};

use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::shim::call_line;
use mcp_remote_tests::upstream::{FakeUpstream, Reply, Rpc, hostile, label, text_result};

use crate::support::{attached, our_error};

/// Sends `steps` notifications of progress, 200 ms apart, then the answer.
fn slow(rpc: Rpc, steps: u64) -> Reply {
    Reply::events(move |events| {
        let token = rpc.param("/_meta/progressToken");
        for step in 0..steps {
            hostile::pause(Duration::from_millis(200));
            events.message(format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":{step}}}}}"#
            ))?;
        }
        events.message(rpc.result(&text_result("slow")))
    })
}

fn slow_call(id: u64, steps: u64) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"slow","arguments":{{"steps":{steps}}},"_meta":{{"progressToken":"p"}}}}}}"#
    )
}

fn server() -> FakeUpstream {
    FakeUpstream::scripted(|request| {
        let rpc = Rpc::parse(&request.body)?;
        let steps = rpc.param("/arguments/steps").as_u64()?;
        Some(slow(rpc, steps))
    })
}

#[test]
fn a_silent_call_is_an_error_for_the_client_and_cancelled_at_the_server() {
    let upstream = server();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url(), "--request-timeout", "0.5"]);
    let begin = Instant::now();
    let id = shim.begin_call("hold", r#"{"gate":"never"}"#);
    upstream.wait_for_hold("never");
    // Others have their own time.
    shim.echo("meanwhile");
    let error = our_error(&shim.message(), id);
    let took = begin.elapsed();
    assert!((450..1500).contains(&took.as_millis()), "{took:?}");
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains("did not answer within 0.5 s"), "{message}");
    assert_eq!(error["data"]["maybeExecuted"], true, "{error}");
    let cancelled = upstream.wait_for("POST notifications/cancelled", 1);
    let call = upstream.wait_for("POST tools/call", 1);
    let call = Rpc::parse(&call.body).expect("a request");
    let cancelled = Rpc::parse(&cancelled.body).expect("a notification");
    assert_eq!(cancelled.param("/requestId").to_string(), call.id());
    // Its answer comes too late and is dropped.
    upstream.open_gate("never");
    shim.echo("goes on");
    assert_eq!(shim.finish(), 0);
}

#[test]
fn progress_prolongs_a_call() {
    let upstream = server();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url(), "--request-timeout", "0.6"]);
    shim.send(&slow_call(1, 8));
    for _ in 0..8 {
        assert_eq!(shim.message()["method"], "notifications/progress");
    }
    assert!(shim.message()["result"].is_object());
    assert_eq!(upstream.count("POST notifications/cancelled"), 0);
    assert_eq!(shim.finish(), 0);
}

#[test]
fn progress_prolongs_a_call_up_to_ten_times() {
    let upstream = server();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url(), "--request-timeout", "0.4"]);
    let begin = Instant::now();
    shim.send(&slow_call(1, 60));
    let answer = loop {
        let message = shim.message();
        if message["id"] == 1 {
            break message;
        }
    };
    let error = our_error(&answer, 1);
    let took = begin.elapsed();
    assert!((3900..6000).contains(&took.as_millis()), "{took:?}");
    assert!(
        error["message"].to_string().contains("within 4 s"),
        "{error}"
    );
    upstream.wait_for("POST notifications/cancelled", 1);
}

#[test]
fn initialize_has_its_own_time_and_is_never_cancelled() {
    let upstream = FakeUpstream::scripted(|request| {
        if label(request) == "POST initialize" {
            hostile::pause(Duration::from_secs(1));
        }
        None
    });
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url(), "--request-timeout", "0.2"]);
    shim.echo("works");
    assert_eq!(upstream.count("POST notifications/cancelled"), 0);
}

#[test]
fn the_timeout_is_the_shims_and_the_session_is_shared() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let url = upstream.url();
    let mut with = attached(&home, &[&url, "--request-timeout", "5"]);
    with.echo("one");
    assert_eq!(with.finish(), 0);
    let mut without = attached(&home, &[&url]);
    without.send(&call_line(1, "hold", r#"{"gate":"slow"}"#));
    upstream.wait_for_hold("slow");
    upstream.open_gate("slow");
    assert!(without.message()["result"].is_object());
    assert_eq!(upstream.sessions_made(), 1);
}
