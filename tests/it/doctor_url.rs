//! `doctor URL` walks the way that a command would go, says of each step what it found
//! and what to do, and leaves nothing behind: no session, no client, no sign-in.

use mcp_remote_tests::authorization_server::Config;
use mcp_remote_tests::home::{SECRET, TestHome};
use mcp_remote_tests::proxy::FakeProxy;
use mcp_remote_tests::tls::TestCa;
use mcp_remote_tests::upstream::{self, FakeUpstream, Kind, Reply};
use serde_json::{Value, json};

use crate::support::agreeing;

/// Longest text that a finding may have.
const MAX_TEXT: usize = 1000;

/// What a walk found.
#[derive(Debug)]
pub(crate) struct Walk {
    pub(crate) code: i32,
    pub(crate) checks: Vec<Value>,
}

impl Walk {
    /// Walks twice, since the text says the same as the JSON.
    #[track_caller]
    pub(crate) fn new(home: &TestHome, arguments: &[&str]) -> Self {
        let with = |words: &[&'static str]| -> Vec<String> {
            let words = words.iter().copied().chain(arguments.iter().copied());
            words.map(str::to_owned).collect()
        };
        let run = |words: Vec<String>| {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            home.run(&words)
        };
        let finished = run(with(&["doctor", "--json"]));
        let json: Value = serde_json::from_str(&finished.stdout).expect("it is JSON");
        assert_eq!(finished.stdout.lines().count(), 1, "one object, one line");
        assert_eq!(json["ok"], finished.code == 0, "{json}");
        let checks = json["checks"].as_array().expect("checks").clone();
        for check in &checks {
            for name in ["check", "verdict", "found", "advice"] {
                let text = check[name].as_str().expect("text");
                assert!(text.chars().count() <= MAX_TEXT, "{text}");
                assert!(!text.contains(char::is_control), "{text:?}");
                assert!(!text.contains(SECRET), "{text}");
            }
            assert!(check["needs_login"].is_boolean(), "{check}");
            assert!(check["took_us"].is_u64(), "{check}");
        }
        let walk = Self {
            code: finished.code,
            checks,
        };
        let text = run(with(&["doctor"]));
        // What was mended by the first walk is well in the second.
        assert!(
            text.code == walk.code || walk.has("warn", "tokens"),
            "{text:?}"
        );
        assert_eq!(text.stdout.lines().count(), walk.checks.len(), "{text:?}");
        for (line, check) in text.stdout.lines().zip(&walk.checks) {
            let words: Vec<&str> = line.split_whitespace().take(2).collect();
            assert_eq!(words[1], check["check"], "{line}");
        }
        assert!(!text.stdout.contains(SECRET) && !text.stderr.contains(SECRET));
        walk
    }

    fn all(&self, check: &str) -> Vec<&Value> {
        let checks = self.checks.iter();
        checks.filter(|it| it["check"] == check).collect()
    }

    fn has(&self, verdict: &str, check: &str) -> bool {
        self.all(check).iter().any(|it| it["verdict"] == verdict)
    }

    /// Checks that there is such a finding with these words in what was found or in
    /// what to do.
    #[track_caller]
    pub(crate) fn says(&self, verdict: &str, check: &str, words: &str) {
        let fits = |it: &&Value| {
            let has = |name: &str| it[name].as_str().is_some_and(|text| text.contains(words));
            it["verdict"] == verdict && (has("found") || has("advice"))
        };
        let found = self.all(check).iter().any(fits);
        assert!(
            found,
            "no {verdict} {check} with {words:?}: {:#?}",
            self.checks
        );
    }

    /// Checks that nothing but this check failed or is worth a warning.
    #[track_caller]
    pub(crate) fn only(&self, wrong: &[&str]) {
        for check in &self.checks {
            let is_wrong = check["verdict"] == "fail" || check["verdict"] == "warn";
            let name = check["check"].as_str().expect("text");
            assert!(!is_wrong || wrong.contains(&name), "{check}");
            let advised = !check["advice"].as_str().expect("text").is_empty();
            assert!(advised || check["verdict"] != "fail", "what to do? {check}");
        }
    }
}

