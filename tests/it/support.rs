//! What several promises need: checks on errors, and usual situations.

use std::path::PathBuf;

use mcp_remote_tests::authorization_server::{Config, FakeAuthorizationServer};
use mcp_remote_tests::browser::Browser;
use mcp_remote_tests::home::{Finished, TestHome};
use mcp_remote_tests::shim::{TestShim, conversation};
use mcp_remote_tests::upstream::FakeUpstream;
use serde_json::Value;

/// Checks that `response` is an error of ours for the request `id`, fit for a
/// person and a program; returns it.
#[track_caller]
pub(crate) fn our_error(response: &Value, id: impl Into<Value>) -> Value {
    assert_eq!(response["id"], id.into(), "{response}");
    let error = &response["error"];
    assert_eq!(error["code"], -32001, "{response}");
    let message = error["message"].as_str().expect("errors have a message");
    let sentence = message.strip_prefix("mcp-remote: ");
    assert!(
        sentence.is_some_and(|sentence| sentence.len() > 15),
        "{message:?}"
    );
    assert!(!message.contains(char::is_control), "{message:?}");
    let data = error["data"].as_object().expect("errors carry data");
    let named = ["httpStatus", "cause", "maybeExecuted", "server"];
    assert!(named.iter().any(|name| data.contains_key(*name)), "{error}");
    if let Some(status) = data.get("httpStatus") {
        assert!(status.is_u64(), "{error}");
    }
    error.clone()
}

/// Checks that there is exactly one line, a sentence.
#[track_caller]
pub(crate) fn one_sentence(stderr: &str) -> &str {
    let lines: Vec<&str> = stderr.lines().collect();
    assert_eq!(lines.len(), 1, "one line was expected: {stderr:?}");
    assert!(lines[0].len() > 15, "{stderr:?}");
    lines[0]
}

/// Runs a whole conversation; checks that both answers came.
#[track_caller]
pub(crate) fn one_shot(home: &TestHome, arguments: &[&str]) -> Finished {
    let finished = home.run_with(arguments, &conversation("hello"));
    let answers = messages(&finished.stdout);
    assert_eq!(finished.code, 0, "{finished:?}");
    assert_eq!(answers.len(), 2, "{finished:?}");
    let with_id = |id: u64| answers.iter().find(|answer| answer["id"] == id);
    let name = with_id(0).and_then(|answer| answer.pointer("/result/serverInfo/name"));
    assert_eq!(name, Some(&Value::from("fake-upstream")), "{finished:?}");
    let text = with_id(1).and_then(|answer| answer.pointer("/result/content/0/text"));
    assert_eq!(text, Some(&Value::from("hello")), "{finished:?}");
    finished
}

/// Reads the lines of standard output, each of which is a message.
#[track_caller]
pub(crate) fn messages(stdout: &str) -> Vec<Value> {
    let lines = stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("standard output carries messages only"))
        .collect()
}

/// Starts a shim and makes the handshake.
pub(crate) fn attached(home: &TestHome, arguments: &[&str]) -> TestShim {
    let mut shim = home.shim(arguments);
    let answer = shim.handshake();
    assert!(answer["result"].is_object(), "{answer}");
    shim
}

/// A shim whose standard output the test can close.
pub(crate) fn with_open_output(home: &TestHome, url: &str) -> (TestShim, std::io::PipeReader) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut command = home.command("mcp-remote", &[url]);
    let shim = TestShim::start(command.stdout(writer));
    // The command holds the writer's other end.
    drop(command);
    (shim, reader)
}

/// Returns the files of the tokens of a home.
pub(crate) fn token_files(home: &TestHome) -> Vec<PathBuf> {
    let folder = home.home().join(".mcp-auth/mcp-remote-d1");
    let entries = std::fs::read_dir(folder).expect("there is a token folder");
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    files
}

/// A guarded server, its authorization server, and a home whose browser agrees.
pub(crate) type Guarded = (FakeAuthorizationServer, FakeUpstream, TestHome, Browser);

/// Makes one where nobody has signed in.
pub(crate) fn agreeing(config: Config) -> Guarded {
    let server = FakeAuthorizationServer::with(config);
    let upstream = FakeUpstream::start();
    server.protect(&upstream);
    let mut home = TestHome::new();
    let browser = Browser::agreeing(&mut home);
    (server, upstream, home, browser)
}

/// Makes one where somebody has.
pub(crate) fn signed_in(config: Config) -> Guarded {
    let guarded = agreeing(config);
    let (_, upstream, home, _) = &guarded;
    sign_in(home, &[&upstream.url()]);
    guarded
}

/// Signs in with a client that waits for it.
pub(crate) fn sign_in(home: &TestHome, arguments: &[&str]) {
    let mut shim = attached(home, arguments);
    shim.echo("signed in");
    assert_eq!(shim.finish(), 0);
}
