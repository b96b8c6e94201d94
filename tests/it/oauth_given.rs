//! Tokens that others have got, in a file, from a program or in a header: sent as they
//! are, replaced when they change, and named when they are refused.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use mcp_remote_tests::authorization_server::{Config, FakeAuthorizationServer};
use mcp_remote_tests::home::{SECRET, TestHome};
use mcp_remote_tests::shim::{TestShim, conversation, text_of};
use mcp_remote_tests::upstream::FakeUpstream;
use serde_json::json;

use crate::support::{attached, messages, one_shot, our_error};

/// A guarded server, and a home without a browser.
type Guarded = (FakeAuthorizationServer, FakeUpstream, TestHome);

fn guarded() -> Guarded {
    let server = FakeAuthorizationServer::with(Config::default());
    let upstream = FakeUpstream::start();
    server.protect(&upstream);
    (server, upstream, TestHome::new())
}

/// Puts a file in the place of another, as those do who mount tokens.
fn replace(path: &Path, text: impl AsRef<[u8]>) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).expect("written");
    std::fs::rename(&new, path).expect("moved");
}

fn token_file(home: &TestHome, text: impl AsRef<[u8]>) -> (PathBuf, String) {
    let path = home.home().join("token");
    replace(&path, text);
    let shown = path.display().to_string();
    (path, shown)
}

/// Runs a conversation that ends in an error; returns its sentence.
#[track_caller]
fn refused(home: &TestHome, line: &[&str], limit: Duration) -> String {
    let begun = Instant::now();
    let finished = home.run_with(line, &conversation("x"));
    assert!(begun.elapsed() < limit, "{finished:?}");
    let answers = messages(&finished.stdout);
    let error = our_error(&answers[0], 0);
    let sentence = error["message"].as_str().expect("a sentence").to_owned();
    for text in [&sentence, &finished.stderr] {
        assert!(!text.contains(SECRET) && !text.contains("novel"), "{text}");
    }
    assert!(!sentence.contains("mcp-remote login"), "{sentence}");
    sentence
}

const SOON: Duration = Duration::from_secs(15);