#[test]
fn a_server_for_everybody_is_well() {
    let server = FakeUpstream::start();
    let home = TestHome::new();
    let walk = Walk::new(&home, &[&server.url()]);
    assert_eq!(walk.code, 0, "{walk:#?}");
    walk.only(&[]);
    walk.says("ok", "proxy", "none is used");
    walk.says("skip", "dns", "127.0.0.1 is an address");
    walk.says("ok", "tcp", &format!("127.0.0.1:{} in ", server.port()));
    walk.says("skip", "tls", "http");
    walk.says("ok", "transport", "streamable-http is used");
    walk.says("skip", "issuer", "it wants no token");
    walk.says("ok", "tokens", "nobody has to");
    walk.says("ok", "initialize", "fake-upstream");
    server.wait_for_sessions(0);
    assert_eq!(server.sessions_made(), 2, "one a walk");
    // A trial is not what the server is remembered by.
    let status = home.run(&["status", "--json"]).stdout;
    let status: Value = serde_json::from_str(&status).expect("JSON");
    assert_eq!(status["servers"], json!([]));
}

#[test]
fn a_name_that_leads_nowhere_ends_the_way() {
    let home = TestHome::new();
    let walk = Walk::new(&home, &["https://nowhere.invalid/mcp"]);
    assert_eq!(walk.code, 1);
    walk.only(&["dns"]);
    walk.says("fail", "dns", "nowhere.invalid could not be resolved");
    for check in ["tcp", "tls", "transport", "issuer", "initialize"] {
        assert!(walk.has("skip", check), "{check}: {walk:#?}");
    }
}

#[test]
fn a_port_where_nobody_listens_ends_the_way() {
    let mut server = FakeUpstream::start();
    server.go_down();
    let home = TestHome::new();
    let url = server.url().replace("127.0.0.1", "localhost");
    let walk = Walk::new(&home, &[&url]);
    assert_eq!(walk.code, 1);
    walk.only(&["tcp"]);
    walk.says("ok", "dns", "127.0.0.1 (an address of this machine)");
    walk.says("fail", "tcp", "connection refused");
    walk.says("skip", "initialize", "");
}

#[test]
fn an_unknown_authority_is_named_with_the_flag_that_trusts_it() {
    let authority = TestCa::new();
    let server = FakeUpstream::with(upstream::Config {
        tls: Some(authority.server()),
        ..upstream::Config::default()
    });
    let home = TestHome::new();
    let walk = Walk::new(&home, &[&server.url()]);
    assert_eq!(walk.code, 1);
    walk.only(&["tls", "tcp"]);
    walk.says("fail", "tls", "signed by mcp-remote test authority");
    walk.says("fail", "tls", "--ca-file");
    assert!(walk.has("skip", "transport"));
    let file = authority.write(home.folder());
    let file = file.to_str().expect("UTF-8");
    let walk = Walk::new(&home, &[&server.url(), "--ca-file", file]);
    assert_eq!(walk.code, 0, "{walk:#?}");
    walk.says(
        "ok",
        "tls",
        "TLS 1.3; signed by mcp-remote test authority, ends in",
    );
    let walk = Walk::new(&home, &[&server.url(), "--ca-file", "/nonexistent/ca.pem"]);
    assert_eq!(walk.code, 1);
    walk.says("fail", "tls", "/nonexistent/ca.pem");
}

#[test]
fn what_is_no_tls_is_said() {
    let server = FakeUpstream::start();
    let home = TestHome::new();
    let url = server.url().replace("http://", "https://");
    let walk = Walk::new(&home, &[&url]);
    assert_eq!(walk.code, 1);
    walk.only(&["tls"]);
    walk.says("fail", "tls", "instead of answering in TLS");
}

#[test]
fn who_accepts_and_says_nothing_costs_a_bounded_time() {
    // Connections wait in its backlog for ever.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let home = TestHome::new();
    let url = format!("https://localhost:{port}/mcp");
    let walk = Walk::new(&home, &[&url, "--ipv4", "--connect-timeout", "0.5"]);
    assert_eq!(walk.code, 1);
    walk.only(&["tls"]);
    walk.says("ok", "tcp", &format!("127.0.0.1:{port} in "));
    walk.says("fail", "tls", "no TLS within 0.5 s");
    let url = format!("http://localhost:{port}/mcp");
    let walk = Walk::new(&home, &[&url, "--ipv4", "--headers-timeout", "0.5"]);
    assert_eq!(walk.code, 1);
    walk.only(&["transport"]);
    walk.says("fail", "transport", "did not answer within 0.5 s");
}

