//! `warm = true`: a server is connected before anybody asks, and stays so.

use mcp_remote_proto::v1::ServerState;
use mcp_remote_tests::authorization_server::{Config, FakeAuthorizationServer};
use mcp_remote_tests::browser::Browser;
use mcp_remote_tests::daemon::TestDaemon;
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::rpc::Rpc;
use mcp_remote_tests::upstream::{FakeUpstream, Refusal};

use crate::support::{attached, one_shot};

fn warm(upstream: &FakeUpstream, more: &str) -> String {
    format!(
        "[servers.work]\nurl = \"{}\"\nwarm = true\n{more}",
        upstream.url()
    )
}

#[test]
fn the_first_command_after_a_start_finds_the_session_of_its_client() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    home.configure(&warm(&upstream, ""));
    {
        let daemon = TestDaemon::start(&home, &[]);
        // Nobody has used it yet, so it is connected to in the daemon's name.
        upstream.wait_for("POST initialize", 1);
        one_shot(&home, &["work"]);
        assert_eq!(upstream.sessions_made(), 2);
        assert_eq!(daemon.terminate(), 0);
    }
    upstream.forget_requests();
    let _daemon = TestDaemon::start(&home, &[]);
    upstream.wait_for("GET", 1);
    upstream.forget_requests();
    one_shot(&home, &["work"]);
    assert_eq!(upstream.labels(), ["POST tools/call"]);
}

#[test]
fn it_is_connected_to_again_whenever_it_was_lost() {
    let mut upstream = FakeUpstream::start();
    let home = TestHome::new();
    home.configure(&warm(&upstream, ""));
    upstream.go_down();
    let _daemon = TestDaemon::start(&home, &[]);
    let rpc = Rpc::connect(&home);
    let is = |state: ServerState| {
        rpc.watch_until(|status| {
            let server = status.servers.first()?;
            (server.state() == state).then_some(())
        });
    };
    is(ServerState::BackingOff);
    upstream.come_back();
    upstream.wait_for_streams(1);
    is(ServerState::Ready);
    let before = upstream.sessions_made();
    upstream.forget_sessions(Refusal::NotFound);
    upstream.cut_streams();
    upstream.wait_for("POST initialize", before + 1);
    upstream.wait_for_streams(1);
    is(ServerState::Ready);
}

#[test]
fn the_last_session_is_kept_longer_than_others() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    home.configure(&warm(&upstream, "session_idle = 0.3\n"));
    let _daemon = TestDaemon::start(&home, &[]);
    upstream.wait_for_streams(1);
    // The daemon's own session gives way to one that is of use to somebody.
    let mut user = attached(&home, &["work"]);
    user.echo("x");
    let mut second = attached(&home, &["work"]);
    second.echo("x");
    assert_eq!([user.finish(), second.finish()], [0, 0]);
    upstream.wait_for("DELETE", 2);
    upstream.forget_requests();
    one_shot(&home, &["work"]);
    assert_eq!(upstream.count("POST initialize"), 0);
    assert_eq!(upstream.sessions_alive(), 1);
}

#[test]
fn nobody_is_asked_to_sign_in_for_it() {
    let server = FakeAuthorizationServer::with(Config::default());
    let upstream = FakeUpstream::start();
    server.protect(&upstream);
    let mut home = TestHome::new();
    let browser = Browser::agreeing(&mut home);
    home.configure(&warm(&upstream, ""));
    let _daemon = TestDaemon::start(&home, &[]);
    let rpc = Rpc::connect(&home);
    rpc.watch_until(|status| {
        let server = status.servers.first()?;
        (server.state() == ServerState::NeedsLogin).then_some(())
    });
    assert_eq!(browser.visited(), Vec::<String>::new());
    assert_eq!(server.count("authorize"), 0);
    // As soon as somebody has signed in for another reason it is connected.
    let login = home.run(&["login", &upstream.url()]);
    assert_eq!(login.code, 0, "{login:?}");
    rpc.watch_until(|status| {
        let server = status.servers.first()?;
        (server.sessions_idle > 0).then_some(())
    });
    one_shot(&home, &["work"]);
}

#[test]
fn a_reload_begins_and_ends_it() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    home.configure(&warm(&upstream, ""));
    let daemon = TestDaemon::start(&home, &[]);
    upstream.wait_for_streams(1);
    home.configure(&warm(&upstream, "enabled = false\n"));
    assert_eq!(home.run(&["reload"]).code, 0);
    upstream.wait_for("DELETE", 1);
    home.configure(&warm(&upstream, ""));
    assert_eq!(home.run(&["reload"]).code, 0);
    upstream.wait_for("POST initialize", 2);
    assert_eq!(daemon.terminate(), 0);
    assert_eq!(upstream.sessions_alive(), 0);
}
