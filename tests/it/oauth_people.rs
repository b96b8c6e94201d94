//! Who is who: whose tokens and sessions are used, and nobody else's.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use mcp_remote_tests::authorization_server::{Config, FakeAuthorizationServer};
use mcp_remote_tests::home::{SECRET, TestHome};
use mcp_remote_tests::shim::conversation;
use mcp_remote_tests::tls::TestCa;
use mcp_remote_tests::upstream::FakeUpstream;

use crate::support::{agreeing, attached, messages, one_shot, our_error, sign_in};

#[test]
fn each_folder_of_tokens_is_somebody_else() {
    let (server, upstream, mut home, browser) = agreeing(Config::default());
    let url = upstream.url();
    let folder = |home: &TestHome, name: &str| home.folder().join(name);
    let tokens = |folder: PathBuf| -> Vec<String> {
        let entries = std::fs::read_dir(folder.join("mcp-remote-d1")).expect("a folder");
        let names = entries.flatten().map(|entry| entry.file_name());
        let names = names.filter_map(|name| name.into_string().ok());
        names
            .filter(|name| name.ends_with("_tokens.json"))
            .collect()
    };
    // The daemon is started by the first; its folder is nobody else's.
    home.set("MCP_REMOTE_CONFIG_DIR", folder(&home, "one"));
    let mut one = attached(&home, &[&url]);
    one.echo("one");
    home.set("MCP_REMOTE_CONFIG_DIR", folder(&home, "other"));
    let mut other = attached(&home, &[&url]);
    other.echo("other");
    home.unset("MCP_REMOTE_CONFIG_DIR");
    sign_in(&home, &[&url]);
    assert_eq!(browser.visited().len(), 3, "three people");
    assert_eq!(
        upstream.sessions_made(),
        3,
        "nobody works in another's session"
    );
    let usual = home.home().join(".mcp-auth");
    for folder in [folder(&home, "one"), folder(&home, "other"), usual.clone()] {
        let mode = std::fs::metadata(folder.join("mcp-remote-d1")).expect("a folder");
        assert_eq!(mode.permissions().mode() & 0o777, 0o700, "{folder:?}");
        assert_eq!(tokens(folder).len(), 1);
    }
    let status = home.run(&["status"]);
    let place = format!("with tokens in {}", folder(&home, "one").display());
    assert!(status.stdout.contains(&place), "{status:?}");

    // Each signs out for itself.
    home.set("MCP_REMOTE_CONFIG_DIR", folder(&home, "one"));
    let out = home.run(&["logout", &url, "--all"]);
    assert_eq!(out.stdout, format!("Signed out of {url}.\n"), "{out:?}");
    assert!(tokens(folder(&home, "one")).is_empty());
    home.set("MCP_REMOTE_CONFIG_DIR", folder(&home, "other"));
    let out = home.run(&["logout", "--all"]);
    assert_eq!(out.stdout, "Signed out 1 times.\n", "{out:?}");
    assert_eq!(tokens(usual).len(), 1);
    home.unset("MCP_REMOTE_CONFIG_DIR");
    one_shot(&home, &[&url]);
    assert_eq!(browser.visited().len(), 3);
    assert!(server.count("revoke") >= 2, "{:?}", server.labels());
}

#[test]
fn logout_leaves_no_session_to_the_next_person() {
    let (_server, upstream, home, _browser) = agreeing(Config::default());
    let mut staying = attached(&home, &[&upstream.url()]);
    staying.echo("in use");
    sign_in(&home, &[&upstream.url()]);
    assert_eq!(upstream.sessions_alive(), 2, "one is idle");
    assert_eq!(home.run(&["logout", &upstream.url()]).code, 0);
    assert_eq!(
        upstream.sessions_alive(),
        0,
        "all were ended before the tokens"
    );
    // Whoever signs in now works in a session of their own.
    staying.echo("signed in again");
    assert_eq!(upstream.sessions_made(), 3);
    assert_eq!(staying.finish(), 0);
}

#[test]
fn the_next_person_gets_no_session_of_the_one_before() {
    for reuse in ["sequential", "concurrent"] {
        let (server, upstream, home, browser) = agreeing(Config::default());
        let arguments = [upstream.url(), "--reuse".into(), reuse.into()];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut staying = attached(&home, &arguments);
        staying.echo("before");
        assert_eq!(upstream.sessions_made(), 1);
        // Renewed tokens are the same person's.
        server.expire_access_tokens();
        staying.echo("renewed");
        assert_eq!(upstream.sessions_made(), 1, "{reuse}");
        // Of a grant that was withdrawn nobody can say who signs in next.
        server.revoke_all();
        staying.echo("after");
        assert_eq!(browser.visited().len(), 2, "{reuse}");
        assert_eq!(upstream.sessions_made(), 2, "{reuse}");
        upstream.wait_for("DELETE", 1);
    }
}

