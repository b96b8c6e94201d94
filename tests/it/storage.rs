//! Nothing precious is in the database: without it there is a cold start.

use mcp_remote_tests::daemon::TestDaemon;
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::rpc::Rpc;
use mcp_remote_tests::upstream::FakeUpstream;

use crate::support::one_shot;

fn names(home: &TestHome) -> Vec<String> {
    let entries = std::fs::read_dir(home.state())
        .expect("it exists")
        .flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn a_deleted_store_costs_a_cold_start() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    one_shot(&home, &[&upstream.url()]);
    assert_eq!(home.run(&["stop"]).code, 0);
    std::fs::remove_dir_all(home.state().join("store-v1")).expect("it is there");
    one_shot(&home, &[&upstream.url()]);
}

#[test]
fn a_damaged_store_is_moved_aside_with_a_warning() {
    let damages: [fn(&std::path::Path); 3] = [
        |store| {
            std::fs::remove_dir_all(store).expect("removed");
            std::fs::write(store, "not a folder").expect("written");
        },
        |store| {
            for entry in std::fs::read_dir(store).expect("it exists").flatten() {
                if entry.path().is_file() {
                    std::fs::write(entry.path(), [0xa5; 4096]).expect("written");
                }
            }
        },
        |store| {
            for entry in std::fs::read_dir(store).expect("it exists").flatten() {
                if entry.path().is_file() {
                    std::fs::write(entry.path(), "").expect("written");
                }
            }
        },
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        let upstream = FakeUpstream::start();
        let home = TestHome::new();
        one_shot(&home, &[&upstream.url()]);
        assert_eq!(home.run(&["stop"]).code, 0);
        damage(&home.state().join("store-v1"));
        let daemon = TestDaemon::start(&home, &[]);
        one_shot(&home, &[&upstream.url()]);
        if number == 2 {
            // Empty files may pass for a new database.
            continue;
        }
        let aside = |name: &String| name.starts_with("store-v1") && name != "store-v1";
        assert!(
            names(&home).iter().any(aside),
            "case {number}: {:?}",
            names(&home)
        );
        assert!(home.state().join("store-v1").is_dir());
        let log = daemon.stderr();
        assert!(log.contains("WARN") && log.contains("store-v1"), "{log}");
    }
}

#[test]
fn a_store_survives_a_crash() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    one_shot(&home, &[&upstream.url()]);
    assert_eq!(home.run(&["stop"]).code, 0);
    for _ in 0..3 {
        one_shot(&home, &[&upstream.url()]);
        home.kill_daemon();
    }
    let _daemon = TestDaemon::start(&home, &[]);
    let status = Rpc::connect(&home).status().expect("it answers");
    assert_eq!(status.servers.len(), 1, "the server is still known");
    assert!(
        !names(&home)
            .iter()
            .any(|name| name.starts_with("store-v1."))
    );
}
