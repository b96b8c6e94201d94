//! Sign-ins by code: on a machine without a browser somebody types a code in on any
//! other, and the daemon goes on as after any sign-in.

use std::time::Duration;

use mcp_remote_tests::authorization_server::{
    Config, Device, Dpop, FakeAuthorizationServer, Nonces,
};
use mcp_remote_tests::browser::Browser;
use mcp_remote_tests::home::{SECRET, TestHome};
use mcp_remote_tests::shim::{TestShim, conversation, text_of};
use mcp_remote_tests::terminal::TestTerminal;
use mcp_remote_tests::upstream::{FakeUpstream, Reply, Request};
use serde_json::{Map, Value, json};

use crate::support::{messages, one_shot, our_error, sign_in, token_files};

/// A guarded server that offers codes, and a home without a browser.
fn offering(device: Device) -> (FakeAuthorizationServer, FakeUpstream, TestHome) {
    let server = FakeAuthorizationServer::with(Config {
        device: Some(device),
        ..Config::default()
    });
    let upstream = FakeUpstream::start();
    server.protect(&upstream);
    (server, upstream, TestHome::new())
}

fn answering(patch: Value) -> Device {
    Device {
        patch: patch.as_object().expect("an object").clone(),
        ..Device::default()
    }
}

#[track_caller]
fn has_no_codes(home: &TestHome) {
    let left = token_files(home);
    let is_one = |path: &std::path::PathBuf| path.to_string_lossy().contains("device_code");
    assert!(!left.iter().any(is_one), "{left:?}");
}

#[test]
fn without_a_browser_a_code_signs_in_and_the_call_goes_on() {
    let (server, upstream, home) = offering(Device::default());
    let mut shim = home.shim(&[&upstream.url()]);
    shim.send_raw(conversation("by code").as_bytes());
    shim.wait_for_stderr("The code is CODE-0001.");
    let (stderr, origin) = (shim.stderr(), server.origin());
    let visiting =
        format!("Please authorize this client by visiting:\n{origin}/enter?code=CODE-0001\n");
    assert!(stderr.contains(&visiting), "{stderr}");
    assert!(
        stderr.contains(&format!("enter it at {origin}/enter\n")),
        "{stderr}"
    );
    assert!(!stderr.contains("browser automatically"), "{stderr}");
    assert!(
        !stderr.contains('\u{1b}'),
        "a pipe gets no colours: {stderr}"
    );

    let status = home.run(&["status"]);
    assert_eq!(status.code, 11, "{status:?}");
    let line = format!(
        "{origin}/enter?code=CODE-0001 with the code CODE-0001, to be entered at {origin}/enter"
    );
    assert!(status.stdout.contains(&line), "{status:?}");
    let status: Value =
        serde_json::from_str(&home.run(&["status", "--json"]).stdout).expect("JSON");
    let grant = &status["servers"][0]["auth"][0];
    assert_eq!(grant["user_code"], "CODE-0001");
    assert_eq!(grant["verification_uri"], format!("{origin}/enter"));

    server.wait_for("token device", 1);
    server.enter("CODE-0001");
    let (first, second) = (shim.message(), shim.message());
    let call = if first["id"] == 1 { first } else { second };
    assert_eq!(text_of(&call), "by code");
    shim.wait_for_stderr("Signed in to");
    assert_eq!(shim.finish(), 0);
    assert_eq!((server.count("device"), server.count("authorize")), (1, 0));
    assert_eq!(server.count("register"), 1);
    has_no_codes(&home);
    let log = home.log();
    assert!(!log.contains("CODE-") && !log.contains(SECRET), "{log}");
    // Renewed like any other grant.
    server.expire_access_tokens();
    one_shot(&home, &[&upstream.url()]);
    assert_eq!(
        (server.count("device"), server.count("token refresh")),
        (1, 1)
    );
}

