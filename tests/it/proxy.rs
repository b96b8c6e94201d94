//! The proxy settings of the shim's environment are honoured.

use mcp_remote_tests::authorization_server::FakeAuthorizationServer;
use mcp_remote_tests::browser::Browser;
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::proxy::FakeProxy;
use mcp_remote_tests::tls::TestCa;
use mcp_remote_tests::upstream::{Config, FakeUpstream};

use crate::support::{attached, one_shot, our_error};

#[test]
fn http_goes_through_http_proxy() {
    let upstream = FakeUpstream::start();
    let proxy = FakeProxy::start(upstream.port());
    let mut home = TestHome::new();
    // The daemon already runs without these settings: the shim's count.
    one_shot(&home, &[&upstream.url()]);
    home.set("http_proxy", proxy.url());
    one_shot(&home, &["http://mcp.invalid/mcp", "--allow-http"]);
    assert!(!proxy.seen().is_empty());
    let seen = proxy.seen();
    assert!(
        seen.iter().all(|request| request.contains("mcp.invalid")),
        "{seen:?}"
    );
}

#[test]
fn https_goes_through_a_tunnel() {
    let authority = TestCa::new();
    let upstream = FakeUpstream::with(Config {
        tls: Some(authority.server()),
        ..Config::default()
    });
    let proxy = FakeProxy::start(upstream.port());
    for variable in ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        let mut home = TestHome::new();
        let file = authority.write(home.folder());
        home.set(variable, proxy.url());
        let before = proxy.seen().len();
        let arguments = [
            "https://mcp.invalid/mcp",
            "--ca-file",
            file.to_str().expect("UTF-8"),
        ];
        one_shot(&home, &arguments);
        let seen = proxy.seen().split_off(before);
        assert!(!seen.is_empty(), "{variable} was ignored");
        assert!(
            seen.iter()
                .all(|request| request == "CONNECT mcp.invalid:443"),
            "{seen:?}"
        );
    }
}

#[test]
fn no_proxy_makes_an_exception() {
    let upstream = FakeUpstream::start();
    let proxy = FakeProxy::start(upstream.port());
    for (variable, hosts) in [
        ("NO_PROXY", "example.com,127.0.0.1"),
        ("no_proxy", "127.0.0.0/8"),
    ] {
        let mut home = TestHome::new();
        home.set("http_proxy", proxy.url());
        home.set("all_proxy", proxy.url());
        home.set(variable, hosts);
        one_shot(&home, &[&upstream.url()]);
    }
    assert_eq!(proxy.seen(), Vec::<String>::new());
}

#[test]
fn no_proxy_with_a_star_means_no_proxy_at_all() {
    let upstream = FakeUpstream::start();
    let proxy = FakeProxy::start(upstream.port());
    for url in [
        upstream.url(),
        upstream.url().replace("127.0.0.1", "localhost"),
    ] {
        let mut home = TestHome::new();
        home.set("http_proxy", proxy.url());
        home.set("NO_PROXY", "*");
        one_shot(&home, &[&url]);
        assert_eq!(proxy.seen(), Vec::<String>::new(), "{url}");
    }
}

#[test]
fn a_proxy_that_is_down_is_an_error() {
    let mut home = TestHome::new();
    let mut upstream = FakeUpstream::start();
    upstream.go_down();
    home.set("http_proxy", upstream.origin());
    let mut shim = home.shim(&["http://mcp.invalid/mcp", "--allow-http"]);
    our_error(&shim.handshake(), 0);
}

#[test]
fn the_way_to_the_server_is_part_of_the_identity() {
    let upstream = FakeUpstream::start();
    let proxy = FakeProxy::start(upstream.port());
    let mut home = TestHome::new();
    one_shot(&home, &[&upstream.url()]);
    home.set("https_proxy", proxy.url());
    one_shot(&home, &[&upstream.url()]);
    assert_eq!(
        upstream.sessions_made(),
        1,
        "a proxy for https does not matter here"
    );
    home.set("http_proxy", proxy.url());
    one_shot(&home, &[&upstream.url()]);
    assert_eq!(upstream.sessions_made(), 2);
    assert!(!proxy.seen().is_empty());
}

#[test]
fn an_authorization_server_is_reached_by_the_way_that_is_meant_for_it() {
    let server = FakeAuthorizationServer::start();
    let upstream = FakeUpstream::start();
    server.protect(&upstream);
    let proxy = FakeProxy::start(upstream.port());
    let mut home = TestHome::new();
    let _browser = Browser::agreeing(&mut home);
    // The proxy leads to the MCP server only.
    home.set("http_proxy", proxy.url());
    home.set("NO_PROXY", "127.0.0.1");
    let url = upstream.url().replace("127.0.0.1", "localhost");
    let mut shim = attached(&home, &[&url, "--resource", &upstream.url()]);
    shim.echo("signed in");
    assert!(!proxy.seen().is_empty());
    assert_eq!(server.count("token code"), 1, "{:?}", server.labels());
}
