//! Enterprise-managed authorization: an identity provider says who the user is, and
//! the server's authorization server takes its word.

mod by_code;
mod logging_out;
mod moving;
mod sign_in;

use std::path::PathBuf;

use mcp_remote_tests::authorization_server::{Config, Device, FakeAuthorizationServer};
use mcp_remote_tests::browser::Browser;
use mcp_remote_tests::home::{SECRET, TestHome};
use mcp_remote_tests::identity_provider::{CLIENT, FakeIdentityProvider};
use mcp_remote_tests::upstream::{FakeUpstream, Reply, Request};
use serde_json::{Map, Value, json};

use crate::support::{attached, one_shot, our_error, token_files};

const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const ID_JAG: &str = "urn:ietf:params:oauth:token-type:id-jag";

/// A company: its provider, a server that trusts it, and the user's machine.
struct Company {
    provider: FakeIdentityProvider,
    server: FakeAuthorizationServer,
    upstream: FakeUpstream,
    home: TestHome,
    browser: Browser,
    /// The client that the server's authorization server knows.
    client: String,
}

impl Company {
    fn new() -> Self {
        Self::of(FakeIdentityProvider::start(), Map::new())
    }

    /// One whose server's authorization server says this of itself besides.
    fn at(patch: Map<String, Value>) -> Self {
        Self::of(FakeIdentityProvider::start(), patch)
    }

    /// The same where people may sign in at the provider by code.
    fn with_codes() -> Self {
        let provider = FakeIdentityProvider::offering(Some(Device::default()));
        Self::of(provider, Map::new())
    }

    fn of(provider: FakeIdentityProvider, patch: Map<String, Value>) -> Self {
        let (server, upstream, client) = trusting_with(&provider, patch);
        let mut home = TestHome::new();
        let browser = Browser::agreeing(&mut home);
        Self {
            provider,
            server,
            upstream,
            home,
            browser,
            client,
        }
    }

    /// Puts a token into a file of the user's.
    fn keep(&self, name: &str, token: &str) -> PathBuf {
        let path = self.home.folder().join(name);
        private(&path, token);
        path
    }

    /// The flags for this company, at this server.
    fn flags(&self, url: &str, client: &str, more: &[&str]) -> Vec<String> {
        let issuer = self.provider.issuer();
        let of_provider = self.provider.client();
        let flags = [
            url,
            "--static-oauth-client-info",
            client,
            "--identity-provider",
            &issuer,
            "--identity-provider-client",
            &of_provider,
        ];
        let all = flags.iter().chain(more);
        all.map(|word| (*word).to_owned()).collect()
    }

    fn arguments(&self, more: &[&str]) -> Vec<String> {
        self.flags(&self.upstream.url(), &self.client, more)
    }

    fn one_shot(&self, more: &[&str]) {
        run(&self.home, &self.arguments(more));
    }

    /// Makes a handshake that fails, and returns its error.
    #[track_caller]
    fn refused(&self, more: &[&str]) -> String {
        let arguments = self.arguments(more);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        // A new daemon remembers no failure.
        self.home.run(&["stop"]);
        let mut shim = self.home.shim(&arguments);
        let error = our_error(&shim.handshake(), 0);
        let message = error["message"].as_str().expect("a sentence").to_owned();
        assert!(!message.contains(SECRET), "{message}");
        assert!(!shim.stderr().contains(SECRET), "{}", shim.stderr());
        message
    }
}

/// A guarded server whose authorization server takes the provider's word.
fn trusting(provider: &FakeIdentityProvider) -> (FakeAuthorizationServer, FakeUpstream, String) {
    trusting_with(provider, Map::new())
}

fn trusting_with(
    provider: &FakeIdentityProvider,
    patch: Map<String, Value>,
) -> (FakeAuthorizationServer, FakeUpstream, String) {
    let server = FakeAuthorizationServer::with(Config {
        registration: false,
        patch,
        ..Config::default()
    });
    provider.vouch_at(&server);
    let upstream = FakeUpstream::start();
    server.protect(&upstream);
    let secret = server.register("service", "http://localhost:1/");
    let client = json!({ "client_id": "service", "client_secret": secret }).to_string();
    (server, upstream, client)
}

fn run(home: &TestHome, arguments: &[String]) {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    one_shot(home, &arguments);
}

fn private(path: &std::path::Path, content: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, content).expect("written");
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, mode).expect("ours");
}

