//! A daemon that is killed at any step of a refresh or a sign-in loses nothing that
//! the server still honours, and costs nobody a second tab.
//!
//! What the server has spent and whose answer was lost with the daemon is lost by
//! protocol: a rotated refresh token where reuse is not forgiven, a code that was
//! exchanged. Then exactly one sign-in follows.

use std::time::Instant;

use mcp_remote_tests::authorization_server::{Config, Dpop, FakeAuthorizationServer, Reuse};
use mcp_remote_tests::browser::{self, Browser, Page};
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::monitor::PATIENCE;
use mcp_remote_tests::ports;
use mcp_remote_tests::shim::{INITIALIZE, TestShim, conversation, text_of};
use mcp_remote_tests::upstream::{FakeUpstream, Reply};
use rustix::process::Signal;

use crate::support::{attached, one_shot};

/// A guarded server and a home. The port that sign-ins come back to is the home's
/// own: another test must not take it while its daemon is dead.
struct Scene {
    server: FakeAuthorizationServer,
    upstream: FakeUpstream,
    home: TestHome,
    browser: Browser,
    url: String,
    port: String,
}

impl Scene {
    /// Nobody is signed in; the person at the browser agrees, or is away.
    fn new(config: Config, agreeing: bool) -> Self {
        let server = FakeAuthorizationServer::with(config);
        let upstream = FakeUpstream::start();
        server.protect(&upstream);
        let mut home = TestHome::new();
        let browser = match agreeing {
            true => Browser::agreeing(&mut home),
            false => Browser::idle(&mut home),
        };
        Self {
            url: upstream.url(),
            server,
            upstream,
            home,
            browser,
            port: ports::free().to_string(),
        }
    }

    /// Somebody is signed in, and the token has expired without anybody knowing.
    fn expired(config: Config) -> Self {
        let scene = Self::new(config, true);
        let mut shim = attached(&scene.home, &scene.arguments());
        shim.echo("signed in");
        assert_eq!(shim.finish(), 0);
        scene.server.expire_access_tokens();
        scene
    }

    fn arguments(&self) -> [&str; 2] {
        [&self.url, &self.port]
    }

    /// Starts a client that needs a token: for `initialize` with a new daemon, for
    /// the call in any case.
    fn ask(&self) -> TestShim {
        let mut shim = self.home.shim(&self.arguments());
        shim.send_raw(conversation("asked").as_bytes());
        shim
    }

    /// The daemon and the client that waits for it die.
    fn kill(&self, shim: TestShim) {
        let pid = self.home.daemon_pid().expect("a daemon runs");
        shim.signal(Signal::KILL);
        drop(shim);
        mcp_remote_tests::process::kill_and_wait(pid);
        self.server.behave();
        self.server.lose_nothing();
    }

    /// The next command works; so many tabs were opened in all.
    #[track_caller]
    fn goes_on(&self, tabs: usize, what: &str) {
        one_shot(&self.home, &self.arguments());
        assert_eq!(self.browser.visited().len(), tabs, "{what}");
    }

    /// What the browser comes back with from the sign-in page.
    fn redirect(&self) -> String {
        let page = browser::get(&self.browser.visited()[0]).expect("it answers");
        page.header("location").expect("a redirect").to_owned()
    }
}

/// Comes back to this machine, as soon as somebody listens there.
#[track_caller]
fn come_back(redirect: &str) -> Page {
    let end = Instant::now() + PATIENCE;
    loop {
        match browser::get(redirect) {
            Ok(page) => return page,
            Err(error) => assert!(Instant::now() < end, "nobody listens: {error}"),
        }
    }
}

fn with_reuse(reuse: Reuse) -> Config {
    Config {
        reuse,
        ..Config::default()
    }
}

#[test]
fn before_a_refresh_is_asked_for() {
    let scene = Scene::expired(Config::default());
    // What the authorization server offers is not known to a new daemon.
    scene.home.kill_daemon();
    scene.server.script(|label, _| {
        label
            .contains("oauth-authorization-server")
            .then_some(Reply::Hang)
    });
    let shim = scene.ask();
    scene
        .server
        .wait_for("/.well-known/oauth-authorization-server", 2);
    scene.kill(shim);
    assert_eq!(scene.server.count("token refresh"), 0);
    scene.goes_on(1, "nothing had been asked for");
    assert_eq!(scene.server.count("token refresh"), 1);
}

