//! One sign-in, once: whoever asks first, however many ask, and whatever becomes
//! of those who asked.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use mcp_remote_proto::v1::AuthState;
use mcp_remote_tests::authorization_server::{
    Config, FakeAuthorizationServer, Metadata, ResourceMetadata, npm_hash,
};
use mcp_remote_tests::browser;
use mcp_remote_tests::home::{SECRET, TestHome};
use mcp_remote_tests::ports;
use mcp_remote_tests::rpc::Rpc;
use mcp_remote_tests::shim::{TestShim, conversation, text_of};
use mcp_remote_tests::upstream::FakeUpstream;
use serde_json::{Value, json};

use crate::support::{agreeing, attached, messages, one_shot, our_error, sign_in, token_files};

fn file(home: &TestHome, ending: &str) -> Value {
    let files = token_files(home);
    let mut found = files
        .iter()
        .filter(|path| path.to_string_lossy().ends_with(ending));
    let path = found
        .next()
        .unwrap_or_else(|| panic!("no {ending} in {files:?}"));
    serde_json::from_slice(&std::fs::read(path).expect("it can be read")).expect("JSON")
}

#[test]
fn the_first_command_opens_the_browser_and_no_other_does() {
    let (server, upstream, home, browser) = agreeing(Config::default());
    let mut shim = attached(&home, &[&upstream.url()]);
    shim.echo("first");
    assert_eq!(browser.visited().len(), 1);
    shim.wait_for_stderr("Signed in to");
    let stderr = shim.stderr();
    let visited = browser.visited();
    let words = format!(
        "\nPlease authorize this client by visiting:\n{}\n",
        visited[0]
    );
    assert!(stderr.contains(&words), "{stderr}");
    assert_eq!(shim.finish(), 0);
    for _ in 0..3 {
        assert_eq!(one_shot(&home, &[&upstream.url()]).stderr, "");
    }
    assert_eq!(home.run(&["stop"]).code, 0);
    one_shot(&home, &[&upstream.url()]);
    home.kill_daemon();
    one_shot(&home, &[&upstream.url()]);
    assert_eq!(browser.visited(), visited);
    for (label, count) in [
        ("register", 1),
        ("authorize", 1),
        ("token code", 1),
        ("token refresh", 0),
    ] {
        assert_eq!(server.count(label), count, "{label}: {:?}", server.labels());
    }
}

#[test]
fn a_warm_protected_command_costs_one_request() {
    let (server, upstream, home, _browser) = agreeing(Config::default());
    sign_in(&home, &[&upstream.url()]);
    upstream.forget_requests();
    let before = server.labels().len();
    one_shot(&home, &[&upstream.url()]);
    assert_eq!(upstream.labels(), ["POST tools/call"]);
    assert_eq!(server.labels().len(), before);
}

#[test]
fn every_request_carries_the_token() {
    let (_server, upstream, home, _browser) = agreeing(Config::default());
    sign_in(&home, &[&upstream.url()]);
    upstream.wait_for("GET", 1);
    assert_eq!(home.run(&["stop"]).code, 0);
    upstream.wait_for("DELETE", 1);
    let carried = |label: &str| {
        let requests = upstream.requests();
        let mcp = requests.iter().filter(|request| request.target == "/mcp");
        let mut of_label =
            mcp.filter(|request| mcp_remote_tests::upstream::label(request) == label);
        of_label.any(|request| {
            let token = request.header("Authorization").unwrap_or_default();
            token.starts_with("Bearer ") && !token.contains('\n')
        })
    };
    for label in ["POST initialize", "POST tools/call", "GET", "DELETE"] {
        assert!(carried(label), "{label}");
    }
}

#[test]
fn the_files_are_where_and_what_they_are_documented_to_be() {
    let (server, upstream, home, _browser) = agreeing(Config::default());
    sign_in(&home, &[&upstream.url()]);
    let mode = |path: &std::path::Path| {
        let metadata = std::fs::metadata(path).expect("it is there");
        metadata.permissions().mode() & 0o777
    };
    let files = token_files(&home);
    for path in &files {
        assert_eq!(mode(path), 0o600, "{path:?}");
        assert_eq!(mode(path.parent().expect("a folder")), 0o700);
    }
    let tokens = file(&home, "_tokens.json");
    let access = tokens["access_token"].as_str().expect("a token");
    assert!(access.starts_with(SECRET), "{tokens}");
    assert!(tokens["refresh_token"].is_string(), "{tokens}");
    assert_eq!(tokens["issuer"], server.origin());
    assert_eq!(tokens["token_type"], "Bearer");
    assert!(
        tokens["expires_at"].as_u64() > Some(1_700_000_000_000),
        "{tokens}"
    );
    let client = file(&home, "_client_info.json");
    assert_eq!(client["issuer"], server.origin());
    assert_eq!(client["client_id"], "client-1");
    let verifiers = files
        .iter()
        .any(|path| path.to_string_lossy().contains("verifier"));
    assert!(!verifiers, "a verifier outlived its sign-in: {files:?}");
}

