//! A sign-in can be moved to another machine: it is there then and no longer here, and
//! whatever goes wrong on the way, it is in one of the two places.

mod hazards;

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use mcp_remote_tests::authorization_server::{Config, FakeAuthorizationServer};
use mcp_remote_tests::browser::Browser;
use mcp_remote_tests::home::{Finished, SECRET, TestHome, finish};
use mcp_remote_tests::terminal::TestTerminal;
use mcp_remote_tests::upstream::FakeUpstream;

use crate::support::{one_sentence, one_shot, sign_in, signed_in, token_files};

const PASSPHRASE: &str = "s3cr3t-passphrase";

/// Runs `mcp-remoted tokens move` with the passphrase in the environment.
fn moved(home: &TestHome, arguments: &[&str]) -> Finished {
    moved_with(home, arguments, PASSPHRASE)
}

fn moved_with(home: &TestHome, arguments: &[&str], passphrase: &str) -> Finished {
    let arguments = [&["tokens", "move"], arguments].concat();
    let mut command = home.command("mcp-remoted", &arguments);
    command.env("MCP_REMOTE_PASSPHRASE", passphrase);
    let finished = finish(command.stdin(Stdio::null()));
    let said = format!("{}{}", finished.stdout, finished.stderr);
    assert!(!said.contains(SECRET), "{said}");
    finished
}

/// Does so, and it works.
#[track_caller]
fn moves(home: &TestHome, arguments: &[&str]) -> String {
    let finished = moved(home, arguments);
    assert_eq!(finished.code, 0, "{finished:?}");
    assert_eq!(finished.stderr, "");
    finished.stdout
}

/// Does so, and it is refused with one sentence that has these words.
#[track_caller]
fn refuses(home: &TestHome, arguments: &[&str], words: &str) {
    let finished = moved(home, arguments);
    assert_eq!(finished.code, 1, "{finished:?}");
    let sentence = one_sentence(&finished.stderr);
    assert!(sentence.contains(words), "{sentence}");
    assert_eq!(finished.stdout, "");
}

fn stop(home: &TestHome) {
    assert_eq!(home.run(&["stop"]).code, 0);
    home.wait_until_no_daemon();
}

/// Returns the files that hold tokens.
fn grants(home: &TestHome) -> Vec<PathBuf> {
    if !home.home().join(".mcp-auth/mcp-remote-d1").exists() {
        return Vec::new();
    }
    let files = token_files(home).into_iter();
    // What a program that died was writing begins otherwise.
    let is_grant = |file: &PathBuf| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with("_tokens.json") && !name.starts_with('.')
    };
    files.filter(is_grant).collect()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Another machine, whose browser agrees to anything.
fn elsewhere() -> (TestHome, Browser) {
    let mut home = TestHome::new();
    let browser = Browser::agreeing(&mut home);
    (home, browser)
}

/// Somebody is signed in, no daemon runs, and the sign-in is moved to a file.
fn taken_out() -> (FakeAuthorizationServer, FakeUpstream, TestHome, PathBuf) {
    let (server, upstream, home, _browser) = signed_in(Config::default());
    stop(&home);
    let file = home.folder().join("moved.age");
    moves(&home, &["--to", text(&file)]);
    (server, upstream, home, file)
}