#[test]
fn while_the_authorization_server_has_not_come_to_it() {
    let scene = Scene::expired(Config::default());
    scene
        .server
        .script(|label, _| (label == "token refresh").then_some(Reply::Hang));
    let shim = scene.ask();
    scene.server.wait_for("token refresh", 1);
    scene.kill(shim);
    scene.goes_on(1, "the refresh token was not spent");
}

#[test]
fn while_the_answer_to_a_refresh_is_on_its_way_from_a_server_that_forgives() {
    let scene = Scene::expired(with_reuse(Reuse::Grace));
    for _ in 0..3 {
        scene.server.lose_answers("token refresh");
        scene.server.expire_access_tokens();
        let shim = scene.ask();
        scene.server.wait_until_lost("token refresh");
        scene.kill(shim);
    }
    scene.goes_on(1, "the old refresh token is still honoured");
}

#[test]
fn while_the_answer_to_a_refresh_is_on_its_way_from_a_server_that_does_not() {
    let scene = Scene::expired(with_reuse(Reuse::Withdrawal));
    scene.server.lose_answers("token refresh");
    let shim = scene.ask();
    scene.server.wait_until_lost("token refresh");
    scene.kill(shim);
    let mut shim = attached(&scene.home, &scene.arguments());
    shim.echo("signed in again");
    assert_eq!(shim.finish(), 0);
    scene.goes_on(2, "one sign-in, since nobody could have kept the answer");
    assert_eq!(scene.server.count("token refresh"), 2, "it is tried once");
}

#[test]
fn when_the_answer_to_a_refresh_has_come_and_nobody_has_read_it() {
    let scene = Scene::expired(with_reuse(Reuse::Grace));
    let home = scene.home.daemon_pid().expect("a daemon runs");
    let shim = {
        let stopped = home;
        scene.server.script(move |label, _| {
            if label == "token refresh" {
                // The answer stays in the socket.
                mcp_remote_tests::process::send_signal(stopped, Signal::STOP);
            }
            None
        });
        scene.ask()
    };
    scene.server.wait_for("token refresh", 1);
    scene.kill(shim);
    scene.goes_on(1, "the old refresh token is still honoured");
}

#[test]
fn after_new_tokens_are_kept_and_before_they_are_used() {
    let scene = Scene::expired(Config::default());
    let tokens = scene.home.home().join(".mcp-auth/mcp-remote-d1");
    let find = || {
        let files = std::fs::read_dir(&tokens).expect("there is a folder");
        let mut paths = files.flatten().map(|entry| entry.path());
        // Room for the next ones is another file.
        let found = paths.find(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.ends_with("_tokens.json") && !name.starts_with('.')
        });
        std::fs::read(found.expect("there are tokens")).expect("they can be read")
    };
    let before = find();
    let shim = scene.ask();
    let end = Instant::now() + PATIENCE;
    while find() == before {
        assert!(Instant::now() < end, "they are renewed");
    }
    scene.kill(shim);
    scene.goes_on(1, "they were kept");
    assert_eq!(scene.server.count("token refresh"), 1);
}

#[test]
fn at_the_first_use_of_new_tokens() {
    let scene = Scene::expired(Config::default());
    scene.server.hold_uses();
    let shim = scene.ask();
    // The first went before, the second was refused.
    scene.upstream.wait_for("POST tools/call", 3);
    scene.kill(shim);
    scene.goes_on(1, "they were kept");
    assert_eq!(scene.server.count("token refresh"), 1);
}

#[test]
fn before_a_sign_in_has_a_page() {
    for step in ["/.well-known/oauth-authorization-server", "register"] {
        let scene = Scene::new(Config::default(), true);
        scene
            .server
            .script(move |label, _| (label == step).then_some(Reply::Hang));
        let shim = scene.ask();
        scene.server.wait_for(step, 1);
        scene.kill(shim);
        let mut shim = attached(&scene.home, &scene.arguments());
        shim.echo("signed in");
        assert_eq!(scene.browser.visited().len(), 1, "{step}");
    }
}

