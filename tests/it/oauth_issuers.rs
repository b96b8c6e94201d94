//! A client that was registered by hand is shown to its own authorization server, which
//! the user names with it or which gave the first token, and to no other that a
//! server's metadata lead to.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mcp_remote_tests::authorization_server::{Config, FakeAuthorizationServer, ResourceMetadata};
use mcp_remote_tests::browser::Browser;
use mcp_remote_tests::home::{SECRET, TestHome};
use mcp_remote_tests::ports;
use mcp_remote_tests::upstream::FakeUpstream;
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData as _};
use serde_json::{Value, json};

use crate::support::{attached, one_shot, our_error, sign_in, token_files};

fn published() -> FakeAuthorizationServer {
    FakeAuthorizationServer::with(Config {
        resource_metadata: ResourceMetadata::Path,
        ..Config::default()
    })
}

/// A client for the authorization server of this origin.
fn info(secret: &str, issuer: &str) -> String {
    json!({ "client_id": "ci-bot", "client_secret": secret, "issuer": issuer }).to_string()
}

fn service<'a>(url: &'a str, info: &'a str) -> Vec<&'a str> {
    vec![
        url,
        "--client-credentials",
        "--static-oauth-client-info",
        info,
    ]
}

/// Makes a handshake that fails, and returns its error.
#[track_caller]
fn refused(home: &TestHome, line: &[&str]) -> String {
    let mut shim = home.shim(line);
    let error = our_error(&shim.handshake(), 0);
    let why = error["message"].as_str().expect("a sentence").to_owned();
    assert!(!why.contains(SECRET), "{why}");
    why
}

/// Nobody was asked for tokens here.
#[track_caller]
fn was_shown_nothing(server: &FakeAuthorizationServer) {
    let labels = server.labels();
    let asked = |label: &&String| label.starts_with("token") || *label == "authorize";
    assert_eq!(labels.iter().filter(asked).count(), 0, "{labels:?}");
}

#[test]
fn a_secret_is_shown_to_the_issuer_alone_that_is_named_with_it() {
    let (mine, evil) = (published(), published());
    let upstream = FakeUpstream::start();
    evil.protect(&upstream);
    let (home, url) = (TestHome::new(), upstream.url());
    let info = info(&mine.service_account("ci-bot"), &mine.origin());
    let line = service(&url, &info);
    let why = refused(&home, &line);
    for named in [&mine.origin(), &evil.origin(), "--static-oauth-client-info"] {
        assert!(why.contains(named), "{why}");
    }
    was_shown_nothing(&evil);
    let doctor = home.run(&[&["doctor"], &line[..]].concat());
    assert_ne!(doctor.code, 0);
    assert!(doctor.stdout.contains("for") && doctor.stdout.contains(&mine.origin()));
    // The server is right again.
    mine.protect(&upstream);
    assert_eq!(home.run(&["stop"]).code, 0);
    one_shot(&home, &line);
    assert_eq!(mine.count("token client"), 1);
    // And wrong; the token has ended.
    evil.protect(&upstream);
    let why = first_refusal(&home, &line).expect("refused");
    assert!(why.contains(&evil.origin()), "{why}");
    was_shown_nothing(&evil);
}

/// What the handshake or the first call is refused with.
fn first_refusal(home: &TestHome, line: &[&str]) -> Option<String> {
    let mut shim = home.shim(line);
    let mut answer = shim.handshake();
    if answer["result"].is_object() {
        answer = shim.call("echo", r#"{"message":"x"}"#);
    }
    answer["error"]["message"].as_str().map(str::to_owned)
}

#[test]
fn what_a_key_signs_is_for_the_issuer_alone_that_is_named() {
    let (mine, evil) = (published(), published());
    let upstream = FakeUpstream::start();
    evil.protect(&upstream);
    let home = TestHome::new();
    let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
    mine.service_key("ci-bot", "EdDSA", key.der_bytes());
    let path = home.home().join("key.pem");
    std::fs::write(&path, key.serialize_pem()).expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&path, mode).expect("ours");
    let (url, path) = (upstream.url(), path.display().to_string());
    let info = json!({ "client_id": "ci-bot", "issuer": mine.origin() }).to_string();
    let line = [&service(&url, &info)[..], &["--client-key", &path]].concat();
    let why = refused(&home, &line);
    assert!(why.contains(&evil.origin()), "{why}");
    was_shown_nothing(&evil);
    // Where only the token endpoint is known otherwise, it is whom it is meant for.
    mine.protect(&upstream);
    let endpoint = format!("{}/token", mine.origin());
    let resource = upstream.url();
    let more = ["--token-endpoint", &endpoint, "--resource", &resource];
    one_shot(&home, &[&line[..], &more].concat());
    let form = mine.wait_for("token client", 1).body;
    let assertion = url::form_urlencoded::parse(&form)
        .find(|(name, _)| name == "client_assertion")
        .expect("signed")
        .1;
    let claims = URL_SAFE_NO_PAD.decode(assertion.split('.').nth(1).expect("a JWT"));
    let claims: Value = serde_json::from_slice(&claims.expect("base64url")).expect("JSON");
    assert_eq!(claims["aud"], mine.origin());
}