fn field(request: &Request, name: &str) -> Option<String> {
    let text = request.text();
    let mut fields = url::form_urlencoded::parse(text.as_bytes());
    let found = fields.find(|(found, _)| found == name);
    found.map(|(_, value)| value.into_owned())
}

#[test]
fn the_provider_vouches_for_the_user_and_nobody_signs_in() {
    let company = Company::new();
    let token = company.keep("id", &company.provider.id_token());
    let more = ["--subject-token-file", token.to_str().expect("UTF-8")];
    company.one_shot(&more);
    let asked = company.provider.server.wait_for("token exchange", 1);
    let issuer = company.server.origin();
    assert_eq!(field(&asked, "audience"), Some(issuer));
    assert_eq!(field(&asked, "resource"), Some(company.upstream.url()));
    assert_eq!(field(&asked, "requested_token_type"), Some(ID_JAG.into()));
    let shown = company.server.wait_for("token assertion", 1);
    let assertion = field(&shown, "assertion").expect("it is there");
    assert!(
        shown.header("Authorization").is_some(),
        "as the client there"
    );
    // A warm call costs nothing, and neither does a new daemon.
    company.one_shot(&more);
    assert_eq!(company.home.run(&["stop"]).code, 0);
    company.one_shot(&more);
    assert_eq!(company.provider.exchanges(), 1);
    assert_eq!(company.server.count("token assertion"), 1);
    assert_eq!(company.browser.visited(), [""; 0]);
    for path in token_files(&company.home) {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(!text.contains(&assertion), "{}", path.display());
        assert!(!text.contains("of-provider"), "{}", path.display());
    }
}

