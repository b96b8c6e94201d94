//! `mcp-remote adopt`: what it makes, what it leaves alone, and how that is undone.

use std::ffi::OsStr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mcp_remote_tests::home::{Finished, TestHome, finish};
use mcp_remote_tests::process::binary;
use mcp_remote_tests::shim::{TestShim, conversation};
use mcp_remote_tests::upstream::FakeUpstream;

use crate::support::{messages, one_sentence};

fn link(home: &TestHome) -> PathBuf {
    home.home().join("node_modules/.bin/mcp-remote")
}

fn npx(home: &TestHome) -> PathBuf {
    home.home().join(".local/share/mcp-remote/npx/npx")
}

/// Everything below HOME but our state.
fn listing(home: &TestHome) -> Vec<PathBuf> {
    fn below(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let is_folder = entry.file_type().expect("it is there").is_dir();
            if is_folder && entry.file_name() != ".local" {
                below(&entry.path(), found);
            }
            found.push(entry.path());
        }
    }
    let mut found = Vec::new();
    below(&home.home(), &mut found);
    found.retain(|path| path.file_name() != Some(OsStr::new(".local")));
    found.sort();
    found
}

#[track_caller]
fn adopt(home: &TestHome, flags: &[&str]) -> String {
    let finished = home.run(&[&["adopt"], flags].concat());
    assert_eq!(
        (finished.code, finished.stderr.as_str()),
        (0, ""),
        "{finished:?}"
    );
    finished.stdout
}

#[track_caller]
fn refused(home: &TestHome, flags: &[&str], path: &Path) {
    let finished = home.run(&[&["adopt"], flags].concat());
    assert_eq!(
        (finished.code, finished.stdout.as_str()),
        (1, ""),
        "{finished:?}"
    );
    let sentence = one_sentence(&finished.stderr);
    let path = path.to_str().expect("UTF-8");
    assert!(sentence.contains(path), "{sentence}");
}

