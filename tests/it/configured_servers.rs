//! `add`, `remove` and `list`: the daemon edits the file, and what stands in it
//! besides survives.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use mcp_remote_tests::home::{SECRET, TestHome};
use mcp_remote_tests::upstream::FakeUpstream;
use serde_json::Value;

use crate::support::{one_sentence, one_shot};

fn text(home: &TestHome) -> String {
    std::fs::read_to_string(home.configuration()).expect("there is a configuration")
}

fn assert_is_private(file: &Path) {
    let mode = |path: &Path| {
        let metadata = std::fs::metadata(path).expect("it is there");
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(mode(file), 0o600);
    assert_eq!(mode(file.parent().expect("a folder")), 0o700);
}

#[test]
fn a_server_is_added_used_listed_and_removed() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    let header = format!("X-Key: {SECRET}literal");
    let url = upstream.url();
    let add = [
        "add",
        "work",
        &url,
        "--header",
        &header,
        "--transport",
        "http-only",
    ];
    let added = home.run(&add);
    assert_eq!(added.code, 0, "{added:?}");
    assert!(added.stdout.starts_with("Added work in "), "{added:?}");
    let warning = one_sentence(&added.stderr);
    assert!(warning.contains("config.toml holds"), "{warning}");
    assert!(!added.stderr.contains(SECRET));
    assert_is_private(&home.configuration());
    one_shot(&home, &["work"]);
    let keys = upstream.requests();
    assert!(keys.iter().any(|request| request.header("x-key").is_some()));
    let again = home.run(&add);
    assert_eq!(again.code, 1, "{again:?}");
    let said = one_sentence(&again.stderr);
    assert!(
        said.contains("remove work") && said.contains("--replace"),
        "{said}"
    );
    let list = home.run(&["list"]);
    assert_eq!(list.code, 0, "{list:?}");
    assert!(
        list.stdout.contains("work") && list.stdout.contains(&url),
        "{list:?}"
    );
    let json: Value = serde_json::from_str(&home.run(&["list", "--json"]).stdout).expect("JSON");
    let server = &json["servers"][0];
    assert_eq!(server["name"], "work");
    assert_eq!(server["settings"]["transport"], "http-only");
    assert_eq!(server["headers"][0], "X-Key");
    assert!(!json.to_string().contains(SECRET));
    let replaced = home.run(&["add", "work", &url, "--replace"]);
    assert!(
        replaced.stdout.starts_with("Replaced work in "),
        "{replaced:?}"
    );
    upstream.wait_for("DELETE", 1);
    let removed = home.run(&["remove", "work"]);
    assert!(
        removed.stdout.starts_with("Removed work from "),
        "{removed:?}"
    );
    assert_eq!(home.run(&["remove", "work"]).code, 1);
    assert_eq!(home.run(&["work"]).code, 1);
}

#[test]
fn comments_and_all_else_survive() {
    let home = TestHome::new();
    let mine = "# Mine.\n[defaults] # for all\nreuse = \"never\"\n\n# At work.\n[servers.work]\nurl = \"https://work.example.com/mcp\"\n";
    home.configure(mine);
    let add = home.run(&["add", "other", "https://other.example.com/mcp", "--warm"]);
    assert_eq!(add.code, 0, "{add:?}");
    let expected =
        format!("{mine}\n[servers.other]\nurl = \"https://other.example.com/mcp\"\nwarm = true\n");
    assert_eq!(text(&home), expected);
    assert_eq!(home.run(&["remove", "work"]).code, 0);
    assert!(text(&home).starts_with("# Mine.\n[defaults] # for all\nreuse = \"never\"\n"));
    assert!(!text(&home).contains("work"));
}

#[test]
fn what_a_server_lacks_is_said_once_when_it_is_added_and_at_reloads() {
    let home = TestHome::new();
    let url = "https://pro.example.com/mcp";
    let added = home.run(&[
        "add",
        "pro",
        url,
        "--header",
        "Authorization: Bearer ${TOK}",
    ]);
    assert_eq!(added.code, 0, "{added:?}");
    let said = one_sentence(&added.stderr);
    assert!(said.contains("pro cannot be used: "), "{said}");
    assert!(said.contains("TOK"), "{said}");
    let other = home.run(&["add", "other", "https://other.example.com/mcp"]);
    assert_eq!((other.code, other.stderr.as_str()), (0, ""));
    let removed = home.run(&["remove", "other"]);
    assert_eq!((removed.code, removed.stderr.as_str()), (0, ""));
    let reloaded = home.run(&["reload"]);
    assert!(one_sentence(&reloaded.stderr).contains("pro cannot be used: "));
}

