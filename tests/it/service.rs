//! `mcp-remote service` writes what the manager needs and tells it so, or says in one
//! sentence why not and leaves everything as it was.

use std::path::PathBuf;

use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::manager::FakeManager;
use mcp_remote_tests::process::binary;
use mcp_remote_tests::rpc::Rpc;
use mcp_remote_tests::shim::text_of;
use mcp_remote_tests::upstream::FakeUpstream;

use crate::support::{attached, one_sentence, one_shot};

const UNITS: [&str; 2] = ["mcp-remoted.service", "mcp-remoted.socket"];
const BOTH: &str = "mcp-remoted.socket mcp-remoted.service";

fn folder(home: &TestHome) -> PathBuf {
    home.home().join(".config/systemd/user")
}

fn installed(home: &TestHome) -> Vec<String> {
    let entries = std::fs::read_dir(folder(home)).into_iter().flatten();
    let names = entries.map(|entry| entry.expect("it is there").file_name());
    let mut names: Vec<_> = names
        .map(|name| name.into_string().expect("UTF-8"))
        .collect();
    names.sort();
    names
}

fn managed() -> (TestHome, FakeManager) {
    let mut home = TestHome::new();
    let manager = FakeManager::new(&mut home);
    manager.starts_daemon();
    (home, manager)
}

#[track_caller]
fn service(home: &TestHome, arguments: &[&str]) -> String {
    let words: Vec<&str> = ["service"].iter().chain(arguments).copied().collect();
    let finished = home.run(&words);
    assert_eq!(finished.code, 0, "{finished:?}");
    finished.stdout
}

#[track_caller]
fn refused(home: &TestHome, arguments: &[&str]) -> (i32, String) {
    let words: Vec<&str> = ["service"].iter().chain(arguments).copied().collect();
    let finished = home.run(&words);
    assert_ne!(finished.code, 0, "{finished:?}");
    // Test programs stand in a build folder, which is said too.
    let lines = finished.stderr.lines();
    let lines: Vec<&str> = lines.filter(|line| !line.contains("may go away")).collect();
    (finished.code, one_sentence(&lines.join("\n")).to_owned())
}

#[test]
fn a_dry_run_says_all_and_does_nothing() {
    let (home, manager) = managed();
    let said = service(&home, &["install", "--dry-run"]);
    let exec = format!("ExecStart={}", binary("mcp-remoted").display());
    for part in [
        &*exec,
        "ListenStream=%t/mcp-remote/daemon.sock",
        "would run systemctl --user daemon-reload",
        "would run systemctl --user enable mcp-remoted.socket mcp-remoted.service",
    ] {
        assert!(said.contains(part), "no {part} in {said}");
    }
    assert_eq!(installed(&home), [""; 0]);
    assert_eq!(manager.told(), [""; 0]);
    service(&home, &["install"]);
    manager.told();
    for verb in ["uninstall", "start", "stop", "restart"] {
        let said = service(&home, &[verb, "--dry-run"]);
        assert!(said.contains("would run systemctl --user"), "{said}");
    }
    assert_eq!(installed(&home), UNITS);
    assert_eq!(manager.told(), [""; 0]);
}

#[test]
fn what_install_wrote_is_enabled_and_uninstall_removes_it_and_nothing_else() {
    let (home, manager) = managed();
    let said = service(&home, &["install"]);
    assert!(said.contains("started by systemd"), "{said}");
    assert_eq!(installed(&home), UNITS);
    let told = manager.told();
    let enable = format!("enable {BOTH}");
    let start = format!("start {BOTH}");
    for order in ["daemon-reload", &enable, &start] {
        assert!(told.iter().any(|told| told == order), "{told:?}");
    }
    let first = home.daemon_pid();
    let said = service(&home, &["install"]);
    assert_eq!(said.matches("unchanged").count(), 2, "{said}");
    assert_eq!(home.daemon_pid(), first, "{:?}", manager.log());
    let edited = folder(&home).join("mcp-remoted.service.d");
    std::fs::create_dir(&edited).expect("made");
    std::fs::write(edited.join("override.conf"), "[Service]\n").expect("written");
    manager.told();
    let said = service(&home, &["uninstall"]);
    assert_eq!(said.matches("removed ").count(), 2, "{said}");
    let disable = format!("disable --now {BOTH}");
    assert_eq!(
        manager
            .told()
            .iter()
            .filter(|told| **told == disable)
            .count(),
        1
    );
    assert_eq!(installed(&home), ["mcp-remoted.service.d"]);
    assert!(edited.join("override.conf").exists());
    service(&home, &["uninstall"]);
    assert_eq!(manager.told(), [""; 0], "there is nothing to undo");
}

