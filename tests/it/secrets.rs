//! What the user marks as secret is in no log, no status, no file.

use std::path::Path;

use mcp_remote_tests::authorization_server::FakeAuthorizationServer;
use mcp_remote_tests::browser::Browser;
use mcp_remote_tests::home::{SECRET, TestHome};
use mcp_remote_tests::upstream::{FakeUpstream, Reply, hostile};

use crate::support::{attached, one_shot, our_error};

/// Looks for the marker in every file below `folder`.
fn search(folder: &Path) {
    for entry in std::fs::read_dir(folder).expect("it can be read").flatten() {
        let path = entry.path();
        let kind = entry.file_type().expect("it has a type");
        if kind.is_dir() {
            search(&path);
        } else if kind.is_file() {
            let bytes = std::fs::read(&path).expect("it can be read");
            let found = bytes
                .windows(SECRET.len())
                .any(|window| window == SECRET.as_bytes());
            assert!(!found, "a secret is in {path:?}");
        }
    }
}

#[test]
fn a_header_is_nowhere_to_be_found() {
    let elsewhere = FakeUpstream::start();
    let away = format!("{}/?token={SECRET}location", elsewhere.origin());
    let upstream = FakeUpstream::scripted(move |request| {
        // A server that shows us what we sent.
        let shown = request.header("X-Key").unwrap_or_default().to_owned();
        match request.target.as_str() {
            "/401" => Some(Reply::status(401).with("WWW-Authenticate", &shown)),
            "/description" => {
                let said = format!("Bearer error_description=\"who is {shown}?\"");
                Some(Reply::status(401).with("WWW-Authenticate", &said))
            }
            "/redirect" => Some(hostile::redirect(307, &away)),
            "/html" => Some(hostile::html(200).with("X-Echo", &shown)),
            _ => None,
        }
    });
    let mut home = TestHome::new();
    home.set("MCP_REMOTE_LOG", "trace");
    home.set("KEY", format!("{SECRET}variable"));
    let key = format!("X-Key: {SECRET}header");
    let flags = ["--header", &key, "--header", "X-Var: ${KEY}", "--debug"];
    let finished = one_shot(
        &home,
        &[&[upstream.url().as_str()], flags.as_slice()].concat(),
    );
    assert!(!finished.stderr.contains(SECRET), "{finished:?}");
    assert_eq!(
        upstream.requests()[0].header("X-Var"),
        Some("s3cr3t-variable")
    );
    for path in ["401", "description", "redirect", "html"] {
        let url = format!("{}/{path}", upstream.origin());
        let mut shim = home.shim(&[&[url.as_str()], flags.as_slice()].concat());
        let answer = shim.handshake();
        our_error(&answer, 0);
        assert!(!answer.to_string().contains(SECRET), "{answer}");
        shim.close_stdin();
        shim.wait();
        assert!(!shim.stderr().contains(SECRET), "{}", shim.stderr());
    }
    // One of the servers wants a sign-in.
    for (arguments, code) in [
        (&["status"] as &[&str], 11),
        (&["status", "--json"], 11),
        (&["doctor"], 11),
        (&["doctor", "--json"], 11),
        (&["logs"], 0),
        (&["logs", "--json"], 0),
        (&["stop"], 0),
    ] {
        let finished = home.run(arguments);
        assert_eq!(finished.code, code, "{finished:?}");
        let text = finished.stdout + &finished.stderr;
        assert!(!text.contains(SECRET), "{text}");
    }
    assert!(!home.log().is_empty(), "the log was looked at");
    search(home.folder());
}

#[test]
fn a_secret_that_the_server_repeats_is_not_kept() {
    let upstream = FakeUpstream::scripted(move |request| {
        let shown = format!("bad key {:?}", request.header("X-Key"));
        Some(Reply::body(500, "text/plain", shown))
    });
    let home = TestHome::new();
    let key = format!("X-Key: {SECRET}header");
    let mut shim = home.shim(&[&upstream.url(), "--header", &key]);
    our_error(&shim.handshake(), 0);
    shim.close_stdin();
    shim.wait();
    for arguments in [&["status"] as &[&str], &["status", "--json"], &["stop"]] {
        let finished = home.run(arguments);
        assert!(!finished.stdout.contains(SECRET), "{finished:?}");
    }
    assert!(!shim.stderr().contains(SECRET), "{}", shim.stderr());
    search(home.folder());
}

#[test]
fn a_query_that_the_server_repeats_is_not_kept() {
    // As it was sent, and as a server shows it that has decoded it.
    let sent = format!("{SECRET}a%2Fb%20c");
    let decoded = format!("{SECRET}a/b c");
    for shown in [&sent, &decoded] {
        let body = format!("no such token: {shown}");
        let upstream =
            FakeUpstream::scripted(move |_| Some(Reply::body(400, "text/plain", body.clone())));
        let mut home = TestHome::new();
        home.set("MCP_REMOTE_LOG", "trace");
        let url = format!("{}?v=1&token={sent}", upstream.url());
        let mut shim = home.shim(&[&url, "--debug"]);
        let error = our_error(&shim.handshake(), 0);
        let called = our_error(&shim.call("echo", "{}"), 1);
        shim.close_stdin();
        shim.wait();
        let table = home.run(&["status"]).stdout;
        let json = home.run(&["status", "--json"]).stdout;
        let errors = [error.to_string(), called.to_string()];
        for text in errors.into_iter().chain([shim.stderr(), table, json]) {
            assert!(!text.contains(SECRET), "{text}");
        }
        assert_eq!(home.run(&["stop"]).code, 0);
        search(home.folder());
    }
}

