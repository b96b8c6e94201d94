//! Lists of a warm session are answered from memory while they are certain, and
//! never otherwise.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use mcp_remote_tests::authorization_server::{self, FakeAuthorizationServer};
use mcp_remote_tests::browser::Browser;
use mcp_remote_tests::daemon::TestDaemon;
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::rpc::Rpc as Daemon;
use mcp_remote_tests::shim::TestShim;
use mcp_remote_tests::upstream::{Config, FakeUpstream, Kind, Refusal, Replies, Reply, Rpc, label};
use serde_json::Value;

use crate::support::attached;

const LISTS: [(&str, &str); 4] = [
    ("tools/list", "tools"),
    ("prompts/list", "prompts"),
    ("resources/list", "resources"),
    ("resources/templates/list", "resources"),
];

const DECLARES: &str = r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true},"prompts":{"listChanged":true},"resources":{"listChanged":true}},"serverInfo":{"name":"fake-upstream","version":"1"}}"#;

const CHANGED: &str = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;

/// A server that says when any of its lists changes.
fn declaring(config: Config) -> FakeUpstream {
    let upstream = FakeUpstream::with(config);
    upstream.answer("initialize", DECLARES);
    for (method, what) in LISTS {
        upstream.answer(method, &result(what, "first"));
    }
    upstream
}

fn result(what: &str, name: &str) -> String {
    format!(r#"{{ "{what}":[{{"name":"{name}","n":9007199254740993, "é":"\u00e9"}}]}}"#)
}

/// Asks for a list; returns the line of the answer.
fn ask(shim: &mut TestShim, id: &str, method: &str, params: &str) -> String {
    shim.send(&format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}"{params}}}"#
    ));
    shim.line()
}

fn tools(shim: &mut TestShim) -> String {
    let line = ask(shim, "\"t\"", "tools/list", "");
    let answer: Value = serde_json::from_str(&line).expect("JSON");
    let name = answer.pointer("/result/tools/0/name");
    let name = name.and_then(Value::as_str).map(str::to_owned);
    name.unwrap_or_else(|| panic!("no tool in {line}"))
}

/// Asks until the answer comes from memory: the stream may be opened a moment
/// after its request has arrived.
fn until_kept(upstream: &FakeUpstream, shim: &mut TestShim) {
    upstream.wait_for_streams(1);
    for _ in 0..200 {
        let before = upstream.count("POST tools/list");
        tools(shim);
        if upstream.count("POST tools/list") == before {
            return;
        }
    }
    panic!("the list is asked for again and again");
}