#[test]
fn an_error_names_the_code_to_programs_and_people() {
    for complete in [true, false] {
        let patch = match complete {
            true => Map::new(),
            false => Map::from_iter([("verification_uri_complete".to_owned(), Value::Null)]),
        };
        let (server, upstream, home) = offering(answering(patch.into()));
        let finished = home.run_with(&[&upstream.url()], &conversation("x"));
        let error = our_error(&messages(&finished.stdout)[0], 0);
        let (data, origin) = (&error["data"], server.origin());
        let page = format!("{origin}/enter");
        let expected = match complete {
            true => format!("{page}?code=CODE-0001"),
            false => page.clone(),
        };
        assert_eq!(data["authorizationUrl"], expected, "{error}");
        assert_eq!(data["userCode"], "CODE-0001");
        assert_eq!(data["verificationUri"], page);
        let message = error["message"].as_str().expect("a message");
        assert!(!home.log().contains("CODE-"), "{}", home.log());
        assert!(
            message.contains(&format!("visit {page} and enter CODE-0001")),
            "{message}"
        );
        assert!(message.contains("run: mcp-remote login"), "{message}");
        if !complete {
            assert!(
                finished.stderr.contains("Enter the code CODE-0001 there."),
                "{finished:?}"
            );
        }
    }
}

#[test]
fn login_by_code_ends_when_it_has_been_entered() {
    for flag in ["--device", "--device-code"] {
        let (server, upstream, mut home) = offering(Device::default());
        // Whoever asks for a code gets no tab.
        let browser = Browser::agreeing(&mut home);
        let login = home.shim(&["login", flag, &upstream.url()]);
        login.wait_for_stderr("CODE-0001");
        assert!(!login.stderr().contains("paste"), "{}", login.stderr());
        server.enter("CODE-0001");
        assert_eq!(login.wait(), 0, "{}", login.stderr());
        assert!(
            login.stderr().contains("Connected to fake-upstream"),
            "{}",
            login.stderr()
        );
        assert_eq!(browser.visited().len(), 0);
        // It is everybody's sign-in, whatever they say.
        one_shot(&home, &[&upstream.url()]);
        assert_eq!((server.count("device"), server.count("authorize")), (1, 0));
    }
}

#[test]
fn who_has_a_browser_gets_a_page_and_may_ask_for_a_code_instead() {
    let (server, upstream, mut home) = offering(Device::default());
    let browser = Browser::idle(&mut home);
    let mut shim = home.shim(&[&upstream.url()]);
    shim.send_raw(conversation("after all").as_bytes());
    shim.wait_for_stderr("Browser opened automatically.");
    assert_eq!(server.count("device"), 0);
    let login = home.shim(&["login", "--device", &upstream.url()]);
    login.wait_for_stderr("CODE-0001");
    server.enter("CODE-0001");
    assert_eq!(login.wait(), 0, "{}", login.stderr());
    // Whoever waited for the page goes on too.
    let (first, second) = (shim.message(), shim.message());
    assert!(first["result"].is_object() && second["result"].is_object());
    assert_eq!(shim.finish(), 0);
    assert_eq!(browser.visited().len(), 1);
}

#[test]
fn who_comes_with_a_browser_is_shown_the_page_of_the_code() {
    let (server, upstream, mut home) = offering(Device::default());
    let mut waiting = home.shim(&[&upstream.url()]);
    waiting.send_raw(conversation("in the end").as_bytes());
    waiting.wait_for_stderr("CODE-0001");
    let browser = Browser::idle(&mut home);
    let login = home.shim(&["login", &upstream.url()]);
    login.wait_for_stderr("Browser opened automatically.");
    let page = format!("{}/enter?code=CODE-0001", server.origin());
    assert_eq!(browser.visited(), [page]);
    server.enter("CODE-0001");
    assert_eq!(login.wait(), 0, "{}", login.stderr());
    let (first, second) = (waiting.message(), waiting.message());
    assert!(first["result"].is_object() && second["result"].is_object());
    assert_eq!(server.count("device"), 1);
}

