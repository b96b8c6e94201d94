//! A workload that another issuer vouches for needs nobody to sign in: its mounted
//! token is read whenever a token is wanted, and shown to whom it was made for.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mcp_remote_tests::authorization_server::{Config, FakeAuthorizationServer};
use mcp_remote_tests::browser::Browser;
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::shim::{TestShim, text_of};
use mcp_remote_tests::upstream::{FakeUpstream, Reply, Request};
use serde_json::{Value, json};

use crate::support::{attached, messages, one_sentence, one_shot, our_error, token_files};

/// A guarded server that trusts workload tokens, and a home with one.
struct Workload {
    server: FakeAuthorizationServer,
    upstream: FakeUpstream,
    home: TestHome,
    browser: Browser,
    file: PathBuf,
}

impl Workload {
    fn new() -> Self {
        let server = FakeAuthorizationServer::with(Config {
            registration: false,
            ..Config::default()
        });
        server.trust(|assertion| assertion.starts_with("e30."));
        let upstream = FakeUpstream::start();
        server.protect(&upstream);
        let mut home = TestHome::new();
        let browser = Browser::agreeing(&mut home);
        let file = home.folder().join("workload-token");
        let new = Self {
            server,
            upstream,
            home,
            browser,
            file,
        };
        new.mount("first");
        new
    }

    /// Puts a token into the file, as a platform does.
    fn mount(&self, subject: &str) -> String {
        let token = jwt(&json!({
            "iss": "https://platform.example", "sub": subject, "aud": [self.server.origin()],
            "exp": now() + 3600,
        }));
        std::fs::write(&self.file, format!("{token}\n")).expect("written");
        token
    }

    fn arguments(&self) -> Vec<String> {
        let file = self.file.display().to_string();
        vec![self.upstream.url(), "--workload-token-file".into(), file]
    }

    fn one_shot(&self) {
        let arguments = self.arguments();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        one_shot(&self.home, &arguments);
    }

    fn attached(&self) -> TestShim {
        let arguments = self.arguments();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        attached(&self.home, &arguments)
    }

    /// Makes a call that fails, and returns its error; nothing secret is in it.
    #[track_caller]
    fn refused(&self, more: &[&str]) -> String {
        let arguments = self.arguments();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        refused(&self.home, &[arguments.as_slice(), more].concat())
    }
}

/// Makes a conversation whose handshake fails, and returns its error.
#[track_caller]
fn refused(home: &TestHome, arguments: &[&str]) -> String {
    // A new daemon remembers no failure.
    home.run(&["stop"]);
    let mut shim = home.shim(arguments);
    let error = our_error(&shim.handshake(), 0);
    let message = error["message"].as_str().expect("a sentence").to_owned();
    assert!(!message.contains("s3cr3t"), "{message}");
    message
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("it is later").as_secs()
}

