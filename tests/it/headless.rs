//! Commands that are not interactive ask nobody to sign in, wait for nobody, and say
//! at once which command would help. Others go on as if they were not there.

use std::time::{Duration, Instant};

use mcp_remote_tests::authorization_server::{Config, Device, FakeAuthorizationServer};
use mcp_remote_tests::browser::Browser;
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::shim::{conversation, text_of};
use mcp_remote_tests::terminal::TestTerminal;
use mcp_remote_tests::upstream::{FakeUpstream, Reply, Rpc};

use crate::support::{agreeing, attached, messages, one_sentence, one_shot, our_error, sign_in};

/// A command may take this long to say that nobody is signed in: a second, and the
/// start of a daemon on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(3);

fn guarded() -> (FakeAuthorizationServer, FakeUpstream, TestHome) {
    let server = FakeAuthorizationServer::with(Config {
        device: Some(Device::default()),
        ..Config::default()
    });
    let upstream = FakeUpstream::start();
    server.protect(&upstream);
    (server, upstream, TestHome::new())
}

#[test]
fn nobody_is_asked_and_the_command_to_run_is_named() {
    for by_environment in [false, true] {
        let (server, upstream, mut home) = guarded();
        let browser = Browser::agreeing(&mut home);
        let url = upstream.url();
        let flag: &[&str] = match by_environment {
            true => {
                home.set("CI", "true");
                &[]
            }
            false => &["--non-interactive"],
        };
        let sentence =
            format!("a command that is not interactive asks nobody; run: mcp-remote login {url}");
        for words in [
            &["login", &url][..],
            &["tools", &url],
            &["call", &url, "echo"],
        ] {
            let begun = Instant::now();
            let finished = home.run(&[&[words[0]], flag, &words[1..]].concat());
            assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
            assert_eq!(finished.code, 11, "{finished:?}");
            assert_eq!(finished.stdout, "", "{finished:?}");
            assert!(finished.stderr.contains(&sentence), "{finished:?}");
            assert_eq!(finished.stderr.lines().count(), 1, "{finished:?}");
        }
        let mut shim = home.shim(&[&[&*url], flag].concat());
        let begun = Instant::now();
        let error = our_error(&shim.handshake(), 0);
        assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains(&sentence), "{message}");
        assert!(error["data"].get("authorizationUrl").is_none(), "{error}");
        // Its client has not ended standard input.
        assert_eq!(shim.wait_for(AT_ONCE), Some(11), "{}", shim.stderr());
        assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
        assert_eq!(shim.rest(), "");
        assert!(one_sentence(&shim.stderr()).contains(&sentence));
        assert_eq!(browser.visited().len(), 0);
        let asked = server.labels();
        assert_eq!(asked, [""; 0], "not even where it would be: {asked:?}");
    }
}

#[test]
fn others_are_asked_all_the_same_and_nothing_of_it_is_in_its_log() {
    let (server, upstream, home) = guarded();
    let url = upstream.url();
    let mut person = home.shim(&[&url]);
    person.send_raw(conversation("a person").as_bytes());
    person.wait_for_stderr("CODE-0001");
    let begun = Instant::now();
    let build = home.run_with(&[&url, "--non-interactive"], &conversation("a build"));
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    assert_eq!(build.code, 11, "{build:?}");
    let answers = messages(&build.stdout);
    let error = our_error(&answers[0], 0);
    our_error(&answers[1], 1);
    assert!(!error.to_string().contains("CODE-"), "{error}");
    assert!(!build.stderr.contains("CODE-"), "{build:?}");
    server.enter("CODE-0001");
    let (first, second) = (person.message(), person.message());
    let call = if first["id"] == 1 { first } else { second };
    assert_eq!(text_of(&call), "a person");
    assert_eq!(person.finish(), 0);
    // With somebody signed in it is a command like any other, renewals included.
    server.expire_access_tokens();
    one_shot(&home, &[&url, "--non-interactive"]);
    assert_eq!(server.count("device"), 1);
}

