//! Authorization servers without a page to sign in at, or without PKCE, which only that
//! page needs: whatever does without them works there.

use mcp_remote_tests::authorization_server::{Config, Device, FakeAuthorizationServer};
use mcp_remote_tests::browser::Browser;
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::upstream::{FakeUpstream, Reply};
use serde_json::{Map, Value, json};

use crate::doctor_url::Walk;
use crate::support::{agreeing, one_shot, signed_in};

/// What takes the page and PKCE out of the metadata.
fn without_page() -> Map<String, Value> {
    let names = [
        "authorization_endpoint",
        "code_challenge_methods_supported",
        "response_types_supported",
    ];
    let patch = names.map(|name| (name.to_owned(), Value::Null));
    patch.into_iter().collect()
}

fn with_codes_only() -> Config {
    Config {
        device: Some(Device::default()),
        patch: without_page(),
        ..Config::default()
    }
}

/// Waits for the first code, and types it in.
fn signs_in_by_code(server: &FakeAuthorizationServer, home: &TestHome, arguments: &[&str]) {
    let login = home.shim(arguments);
    login.wait_for_stderr("CODE-0001");
    server.enter("CODE-0001");
    assert_eq!(login.wait(), 0, "{}", login.stderr());
}

#[test]
fn a_code_is_all_that_is_needed_where_there_is_no_page() {
    let server = FakeAuthorizationServer::with(with_codes_only());
    let (upstream, home) = (FakeUpstream::start(), TestHome::new());
    server.protect(&upstream);
    let url = upstream.url();
    let line = ["login", "--device-code", &url];
    signs_in_by_code(&server, &home, &line);
    one_shot(&home, &[&url]);
    // Nor is a page needed for what comes later, in this daemon or the next.
    assert_eq!(home.run(&["stop"]).code, 0);
    server.expire_access_tokens();
    one_shot(&home, &[&url]);
    assert_eq!(server.count("token refresh"), 1);
    let finished = home.run(&["logout", &url]);
    assert_eq!(finished.code, 0, "{finished:?}");
    assert!(server.count("revoke") > 0, "{:?}", server.labels());
}

#[test]
fn a_code_is_offered_by_itself_where_there_is_no_page() {
    let (_server, upstream, home, _browser) = agreeing(Config::default());
    let walk = Walk::new(&home, &[&upstream.url(), "--device-code"]);
    walk.says("fail", "issuer", "leave --device-code out");
    let (server, upstream, mut home, _) = agreeing(with_codes_only());
    let browser = Browser::idle(&mut home);
    let walk = Walk::new(&home, &[&upstream.url()]);
    walk.only(&["tokens"]);
    walk.says("ok", "issuer", "by code");
    signs_in_by_code(&server, &home, &["login", &upstream.url()]);
    one_shot(&home, &[&upstream.url()]);
    // That of the code, if any.
    let visited = browser.visited();
    assert!(
        visited.iter().all(|page| page.contains("/enter")),
        "{visited:?}"
    );
    assert_eq!(server.count("authorize"), 0);
}

#[test]
fn whoever_has_signed_in_needs_no_page_any_more() {
    let (server, upstream, home, browser) = signed_in(Config::default());
    assert_eq!(home.run(&["stop"]).code, 0);
    let origin = server.origin();
    server.script(move |label, _| {
        let document = json!({
            "issuer": origin, "token_endpoint": format!("{origin}/token"),
            "revocation_endpoint": format!("{origin}/revoke"),
        });
        let is_it = label == "/.well-known/oauth-authorization-server";
        is_it.then(|| Reply::json(200, document.to_string()))
    });
    server.expire_access_tokens();
    one_shot(&home, &[&upstream.url()]);
    assert_eq!(server.count("token refresh"), 1);
    let finished = home.run(&["logout", &upstream.url()]);
    assert_eq!(finished.code, 0, "{finished:?}");
    assert!(server.count("revoke") > 0, "{:?}", server.labels());
    // Nobody is registered for a sign-in that cannot be.
    let registered = server.count("register");
    let refused = home.run(&["login", &upstream.url(), "--no-browser"]);
    assert!(
        refused.stderr.contains("authorization_endpoint"),
        "{refused:?}"
    );
    assert_eq!(server.count("register"), registered);
    assert_eq!(browser.visited().len(), 1);
}

#[test]
fn a_page_without_pkce_is_still_nobodys_page() {
    let mut config = Config {
        device: Some(Device::default()),
        ..Config::default()
    };
    let name = "code_challenge_methods_supported".to_owned();
    config.patch.insert(name, Value::Null);
    let server = FakeAuthorizationServer::with(config);
    let upstream = FakeUpstream::start();
    server.protect(&upstream);
    let mut home = TestHome::new();
    let browser = Browser::agreeing(&mut home);
    let refused = home.run(&["login", &upstream.url()]);
    assert!(
        refused.stderr.contains("--allow-missing-pkce"),
        "{refused:?}"
    );
    assert_eq!(server.count("register"), 0);
    assert_eq!(browser.visited(), [""; 0]);
    let line = ["login", "--device-code", &upstream.url()];
    signs_in_by_code(&server, &home, &line);
}
