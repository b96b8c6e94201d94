//! `doctor` finds what is wrong on this side, says what to do about it, and changes
//! nothing.

use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use mcp_remote_proto::v1::{ServerState, ServerStatus, StatusResponse};
use mcp_remote_tests::fake_daemon::FakeDaemon;
use mcp_remote_tests::home::{TestHome, finish};
use mcp_remote_tests::process::binary;
use mcp_remote_tests::upstream::FakeUpstream;
use serde_json::Value;

use crate::support::one_shot;

/// Returns the exit code and every finding: verdict, what was found, what to do.
fn doctor(home: &TestHome) -> (i32, Vec<[String; 4]>) {
    let finished = home.run(&["doctor", "--json"]);
    let json: Value = serde_json::from_str(&finished.stdout).expect("it is JSON");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let checks = json["checks"].as_array().expect("checks").iter();
    let findings: Vec<[String; 4]> = checks
        .map(|check| ["check", "verdict", "found", "advice"].map(|name| text(&check[name])))
        .collect();
    assert_eq!(json["ok"], finished.code != 1, "{json}");
    // The text says the same.
    let text = home.run(&["doctor"]);
    assert_eq!(text.code, finished.code);
    assert_eq!(text.stdout.lines().count(), findings.len(), "{text:?}");
    (finished.code, findings)
}

/// Returns what was found of this check that is not well.
fn trouble(findings: &[[String; 4]], check: &str) -> Vec<[String; 3]> {
    let of_check = findings.iter().filter(|[name, ..]| name == check);
    let wrong = of_check.filter(|[_, verdict, ..]| verdict != "ok");
    wrong
        .map(|[_, verdict, found, advice]| [verdict.clone(), found.clone(), advice.clone()])
        .collect()
}

/// Puts this build's programs first on PATH.
fn on_path(home: &mut TestHome) {
    let folder = binary("mcp-remote");
    let folder = folder.parent().expect("a folder").display().to_string();
    home.set("PATH", format!("{folder}:/usr/bin:/bin"));
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("changed");
}

fn private_folder(path: &Path) {
    let mut builder = std::fs::DirBuilder::new();
    builder
        .recursive(true)
        .mode(0o700)
        .create(path)
        .expect("made");
}

#[test]
fn all_is_well_without_and_with_a_daemon() {
    let upstream = FakeUpstream::start();
    let mut home = TestHome::new();
    on_path(&mut home);
    for runs in [false, true] {
        if runs {
            one_shot(&home, &[&upstream.url()]);
        }
        let (code, findings) = doctor(&home);
        assert_eq!(code, 0, "{findings:?}");
        for [check, verdict, found, _] in &findings {
            assert_eq!(verdict, "ok", "{check}: {found}");
        }
        for check in [
            "daemon",
            "versions",
            "folders",
            "tokens",
            "store",
            "config",
            "clock",
            "service",
            "programs",
            "proxy",
            "open files",
        ] {
            let there = findings.iter().any(|[name, ..]| name == check);
            assert!(
                there || (!runs && check == "folders"),
                "{check}: {findings:?}"
            );
        }
        assert_eq!(home.daemon_pid().is_some(), runs, "none was started");
    }
}

#[test]
fn what_is_open_to_others_is_named_with_the_command_that_closes_it() {
    let mut home = TestHome::new();
    on_path(&mut home);
    let tokens = home.home().join(".mcp-auth/mcp-remote-d1");
    private_folder(&tokens);
    let file = tokens.join("ab_tokens.json");
    std::fs::write(&file, "{}").expect("written");
    set_mode(&file, 0o644);
    let config = home.home().join(".config/mcp-remote/config.toml");
    private_folder(config.parent().expect("a folder"));
    std::fs::write(&config, "").expect("written");
    set_mode(&config, 0o664);
    let state = home.make_state();
    set_mode(&state, 0o755);
    let (code, findings) = doctor(&home);
    assert_eq!(code, 1);
    for (check, path, mode) in [
        ("tokens", &file, "600"),
        ("config", &config, "600"),
        ("folders", &state, "700"),
    ] {
        let all = trouble(&findings, check);
        let [verdict, found, advice] = &all[0];
        assert_eq!(verdict, "fail");
        let command = format!("run chmod {mode} '{}'", path.display());
        assert!(found.contains(&command) || advice == &command, "{all:?}");
    }
    set_mode(&state, 0o700);
    std::fs::remove_file(&config).expect("removed");
    std::fs::remove_file(&file).expect("removed");
    symlink("/etc/passwd", &file).expect("linked");
    let (code, findings) = doctor(&home);
    assert_eq!(code, 1);
    assert!(trouble(&findings, "tokens")[0][1].ends_with("is a symbolic link"));
}