#[test]
fn a_session_goes_with_its_person_to_the_next_daemon_and_with_nobody_else() {
    let (server, upstream, home, _browser) = agreeing(Config::default());
    let mut staying = attached(&home, &[&upstream.url()]);
    staying.echo("before");
    home.kill_daemon();
    staying.echo("the same person");
    assert_eq!(upstream.sessions_made(), 1);
    home.kill_daemon();
    server.revoke_all();
    staying.echo("another one");
    assert_eq!(upstream.sessions_made(), 2);
}

#[test]
fn a_missing_sign_in_names_the_command_of_whoever_misses_it() {
    let server = FakeAuthorizationServer::start();
    let upstream = FakeUpstream::start();
    server.protect(&upstream);
    let home = TestHome::new();
    let url = format!("{}?key={SECRET}q", upstream.url());
    let header = format!("X-Team: {SECRET}h");
    let finished = home.run_with(&[&url, "--header", &header], &conversation("x"));
    let error = our_error(&messages(&finished.stdout)[0], 0);
    let message = error["message"].as_str().expect("a message");
    let shown = upstream.url();
    let command = format!("run: mcp-remote login '{shown}?...' --header ... (with what");
    assert!(message.contains(&command), "{message}");
    assert!(!message.contains(SECRET), "{message}");
}

#[test]
fn the_command_that_signs_in_is_what_was_given_and_nothing_that_is_configured() {
    let server = FakeAuthorizationServer::start();
    let upstream = FakeUpstream::start();
    server.protect(&upstream);
    let mut home = TestHome::new();
    let url = upstream.url();
    let folder = home.home().join("my certificates");
    std::fs::create_dir(&folder).expect("made");
    let certificates = TestCa::new().write(&folder);
    let path = certificates.display().to_string();
    home.configure(&format!(
        "[servers.hub]\nurl = \"{url}\"\nheaders = {{ X-Team = \"a\" }}\nca_file = \"{path}\"\n"
    ));
    let said = |home: &TestHome, arguments: &[&str]| {
        let finished = home.run(&[arguments, &["--non-interactive"]].concat());
        assert_eq!(finished.code, 11, "{finished:?}");
        let at = finished.stderr.find("; run: ").expect("a command") + "; run: ".len();
        finished.stderr[at..].trim_end().to_owned()
    };
    assert_eq!(said(&home, &["hub"]), "mcp-remote login hub");
    let given = said(&home, &[&url, "--ca-file", &path]);
    assert_eq!(given, format!("mcp-remote login {url} --ca-file '{path}'"));
    home.set("NODE_EXTRA_CA_CERTS", &path);
    let command = said(&home, &[&url]);
    assert_eq!(command, format!("mcp-remote login {url}"));
}

#[test]
fn who_gets_more_access_stays_in_their_session() {
    let (server, upstream, home, browser) = agreeing(Config {
        scopes: Some("read".to_owned()),
        ..Config::default()
    });
    let mut shim = attached(&home, &[&upstream.url()]);
    shim.echo("read");
    server.want_scope("write");
    shim.echo("write");
    assert_eq!(browser.visited().len(), 2);
    assert_eq!(upstream.sessions_made(), 1);
}

#[test]
fn a_server_is_signed_out_of_by_whatever_flags_and_however_long_ago() {
    let (server, upstream, home, _browser) = agreeing(Config::default());
    let url = upstream.url();
    sign_in(&home, &[&url, "--header", "X-Team: a"]);
    let elsewhere = FakeUpstream::start();
    server.protect(&elsewhere);
    sign_in(&home, &[&elsewhere.url()]);
    assert_eq!(home.run(&["stop"]).code, 0);
    let out = home.run(&["logout", &url, "--all"]);
    assert_eq!(out.stdout, format!("Signed out of {url}.\n"), "{out:?}");
    assert!(server.count("revoke") >= 1, "{:?}", server.labels());
    one_shot(&home, &[&elsewhere.url()]);
    assert_eq!(server.count("authorize"), 2, "that one still is");
}