fn jwt(claims: &Value) -> String {
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

fn field(request: &Request, name: &str) -> Option<String> {
    let text = request.text();
    let mut fields = url::form_urlencoded::parse(text.as_bytes());
    let found = fields.find(|(found, _)| found == name);
    found.map(|(_, value)| value.into_owned())
}

#[test]
fn where_nothing_says_who_gives_tokens_it_is_shown_to_nobody() {
    let workload = Workload::new();
    workload.upstream.script(|request| {
        let has_token = request.header("Authorization").is_some();
        match &*request.target {
            "/mcp" if has_token => None,
            "/mcp" => Some(Reply::status(401).with("WWW-Authenticate", "Bearer")),
            _ => Some(Reply::status(404)),
        }
    });
    let message = workload.refused(&[]);
    assert!(message.contains("--token-endpoint"), "{message}");
    let posts = workload.upstream.requests();
    let is_shown = |it: &Request| it.method == "POST" && it.target != "/mcp";
    assert!(!posts.iter().any(is_shown), "{posts:?}");
    let endpoint = format!("{}/token", workload.server.origin());
    let mut arguments = workload.arguments();
    arguments.extend(["--token-endpoint".into(), endpoint]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    one_shot(&workload.home, &arguments);
    let shown = workload.server.wait_for("token assertion", 1);
    assert_eq!(field(&shown, "resource"), Some(workload.upstream.url()));
}

#[test]
fn a_workload_token_stands_for_a_sign_in_and_is_shown_once() {
    let workload = Workload::new();
    let token = workload.mount("once");
    workload.one_shot();
    let shown = workload.server.wait_for("token assertion", 1);
    assert_eq!(field(&shown, "assertion"), Some(token.clone()));
    assert_eq!(field(&shown, "resource"), Some(workload.upstream.url()));
    assert_eq!(field(&shown, "client_id"), None, "nobody is asked who asks");
    assert_eq!(shown.header("Authorization"), None);
    // A warm call costs nothing, and neither does a new daemon.
    workload.one_shot();
    workload.attached().echo("warm");
    assert_eq!(workload.home.run(&["stop"]).code, 0);
    workload.one_shot();
    assert_eq!(workload.server.count("token assertion"), 1);
    assert_eq!(workload.server.count("register"), 0);
    assert_eq!(workload.browser.visited(), [""; 0]);
    // It is kept nowhere but where it was mounted.
    for path in token_files(&workload.home) {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(!text.contains(&token), "{}", path.display());
    }
    assert!(!workload.home.log().contains(&token));
}

#[test]
fn the_file_is_read_whenever_a_token_is_wanted() {
    let workload = Workload::new();
    let mut shim = workload.attached();
    shim.echo("before");
    let second = workload.mount("second");
    workload.server.expire_access_tokens();
    shim.echo("after");
    let shown = workload.server.wait_for("token assertion", 2);
    assert_eq!(field(&shown, "assertion"), Some(second));
}

#[test]
fn many_clients_that_meet_an_expired_token_show_the_workload_token_once() {
    let workload = Workload::new();
    let mut shims: Vec<TestShim> = (0..20).map(|_| workload.attached()).collect();
    for shim in &mut shims {
        shim.echo("before");
    }
    workload.server.expire_access_tokens();
    for shim in &mut shims {
        shim.begin_call("echo", r#"{"message":"after"}"#);
    }
    for shim in &shims {
        assert_eq!(text_of(&shim.message()), "after", "{}", shim.stderr());
    }
    assert_eq!(workload.server.count("token assertion"), 2);
}

#[test]
fn a_client_that_is_given_says_who_it_is() {
    let workload = Workload::new();
    let secret = workload.server.register("service", "http://localhost:1/");
    let info = json!({ "client_id": "service", "client_secret": secret }).to_string();
    let arguments = workload.arguments();
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    arguments.extend(["--static-oauth-client-info", &info]);
    one_shot(&workload.home, &arguments);
    let shown = workload.server.wait_for("token assertion", 1);
    assert!(shown.header("Authorization").is_some(), "{shown:?}");
}

#[test]
fn the_configuration_says_it_as_well() {
    let workload = Workload::new();
    workload.home.configure(&format!(
        "[servers.work]\nurl = \"{}\"\nworkload_token_file = \"{}\"\n",
        workload.upstream.url(),
        workload.file.display()
    ));
    one_shot(&workload.home, &["work"]);
    assert_eq!(workload.server.count("token assertion"), 1);
    // The same account, so the same token.
    workload.one_shot();
    assert_eq!(workload.server.count("token assertion"), 1);
}

#[test]
fn a_token_for_somebody_else_is_not_shown_on_the_servers_word() {
    let workload = Workload::new();
    let token = jwt(&json!({ "aud": "https://bank.example/", "exp": now() + 60 }));
    std::fs::write(&workload.file, token).expect("written");
    let why = workload.refused(&[]);
    assert!(why.contains("https://bank.example/"), "{why}");
    assert!(why.contains(&workload.server.origin()), "{why}");
    assert_eq!(workload.server.count("token assertion"), 0);
    // Who names the place himself means it.
    let endpoint = format!("{}/token", workload.server.origin());
    let resource = workload.upstream.url();
    let arguments = workload.arguments();
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    arguments.extend(["--token-endpoint", &endpoint, "--resource", &resource]);
    one_shot(&workload.home, &arguments);
    assert_eq!(workload.server.count("token assertion"), 1);
}

#[test]
fn what_is_wrong_with_the_file_is_one_sentence() {
    use std::os::unix::fs::PermissionsExt as _;
    let workload = Workload::new();
    let write = |content: &[u8]| std::fs::write(&workload.file, content).expect("written");
    let file = workload.file.display().to_string();
    for (content, expected) in [
        (&b""[..], "holds no JWT"),
        (b"s3cr3t-but-opaque", "holds no JWT"),
        (b"a.b.c d", "holds no JWT"),
        (b"\xff\xfe.\x00.x", "holds no JWT"),
        (&vec![b'a'; 100 * 1024], "longer than 64 KiB"),
    ] {
        write(content);
        let why = workload.refused(&[]);
        assert!(why.contains(expected) && why.contains(&file), "{why}");
    }
    workload.mount("again");
    let open = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(&workload.file, open).expect("ours");
    let why = workload.refused(&[]);
    assert!(why.contains(&format!("chmod go-w {file}")), "{why}");
    std::fs::remove_file(&workload.file).expect("it is there");
    let why = workload.refused(&[]);
    assert!(why.contains("No such file"), "{why}");
    std::fs::create_dir(&workload.file).expect("made");
    let why = workload.refused(&[]);
    assert!(why.contains("not a regular file"), "{why}");
    assert_eq!(workload.server.count("token assertion"), 0);
    // Nobody else is affected, and what is mended works.
    let other = FakeUpstream::start();
    one_shot(&workload.home, &[&other.url()]);
    std::fs::remove_dir(&workload.file).expect("it is empty");
    workload.mount("mended");
    workload.home.run(&["stop"]);
    workload.one_shot();
}

#[test]
fn a_refusal_says_whose_token_was_refused_and_why() {
    let workload = Workload::new();
    let file = workload.file.display().to_string();
    workload.server.trust(|_| false);
    let why = workload.refused(&[]);
    assert!(why.contains(&file) && why.contains("has to trust"), "{why}");
    assert!(why.contains(&workload.server.origin()), "{why}");
    let old = jwt(&json!({ "aud": workload.server.origin(), "exp": now() - 100 }));
    std::fs::write(&workload.file, &old).expect("written");
    let why = workload.refused(&[]);
    assert!(why.contains("by this machine's clock it ended"), "{why}");
    workload.server.script(|label, _| {
        let document = r#"{"error":"unsupported_grant_type"}"#;
        (label == "token assertion").then(|| Reply::json(400, document))
    });
    workload.mount("good");
    let why = workload.refused(&[]);
    assert!(why.contains("takes no workload tokens"), "{why}");
    assert!(!workload.home.log().contains(&old));
}

#[test]
fn a_file_that_is_replaced_after_a_refusal_counts_at_once() {
    let workload = Workload::new();
    let good = workload.mount("good");
    let expected = good.clone();
    workload
        .server
        .trust(move |assertion| assertion == expected);
    workload.mount("bad");
    let arguments = workload.arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let handshake = || workload.home.shim(&arguments).handshake();
    for _ in 0..5 {
        let error = our_error(&handshake(), 0);
        let why = error["message"].as_str().expect("a sentence");
        assert!(why.contains("has to trust"), "{why}");
    }
    // The same daemon asks ever more rarely, as long as it could only say the same.
    let asked = workload.server.count("token assertion");
    assert!(asked < 4, "{asked}");
    std::fs::write(&workload.file, &good).expect("written");
    workload.one_shot();
    assert_eq!(workload.server.count("token assertion"), asked + 1);
}

#[test]
fn flags_that_exclude_each_other_are_refused_before_anything_is_asked() {
    let workload = Workload::new();
    let more = ["--identity-provider", "https://idp.example/"];
    let client = [
        "--identity-provider-client",
        r#"{"client_id":"a","client_secret":"s3cr3t-b"}"#,
    ];
    let arguments = workload.arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let finished = workload
        .home
        .run_with(&[arguments.as_slice(), &more, &client].concat(), "");
    assert_ne!(finished.code, 0);
    let sentence = one_sentence(&finished.stderr);
    assert!(sentence.contains("--workload-token-file"), "{sentence}");
    assert!(sentence.contains("--identity-provider"), "{sentence}");
    assert_eq!(messages(&finished.stdout), [Value::Null; 0]);
    assert_eq!(workload.server.labels(), [""; 0]);
}

#[test]
fn doctor_misses_no_client_where_none_is_needed() {
    let workload = Workload::new();
    let arguments = workload.arguments();
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    arguments.insert(0, "doctor");
    let finished = workload.home.run(&arguments);
    assert_eq!(finished.code, 0, "{finished:?}");
    assert!(finished.stdout.contains("as no client"), "{finished:?}");
}