#[test]
fn a_certain_list_is_asked_for_once_and_comes_byte_for_byte() {
    for replies in [Replies::Json, Replies::Events] {
        let upstream = declaring(Config {
            replies,
            ..Config::default()
        });
        let home = TestHome::new();
        let mut shim = attached(&home, &[&upstream.url()]);
        until_kept(&upstream, &mut shim);
        upstream.forget_requests();
        for (method, what) in LISTS {
            let first = ask(&mut shim, "7", method, "");
            let again = ask(&mut shim, "\"x y\"", method, r#","params":{}"#);
            let token = r#","params":{"_meta":{"progressToken":1}}"#;
            let third = ask(&mut shim, "8", method, token);
            assert!(first.contains(&result(what, "first")), "{first}");
            assert_eq!(again, first.replace("\"id\":7", "\"id\":\"x y\""));
            assert_eq!(third, first.replace("\"id\":7", "\"id\":8"));
            let asked = upstream.count(&format!("POST {method}"));
            assert_eq!(asked, usize::from(method != "tools/list"), "{method}");
        }
        assert_eq!(shim.finish(), 0);
        // Another client of the same kind, in the same session.
        let mut next = attached(&home, &[&upstream.url()]);
        upstream.forget_requests();
        assert_eq!(tools(&mut next), "first");
        assert!(upstream.labels().is_empty(), "{:?}", upstream.labels());
    }
}

#[test]
fn a_change_that_is_announced_is_asked_for() {
    let config = [Kind::StreamableHttp, Kind::HttpSse(405)].map(|kind| Config {
        kind,
        ..Config::default()
    });
    for config in config {
        let upstream = declaring(config);
        let home = TestHome::new();
        let mut shim = attached(&home, &[&upstream.url()]);
        until_kept(&upstream, &mut shim);
        upstream.answer("tools/list", &result("tools", "second"));
        assert_eq!(tools(&mut shim), "first", "nothing was announced");
        upstream.push(CHANGED);
        assert_eq!(shim.line(), CHANGED);
        assert_eq!(tools(&mut shim), "second");
        // Of something else.
        upstream.forget_requests();
        let other = CHANGED.replace("tools", "prompts");
        upstream.push(&other);
        assert_eq!(shim.line(), other);
        assert_eq!(tools(&mut shim), "second");
        assert_eq!(upstream.count("POST tools/list"), 0);
    }
}

#[test]
fn a_change_announced_beside_an_answer_counts_too() {
    let upstream = declaring(Config::default());
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    until_kept(&upstream, &mut shim);
    upstream.answer("tools/list", &result("tools", "second"));
    let message = Value::from(CHANGED);
    shim.begin_call("notify", &format!(r#"{{"message":{message}}}"#));
    assert_eq!(shim.line(), CHANGED);
    assert!(shim.message()["result"].is_object());
    assert_eq!(tools(&mut shim), "second");
}

#[test]
fn a_change_while_the_list_is_under_way_is_not_missed() {
    let upstream = declaring(Config {
        replies: Replies::Events,
        ..Config::default()
    });
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    until_kept(&upstream, &mut shim);
    upstream.push(CHANGED);
    assert_eq!(shim.line(), CHANGED);
    // The announcement comes first, then the list as it was before.
    upstream.script(|request| {
        let rpc = Rpc::parse(&request.body).filter(|rpc| rpc.method() == "tools/list")?;
        let old = rpc.result(&result("tools", "old"));
        Some(Reply::events(move |events| {
            events.message(CHANGED)?;
            events.message(&old)
        }))
    });
    shim.send(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#);
    assert_eq!(shim.line(), CHANGED);
    assert!(shim.line().contains("old"));
    upstream.script(|_| None);
    assert_eq!(tools(&mut shim), "first");
}

#[test]
fn nothing_is_kept_over_a_gap_in_the_stream() {
    let upstream = declaring(Config::default());
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    until_kept(&upstream, &mut shim);
    upstream.forget_requests();
    upstream.cut_streams();
    // By then the end of the old one has been seen.
    upstream.wait_for("GET", 1);
    upstream.answer("tools/list", &result("tools", "second"));
    assert_eq!(tools(&mut shim), "second");
    until_kept(&upstream, &mut shim);
}

#[test]
fn a_session_that_is_opened_anew_has_no_lists() {
    let upstream = declaring(Config::default());
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    until_kept(&upstream, &mut shim);
    upstream.answer("tools/list", &result("tools", "second"));
    upstream.forget_sessions(Refusal::NotFound);
    shim.echo("opens it again");
    assert_eq!(tools(&mut shim), "second");
    assert_eq!(upstream.sessions_made(), 2);
}

#[test]
fn what_is_not_certain_is_asked_each_time() {
    let silent = r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{},"prompts":{"listChanged":true}},"serverInfo":{"name":"fake-upstream","version":"1"}}"#;
    let cases = [
        ("does not declare it", Config::default(), silent, "certain"),
        (
            "has no stream",
            Config {
                get_stream: false,
                ..Config::default()
            },
            DECLARES,
            "certain",
        ),
        (
            "keeps no sessions",
            Config {
                sessions: false,
                ..Config::default()
            },
            DECLARES,
            "certain",
        ),
        ("is never kept", Config::default(), DECLARES, "never"),
    ];
    for (case, config, initialize, flag) in cases {
        let has_stream = config.get_stream;
        let upstream = declaring(config);
        upstream.answer("initialize", initialize);
        let home = TestHome::new();
        let mut shim = attached(&home, &[&upstream.url(), "--cache-lists", flag]);
        shim.echo("x");
        if has_stream {
            upstream.wait_for_streams(1);
        }
        for _ in 0..5 {
            tools(&mut shim);
        }
        assert_eq!(upstream.count("POST tools/list"), 5, "{case}");
    }
}

#[test]
fn seconds_keep_what_is_not_certain_until_a_change_is_announced() {
    let upstream = FakeUpstream::with(Config::default());
    upstream.answer("tools/list", &result("tools", "first"));
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url(), "--cache-lists=3600"]);
    for _ in 0..5 {
        assert_eq!(tools(&mut shim), "first");
    }
    assert_eq!(upstream.count("POST tools/list"), 1);
    upstream.push(CHANGED);
    assert_eq!(shim.line(), CHANGED);
    tools(&mut shim);
    assert_eq!(upstream.count("POST tools/list"), 2);
    assert_eq!(shim.finish(), 0);
    let mut brief = attached(&home, &[&upstream.url(), "--cache-lists=0.000001"]);
    for _ in 0..3 {
        tools(&mut brief);
    }
    assert_eq!(upstream.count("POST tools/list"), 5);
}