#[test]
fn every_way_to_publish_metadata_is_found() {
    for (metadata, resource_metadata, path) in [
        (Metadata::OAuth, ResourceMetadata::Hint, ""),
        (Metadata::OAuth, ResourceMetadata::Path, ""),
        (Metadata::OAuth, ResourceMetadata::Root, ""),
        (Metadata::OAuth, ResourceMetadata::Hint, "/tenant1"),
        (Metadata::OpenIdInserted, ResourceMetadata::Hint, ""),
        (Metadata::OpenIdInserted, ResourceMetadata::Hint, "/tenant1"),
        (Metadata::OpenIdAppended, ResourceMetadata::Hint, "/tenant1"),
        (Metadata::OAuth, ResourceMetadata::None, ""),
    ] {
        let (server, upstream, home, _browser) = agreeing(Config {
            metadata,
            resource_metadata,
            issuer_path: path.to_owned(),
            ..Config::default()
        });
        let mut shim = attached(&home, &[&upstream.url()]);
        shim.echo(&format!("{metadata:?} {resource_metadata:?} {path}"));
        assert_eq!(server.count("token code"), 1);
    }
}

#[test]
fn a_server_of_2025_03_26_without_any_metadata_is_signed_in_to() {
    let (server, upstream, home, _browser) = agreeing(Config {
        metadata: Metadata::None,
        resource_metadata: ResourceMetadata::None,
        ..Config::default()
    });
    let mut shim = attached(&home, &[&upstream.url()]);
    shim.echo("fallback");
    assert_eq!(server.count("token code"), 1);
}

#[test]
fn a_request_that_cannot_wait_says_where_to_sign_in_and_the_next_finds_it_done() {
    let server = FakeAuthorizationServer::start();
    let upstream = FakeUpstream::start();
    server.protect(&upstream);
    let home = TestHome::new();
    let finished = home.run_with(&[&upstream.url()], &conversation("x"));
    assert_eq!(finished.code, 0, "{finished:?}");
    let answers = messages(&finished.stdout);
    assert_eq!(answers.len(), 2, "{finished:?}");
    let mut urls = Vec::new();
    for (answer, id) in answers.iter().zip([0, 1]) {
        let error = our_error(answer, id);
        let message = error["message"].as_str().expect("a message");
        for word in ["401", "unauthorized", "mcp-remote login"] {
            assert!(message.contains(word), "no {word} in {message:?}");
        }
        urls.push(
            error["data"]["authorizationUrl"]
                .as_str()
                .expect("a URL")
                .to_owned(),
        );
    }
    assert_eq!(urls[0], urls[1], "one sign-in");
    assert!(finished.stderr.contains(&urls[0]), "{finished:?}");
    let status = home.run(&["status"]).stdout;
    assert!(
        status.contains("signing-in") && status.contains(&urls[0]),
        "{status}"
    );
    // The shim has gone; its sign-in has not.
    let page = browser::visit(&urls[0]).expect("the browser gets somewhere");
    assert_eq!(page.status, 200);
    let rpc = Rpc::connect(&home);
    rpc.watch_until(|status| {
        let grant = status.servers.first()?.auth.first()?;
        (grant.state() == AuthState::SignedIn).then_some(())
    });
    assert_eq!(one_shot(&home, &[&upstream.url()]).stderr, "");
    let status = home.run(&["status"]).stdout;
    assert!(status.contains("is signed in at"), "{status}");
    assert!(!status.contains(SECRET), "{status}");
}

#[test]
fn a_command_that_leaves_at_once_still_gets_its_browser() {
    let (server, upstream, home, browser) = agreeing(Config::default());
    let finished = home.run_with(&[&upstream.url()], &conversation("x"));
    assert_eq!(finished.code, 0, "{finished:?}");
    assert_eq!(messages(&finished.stdout).len(), 2, "{finished:?}");
    let rpc = Rpc::connect(&home);
    rpc.watch_until(|status| {
        let grant = status.servers.first()?.auth.first()?;
        (grant.state() == AuthState::SignedIn).then_some(())
    });
    one_shot(&home, &[&upstream.url()]);
    assert_eq!(browser.visited().len(), 1);
    assert_eq!(server.count("token code"), 1);
}

#[test]
fn login_takes_the_redirect_that_a_browser_elsewhere_ended_on() {
    let server = FakeAuthorizationServer::start();
    let upstream = FakeUpstream::start();
    server.protect(&upstream);
    let home = TestHome::new();
    assert_eq!(home.run(&[&upstream.url()]).code, 11);
    let mut login = home.shim(&["login", &upstream.url(), "--no-browser"]);
    login.wait_for_stderr("paste the URL");
    let stderr = login.stderr();
    let url = stderr
        .lines()
        .find(|line| line.contains("/authorize?"))
        .expect("a URL");
    let page = browser::get(url).expect("it answers");
    let redirect = page.header("location").expect("a redirect").to_owned();
    login.send(&redirect.replace("state=", "state=x"));
    login.send("nonsense");
    login.send(&redirect);
    assert_eq!(login.wait(), 0, "{}", login.stderr());
    assert!(
        login.stderr().contains("Connected to fake-upstream"),
        "{}",
        login.stderr()
    );
    assert_eq!(home.run(&[&upstream.url()]).code, 0);
    one_shot(&home, &[&upstream.url()]);
    assert_eq!(server.count("token code"), 1);
}