#[test]
fn who_forbids_browsers_gets_a_page_to_paste_from_and_hears_of_codes() {
    let (server, upstream, home) = offering(Device::default());
    let login = home.shim(&["login", &upstream.url(), "--no-browser"]);
    login.wait_for_stderr("mcp-remote login --device http");
    assert!(login.stderr().contains("/authorize?"), "{}", login.stderr());
    login.wait_for_stderr("paste the URL");
    assert_eq!(server.count("device"), 0);
}

#[test]
fn what_is_not_offered_is_a_page_or_one_sentence() {
    // Not listed: nobody is led there unasked.
    let (server, upstream, home) = offering(Device {
        listed: false,
        ..Device::default()
    });
    let finished = home.run_with(&[&upstream.url()], &conversation("x"));
    assert!(finished.stderr.contains("/authorize?"), "{finished:?}");
    assert_eq!(server.count("device"), 0);

    let server = FakeAuthorizationServer::start();
    let upstream = FakeUpstream::start();
    server.protect(&upstream);
    let home = TestHome::new();
    let login = home.run(&["login", "--device", &upstream.url()]);
    assert_eq!(login.code, 11, "{login:?}");
    assert!(
        login.stderr.contains("offers no sign-in by code"),
        "{login:?}"
    );
    assert_eq!(server.count("register"), 0);
}

#[test]
fn each_end_is_said_at_once_and_the_next_login_begins_anew() {
    type End = fn(&FakeAuthorizationServer);
    let ends: [(End, &str); 2] = [
        (|server| server.deny("CODE-0001"), "access_denied"),
        (|server| server.end_code("CODE-0001"), "ended after"),
    ];
    for (end, words) in ends {
        let (server, upstream, home) = offering(Device::default());
        let login = home.shim(&["login", "--device", &upstream.url()]);
        login.wait_for_stderr("CODE-0001");
        end(&server);
        assert_eq!(login.wait(), 11, "{}", login.stderr());
        let stderr = login.stderr();
        assert!(stderr.contains(words), "{stderr}");
        assert!(stderr.contains("run: mcp-remote login"), "{stderr}");
        let again = home.shim(&["login", "--device", &upstream.url()]);
        again.wait_for_stderr("CODE-0002");
        server.enter("CODE-0002");
        assert_eq!(again.wait(), 0, "{}", again.stderr());
    }
}

#[test]
fn the_server_sets_the_pace() {
    let (server, upstream, home) = offering(Device {
        slow_downs: 1,
        ..Device::default()
    });
    let login = home.shim(&["login", "--device", &upstream.url()]);
    login.wait_for_stderr("CODE-0001");
    server.enter("CODE-0001");
    // The fake complains about who asks too early.
    assert_eq!(login.wait(), 0, "{}", login.stderr());
    assert_eq!(server.count("token device"), 2);
}

#[test]
fn a_server_that_is_away_for_a_while_costs_no_sign_in() {
    let ways: [fn() -> Reply; 2] = [|| Reply::status(503), || Reply::raw(|_| Ok(()))];
    for broken in ways {
        let (server, upstream, home) = offering(Device::default());
        let away = move |label: &str, _: &Request| (label == "token device").then(broken);
        server.script(away);
        let login = home.shim(&["login", "--device", &upstream.url()]);
        login.wait_for_stderr("CODE-0001");
        server.wait_for("token device", 1);
        server.behave();
        server.enter("CODE-0001");
        assert_eq!(login.wait(), 0, "{}", login.stderr());
        assert_eq!(server.count("device"), 1);
    }
}

#[test]
fn a_sign_in_by_code_outlives_shim_and_daemon() {
    let (server, upstream, home) = offering(Device::default());
    let shim = home.shim(&["login", "--device", &upstream.url()]);
    shim.wait_for_stderr("CODE-0001");
    drop(shim);
    home.kill_daemon();
    server.enter("CODE-0001");
    sign_in(&home, &[&upstream.url()]);
    assert_eq!((server.count("device"), server.count("register")), (1, 1));
    has_no_codes(&home);
}

