//! A shim and a daemon of different releases work together, or one line says
//! which to restart.

use mcp_remote_proto::VERSION;
use mcp_remote_tests::fake_daemon::{Answers, FakeDaemon};
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
            api_version: Some(mcp_remote_proto::API_VERSION + 1),
            handover: Ok(()),
        },
    );
    let finished = home.run_with(&[&upstream.url()], &conversation("x"));
    assert_eq!(finished.code, 4, "{finished:?}");
    let line = one_sentence(&finished.stderr);
    for text in [VERSION, FakeDaemon::VERSION] {
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
fn an_older_daemon_that_makes_place_is_replaced() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let daemon = FakeDaemon::start(
        &home,
        Answers {
            api_version: None,
            handover: Ok(()),
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
            handover: Err("three shims are attached".to_owned()),
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
