//! What the daemon says about itself, and how it is steered.

use mcp_remote_proto::v1::relay_response::Frame;
use mcp_remote_proto::v1::{Open, Purpose, RelayRequest, ServerState, relay_request};
use mcp_remote_proto::{API_VERSION, VERSION};
use mcp_remote_tests::daemon::TestDaemon;
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::rpc::Rpc;
use mcp_remote_tests::upstream::FakeUpstream;
use serde_json::Value;
use tonic::Code;

use crate::support::{attached, one_sentence, one_shot, our_error};

#[test]
fn status_says_when_nothing_runs_and_starts_nothing() {
    let home = TestHome::new();
    let finished = home.run(&["status"]);
    assert_eq!(finished.code, 3, "{finished:?}");
    one_sentence(&finished.stderr);
    let json = home.run(&["status", "--json"]);
    assert_eq!(json.code, 3);
    let json: Value = serde_json::from_str(&json.stdout).expect("it is JSON");
    assert_eq!(json["running"], false);
    assert_eq!(home.daemon_pid(), None);
    assert!(!home.state().join("lock").exists(), "no daemon ever ran");
    let stop = home.run(&["stop"]);
    assert_eq!(stop.code, 3, "{stop:?}");
}

#[test]
fn status_shows_what_happened() {
    let upstream = FakeUpstream::start();
    let mut down = FakeUpstream::start();
    down.go_down();
    let home = TestHome::new();
    one_shot(&home, &[&upstream.url()]);
    let mut leased = attached(&home, &[&upstream.url()]);
    leased.echo("x");
    let mut failing = home.shim(&[&down.url()]);
    our_error(&failing.handshake(), 0);
    let finished = home.run(&["status"]);
    assert_eq!(finished.code, 10, "one server fails: {finished:?}");
    let table = &finished.stdout;
    for text in [
        VERSION,
        "SERVER",
        "STATE",
        &upstream.url(),
        &down.url(),
        "ready",
        "2025-11-25",
    ] {
        assert!(table.contains(text), "no {text:?} in\n{table}");
    }
    let line = table.lines().find(|line| line.contains(&down.url()));
    let line = line.expect("the failing server has a line");
    assert!(line.contains("backing-off"), "{line}");
    assert!(
        table.to_lowercase().contains("refused"),
        "the failure is not shown in\n{table}"
    );
}

#[test]
fn status_as_json_has_everything() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    one_shot(&home, &[&upstream.url()]);
    let mut leased = attached(&home, &[&upstream.url(), "--header", "X-Key: other"]);
    leased.call("no such tool", "{}");
    let finished = home.run(&["status", "--json"]);
    assert_eq!(finished.code, 0, "{finished:?}");
    let status: Value = serde_json::from_str(&finished.stdout).expect("it is JSON");
    let pid = home.daemon_pid().expect("it runs");
    assert_eq!(status["running"], true, "{status}");
    assert_eq!(status["pid"], pid);
    assert_eq!(status["version"], VERSION);
    assert_eq!(status["started_by"], "shim");
    assert_eq!(status["shims"], 1);
    assert!(status["uptime_ms"].is_u64());
    assert!(
        status["socket"]
            .as_str()
            .is_some_and(|socket| socket.ends_with(".sock"))
    );
    assert!(status["health"].is_array());
    let servers = status["servers"].as_array().expect("servers");
    assert_eq!(servers.len(), 1, "{status}");
    let server = &servers[0];
    let expected = serde_json::json!({
        "url": upstream.url(), "state": "ready", "protocol_version": "2025-11-25",
        "transport": "streamable-http", "server_name": "fake-upstream",
        "server_version": "1.2.3", "sessions_idle": 1, "sessions_leased": 1, "shims": 1,
        "errors": 0,
    });
    for (name, value) in expected.as_object().expect("an object") {
        assert_eq!(&server[name], value, "{name} in {server}");
    }
    assert!(
        server["calls"].as_u64().is_some_and(|calls| calls >= 2),
        "{server}"
    );
    for name in ["p50_us", "p99_us", "last_used_unix_ms"] {
        assert!(
            server[name].as_u64().is_some_and(|value| value > 0),
            "{name} in {server}"
        );
    }
}