#[test]
fn who_is_signed_out_ends_once_all_answers_are_there() {
    let (server, upstream, home, browser) = agreeing(Config::default());
    let url = upstream.url();
    sign_in(&home, &[&url]);
    let mut build = attached(&home, &[&url, "--non-interactive"]);
    let slow = build.begin_call("hold", r#"{"gate":"g"}"#);
    upstream.wait_for_hold("g");
    server.revoke_all();
    let refused = build.begin_call("echo", r#"{"message":"x"}"#);
    our_error(&build.message(), refused);
    assert!(build.runs(), "an answer is still owed");
    upstream.open_gate("g");
    assert_eq!(text_of(&build.message()), "held g");
    assert_eq!(slow, 1);
    assert_eq!(build.wait_for(AT_ONCE), Some(11), "{}", build.stderr());
    assert!(one_sentence(&build.stderr()).contains("run: mcp-remote login "));
    assert_eq!(build.rest(), "");
    assert_eq!(browser.visited().len(), 1);
}

#[test]
fn who_is_signed_in_by_another_meanwhile_goes_on() {
    let (server, upstream, home, browser) = agreeing(Config::default());
    let url = upstream.url();
    sign_in(&home, &[&url]);
    let mut build = attached(&home, &[&url, "--non-interactive", "--reuse", "never"]);
    build.begin_call("hold", r#"{"gate":"g"}"#);
    upstream.wait_for_hold("g");
    server.revoke_all();
    let refused = build.begin_call("echo", r#"{"message":"x"}"#);
    our_error(&build.message(), refused);
    assert_eq!(home.run(&["login", &url]).code, 0);
    upstream.open_gate("g");
    build.message();
    build.echo("with the new token");
    assert_eq!(build.finish(), 0);
    assert_eq!(browser.visited().len(), 2);
}

#[test]
fn a_call_that_lacks_access_ends_no_bridge_that_has_some() {
    let (server, upstream, home, browser) = agreeing(Config::default());
    server.protect_scripted(&upstream, |request| {
        let rpc = Rpc::parse(&request.body)?;
        let challenge = r#"Bearer error="insufficient_scope", scope="write""#;
        (rpc.param("/name") == "session")
            .then(|| Reply::status(403).with("WWW-Authenticate", challenge))
    });
    let url = upstream.url();
    sign_in(&home, &[&url]);
    let mut build = attached(&home, &[&url, "--non-interactive"]);
    let refused = build.begin_call("session", "{}");
    our_error(&build.message(), refused);
    build.echo("what it has is good for this");
    assert_eq!(build.finish(), 0);
    assert_eq!(browser.visited().len(), 1);
}

#[test]
fn a_person_at_a_terminal_is_asked_even_where_ci_is_set() {
    let (server, upstream, mut home) = guarded();
    home.set("CI", "true");
    let command = home.command("mcp-remote", &["login", &upstream.url()]);
    let terminal = TestTerminal::start(&command, 100, 60);
    terminal.wait_for_text("CODE-0001");
    server.enter("CODE-0001");
    assert_eq!(terminal.wait(), 0);
}

#[test]
fn the_configuration_says_it_for_all_but_login() {
    let (server, upstream, home) = guarded();
    let url = upstream.url();
    let added = home.run(&["add", "quiet", &url, "--non-interactive", "--device"]);
    assert_eq!(added.code, 0, "{added:?}");
    let file = std::fs::read_to_string(home.home().join(".config/mcp-remote/config.toml"));
    let file = file.expect("it is written");
    assert!(
        file.contains("non_interactive = true") && file.contains("device_code = true"),
        "{file}"
    );
    let finished = home.run_with(&["quiet"], &conversation("x"));
    assert_eq!(finished.code, 11, "{finished:?}");
    let error = our_error(&messages(&finished.stdout)[0], 0);
    let message = error["message"].as_str().expect("a message");
    assert!(
        message.contains("asks nobody; run: mcp-remote login"),
        "{message}"
    );
    let login = home.shim(&["login", "quiet"]);
    login.wait_for_stderr("CODE-0001");
    server.enter("CODE-0001");
    assert_eq!(login.wait(), 0, "{}", login.stderr());
    one_shot(&home, &["quiet"]);
}

#[test]
fn a_bridge_whose_own_token_is_missing_or_refused_ends_too() {
    let (_server, upstream, home) = guarded();
    let url = upstream.url();
    let missing = home.home().join("missing").display().to_string();
    for given in [
        ["--bearer-token-file", &missing],
        ["--header", "Authorization: Bearer refused"],
    ] {
        let line = [&[&*url, "--non-interactive"], &given[..]].concat();
        let mut shim = home.shim(&line);
        let error = our_error(&shim.handshake(), 0);
        assert!(error["message"].is_string(), "{error}");
        assert_eq!(shim.wait_for(AT_ONCE), Some(11), "{}", shim.stderr());
        one_sentence(&shim.stderr());
        // Whoever may wait does, since somebody may put it there.
        let mut patient = home.shim(&[&[&*url], &given[..]].concat());
        our_error(&patient.handshake(), 0);
        assert_eq!(patient.finish(), 0);
    }
}