#[test]
fn where_tokens_are_bound_to_a_key_those_of_a_code_are_too() {
    let server = FakeAuthorizationServer::with(Config {
        device: Some(Device::default()),
        dpop: Some(Dpop {
            nonces: Nonces::Current,
            ..Dpop::default()
        }),
        ..Config::default()
    });
    let upstream = FakeUpstream::start();
    server.protect(&upstream);
    let home = TestHome::new();
    let shim = home.shim(&["login", "--device", &upstream.url()]);
    shim.wait_for_stderr("CODE-0001");
    drop(shim);
    // The next daemon has the key.
    home.kill_daemon();
    server.enter("CODE-0001");
    sign_in(&home, &[&upstream.url()]);
    one_shot(&home, &[&upstream.url()]);
    let registration: Value =
        serde_json::from_str(&server.wait_for("register", 1).text()).expect("JSON");
    assert_eq!(registration["dpop_bound_access_tokens"], true);
    assert_eq!((server.count("device"), server.count("register")), (1, 1));
    server.expire_access_tokens();
    one_shot(&home, &[&upstream.url()]);
    assert_eq!(server.count("token refresh"), 1);
}

#[test]
fn a_code_whose_tokens_were_lost_with_the_daemon_is_a_new_one() {
    let (server, upstream, home) = offering(Device::default());
    server.lose_answers("token device");
    let login = home.shim(&["login", "--device", &upstream.url()]);
    login.wait_for_stderr("CODE-0001");
    server.enter("CODE-0001");
    server.wait_until_lost("token device");
    home.kill_daemon();
    server.lose_nothing();
    drop(login);
    let login = home.shim(&["login", "--device", &upstream.url()]);
    login.wait_for_stderr("CODE-0002");
    server.enter("CODE-0002");
    assert_eq!(login.wait(), 0, "{}", login.stderr());
}

#[test]
fn clients_registered_by_hand_show_their_secret() {
    let (server, upstream, home) = offering(Device::default());
    let secret = server.register("by-hand", "http://localhost:1/oauth/callback");
    for method in ["client_secret_basic", "client_secret_post"] {
        let info = json!({
            "client_id": "by-hand", "client_secret": secret, "token_endpoint_auth_method": method,
        });
        let info = info.to_string();
        let flags = [
            "login",
            "--device",
            &upstream.url(),
            "--static-oauth-client-info",
            &info,
        ];
        let login = home.shim(&flags);
        let code = if method.ends_with("basic") {
            "CODE-0001"
        } else {
            "CODE-0002"
        };
        login.wait_for_stderr(code);
        assert!(
            !login.stderr().contains("redirect_uris"),
            "{}",
            login.stderr()
        );
        server.enter(code);
        assert_eq!(login.wait(), 0, "{}", login.stderr());
        assert_eq!(home.run(&["logout", &upstream.url(), "--all"]).code, 0);
    }
    assert_eq!(server.count("register"), 0);
}

#[test]
fn hostile_answers_are_one_sentence_and_nothing_of_them_is_shown() {
    let huge = "H".repeat(500_000);
    for (name, value) in [
        ("verification_uri", json!("javascript:alert(1)")),
        ("verification_uri", json!("http://192.0.2.1/enter")),
        ("verification_uri", json!("https://user:pa$(id)ss@h/a")),
        ("verification_uri", json!(format!("https://h/{huge}"))),
        ("user_code", json!(huge)),
        ("user_code", json!("A\u{1b}]0;B\u{7}")),
        ("user_code", Value::Null),
        ("device_code", json!("")),
    ] {
        let patch = Map::from_iter([(name.to_owned(), value)]);
        let (server, upstream, home) = offering(answering(patch.into()));
        let login = home.run(&["login", "--device", &upstream.url()]);
        assert_eq!(login.code, 11, "{login:?}");
        let stderr = &login.stderr;
        assert!(stderr.len() < 1000 && !stderr.contains("HHH"), "{stderr}");
        assert!(
            stderr.contains(name) || stderr.contains("nobody can type"),
            "{stderr}"
        );
        assert!(!stderr.contains(['\u{1b}', '\u{7}']), "{stderr}");
        assert_eq!(server.count("token device"), 0);
        // Whoever did not ask for a code still has the page.
        let finished = home.run_with(&[&upstream.url()], &conversation("x"));
        assert!(finished.stderr.contains("/authorize?"), "{finished:?}");
    }
}

