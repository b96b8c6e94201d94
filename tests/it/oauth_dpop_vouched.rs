//! Tokens that are bound to a key where somebody else vouches for us: a workload's
//! issuer, or an identity provider. Nonces at both servers, and renewals.

use std::collections::BTreeSet;
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mcp_remote_tests::authorization_server::{Config, Dpop, FakeAuthorizationServer, Nonces};
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::identity_provider::FakeIdentityProvider;
use mcp_remote_tests::upstream::{FakeUpstream, Reply, Request};
use serde_json::json;

use crate::oauth_dpop::{authorized, scheme};
use crate::support::{attached, one_shot};

fn guarded(nonces: Nonces) -> (FakeAuthorizationServer, FakeUpstream, TestHome) {
    let server = FakeAuthorizationServer::with(Config {
        registration: false,
        dpop: Some(Dpop {
            nonces,
            ..Dpop::default()
        }),
        ..Config::default()
    });
    let upstream = FakeUpstream::start();
    server.protect(&upstream);
    (server, upstream, TestHome::new())
}

fn private(home: &TestHome, name: &str, content: &str) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let path = home.folder().join(name);
    std::fs::write(&path, content).expect("written");
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&path, mode).expect("ours");
    path.display().to_string()
}

fn field(request: &Request, name: &str) -> Option<String> {
    let mut fields = url::form_urlencoded::parse(&request.body);
    let found = fields.find(|(found, _)| found == name);
    found.map(|(_, value)| value.into_owned())
}

fn all_are_bound(upstream: &FakeUpstream) {
    let requests = authorized(upstream);
    assert!(!requests.is_empty());
    assert!(requests.iter().all(|request| scheme(request) == "DPoP"));
}

/// The flags of a user whom a provider vouches for, with a secret or a key at the
/// server's authorization server.
fn of_company(
    (server, upstream, home): &(FakeAuthorizationServer, FakeUpstream, TestHome),
    provider: &FakeIdentityProvider,
    with_key: bool,
) -> Vec<String> {
    provider.vouch_at(server);
    let subject = private(home, "id", &provider.id_token());
    let mut client = json!({ "client_id": "service" });
    let mut key = Vec::new();
    if with_key {
        let pair = rcgen::KeyPair::generate().expect("a key");
        server.service_key("service", "ES256", pair.public_key_raw());
        let path = private(home, "key.pem", &pair.serialize_pem());
        key = vec!["--client-key".to_owned(), path];
    } else {
        client["client_secret"] = server.register("service", "http://localhost:1/").into();
    }
    let flags = [
        upstream.url(),
        "--static-oauth-client-info".into(),
        client.to_string(),
        "--identity-provider".into(),
        provider.issuer(),
        "--identity-provider-client".into(),
        provider.client(),
        "--subject-token-file".into(),
        subject,
    ];
    flags.into_iter().chain(key).collect()
}

fn words(line: &[String]) -> Vec<&str> {
    line.iter().map(String::as_str).collect()
}

#[test]
fn a_workloads_tokens_are_bound_and_renewed_so() {
    for nonces in [Nonces::None, Nonces::Current, Nonces::Once] {
        let (server, upstream, home) = guarded(nonces);
        server.trust(|assertion| assertion.starts_with("e30."));
        let claims = json!({ "aud": server.origin() }).to_string();
        let token = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        let file = private(&home, "workload-token", &token);
        let url = upstream.url();
        let line = [&*url, "--workload-token-file", &file];
        let mut shim = attached(&home, &line);
        shim.echo("bound");
        let first = server.count("token assertion");
        assert_eq!(first, if nonces == Nonces::None { 1 } else { 2 });
        server.expire_access_tokens();
        shim.echo("renewed");
        let more = if nonces == Nonces::Once { 2 } else { 1 };
        assert_eq!(server.count("token assertion"), first + more, "{nonces:?}");
        drop(shim);
        // The key is kept with the token, which the next daemon uses.
        assert_eq!(home.run(&["stop"]).code, 0);
        one_shot(&home, &line);
        assert_eq!(server.count("token assertion"), first + more, "{nonces:?}");
        all_are_bound(&upstream);
    }
}

#[test]
fn a_providers_word_is_said_again_for_a_nonce_and_ours_is_made_anew() {
    for with_key in [false, true] {
        let company = guarded(Nonces::Current);
        let provider = FakeIdentityProvider::start();
        let line = of_company(&company, &provider, with_key);
        let (server, upstream, home) = &company;
        let mut shim = attached(home, &words(&line));
        shim.echo("bound");
        let shown = [1, 2].map(|nth| server.wait_for("token assertion", nth));
        assert_eq!(field(&shown[0], "assertion"), field(&shown[1], "assertion"));
        // The fake complains of one of ours that comes twice.
        let ours = shown
            .each_ref()
            .map(|shown| field(shown, "client_assertion"));
        assert_eq!(ours[0].is_some(), with_key);
        assert_eq!(ours[0] != ours[1], with_key);
        assert_eq!(provider.exchanges(), 1);
        server.expire_access_tokens();
        shim.echo("renewed");
        assert_eq!(provider.exchanges(), 2);
        assert_eq!(server.count("token assertion"), 3, "the nonce is known");
        all_are_bound(upstream);
    }
}

#[test]
fn a_word_that_counts_as_heard_although_its_proof_was_refused_is_got_anew() {
    let company = guarded(Nonces::Current);
    let provider = FakeIdentityProvider::start();
    let line = of_company(&company, &provider, false);
    let (server, upstream, home) = &company;
    server.change_nonce(&server.origin(), "the-nonce");
    let heard = Mutex::new(BTreeSet::new());
    server.script(move |label, request| {
        let assertion = field(request, "assertion").filter(|_| label == "token assertion")?;
        let mut heard = heard.lock().expect("no test panics in it");
        let is_first = heard.is_empty();
        let refused = |error: &str| Reply::json(400, json!({ "error": error }).to_string());
        match (is_first, heard.insert(assertion)) {
            (true, _) => Some(refused("use_dpop_nonce").with("DPoP-Nonce", "the-nonce")),
            (false, false) => Some(refused("invalid_grant")),
            (false, true) => None,
        }
    });
    one_shot(home, &words(&line));
    assert_eq!(provider.exchanges(), 2);
    assert_eq!(server.count("token assertion"), 3);
    all_are_bound(upstream);
}
