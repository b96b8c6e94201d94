//! What identity providers gave moves with the servers that depend on it.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use mcp_remote_tests::browser::Browser;
use mcp_remote_tests::home::{Finished, SECRET, TestHome, finish};

use super::{Company, attached, our_error, run, token_files, trusting};

/// Runs `mcp-remoted tokens move`.
fn moves(home: &TestHome, arguments: &[&str]) -> Finished {
    let arguments = [&["tokens", "move"], arguments].concat();
    let mut command = home.command("mcp-remoted", &arguments);
    command.env("MCP_REMOTE_PASSPHRASE", "s3cr3t-passphrase");
    let finished = finish(command.stdin(Stdio::null()));
    assert_eq!(finished.code, 0, "{finished:?}");
    assert!(!format!("{finished:?}").contains(SECRET), "{finished:?}");
    finished
}

fn stop(home: &TestHome) {
    assert_eq!(home.run(&["stop"]).code, 0);
    home.wait_until_no_daemon();
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Counts the files of a kind.
fn count(home: &TestHome, end: &str) -> usize {
    let files = token_files(home).into_iter();
    files
        .filter(|file| file.to_string_lossy().ends_with(end))
        .count()
}

fn rotating() -> (Company, PathBuf, [String; 4]) {
    let company = Company::new();
    company.provider.rotate();
    let file = company.keep("refresh", &company.provider.refresh_token());
    let more = [
        "--subject-token-file",
        text(&file),
        "--subject-token-type",
        "refresh-token",
    ];
    let more = more.map(str::to_owned);
    (company, file, more)
}

/// Somebody has signed in at the provider.
fn signed_in() -> Company {
    let company = Company::new();
    let arguments = company.arguments(&[]);
    attached(&company.home, &words(&arguments)).echo("signed in");
    assert_eq!(company.browser.visited().len(), 1);
    company
}

fn words(more: &[String]) -> Vec<&str> {
    more.iter().map(String::as_str).collect()
}

#[test]
fn what_replaced_a_refresh_token_moves_and_is_used_here_no_more() {
    let (company, file, more) = rotating();
    let more = words(&more);
    company.one_shot(&more);
    stop(&company.home);
    let bundle = company.home.folder().join("moved.age");
    let said = moves(&company.home, &["--to", text(&bundle)]).stdout;
    let replaced = format!("What replaced the refresh token in {}", file.display());
    assert!(said.contains("Moved 2 sign-ins"), "{said}");
    assert!(said.contains(&company.provider.issuer()), "{said}");
    assert!(said.contains(&format!("{replaced} goes along")), "{said}");
    // Whoever shows the old one ends the new one at many a provider.
    let asked = company.provider.exchanges();
    let why = company.refused(&more);
    assert!(why.contains("was moved to another machine"), "{why}");
    assert_eq!(company.provider.exchanges(), asked);
    stop(&company.home);
    // There it is renewed as it was here.
    let there = TestHome::new();
    let said = moves(&there, &["--from", text(&bundle)]).stdout;
    assert!(said.contains("Took over 2 sign-ins"), "{said}");
    assert!(said.contains(&replaced), "{said}");
    company.server.expire_access_tokens();
    run(&there, &company.arguments(&more));
    assert_eq!(company.provider.exchanges(), asked + 1);
    // And back.
    stop(&there);
    moves(&there, &["--to", text(&bundle)]);
    moves(&company.home, &["--from", text(&bundle)]);
    company.server.expire_access_tokens();
    company.one_shot(&more);
    assert_eq!(company.provider.exchanges(), asked + 2);
    // Another token in the file counts at once.
    stop(&company.home);
    moves(&company.home, &["--to", text(&bundle)]);
    super::private(&file, &company.provider.refresh_token());
    company.one_shot(&more);
}

#[test]
fn what_other_servers_depend_on_stays_where_one_is_moved() {
    let (company, _file, more) = rotating();
    let more = words(&more);
    let (_server, other, client) = trusting(&company.provider);
    let elsewhere = company.flags(&other.url(), &client, &more);
    company.one_shot(&more);
    run(&company.home, &elsewhere);
    stop(&company.home);
    let bundle = company.home.folder().join("moved.age");
    let said = moves(&company.home, &["--to", text(&bundle), &other.url()]).stdout;
    assert!(said.contains("Moved 1 sign-in "), "{said}");
    let stays = "stays here, since other servers use it: the other machine needs another one";
    assert!(said.contains(stays), "{said}");
    assert_eq!(count(&company.home, "_subject.json"), 1);
    company.server.expire_access_tokens();
    company.one_shot(&more);
    stop(&company.home);
    // The last one takes it along.
    let last = company.home.folder().join("last.age");
    let said = moves(
        &company.home,
        &["--to", text(&last), &company.upstream.url()],
    );
    assert!(said.stdout.contains("goes along"), "{said:?}");
    assert!(said.stdout.contains("Moved 2 sign-ins"), "{said:?}");
}

#[test]
fn a_sign_in_at_the_provider_moves_with_the_only_server_that_uses_it() {
    let company = signed_in();
    stop(&company.home);
    let bundle = company.home.folder().join("moved.age");
    let url = company.upstream.url();
    let said = moves(&company.home, &["--to", text(&bundle), &url]).stdout;
    assert!(said.contains("Moved 2 sign-ins"), "{said}");
    assert!(said.contains(&company.provider.issuer()), "{said}");
    assert_eq!(count(&company.home, "_tokens.json"), 0);
    let mut there = TestHome::new();
    let browser = Browser::agreeing(&mut there);
    moves(&there, &["--from", text(&bundle), &url]);
    assert!(!bundle.exists(), "it is spent");
    company.server.expire_access_tokens();
    company.provider.end_id_tokens();
    run(&there, &company.arguments(&[]));
    assert_eq!(browser.visited(), [""; 0]);
    assert_eq!(company.provider.server.count("token refresh"), 1);
}

#[test]
fn a_sign_in_at_the_provider_that_others_use_stays_and_the_command_is_named() {
    let company = signed_in();
    let (_server, other, client) = trusting(&company.provider);
    run(&company.home, &company.flags(&other.url(), &client, &[]));
    stop(&company.home);
    let bundle = company.home.folder().join("moved.age");
    let url = company.upstream.url();
    let said = moves(&company.home, &["--to", text(&bundle), &url]).stdout;
    assert!(said.contains("Moved 1 sign-in "), "{said}");
    let stays = format!(
        "The sign-in at the identity provider {} stays here",
        company.provider.issuer()
    );
    let command = format!("mcp-remote login {url}");
    assert!(said.contains(&stays) && said.contains(&command), "{said}");
    assert_eq!(count(&company.home, "_tokens.json"), 2);
    // What is moved works there for as long as its token is good.
    let there = TestHome::new();
    moves(&there, &["--from", text(&bundle)]);
    let arguments = company.arguments(&["--non-interactive"]);
    let arguments = words(&arguments);
    attached(&there, &arguments).echo("moved");
    stop(&there);
    company.server.expire_access_tokens();
    let error = our_error(&there.shim(&arguments).handshake(), 0);
    assert!(error.to_string().contains("sign in"), "{error}");
}

#[test]
fn of_a_file_with_everything_one_server_takes_its_sign_in_at_the_provider() {
    let company = signed_in();
    let (_server, other, client) = trusting(&company.provider);
    run(&company.home, &company.flags(&other.url(), &client, &[]));
    stop(&company.home);
    let bundle = company.home.folder().join("moved.age");
    moves(&company.home, &["--to", text(&bundle)]);
    let mut there = TestHome::new();
    let browser = Browser::agreeing(&mut there);
    let url = company.upstream.url();
    let said = moves(&there, &["--from", text(&bundle), &url]).stdout;
    assert!(said.contains("Took over 2 sign-ins"), "{said}");
    assert!(said.contains("still has 1"), "{said}");
    // It was renewed here before the rest came.
    company.server.expire_access_tokens();
    company.provider.end_id_tokens();
    run(&there, &company.arguments(&[]));
    stop(&there);
    let said = moves(&there, &["--from", text(&bundle), &other.url()]).stdout;
    assert!(said.contains("Took over 1 sign-in "), "{said}");
    run(&there, &company.flags(&other.url(), &client, &[]));
    run(&there, &company.arguments(&[]));
    assert_eq!(browser.visited(), [""; 0]);
}