#[test]
fn a_token_file_is_sent_and_read_again_when_its_token_is_refused() {
    let (server, upstream, home) = guarded();
    let (path, shown) = token_file(&home, format!("{}\n", server.issue()));
    let url = upstream.url();
    let line = [&*url, "--bearer-token-file", &shown];
    one_shot(&home, &line);
    let mut shims: Vec<TestShim> = (0..10).map(|_| attached(&home, &line)).collect();
    for round in ["one", "two"] {
        server.expire_access_tokens();
        replace(&path, server.issue());
        for shim in &mut shims {
            shim.begin_call("echo", &format!(r#"{{"message":"{round}"}}"#));
        }
        for shim in &shims {
            assert_eq!(text_of(&shim.message()), round, "{}", shim.stderr());
        }
    }
    assert_eq!(server.labels(), [""; 0], "nobody else was asked");
    let status = home.run(&["status"]);
    let said = format!("{url} uses token file {shown}");
    assert!(status.stdout.contains(&said), "{status:?}");
    assert!(!home.log().contains(SECRET), "a token is in the log");
    let kept = std::fs::read_dir(home.home().join(".mcp-auth"));
    assert!(kept.is_err(), "nothing is kept of it");
}

#[test]
fn a_token_file_that_changes_counts_soon_also_while_the_old_token_is_good() {
    let (server, upstream, home) = guarded();
    let (path, shown) = token_file(&home, server.issue());
    let mut shim = attached(&home, &[&upstream.url(), "--bearer-token-file", &shown]);
    shim.echo("old");
    let new = server.issue();
    replace(&path, &new);
    let expected = format!("Bearer {new}");
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        shim.echo("which");
        let requests = upstream.requests();
        let last = requests.last().expect("there are some");
        if last.header("Authorization") == Some(&expected) {
            break;
        }
        assert!(Instant::now() < deadline, "it is still the old one");
    }
    // Gone for a moment, it does no harm: the token is known.
    std::fs::remove_file(&path).expect("ours");
    shim.echo("still");
}

#[test]
fn a_token_file_that_holds_no_token_is_one_sentence_and_the_server_is_not_asked() {
    let (_server, upstream, home) = guarded();
    let (path, shown) = token_file(&home, "");
    let (url, other) = (upstream.url(), FakeUpstream::start());
    let line = [&*url, "--bearer-token-file", &shown];
    let refused = |expected: &str| {
        let sentence = refused(&home, &line, SOON);
        assert!(sentence.contains("was not asked"), "{sentence}");
        assert!(sentence.contains(expected), "{sentence}");
        assert!(sentence.contains(&shown), "{sentence}");
        one_shot(&home, &[&other.url()]);
    };
    refused("is empty");
    replace(&path, " \n \n");
    refused("is empty");
    replace(&path, format!("error: {SECRET}a novel of words"));
    refused("more than one word");
    replace(&path, b"\x7fELF\0\x01\x02");
    refused("no text");
    replace(&path, format!("{SECRET}x").repeat(20_000));
    refused("64 KiB");
    replace(&path, format!(r#"{{"token":"{SECRET}x"}}"#));
    refused("access_token");
    replace(&path, format!("{SECRET}x"));
    let permissions = std::fs::Permissions::from_mode(0o622);
    std::fs::set_permissions(&path, permissions).expect("ours");
    refused("chmod go-w");
    std::fs::remove_file(&path).expect("ours");
    refused("No such file");
    std::fs::create_dir(&path).expect("made");
    refused("not a regular file");
    assert_eq!(upstream.requests().len(), 0);
    let login = home.run(&["login", &url, "--bearer-token-file", &shown]);
    assert_eq!(login.code, 11, "{login:?}");
    let status = home.run(&["status", &url]);
    assert_eq!(status.code, 11, "{status:?}");
}

#[test]
fn a_token_that_is_refused_while_a_session_is_open_is_for_somebody_to_mend() {
    let (server, upstream, home) = guarded();
    let (_path, shown) = token_file(&home, server.issue());
    let mut shim = attached(&home, &[&upstream.url(), "--bearer-token-file", &shown]);
    shim.echo("good");
    assert_eq!(home.run(&["status"]).code, 0);
    server.expire_access_tokens();
    let refused = shim.call("echo", r#"{"message":"x"}"#);
    assert!(refused["error"].is_object(), "{refused}");
    let status = home.run(&["status"]);
    assert_eq!(status.code, 11, "{status:?}");
    assert!(status.stdout.contains("it refuses the token"), "{status:?}");
    assert!(status.stdout.contains("1 server needs you."), "{status:?}");
}

#[test]
fn paths_are_seen_from_where_the_command_runs() {
    let (server, upstream, home) = guarded();
    let (_path, _) = token_file(&home, server.issue());
    let url = upstream.url();
    let mut command = home.command(
        "mcp-remote",
        &["login", &url, "--bearer-token-file", "token"],
    );
    command.current_dir(home.home());
    let finished = mcp_remote_tests::home::finish(&mut command);
    assert_eq!(finished.code, 0, "{finished:?}");
}

#[test]
fn a_refused_token_says_whose_it_is() {
    let (_server, upstream, home) = guarded();
    let (_path, shown) = token_file(&home, format!("{SECRET}old"));
    let url = upstream.url();
    let line = [&*url, "--bearer-token-file", &shown];
    let sentence = refused(&home, &line, SOON);
    let said = format!("it refuses the token from token file {shown}");
    assert!(sentence.contains(&said), "{sentence}");
    let status = home.run(&["status"]);
    assert!(status.stdout.contains(&said), "{status:?}");
    assert_eq!(status.code, 11, "{status:?}");
    let program = program(&home, &format!("echo {SECRET}old"));
    configure(&home, &url, &[&program]);
    let sentence = refused(&home, &["given"], SOON);
    let said = "it refuses the token from token command program";
    assert!(sentence.contains(said), "{sentence}");
    let header = format!("Authorization: Bearer {SECRET}old");
    let sentence = refused(&home, &[&url, "--header", &header], SOON);
    assert!(sentence.contains("401 unauthorized"), "{sentence}");
    assert!(
        sentence.contains("refuses the Authorization header"),
        "{sentence}"
    );
}

/// Writes a program; returns its path.
fn program(home: &TestHome, script: &str) -> String {
    let path = home.home().join("program");
    replace(&path, format!("#!/bin/sh\n{script}\n"));
    let permissions = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(&path, permissions).expect("ours");
    path.display().to_string()
}

fn configure(home: &TestHome, url: &str, words: &[&str]) {
    let words = json!(words);
    home.configure(&format!(
        "[servers.given]\nurl = \"{url}\"\nbearer_token_command = {words}\n"
    ));
    if home.daemon_pid().is_some() {
        assert_eq!(home.run(&["reload"]).code, 0);
    }
}

fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_program_is_run_without_a_shell_once_for_everybody_until_its_token_is_refused() {
    let (server, upstream, home) = guarded();
    let (path, shown) = token_file(&home, server.issue());
    let runs = home.home().join("runs");
    let program = program(
        &home,
        &format!(
            "echo \"$# $2\" >> {}\ncat >/dev/null\ncat {shown}",
            runs.display()
        ),
    );
    let odd = "$(touch /tmp/x); `id` 'a b'";
    configure(&home, &upstream.url(), &[&program, "one", odd]);
    let mut shims: Vec<TestShim> = (0..10).map(|_| home.shim(&["given"])).collect();
    for shim in &mut shims {
        assert!(shim.handshake()["result"].is_object(), "{}", shim.stderr());
        shim.echo("one");
    }
    assert_eq!(lines(&runs), [format!("2 {odd}")], "once, word for word");
    server.expire_access_tokens();
    replace(&path, server.issue());
    for shim in &mut shims {
        shim.begin_call("echo", r#"{"message":"two"}"#);
    }
    for shim in &shims {
        assert_eq!(text_of(&shim.message()), "two", "{}", shim.stderr());
    }
    assert_eq!(lines(&runs).len(), 2);
    let status = home.run(&["status"]);
    assert!(
        status.stdout.contains("uses token command program"),
        "{status:?}"
    );
    let list = home.run(&["list", "--json"]);
    assert!(!list.stdout.contains("a b"), "{list:?}");
}

#[test]
fn the_life_that_a_program_says_counts() {
    let (server, upstream, home) = guarded();
    let runs = home.home().join("runs");
    let answer = json!({ "access_token": server.issue(), "expires_in": 3600 });
    let program = program(
        &home,
        &format!("echo x >> {}\necho '{answer}'", runs.display()),
    );
    configure(&home, &upstream.url(), &[&program]);
    one_shot(&home, &["given"]);
    let status = home.run(&["status"]);
    assert!(status.stdout.contains("token 59m"), "{status:?}");
    assert_eq!(lines(&runs).len(), 1);
}

#[test]
fn a_program_that_prints_no_token_is_one_sentence_and_the_server_is_not_asked() {
    let (_server, upstream, home) = guarded();
    let (url, other) = (upstream.url(), FakeUpstream::start());
    let secret = format!("{SECRET}x");
    for (script, expected) in [
        ("true".to_owned(), "prints nothing"),
        (format!("echo {secret}; exit 3"), "exit code 3"),
        (format!("echo {secret} >&2; exit 1"), "exit code 1"),
        ("kill -9 $$".to_owned(), "was killed"),
        (
            format!("while :; do echo {secret} novel; done"),
            "more than 64 KiB",
        ),
        (format!("echo {secret} is a novel"), "more than one word"),
    ] {
        let program = program(&home, &script);
        configure(&home, &url, &[&program, &secret]);
        let sentence = refused(&home, &["given"], SOON);
        assert!(sentence.contains("token command"), "{sentence}");
        assert!(sentence.contains(expected), "{script}: {sentence}");
        one_shot(&home, &[&other.url()]);
        assert_eq!(home.run(&["stop"]).code, 0);
    }
    configure(&home, &url, &["/nonexistent/program"]);
    let sentence = refused(&home, &["given"], SOON);
    assert!(sentence.contains("cannot be started"), "{sentence}");
    assert_eq!(upstream.requests().len(), 0);
    assert!(!home.log().contains(SECRET), "{}", home.log());
}

#[test]
fn what_a_program_leaves_running_does_not_hold_up_its_token() {
    let (server, upstream, home) = guarded();
    let left = home.home().join("left");
    let token = server.issue();
    let script = format!("sleep 1000 & echo $! > {}; echo {token}", left.display());
    let program = program(&home, &script);
    configure(&home, &upstream.url(), &[&program]);
    one_shot(&home, &["given"]);
    let ended = Command::new("kill").args(lines(&left)).status();
    assert!(ended.expect("there is a kill").success());
}

#[test]
fn a_program_that_hangs_is_ended_with_what_it_started_and_holds_up_nobody_else() {
    let (_server, upstream, home) = guarded();
    let pids = home.home().join("pids");
    let script = format!("sleep 1000 & echo $$ $! >> {}; wait", pids.display());
    let program = program(&home, &script);
    configure(&home, &upstream.url(), &[&program]);
    let other = FakeUpstream::start();
    let mut hanging = home.shim(&["given"]);
    let begun = Instant::now();
    hanging.send(conversation("x").lines().next().expect("a line"));
    one_shot(&home, &[&other.url()]);
    assert!(begun.elapsed() < Duration::from_secs(10));
    let answer = hanging.line_within(Duration::from_secs(30));
    let answer = answer.expect("it is given up");
    assert!(answer.contains("did not end within 20 s"), "{answer}");
    let deadline = Instant::now() + Duration::from_secs(5);
    let text = lines(&pids).join(" ");
    let runs = |pid: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    };
    while text.split(' ').any(runs) {
        assert!(Instant::now() < deadline, "{text} are still there");
        std::thread::yield_now();
    }
}

/// What a file system that does not answer does to whoever starts a program from it.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn a_program_that_cannot_be_started_holds_up_nobody_else() {
    let (server, upstream, home) = guarded();
    let program = program(&home, &format!("echo {}", server.issue()));
    configure(&home, &upstream.url(), &[&program]);
    let other = FakeUpstream::start();
    let mut alive = attached(&home, &[&other.url()]);
    let held = mcp_remote_tests::lease::Lease::take(Path::new(&program));
    let begun = Instant::now();
    let mut hanging: Vec<TestShim> = (0..3).map(|_| home.shim(&["given"])).collect();
    for shim in &mut hanging {
        shim.send(conversation("x").lines().next().expect("a line"));
    }
    alive.echo("still");
    one_shot(&home, &[&other.url()]);
    assert!(begun.elapsed() < Duration::from_secs(10));
    for shim in &hanging {
        let answer = shim.line_within(Duration::from_secs(30));
        let answer = answer.expect("it is given up");
        let said = "the token command could not be started within 20 s";
        assert!(answer.contains(said), "{answer}");
    }
    // Nor does it hold up the next daemon.
    assert_eq!(home.run(&["stop"]).code, 0);
    one_shot(&home, &[&other.url()]);
    drop(held);
    one_shot(&home, &["given"]);
}

#[test]
fn a_token_is_never_given_to_every_server() {
    for text in [
        "bearer_token_command = [\"x\"]",
        "bearer_token_file = \"/t\"",
        "client_credentials = true",
        "client_key = \"/k\"",
        "token_endpoint = \"https://as.example/\"",
    ] {
        let home = TestHome::new();
        home.configure(&format!("[defaults]\n{text}\n"));
        let list = home.run(&["list"]);
        let said = format!("{list:?}");
        assert!(
            said.contains("cannot stand in [defaults]"),
            "{text}: {said}"
        );
    }
    for (text, named) in [
        ("bearer_token_command = []", "bearer_token_command"),
        (
            "bearer_token_command = [\"x\"]\nbearer_token_file = \"/t\"",
            "bearer_token_command",
        ),
        (
            "bearer_token_file = \"/t\"\nheaders = { Authorization = \"Bearer x\" }",
            "bearer_token_file",
        ),
        ("client_credentials = true", "client_credentials"),
    ] {
        let home = TestHome::new();
        home.configure(&format!("[servers.a]\nurl = \"https://h/\"\n{text}\n"));
        let list = home.run(&["list"]);
        assert!(format!("{list:?}").contains(named), "{text}: {list:?}");
    }
}

#[test]
fn what_the_command_line_says_of_whose_token_it_is_wins_over_the_entry() {
    let (server, upstream, home) = guarded();
    let url = upstream.url();
    home.configure(&format!(
        "[servers.given]\nurl = \"{url}\"\nheaders = {{ Authorization = \"Bearer x\" }}\n"
    ));
    let (_path, shown) = token_file(&home, server.issue());
    one_shot(&home, &["given", "--bearer-token-file", &shown]);
    configure(&home, &url, &["/nonexistent/program"]);
    one_shot(&home, &["given", "--bearer-token-file", &shown]);
    let header = format!("Authorization: Bearer {}", server.issue());
    one_shot(&home, &["given", "--header", &header]);
}

#[test]
fn a_program_whose_token_is_sent_has_nobody_elses_sign_in_in_status() {
    let (server, upstream, home) = guarded();
    let program = program(&home, &format!("echo {}", server.issue()));
    let url = upstream.url();
    configure(&home, &url, &[&program]);
    one_shot(&home, &["given"]);
    // Somebody would have to sign in for the plain URL.
    assert_eq!(home.run(&["tools", "--non-interactive", &url]).code, 11);
    let status = home.run(&["status", "--json", "given"]);
    let parsed: serde_json::Value = serde_json::from_str(&status.stdout).expect("JSON");
    let auth = parsed["servers"][0]["auth"].as_array().expect("a list");
    assert_eq!((status.code, auth.len()), (0, 1), "{status:?}");
    assert_eq!(auth[0]["account"], "token command program", "{status:?}");
}

#[test]
fn a_token_file_that_is_mended_counts_at_once_however_often_it_was_refused() {
    let (server, upstream, home) = guarded();
    let (path, shown) = token_file(&home, "bad-0");
    let url = upstream.url();
    let line = [&*url, "--bearer-token-file", &shown];
    let begun = Instant::now();
    for round in 1..=8 {
        let answers = messages(&home.run_with(&line, &conversation("x")).stdout);
        our_error(&answers[1], 1);
        replace(&path, server.issue());
        one_shot(&home, &line);
        replace(&path, format!("bad-{round}"));
        server.revoke_all();
    }
    // Else the pauses were over, and nothing was shown.
    assert!(
        begun.elapsed() < Duration::from_secs(60),
        "{:?}",
        begun.elapsed()
    );
}
