//! What is wrong on this machine: keys, token files, programs, and its clock.

use mcp_remote_tests::daemon::TestDaemon;

use super::*;

/// A way to spoil a key, and what is said of it.
type Spoiled = (fn(&Path), &'static str);

const KEYS: [Spoiled; 5] = [
    (|path| mode(path, 0o644), "is open to other users"),
    (
        |path| {
            let p384 = include_str!("../../../daemon/src/oauth/jose/fixtures/p384.pkcs8.pem");
            std::fs::write(path, p384).expect("ours");
        },
        "not supported",
    ),
    (
        |path| std::fs::write(path, format!("{SECRET}nonsense")).expect("ours"),
        "no private key",
    ),
    (
        |path| {
            std::fs::remove_file(path).expect("ours");
            std::fs::create_dir(path).expect("ours");
            mode(path, 0o700);
        },
        "not a regular file",
    ),
    (
        |path| std::fs::remove_file(path).expect("ours"),
        "No such file",
    ),
];

/// The lines of a PEM that are secret.
fn secret_lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().filter(|line| line.len() > 20);
    lines
        .filter(|line| !line.starts_with("-----"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn keys_that_cannot_be_used() {
    for (spoil, said) in KEYS {
        let mut scene = Scene::new();
        let (pem, public) = key();
        let path = scene.keep("key.pem", &pem);
        scene.server.service_key("ci-bot", "ES256", &public);
        spoil(&path);
        let file = path.display().to_string();
        let failure = Failure {
            line: service_account(&scene, &path),
            says: &[said, &file],
            secrets: secret_lines(&path),
            limit: SOON,
        };
        scene.fails(&failure, |_, _| ());
        assert_eq!(scene.server.count("token client"), 0);
    }
}

#[test]
fn a_key_that_its_reader_may_not_read() {
    let home = TestHome::new();
    let _daemon = TestDaemon::start_without_privileges(&home);
    let mut scene = Scene::at(home, Config::default());
    let path = scene.keep("key.pem", &key().0);
    mode(&path, 0o000);
    let file = path.display().to_string();
    let failure = Failure {
        line: service_account(&scene, &path),
        says: &["Permission denied", &file],
        secrets: Vec::new(),
        limit: SOON,
    };
    scene.fails(&failure, |_, _| ());
}

#[test]
fn a_platforms_token_that_has_ended_by_this_machines_clock() {
    fails_with_platform_token(1_000_000, "by this machine's clock it ended");
}

/// A server of the configuration whose token this script prints.
fn with_program(scene: &Scene, script: &str) -> Vec<String> {
    let path = scene.keep("program", &format!("#!/bin/sh\n{script}\n"));
    mode(&path, 0o700);
    scene.home.configure(&format!(
        "[servers.given]\nurl = {:?}\nbearer_token_command = [{path:?}, \"{SECRET}word\"]\n",
        scene.upstream.url(),
    ));
    assert_eq!(scene.home.run(&["reload"]).code, 0);
    words(&["given"])
}

#[test]
fn programs_that_print_no_token() {
    for (script, said) in [
        (
            format!("while :; do echo '{SECRET}a novel of many words'; done"),
            "more than 64 KiB",
        ),
        (format!("echo {SECRET}a novel"), "more than one word"),
        (format!("echo {SECRET}why >&2; exit 3"), "exit code 3"),
        ("true".to_owned(), "prints nothing"),
    ] {
        let mut scene = Scene::new();
        let failure = Failure {
            line: with_program(&scene, &script),
            says: &["token command", said],
            secrets: words(&["novel"]),
            limit: SOON,
        };
        scene.fails(&failure, |_, _| ());
        assert_eq!(scene.upstream.requests().len(), 0);
    }
}

#[test]
fn a_program_that_hangs() {
    let mut scene = Scene::new();
    let script = format!("echo {SECRET}half; echo {SECRET}why >&2; exec sleep 1000");
    let failure = Failure {
        line: with_program(&scene, &script),
        says: &["token command", "did not end within 20 s"],
        secrets: Vec::new(),
        limit: LATE,
    };
    scene.fails(&failure, |_, _| ());
}