#[test]
fn a_sign_in_moves_and_nobody_signs_in_again() {
    let (server, upstream, here, browser) = signed_in(Config::default());
    let url = upstream.url();
    stop(&here);
    let file = here.folder().join("moved.age");
    let said = moves(&here, &["--to", text(&file)]);
    assert!(said.contains("Moved 1 sign-in"), "{said}");
    assert!(said.contains(&server.origin()), "{said}");
    let metadata = std::fs::metadata(&file).expect("it is there");
    assert_eq!(metadata.mode() & 0o777, 0o600);
    let content = std::fs::read(&file).expect("read");
    assert!(content.starts_with(b"age-encryption.org/v1\n-> scrypt "));
    let has_secret = content
        .windows(SECRET.len())
        .any(|piece| piece == SECRET.as_bytes());
    assert!(!has_secret, "it is encrypted");
    assert_eq!(grants(&here), [""; 0].map(PathBuf::from));
    let (there, there_browser) = elsewhere();
    let said = moves(&there, &["--from", text(&file)]);
    assert!(said.contains("Took over 1 sign-in"), "{said}");
    assert!(!file.exists(), "it is spent");
    one_shot(&there, &[&url]);
    assert_eq!(there_browser.visited(), [""; 0]);
    assert_eq!(server.count("token code"), 1);
    assert_eq!(server.count("register"), 1);
    // There it is renewed as it was here.
    server.expire_access_tokens();
    one_shot(&there, &[&url]);
    assert_eq!(server.count("token refresh"), 1);
    // Here nobody is signed in any more: the tokens are not used twice.
    let check = here.run(&[&url]);
    assert_eq!(check.code, 11, "{check:?}");
    assert_eq!(server.count("token refresh"), 1);
    assert_eq!(server.count("revoke"), 0);
    assert_eq!(browser.visited().len(), 1);
}

#[test]
fn one_server_can_be_moved_alone_by_url_or_name() {
    let (server, upstream, home, _browser) = signed_in(Config::default());
    let other = FakeUpstream::start();
    let second = FakeAuthorizationServer::start();
    second.protect(&other);
    sign_in(&home, &[&other.url()]);
    sign_in(&home, &[&upstream.url(), "--header", "X-Team: blue"]);
    stop(&home);
    home.configure(&format!("[servers.other]\nurl = \"{}\"\n", other.url()));
    assert_eq!(grants(&home).len(), 3);
    let file = home.folder().join("one.age");
    let said = moves(&home, &["--to", text(&file), "other"]);
    assert!(
        said.contains("Moved 1 sign-in") && said.contains(&second.origin()),
        "{said}"
    );
    assert_eq!(grants(&home).len(), 2);
    let all = home.folder().join("two.age");
    let said = moves(&home, &[&upstream.url(), "--to", text(&all)]);
    assert!(said.contains("Moved 2 sign-ins"), "{said}");
    assert!(said.contains(&server.origin()), "{said}");
    assert_eq!(grants(&home).len(), 0);
    // The file of one server has none of another, and stays as it is.
    let (there, _) = elsewhere();
    refuses(
        &there,
        &["--from", text(&file), &upstream.url()],
        "no sign-in of that server",
    );
    assert!(file.exists());
    refuses(
        &home,
        &["--to", text(&home.folder().join("x")), "nobody"],
        "no server of this name",
    );
    let unknown = home.folder().join("x");
    refuses(
        &home,
        &["--to", text(&unknown), "https://unknown.example/"],
        "nobody is signed in",
    );
    refuses(&home, &["--to", text(&unknown)], "nobody is signed in here");
    assert!(!unknown.exists());
}

#[test]
fn while_a_daemon_runs_nothing_moves() {
    let (_server, _upstream, home, _browser) = signed_in(Config::default());
    let file = home.folder().join("moved.age");
    for way in ["--to", "--from"] {
        refuses(&home, &[way, text(&file)], "run mcp-remote stop first");
    }
    assert!(!file.exists());
    assert_eq!(grants(&home).len(), 1);
}

#[test]
fn a_file_that_is_there_is_not_overwritten() {
    let (_server, _upstream, home, _browser) = signed_in(Config::default());
    stop(&home);
    let file = home.folder().join("mine");
    std::fs::write(&file, "mine").expect("written");
    let link = home.folder().join("link");
    symlink(home.folder().join("nowhere"), &link).expect("linked");
    for there in [&file, &link] {
        refuses(&home, &["--to", text(there)], "is there already");
    }
    let nowhere = home.folder().join("no/such/folder");
    refuses(&home, &["--to", text(&nowhere)], "cannot be used");
    assert_eq!(std::fs::read(&file).expect("read"), b"mine");
    assert_eq!(grants(&home).len(), 1);
}

