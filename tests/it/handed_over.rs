//! What the server goes on saying about one client, or goes on thinking, does not
//! concern the next one in the session.

use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::shim::{INITIALIZE, TestShim};
use mcp_remote_tests::upstream::{FakeUpstream, Reply, Rpc};

use crate::support::{attached, one_shot};

/// Waits until nobody has a session; returns how many there are for the next.
fn idle(home: &TestHome) -> u32 {
    mcp_remote_tests::rpc::Rpc::connect(home).watch_until(|status| {
        let server = status.servers.first()?;
        (server.sessions_leased == 0).then_some(server.sessions_idle)
    })
}

fn with_roots(home: &TestHome, upstream: &FakeUpstream, roots: &str) -> TestShim {
    let mut shim = home.shim(&[&upstream.url()]);
    let capabilities = format!(r#""capabilities":{{"roots":{roots}}}"#);
    let initialize = INITIALIZE.replace(r#""capabilities":{}"#, &capabilities);
    let answer = shim.handshake_with(&initialize);
    assert!(answer["result"].is_object(), "{answer}");
    shim
}

/// Asks for the client's roots, which it has.
fn ask_for_roots(shim: &mut TestShim, upstream: &FakeUpstream) {
    upstream.wait_for_streams(1);
    upstream.push(r#"{"jsonrpc":"2.0","id":"roots?","method":"roots/list"}"#);
    let asked = Rpc::parse(shim.line().as_bytes()).expect("a message");
    shim.send(&asked.result(r#"{"roots":[{"uri":"file:///home/one"}]}"#));
    upstream.wait_for_answer(r#""roots?""#);
}

#[test]
fn the_roots_of_the_next_client_are_asked_for_before_it_is_served() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let shim = with_roots(&home, &upstream, r#"{"listChanged":true}"#);
    assert_eq!(shim.finish(), 0);
    // Nobody has been asked yet.
    let mut shim = with_roots(&home, &upstream, r#"{"listChanged":true}"#);
    ask_for_roots(&mut shim, &upstream);
    assert_eq!(shim.finish(), 0);
    assert_eq!(idle(&home), 1);
    assert_eq!(upstream.count("POST notifications/roots/list_changed"), 0);
    upstream.forget_requests();
    // It takes its time to hear of it.
    upstream.script(|request| {
        let rpc = Rpc::parse(&request.body)?;
        (rpc.method() == "notifications/roots/list_changed").then(|| {
            mcp_remote_tests::upstream::hostile::pause(std::time::Duration::from_millis(100));
            Reply::status(202)
        })
    });
    let mut shim = with_roots(&home, &upstream, r#"{"listChanged":true}"#);
    shim.echo("mine");
    assert_eq!(
        upstream.labels(),
        ["POST notifications/roots/list_changed", "POST tools/call"]
    );
    assert_eq!(upstream.sessions_made(), 1);
}

#[test]
fn who_cannot_say_that_its_roots_are_others_gets_another_session() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = with_roots(&home, &upstream, "{}");
    ask_for_roots(&mut shim, &upstream);
    assert_eq!(shim.finish(), 0);
    assert_eq!(idle(&home), 0);
    upstream.wait_for("DELETE", 1);
    with_roots(&home, &upstream, "{}").echo("mine");
    assert_eq!(upstream.sessions_made(), 2);
}

#[test]
fn what_outlives_a_client_is_not_heard_by_the_next() {
    let task = |rpc: &Rpc| rpc.result(r#"{"task":{"taskId":"t","status":"working"}}"#);
    let elicitation = |rpc: &Rpc| {
        let error = r#"{"code":-32042,"message":"go","data":{"elicitations":[{"mode":"url","elicitationId":"e","url":"https://h","message":"go"}]}}"#;
        format!(r#"{{"jsonrpc":"2.0","id":{},"error":{error}}}"#, rpc.id())
    };
    let answers: [fn(&Rpc) -> String; 2] = [task, elicitation];
    for (params, answer) in [r#"{"name":"x","task":{}}"#, r#"{"name":"x"}"#]
        .into_iter()
        .zip(answers)
    {
        let upstream = FakeUpstream::scripted(move |request| {
            let rpc = Rpc::parse(&request.body)?;
            (rpc.param("/name") == "x").then(|| Reply::json(200, answer(&rpc)))
        });
        let home = TestHome::new();
        let mut shim = attached(&home, &[&upstream.url()]);
        shim.send(&format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#
        ));
        assert_eq!(shim.message()["id"], 1);
        assert_eq!(shim.finish(), 0);
        assert_eq!(idle(&home), 0, "{params}");
        one_shot(&home, &[&upstream.url()]);
        assert_eq!(upstream.sessions_made(), 2);
    }
}