/// The command by another path or name, with the environment of `home`.
fn command(home: &TestHome, program: &Path, arguments: &[&str]) -> Command {
    let template = home.command("mcp-remote", &[]);
    let mut command = Command::new(program);
    command.args(arguments).env_clear();
    command.envs(
        template
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn run(home: &TestHome, program: &Path, arguments: &[&str]) -> Finished {
    finish(command(home, program, arguments).stdin(Stdio::null()))
}

fn script(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    std::fs::write(path, format!("#!/bin/sh\n{text}\n")).expect("written");
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(path, executable).expect("allowed");
}

#[test]
fn the_link_is_made_once_and_undone_without_a_trace() {
    let home = TestHome::new();
    let before = listing(&home);
    let said = adopt(&home, &[]);
    assert!(
        said.contains("Made ") && said.contains("mcp-remote adopt --undo"),
        "{said}"
    );
    let target = std::fs::read_link(link(&home)).expect("a link");
    assert_eq!(
        target,
        binary("mcp-remote").canonicalize().expect("it is there")
    );
    let again = adopt(&home, &[]);
    assert!(again.contains("already"), "{again}");
    let undone = adopt(&home, &["--undo"]);
    assert!(undone.contains("Removed "), "{undone}");
    assert_eq!(listing(&home), before);
    assert!(adopt(&home, &["--undo"]).contains("nothing to undo"));
    assert_eq!(home.daemon_pid(), None, "no daemon is needed");
}

#[test]
fn the_link_is_the_program() {
    let upstream = FakeUpstream::start();
    let home = TestHome::stripped();
    adopt(&home, &[]);
    let mut shim = TestShim::start(&mut command(&home, &link(&home), &[&upstream.url()]));
    shim.send_raw(conversation("by the link").as_bytes());
    shim.close_stdin();
    assert_eq!(messages(&shim.rest()).len(), 2);
    assert_eq!(shim.wait(), 0);
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let home = TestHome::new();
    let link = link(&home);
    let bin = link.parent().expect("a folder").to_owned();
    std::fs::create_dir_all(&bin).expect("made");
    std::fs::write(bin.join("other"), "x").expect("written");
    std::fs::write(&link, "mine").expect("written");
    refused(&home, &[], &link);
    assert_eq!(std::fs::read(&link).expect("it is there"), b"mine");
    std::fs::remove_file(&link).expect("removed");
    symlink("../mcp-remote/dist/proxy.js", &link).expect("made");
    refused(&home, &[], &link);
    assert!(adopt(&home, &["--undo"]).contains("nothing to undo"));
    assert!(link.is_symlink());
    // What somebody made by hand is as good, and theirs.
    std::fs::remove_file(&link).expect("removed");
    symlink(binary("mcp-remote").canonicalize().expect("there"), &link).expect("made");
    assert!(adopt(&home, &[]).contains("somebody else"));
    adopt(&home, &["--undo"]);
    assert!(link.is_symlink());
    // Folders that others use stay.
    std::fs::remove_file(&link).expect("removed");
    adopt(&home, &[]);
    adopt(&home, &["--undo"]);
    assert!(!link.is_symlink() && bin.join("other").exists());
}

#[test]
fn a_link_that_was_replaced_meanwhile_is_not_removed() {
    let home = TestHome::new();
    adopt(&home, &[]);
    std::fs::remove_file(link(&home)).expect("removed");
    symlink("/elsewhere", link(&home)).expect("made");
    assert!(adopt(&home, &["--undo"]).contains("Left "));
    assert!(link(&home).is_symlink());
    assert!(adopt(&home, &["--undo"]).contains("nothing to undo"));
}

#[test]
fn nothing_is_made_outside_home() {
    let home = TestHome::new();
    let elsewhere = home.folder().join("elsewhere");
    std::fs::create_dir(&elsewhere).expect("made");
    let modules = home.home().join("node_modules");
    symlink(&elsewhere, &modules).expect("made");
    refused(&home, &[], &modules);
    assert_eq!(std::fs::read_dir(&elsewhere).expect("a folder").count(), 0);
    std::fs::remove_file(&modules).expect("removed");
    std::fs::write(&modules, "a file").expect("written");
    refused(&home, &[], &modules);
    assert_eq!(listing(&home), [modules]);
}

#[test]
fn a_program_that_moved_takes_its_link_along() {
    let mut home = TestHome::new();
    adopt(&home, &[]);
    home.install(&["mcp-remote", "mcp-remoted"], mcp_remote_proto::VERSION);
    assert!(adopt(&home, &[]).contains(" now."));
    let target = std::fs::read_link(link(&home)).expect("a link");
    let installed = home.folder().canonicalize().expect("there").join("bin");
    assert_eq!(target, installed.join("mcp-remote"));
    adopt(&home, &["--undo"]);
    assert!(listing(&home).is_empty());
}

/// A link that leads elsewhere, written down as ours, as one of an older program is.
fn older(home: &TestHome) -> (PathBuf, PathBuf, String) {
    adopt(home, &[]);
    let link = link(home);
    let record = home.home().join(".local/state/mcp-remote/adopted");
    let program = std::fs::read_link(&link).expect("a link");
    std::fs::remove_file(&link).expect("removed");
    symlink("/older/mcp-remote", &link).expect("made");
    let text = std::fs::read_to_string(&record).expect("written");
    let older = text.replace(program.to_str().expect("UTF-8"), "/older/mcp-remote");
    std::fs::write(&record, &older).expect("written");
    (link, record, older)
}

/// Ends adopt when it is about to put the new link in place of the older one, or just
/// before that has been made.
fn killed_while_moving(home: &TestHome, is_made: bool) -> PathBuf {
    let (link, record, older) = older(home);
    adopt(home, &[]);
    let program = std::fs::read_link(&link).expect("a link");
    std::fs::remove_file(&link).expect("removed");
    symlink("/older/mcp-remote", &link).expect("made");
    let line = |text: &str| text.lines().next().unwrap_or_default().to_owned();
    let moved = std::fs::read_to_string(&record).expect("written");
    let both = format!("{}\n{older}", line(&moved));
    std::fs::write(&record, both).expect("written");
    if is_made {
        symlink(program, link.with_extension("adopt-new")).expect("made");
    }
    link
}

#[test]
fn a_kill_while_the_link_moves_is_made_good_by_the_next_adopt_or_undo() {
    for is_made in [false, true] {
        for commands in [&["adopt", "undo"][..], &["undo"]] {
            let home = TestHome::new();
            let link = killed_while_moving(&home, is_made);
            for command in commands {
                if *command == "adopt" {
                    assert!(adopt(&home, &[]).contains(" now."));
                    assert_ne!(
                        std::fs::read_link(&link).expect("a link"),
                        Path::new("/older/mcp-remote")
                    );
                } else {
                    assert!(adopt(&home, &["--undo"]).contains("Removed "));
                }
            }
            assert_eq!(listing(&home), [""; 0].map(PathBuf::from));
        }
    }
}

#[test]
fn what_is_in_the_way_of_the_new_link_is_named() {
    let home = TestHome::new();
    let (link, record, _) = older(&home);
    // The link cannot be made: a folder with something in it has its name.
    let new = link.with_extension("adopt-new");
    std::fs::create_dir_all(new.join("x")).expect("made");
    refused(&home, &[], &new);
    let text = std::fs::read_to_string(&record).expect("written");
    assert!(text.contains("/older/mcp-remote"), "{text}");
    std::fs::remove_dir_all(&new).expect("removed");
    assert!(adopt(&home, &[]).contains(" now."));
    let text = std::fs::read_to_string(&record).expect("written");
    assert!(!text.contains("/older/mcp-remote"), "{text}");
    adopt(&home, &["--undo"]);
    assert!(listing(&home).is_empty());
}

#[test]
fn several_at_once_write_down_all_that_they_make() {
    for _ in 0..5 {
        let home = TestHome::new();
        let mut children: Vec<_> = [&["adopt"][..], &["adopt", "--npx"], &["adopt"]]
            .iter()
            .map(|words| {
                let mut command = command(&home, &binary("mcp-remote"), words);
                command.spawn().expect("it starts")
            })
            .collect();
        for child in &mut children {
            assert!(child.wait().expect("it ends").success());
        }
        assert!(link(&home).is_symlink() && npx(&home).is_symlink());
        adopt(&home, &["--undo"]);
        assert!(listing(&home).is_empty(), "{:?}", listing(&home));
    }
}

#[test]
fn npm_says_where_all_folders_look() {
    let mut home = TestHome::new();
    let prefix = home.folder().join("prefix");
    std::fs::create_dir(&prefix).expect("made");
    let tools = home.folder().join("tools");
    home.set("PATH", format!("{}:/usr/bin:/bin", tools.display()));
    let finished = home.run(&["adopt", "--global"]);
    // A machine may have an npm.
    if !Path::new("/usr/bin/npm").exists() && !Path::new("/bin/npm").exists() {
        assert_eq!(finished.code, 1, "{finished:?}");
        assert!(one_sentence(&finished.stderr).contains("npm was not found"));
    }
    adopt(&home, &["--global", "--undo"]);
    script(
        &tools.join("npm"),
        &format!("[ \"$*\" = 'prefix -g' ] && echo {}", prefix.display()),
    );
    let said = adopt(&home, &["--global"]);
    assert!(said.contains("mcp-remote adopt --global --undo"), "{said}");
    assert!(prefix.join("bin/mcp-remote").is_symlink());
    adopt(&home, &["--undo"]);
    assert_eq!(std::fs::read_dir(&prefix).expect("a folder").count(), 0);
    std::fs::create_dir(prefix.join("bin")).expect("made");
    symlink(
        "../lib/node_modules/mcp-remote",
        prefix.join("bin/mcp-remote"),
    )
    .expect("made");
    refused(&home, &["--global"], &prefix.join("bin/mcp-remote"));
    script(&tools.join("npm"), "echo nonsense");
    let finished = home.run(&["adopt", "--global"]);
    assert_eq!(finished.code, 1);
    assert!(one_sentence(&finished.stderr).contains("names no folder"));
}

#[test]
fn our_npx_runs_our_package_and_leaves_the_rest_to_the_next() {
    let mut home = TestHome::new();
    assert!(
        adopt(&home, &["--npx"])
            .contains("export PATH=\"$HOME/.local/share/mcp-remote/npx:$PATH\"")
    );
    let npx = npx(&home);
    let (ours, tools) = (
        npx.parent().expect("a folder").to_owned(),
        home.folder().join("tools"),
    );
    home.set("PATH", format!("{}:{}", ours.display(), tools.display()));
    for name in ["mcp-remote", "mcp-remote@latest", "mcp-remote@0.1.37"] {
        let finished = run(&home, &npx, &["-y", name, "--version"]);
        assert_eq!(
            finished.stdout.trim(),
            mcp_remote_proto::VERSION,
            "{finished:?}"
        );
    }
    let finished = run(&home, &npx, &["-y", "cowsay", "moo"]);
    assert_eq!((finished.code, finished.stdout.as_str()), (1, ""));
    assert!(one_sentence(&finished.stderr).contains("install Node.js"));
    script(&tools.join("npx"), "echo the next: \"$@\"; exit 7");
    let finished = run(&home, &npx, &["-y", "cowsay", "moo"]);
    assert_eq!(
        (finished.code, finished.stdout.as_str()),
        (7, "the next: -y cowsay moo\n")
    );
    assert!(adopt(&home, &["--npx"]).contains("is on PATH"));
    adopt(&home, &["--npx", "--undo"]);
    assert!(!home.home().join(".local/share").exists());
}

#[test]
fn each_place_is_undone_alone_and_all_at_once() {
    let home = TestHome::new();
    adopt(&home, &[]);
    adopt(&home, &["--npx"]);
    adopt(&home, &["--npx", "--undo"]);
    assert!(link(&home).is_symlink() && !npx(&home).is_symlink());
    adopt(&home, &["--npx"]);
    let undone = adopt(&home, &["--undo"]);
    assert_eq!(undone.matches("Removed ").count(), 2, "{undone}");
    assert!(listing(&home).is_empty());
    let finished = home.run(&["adopt", "--npx", "--global"]);
    assert_eq!(finished.code, 2, "{finished:?}");
}

#[test]
fn by_the_name_of_the_npm_packages_client_it_signs_in() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let client = home.folder().join("mcp-remote-client");
    symlink(binary("mcp-remote"), &client).expect("made");
    let finished = run(&home, &client, &[&upstream.url()]);
    assert_eq!(finished.code, 0, "{finished:?}");
    assert!(
        finished.stderr.contains("Connected to fake-upstream"),
        "{finished:?}"
    );
}