#[test]
fn each_token_has_an_assertion_of_its_own() {
    let company = Company::new();
    let token = company.keep("id", &company.provider.id_token());
    let arguments = company.arguments(&["--subject-token-file", token.to_str().expect("UTF-8")]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut shim = attached(&company.home, &arguments);
    for round in 0..3 {
        shim.echo(&format!("round {round}"));
        company.server.expire_access_tokens();
        // The file may hold another one by now.
        private(&token, &company.provider.id_token());
    }
    shim.echo("last");
    assert_eq!(company.provider.exchanges(), 4);
    assert_eq!(company.server.count("token assertion"), 4);
}

#[test]
fn a_refresh_token_that_is_replaced_is_kept_for_all_servers_and_daemons() {
    let company = Company::new();
    company.provider.rotate();
    let first = company.provider.refresh_token();
    let token = company.keep("refresh", &first);
    let (other_server, other, client) = trusting(&company.provider);
    let more = [
        "--subject-token-file",
        token.to_str().expect("UTF-8"),
        "--subject-token-type",
        "refresh-token",
    ];
    let elsewhere = company.flags(&other.url(), &client, &more);
    company.one_shot(&more);
    run(&company.home, &elsewhere);
    assert_eq!(company.home.run(&["stop"]).code, 0);
    company.server.expire_access_tokens();
    other_server.expire_access_tokens();
    company.one_shot(&more);
    run(&company.home, &elsewhere);
    assert_eq!(company.provider.exchanges(), 4);
    // The user's file is the user's.
    assert_eq!(std::fs::read_to_string(&token).expect("there"), first);
    // Another token in it counts at once.
    company.provider.end_subjects();
    let why = {
        company.server.expire_access_tokens();
        company.refused(&more)
    };
    assert!(why.contains("refresh token of"), "{why}");
    private(&token, &company.provider.refresh_token());
    company.home.run(&["stop"]);
    company.one_shot(&more);
    assert_eq!(company.browser.visited(), [""; 0]);
}

#[test]
fn a_file_that_is_replaced_after_a_refusal_counts_at_once() {
    let company = Company::new();
    let token = company.keep("id", &company.provider.id_token());
    company.provider.end_subjects();
    let more = ["--subject-token-file", token.to_str().expect("UTF-8")];
    let arguments = company.arguments(&more);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    for _ in 0..5 {
        let error = our_error(&company.home.shim(&arguments).handshake(), 0);
        let why = error["message"].as_str().expect("a sentence");
        assert!(why.contains("put a new one there"), "{why}");
    }
    let asked = company.provider.server.count("token exchange");
    assert!(asked < 4, "{asked}");
    private(&token, &company.provider.id_token());
    company.one_shot(&more);
    assert_eq!(company.provider.server.count("token exchange"), asked + 1);
}

#[test]
fn a_refusal_says_which_server_refuses_and_what_to_do() {
    let company = Company::new();
    let token = company.keep("id", &company.provider.id_token());
    let more = ["--subject-token-file", token.to_str().expect("UTF-8")];
    let (provider, server) = (company.provider.issuer(), company.server.origin());
    for (status, error, expected) in [
        (400, "invalid_grant", "ID token of"),
        (400, "invalid_request", "ID token of"),
        (401, "invalid_client", "--identity-provider-client"),
        (400, "invalid_target", server.as_str()),
        (403, "access_denied", server.as_str()),
        (400, "unsupported_grant_type", "token exchange"),
        (503, "temporarily_unavailable", "try again later"),
    ] {
        company.provider.refuse(status, error);
        let why = company.refused(&more);
        let names = why.contains(&format!("the identity provider {provider}"));
        assert!(names && why.contains(expected), "{error}: {why}");
    }
    for document in [
        json!({ "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
                "access_token": "e30.s3cr3t-a.c2ln", "token_type": "Bearer" }),
        json!({ "issued_token_type": ID_JAG, "access_token": "s3cr3t-opaque", "token_type": "N_A" }),
        json!({ "access_token": "e30.s3cr3t-a.c2ln" }),
    ] {
        company.provider.answer(&document);
        let why = company.refused(&more);
        assert!(
            why.contains(&format!("the identity provider {provider}")),
            "{why}"
        );
    }
    assert_eq!(company.server.count("token assertion"), 0);
    company.provider.behave();
    for (error, expected) in [
        ("invalid_grant", "has to trust"),
        ("invalid_client", "--static-oauth-client-info"),
        ("unsupported_grant_type", "JWT bearer grant"),
    ] {
        company.server.script(move |label, _| {
            let document = json!({ "error": error }).to_string();
            (label == "token assertion").then(|| Reply::json(400, document))
        });
        let why = company.refused(&more);
        let names = why.contains(&format!("the authorization server {server}"));
        assert!(names && why.contains(expected), "{error}: {why}");
    }
    company.server.behave();
    company.home.run(&["stop"]);
    company.one_shot(&more);
}

#[test]
fn the_provider_is_asked_for_no_word_that_the_server_does_not_take() {
    const PROFILE: &str = "urn:ietf:params:oauth:grant-profile:id-jag";
    for (profiles, is_taken) in [
        (json!([]), false),
        (json!(["urn:example:grant-profile:other"]), false),
        (json!(["urn:example:grant-profile:other", PROFILE]), true),
        // Nothing that can be understood is said.
        (json!(PROFILE), true),
    ] {
        let name = "authorization_grant_profiles_supported".to_owned();
        let company = Company::at(Map::from_iter([(name, profiles.clone())]));
        let token = company.keep("id", &company.provider.id_token());
        let more = ["--subject-token-file", token.to_str().expect("UTF-8")];
        if is_taken {
            company.one_shot(&more);
            continue;
        }
        let message = company.refused(&more);
        let words = "takes no identity provider's word";
        assert!(message.contains(words), "{profiles}: {message}");
        assert!(message.contains(&company.server.origin()), "{message}");
        assert!(message.contains("--identity-provider"), "{message}");
        assert_eq!(company.provider.exchanges(), 0, "{profiles}");
        // Nor does anybody sign in for it.
        let message = company.refused(&[]);
        assert!(message.contains(words), "{profiles}: {message}");
        assert_eq!(company.browser.visited(), [""; 0]);
    }
}

#[test]
fn a_key_shows_the_provider_which_client_asks() {
    let company = Company::new();
    let key = company.home.folder().join("key.pem");
    let pair = rcgen::KeyPair::generate().expect("a key");
    private(&key, &pair.serialize_pem());
    company
        .provider
        .server
        .service_key(CLIENT, "ES256", pair.public_key_raw());
    let token = company.keep("id", &company.provider.id_token());
    let client = json!({ "client_id": CLIENT }).to_string();
    let issuer = company.provider.issuer();
    let url = company.upstream.url();
    let arguments = [
        &url,
        "--static-oauth-client-info",
        &company.client,
        "--identity-provider",
        &issuer,
        "--identity-provider-client",
        &client,
        "--identity-provider-key",
        key.to_str().expect("UTF-8"),
        "--subject-token-file",
        token.to_str().expect("UTF-8"),
    ];
    one_shot(&company.home, &arguments);
    let asked = company.provider.server.wait_for("token exchange", 1);
    assert!(field(&asked, "client_assertion").is_some(), "{asked:?}");
    assert_eq!(field(&asked, "client_secret"), None);
    // One that others can read is not used.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&key, mode).expect("ours");
    company.server.expire_access_tokens();
    company.home.run(&["stop"]);
    let mut shim = company.home.shim(&arguments);
    let error = our_error(&shim.handshake(), 0);
    let message = error["message"].as_str().expect("a sentence");
    assert!(message.contains("is open to other users"), "{message}");
    assert_eq!(company.provider.exchanges(), 1);
}

#[test]
fn one_sign_in_at_the_provider_serves_every_server_and_its_renewals() {
    let company = Company::new();
    let (other_server, other, client) = trusting(&company.provider);
    let arguments = company.arguments(&[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut shim = attached(&company.home, &arguments);
    shim.echo("signed in");
    assert_eq!(company.browser.visited().len(), 1);
    let elsewhere = company.flags(&other.url(), &client, &[]);
    run(&company.home, &elsewhere);
    // Another token costs nobody a sign-in, neither does a new daemon.
    company.server.expire_access_tokens();
    shim.echo("again");
    drop(shim);
    assert_eq!(company.home.run(&["stop"]).code, 0);
    other_server.expire_access_tokens();
    run(&company.home, &elsewhere);
    assert_eq!(company.browser.visited().len(), 1);
    assert_eq!(company.provider.server.count("authorize"), 1);
    let asked = company.provider.server.wait_for("authorize", 1).target;
    assert!(asked.contains("scope=openid"), "{asked}");
    assert!(!asked.contains("resource="), "{asked}");
    let shown = company.provider.server.wait_for("token exchange", 1);
    let kind = field(&shown, "subject_token_type");
    assert_eq!(kind.as_deref(), Some(ID_TOKEN));
    let token = field(&shown, "subject_token").expect("it is there");
    assert!(company.provider.server.has_given(&token), "an ID token");
    // No line of status is about the provider itself.
    let status = company.home.run(&["status", "--json"]).stdout;
    assert!(
        !status.contains(&format!("login {}", company.provider.issuer())),
        "{status}"
    );
}

#[test]
fn a_provider_that_takes_the_id_token_no_more_is_asked_for_another() {
    let company = Company::new();
    let arguments = company.arguments(&[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut shim = attached(&company.home, &arguments);
    shim.echo("signed in");
    company.provider.end_id_tokens();
    company.server.expire_access_tokens();
    shim.echo("renewed");
    assert_eq!(company.provider.server.count("token refresh"), 1);
    assert_eq!(company.browser.visited().len(), 1);
}

#[test]
fn login_signs_in_at_the_provider() {
    let company = Company::new();
    let arguments = company.arguments(&[]);
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    arguments.insert(0, "login");
    let finished = company.home.run(&arguments);
    assert_eq!(finished.code, 0, "{finished:?}");
    assert_eq!(company.browser.visited().len(), 1);
    company.one_shot(&[]);
    assert_eq!(company.browser.visited().len(), 1);
    assert_eq!(company.provider.exchanges(), 1);
}

#[test]
fn whoever_has_no_browser_is_told_where_to_sign_in() {
    let company = Company::new();
    let arguments = company.arguments(&["--no-browser", "--auth-timeout", "1"]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut shim = company.home.shim(&arguments);
    let error = our_error(&shim.handshake(), 0);
    let url = error["data"]["authorizationUrl"].as_str().expect("a URL");
    assert!(url.starts_with(&company.provider.issuer()), "{url}");
    assert_eq!(company.provider.exchanges(), 0);
    let status = company.home.run(&["status"]);
    assert!(status.stdout.contains("signing-in"), "{status:?}");
}

#[test]
fn where_nobody_is_signed_in_at_the_provider_the_command_that_does_it_is_named() {
    let company = Company::new();
    let arguments = company.arguments(&["--non-interactive"]);
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    arguments.insert(0, "login");
    let finished = company.home.run(&arguments);
    assert_eq!(finished.code, 11, "{finished:?}");
    let command = format!("run: mcp-remote login {}", company.upstream.url());
    assert!(finished.stderr.contains(&command), "{finished:?}");
    arguments[0] = "doctor";
    let finished = company.home.run(&arguments);
    assert_eq!(finished.code, 11, "{finished:?}");
    assert!(
        finished.stdout.contains("nobody is signed in at the"),
        "{finished:?}"
    );
    assert_eq!(company.provider.exchanges(), 0);
}