#[test]
fn absurd_times_are_made_sensible() {
    for (interval, expires_in) in [(json!(0), json!(0)), (json!(-5), json!(1e300))] {
        let patch = json!({ "interval": interval, "expires_in": expires_in });
        let (server, upstream, home) = offering(answering(patch));
        let login = home.shim(&["login", "--device", &upstream.url()]);
        login.wait_for_stderr("CODE-0001");
        server.enter("CODE-0001");
        assert_eq!(login.wait(), 0, "{}", login.stderr());
    }
}

#[test]
fn a_terminal_gets_a_qr_code_where_it_fits() {
    let (_server, upstream, home) = offering(Device::default());
    let command = home.command("mcp-remote", &["login", "--device", &upstream.url()]);
    for (columns, drawn) in [(100, true), (20, false)] {
        let mut command = std::process::Command::new(command.get_program());
        command.args(["login", "--device", &upstream.url()]);
        let prepared = home.command("mcp-remote", &[]);
        command.env_clear();
        for (name, value) in prepared.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        let terminal = TestTerminal::start(&command, columns, 60);
        terminal.wait_for_text("CODE-0001");
        terminal.wait_for_text("enter it at");
        if drawn {
            terminal.wait_for_text("\u{1b}[30;107m");
            let text = terminal.drawn();
            assert!(
                text.contains('\u{2580}') && text.contains('\u{2588}'),
                "{text}"
            );
        } else {
            let text = terminal.drawn();
            assert!(!text.contains("\u{1b}[30;107m"), "{text}");
        }
        terminal.press(b"\x03");
        terminal.wait();
    }
}

#[test]
fn a_client_that_shows_pages_is_told_the_code() {
    let (server, upstream, home) = offering(Device::default());
    let shows_pages = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{"url":{}}},"clientInfo":{"name":"tests","version":"1"}}}"#;
    // Somebody was signed in, so that the handshake needs nobody.
    let login = home.shim(&["login", "--device", &upstream.url()]);
    login.wait_for_stderr("CODE-0001");
    server.enter("CODE-0001");
    assert_eq!(login.wait(), 0);
    let mut before: TestShim = home.shim(&[&upstream.url()]);
    assert!(before.handshake_with(shows_pages)["result"].is_object());
    before.echo("before");
    assert_eq!(before.finish(), 0);
    server.revoke_all();
    assert_eq!(home.run(&["logout", &upstream.url()]).code, 0);

    let mut shim = home.shim(&[&upstream.url()]);
    assert!(shim.handshake_with(shows_pages)["result"].is_object());
    let call = shim.begin_call("echo", r#"{"message":"shown"}"#);
    let question = shim.message();
    assert_eq!(question["method"], "elicitation/create", "{question}");
    let asked = &question["params"];
    let text = asked["message"].as_str().expect("a message");
    assert!(
        text.contains("CODE-0001") || text.contains("CODE-0002"),
        "{text}"
    );
    server.enter(
        text.split(' ')
            .find(|word| word.starts_with("CODE"))
            .expect("a code"),
    );
    let mut ids = [shim.message(), shim.message()].map(|message| message["id"].clone());
    ids.sort_by_key(Value::is_null);
    assert_eq!(ids[0], call);
    assert!(shim.wait_for(Duration::ZERO).is_none());
}