#[test]
fn pages_errors_and_unknown_metadata_are_told_apart() {
    let upstream = declaring(Config::default());
    upstream.script(|request| {
        let rpc = Rpc::parse(&request.body).filter(|rpc| rpc.method() == "prompts/list")?;
        let cursor = rpc.param("/cursor");
        Some(Reply::json(
            200,
            match cursor.as_str() {
                Some("broken") => rpc.error(-32602, "no such page"),
                Some(_) => rpc.result(r#"{"prompts":[],"of":"c"}"#),
                None => rpc.result(r#"{"prompts":[],"nextCursor":"c","of":null}"#),
            },
        ))
    });
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    until_kept(&upstream, &mut shim);
    upstream.forget_requests();
    let mut page = |params: &str| ask(&mut shim, "1", "prompts/list", params);
    for _ in 0..3 {
        assert!(page("").contains(r#""of":null"#));
        assert!(page(r#","params":{"cursor":"c"}"#).contains(r#""of":"c""#));
        page(r#","params":{"_meta":{"user":"me"}}"#);
    }
    // Two pages once, what may matter each time.
    assert_eq!(upstream.count("POST prompts/list"), 2 + 3);
    for _ in 0..3 {
        assert!(page(r#","params":{"cursor":"broken"}"#).contains("no such page"));
    }
    assert_eq!(upstream.count("POST prompts/list"), 2 + 3 + 3);
}

/// Answers with two pages of tools; a cursor is good until the first page has been
/// asked for again, and `strict`: once. Errors have this HTTP status.
fn with_cursors(upstream: &FakeUpstream, status: u16, strict: bool) {
    let cursor = AtomicU64::new(0);
    upstream.script(move |request| {
        let rpc = Rpc::parse(&request.body).filter(|rpc| rpc.method() == "tools/list")?;
        let given = rpc.param("/cursor");
        if given.is_null() {
            let next = cursor.fetch_add(1, Relaxed) + 1;
            let page = format!(r#"{{"tools":[{{"name":"one"}}],"nextCursor":"{next}"}}"#);
            return Some(Reply::json(200, rpc.result(&page)));
        }
        let good = given == cursor.load(Relaxed).to_string().as_str();
        if strict {
            cursor.fetch_add(1, Relaxed);
        }
        Some(match good {
            true => Reply::json(200, rpc.result(r#"{"tools":[{"name":"two"}]}"#)),
            false => Reply::json(status, rpc.error(-32602, "cursor expired")),
        })
    });
}

#[test]
fn a_page_is_answered_while_all_that_it_leads_to_is_here() {
    let upstream = declaring(Config::default());
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    until_kept(&upstream, &mut shim);
    // Whoever asks first takes the first page alone; then its cursor is used up.
    with_cursors(&upstream, 200, true);
    upstream.push(CHANGED);
    assert_eq!(shim.line(), CHANGED);
    upstream.forget_requests();
    let next = |line: &str| {
        let answer: Value = serde_json::from_str(line).expect("JSON");
        let cursor = answer["result"]["nextCursor"].clone();
        format!(r#","params":{{"cursor":{cursor}}}"#)
    };
    ask(&mut shim, "1", "tools/list", "");
    let first = ask(&mut shim, "2", "tools/list", "");
    let second = ask(&mut shim, "3", "tools/list", &next(&first));
    assert!(second.contains("two"), "{second}");
    for _ in 0..3 {
        let first = ask(&mut shim, "4", "tools/list", "");
        assert!(ask(&mut shim, "5", "tools/list", &next(&first)).contains("two"));
    }
    assert_eq!(upstream.count("POST tools/list"), 3);
}

#[test]
fn pages_are_forgotten_when_a_cursor_is_good_no_more() {
    for status in [200, 400] {
        let upstream = declaring(Config::default());
        let home = TestHome::new();
        let mut shim = attached(&home, &[&upstream.url()]);
        until_kept(&upstream, &mut shim);
        with_cursors(&upstream, status, false);
        upstream.push(CHANGED);
        assert_eq!(shim.line(), CHANGED);
        upstream.forget_requests();
        let page = r#","params":{"cursor":"1"}"#;
        ask(&mut shim, "1", "tools/list", "");
        ask(&mut shim, "2", "tools/list", page);
        ask(&mut shim, "3", "tools/list", "");
        assert_eq!(upstream.count("POST tools/list"), 2, "both are here");
        let error = ask(&mut shim, "4", "tools/list", r#","params":{"cursor":"0"}"#);
        assert!(error.contains("cursor expired"), "{error}");
        let first = ask(&mut shim, "5", "tools/list", "");
        assert!(first.contains(r#""nextCursor":"2""#), "{first}");
    }
}

#[test]
fn clients_that_differ_have_lists_of_their_own() {
    let upstream = declaring(Config::default());
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    until_kept(&upstream, &mut shim);
    assert_eq!(shim.finish(), 0);
    upstream.answer("tools/list", &result("tools", "second"));
    let mut other = home.shim(&[&upstream.url()]);
    other.handshake_with(r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"roots":{}},"clientInfo":{"name":"tests","version":"1"}}}"#);
    assert_eq!(tools(&mut other), "second");
    let mut with_header = attached(&home, &[&upstream.url(), "--header", "X-User: other"]);
    assert_eq!(tools(&mut with_header), "second");
}

#[test]
fn status_counts_the_tools_of_whole_lists() {
    let upstream = declaring(Config::default());
    upstream.script(|request| {
        let rpc = Rpc::parse(&request.body).filter(|rpc| rpc.method() == "tools/list")?;
        let result = match rpc.param("/cursor").as_str() {
            None => r#"{"tools":[{"name":"a"},{"name":"b"}],"nextCursor":"2"}"#,
            Some(_) => r#"{"tools":[{"name":"c"}]}"#,
        };
        Some(Reply::json(200, rpc.result(result)))
    });
    let home = TestHome::new();
    let _daemon = TestDaemon::start(&home, &[]);
    let mut shim = attached(&home, &[&upstream.url()]);
    let daemon = Daemon::connect(&home);
    let known = || daemon.status().expect("status").servers[0].tools_known;
    assert_eq!(known(), None);
    ask(&mut shim, "1", "tools/list", "");
    assert_eq!(known(), None, "there is another page");
    ask(&mut shim, "2", "tools/list", r#","params":{"cursor":"2"}"#);
    assert_eq!(known(), Some(3));
    assert!(
        upstream
            .requests()
            .iter()
            .any(|one| label(one) == "POST tools/list")
    );
}

#[test]
fn another_token_may_show_another_list() {
    let server = FakeAuthorizationServer::with(authorization_server::Config::default());
    let upstream = declaring(Config::default());
    server.protect(&upstream);
    let mut home = TestHome::new();
    let _browser = Browser::agreeing(&mut home);
    let mut shim = attached(&home, &[&upstream.url()]);
    shim.echo("signed in");
    let changes: [fn(&FakeAuthorizationServer); 2] = [
        FakeAuthorizationServer::expire_access_tokens,
        FakeAuthorizationServer::revoke_all,
    ];
    for change in changes {
        until_kept(&upstream, &mut shim);
        let asked = upstream.count("POST tools/list");
        change(&server);
        shim.echo("with another token");
        tools(&mut shim);
        assert_eq!(upstream.count("POST tools/list"), asked + 1);
    }
}
