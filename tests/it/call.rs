//! `mcp-remote call` and `mcp-remote tools`: what is typed reaches the tool as its
//! schema says, and what it answers reaches the user.

use std::process::Stdio;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use mcp_remote_tests::authorization_server::{self, FakeAuthorizationServer};
use mcp_remote_tests::browser::Browser;
use mcp_remote_tests::fake_daemon::FakeDaemon;
use mcp_remote_tests::home::{Finished, TestHome};
use mcp_remote_tests::monitor::Monitor;
use mcp_remote_tests::upstream::{Config, FakeUpstream, Replies, Reply, Rpc};
use serde_json::Value;

use crate::support::one_sentence;

const TOOLS: &str = r#"{"tools":[{"name":"put","title":"Put","description":"Puts\nit.","inputSchema":{"type":"object","required":["text"],"properties":{"text":{"type":"string","description":"What to put"},"count":{"type":"integer","default":3},"dry_run":{"type":"boolean"},"tags":{"type":"array","items":{"type":"string"}},"json":{"type":"string"}}}},{"name":"show","description":"Shows","inputSchema":{"type":"object","properties":{}}},{"name":"hold","inputSchema":{"type":"object"}},{"name":"session","inputSchema":{"type":"object"}}]}"#;

const DECLARES: &str = r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true}},"serverInfo":{"name":"fake-upstream","version":"1"}}"#;