#[test]
fn nothing_half_done_is_left_behind() {
    let home = TestHome::new();
    let mine = "[servers.work]\nurl = \"https://work.example.com/mcp\"\n";
    home.configure(mine);
    for (line, code) in [
        (&["add", "status", "https://h/mcp"][..], 2),
        (&["add", "https://h", "https://h/mcp"], 2),
        (&["add", "new", "work"], 2),
        (&["add", "new", "https://h/mcp", "--nonsense"], 2),
        (&["add", "new", "https://h/mcp", "--drain-timeout", "3"], 2),
        (&["add", "new", "https://h/mcp", "--protocol", "auto"], 2),
        (&["add", "new", "http://h.example/mcp"], 1),
        (
            &["add", "new", "https://h/mcp", "--transport", "nonsense"],
            1,
        ),
        (
            &["add", "new", "https://h/mcp", "--callback-path", "nonsense"],
            1,
        ),
        (&["remove", "none"], 1),
    ] {
        let finished = home.run(line);
        assert_eq!(finished.code, code, "{line:?}: {finished:?}");
        if code == 1 {
            one_sentence(&finished.stderr);
        } else {
            // The file is not what is wrong.
            assert!(!finished.stderr.contains("config.toml"), "{finished:?}");
        }
        assert_eq!(text(&home), mine, "{line:?}");
    }
    home.configure("[servers.work\n");
    for line in [&["add", "new", "https://h/mcp"][..], &["remove", "work"]] {
        let finished = home.run(line);
        assert_eq!(finished.code, 1, "{finished:?}");
        assert!(one_sentence(&finished.stderr).contains("config.toml:1: "));
        assert_eq!(text(&home), "[servers.work\n");
    }
}

#[test]
fn a_file_that_is_not_ours_alone_is_left_alone() {
    let home = TestHome::new();
    home.configure("");
    let elsewhere = home.folder().join("dotfiles.toml");
    std::fs::rename(home.configuration(), &elsewhere).expect("it can be renamed");
    std::os::unix::fs::symlink(&elsewhere, home.configuration()).expect("a link");
    let add = ["add", "new", "https://h.example/mcp"];
    let finished = home.run(&add);
    assert_eq!(finished.code, 1, "{finished:?}");
    assert!(one_sentence(&finished.stderr).contains("is a link"));
    assert_eq!(
        std::fs::read_to_string(&elsewhere).ok().as_deref(),
        Some("")
    );
    // Read it is, wherever it stands.
    std::fs::write(&elsewhere, "[servers.work]\nurl = \"https://h.example/\"\n").expect("written");
    assert!(home.run(&["reload"]).stdout.contains("changed: work"));
    let loose = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(&elsewhere, loose).expect("it is ours");
    let reload = home.run(&["reload"]);
    assert_eq!(reload.code, 1, "{reload:?}");
    assert!(one_sentence(&reload.stderr).contains("written by others"));
    std::fs::remove_file(home.configuration()).expect("it can be removed");
    // Nor is it made this user's own by writing it anew.
    let planted = "[servers.planted]\nurl = \"https://h.example/\"\n";
    home.configure(planted);
    let loose = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(home.configuration(), loose).expect("it is ours");
    for change in [&add[..], &["remove", "planted"]] {
        let finished = home.run(change);
        assert_eq!(finished.code, 1, "{finished:?}");
        assert!(one_sentence(&finished.stderr).contains("written by others"));
    }
    let text = std::fs::read_to_string(home.configuration());
    assert_eq!(text.ok().as_deref(), Some(planted));
    std::fs::remove_file(home.configuration()).expect("it can be removed");
    let folder = home.configuration();
    let folder = folder.parent().expect("a folder");
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777)).expect("ours");
    let finished = home.run(&add);
    assert_eq!(finished.code, 1, "{finished:?}");
    let word = folder.display();
    assert!(one_sentence(&finished.stderr).ends_with(&format!("run chmod go-w {word}")));
    assert!(!home.configuration().exists());
}

#[test]
fn every_change_of_many_at_once_is_kept() {
    let home = TestHome::new();
    assert_eq!(home.run(&["list"]).code, 0);
    let names: Vec<String> = (0..20).map(|number| format!("server{number}")).collect();
    let shims: Vec<_> = names
        .iter()
        .map(|name| home.shim(&["add", name, "https://h.example/mcp"]))
        .collect();
    for shim in shims {
        assert_eq!(shim.wait(), 0, "{}", shim.stderr());
    }
    let list = home.run(&["list"]).stdout;
    for name in names {
        assert!(list.contains(&name), "{name} is not in\n{list}");
    }
}

#[test]
fn a_file_that_others_can_read_is_warned_about() {
    let home = TestHome::new();
    home.configure("[servers.work]\nurl = \"https://h.example/\"\nheaders = { X-Key = \"k\" }\n");
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(home.configuration(), open).expect("it is ours");
    assert_eq!(home.run(&["list"]).code, 0);
    let status = home.run(&["status"]).stdout;
    let command = format!("run chmod 600 {}", home.configuration().display());
    assert!(status.contains(&command), "{status}");
}