#[test]
fn what_cannot_be_opened_changes_nothing_and_stays() {
    let (_server, _upstream, _home, file) = taken_out();
    let (there, _) = elsewhere();
    let finished = moved_with(&there, &["--from", text(&file)], "s3cr3t-other");
    assert_eq!(finished.code, 1, "{finished:?}");
    let sentence = one_sentence(&finished.stderr);
    assert!(
        sentence.contains("the passphrase is not the one"),
        "{sentence}"
    );
    let whole = std::fs::read(&file).expect("read");
    let private = std::fs::Permissions::from_mode(0o600);
    let damaged = there.folder().join("damaged");
    let mut turned = whole.clone();
    *turned.last_mut().expect("it is long") ^= 1;
    for (content, words) in [
        (&whole[..whole.len() - 1], "damaged or not whole"),
        (&whole[..200], "damaged or not whole"),
        (&whole[..50], "damaged or not whole"),
        (&turned, "damaged or not whole"),
        (b"{}", "not encrypted with a passphrase"),
        (b"", "not encrypted with a passphrase"),
    ] {
        std::fs::write(&damaged, content).expect("written");
        std::fs::set_permissions(&damaged, private.clone()).expect("set");
        refuses(&there, &["--from", text(&damaged)], words);
        assert!(damaged.exists());
    }
    let loose = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(&file, loose).expect("set");
    refuses(
        &there,
        &["--from", text(&file)],
        "open to other users (mode 644)",
    );
    std::fs::set_permissions(&file, private).expect("set");
    let link = there.folder().join("link");
    symlink(&file, &link).expect("linked");
    refuses(&there, &["--from", text(&link)], "is not a regular file");
    refuses(&there, &["--from", "nothing-there"], "is not there");
    assert_eq!(grants(&there).len(), 0);
    // It was not spent by any of that.
    moves(&there, &["--from", text(&file)]);
    assert_eq!(grants(&there).len(), 1);
}

#[test]
fn another_sign_in_is_replaced_only_by_force() {
    let (server, upstream, _here, file) = taken_out();
    let (there, there_browser) = elsewhere();
    sign_in(&there, &[&upstream.url()]);
    stop(&there);
    let before = std::fs::read(&grants(&there)[0]).expect("read");
    refuses(
        &there,
        &["--from", text(&file)],
        "--force replaces what is here",
    );
    assert_eq!(std::fs::read(&grants(&there)[0]).expect("read"), before);
    assert!(file.exists());
    moves(&there, &["--from", text(&file), "--force"]);
    assert_ne!(std::fs::read(&grants(&there)[0]).expect("read"), before);
    one_shot(&there, &[&upstream.url()]);
    assert_eq!(there_browser.visited().len(), 1, "that of its own sign-in");
    assert_eq!(server.count("token code"), 2);
}

#[test]
fn a_file_that_was_taken_over_before_it_could_be_deleted_does_no_harm() {
    let (_server, _upstream, _here, file) = taken_out();
    let kept = std::fs::read(&file).expect("read");
    let (there, _) = elsewhere();
    moves(&there, &["--from", text(&file)]);
    // As if the machine had died in between.
    std::fs::write(&file, kept).expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("set");
    moves(&there, &["--from", text(&file)]);
    assert!(!file.exists());
}

/// Runs it until it dies of writing a file that is longer than this many half KiB.
fn dies(home: &TestHome, arguments: &[&str], limit: u32) {
    let program = home.command("mcp-remoted", &[]);
    let script = format!("ulimit -f {limit}; exec \"$0\" tokens move \"$@\"");
    let mut command = std::process::Command::new("/bin/sh");
    command
        .args(["-c", &script])
        .arg(program.get_program())
        .args(arguments)
        .env_clear()
        .env("HOME", home.home())
        .env("MCP_REMOTE_PASSPHRASE", PASSPHRASE)
        .stdin(Stdio::null());
    let status = command.status().expect("it runs");
    assert!(!status.success(), "{status}");
}

