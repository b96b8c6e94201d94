//! A stream that ends before its answer is read on, and nothing is executed twice.

use std::sync::Arc;
use std::time::Instant;

use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::monitor::Monitor;
use mcp_remote_tests::shim::{TestShim, text_of};
use mcp_remote_tests::upstream::{
    Config, FakeUpstream, Refusal, Reply, Request, Rpc, hostile, label, text_result,
};

use crate::support::{attached, our_error};

const LAST_EVENT: &str = "Last-Event-ID";

/// Says whether this calls the tool `polled`.
fn polls(request: &Request) -> Option<Rpc> {
    let rpc = Rpc::parse(&request.body)?;
    (rpc.param("/name") == "polled").then_some(rpc)
}

fn answer(rpc: &Rpc) -> String {
    rpc.result(&text_result("worked"))
}

/// One event with an id.
fn event(id: &str, data: &str) -> Vec<u8> {
    format!("id: {id}\ndata: {data}\n\n").into()
}

/// Ends the connection in the middle of the body after these events.
fn broken_after(events: Vec<u8>) -> Reply {
    Reply::events(move |wire| {
        wire.raw(&events)?;
        Err(std::io::ErrorKind::BrokenPipe.into())
    })
}

/// Gives the tool `polled` an event stream that ends at once after `first`; `next`
/// says how its nth resumption (from 0) goes on.
fn polled(
    first: fn() -> Reply,
    next: impl Fn(usize, &Request, &Rpc) -> Reply + Send + Sync + 'static,
) -> FakeUpstream {
    let call: Monitor<(Option<Rpc>, usize)> = Monitor::default();
    FakeUpstream::scripted(move |request| {
        if let Some(rpc) = polls(request) {
            call.update(|call| call.0 = Some(rpc));
            return Some(first());
        }
        request.header(LAST_EVENT)?;
        call.update(|(rpc, resumptions)| {
            *resumptions += 1;
            Some(next(*resumptions - 1, request, rpc.as_ref()?))
        })
    })
}

fn primed() -> Reply {
    hostile::pieces(vec![b"id: p-0\nretry: 300\ndata:\n\n".to_vec()])
}

/// Gives each call of `polled` a stream that ends at once, whose events are called
/// after the call; its resumption brings the answer if the call asks for that.
fn polled_by_name() -> FakeUpstream {
    let calls: Monitor<Vec<Rpc>> = Monitor::default();
    FakeUpstream::scripted(move |request| {
        if let Some(rpc) = polls(request) {
            let first = format!("id: {}-0\nretry: 300\ndata:\n\n", rpc.id());
            calls.update(|calls| calls.push(rpc));
            return Some(hostile::pieces(vec![first.into()]));
        }
        let (name, nth) = request.header(LAST_EVENT)?.split_once('-')?;
        let next = format!("{name}-{}", nth.parse::<u64>().ok()? + 1);
        calls.look(|calls| {
            let rpc = calls.iter().find(|rpc| rpc.id() == name)?;
            let answered = rpc.param("/arguments/answered") == true;
            let data = if answered { answer(rpc) } else { String::new() };
            Some(hostile::pieces(vec![event(&next, &data)]))
        })
    })
}

