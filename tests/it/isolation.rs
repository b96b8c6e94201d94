//! Two clients never see each other's messages, whatever the interleaving.
//!
//! `MCP_REMOTE_SEEDS=10000` plays so many seeds, `MCP_REMOTE_SEEDS=4711..4712` that
//! one alone, which is how to look into one that failed.

use std::sync::Arc;

use mcp_remote_tests::daemon::TestDaemon;
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::simulator;
use mcp_remote_tests::upstream::{FakeUpstream, Reply, Request};

use crate::support::attached;

/// Seeds that are played when nobody says how many.
const SEEDS: u64 = 300;

#[expect(
    clippy::disallowed_methods,
    reason = "how long to play is up to who runs the tests"
)]
fn seeds() -> std::ops::Range<u64> {
    let Ok(wanted) = std::env::var("MCP_REMOTE_SEEDS") else {
        return 0..SEEDS;
    };
    let (first, end) = wanted.split_once("..").unwrap_or(("0", &wanted));
    let number = |text: &str| text.parse().expect("MCP_REMOTE_SEEDS is N or A..B");
    number(first)..number(end)
}

#[test]
fn clients_and_servers_hear_only_what_is_meant_for_them() {
    let mut home = TestHome::new();
    home.set("MCP_REMOTE_LOG", "error");
    let home = Arc::new(home);
    let _daemon = TestDaemon::start(&home, &["--session-idle", "1"]);
    let seeds = seeds();
    let many = seeds.end - seeds.start >= 100;
    match simulator::play(&home, seeds.clone()) {
        Ok(tally) => {
            show(&format!("seeds {seeds:?}: {tally:?}"));
            // Else the run proves nothing.
            let seen = |what| tally.get(what).copied().unwrap_or_default();
            assert!(!many || seen("results") * 3 > seen("requests"), "{tally:?}");
            assert!(
                !many || EXPECTED.iter().all(|what| seen(what) > 0),
                "{tally:?}"
            );
        }
        Err(violation) => panic!("{violation}"),
    }
}

#[test]
fn what_a_client_still_has_to_say_is_not_said_in_the_next_ones_session() {
    const NOTIFICATION: &str = "notifications/roots/list_changed";
    let upstream = FakeUpstream::scripted(|request| {
        let held = request.text().contains(NOTIFICATION);
        held.then_some(Reply::Hang)
    });
    let home = TestHome::new();
    let mut first = attached(&home, &[&upstream.url()]);
    first.echo("first");
    for _ in 0..2 {
        first.send(&format!(r#"{{"jsonrpc":"2.0","method":"{NOTIFICATION}"}}"#));
    }
    let said = upstream.wait_for(&format!("POST {NOTIFICATION}"), 1);
    assert_eq!(first.finish(), 0);
    let mut second = attached(&home, &[&upstream.url()]);
    second.echo("second");
    let asked = upstream.wait_for("POST tools/call", 2);
    let session = |request: &Request| request.header("Mcp-Session-Id").map(str::to_owned);
    assert_ne!(session(&asked), session(&said));
}

/// What happens in any hundred seeds.
const EXPECTED: [&str; 9] = [
    "requests",
    "results",
    "errors",
    "cancelled",
    "late answers",
    "progress",
    "pushes",
    "questions answered",
    "clients cut",
];

#[expect(clippy::print_stdout, reason = "shown with --nocapture")]
fn show(text: &str) {
    println!("{text}");
}