#[test]
fn nobody_signs_in_elsewhere_with_a_client_of_another_issuer() {
    let (mine, evil) = (
        FakeAuthorizationServer::start(),
        FakeAuthorizationServer::start(),
    );
    let upstream = FakeUpstream::start();
    evil.protect(&upstream);
    let mut home = TestHome::new();
    let browser = Browser::agreeing(&mut home);
    let secret = mine.register("ci-bot", "http://localhost:5598/oauth/callback");
    let (url, info) = (upstream.url(), info(&secret, &mine.origin()));
    home.configure(&format!(
        "[servers.here]\nurl = \"{url}\"\nstatic_oauth_client_info = {{ client_id = \"ci-bot\", \
         client_secret = \"{secret}\", issuer = \"{}\" }}\n",
        mine.origin()
    ));
    let line = [&*url, "--static-oauth-client-info", &info];
    for line in [&line[..], &["here"]] {
        let why = refused(&home, line);
        assert!(
            why.contains(&evil.origin()) && why.contains("issuer"),
            "{why}"
        );
    }
    assert_eq!(browser.visited(), [""; 0]);
    was_shown_nothing(&evil);
    mine.protect(&upstream);
    assert_eq!(home.run(&["stop"]).code, 0);
    sign_in(&home, &line);
    // A name with another slash is the same one.
    let slash = info.replace(&mine.origin(), &format!("{}/", mine.origin()));
    one_shot(&home, &[&url, "--static-oauth-client-info", &slash]);
    assert_eq!(browser.visited().len(), 1);
}