/// A server with tools, whose `put` says what it got, byte for byte.
fn server(config: Config) -> FakeUpstream {
    let upstream = FakeUpstream::with(config);
    upstream.answer("initialize", DECLARES);
    upstream.answer("tools/list", TOOLS);
    upstream.script(|request| {
        let rpc = Rpc::parse(&request.body)?;
        let put = rpc.method() == "tools/call" && rpc.param("/name") == "put";
        put.then(|| {
            let params = rpc.params.as_ref().map_or("", |params| params.get());
            let arguments = params
                .split_once(r#""arguments":"#)
                .expect("they are sent")
                .1;
            let text = Value::from(&arguments[..arguments.len() - 1]);
            Reply::json(
                200,
                rpc.result(&format!(
                    r#"{{"content":[{{"type":"text","text":{text}}}]}}"#
                )),
            )
        })
    });
    upstream
}

fn call(home: &TestHome, url: &str, words: &[&str]) -> Finished {
    home.run(&[&["call", url], words].concat())
}

#[track_caller]
fn refused(finished: &Finished, code: i32, words: &[&str]) {
    assert_eq!(finished.code, code, "{finished:?}");
    assert_eq!(finished.stdout, "");
    let sentence = one_sentence(&finished.stderr);
    for word in words {
        assert!(sentence.contains(word), "{word:?} is not in {sentence:?}");
    }
}

#[test]
fn words_reach_the_tool_as_its_schema_says() {
    for replies in [Replies::Json, Replies::Events] {
        let upstream = server(Config {
            replies,
            ..Config::default()
        });
        let (home, url) = (TestHome::new(), upstream.url());
        for (words, sent) in [
            (&["--text", "5"][..], r#"{"text":"5"}"#),
            (
                &["--text=a b", "--count", "12345678901234567890", "--dry-run"],
                r#"{"text":"a b","count":12345678901234567890,"dry_run":true}"#,
            ),
            (
                &["--tags", "a", "--tags", "b", "--text", "", "--no-dry-run"],
                r#"{"tags":["a","b"],"text":"","dry_run":false}"#,
            ),
            (
                &["--", "--json", "{}", "--text", "x"],
                r#"{"json":"{}","text":"x"}"#,
            ),
            (
                &["--json", r#"{"any":1.50, "n":9007199254740993}"#],
                r#"{"any":1.50, "n":9007199254740993}"#,
            ),
        ] {
            let done = call(&home, &url, &[&["put"], words].concat());
            assert_eq!(done.code, 0, "{words:?}: {done:?}");
            assert_eq!(done.stdout, format!("{sent}\n"), "{words:?}");
            assert_eq!(done.stderr, "", "{words:?}");
        }
    }
}

#[test]
fn arguments_come_from_a_file_or_standard_input_too() {
    let upstream = server(Config::default());
    let (home, url) = (TestHome::new(), upstream.url());
    let json = "{\n \"text\": \"é\"\n}";
    std::fs::write(home.folder().join("a.json"), json).expect("a file");
    let done = call(&home, &url, &["--json", "@a.json", "put"].map(|word| word));
    assert_eq!((done.code, done.stdout), (0, format!("{json}\n")));
    let done = home.run_with(&["call", &url, "put", "--json", "-"], json);
    assert_eq!((done.code, done.stdout), (0, format!("{json}\n")));
    refused(
        &call(&home, &url, &["--json", "@none.json", "put"]),
        2,
        &["none.json", "cannot be read"],
    );
    // It takes no room, and is not a part of what it says.
    let large = std::fs::File::create(home.folder().join("large.json")).expect("a file");
    large.set_len(40 << 20).expect("it grows");
    let done = call(&home, &url, &["--json", "@large.json", "put"]);
    refused(&done, 2, &["large.json", "more than 33554432 bytes"]);
    for bad in ["[1]", "{", "5"] {
        let done = call(&home, &url, &["--json", bad, "put"]);
        refused(&done, 2, &["not a JSON object"]);
    }
    assert_eq!(upstream.count("POST tools/call"), 2);
}

#[test]
fn what_the_tool_does_not_have_is_refused_before_it_is_called() {
    let upstream = server(Config::default());
    let (home, url) = (TestHome::new(), upstream.url());
    for (words, said) in [
        (&["put"][..], &["--text (string) is missing", "--count"][..]),
        (
            &["put", "--colour", "red"],
            &["no --colour", "--count, --dry_run"],
        ),
        (
            &["put", "--text", "a", "--count", "x"],
            &["--count is integer"],
        ),
        (&["put", "word"], &["word 1", "--name"]),
        (
            &["put", "--dry-run", "yes"],
            &["--dry_run is a boolean", "--no-dry_run"],
        ),
        (&["putt", "--text", "a"], &["no tool \"putt\"", "put, show"]),
    ] {
        refused(&call(&home, &url, words), 2, said);
    }
    assert_eq!(upstream.count("POST tools/call"), 0);
    home.configure(&format!("[servers.named]\nurl = \"{url}\"\n"));
    assert_eq!(home.run(&["reload"]).code, 0);
    let done = call(&home, "named", &["putt"]);
    refused(&done, 2, &["named has no tool"]);
    let help = call(&home, &url, &["put", "--help"]);
    assert_eq!(help.code, 0);
    assert!(help.stdout.contains("--text string"), "{help:?}");
    assert_eq!(upstream.count("POST tools/call"), 0);
}

#[test]
fn our_flags_stand_before_the_tool() {
    let upstream = server(Config::default());
    let (home, url) = (TestHome::new(), upstream.url());
    let done = home.run(&[
        "--header",
        "X-A: b",
        "call",
        "--output=json",
        &url,
        "--header",
        "X-C: d",
        "put",
        "--text",
        "--help=",
    ]);
    assert_eq!(done.code, 2, "a value that looks like a flag: {done:?}");
    let done = home.run(&[
        "--header",
        "X-A: b",
        "call",
        "--output=json",
        &url,
        "--header",
        "X-C: d",
        "put",
        "--text=--help",
    ]);
    assert_eq!(done.code, 0, "{done:?}");
    let result: Value = serde_json::from_str(&done.stdout).expect("JSON");
    assert!(result["content"][0]["text"].is_string());
    let request = upstream.wait_for("POST tools/call", 1);
    assert_eq!(request.header("X-A"), Some("b"));
    assert_eq!(request.header("X-C"), Some("d"));
    for (line, said) in [
        (&["call"][..], "the server is missing"),
        (&["call", &url], "the tool's name is missing"),
        (&["call", "--colour=red", &url, "put"], "--colour"),
        (&["call", "--output", "xml", &url, "put"], "--output"),
        (
            &["call", &url, "--json", "{}", "put", "--text", "a"],
            "--json gives all",
        ),
        (&["tools"], "the server is missing"),
        (&["tools", &url, "a", "b"], "position 4"),
    ] {
        let done = home.run(line);
        assert_eq!(done.code, 2, "{line:?}: {done:?}");
        let first = done.stderr.lines().next().unwrap_or_default();
        assert!(first.contains(said), "{line:?}: {first}");
    }
}

#[test]
fn everything_in_a_result_is_shown_or_saved() {
    let upstream = server(Config::default());
    let result = r#"{"content":[{"type":"text","text":"one\ntwo"},{"type":"image","data":"aGk=","mimeType":"image/png"},{"type":"image","data":"aG8=","mimeType":"image/png"},{"type":"resource","resource":{"uri":"x://a/../../evil.sh","blob":"aGE="}},{"type":"resource_link","uri":"x://b","name":"B"}],"big":9007199254740993}"#;
    upstream.answer("show", result);
    let (home, url) = (TestHome::new(), upstream.url());
    std::fs::write(home.folder().join("image.png"), "mine").expect("a file");
    let done = call(&home, &url, &["show"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(done.stdout, "one\ntwo\nB: x://b\n");
    for (name, content) in [
        ("image.png", "mine"),
        ("image-2.png", "hi"),
        ("image-3.png", "ho"),
        ("evil.sh", "ha"),
    ] {
        let saved = std::fs::read_to_string(home.folder().join(name)).expect(name);
        assert_eq!(saved, content, "{name}");
        assert_eq!(done.stderr.contains(name), content != "mine", "{done:?}");
    }
    let folder = home.folder().join("pictures");
    let to = folder.display().to_string();
    let missing = call(&home, &url, &["--save-to", &to, "show"]);
    refused(&missing, 2, &["--save-to", "not a folder"]);
    std::fs::create_dir(&folder).expect("a folder");
    assert_eq!(call(&home, &url, &["--save-to", &to, "show"]).code, 0);
    assert!(folder.join("image.png").exists() && folder.join("image-2.png").exists());
    let whole = call(&home, &url, &["--output", "json", "show"]);
    assert_eq!((whole.code, whole.stdout), (0, format!("{result}\n")));
    upstream.answer("show", r#"{"content":[],"structuredContent":{"n":1.50}}"#);
    assert_eq!(call(&home, &url, &["show"]).stdout, "{\"n\":1.50}\n");
    upstream.answer("show", r#"{"content":[]}"#);
    assert_eq!(call(&home, &url, &["show"]).stdout, "");
}

#[test]
fn a_file_that_cannot_be_written_takes_nothing_of_the_rest_away() {
    let upstream = server(Config::default());
    let image = r#"{"type":"image","data":"aGk=","mimeType":"image/png"}"#;
    let result = format!(
        r#"{{"content":[{{"type":"text","text":"one"}},{image},{{"type":"text","text":"two"}},{image}]}}"#
    );
    upstream.answer("show", &result);
    let (home, url) = (TestHome::new(), upstream.url());
    // Nobody can write there, whoever runs the test.
    let done = call(&home, &url, &["--save-to", "/proc", "show"]);
    assert_eq!((done.code, done.stdout.as_str()), (1, "one\ntwo\n"));
    let lines: Vec<&str> = done.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    for line in lines {
        assert!(line.contains("/proc/image.png cannot be written"), "{line}");
    }
    upstream.answer(
        "show",
        r#"{"content":[{"type":"resource","resource":{"uri":"x://a/raw","blob":"aGE="}}]}"#,
    );
    let done = call(&home, &url, &["show"]);
    assert!(one_sentence(&done.stderr).ends_with("raw.bin (2 bytes)"));
}

#[test]
fn failures_are_told_apart_by_their_exit_codes() {
    let upstream = server(Config::default());
    let (home, url) = (TestHome::new(), upstream.url());
    let failed = r#"{"isError":true,"content":[{"type":"text","text":"no\nway"}]}"#;
    upstream.answer("show", failed);
    let done = call(&home, &url, &["show"]);
    assert_eq!((done.code, done.stdout.as_str()), (1, ""), "{done:?}");
    assert_eq!(done.stderr, "no\nway\n");
    let done = call(&home, &url, &["--output", "json", "show"]);
    assert_eq!((done.code, done.stdout), (1, format!("{failed}\n")));
    upstream.script(|request| {
        let rpc = Rpc::parse(&request.body).filter(|rpc| rpc.method() == "tools/call")?;
        Some(Reply::json(
            200,
            rpc.error(-32603, "its own\\u001b[2J words"),
        ))
    });
    let done = call(&home, &url, &["show"]);
    refused(&done, 1, &["its own", "words", "-32603", &url]);
    assert!(!done.stderr.contains('\u{1b}'));
    upstream.script(|_| Some(Reply::status(401)));
    let refusing = call(
        &home,
        &url,
        &["--header", "Authorization: Bearer x", "show"],
    );
    refused(&refusing, 11, &["401"]);
    let nobody = call(&home, "http://127.0.0.1:9/mcp", &["show"]);
    refused(&nobody, 1, &["could not be reached"]);
}

#[test]
fn a_command_that_is_interrupted_cancels_its_call() {
    let upstream = server(Config::default());
    let (home, url) = (TestHome::new(), upstream.url());
    let shim = home.shim(&["call", &url, "hold", "--gate", "g"]);
    upstream.wait_for_hold("g");
    shim.signal(rustix::process::Signal::INT);
    assert_ne!(shim.wait(), 0);
    upstream.wait_for("POST notifications/cancelled", 1);
    upstream.open_gate("g");
}

#[test]
fn a_warm_call_is_one_request() {
    let upstream = server(Config::default());
    let (home, url) = (TestHome::new(), upstream.url());
    call(&home, &url, &["put", "--text", "cold"]);
    upstream.wait_for_streams(1);
    // Fetches the list with the stream open.
    call(&home, &url, &["put", "--text", "warm"]);
    upstream.forget_requests();
    for _ in 0..3 {
        let done = call(&home, &url, &["put", "--text", "x"]);
        assert_eq!(done.stdout, "{\"text\":\"x\"}\n");
    }
    assert_eq!(upstream.labels(), ["POST tools/call"; 3]);
    upstream.forget_requests();
    assert_eq!(home.run(&["tools", &url]).code, 0);
    assert_eq!(home.run(&["tools", &url, "put"]).code, 0);
    assert!(upstream.labels().is_empty(), "{:?}", upstream.labels());
}

#[test]
fn a_list_whose_cursor_is_good_no_more_is_read_from_the_start_once() {
    for (failures, code) in [(1, 0), (2, 1)] {
        let upstream = server(Config::default());
        let failed = AtomicU64::new(0);
        upstream.script(move |request| {
            let rpc = Rpc::parse(&request.body).filter(|rpc| rpc.method() == "tools/list")?;
            let page = match rpc.param("/cursor").is_null() {
                true => r#"{"tools":[{"name":"one"}],"nextCursor":"2"}"#,
                false if failed.fetch_add(1, Relaxed) < failures => {
                    return Some(Reply::json(200, rpc.error(-32602, "cursor expired")));
                }
                false => r#"{"tools":[{"name":"two"}]}"#,
            };
            Some(Reply::json(200, rpc.result(page)))
        });
        let home = TestHome::new();
        let finished = home.run(&["tools", &upstream.url()]);
        assert_eq!(finished.code, code, "{finished:?}");
        match code {
            0 => assert_eq!(finished.stdout.lines().count(), 2, "{finished:?}"),
            _ => assert!(finished.stderr.contains("cursor expired"), "{finished:?}"),
        }
        assert_eq!(upstream.count("POST tools/list"), 4);
    }
}

#[test]
fn tools_are_listed_and_described() {
    let upstream = server(Config::default());
    let (home, url) = (TestHome::new(), upstream.url());
    let list = home.run(&["tools", &url]);
    assert_eq!(list.code, 0, "{list:?}");
    assert_eq!(
        list.stdout,
        "put      Puts it.\nshow     Shows\nhold\nsession\n"
    );
    let one = home.run(&["tools", &url, "put"]);
    assert!(
        one.stdout.starts_with("put\n\nPuts\nit.\n\nArguments:\n"),
        "{one:?}"
    );
    for line in [
        "  --text string           (required) What to put",
        "  --count integer         (default 3)",
        "  --dry_run boolean",
        "  --tags array of string",
    ] {
        assert!(
            one.stdout.lines().any(|said| said == line),
            "{line}: {}",
            one.stdout
        );
    }
    let show = home.run(&["tools", &url, "show"]);
    assert_eq!(show.stdout, "show\n\nShows\n\nNo arguments.\n");
    let json = home.run(&["tools", &url, "--json"]);
    let whole: Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(whole, serde_json::from_str::<Value>(TOOLS).expect("JSON"));
    let json = home.run(&["tools", "--json", &url, "show"]);
    let end = TOOLS
        .split(r#"{"name":"show""#)
        .nth(1)
        .expect("it is there");
    let raw = end.split(r#",{"name":"hold""#).next().expect("it ends");
    assert_eq!(json.stdout, format!("{{\"name\":\"show\"{raw}\n"));
    refused(
        &home.run(&["tools", &url, "none"]),
        2,
        &["no tool \"none\""],
    );
}

#[test]
fn a_list_on_several_pages_is_read_as_far_as_needed() {
    let pages: Monitor<usize> = Monitor::default();
    let upstream = server(Config::default());
    upstream.script(move |request| {
        let rpc = Rpc::parse(&request.body).filter(|rpc| rpc.method() == "tools/list")?;
        pages.update(|pages| *pages += 1);
        let page = rpc.param("/cursor").as_u64().unwrap_or(0);
        let next = (page < 4).then(|| format!(r#","nextCursor":{}"#, page + 1));
        Some(Reply::json(
            200,
            rpc.result(&format!(
                r#"{{"tools":[{{"name":"t{page}","inputSchema":{{}}}}]{}}}"#,
                next.unwrap_or_default()
            )),
        ))
    });
    let (home, url) = (TestHome::new(), upstream.url());
    let list = home.run(&["tools", &url]);
    assert_eq!(list.stdout, "t0\nt1\nt2\nt3\nt4\n");
    upstream.answer("t1", r#"{"content":[{"type":"text","text":"second"}]}"#);
    let done = call(&home, &url, &["t1"]);
    assert_eq!(done.stdout, "second\n", "{done:?}");
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    let upstream = server(Config::default());
    let (home, url) = (TestHome::new(), upstream.url());
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = home.command("mcp-remote", &["tools", &url]);
    let done = mcp_remote_tests::shim::TestShim::start(command.stdout(writer).stdin(Stdio::null()));
    assert_eq!(done.wait(), 0, "{}", done.stderr());
}

#[test]
fn a_command_signs_in_as_a_client_does() {
    let server = FakeAuthorizationServer::with(authorization_server::Config::default());
    let upstream = FakeUpstream::start();
    upstream.answer("tools/list", TOOLS);
    server.protect(&upstream);
    let mut home = TestHome::new();
    let browser = Browser::agreeing(&mut home);
    let url = upstream.url();
    let done = call(&home, &url, &["session"]);
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (0, "session-1\n"),
        "{done:?}"
    );
    assert!(done.stderr.contains("Please authorize"), "{done:?}");
    let again = call(&home, &url, &["session"]);
    assert_eq!((again.code, again.stderr.as_str()), (0, ""), "{again:?}");
    assert_eq!(browser.visited().len(), 1);
}

#[test]
fn a_command_whose_sign_in_nobody_does_says_so() {
    let server = FakeAuthorizationServer::with(authorization_server::Config::default());
    let upstream = FakeUpstream::start();
    server.protect(&upstream);
    let home = TestHome::new();
    let words = ["--no-browser", "--auth-timeout", "1", "session"];
    let done = call(&home, &upstream.url(), &words);
    assert_eq!((done.code, done.stdout.as_str()), (11, ""), "{done:?}");
    assert!(done.stderr.contains("mcp-remote login"), "{done:?}");
}

#[test]
fn a_daemon_that_does_not_know_commands_is_to_be_replaced() {
    let home = TestHome::new();
    let (_daemon, _relay) = FakeDaemon::relaying(&home);
    let done = call(&home, "https://mcp.example.com/mcp", &["show"]);
    refused(&done, 4, &["does not know this command", "mcp-remote stop"]);
}

#[test]
fn a_daemon_that_dies_in_a_call_leaves_a_sentence() {
    let upstream = server(Config::default());
    let (home, url) = (TestHome::new(), upstream.url());
    let shim = home.shim(&["call", &url, "hold", "--gate", "g"]);
    upstream.wait_for_hold("g");
    home.kill_daemon();
    assert_eq!(shim.wait(), 1);
    let stderr = shim.stderr();
    assert!(
        one_sentence(&stderr).contains("may have been executed"),
        "{stderr}"
    );
    upstream.open_gate("g");
}