#[test]
fn wherever_it_dies_nothing_is_lost() {
    let (server, upstream, here, _browser) = signed_in(Config::default());
    stop(&here);
    let file = here.folder().join("moved.age");
    // While it writes the file.
    dies(&here, &["--to", text(&file)], 1);
    assert_eq!(grants(&here).len(), 1);
    std::fs::remove_file(&file).expect("a part of it is there");
    // When it has, and begins to remove what is here.
    dies(&here, &["--to", text(&file)], 16);
    assert_eq!(grants(&here).len(), 1);
    // While it writes the tokens there.
    let (there, browser) = elsewhere();
    dies(&there, &["--from", text(&file)], 4);
    assert_eq!(grants(&there).len(), 0);
    moves(&there, &["--from", text(&file)]);
    one_shot(&there, &[&upstream.url()]);
    assert_eq!(browser.visited(), [""; 0]);
    assert_eq!(server.count("token code"), 1);
}

#[test]
fn the_passphrase_may_come_from_a_file_that_nobody_else_can_read() {
    let (_server, _upstream, home, _browser) = signed_in(Config::default());
    stop(&home);
    let passphrase = home.folder().join("passphrase");
    std::fs::write(&passphrase, format!("{PASSPHRASE}\n")).expect("written");
    let file = home.folder().join("moved.age");
    let without = |arguments: &[&str]| {
        let arguments = [&["tokens", "move"], arguments].concat();
        finish(home.command("mcp-remoted", &arguments).stdin(Stdio::null()))
    };
    let arguments = ["--to", text(&file), "--passphrase-file", text(&passphrase)];
    let mode = |mode| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&passphrase, mode).expect("set");
    };
    mode(0o640);
    let finished = without(&arguments);
    assert_eq!(finished.code, 1);
    assert!(one_sentence(&finished.stderr).contains("mode 640"));
    mode(0o600);
    assert_eq!(without(&arguments).code, 0);
    assert_eq!(
        moved_with(&home, &["--from", text(&file)], PASSPHRASE).code,
        0
    );
    // A short one, given by hand, is not taken for a new file.
    let finished = moved_with(&home, &["--to", text(&file)], "short");
    assert!(one_sentence(&finished.stderr).contains("at least 8"));
    assert!(!file.exists());
}

#[test]
fn a_person_types_it_twice_and_sees_nothing_of_it() {
    let (_server, _upstream, home, _browser) = signed_in(Config::default());
    stop(&home);
    let file = home.folder().join("moved.age");
    let ask = |typed: &[&str], way: &str, said: &str| {
        let command = home.command("mcp-remoted", &["tokens", "move", way, text(&file)]);
        let terminal = TestTerminal::start(&command, 80, 24);
        for (question, line) in ["Passphrase: ", "The same again: "].iter().zip(typed) {
            terminal.wait_for_text(question);
            terminal.press(line.as_bytes());
        }
        terminal.wait_for_text(said);
        let code = terminal.wait();
        let drawn = terminal.drawn();
        assert!(!drawn.contains("s3cr3t"), "{drawn}");
        assert!(terminal.is_usual(), "the terminal is given back");
        code
    };
    let different = ["s3cr3t-one\r", "s3cr3t-two\r"];
    assert_eq!(ask(&different, "--to", "are not the same"), 1);
    assert_eq!(ask(&["s3cr3t-\x03"], "--to", "no passphrase was given"), 1);
    assert!(!file.exists());
    let typed = format!("{PASSPHRASE}x\u{7f}\r");
    assert_eq!(ask(&[&typed, &typed], "--to", "Moved 1 sign-in"), 0);
    assert_eq!(ask(&[&typed], "--from", "Took over 1 sign-in"), 0);
    assert_eq!(grants(&home).len(), 1);
}

#[test]
fn what_makes_no_sense_is_a_usage_error() {
    let home = TestHome::new();
    for arguments in [
        &["tokens"][..],
        &["tokens", "move"],
        &["tokens", "move", "--to", "a", "--from", "b"],
        &["tokens", "drop", "--to", "a"],
    ] {
        let mut command = home.command("mcp-remoted", arguments);
        let finished = finish(command.stdin(Stdio::null()));
        assert_eq!(finished.code, 2, "{finished:?}");
        one_sentence(&finished.stderr);
    }
}