#[test]
fn a_proxy_is_named_with_the_reason_and_without_its_password() {
    let authority = TestCa::new();
    let server = FakeUpstream::with(upstream::Config {
        tls: Some(authority.server()),
        ..upstream::Config::default()
    });
    let proxy = FakeProxy::start(server.port());
    let mut home = TestHome::new();
    let file = authority.write(home.folder());
    let file = file.to_str().expect("UTF-8");
    let address = proxy.address();
    home.set("HTTPS_PROXY", format!("http://me:{SECRET}word@{address}"));
    let url = "https://mcp.invalid/mcp";
    let walk = Walk::new(&home, &[url, "--ca-file", file]);
    assert_eq!(walk.code, 0, "{walk:#?}");
    let shown = format!("through http://{address}/, says HTTPS_PROXY in this command's");
    walk.says("ok", "proxy", &shown);
    walk.says("ok", "tls", "signed by mcp-remote test authority");
    walk.says("ok", "initialize", "fake-upstream");
    let walk = Walk::new(&home, &[url]);
    assert_eq!(walk.code, 1);
    walk.says("fail", "tls", "signed by mcp-remote test authority");
    home.set("NO_PROXY", ".invalid");
    let walk = Walk::new(&home, &[url]);
    walk.says("ok", "proxy", "NO_PROXY in this command's environment");
    walk.says("fail", "dns", "mcp.invalid");
    home.configure("[servers.mine]\nurl = \"https://mcp.invalid/mcp\"\nproxy = \"none\"\n");
    assert_eq!(home.run(&["reload"]).code, 0);
    let walk = Walk::new(&home, &["mine"]);
    walk.says("ok", "proxy", "says config.toml");
}

#[test]
fn a_wrong_path_and_a_web_page_are_told_from_mcp() {
    let home = TestHome::new();
    let nothing = FakeUpstream::scripted(|_| Some(Reply::status(404)));
    let walk = Walk::new(&home, &[&nothing.url()]);
    assert_eq!(walk.code, 1);
    walk.only(&["transport"]);
    walk.says(
        "fail",
        "transport",
        "POST initialize (streamable-http): it answered 404",
    );
    walk.says("fail", "transport", "GET (http+sse): it answered 404");
    walk.says(
        "fail",
        "transport",
        "MCP servers usually end in /mcp or /sse",
    );
    let page = FakeUpstream::scripted(|_| Some(Reply::body(200, "text/html", "<h1>Hello</h1>")));
    let walk = Walk::new(&home, &[&page.url()]);
    assert_eq!(walk.code, 1);
    walk.only(&["transport"]);
    walk.says("fail", "transport", "a web page, which is not MCP");
}

#[test]
fn the_other_transport_is_found() {
    let server = FakeUpstream::with(upstream::Config {
        kind: Kind::HttpSse(405),
        ..upstream::Config::default()
    });
    let home = TestHome::new();
    let walk = Walk::new(&home, &[&server.url()]);
    assert_eq!(walk.code, 0, "{walk:#?}");
    walk.says(
        "ok",
        "transport",
        "POST initialize (streamable-http): it answered 405",
    );
    walk.says("ok", "transport", "http+sse is used");
}

#[test]
fn credentials_of_the_user_are_used_and_not_shown() {
    let (server, upstream, home, _browser) = agreeing(Config::default());
    let header = format!("Authorization: Bearer {SECRET}mine");
    let walk = Walk::new(&home, &[&upstream.url(), "--header", &header]);
    assert_eq!(walk.code, 1, "{walk:#?}");
    walk.says(
        "fail",
        "transport",
        "the credentials of --header are not accepted",
    );
    walk.says("skip", "tokens", "nobody signs in");
    assert_eq!(server.labels(), [""; 0]);
    let open = FakeUpstream::start();
    let url = format!("{}?key={SECRET}q", open.url());
    let walk = Walk::new(&home, &[&url, "--header", &header, "--header", "Host: x"]);
    assert_eq!(walk.code, 0, "{walk:#?}");
    walk.says("warn", "headers", "Host");
    walk.says("ok", "transport", "with the credentials of --header");
}

#[test]
fn what_cannot_be_walked_is_one_sentence() {
    let home = TestHome::new();
    for (arguments, code, words) in [
        (&["doctor", "ftp://h/"][..], 1, "https://"),
        (&["doctor", "unknown"], 1, "no server of this name"),
        (&["doctor", "https://h/", "--nonsense"], 2, "--nonsense"),
        (&["doctor", "https://h/", "1234", "x"], 2, "position 4"),
    ] {
        let finished = home.run(arguments);
        assert_eq!(finished.code, code, "{finished:?}");
        assert!(finished.stderr.contains(words), "{finished:?}");
        assert_eq!(finished.stdout, "");
    }
}
