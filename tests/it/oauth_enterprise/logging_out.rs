//! What a provider gave in the place of a refresh token in a file is ended by a logout,
//! once no server depends on it.

use std::path::PathBuf;

use mcp_remote_tests::home::{Finished, SECRET};
use mcp_remote_tests::upstream::Reply;
use serde_json::json;

use super::{CLIENT, Company, field, private, run, token_files, trusting};

/// A company whose provider replaces refresh tokens, and the file that one is in.
fn rotating() -> (Company, PathBuf) {
    let company = Company::new();
    company.provider.rotate();
    let file = company.keep("refresh", &company.provider.refresh_token());
    (company, file)
}

fn flags(file: &std::path::Path) -> [&str; 4] {
    let file = file.to_str().expect("UTF-8");
    let kind = "--subject-token-type";
    ["--subject-token-file", file, kind, "refresh-token"]
}

/// The file of what replaced it.
fn successors(company: &Company) -> Vec<PathBuf> {
    let mut files = token_files(&company.home);
    files.retain(|file| file.to_string_lossy().ends_with("_subject.json"));
    files
}

fn logout(company: &Company, arguments: &[String]) -> Finished {
    let arguments = arguments.iter().map(String::as_str);
    let arguments: Vec<&str> = std::iter::once("logout").chain(arguments).collect();
    let finished = company.home.run(&arguments);
    assert_eq!(finished.code, 0, "{finished:?}");
    let said = format!("{finished:?}");
    assert!(!said.contains(SECRET), "{said}");
    finished
}

#[test]
fn a_logout_revokes_and_removes_it_and_says_what_to_do() {
    let (company, file) = rotating();
    let more = flags(&file);
    company.one_shot(&more);
    let kept = successors(&company).pop().expect("it is kept");
    let kept: serde_json::Value =
        serde_json::from_slice(&std::fs::read(kept).expect("read")).expect("JSON");
    let finished = logout(&company, &company.arguments(&more));
    assert!(finished.stdout.contains("Signed out of"), "{finished:?}");
    let said = format!(
        "that had replaced the one in {} was revoked",
        file.display()
    );
    assert!(finished.stderr.contains(&said), "{finished:?}");
    assert!(finished.stderr.contains("put a new one"), "{finished:?}");
    let revoked = company.provider.server.wait_for("revoke", 1);
    let token = kept["refresh_token"].as_str().map(str::to_owned);
    assert_eq!(field(&revoked, "token"), token);
    assert!(revoked.header("Authorization").is_some(), "{revoked:?}");
    assert_eq!(successors(&company), [""; 0].map(PathBuf::from));
    // The file counts again, whatever is in it.
    let why = company.refused(&more);
    assert!(why.contains("put a new one there"), "{why}");
    private(&file, &company.provider.refresh_token());
    company.home.run(&["stop"]);
    company.one_shot(&more);
}

#[test]
fn while_another_server_depends_on_it_it_stays() {
    let (company, file) = rotating();
    let more = flags(&file);
    let (_server, other, client) = trusting(&company.provider);
    let elsewhere = company.flags(&other.url(), &client, &more);
    company.one_shot(&more);
    run(&company.home, &elsewhere);
    let finished = logout(&company, &company.arguments(&more));
    assert!(!finished.stderr.contains("replaced"), "{finished:?}");
    assert_eq!(successors(&company).len(), 1);
    assert_eq!(company.provider.server.count("revoke"), 0);
    company.one_shot(&more);
    // A daemon that has heard of neither knows that, too.
    logout(&company, &company.arguments(&more));
    company.home.run(&["stop"]);
    let finished = logout(&company, &elsewhere);
    assert!(finished.stderr.contains("was revoked"), "{finished:?}");
    assert_eq!(successors(&company).len(), 0);
}

#[test]
fn a_logout_of_all_ends_it_whoever_used_it() {
    let (company, file) = rotating();
    company.one_shot(&flags(&file));
    company.home.run(&["stop"]);
    let all = ["--all".to_owned()];
    let finished = logout(&company, &all);
    assert!(finished.stderr.contains("was revoked"), "{finished:?}");
    assert_eq!(company.provider.server.count("revoke"), 1);
    assert_eq!(successors(&company).len(), 0);
    let again = logout(&company, &all);
    assert!(again.stdout.contains("Nobody was signed in"), "{again:?}");
}

#[test]
fn what_cannot_be_revoked_is_removed_all_the_same() {
    let (company, file) = rotating();
    company.one_shot(&flags(&file));
    company
        .provider
        .server
        .script(|label, _| (label == "revoke").then(|| Reply::json(503, "{}")));
    let finished = logout(&company, &["--all".to_owned()]);
    let said = "was removed, but not revoked by the identity provider";
    assert!(finished.stderr.contains(said), "{finished:?}");
    assert_eq!(successors(&company).len(), 0);
}

#[test]
fn a_key_shows_whose_it_is_that_is_revoked() {
    let (company, file) = rotating();
    let key = company.home.folder().join("key.pem");
    let pair = rcgen::KeyPair::generate().expect("a key");
    private(&key, &pair.serialize_pem());
    let provider = &company.provider;
    provider
        .server
        .service_key(CLIENT, "ES256", pair.public_key_raw());
    let client = json!({ "client_id": CLIENT }).to_string();
    let mut arguments = company.arguments(&flags(&file));
    let at = arguments.iter().position(|word| *word == provider.client());
    arguments[at.expect("it is among them")] = client;
    let key = key.to_str().expect("UTF-8").to_owned();
    arguments.extend(["--identity-provider-key".to_owned(), key]);
    run(&company.home, &arguments);
    let finished = logout(&company, &arguments);
    assert!(finished.stderr.contains("was revoked"), "{finished:?}");
    let revoked = provider.server.wait_for("revoke", 1);
    assert!(field(&revoked, "client_assertion").is_some(), "{revoked:?}");
    let shown = provider.server.wait_for("token exchange", 1);
    assert_ne!(
        field(&shown, "client_assertion"),
        field(&revoked, "client_assertion")
    );
}
