//! Who shares a session, how many are kept, and for how long.

use std::time::Duration;

use mcp_remote_proto::v1::relay_response::Frame;
use mcp_remote_proto::v1::{Header, Open, RelayRequest, relay_request};
use mcp_remote_proto::{API_VERSION, VERSION};
use mcp_remote_tests::daemon::TestDaemon;
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::rpc::{RelayStream, Rpc};
use mcp_remote_tests::shim::INITIALIZE;
use mcp_remote_tests::upstream::{Config, FakeUpstream};

use crate::support::{attached, one_shot};

#[test]
fn another_identity_has_another_session() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let url = upstream.url();
    let plain = INITIALIZE.to_owned();
    let variants: [(&str, &[&str], String); 6] = [
        ("as the first", &[], plain.clone()),
        ("a header", &["--header", "X-Team: a"], plain.clone()),
        ("another value", &["--header", "X-Team: b"], plain.clone()),
        (
            "another name",
            &[],
            plain.replace(r#""tests""#, r#""others""#),
        ),
        (
            "another revision",
            &[],
            plain.replace("2025-11-25", "2025-06-18"),
        ),
        (
            "capabilities",
            &[],
            plain.replace(r#""capabilities":{}"#, r#""capabilities":{"roots":{}}"#),
        ),
    ];
    // Twice: each finds its own session again.
    for _ in 0..2 {
        for (what, flags, initialize) in &variants {
            let mut shim = home.shim(&[&[url.as_str()], *flags].concat());
            shim.handshake_with(initialize);
            shim.echo(what);
            assert_eq!(shim.finish(), 0);
        }
    }
    assert_eq!(upstream.sessions_made(), variants.len());
    assert_eq!(upstream.count("POST initialize"), variants.len());
}

#[test]
fn the_same_identity_written_differently_is_the_same() {
    let upstream = FakeUpstream::start();
    let mut home = TestHome::new();
    home.set("TEAM", "a");
    let url = upstream.url();
    // With credentials of one's own; a grant belongs to headers as they are written.
    let two = ["--header", "X-Team: a", "--header", "Authorization: b"];
    for flags in [
        two,
        ["--header", "X-Team:a", "--header", "Authorization: b"],
        [
            "--header",
            "X-Team: ${TEAM}",
            "--header",
            "Authorization: b",
        ],
    ] {
        one_shot(&home, &[&[url.as_str()], flags.as_slice()].concat());
    }
    assert_eq!(upstream.sessions_made(), 1);
    home.set("TEAM", "b");
    one_shot(
        &home,
        &[
            &url,
            "--header",
            "X-Team: ${TEAM}",
            "--header",
            "Authorization: b",
        ],
    );
    assert_eq!(upstream.sessions_made(), 2, "the expanded value counts");
}

#[test]
fn eight_sessions_of_a_kind_are_kept_idle() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let _daemon = TestDaemon::start(&home, &[]);
    let mut shims: Vec<_> = (0..10)
        .map(|_| attached(&home, &[&upstream.url()]))
        .collect();
    for shim in &mut shims {
        shim.echo("x");
    }
    assert_eq!(upstream.sessions_alive(), 10);
    for shim in shims {
        assert_eq!(shim.finish(), 0);
    }
    upstream.wait_for("DELETE", 2);
    let rpc = Rpc::connect(&home);
    let idle = rpc.watch_until(|status| {
        let server = status.servers.first()?;
        (server.sessions_leased == 0).then_some(server.sessions_idle)
    });
    assert_eq!(idle, 8);
    assert_eq!(upstream.count("DELETE"), 2);
}

#[test]
fn an_idle_session_is_deleted_in_time_and_a_used_one_is_not() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let _daemon = TestDaemon::start(&home, &["--session-idle", "1"]);
    let mut used = attached(&home, &[&upstream.url()]);
    one_shot(&home, &[&upstream.url()]);
    let deleted = upstream.wait_for("DELETE", 1);
    assert_eq!(deleted.header("mcp-session-id"), Some("session-2"));
    used.echo("still mine");
    assert_eq!(upstream.sessions_made(), 2);
    assert_eq!(used.finish(), 0);
    upstream.wait_for("DELETE", 2);
    one_shot(&home, &[&upstream.url()]);
    assert_eq!(upstream.sessions_made(), 3);
}

#[test]
fn a_server_that_forbids_delete_is_left_in_peace() {
    let upstream = FakeUpstream::scripted(|request| {
        let delete = request.method == "DELETE";
        delete.then(|| mcp_remote_tests::upstream::Reply::status(405))
    });
    let home = TestHome::new();
    let daemon = TestDaemon::start(&home, &[]);
    one_shot(&home, &[&upstream.url()]);
    assert_eq!(daemon.terminate(), 0);
    assert_eq!(upstream.count("DELETE"), 1);
}

/// Opens a stream as a shim whose header has this value, and shakes hands.
fn shake_hands(rpc: &Rpc, url: &str, value: usize) -> RelayStream {
    let mut stream = rpc
        .relay(Open {
            server_url: url.to_owned(),
            headers: vec![Header {
                name: "X-Number".to_owned(),
                value: value.to_string(),
            }],
            api_version: API_VERSION,
            shim_version: VERSION.to_owned(),
            shim_pid: std::process::id(),
            ..Open::default()
        })
        .expect("a stream opens");
    let message = relay_request::Frame::Message(INITIALIZE.into());
    let frame = RelayRequest {
        frame: Some(message),
    };
    let outbox = stream.outbox.as_ref().expect("it is open");
    rpc.block_on(outbox.send(frame)).expect("the daemon reads");
    loop {
        let frame = rpc.frame(&mut stream).expect("no error");
        match frame.expect("the stream goes on").frame {
            Some(Frame::Message(answer)) => {
                assert!(answer.starts_with(b"{"), "{answer:?}");
                return stream;
            }
            _ => continue,
        }
    }
}

#[test]
fn past_256_sessions_the_oldest_idle_one_goes() {
    let upstream = FakeUpstream::with(Config {
        get_stream: false,
        ..Config::default()
    });
    let home = TestHome::new();
    let _daemon = TestDaemon::start(&home, &[]);
    let rpc = Rpc::connect(&home);
    for number in 0..257 {
        let mut stream = shake_hands(&rpc, &upstream.url(), number);
        stream.outbox = None;
        while rpc.frame(&mut stream).expect("no error").is_some() {}
    }
    let deleted = upstream.wait_for("DELETE", 1);
    assert_eq!(deleted.header("mcp-session-id"), Some("session-1"));
    upstream.wait_for_sessions(256);
}

#[test]
fn past_256_sessions_in_use_a_shim_waits_its_turn() {
    let upstream = FakeUpstream::with(Config {
        get_stream: false,
        ..Config::default()
    });
    let home = TestHome::new();
    let _daemon = TestDaemon::start(&home, &[]);
    let rpc = Rpc::connect(&home);
    let mut used: Vec<RelayStream> = (0..256)
        .map(|number| shake_hands(&rpc, &upstream.url(), number))
        .collect();
    let mut waiting = home.shim(&[&upstream.url()]);
    waiting.send(INITIALIZE);
    assert_eq!(waiting.line_within(Duration::from_millis(300)), None);
    assert_eq!(upstream.sessions_made(), 256);
    let mut first = used.swap_remove(0);
    first.outbox = None;
    while rpc.frame(&mut first).expect("no error").is_some() {}
    assert_eq!(waiting.message()["id"], 0);
    assert_eq!(upstream.sessions_made(), 257);
    upstream.wait_for("DELETE", 1);
}
