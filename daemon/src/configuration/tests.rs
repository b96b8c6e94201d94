//! What is in force, from text to text.

use super::*;

fn settings(folder: &Path, text: &str) -> Settings {
    let path = folder.join("config.toml");
    std::fs::write(&path, text).expect("it can be written");
    let source = Source {
        path,
        home: Some(folder.to_owned()),
        variable: |_| None,
    };
    let check = |entry: &Entry| match entry.table.callback_path.as_deref() {
        Some("wrong") => Err("the value of --callback-path is not a path".into()),
        _ => Ok(()),
    };
    Settings::read(source, Box::new(check))
}

#[test]
fn what_belongs_to_an_identity_provider_is_shown_to_no_other_one() {
    let parsed = parse::parse(
        "[defaults]\nidentity_provider = \"https://idp/\"\nidentity_provider_client = \"{}\"\nidentity_provider_key = \"/k\"\nsubject_token_file = \"/t\"\nsubject_token_type = \"refresh-token\"\n[servers.a]\nurl = \"https://a/\"\n[servers.b]\nurl = \"https://b/\"\nidentity_provider = \"https://other/\"\n",
    );
    let document = parsed.unwrap_or_else(|wrong| panic!("{wrong:?}")).document;
    let table = |name: &str| document.servers[name].clone().over(&document.defaults);
    let (same, other) = (table("a"), table("b"));
    assert_eq!(same.identity_provider.as_deref(), Some("https://idp/"));
    assert!(same.identity_provider_client.is_some() && same.subject_token_type.is_some());
    assert_eq!(same.subject_token_file.as_deref(), Some("/t"));
    assert_eq!(other.identity_provider.as_deref(), Some("https://other/"));
    assert!(other.identity_provider_client.is_none() && other.identity_provider_key.is_none());
    assert!(other.subject_token_file.is_none() && other.subject_token_type.is_none());
}

#[test]
fn a_server_takes_from_the_defaults_what_it_does_not_say() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = settings(
        folder.path(),
        "[defaults]\nrequest_timeout = 5\nauth_timeout = 6\nca_file = \"ca.pem\"\n[servers.a]\nurl = \"https://a/\"\nrequest_timeout = 1.5\n",
    );
    assert_eq!(settings.problem(), None);
    let table = settings.server("a").expect("it is there").table;
    let seconds = |value: Option<document::Seconds>| value.map(|time| time.0.as_millis());
    assert_eq!(seconds(table.request_timeout), Some(1500));
    assert_eq!(seconds(table.auth_timeout), Some(6000));
    let file = folder.path().join("ca.pem").display().to_string();
    assert_eq!(table.ca_file, Some(file));
}

#[test]
fn what_is_wrong_is_said_with_file_and_line_whatever_is_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    for (text, place, what) in [
        (
            "[servers.\"https://a\"]\nurl = \"https://a/\"\n",
            ":1: ",
            "looks like a URL",
        ),
        (
            "\n[servers.status]\nurl = \"https://a/\"\n",
            ":2: ",
            "is a command",
        ),
        (
            "[servers.9]\nurl = \"https://a/\"\n",
            ":1: ",
            "is not a name",
        ),
        ("[servers.a]\nwarm = true\n", ":1: ", "has no url"),
        (
            "[servers.a]\nurl = \"https://a/\"\n\ncallback_path = \"wrong\"\n",
            ":4: ",
            "the value of callback_path is not a path",
        ),
    ] {
        let settings = settings(folder.path(), text);
        let problem = settings.problem().expect(text);
        let file = folder.path().join("config.toml").display().to_string();
        assert!(problem.starts_with(&format!("{file}{place}")), "{problem}");
        assert!(problem.contains(what), "{problem}");
        assert_eq!(settings.server("a"), Err(problem));
    }
}

#[test]
fn a_reload_changes_what_has_changed_and_a_broken_one_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "[servers.a]\nurl = \"https://a/\"\n[servers.b]\nurl = \"https://b/\"\n";
    let settings = settings(folder.path(), text);
    let path = folder.path().join("config.toml");
    let reload = |text: &str| {
        std::fs::write(&path, text).expect("it can be written");
        settings.reload()
    };
    let change = reload(&format!("# other comments\n{text}")).expect("it is right");
    assert_eq!(change, Change::default());
    let change = reload(&text.replace("https://b/", "https://c/")).expect("it is right");
    assert_eq!(change.names, BTreeSet::from(["b".to_owned()]));
    assert!(!change.defaults);
    let before = settings.now();
    let sentence = reload("[servers.a]\nulr = 1\n").expect_err("it is wrong");
    assert_eq!(settings.problem(), Some(sentence));
    assert_eq!(settings.now(), before);
    let change = reload("[defaults]\nwarm = true\n").expect("it is right");
    assert_eq!(change.names.len(), 2);
    assert!(change.defaults);
    assert_eq!(settings.problem(), None);
}

#[cfg(unix)]
#[test]
fn a_file_is_changed_only_if_it_is_ours_to_change() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let known = settings(folder.path(), "# mine\n");
    let add = |settings: &Settings| settings.add("a", "https://a/", &[], false);
    add(&known).expect("it is new");
    let path = folder.path().join("config.toml");
    let mode = std::fs::metadata(&path).expect("it is there").permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&path).expect("it can be read");
    assert_eq!(text, "# mine\n\n[servers.a]\nurl = \"https://a/\"\n");
    assert!(known.server("a").is_ok());
    assert!(add(&known).is_err(), "it is there already");
    known.remove("a").expect("it is there");
    assert!(known.server("a").is_err());
    std::fs::write(&path, "[broken\n").expect("it can be written");
    assert!(add(&known).is_err());
    assert_eq!(
        std::fs::read_to_string(&path).ok().as_deref(),
        Some("[broken\n")
    );
    let elsewhere = folder.path().join("elsewhere.toml");
    std::fs::rename(&path, &elsewhere).expect("it can be renamed");
    std::os::unix::fs::symlink(&elsewhere, &path).expect("a link");
    std::fs::write(&elsewhere, "").expect("it can be written");
    let sentence = add(&known).expect_err("it is a link");
    assert!(sentence.contains("is a link"), "{sentence}");
}

#[test]
fn credentials_wherever_they_stand_are_secrets() {
    let folder = tempfile::tempdir().expect("a folder");
    for (text, expected) in [
        ("url = \"https://a/\"", false),
        ("url = \"https://me:pw@a/\"", true),
        ("url = \"https://a/?key=x\"", true),
        ("url = \"https://a/\"\nproxy = \"http://me:pw@p:1\"", true),
        ("url = \"https://a/\"\nproxy = \"http://p:1\"", false),
        ("url = \"https://a/\"\nheaders = { A = \"x\" }", true),
        ("url = \"https://a/\"\nheaders = { A = \"${X}\" }", false),
    ] {
        let settings = settings(folder.path(), &format!("[servers.a]\n{text}\n"));
        let holds = settings.now().servers.values().any(holds_secrets);
        assert_eq!(holds, expected, "{text}");
    }
}
