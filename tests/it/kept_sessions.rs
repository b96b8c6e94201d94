//! A session with a server outlives the daemon that opened it: its shim goes on in
//! it, nobody else gets it unless it was left clean, and it is ended in the end.

use mcp_remote_tests::daemon::TestDaemon;
use mcp_remote_tests::home::{SECRET, TestHome};
use mcp_remote_tests::rpc::Rpc;
use mcp_remote_tests::shim::{INITIALIZE, INITIALIZED, TestShim, text_of};
use mcp_remote_tests::upstream::{FakeUpstream, Refusal, Reply};

use crate::support::{attached, one_shot, our_error};

/// Asks which session the shim is in.
fn session(shim: &mut TestShim) -> String {
    text_of(&shim.call("session", "{}"))
}

#[test]
fn every_shim_goes_on_in_its_own_session_after_a_crash() {
    const SHIMS: usize = 8;
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shims: Vec<TestShim> = (0..SHIMS)
        .map(|_| attached(&home, &[&upstream.url()]))
        .collect();
    let before: Vec<String> = shims.iter_mut().map(session).collect();
    upstream.wait_for_streams(SHIMS);
    let held = shims[0].begin_call("hold", r#"{"gate":"never"}"#);
    upstream.wait_for_hold("never");
    for round in 1..=3 {
        let killed = home.daemon_pid();
        home.kill_daemon();
        if round == 1 {
            let error = our_error(&shims[0].message(), held);
            assert_eq!(error["data"]["maybeExecuted"], true);
        }
        // All at once, the last first.
        for shim in shims.iter_mut().rev() {
            shim.begin_call("session", "{}");
        }
        let after: Vec<String> = shims.iter().map(|shim| text_of(&shim.message())).collect();
        assert_eq!(after, before);
        assert_ne!(home.daemon_pid(), killed);
    }
    assert_eq!(upstream.count("POST initialize"), SHIMS);
    assert_eq!(upstream.count("POST notifications/initialized"), SHIMS);
    assert_eq!(upstream.sessions_alive(), SHIMS);
    let held = upstream.requests();
    let held = held
        .iter()
        .filter(|request| request.text().contains("never"));
    assert_eq!(held.count(), 1, "it was not sent again");
    for shim in shims {
        assert_eq!(shim.stderr(), "");
        assert_eq!(shim.finish(), 0);
    }
    // Whether they are clean is not known any more.
    upstream.wait_for_sessions(0);
}