#[test]
fn credentials_and_query_of_a_url_are_not_shown() {
    let mut upstream = FakeUpstream::start();
    let mut home = TestHome::new();
    home.set("MCP_REMOTE_LOG", "trace");
    let address = upstream.origin().replace("http://", "");
    let url = format!("http://user:{SECRET}word@{address}/mcp?token={SECRET}query");
    one_shot(&home, &[&url, "--debug"]);
    let target = upstream.requests()[0].target.clone();
    assert_eq!(
        target,
        format!("/mcp?token={SECRET}query"),
        "the server needs it"
    );
    upstream.go_down();
    let mut shim = home.shim(&[&url, "--debug"]);
    shim.handshake();
    let answer = shim.call("echo", "{}");
    let text = our_error(&answer, 1).to_string();
    assert!(!text.contains(SECRET), "{text}");
    let table = home.run(&["status"]);
    let json = home.run(&["status", "--json"]);
    for text in [shim.stderr(), table.stdout, json.stdout] {
        assert!(!text.contains(SECRET), "{text}");
    }
    assert_eq!(home.run(&["stop"]).code, 0);
    search(home.folder());
}

#[test]
fn a_token_that_the_server_repeats_is_not_shown() {
    let upstream = FakeUpstream::scripted(|request| {
        let sent = request.header("Authorization").unwrap_or_default();
        let said = format!("Bearer error=\"invalid_token\", error_description=\"who is {sent}?\"");
        Some(Reply::status(401).with("WWW-Authenticate", &said))
    });
    let mut home = TestHome::new();
    home.set("MCP_REMOTE_LOG", "trace");
    let file = home.home().join("token");
    std::fs::write(&file, format!("{SECRET}token")).expect("ours");
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&file, permissions).expect("ours");
    let given = file.display().to_string();
    let mut shim = home.shim(&[&upstream.url(), "--bearer-token-file", &given, "--debug"]);
    let answer = our_error(&shim.handshake(), 0).to_string();
    shim.close_stdin();
    shim.wait();
    let sent = upstream.requests().into_iter();
    let mut sent = sent.filter_map(|request| request.header("Authorization").map(str::to_owned));
    assert_eq!(sent.next(), Some(format!("Bearer {SECRET}token")));
    let status = home.run(&["status"]).stdout;
    for text in [answer, shim.stderr(), status] {
        assert!(!text.contains(SECRET), "{text}");
    }
    assert_eq!(home.run(&["stop"]).code, 0);
    std::fs::remove_file(&file).expect("ours");
    search(home.folder());
}

#[test]
fn messages_are_not_logged() {
    let upstream = FakeUpstream::start();
    let mut home = TestHome::new();
    home.set("MCP_REMOTE_LOG", "trace");
    let mut shim = home.shim(&[&upstream.url(), "--debug"]);
    shim.handshake();
    shim.echo(&format!("{SECRET}argument"));
    shim.send(&format!("{{\"broken\":\"{SECRET}line\""));
    shim.message();
    shim.close_stdin();
    shim.wait();
    assert!(!shim.stderr().contains(SECRET), "{}", shim.stderr());
    assert_eq!(home.run(&["stop"]).code, 0);
    search(home.folder());
}

#[test]
fn tokens_are_nowhere_but_in_their_files() {
    let server = FakeAuthorizationServer::start();
    let upstream = FakeUpstream::start();
    server.protect(&upstream);
    let mut home = TestHome::new();
    home.set("MCP_REMOTE_LOG", "trace");
    Browser::agreeing(&mut home);
    let mut shim = attached(&home, &[&upstream.url(), "--debug"]);
    shim.echo("signed in");
    server.expire_access_tokens();
    shim.echo("renewed");
    assert_eq!(server.count("token refresh"), 1);
    // A server that shows us what we sent.
    upstream.script(|request| {
        let shown = request.header("Authorization").unwrap_or_default();
        let text = format!("no such user: {shown}");
        Some(Reply::body(400, "text/plain", text).with("X-Echo", shown))
    });
    let error = our_error(&shim.call("echo", "{}"), 3).to_string();
    assert!(error.contains("no such user"), "{error}");
    assert!(!error.contains(SECRET), "{error}");
    let (table, json) = (home.run(&["status"]), home.run(&["status", "--json"]));
    for text in [shim.stderr(), table.stdout, json.stdout] {
        assert!(!text.contains(SECRET), "{text}");
    }
    drop(shim);
    assert_eq!(home.run(&["stop"]).code, 0);
    assert!(!home.log().is_empty(), "the log was looked at");
    // The tokens' own place.
    std::fs::remove_dir_all(home.home().join(".mcp-auth")).expect("it is there");
    search(home.folder());
}