#[test]
fn another_scope_leads_the_secret_nowhere_else() {
    let (mine, evil) = (published(), published());
    let upstream = FakeUpstream::start();
    mine.protect(&upstream);
    let (home, url) = (TestHome::new(), upstream.url());
    let secret = mine.service_account("ci-bot");
    let info = json!({ "client_id": "ci-bot", "client_secret": secret }).to_string();
    let line = service(&url, &info);
    let scope = ["--static-oauth-client-metadata", r#"{"scope":"wide"}"#];
    let scoped = [&line[..], &scope].concat();
    one_shot(&home, &scoped);
    evil.protect(&upstream);
    assert_eq!(home.run(&["stop"]).code, 0);
    let other = [&line[..], &[scope[0], r#"{"scope":"other"}"#]].concat();
    for line in [&line, &other] {
        let why = refused(&home, line);
        assert!(
            why.contains("mcp-remote logout with the same flags"),
            "{why}"
        );
        assert!(
            why.contains(&mine.origin()) && why.contains(&evil.origin()),
            "{why}"
        );
    }
    was_shown_nothing(&evil);
    let pinned = token_files(&home);
    let pinned = pinned
        .iter()
        .filter(|path| path.to_string_lossy().ends_with("_issuer.json"));
    assert_eq!(pinned.count(), 1);
    // Whoever means it says so, with any of these flags.
    let logout = home.run(&[&["logout"], &other[..]].concat());
    assert_eq!(logout.code, 0, "{logout:?}");
    evil.service_account("ci-bot");
    // A new daemon remembers no failure.
    assert_eq!(home.run(&["stop"]).code, 0);
    one_shot(&home, &line);
    assert_eq!(evil.count("token client"), 1);
    let mut shim = attached(&home, &line);
    shim.echo("with the new one");
}

/// An account that has got a token with one scope, and how it asks for another; the
/// second server would like to see its secret.
struct Account {
    home: TestHome,
    upstream: FakeUpstream,
    evil: FakeAuthorizationServer,
    mine: FakeAuthorizationServer,
    info: String,
}

impl Account {
    fn new() -> Self {
        let (mine, evil) = (published(), published());
        let upstream = FakeUpstream::start();
        mine.protect(&upstream);
        let secret = mine.service_account("ci-bot");
        let account = Self {
            home: TestHome::new(),
            info: json!({ "client_id": "ci-bot", "client_secret": secret }).to_string(),
            upstream,
            evil,
            mine,
        };
        account.with_scope("wide", |line| one_shot(&account.home, line));
        assert_eq!(account.home.run(&["stop"]).code, 0);
        account
    }

    fn with_scope<T>(&self, scope: &str, act: impl FnOnce(&[&str]) -> T) -> T {
        let (url, scope) = (self.upstream.url(), json!({ "scope": scope }).to_string());
        let mut line = service(&url, &self.info);
        line.extend(["--static-oauth-client-metadata", &scope]);
        act(&line)
    }

    fn pins(&self) -> Vec<std::path::PathBuf> {
        let mut files = token_files(&self.home);
        files.retain(|path| path.to_string_lossy().ends_with("_issuer.json"));
        files
    }
}

#[test]
fn a_damaged_note_of_who_may_see_a_secret_shows_it_to_nobody() {
    let account = Account::new();
    account.evil.protect(&account.upstream);
    account.evil.service_account("ci-bot");
    let [pin] = &account.pins()[..] else {
        panic!("there is one");
    };
    std::fs::write(pin, "").expect("ours");
    let why = account.with_scope("other", |line| refused(&account.home, line));
    assert!(
        why.contains("mcp-remote logout with the same flags"),
        "{why}"
    );
    was_shown_nothing(&account.evil);
    let logout = account.with_scope("other", |line| {
        account.home.run(&[&["logout"], line].concat())
    });
    assert_eq!(logout.code, 0, "{logout:?}");
    assert_eq!(account.pins(), [""; 0].map(std::path::PathBuf::from));
}

#[test]
fn of_several_the_one_that_gave_the_first_token_is_asked_for_other_scopes() {
    let account = Account::new();
    let both = json!([account.evil.origin(), account.mine.origin()]);
    let guard = FakeAuthorizationServer::with(Config {
        resource_metadata: ResourceMetadata::Path,
        resource_patch: [("authorization_servers".to_owned(), both)]
            .into_iter()
            .collect(),
        ..Config::default()
    });
    guard.protect(&account.upstream);
    // Its tokens are not accepted there, but it is asked for them.
    account.with_scope("other", |line| refused(&account.home, line));
    was_shown_nothing(&account.evil);
    assert!(account.mine.count("token client") >= 2);
}

#[test]
fn who_signs_out_of_everything_may_begin_anew_elsewhere() {
    let account = Account::new();
    assert_eq!(account.pins().len(), 1);
    let logout = account.home.run(&["logout", "--all"]);
    assert_eq!(logout.code, 0, "{logout:?}");
    assert_eq!(account.pins().len(), 0);
    account.evil.protect(&account.upstream);
    account.evil.service_account("ci-bot");
    account.with_scope("other", |line| one_shot(&account.home, line));
}

#[test]
fn a_persons_client_is_shown_to_nobody_but_who_gave_the_tokens() {
    let (mine, evil) = (
        FakeAuthorizationServer::start(),
        FakeAuthorizationServer::start(),
    );
    let upstream = FakeUpstream::start();
    mine.protect(&upstream);
    let mut home = TestHome::new();
    let browser = Browser::agreeing(&mut home);
    let port = ports::free().to_string();
    let redirect_uri = format!("http://localhost:{port}/oauth/callback");
    let secret = mine.register("people", &redirect_uri);
    evil.register("people", &redirect_uri);
    let (url, info) = (
        upstream.url(),
        json!({ "client_id": "people", "client_secret": secret }).to_string(),
    );
    let line = [&*url, &*port, "--static-oauth-client-info", &*info];
    sign_in(&home, &line);
    evil.protect(&upstream);
    for restarted in [false, true] {
        if restarted {
            assert_eq!(home.run(&["stop"]).code, 0);
        }
        let login = home.run(&[&["login"], &line[..]].concat());
        let why = login.stderr;
        assert_eq!(login.code, 11, "{why}");
        assert!(
            why.contains(&evil.origin()) && why.contains(&mine.origin()),
            "{why}"
        );
        was_shown_nothing(&evil);
    }
    assert_eq!(browser.visited().len(), 1);
    // Whoever means it says so.
    assert_eq!(home.run(&[&["logout"], &line[..]].concat()).code, 0);
    let login = home.run(&[&["login"], &line[..]].concat());
    assert_eq!(login.code, 0, "{login:?}");
    assert_eq!(browser.visited().len(), 2);
}