#[test]
fn status_of_one_server_shows_only_that() {
    let [one, other] = [FakeUpstream::start(), FakeUpstream::start()];
    let home = TestHome::new();
    one_shot(&home, &[&one.url()]);
    one_shot(&home, &[&other.url()]);
    let finished = home.run(&["status", &one.url()]);
    assert_eq!(finished.code, 0, "{finished:?}");
    assert!(finished.stdout.contains(&one.url()));
    assert!(!finished.stdout.contains(&other.url()));
}

#[test]
fn status_of_one_server_takes_its_url_with_and_without_the_final_slash() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let root = format!("{}/", upstream.origin());
    for named in [&upstream.origin(), &upstream.url()] {
        one_shot(&home, &[named]);
        for asked in [named.clone(), format!("{named}/")] {
            let finished = home.run(&["status", &asked]);
            assert_eq!(finished.code, 0, "{asked}: {finished:?}");
            let url = if *named == upstream.url() {
                named
            } else {
                &root
            };
            let line = finished.stdout.lines().find(|line| line.contains(url));
            assert!(
                line.is_some_and(|line| line.contains("ready")),
                "{asked}: {finished:?}"
            );
        }
    }
}

#[test]
fn counters_and_servers_outlive_the_daemon() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    one_shot(&home, &[&upstream.url()]);
    one_shot(&home, &[&upstream.url()]);
    let calls = || {
        let status = Rpc::connect(&home).status().expect("it answers");
        let server = status
            .servers
            .into_iter()
            .next()
            .expect("the server is known");
        (server.calls, server.state(), server.server_name)
    };
    let before = calls();
    assert!(before.0 >= 2, "{before:?}");
    assert_eq!(home.run(&["stop"]).code, 0);
    let _daemon = TestDaemon::start(&home, &[]);
    let after = calls();
    assert_eq!(
        after,
        (before.0, ServerState::Idle, "fake-upstream".to_owned())
    );
}

#[test]
fn a_call_without_an_answer_counts_as_an_error() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    our_error(&shim.call("vanish", "{}"), 1);
    let server = Rpc::connect(&home).watch_until(|status| {
        let server = status.servers.first()?;
        (server.errors > 0).then(|| server.clone())
    });
    assert_eq!(server.errors, 1);
    assert!(!server.last_error.is_empty());
}

#[test]
fn hello_says_who_answers() {
    let home = TestHome::new();
    let daemon = TestDaemon::start(&home, &[]);
    let hello = Rpc::connect(&home).hello().expect("it answers");
    assert_eq!(hello.api_version, API_VERSION);
    assert_eq!(hello.version, VERSION);
    assert_eq!(hello.pid, daemon.pid());
    assert_eq!(hello.state_folder, home.state().to_str().expect("UTF-8"));
    assert!(
        hello.executable.ends_with("mcp-remoted"),
        "{}",
        hello.executable
    );
    assert!(std::path::Path::new(&hello.executable).is_absolute());
}

#[test]
fn the_standard_health_service_says_serving() {
    let home = TestHome::new();
    let _daemon = TestDaemon::start(&home, &[]);
    let rpc = Rpc::connect(&home);
    let serving = tonic_health::pb::health_check_response::ServingStatus::Serving as i32;
    for service in [
        "",
        "mcp_remote.v1.RelayService",
        "mcp_remote.v1.ManagementService",
    ] {
        assert_eq!(
            rpc.health(service).expect("it answers"),
            serving,
            "{service:?}"
        );
    }
    let unknown = rpc.health("no.such.Service").expect_err("it is unknown");
    assert_eq!(unknown.code(), Code::NotFound);
}

#[test]
fn watch_follows_what_happens() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let _daemon = TestDaemon::start(&home, &[]);
    let rpc = Rpc::connect(&home);
    rpc.watch_until(|status| status.servers.is_empty().then_some(()));
    let shim = attached(&home, &[&upstream.url()]);
    rpc.watch_until(|status| {
        let server = status.servers.first()?;
        let ready = server.state() == ServerState::Ready && server.sessions_leased == 1;
        (ready && status.shims == 1).then_some(())
    });
    assert_eq!(shim.finish(), 0);
    rpc.watch_until(|status| {
        let server = status.servers.first()?;
        (server.sessions_idle == 1 && status.shims == 0).then_some(())
    });
}

#[test]
fn stop_answers_before_the_daemon_leaves() {
    let home = TestHome::new();
    let daemon = TestDaemon::start(&home, &[]);
    let stopped = Rpc::connect(&home).stop().expect("it answers");
    assert_eq!(stopped.pid, daemon.pid());
    assert_eq!(daemon.wait(), 0);
}