#[test]
fn many_commands_share_one_sign_in_and_one_tab() {
    let (server, upstream, home, browser) = agreeing(Config::default());
    let mut shims: Vec<TestShim> = (0..20).map(|_| home.shim(&[&upstream.url()])).collect();
    for shim in &mut shims {
        shim.send_raw(conversation("together").as_bytes());
    }
    for shim in &shims {
        let (first, second) = (shim.message(), shim.message());
        let answers = [first, second];
        let call = answers
            .iter()
            .find(|answer| answer["id"] == 1)
            .expect("an answer");
        assert_eq!(text_of(call), "together");
    }
    assert_eq!(browser.visited().len(), 1);
    assert_eq!(
        (server.count("authorize"), server.count("register")),
        (1, 1)
    );
}

#[test]
fn logout_forgets_and_revokes() {
    let (server, upstream, home, browser) = agreeing(Config::default());
    sign_in(&home, &[&upstream.url()]);
    let out = home.run(&["logout", &upstream.url()]);
    assert_eq!(out.code, 0, "{out:?}");
    assert_eq!(out.stdout, format!("Signed out of {}.\n", upstream.url()));
    assert!(server.count("revoke") >= 1, "{:?}", server.labels());
    let left = token_files(&home);
    assert!(
        !left
            .iter()
            .any(|path| path.to_string_lossy().contains("tokens")),
        "{left:?}"
    );
    assert_eq!(
        home.run(&[&upstream.url()]).code,
        11,
        "a check signs nobody in"
    );
    sign_in(&home, &[&upstream.url()]);
    assert_eq!(browser.visited().len(), 2);
    let all = home.run(&["logout", "--all"]);
    assert_eq!(all.stdout, "Signed out 1 times.\n");
}

#[test]
fn a_client_registered_by_hand_serves_those_who_do_not_name_it() {
    let (server, upstream, mut home, _browser) = agreeing(Config {
        registration: false,
        ..Config::default()
    });
    let without = home.run_with(&[&upstream.url()], &conversation("x"));
    let error = our_error(&messages(&without.stdout)[0], 0);
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains("--static-oauth-client-info"), "{message}");
    let port = ports::free().to_string();
    let redirect_uri = format!("http://localhost:{port}/oauth/callback");
    let secret = server.register("by-hand", &redirect_uri);
    home.set("CLIENT_SECRET", secret.clone());
    let info = json!({"client_id": "by-hand", "client_secret": "${CLIENT_SECRET}"}).to_string();
    sign_in(
        &home,
        &[&upstream.url(), &port, "--static-oauth-client-info", &info],
    );
    // It stands beside the tokens, which are worth as much, and nowhere else.
    let knows = |path: &PathBuf| std::fs::read_to_string(path).is_ok_and(|it| it.contains(&secret));
    let names = token_files(&home).into_iter().filter(knows);
    let names = names.map(|path| path.to_string_lossy().into_owned());
    let is_known = |name: String| name.ends_with("tokens.json") || name.ends_with("info.json");
    assert!({ names }.all(is_known));
    // The next daemon is started by somebody who passes no flags.
    home.kill_daemon();
    server.expire_access_tokens();
    one_shot(&home, &[&upstream.url()]);
    assert_eq!(server.count("token refresh"), 1);
    // Nor does whoever signs in again have to.
    server.revoke_all();
    sign_in(&home, &[&upstream.url()]);
    assert_eq!(server.count("token code"), 2);
}

#[test]
fn what_the_npm_package_left_is_taken_over() {
    let (server, upstream, home, browser) = agreeing(Config::default());
    // Somebody signs in elsewhere; the npm package's files are made of that.
    sign_in(&home, &[&upstream.url()]);
    let (mut tokens, client) = (
        file(&home, "_tokens.json"),
        file(&home, "_client_info.json"),
    );
    let home = TestHome::new();
    let folder = home.home().join(".mcp-auth/mcp-remote-v1");
    std::fs::create_dir_all(&folder).expect("made");
    // The npm package's hash: MD5 of the URL as it is typed.
    let hash = npm_hash(&upstream.url());
    tokens["expires_at"] = 1.into();
    for (name, document) in [("tokens", &tokens), ("client_info", &client)] {
        let path = folder.join(format!("{hash}_{name}.json"));
        std::fs::write(path, document.to_string()).expect("written");
    }
    server.expire_access_tokens();
    let told = one_shot(&home, &[&upstream.url()]).stderr;
    assert!(told.contains("taken over from the npm package"), "{told}");
    assert_eq!(one_shot(&home, &[&upstream.url()]).stderr, "", "told once");
    assert_eq!(browser.visited().len(), 1, "no second sign-in");
    assert_eq!(server.count("token refresh"), 1, "it had expired");
    let left = std::fs::read(folder.join(format!("{hash}_tokens.json"))).expect("it is left alone");
    assert_eq!(left, tokens.to_string().into_bytes());
}
