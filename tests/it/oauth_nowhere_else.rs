//! Tokens, codes and grants go to whom they belong and nowhere else, whatever a
//! server says, and a server that is never content does not go on for ever.

use mcp_remote_tests::authorization_server::{Config, FakeAuthorizationServer};
use mcp_remote_tests::browser::Browser;
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::upstream::{self, FakeUpstream, Reply, hostile};
use serde_json::{Map, Value};

use crate::support::{attached, our_error, signed_in};

const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];

#[test]
fn no_redirect_of_a_token_endpoint_takes_a_code_or_a_grant_elsewhere() {
    let elsewhere = FakeUpstream::scripted(|_| Some(Reply::json(200, "{}")));
    for label in ["token code", "token refresh"] {
        for status in REDIRECTS {
            let server = FakeAuthorizationServer::start();
            let upstream = FakeUpstream::start();
            server.protect(&upstream);
            let mut home = TestHome::new();
            Browser::agreeing(&mut home);
            if label == "token refresh" {
                let mut shim = attached(&home, &[&upstream.url()]);
                shim.echo("signed in");
                assert_eq!(shim.finish(), 0);
                server.expire_access_tokens();
            }
            let location = elsewhere.origin();
            server.script(move |asked, _| {
                (asked == label).then(|| hostile::redirect(status, &location))
            });
            let mut shim = home.shim(&[&upstream.url(), "--auth-timeout", "2"]);
            let answer = shim.handshake();
            let failed = if answer["error"].is_object() {
                answer
            } else {
                shim.call("echo", r#"{"message":"x"}"#)
            };
            assert!(failed["error"].is_object(), "{label} {status}: {failed}");
        }
    }
    assert_eq!(elsewhere.labels(), [""; 0]);
}

#[test]
fn no_redirect_of_the_server_takes_a_token_elsewhere() {
    let elsewhere = FakeUpstream::start();
    for status in REDIRECTS {
        let (server, upstream, home, _browser) = signed_in(Config::default());
        let location = elsewhere.url();
        server.protect_scripted(&upstream, move |_| {
            Some(hostile::redirect(status, &location))
        });
        upstream.cut_streams();
        let mut shim = attached(&home, &[&upstream.url()]);
        our_error(&shim.call("echo", r#"{"message":"x"}"#), 1);
        drop(shim);
        assert_eq!(home.run(&["stop"]).code, 0);
        assert!(upstream.count("DELETE") >= 1, "{:?}", upstream.labels());
    }
    let carried = elsewhere.requests();
    let carried = carried
        .iter()
        .filter_map(|request| request.header("Authorization"));
    assert_eq!(carried.count(), 0);
}

#[test]
fn a_grant_goes_to_no_other_authorization_server_than_the_one_that_gave_it() {
    let (_server, upstream, home, browser) = signed_in(Config::default());
    let other = FakeAuthorizationServer::start();
    // The server is with somebody else from now on.
    other.protect(&upstream);
    let mut shim = attached(&home, &[&upstream.url()]);
    shim.echo("signed in there");
    assert_eq!(browser.visited().len(), 2);
    assert_eq!(other.count("token refresh"), 0);
    assert_eq!((other.count("register"), other.count("token code")), (1, 1));
}

#[test]
fn nothing_in_metadata_is_visited_but_the_endpoints() {
    let elsewhere = FakeUpstream::scripted(|_| Some(Reply::json(200, "{}")));
    let mut patch = Map::new();
    for name in [
        "client_uri",
        "logo_uri",
        "jwks_uri",
        "op_policy_uri",
        "op_tos_uri",
        "service_documentation",
        "device_authorization_endpoint",
        "verification_uri",
        "verification_uri_complete",
        "userinfo_endpoint",
        "introspection_endpoint",
        "end_session_endpoint",
        "resource_documentation",
    ] {
        let url = format!("{}/{name}", elsewhere.origin());
        patch.insert(name.to_owned(), Value::from(url));
    }
    let server = FakeAuthorizationServer::with(Config {
        patch: patch.clone(),
        resource_patch: patch,
        ..Config::default()
    });
    let upstream = FakeUpstream::start();
    server.protect(&upstream);
    let mut home = TestHome::new();
    Browser::agreeing(&mut home);
    let mut shim = attached(&home, &[&upstream.url()]);
    shim.echo("signed in");
    assert_eq!(elsewhere.labels(), [""; 0]);
}

#[test]
fn a_server_that_refuses_every_token_does_not_go_on_for_ever() {
    let (server, upstream, home, browser) = signed_in(Config::default());
    // Whatever token it is shown, it wants another.
    server.protect_scripted(&upstream, |_| {
        let challenge = r#"Bearer error="invalid_token""#;
        Some(Reply::status(401).with("WWW-Authenticate", challenge))
    });
    for _ in 0..5 {
        let mut shim = home.shim(&[&upstream.url(), "--auth-timeout", "2"]);
        let answer = shim.handshake();
        let failed = if answer["error"].is_object() {
            answer
        } else {
            shim.call("echo", r#"{"message":"x"}"#)
        };
        let id = failed["id"].clone();
        let error = our_error(&failed, id);
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains("401"), "{message}");
    }
    assert!(browser.visited().len() <= 2, "{:?}", browser.visited());
    let refreshes = server.count("token refresh");
    assert!(refreshes <= 2, "{:?}", server.labels());
}

#[test]
fn options_with_line_breaks_break_no_request() {
    let server = FakeAuthorizationServer::start();
    let upstream = FakeUpstream::start();
    server.protect(&upstream);
    let mut home = TestHome::new();
    Browser::agreeing(&mut home);
    let evil = "x\r\nX-Evil: 1\r\n\r\nGET /evil HTTP/1.1";
    let mut shim = attached(
        &home,
        &[
            &upstream.url(),
            "--authorize-param",
            &format!("hint={evil}"),
        ],
    );
    shim.echo("signed in");
    let asked = server.wait_for("authorize", 1);
    assert!(asked.target.contains("hint=x%0D%0AX-Evil"), "{asked:?}");
    assert_eq!(asked.header("X-Evil"), None);
    for option in [
        "--resource",
        "--callback-path",
        "--host",
        "--client-metadata-url",
    ] {
        let refused = home.run_with(&[&upstream.url(), option, evil], "{}\n");
        assert!(!refused.stderr.contains('\r'), "{option}: {refused:?}");
    }
    let labels = server.labels();
    assert!(
        !labels.iter().any(|label| label.contains("evil")),
        "{labels:?}"
    );
    let evil = |request: &upstream::Request| request.header("X-Evil").is_some();
    assert!(!upstream.requests().iter().any(evil));
}
