//! A shim and a daemon of different releases work together, or one line says
//! which to restart.

use mcp_remote_proto::{API_VERSION, VERSION};
use mcp_remote_tests::fake_daemon::{Answers, FakeDaemon, Handover};
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::shim::conversation;
use mcp_remote_tests::upstream::FakeUpstream;

use crate::support::{one_sentence, one_shot};

#[test]
fn a_newer_daemon_is_left_alone_and_the_user_told() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let daemon = FakeDaemon::start(
        &home,
        Answers {
            api_version: Some(API_VERSION + 1),
            version: "7.8.9",
            handover: Handover::Goes,
        },
    );
    let finished = home.run_with(&[&upstream.url()], &conversation("x"));
    assert_eq!(finished.code, 4, "{finished:?}");
    let line = one_sentence(&finished.stderr);
    for text in [VERSION, "7.8.9"] {
        assert!(line.contains(text), "no {text} in {line:?}");
    }
    assert!(
        !daemon
            .asked()
            .iter()
            .any(|asked| asked.starts_with("handover"))
    );
    assert_eq!(upstream.labels(), Vec::<String>::new());
}

#[test]
fn a_daemon_of_another_contract_says_how_it_is_and_stops() {
    for api_version in [None, Some(API_VERSION + 1)] {
        let home = TestHome::new();
        let daemon = FakeDaemon::start(
            &home,
            Answers {
                api_version,
                version: "7.8.9",
                handover: Handover::Hangs,
            },
        );
        let status = home.run(&["status"]);
        assert_eq!(status.code, 0, "{status:?}");
        let header = format!("mcp-remote {VERSION} (daemon 7.8.9, ");
        assert!(status.stdout.starts_with(&header), "{status:?}");
        let stopped = home.run(&["stop"]);
        assert_eq!(stopped.code, 0, "{stopped:?}");
        let asked = daemon.asked();
        let words: Vec<&str> = asked.iter().map(String::as_str).collect();
        let hello = format!("hello {VERSION}");
        assert_eq!(words, [&*hello, "status", &*hello, "stop"]);
    }
}

#[test]
fn an_older_daemon_that_makes_place_is_replaced() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let daemon = FakeDaemon::start(
        &home,
        Answers {
            api_version: None,
            version: "",
            handover: Handover::Goes,
        },
    );
    one_shot(&home, &[&upstream.url()]);
    let handover = format!("handover {VERSION}");
    assert_eq!(daemon.asked().last(), Some(&handover));
    assert!(home.daemon_pid().is_some(), "the new one runs");
}

#[test]
fn an_older_daemon_that_stays_is_named_and_asked_once() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let daemon = FakeDaemon::start(
        &home,
        Answers {
            api_version: None,
            version: "",
            handover: Handover::Stays("three shims are attached".to_owned()),
        },
    );
    let finished = home.run_with(&[&upstream.url()], &conversation("x"));
    assert_eq!(finished.code, 4, "{finished:?}");
    assert!(one_sentence(&finished.stderr).contains("three shims are attached"));
    let handovers = daemon.asked();
    let handovers = handovers
        .iter()
        .filter(|asked| asked.starts_with("handover"));
    assert_eq!(handovers.count(), 1);
    assert_eq!(home.daemon_pid(), None, "no second daemon");
}

#[test]
fn an_older_daemon_that_understands_us_and_stays_is_named_and_used() {
    let refuses = Handover::Stays("it is busy with something".to_owned());
    for (handover, why) in [(refuses, "busy"), (Handover::Hangs, "does not answer")] {
        let upstream = FakeUpstream::start();
        let home = TestHome::new();
        let answers = Answers {
            api_version: Some(API_VERSION),
            version: "0.0.9",
            handover,
        };
        let daemon = FakeDaemon::start(&home, answers);
        let mut shim = home.shim(&[&upstream.url()]);
        shim.wait_for_stderr(why);
        // The fake relays nothing, but it is asked to, three times.
        shim.handshake();
        let stderr = shim.stderr();
        let line = stderr.lines().next().expect("a line");
        for text in [VERSION, "0.0.9", why] {
            assert!(line.contains(text), "no {text} in {line:?}");
        }
        let asked = daemon.asked();
        let count = |what: &str| asked.iter().filter(|asked| asked.starts_with(what)).count();
        assert_eq!(count("handover"), 1, "{asked:?}");
        assert!(count("hello") >= 3, "{asked:?}");
        assert_eq!(home.daemon_pid(), None, "no second daemon");
    }
}