#[test]
fn a_clock_that_was_set_back_shows_in_the_times_of_files() {
    let mut home = TestHome::new();
    on_path(&mut home);
    let tokens = home.home().join(".mcp-auth/mcp-remote-d1");
    private_folder(&tokens);
    let file = tokens.join("ab_tokens.json");
    std::fs::write(&file, "{}").expect("written");
    set_mode(&file, 0o600);
    let opened = std::fs::File::options()
        .write(true)
        .open(&file)
        .expect("opened");
    let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
    opened.set_modified(tomorrow).expect("set");
    let (code, findings) = doctor(&home);
    assert_eq!(code, 0, "it works all the same");
    let wrong = trouble(&findings, "clock");
    assert!(wrong[0][1].contains("in the future"), "{findings:?}");
}

#[test]
fn other_programs_of_the_same_name_are_found() {
    let mut home = TestHome::new();
    let npm = home.folder().join("prefix");
    let package = npm.join("lib/node_modules/mcp-remote/dist/proxy.js");
    for folder in [
        npm.join("bin"),
        package.parent().expect("a folder").to_owned(),
    ] {
        private_folder(&folder);
    }
    for program in [&package, &npm.join("bin/npm")] {
        std::fs::write(program, "#!/bin/sh\n").expect("written");
        set_mode(program, 0o755);
    }
    symlink(&package, npm.join("bin/mcp-remote")).expect("linked");
    home.set(
        "PATH",
        format!("{}:/usr/bin:/bin", npm.join("bin").display()),
    );
    let (code, findings) = doctor(&home);
    assert_eq!(code, 0);
    let wrong = trouble(&findings, "programs");
    assert!(
        wrong[0][1].contains("first on PATH and is the npm package"),
        "{wrong:?}"
    );
    assert!(
        wrong[1][1].contains("what npx mcp-remote starts"),
        "{wrong:?}"
    );
    // Our own program in npm's place is none of them.
    std::fs::remove_file(npm.join("bin/mcp-remote")).expect("removed");
    symlink(binary("mcp-remote"), npm.join("bin/mcp-remote")).expect("linked");
    let (_, findings) = doctor(&home);
    assert_eq!(trouble(&findings, "programs"), [[""; 3]; 0]);
}

#[test]
fn a_unit_is_judged_by_what_it_starts() {
    let mut home = TestHome::new();
    on_path(&mut home);
    let unit = home.home().join(".config/systemd/user/mcp-remoted.service");
    private_folder(unit.parent().expect("a folder"));
    let install = |text: &str| std::fs::write(&unit, text).expect("written");
    install("[Service]\nExecStart=%h/nowhere/mcp-remoted\n");
    let (code, findings) = doctor(&home);
    assert_eq!(code, 1);
    let wrong = trouble(&findings, "service");
    assert!(
        wrong[0][1].ends_with("/nowhere/mcp-remoted, which is not there"),
        "{wrong:?}"
    );
    let fake = home.folder().join("manager");
    private_folder(&fake);
    let program = binary("mcp-remoted");
    install(&format!("[Service]\nExecStart={}\n", program.display()));
    for (word, code, expected) in [
        ("inactive", 0, "is installed and inactive"),
        ("failed", 1, "has failed"),
        (
            "active",
            0,
            "is active, and another daemon serves this HOME",
        ),
    ] {
        let script = format!("#!/bin/sh\necho {word}\n[ {word} = active ]\n");
        let systemctl = fake.join("systemctl");
        std::fs::write(&systemctl, script).expect("written");
        set_mode(&systemctl, 0o755);
        let folder = binary("mcp-remote");
        let folder = folder.parent().expect("a folder");
        home.set(
            "PATH",
            format!("{}:{}:/bin", fake.display(), folder.display()),
        );
        let (exit, findings) = doctor(&home);
        let wrong = trouble(&findings, "service");
        assert!(wrong[0][1].ends_with(expected), "{wrong:?}");
        assert_eq!(exit, code);
    }
}

#[test]
fn the_daemons_own_complaints_are_passed_on() {
    let mut home = TestHome::new();
    on_path(&mut home);
    let server = ServerStatus {
        url: "https://h/mcp".to_owned(),
        state: ServerState::NeedsLogin.into(),
        ..ServerStatus::default()
    };
    let _daemon = FakeDaemon::showing(
        &home,
        StatusResponse {
            servers: vec![server],
            health: vec!["config.toml, line 3: unknown key".to_owned()],
            ..StatusResponse::default()
        },
    );
    let (code, findings) = doctor(&home);
    assert_eq!(code, 11, "{findings:?}");
    assert_eq!(
        trouble(&findings, "daemon")[0][1],
        "config.toml, line 3: unknown key"
    );
    assert_eq!(
        trouble(&findings, "sign-in")[0][2],
        "run mcp-remote login https://h/mcp"
    );
}

#[test]
fn without_a_home_it_is_one_of_the_findings() {
    let mut home = TestHome::new();
    on_path(&mut home);
    let mut command = home.command("mcp-remote", &["doctor"]);
    let finished = finish(command.env_remove("HOME").stdin(Stdio::null()));
    assert_eq!(finished.code, 1, "{finished:?}");
    assert!(finished.stdout.contains("HOME is not set"), "{finished:?}");
}
