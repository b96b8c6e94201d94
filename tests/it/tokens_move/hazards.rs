//! What can go wrong with the file, the disk and the store: nothing is removed here
//! unless it can be opened there.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use mcp_remote_tests::authorization_server::FakeAuthorizationServer;
use mcp_remote_tests::home::{Finished, TestHome};
use mcp_remote_tests::upstream::FakeUpstream;
use serde_json::json;

use super::{PASSPHRASE, elsewhere, grants, moves, refuses, stop, text};
use crate::oauth_dpop;
use crate::support::{one_sentence, one_shot, sign_in, signed_in};

/// Moves out where no file can be longer than this many half KiB.
fn moved_to_full_disk(home: &TestHome, file: &Path, limit: u32) -> Finished {
    let program = home.command("mcp-remoted", &[]);
    let script = format!("trap '' XFSZ; ulimit -f {limit}; exec \"$0\" tokens move --to \"$1\"");
    let mut command = std::process::Command::new("/bin/sh");
    command
        .args(["-c", &script])
        .arg(program.get_program())
        .arg(file)
        .env_clear()
        .env("HOME", home.home())
        .env("MCP_REMOTE_PASSPHRASE", PASSPHRASE)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    mcp_remote_tests::home::finish(&mut command)
}

#[test]
fn where_the_disk_is_full_nothing_moves_and_no_part_of_the_file_stays() {
    let (_server, upstream, home, browser) = signed_in(super::Config::default());
    stop(&home);
    let before = std::fs::read(&grants(&home)[0]).expect("read");
    let file = home.folder().join("moved.age");
    let finished = moved_to_full_disk(&home, &file, 1);
    assert_eq!(finished.code, 1, "{finished:?}");
    let sentence = one_sentence(&finished.stderr);
    assert!(sentence.contains("moved.age cannot be used"), "{sentence}");
    assert!(!file.exists(), "a part of it is of no use");
    assert_eq!(std::fs::read(&grants(&home)[0]).expect("read"), before);
    // Nor does it where what is written is in no folder.
    let nowhere = home.folder().join("mcp-remoted/moved.age");
    refuses(&home, &["--to", text(&nowhere)], "cannot be used");
    one_shot(&home, &[&upstream.url()]);
    assert_eq!(browser.visited().len(), 1);
}

#[test]
fn a_file_that_nobody_could_open_again_is_not_counted_on() {
    let home = TestHome::new();
    let folder = home.home().join(".mcp-auth/mcp-remote-d1");
    std::fs::create_dir_all(&folder).expect("made");
    // Together they are longer than any file that is read.
    let long = "x".repeat(1_000_000);
    let content = json!({ "access_token": "a", "later": long }).to_string();
    for number in 0..17 {
        let path = folder.join(format!("{number:064x}_tokens.json"));
        std::fs::write(&path, &content).expect("written");
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, private).expect("set");
    }
    let file = home.folder().join("moved.age");
    refuses(&home, &["--to", text(&file)], "cannot be read back");
    assert!(!file.exists());
    assert_eq!(grants(&home).len(), 17);
}

#[test]
fn what_is_damaged_is_named_and_stays_and_the_rest_moves() {
    let (server, upstream, home, _browser) = signed_in(super::Config::default());
    let other = FakeUpstream::start();
    let second = FakeAuthorizationServer::start();
    second.protect(&other);
    let whole = grants(&home);
    sign_in(&home, &[&other.url()]);
    stop(&home);
    let mut damaged = grants(&home);
    damaged.retain(|path| !whole.contains(path));
    let name = damaged[0].file_name().expect("a name").to_string_lossy();
    std::fs::write(&damaged[0], r#"{"access_token":"#).expect("written");
    let file = home.folder().join("moved.age");
    let said = moves(&home, &["--to", text(&file)]);
    assert!(said.contains("Moved 1 sign-in ("), "{said}");
    assert!(said.contains(&server.origin()), "{said}");
    assert!(said.contains("damaged stays here"), "{said}");
    assert!(said.contains(&*name), "{said}");
    assert_eq!(grants(&home), damaged);
    let again = home.folder().join("again.age");
    let words = format!("nobody is signed in here (damaged: {name})");
    refuses(&home, &["--to", text(&again)], &words);
    assert!(!again.exists());
    let (there, browser) = elsewhere();
    moves(&there, &["--from", text(&file)]);
    one_shot(&there, &[&upstream.url()]);
    assert_eq!(browser.visited(), [""; 0]);
}

#[test]
fn a_bound_grant_moves_with_its_key_and_is_renewed_with_it() {
    let (server, upstream, here, _browser) = signed_in(oauth_dpop::demanding());
    let key = oauth_dpop::tokens(&here)["dpop_key"].clone();
    assert!(key.is_string());
    stop(&here);
    let file = here.folder().join("moved.age");
    moves(&here, &["--to", text(&file)]);
    let (there, browser) = elsewhere();
    moves(&there, &["--from", text(&file)]);
    assert_eq!(oauth_dpop::tokens(&there)["dpop_key"], key);
    one_shot(&there, &[&upstream.url()]);
    server.expire_access_tokens();
    one_shot(&there, &[&upstream.url()]);
    assert_eq!(server.count("token refresh"), 1);
    assert_eq!(oauth_dpop::tokens(&there)["dpop_key"], key);
    assert_eq!(oauth_dpop::tokens(&there)["token_type"], "DPoP");
    assert_eq!(browser.visited(), [""; 0]);
}