#[test]
fn only_a_newer_release_gets_the_place() {
    let home = TestHome::new();
    let daemon = TestDaemon::start(&home, &[]);
    let rpc = Rpc::connect(&home);
    for version in [VERSION, "0.0.9", "", "nonsense"] {
        let answer = rpc.handover(version).expect("it answers");
        assert!(!answer.accepted, "{version:?} got the place");
        assert!(answer.reason.len() > 15, "{answer:?}");
    }
    assert!(rpc.handover("999.0.0").expect("it answers").accepted);
    // It believes that a service manager has started it.
    assert_eq!(daemon.wait(), 75);
}

fn open(url: &str) -> Open {
    Open {
        server_url: url.to_owned(),
        api_version: API_VERSION,
        shim_version: VERSION.to_owned(),
        shim_pid: std::process::id(),
        ..Open::default()
    }
}

/// Opens a stream that the daemon refuses; returns the code and the sentence.
fn refused(rpc: &Rpc, open: Open) -> (Code, String) {
    let status = match rpc.relay(open) {
        Err(status) => status,
        Ok(mut stream) => loop {
            match rpc.frame(&mut stream) {
                Err(status) => break status,
                Ok(frame) => assert!(frame.is_some(), "the stream ended well"),
            }
        },
    };
    (status.code(), status.message().to_owned())
}

#[test]
fn a_stream_that_cannot_be_opened_says_why() {
    let home = TestHome::new();
    let _daemon = TestDaemon::start(&home, &[]);
    let rpc = Rpc::connect(&home);
    for url in [
        "",
        "nonsense",
        "ftp://127.0.0.1/",
        "http://example.com/mcp",
        "https://",
    ] {
        let (code, sentence) = refused(&rpc, open(url));
        assert_eq!(code, Code::InvalidArgument, "{url:?}: {sentence}");
        assert!(sentence.len() > 15, "{sentence:?}");
    }
    let mut header = open("http://127.0.0.1:1/");
    header.headers.push(mcp_remote_proto::v1::Header {
        name: "bad name".to_owned(),
        value: "s3cr3t-value\n".to_owned(),
    });
    let (code, sentence) = refused(&rpc, header);
    assert_eq!(code, Code::InvalidArgument);
    assert!(!sentence.contains("s3cr3t"), "{sentence}");
    let mut version = open("http://127.0.0.1:1/");
    version.api_version = API_VERSION + 1;
    let (code, sentence) = refused(&rpc, version);
    assert_eq!(code, Code::FailedPrecondition);
    assert!(sentence.contains("mcp-remote"), "{sentence}");
}

#[test]
fn a_stream_begins_with_its_opening() {
    let home = TestHome::new();
    let _daemon = TestDaemon::start(&home, &[]);
    let rpc = Rpc::connect(&home);
    for frame in [None, Some(relay_request::Frame::Message("{}".into()))] {
        let status = match rpc.relay_with(RelayRequest { frame }) {
            Err(status) => status,
            Ok(mut stream) => rpc.frame(&mut stream).expect_err("it is refused"),
        };
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    }
}

#[test]
fn a_check_says_who_answers_or_why_nobody_does() {
    let mut upstream = FakeUpstream::start();
    let home = TestHome::new();
    let _daemon = TestDaemon::start(&home, &[]);
    let rpc = Rpc::connect(&home);
    let check = Open {
        purpose: Purpose::Check.into(),
        ..open(&upstream.url())
    };
    let mut stream = rpc.relay(check.clone()).expect("it opens");
    let mut summaries = Vec::new();
    while let Some(frame) = rpc.frame(&mut stream).expect("it ends well") {
        if let Some(Frame::Server(summary)) = frame.frame {
            summaries.push(summary);
        }
    }
    assert_eq!(summaries.len(), 1);
    assert_eq!(summaries[0].name, "fake-upstream");
    assert_eq!(summaries[0].version, "1.2.3");
    assert_eq!(summaries[0].transport, "streamable-http");
    drop(stream);
    upstream.go_down();
    let elsewhere = Open {
        server_url: upstream.url().replace("/mcp", "/other"),
        ..check
    };
    let (code, sentence) = refused(&rpc, elsewhere);
    assert_eq!(code, Code::Aborted, "{sentence}");
    assert!(sentence.contains("127.0.0.1"), "{sentence}");
}