#[test]
fn while_a_person_is_at_the_sign_in_page() {
    let scene = Scene::new(Config::default(), false);
    let shim = scene.ask();
    shim.wait_for_stderr("Browser opened automatically.");
    let redirect = scene.redirect();
    scene.kill(shim);
    // The person comes back before anybody listens, and again when a command does.
    assert!(browser::get(&redirect).is_err());
    let mut shim = scene.ask();
    assert_eq!(come_back(&redirect).status, 200, "{}", scene.home.log());
    assert!(shim.message()["result"].is_object(), "{}", shim.stderr());
    assert_eq!(text_of(&shim.message()), "asked");
    shim.close_stdin();
    assert_eq!(shim.wait(), 0);
    scene.goes_on(1, "it is the same sign-in");
    for label in ["register", "token code"] {
        assert_eq!(scene.server.count(label), 1, "{label}");
    }
}

#[test]
fn while_a_person_is_at_the_sign_in_page_and_a_client_stays() {
    let scene = Scene::new(Config::default(), false);
    let mut shim = scene.home.shim(&scene.arguments());
    shim.send(INITIALIZE);
    shim.wait_for_stderr("Browser opened automatically.");
    let redirect = scene.redirect();
    scene.home.kill_daemon();
    assert_eq!(come_back(&redirect).status, 200);
    assert!(shim.message()["result"].is_object(), "{}", shim.stderr());
    assert_eq!(scene.browser.visited().len(), 1);
}

#[test]
fn a_stop_does_not_end_a_sign_in_either_and_login_takes_what_is_pasted() {
    let scene = Scene::new(Config::default(), false);
    let shim = scene.ask();
    shim.wait_for_stderr("Browser opened automatically.");
    let redirect = scene.redirect();
    drop(shim);
    assert_eq!(scene.home.run(&["stop"]).code, 0);
    let mut login = scene
        .home
        .shim(&["login", &scene.url, &scene.port, "--no-browser"]);
    login.wait_for_stderr("Please authorize");
    login.send(&redirect);
    assert_eq!(login.wait(), 0, "{}", login.stderr());
    scene.goes_on(1, "it is the same sign-in");
}

#[test]
fn when_the_code_has_come_and_is_not_exchanged() {
    a_code_is_exchanged_by_the_next_daemon(Config::default());
}

#[test]
fn when_the_code_is_bound_to_a_key_likewise() {
    a_code_is_exchanged_by_the_next_daemon(Config {
        dpop: Some(Dpop::default()),
        ..Config::default()
    });
}

fn a_code_is_exchanged_by_the_next_daemon(config: Config) {
    let scene = Scene::new(config, false);
    scene
        .server
        .script(|label, _| (label == "token code").then_some(Reply::Hang));
    let shim = scene.ask();
    shim.wait_for_stderr("Browser opened automatically.");
    let redirect = scene.redirect();
    let visiting = std::thread::spawn(move || browser::get(&redirect));
    scene.server.wait_for("token code", 1);
    scene.kill(shim);
    drop(visiting.join().expect("it does not panic"));
    scene.goes_on(1, "the code was kept");
    assert_eq!(scene.server.count("token code"), 2);
    assert_eq!(scene.server.count("authorize"), 1);
}

#[test]
fn when_the_code_has_been_exchanged_and_the_answer_is_lost() {
    let scene = Scene::new(Config::default(), true);
    scene.server.lose_answers("token code");
    let shim = scene.ask();
    scene.server.wait_until_lost("token code");
    scene.kill(shim);
    let mut shim = attached(&scene.home, &scene.arguments());
    shim.echo("signed in again");
    assert_eq!(shim.finish(), 0);
    scene.goes_on(2, "one more sign-in, since the code was spent");
    // The kept one, in vain, and that of the second sign-in.
    assert_eq!(scene.server.count("token code"), 3);
}

#[test]
fn at_the_first_use_of_the_tokens_of_a_sign_in() {
    let scene = Scene::new(Config::default(), true);
    scene.server.hold_uses();
    let shim = scene.ask();
    scene.upstream.wait_for("POST initialize", 2);
    scene.kill(shim);
    scene.goes_on(1, "they were kept");
    assert_eq!(scene.server.count("token code"), 1);
}
