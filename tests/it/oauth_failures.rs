//! A token that cannot be had, whatever the reason: one sentence that says so, in a
//! bounded time, with nothing secret in it or anywhere else, and a session with another
//! server goes on answering meanwhile.

mod elsewhere;
mod here;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mcp_remote_tests::authorization_server::{Config, FakeAuthorizationServer};
use mcp_remote_tests::home::{SECRET, TestHome};
use mcp_remote_tests::shim::{TestShim, conversation};
use mcp_remote_tests::upstream::{FakeUpstream, Reply, Request};
use serde_json::{Value, json};

use crate::support::{attached, our_error};

/// What needs nobody else is said within this time, on a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// What somebody does not answer is said within this time.
const LATE: Duration = Duration::from_secs(30);

/// How long another server may take to answer meanwhile.
const MEANWHILE: Duration = Duration::from_secs(3);

/// A guarded server without a token for it, and a session with another server.
struct Scene {
    server: FakeAuthorizationServer,
    upstream: FakeUpstream,
    home: TestHome,
    neighbour: TestShim,
    other: FakeUpstream,
}

/// What a failure has to come to.
struct Failure<'a> {
    /// The command line of the shim.
    line: Vec<String>,
    /// What its sentence says.
    says: &'a [&'a str],
    /// What is in it and everywhere else in vain, besides what begins as secrets do.
    secrets: Vec<String>,
    /// Within which time.
    limit: Duration,
}

impl Scene {
    fn new() -> Self {
        Self::with(Config::default())
    }

    fn with(config: Config) -> Self {
        Self::at(TestHome::new(), config)
    }

    /// The same from this home, whatever runs there.
    fn at(home: TestHome, config: Config) -> Self {
        let server = FakeAuthorizationServer::with(config);
        let upstream = FakeUpstream::start();
        server.protect(&upstream);
        let other = FakeUpstream::start();
        let neighbour = attached(&home, &[&other.url()]);
        Self {
            server,
            upstream,
            home,
            neighbour,
            other,
        }
    }

    /// Puts a file into the home that only its owner can read.
    fn keep(&self, name: &str, content: &str) -> PathBuf {
        let path = self.home.folder().join(name);
        std::fs::write(&path, content).expect("written");
        mode(&path, 0o600);
        path
    }

    /// Uses the server in vain, and checks what that comes to; `then`: what happens once
    /// it is being used.
    #[track_caller]
    fn fails(
        &mut self,
        failure: &Failure<'_>,
        then: impl FnOnce(&FakeAuthorizationServer, &TestShim),
    ) {
        let line: Vec<&str> = failure.line.iter().map(String::as_str).collect();
        let mut shim = self.home.shim(&line);
        let begun = Instant::now();
        let initialize = conversation("x");
        shim.send(initialize.lines().next().expect("a line"));
        then(&self.server, &shim);
        let answer = loop {
            self.neighbour_answers();
            match shim.line_within(Duration::from_millis(100)) {
                Some(answer) => break answer,
                None => assert!(begun.elapsed() < failure.limit, "{}", shim.stderr()),
            }
        };
        let response: Value = serde_json::from_str(&answer).expect("a message");
        let error = our_error(&response, 0);
        let sentence = error["message"].as_str().expect("a sentence");
        for said in failure.says {
            assert!(sentence.contains(said), "{said:?} is not in: {sentence}");
        }
        assert!(sentence.contains(&self.upstream.url()), "{sentence}");
        assert!(sentence.len() < 700, "{sentence}");
        let mut texts = vec![answer, shim.stderr()];
        // What failed is not tried again so soon, so that this takes no longer.
        if failure.limit <= SOON {
            texts.extend(self.login_fails(&line, failure));
        }
        self.neighbour_answers();
        self.is_nowhere(failure, texts);
    }

