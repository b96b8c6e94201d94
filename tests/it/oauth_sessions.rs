//! Every request of a session survives an expired token: what ends a session, what
//! restores one, what listens, on either transport, and in a session that has
//! outlived its daemon. However many meet it, the token is renewed once.

use mcp_remote_tests::authorization_server::{Config, FakeAuthorizationServer};
use mcp_remote_tests::browser::Browser;
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::monitor::Monitor;
use mcp_remote_tests::shim::{TestShim, text_of};
use mcp_remote_tests::upstream::{
    self, FakeUpstream, Kind, Refusal, Reply, Rpc, hostile, text_result,
};

use crate::support::{attached, our_error};

struct Scene {
    server: FakeAuthorizationServer,
    upstream: FakeUpstream,
    home: TestHome,
    browser: Browser,
}

impl Scene {
    /// Somebody is signed in.
    fn new(config: upstream::Config) -> Self {
        let server = FakeAuthorizationServer::with(Config::default());
        let upstream = FakeUpstream::with(config);
        server.protect(&upstream);
        let mut home = TestHome::new();
        let browser = Browser::agreeing(&mut home);
        let scene = Self {
            server,
            upstream,
            home,
            browser,
        };
        let mut shim = scene.attach();
        shim.echo("signed in");
        assert_eq!(shim.finish(), 0);
        scene
    }

    fn attach(&self) -> TestShim {
        attached(&self.home, &[&self.upstream.url()])
    }

    fn attach_many(&self, count: usize) -> Vec<TestShim> {
        let mut shims: Vec<TestShim> = (0..count).map(|_| self.attach()).collect();
        for shim in &mut shims {
            shim.echo("before");
        }
        shims
    }

    #[track_caller]
    fn renewed(&self, times: usize) {
        let labels = self.server.labels();
        assert_eq!(self.server.count("token refresh"), times, "{labels:?}");
        assert_eq!(self.browser.visited().len(), 1, "nobody signed in again");
    }
}