#[test]
fn a_daemon_that_a_shim_started_makes_place_for_the_service() {
    let upstream = FakeUpstream::start();
    let (home, _manager) = managed();
    let mut shim = attached(&home, &[&upstream.url()]);
    let session = text_of(&shim.call("session", "{}"));
    let spawned = home.daemon_pid();
    service(&home, &["install"]);
    let hello = Rpc::connect(&home).hello().expect("it answers");
    assert_eq!(hello.started_by, "systemd");
    assert_ne!(home.daemon_pid(), spawned);
    assert_eq!(text_of(&shim.call("session", "{}")), session);
    assert_eq!(shim.stderr(), "", "the user need not know");
    assert_eq!(shim.finish(), 0);
    assert_eq!(upstream.sessions_made(), 1);
}

#[test]
fn a_unit_that_changed_is_restarted() {
    let (home, manager) = managed();
    service(&home, &["install"]);
    let unit = folder(&home).join(UNITS[0]);
    let text = std::fs::read_to_string(&unit).expect("it is there");
    std::fs::write(&unit, text.replace("RestartSec=1", "RestartSec=2")).expect("written");
    manager.told();
    manager.starts("".as_ref());
    service(&home, &["install"]);
    let told = manager.told();
    assert!(told.contains(&format!("restart {BOTH}")), "{told:?}");
    assert_eq!(std::fs::read_to_string(&unit).expect("it is there"), text);
}

#[test]
fn a_folder_that_depends_on_where_one_stands_is_refused() {
    let (mut home, manager) = managed();
    home.set("MCP_REMOTE_CONFIG_DIR", "rel");
    for words in [&["install", "--dry-run"][..], &["install"]] {
        let (code, line) = refused(&home, words);
        assert_eq!(code, 2);
        assert!(line.contains("MCP_REMOTE_CONFIG_DIR"), "{line}");
    }
    assert_eq!(installed(&home), [""; 0]);
    assert_eq!(manager.told(), [""; 0]);
}

#[test]
fn without_a_manager_nothing_is_written() {
    let mut home = TestHome::new();
    let manager = FakeManager::new(&mut home);
    manager.fails_at(&["show"]);
    let (code, line) = refused(&home, &["install"]);
    assert_eq!(code, 1);
    assert!(line.contains("no service manager runs"), "{line}");
    assert!(!home.home().join(".config").exists());
    // None in the path at all.
    home.set("PATH", "/nonexistent");
    let (_, line) = refused(&home, &["install"]);
    assert!(line.contains("there is no systemctl"), "{line}");
}

#[test]
fn a_folder_that_cannot_be_written_leaves_nothing_half_done() {
    let (home, manager) = managed();
    let parent = home.home().join(".config/systemd");
    std::fs::create_dir_all(parent.parent().expect("a folder")).expect("made");
    std::fs::write(&parent, "").expect("a file in place of the folder");
    let (_, line) = refused(&home, &["install"]);
    assert!(line.contains("nothing was changed"), "{line}");
    std::fs::remove_file(&parent).expect("removed");
    // The second of the two files.
    std::fs::create_dir_all(folder(&home).join(UNITS[1])).expect("made");
    let (_, line) = refused(&home, &["install"]);
    assert!(line.contains(UNITS[1]), "{line}");
    assert_eq!(installed(&home), [UNITS[1]]);
    let told = manager.told();
    assert!(told.iter().all(|told| told.starts_with("show")), "{told:?}");
}

#[test]
fn what_the_manager_refuses_is_undone() {
    for order in ["daemon-reload", "enable", "start"] {
        let (home, manager) = managed();
        manager.fails_at(&[order]);
        let (_, line) = refused(&home, &["install"]);
        for part in ["told to fail", "as before"] {
            assert!(line.contains(part), "no {part} in {line}");
        }
        assert_eq!(installed(&home), [""; 0]);
        let told = manager.told();
        assert!(told.contains(&format!("disable --now {BOTH}")), "{told:?}");
    }
}

#[test]
fn what_runs_is_not_taken_down_by_an_install_that_fails() {
    for order in ["daemon-reload", "enable", "start"] {
        let (home, manager) = managed();
        service(&home, &["install"]);
        let daemon = home.daemon_pid();
        manager.told();
        manager.fails_at(&[order]);
        let (_, line) = refused(&home, &["install"]);
        assert!(line.contains("as before"), "{line}");
        let told = manager.told().join("\n");
        assert!(!told.contains("disable"), "{told}");
        assert_eq!(installed(&home), UNITS);
        assert_eq!(home.daemon_pid(), daemon);
    }
}

#[test]
fn an_update_that_the_manager_refuses_leaves_the_units_of_before() {
    let (home, manager) = managed();
    service(&home, &["install"]);
    let unit = folder(&home).join(UNITS[0]);
    let text = std::fs::read_to_string(&unit).expect("it is there");
    let before = text.replace("RestartSec=1", "RestartSec=2");
    std::fs::write(&unit, &before).expect("written");
    manager.fails_at(&["restart"]);
    refused(&home, &["install"]);
    assert_eq!(std::fs::read_to_string(&unit).expect("it is there"), before);
    let told = manager.told();
    assert!(!told.join(" ").contains("disable"), "{told:?}");
    // What was stopped for it runs again.
    assert_eq!(told.last(), Some(&format!("start {BOTH}")), "{told:?}");
}