/// How often the first call of `polled` has been resumed, after another one has
/// taken as long as the first would wait, and again.
fn resumptions_of_first(upstream: &FakeUpstream, shim: &mut TestShim) -> [usize; 2] {
    let request = upstream.wait_for("POST tools/call", 1);
    let first = Rpc::parse(&request.body).expect("a request");
    let name = format!("{}-", first.id());
    let mut counted = || {
        let response = shim.call("polled", r#"{"answered":true}"#);
        assert_eq!(text_of(&response), "worked");
        let cursors = cursors(upstream);
        cursors
            .iter()
            .filter(|cursor| cursor.starts_with(&name))
            .count()
    };
    [
        counted(),
        (0..3).map(|_| counted()).last().unwrap_or_default(),
    ]
}

/// The `Last-Event-ID` of each GET that had one.
fn cursors(upstream: &FakeUpstream) -> Vec<String> {
    let requests = upstream.requests();
    let cursors = requests
        .iter()
        .filter_map(|request| request.header(LAST_EVENT));
    cursors.map(str::to_owned).collect()
}

#[test]
fn a_stream_that_was_closed_is_resumed_when_the_server_said() {
    let closed: Arc<Monitor<Vec<Instant>>> = Arc::default();
    let times = closed.clone();
    let upstream = polled(primed, move |nth, _, rpc| {
        times.update(|times| times.push(Instant::now()));
        match nth {
            0..3 => hostile::pieces(vec![event(&format!("p-{}", nth + 1), "")]),
            _ => hostile::pieces(vec![event("p-4", &answer(rpc))]),
        }
    });
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    assert_eq!(text_of(&shim.call("polled", "{}")), "worked");
    assert_eq!(cursors(&upstream), ["p-0", "p-1", "p-2", "p-3"]);
    assert_eq!(upstream.count("POST tools/call"), 1);
    let times = closed.look(Vec::clone);
    for pair in times.windows(2) {
        let waited = (pair[1] - pair[0]).as_millis();
        assert!((250..=500).contains(&waited), "waited {waited} ms of 300");
    }
    shim.echo("goes on");
    assert_eq!(shim.finish(), 0);
}

#[test]
fn a_stream_that_broke_is_resumed_from_its_last_event() {
    let upstream = polled(
        || {
            broken_after(
                [
                    event("a", ""),
                    event("b", r#"{"jsonrpc":"2.0","method":"notifications/vendor"}"#),
                ]
                .concat(),
            )
        },
        |nth, _, rpc| match nth {
            0 => Reply::status(503),
            1 => broken_after(event("c", "")),
            _ => hostile::pieces(vec![
                event("d", r#"{"jsonrpc":"2.0","id":77,"method":"ping"}"#),
                event("e", &answer(rpc)),
            ]),
        },
    );
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    let id = shim.begin_call("polled", "{}");
    assert_eq!(shim.message()["method"], "notifications/vendor");
    let ping = shim.message();
    assert_eq!(ping["method"], "ping");
    shim.send(&format!(
        r#"{{"jsonrpc":"2.0","id":{},"result":{{"from":"the client"}}}}"#,
        ping["id"]
    ));
    let response = shim.message();
    assert_eq!(
        (text_of(&response), &response["id"]),
        ("worked".into(), &id.into())
    );
    assert_eq!(cursors(&upstream), ["b", "b", "c"]);
    assert!(upstream.wait_for_answer("77").contains("the client"));
    assert_eq!(upstream.count("POST tools/call"), 1);
    assert_eq!(shim.finish(), 0);
}

#[test]
fn each_stream_has_its_own_place() {
    let own: Monitor<usize> = Monitor::default();
    let call: Monitor<Option<Rpc>> = Monitor::default();
    let upstream = FakeUpstream::scripted(move |request| {
        if let Some(rpc) = polls(request) {
            call.update(|call| *call = Some(rpc));
            return Some(hostile::pieces(vec![event("call-1", "")]));
        }
        if request.method != "GET" {
            return None;
        }
        if request.header(LAST_EVENT) == Some("call-1") {
            return call.look(|call| {
                let rest = event("call-2", &answer(call.as_ref()?));
                Some(hostile::pieces(vec![rest]))
            });
        }
        let nth = own.update(|own| {
            *own += 1;
            *own
        });
        let message = format!(r#"{{"jsonrpc":"2.0","method":"notifications/own{nth}"}}"#);
        Some(hostile::pieces(vec![event(
            &format!("own-{nth}"),
            &message,
        )]))
    });
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    let id = shim.begin_call("polled", "{}");
    let messages: Vec<_> = (0..3).map(|_| shim.message()).collect();
    let answered = messages.iter().find(|message| message["id"] == id);
    assert_eq!(
        answered.map(text_of).as_deref(),
        Some("worked"),
        "{messages:?}"
    );
    upstream.wait_for("GET", 5);
    let cursors = cursors(&upstream);
    let of_call = cursors.iter().filter(|cursor| cursor.starts_with("call"));
    assert_eq!(of_call.collect::<Vec<_>>(), ["call-1"]);
    let of_own = cursors.iter().filter(|cursor| cursor.starts_with("own"));
    assert_eq!(of_own.take(2).collect::<Vec<_>>(), ["own-1", "own-2"]);
}

#[test]
fn a_session_that_is_gone_is_not_resumed_and_the_call_not_repeated() {
    // A bare 404 may only mean that there is no GET: the session is not given up.
    let refusals: [(usize, fn() -> Reply); 2] = [
        (1, || Reply::status(404)),
        (2, || {
            Reply::json(
                400,
                r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: No valid session ID provided"},"id":null}"#,
            )
        }),
    ];
    for (sessions, refusal) in refusals {
        let upstream = polled(primed, move |_, _, _| refusal());
        let home = TestHome::new();
        let mut shim = attached(&home, &[&upstream.url()]);
        let error = our_error(&shim.call("polled", "{}"), 1);
        assert_eq!(error["data"]["maybeExecuted"], true, "{error}");
        assert_eq!(upstream.count("POST tools/call"), 1);
        shim.echo("goes on");
        assert_eq!(upstream.sessions_made(), sessions);
        assert_eq!(shim.finish(), 0);
    }
}

#[test]
fn a_server_that_cannot_resume_is_an_error_that_says_so() {
    for status in [405, 400, 403] {
        let upstream = polled(primed, move |_, _, _| Reply::status(status));
        let home = TestHome::new();
        let mut shim = attached(&home, &[&upstream.url()]);
        let error = our_error(&shim.call("polled", "{}"), 1);
        assert_eq!(error["data"]["maybeExecuted"], true, "{error}");
        assert_eq!(upstream.count("POST tools/call"), 1);
        assert_eq!(cursors(&upstream).len(), 1);
        shim.echo("goes on");
        assert_eq!(upstream.sessions_made(), 1);
    }
}

#[test]
fn a_server_that_has_not_noticed_the_break_is_asked_again() {
    let upstream = polled(
        || broken_after(event("a", "")),
        |nth, _, rpc| match nth {
            0 => Reply::status(409),
            _ => hostile::pieces(vec![event("b", &answer(rpc))]),
        },
    );
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    assert_eq!(text_of(&shim.call("polled", "{}")), "worked");
    assert_eq!(upstream.count("POST tools/call"), 1);
}

#[test]
fn a_cancelled_call_is_not_resumed() {
    let upstream = polled_by_name();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    let id = shim.begin_call("polled", "{}");
    upstream.wait_for("POST tools/call", 1);
    shim.send(&format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
    ));
    upstream.wait_for("POST notifications/cancelled", 1);
    assert_eq!(resumptions_of_first(&upstream, &mut shim), [0, 0]);
    assert_eq!(shim.finish(), 0);
}

#[test]
fn a_session_that_another_call_finds_lost_is_not_waited_for() {
    let upstream = polled(
        || hostile::pieces(vec![b"id: p-0\nretry: 60000\ndata:\n\n".to_vec()]),
        |_, _, rpc| hostile::pieces(vec![event("p-1", &answer(rpc))]),
    );
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    let waiting = shim.begin_call("polled", "{}");
    upstream.wait_for("POST tools/call", 1);
    upstream.forget_sessions(Refusal::NotFound);
    let echo = shim.begin_call("echo", r#"{"message":"new"}"#);
    let answers = [shim.message(), shim.message()];
    let of = |id: u64| answers.iter().find(|answer| answer["id"] == id);
    let error = our_error(of(waiting).expect("answered"), waiting);
    assert_eq!(error["data"]["maybeExecuted"], true);
    assert_eq!(of(echo).map(text_of).as_deref(), Some("new"));
    assert_eq!(upstream.sessions_made(), 2);
    assert!(cursors(&upstream).is_empty());
}

#[test]
fn a_list_that_cannot_be_resumed_is_asked_for_again() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    let lists: Monitor<usize> = Monitor::default();
    upstream.script(move |request| {
        if label(request) == "POST tools/list" {
            let first = lists.update(|lists| {
                *lists += 1;
                *lists == 1
            });
            return first.then(primed);
        }
        request.header(LAST_EVENT).map(|_| Reply::status(404))
    });
    shim.send(r#"{"jsonrpc":"2.0","id":"l","method":"tools/list"}"#);
    let response = shim.message();
    assert_eq!(response["id"], "l");
    assert_eq!(response["result"]["tools"][0]["name"], "echo", "{response}");
    assert_eq!(upstream.count("POST tools/list"), 2);
    assert_eq!(upstream.sessions_made(), 1);
    assert_eq!(shim.finish(), 0);
}

#[test]
fn the_servers_own_stream_is_opened_again_when_it_said() {
    let times: Arc<Monitor<Vec<Instant>>> = Arc::default();
    let seen = times.clone();
    let upstream = FakeUpstream::with(Config {
        get_stream: false,
        ..Config::default()
    });
    upstream.script(move |request| {
        if request.method != "GET" {
            return None;
        }
        let nth = seen.update(|times| {
            times.push(Instant::now());
            times.len()
        });
        Some(match nth {
            1 => primed(),
            2 => hostile::pieces(vec![event(
                "p-1",
                r#"{"jsonrpc":"2.0","method":"notifications/own"}"#,
            )]),
            _ => Reply::status(405),
        })
    });
    let home = TestHome::new();
    let shim = attached(&home, &[&upstream.url()]);
    assert_eq!(shim.message()["method"], "notifications/own");
    upstream.wait_for("GET", 3);
    assert_eq!(cursors(&upstream), ["p-0", "p-1"]);
    for pair in times.look(Vec::clone).windows(2) {
        let waited = (pair[1] - pair[0]).as_millis();
        assert!((250..=500).contains(&waited), "waited {waited} ms of 300");
    }
    assert_eq!(shim.finish(), 0);
}

#[test]
fn an_answer_that_came_another_way_ends_the_waiting() {
    let upstream = polled_by_name();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    let id = shim.begin_call("polled", "{}");
    let request = upstream.wait_for("POST tools/call", 1);
    let rpc = Rpc::parse(&request.body).expect("a request");
    upstream.push(answer(&rpc));
    assert_eq!(shim.message()["id"], id);
    let name = format!("{}-", rpc.id());
    let cursors = cursors(&upstream);
    let before = cursors.iter().filter(|cursor| cursor.starts_with(&name));
    let most = before.count() + 1;
    // One that was waited for already may still begin.
    let [_, later] = resumptions_of_first(&upstream, &mut shim);
    assert!(later <= most, "the waiting went on");
    // A session in which nothing is left goes to the next shim.
    assert_eq!(shim.finish(), 0);
    attached(&home, &[&upstream.url()]).echo("next");
    assert_eq!(upstream.sessions_made(), 1);
}