fn call_all(shims: &mut [TestShim]) {
    for shim in &mut *shims {
        shim.begin_call("echo", r#"{"message":"after"}"#);
    }
    for shim in shims {
        assert_eq!(text_of(&shim.message()), "after", "{}", shim.stderr());
    }
}

fn http_sse() -> upstream::Config {
    upstream::Config {
        kind: Kind::HttpSse(405),
        ..upstream::Config::default()
    }
}

#[test]
fn fifty_clients_of_an_old_transport_renew_an_expired_token_once() {
    let scene = Scene::new(http_sse());
    let mut shims = scene.attach_many(50);
    scene.server.expire_access_tokens();
    call_all(&mut shims);
    scene.renewed(1);
}

#[test]
fn fifty_clients_of_an_old_transport_cause_one_sign_in() {
    let scene = Scene::new(http_sse());
    let mut shims = scene.attach_many(50);
    scene.server.revoke_all();
    call_all(&mut shims);
    assert_eq!(scene.server.count("authorize"), 2);
    assert_eq!(scene.browser.visited().len(), 2, "one tab");
}

#[test]
fn fifty_sessions_that_outlive_their_daemon_renew_an_expired_token_once() {
    let scene = Scene::new(upstream::Config::default());
    let mut shims = scene.attach_many(50);
    let made = scene.upstream.sessions_made();
    scene.home.kill_daemon();
    scene.server.expire_access_tokens();
    call_all(&mut shims);
    scene.renewed(1);
    assert_eq!(scene.upstream.sessions_made(), made, "they go on");
}

#[test]
fn fifty_listening_streams_renew_an_expired_token_once() {
    let scene = Scene::new(upstream::Config::default());
    let shims = scene.attach_many(50);
    scene.upstream.wait_for_streams(50);
    scene.server.expire_access_tokens();
    scene.upstream.cut_streams();
    // The first ends count themselves out, so that 50 more have to come.
    scene.upstream.wait_for("GET", 100);
    scene.upstream.wait_for_streams(50);
    scene
        .upstream
        .push(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
    for shim in &shims {
        let message = shim.message();
        assert_eq!(message["method"], "notifications/tools/list_changed");
    }
    scene.renewed(1);
}

#[test]
fn a_session_is_ended_at_the_server_with_another_token() {
    let scene = Scene::new(upstream::Config::default());
    scene.server.expire_before("DELETE", 1);
    assert_eq!(scene.upstream.sessions_alive(), 1);
    let mut shim = attached(&scene.home, &[&scene.upstream.url(), "--reuse", "never"]);
    shim.echo("mine");
    assert_eq!(shim.finish(), 0);
    scene.upstream.wait_for("DELETE", 2);
    scene.upstream.wait_for_sessions(1);
    scene.renewed(1);
}

#[test]
fn a_session_is_restored_with_another_token() {
    let scene = Scene::new(upstream::Config::default());
    let mut shim = scene.attach();
    shim.send(
        r#"{"jsonrpc":"2.0","id":"s","method":"resources/subscribe","params":{"uri":"file:///a"}}"#,
    );
    assert!(shim.message()["result"].is_object());
    scene.upstream.forget_requests();
    scene.upstream.forget_sessions(Refusal::NotFound);
    scene.server.expire_before("POST resources/subscribe", 1);
    shim.echo("again");
    // Refused, and said again with another token.
    assert_eq!(scene.upstream.count("POST resources/subscribe"), 2);
    scene.renewed(1);
}

#[test]
fn an_answer_that_broke_off_is_read_on_with_another_token() {
    let scene = Scene::new(upstream::Config::default());
    let call: Monitor<Option<Rpc>> = Monitor::default();
    scene
        .server
        .protect_scripted(&scene.upstream, move |request| {
            let rpc = Rpc::parse(&request.body).filter(|rpc| rpc.param("/name") == "broken");
            if rpc.is_some() {
                call.update(|call| *call = rpc);
                let primed = b"id: p-0\nretry: 1\ndata:\n\n".to_vec();
                return Some(hostile::pieces(vec![primed]));
            }
            request.header("Last-Event-ID")?;
            let answer = call.look(|rpc| Some(rpc.as_ref()?.result(&text_result("worked"))))?;
            Some(Reply::events(move |events| {
                events.message(answer.as_bytes())
            }))
        });
    let mut shim = scene.attach();
    shim.echo("before");
    scene.upstream.wait_for_streams(1);
    scene.server.expire_before("GET", 1);
    assert_eq!(text_of(&shim.call("broken", "{}")), "worked");
    scene.renewed(1);
}

#[test]
fn what_may_have_been_executed_says_so_when_its_token_is_refused_afterwards() {
    let scene = Scene::new(upstream::Config::default());
    let mut shim = scene.attach();
    shim.echo("before");
    // The first is handled and its answer lost; the next one meets a 401, for which
    // nobody can be asked.
    scene.server.protect_scripted(&scene.upstream, |request| {
        (upstream::label(request) == "POST tools/list").then(|| Reply::status(500))
    });
    scene.server.expire_before("POST tools/list", 2);
    scene.server.script(|label, _| {
        let gone = || Reply::json(400, r#"{"error":"invalid_grant"}"#);
        match label {
            "token refresh" => Some(gone()),
            label if label.starts_with('/') => Some(Reply::status(404)),
            _ => None,
        }
    });
    shim.send(r#"{"jsonrpc":"2.0","id":"l","method":"tools/list"}"#);
    let error = our_error(&shim.message(), "l");
    assert_eq!(error["data"]["httpStatus"], 401, "{error}");
    assert_eq!(error["data"]["maybeExecuted"], true, "{error}");
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains("may have been executed"), "{message}");
    assert_eq!(scene.upstream.count("POST tools/list"), 2);
}