#[test]
fn units_of_others_are_left_alone() {
    let (home, manager) = managed();
    std::fs::create_dir_all(folder(&home)).expect("made");
    let unit = folder(&home).join(UNITS[1]);
    std::fs::write(&unit, "[Socket]\n").expect("written");
    for verb in ["install", "uninstall"] {
        let (_, line) = refused(&home, &[verb]);
        assert!(line.contains("not written by mcp-remote"), "{line}");
    }
    assert_eq!(installed(&home), [UNITS[1]]);
    std::fs::remove_file(&unit).expect("removed");
    let elsewhere = home.folder().join("unit");
    std::os::unix::fs::symlink(&elsewhere, &unit).expect("linked");
    refused(&home, &["install"]);
    assert!(!elsewhere.exists(), "it is not written through a link");
    let told = manager.told();
    assert!(told.iter().all(|told| told.starts_with("show")), "{told:?}");
}

#[test]
fn without_a_manager_uninstall_removes_the_files_and_their_links() {
    let (home, manager) = managed();
    service(&home, &["install"]);
    let links = folder(&home).join("default.target.wants");
    std::fs::create_dir(&links).expect("made");
    for (link, target) in [
        (UNITS[0], folder(&home).join(UNITS[0])),
        ("other.service", PathBuf::from("/usr/lib/other.service")),
    ] {
        std::os::unix::fs::symlink(target, links.join(link)).expect("linked");
    }
    manager.fails_at(&["show"]);
    let finished = home.run(&["service", "uninstall"]);
    assert_eq!(finished.code, 0, "{finished:?}");
    assert!(one_sentence(&finished.stderr).contains("only files"));
    assert_eq!(installed(&home), ["default.target.wants"]);
    assert!(links.join("other.service").is_symlink());
    assert!(!links.join(UNITS[0]).is_symlink());
}

#[test]
fn the_other_verbs_need_the_service_and_go_through_its_manager() {
    let (home, manager) = managed();
    for verb in ["start", "stop", "restart", "status", "logs"] {
        let (code, line) = refused(&home, &[verb]);
        assert_eq!(code, 3);
        assert!(line.contains("service install"), "{line}");
    }
    service(&home, &["install"]);
    service(&home, &["stop"]);
    let told = manager.told();
    assert_eq!(told.last(), Some(&format!("stop {BOTH}")), "{told:?}");
    manager.starts("".as_ref());
    service(&home, &["restart"]);
    let told = manager.told();
    let only_the_daemon = "restart mcp-remoted.service";
    assert!(told.iter().any(|told| told == only_the_daemon), "{told:?}");
    manager.fails_at(&["start"]);
    let (_, line) = refused(&home, &["start"]);
    assert!(line.contains("told to fail"), "{line}");
}

#[test]
fn status_says_how_the_units_stand_and_scripts_see_it() {
    let (home, manager) = managed();
    service(&home, &["install"]);
    for (active, sub, code) in [
        ("active", "running", 0),
        ("activating", "auto-restart", 10),
        ("failed", "failed", 1),
        ("inactive", "dead", 3),
    ] {
        manager.shows(&format!(
            "Id=mcp-remoted.socket\nLoadState=loaded\nActiveState=active\nSubState=running\n\n\
             Id=mcp-remoted.service\nLoadState=loaded\nUnitFileState=enabled\n\
             ActiveState={active}\nSubState={sub}\nMainPID=47\nNRestarts=2\nResult=exit-code\n"
        ));
        let finished = home.run(&["service", "status"]);
        assert_eq!(finished.code, code, "{finished:?}");
        for part in [active, sub, "pid 47", "restarts 2", "enabled", ".config"] {
            assert!(finished.stdout.contains(part), "no {part} in {finished:?}");
        }
    }
}

#[test]
fn a_program_in_a_build_folder_is_warned_of() {
    let (home, _manager) = managed();
    let finished = home.run(&["service", "install"]);
    assert!(
        one_sentence(&finished.stderr).contains("may go away"),
        "{finished:?}"
    );
}

#[test]
fn places_that_somebody_named_have_no_service() {
    let (mut home, manager) = managed();
    let upstream = FakeUpstream::start();
    service(&home, &["install"]);
    assert_eq!(home.run(&["stop"]).code, 0);
    manager.told();
    home.set("MCP_REMOTE_STATE_DIR", home.folder().join("named"));
    let (_, line) = refused(&home, &["install"]);
    assert!(line.contains("MCP_REMOTE_STATE_DIR"), "{line}");
    one_shot(&home, &[&upstream.url()]);
    assert_eq!(manager.told(), [""; 0]);
}
