//! What a client has switched on outlives its daemon: it stays in force in the
//! session that goes on, and is said again in one that has to be made anew.

use std::time::Duration;

use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::shim::TestShim;
use mcp_remote_tests::upstream::{Config, FakeUpstream, Kind, Refusal, Rpc};

use crate::sharing::two;
use crate::support::attached;

fn subscribe(shim: &mut TestShim, uri: &str) {
    ask(
        shim,
        "resources/subscribe",
        &format!(r#"{{"uri":"{uri}"}}"#),
    );
}

fn ask(shim: &mut TestShim, method: &str, params: &str) {
    shim.send(&format!(
        r#"{{"jsonrpc":"2.0","id":"a","method":"{method}","params":{params}}}"#
    ));
    let answer = shim.message();
    assert!(answer["result"].is_object(), "{answer}");
}

fn updated(uri: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{"uri":"{uri}"}}}}"#
    )
}

/// Returns the values at `pointer` of the requests for a method, sorted.
fn params(upstream: &FakeUpstream, method: &str, pointer: &str) -> Vec<String> {
    let requests = upstream.requests();
    let asked = requests
        .iter()
        .filter_map(|request| Rpc::parse(&request.body))
        .filter(|rpc| rpc.method() == method)
        .map(|rpc| rpc.param(pointer).as_str().unwrap_or_default().to_owned());
    let mut asked: Vec<_> = asked.collect();
    asked.sort();
    asked
}

/// Switches on, and off again, under one daemon.
fn switch(shim: &mut TestShim) {
    for uri in ["a:1", "a:2", "a:3"] {
        subscribe(shim, uri);
    }
    ask(shim, "resources/unsubscribe", r#"{"uri":"a:2"}"#);
    for level in ["debug", "error"] {
        ask(
            shim,
            "logging/setLevel",
            &format!(r#"{{"level":"{level}"}}"#),
        );
    }
}

#[test]
fn a_session_that_is_made_anew_under_the_next_daemon_is_told_what_was_on() {
    let http_sse = Config {
        kind: Kind::HttpSse(405),
        ..Config::default()
    };
    for (upstream, forgets) in [
        (FakeUpstream::with(http_sse), false),
        (FakeUpstream::start(), true),
    ] {
        let home = TestHome::new();
        let mut shim = attached(&home, &[&upstream.url()]);
        switch(&mut shim);
        upstream.forget_requests();
        if forgets {
            upstream.forget_sessions(Refusal::NotFound);
        }
        home.kill_daemon();
        shim.echo("after");
        assert_eq!(
            params(&upstream, "resources/subscribe", "/uri"),
            ["a:1", "a:3"]
        );
        assert_eq!(params(&upstream, "logging/setLevel", "/level"), ["error"]);
        assert_eq!(upstream.sessions_made(), 2);
        // And under the one after that.
        if forgets {
            upstream.forget_sessions(Refusal::NotFound);
        }
        home.kill_daemon();
        shim.echo("again");
        assert_eq!(
            params(&upstream, "resources/subscribe", "/uri"),
            ["a:1", "a:1", "a:3", "a:3"]
        );
    }
}

#[test]
fn what_is_in_force_in_a_session_that_goes_on_is_not_said_again() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    switch(&mut shim);
    upstream.forget_requests();
    home.kill_daemon();
    shim.echo("after");
    let nothing: [String; 0] = [];
    assert_eq!(params(&upstream, "resources/subscribe", "/uri"), nothing);
    assert_eq!(params(&upstream, "logging/setLevel", "/level"), nothing);
    assert_eq!(shim.finish(), 0);
}

#[test]
fn members_of_one_session_have_their_own_again() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let [mut first, mut second] = two(&home, &upstream);
    subscribe(&mut first, "a:1");
    subscribe(&mut second, "a:1");
    subscribe(&mut second, "a:2");
    upstream.wait_for_streams(1);
    upstream.forget_requests();
    home.kill_daemon();
    first.echo("after");
    second.echo("after");
    upstream.wait_for("GET", 1);
    let hears = |shim: &TestShim, uri: &str| {
        // What goes out on the stream of the daemon that is gone is lost.
        let heard = (0..5).find_map(|_| {
            upstream.push(updated(uri));
            shim.line_within(Duration::from_secs(1))
        });
        assert_eq!(heard, Some(updated(uri)));
    };
    hears(&first, "a:1");
    assert_eq!(second.line(), updated("a:1"));
    hears(&second, "a:2");
    ask(&mut second, "resources/unsubscribe", r#"{"uri":"a:1"}"#);
    assert_eq!(
        upstream.count("POST resources/unsubscribe"),
        0,
        "the other still has it"
    );
    hears(&first, "a:1");
    second.echo("hears no more");
    assert_eq!(upstream.sessions_made(), 1);
}