    /// Signs in in vain; returns what that says, in one line.
    #[track_caller]
    fn login_fails(&self, line: &[&str], failure: &Failure<'_>) -> Vec<String> {
        let begun = Instant::now();
        let login = [&["login", "--non-interactive"], line].concat();
        let login = self.home.run(&login);
        assert!(begun.elapsed() < failure.limit, "{login:?}");
        assert!([1, 10, 11].contains(&login.code), "{login:?}");
        let lines = login.stderr.lines().count();
        assert_eq!((lines, &*login.stdout), (1, ""), "{login:?}");
        // Who only calls has to do the same about it.
        let call = [&["call", "--non-interactive"], line, &["echo"]].concat();
        let call = self.home.run(&call);
        assert_eq!((call.code, &*call.stdout), (login.code, ""), "{call:?}");
        vec![login.stderr, call.stderr]
    }

    /// Another server's session answers as if nothing were the matter.
    #[track_caller]
    fn neighbour_answers(&mut self) {
        let begun = Instant::now();
        self.neighbour.echo("meanwhile");
        assert!(begun.elapsed() < MEANWHILE, "{:?}", begun.elapsed());
    }

    /// Looks for secrets where people look, and at the state of both servers.
    #[track_caller]
    fn is_nowhere(&self, failure: &Failure<'_>, mut texts: Vec<String>) {
        let status = self.home.run(&["status", "--json"]).stdout;
        let parsed: Value = serde_json::from_str(&status).expect("JSON");
        let state_of = |url: &str| {
            let servers = parsed["servers"].as_array().expect("a list");
            let found = servers.iter().find(|server| server["url"] == url);
            found.expect("it is listed")["state"].clone()
        };
        assert_eq!(state_of(&self.other.url()), "ready", "{status}");
        assert_ne!(state_of(&self.upstream.url()), "ready", "{status}");
        texts.push(status);
        for words in [&["status"][..], &["logs", "--level", "debug"]] {
            let finished = self.home.run(words);
            texts.extend([finished.stdout, finished.stderr]);
        }
        texts.push(self.home.log());
        let secrets = failure.secrets.iter().map(String::as_str);
        for secret in secrets.chain([SECRET]) {
            for text in &texts {
                assert!(!text.contains(secret), "{secret:?} is in: {text}");
            }
        }
    }
}

/// A platform's token with this end, in seconds since the epoch, that is refused.
#[track_caller]
fn fails_with_platform_token(end: u64, said: &str) {
    let mut scene = Scene::new();
    let (token, claims) = platform_token(&scene, end);
    let path = scene.keep("platform", &token);
    let file = path.to_str().expect("UTF-8");
    scene
        .server
        .script(refusing("token assertion", "invalid_grant"));
    let failure = Failure {
        line: words(&[&scene.upstream.url(), "--workload-token-file", file]),
        says: &[said, file],
        secrets: vec![claims],
        limit: SOON,
    };
    scene.fails(&failure, |_, _| ());
}

fn mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("ours");
}

/// A new key as PEM, and its public part.
fn key() -> (String, Vec<u8>) {
    use rcgen::PublicKeyData as _;
    let pair = rcgen::KeyPair::generate().expect("a key");
    (pair.serialize_pem(), pair.der_bytes().to_owned())
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Refuses what comes as `label` with this error, and repeats what was sent.
fn refusing(
    label: &'static str,
    error: &'static str,
) -> impl Fn(&str, &Request) -> Option<Reply> + Send + Sync + 'static {
    move |asked, request| {
        let sent = request.text();
        let values = url::form_urlencoded::parse(sent.as_bytes());
        let values: Vec<_> = values.map(|(_, value)| value.into_owned()).collect();
        let said = json!({ "error": error, "error_description": values.join(" ") });
        (asked == label).then(|| Reply::json(400, said.to_string()))
    }
}

/// A platform's token for this authorization server, and its claims as they stand in it.
fn platform_token(scene: &Scene, expires_at: u64) -> (String, String) {
    use base64::Engine as _;
    let claims = json!({ "sub": "bot", "aud": scene.server.origin(), "exp": expires_at });
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims.to_string());
    (format!("e30.{claims}.{SECRET}c2ln"), claims)
}

/// The command line of a service account with this key.
fn service_account(scene: &Scene, key: &Path) -> Vec<String> {
    let client = json!({ "client_id": "ci-bot" }).to_string();
    words(&[
        &scene.upstream.url(),
        "--client-credentials",
        "--static-oauth-client-info",
        &client,
        "--client-key",
        key.to_str().expect("UTF-8"),
    ])
}
