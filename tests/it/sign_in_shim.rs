//! What the shim does of a sign-in: it says where, opens the browser, passes on
//! what is pasted, and checks without one. The daemon is played here.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use mcp_remote_proto::v1::relay_request::Frame as Said;
use mcp_remote_proto::v1::relay_response::Frame;
use mcp_remote_proto::v1::{
    BrowserOpened, CompleteSignIn, Goodbye, GoodbyeReason, Notice, NoticeLevel, OpenBrowser,
    Purpose, ServerSummary, SignIn, SignInState,
};
use mcp_remote_tests::browser::Browser;
use mcp_remote_tests::fake_daemon::FakeDaemon;
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::monitor::PATIENCE;
use mcp_remote_tests::shim::INITIALIZE;
use mcp_remote_tests::upstream::{FakeUpstream, Reply};
use serde_json::Value;
use tonic::Status;

use crate::support::{attached, one_sentence, our_error};

const SERVER: &str = "https://mcp.example.com/mcp";
const URL: &str = "https://as.example.com/authorize?client_id=a&state=b&x=$(touch%20y)&*";

fn sign_in(state: SignInState) -> Frame {
    Frame::SignIn(SignIn {
        state: state.into(),
        url: URL.into(),
        server: SERVER.into(),
        text: match state {
            SignInState::Done => format!("Signed in to {SERVER}"),
            SignInState::Failed => format!("{SERVER} refused the sign-in"),
            _ => String::new(),
        },
    })
}

fn open_browser(url: &str) -> Frame {
    Frame::OpenBrowser(OpenBrowser { url: url.into() })
}

fn connected() -> Frame {
    Frame::Server(ServerSummary {
        name: "example".into(),
        version: "1".into(),
        protocol_version: "2025-11-25".into(),
        transport: "streamable-http".into(),
        warm: false,
        lease: String::new(),
    })
}

/// Makes a browser that writes each argument on a line of the file returned.
fn browser(home: &mut TestHome) -> PathBuf {
    let (program, log) = (home.folder().join("browser"), home.folder().join("visited"));
    // Renamed when it is whole, so that it can be waited for.
    let script = format!(
        "#!/bin/sh\nprintf '%s\\n' \"$@\" > {0}.new && mv {0}.new {0}\n",
        log.display()
    );
    std::fs::write(&program, script).expect("written");
    let mode = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(&program, mode).expect("set");
    home.set("BROWSER", &program);
    log
}

#[test]
fn a_person_is_told_where_to_sign_in_in_the_npm_packages_words() {
    let home = TestHome::new();
    let (_daemon, relay) = FakeDaemon::relaying(&home);
    let mut shim = home.shim(&[SERVER, "--resource", "https://api/", "9696"]);
    shim.send(INITIALIZE);
    let open = relay.open();
    assert_eq!(open.purpose(), Purpose::Bridge);
    let auth = open.auth.expect("it says how to sign in");
    assert_eq!(
        (auth.resource.as_str(), auth.callback_port),
        ("https://api/", 9696)
    );
    let display = open.display.expect("it says what there is of a desktop");
    assert!(
        !display.may_open_browser,
        "there is no desktop: {display:?}"
    );
    relay.say(sign_in(SignInState::Pending));
    relay.say(sign_in(SignInState::BrowserNotOpened));
    let pid = shim.pid();
    let expected = format!(
        "[{pid}] \nPlease authorize this client by visiting:\n{URL}\n\n[{pid}] Could not open a \
         browser automatically. Please copy and paste the URL above into your browser.\n"
    );
    shim.wait_for_stderr("into your browser.");
    assert_eq!(shim.stderr(), expected);
    relay.say(sign_in(SignInState::BrowserOpened));
    shim.wait_for_stderr("Browser opened automatically.");
    relay.say(sign_in(SignInState::Failed));
    shim.wait_for_stderr("refused the sign-in");
    relay.say(Frame::Message(
        r#"{"jsonrpc":"2.0","id":0,"result":{}}"#.into(),
    ));
    assert_eq!(
        shim.message()["id"],
        0,
        "standard output carries messages only"
    );
    shim.close_stdin();
    relay.all();
    relay.end(Ok(()));
    assert_eq!(shim.wait(), 0);
}

#[test]
fn a_shim_that_can_only_wait_for_a_person_answers_everything_and_ends() {
    let home = TestHome::new();
    let (_daemon, relay) = FakeDaemon::relaying(&home);
    let mut shim = home.shim(&[SERVER]);
    shim.send(INITIALIZE);
    relay.frame(1);
    let sentence = "somebody has to sign in: run: mcp-remote login URL";
    relay.say(Frame::Notice(Notice {
        level: NoticeLevel::Error.into(),
        text: sentence.into(),
    }));
    relay.say(Frame::Goodbye(Goodbye {
        reason: GoodbyeReason::SignInNeeded.into(),
        text: sentence.into(),
    }));
    relay.all();
    shim.send(r#"{"jsonrpc":"2.0","id":"later","method":"ping"}"#);
    relay.end(Ok(()));
    for id in [Value::from(0), Value::from("later")] {
        let error = our_error(&shim.message(), id);
        let message = error["message"].as_str().expect("a message");
        assert!(message.ends_with(sentence), "{message}");
        assert_eq!(error["data"]["maybeExecuted"], false, "{error}");
    }
    assert_eq!(shim.wait(), 11, "standard input is open");
    assert_eq!(shim.stderr(), format!("[{}] {sentence}\n", shim.pid()));
}

#[test]
fn the_shim_opens_the_browser_with_the_url_as_one_word() {
    let mut home = TestHome::new();
    let log = browser(&mut home);
    let (_daemon, relay) = FakeDaemon::relaying(&home);
    let mut shim = home.shim(&[SERVER]);
    shim.send(INITIALIZE);
    let display = relay.open().display.expect("a desktop");
    assert!(display.may_open_browser);
    assert_eq!(
        display.browser,
        home.folder().join("browser").to_str().expect("UTF-8")
    );
    relay.say(open_browser(URL));
    assert!(matches!(relay.frame(1), Said::Message(_)));
    assert_eq!(
        relay.frame(2),
        Said::BrowserOpened(BrowserOpened { ok: true })
    );
    let visited = std::fs::read_to_string(log).expect("a browser was opened");
    assert_eq!(visited, format!("{URL}\n"));
    assert!(!home.folder().join("y").exists());
}

#[test]
fn what_is_no_web_page_is_neither_opened_nor_shown() {
    let mut home = TestHome::new();
    let log = browser(&mut home);
    let (_daemon, relay) = FakeDaemon::relaying(&home);
    let mut shim = home.shim(&[SERVER]);
    shim.send(INITIALIZE);
    assert!(matches!(relay.frame(1), Said::Message(_)));
    let long = format!("https://h/{}", "a".repeat(2 * 1024 * 1024));
    let hostile = [
        "javascript:alert(1)",
        "file:///etc/passwd",
        "a:$(touch PWN)?response_type=code",
        "http://127.0.0.1:1$(touch PWN)/a",
        "http://h/%24%28x%29;`x`?x=$(x)&y='\"|calc",
        "-h",
        "--version",
        "http://user:pa$(id)ss@h/a",
        "calculator:/x",
        "\\\\host\\share\\x",
        "https://h/\u{1b}[2J",
        "https://h\u{e9}/",
        &long,
    ];
    for (number, url) in hostile.iter().enumerate() {
        relay.say(open_browser(url));
        let answer = relay.frame(number + 2);
        assert_eq!(
            answer,
            Said::BrowserOpened(BrowserOpened { ok: false }),
            "{url}"
        );
        relay.say(Frame::SignIn(SignIn {
            state: SignInState::Pending.into(),
            url: (*url).to_owned(),
            server: SERVER.into(),
            text: String::new(),
        }));
    }
    relay.say(sign_in(SignInState::Done));
    shim.wait_for_stderr("Signed in to");
    let stderr = shim.stderr();
    assert!(!stderr.contains("Please authorize"), "{stderr}");
    assert!(
        !stderr.contains('\u{1b}') && !stderr.contains("PWN"),
        "{stderr}"
    );
    assert!(!log.exists(), "a browser was opened");
}

#[test]
fn what_the_daemon_says_of_a_code_stands_below_the_page() {
    let home = TestHome::new();
    let (_daemon, relay) = FakeDaemon::relaying(&home);
    let shim = home.shim(&["login", SERVER, "--device"]);
    let open = relay.open();
    assert!(open.auth.expect("it says how to sign in").device_code);
    let display = open.display.expect("it says what there is of a desktop");
    assert_eq!(
        (display.stderr_columns, display.non_interactive),
        (0, false)
    );
    relay.say(Frame::SignIn(SignIn {
        state: SignInState::Pending.into(),
        url: URL.into(),
        server: SERVER.into(),
        text: "The code is A-B.".into(),
    }));
    let expected = format!("visiting:\n{URL}\nThe code is A-B.\n\n");
    shim.wait_for_stderr(&expected);
}

#[test]
fn who_asks_nobody_is_the_flags_and_the_environments_choice() {
    for (variables, flag, expected) in [
        (&[][..], None, false),
        (&[], Some("--non-interactive"), true),
        (&["true"], None, true),
        (&["1"], None, true),
        (&["TRUE"], None, true),
        (&["false"], None, false),
        (&[""], None, false),
    ] {
        let mut home = TestHome::new();
        for value in variables {
            home.set("CI", value);
        }
        let (_daemon, relay) = FakeDaemon::relaying(&home);
        let mut arguments = vec![SERVER];
        arguments.extend(flag);
        let mut shim = home.shim(&arguments);
        shim.send(INITIALIZE);
        let display = relay.open().display.expect("it says whom to ask");
        assert_eq!(display.non_interactive, expected, "{variables:?} {flag:?}");
    }
}

#[test]
fn without_leave_no_browser_is_opened() {
    let mut home = TestHome::new();
    let log = browser(&mut home);
    let (_daemon, relay) = FakeDaemon::relaying(&home);
    let mut shim = home.shim(&[SERVER, "--no-browser"]);
    shim.send(INITIALIZE);
    let display = relay.open().display.expect("a desktop");
    assert!(display.no_browser && !display.may_open_browser);
    assert!(matches!(relay.frame(1), Said::Message(_)));
    relay.say(open_browser(URL));
    assert_eq!(
        relay.frame(2),
        Said::BrowserOpened(BrowserOpened { ok: false })
    );
    assert!(!log.exists());
}

#[test]
fn login_says_who_answers_and_passes_on_what_is_pasted() {
    let home = TestHome::new();
    let (_daemon, relay) = FakeDaemon::relaying(&home);
    let mut shim = home.shim(&["login", SERVER]);
    assert_eq!(relay.open().purpose(), Purpose::Login);
    relay.say(sign_in(SignInState::Pending));
    relay.say(sign_in(SignInState::BrowserNotOpened));
    shim.wait_for_stderr("paste the URL");
    let redirect = "http://localhost:5598/oauth/callback?code=c&state=s";
    shim.send(&format!("\n  {redirect}  "));
    let pasted = CompleteSignIn {
        redirect_url: redirect.into(),
    };
    assert_eq!(relay.frame(1), Said::CompleteSignIn(pasted));
    relay.say(sign_in(SignInState::Done));
    relay.say(connected());
    relay.end(Ok(()));
    assert_eq!(shim.wait(), 0, "{}", shim.stderr());
    let stderr = shim.stderr();
    let last: Vec<&str> = stderr.lines().rev().take(2).collect();
    assert!(last[0].contains("Connected to example 1 at"), "{stderr}");
    assert!(last[1].contains("Signed in to"), "{stderr}");
    assert_eq!(shim.rest(), "");
}

#[test]
fn a_sign_in_that_does_not_come_about_is_exit_code_11() {
    let home = TestHome::new();
    let (_daemon, relay) = FakeDaemon::relaying(&home);
    let shim = home.shim(&["login", SERVER]);
    relay.end(Err(Status::unauthenticated(
        "nobody signed in to it in time",
    )));
    assert_eq!(shim.wait(), 11);
    assert!(one_sentence(&shim.stderr()).contains("nobody signed in"));
}

#[test]
fn an_empty_input_is_a_check_that_never_signs_in() {
    let mut home = TestHome::new();
    let log = browser(&mut home);
    let mut upstream = FakeUpstream::start();
    let usable = home.run(&[&upstream.url()]);
    assert_eq!((usable.code, usable.stdout.as_str()), (0, ""), "{usable:?}");
    assert_eq!(usable.stderr, "");
    let closed = FakeUpstream::scripted(|_| Some(Reply::status(401)));
    let needs_login = home.run(&[&closed.url()]);
    assert_eq!((needs_login.code, needs_login.stdout.as_str()), (11, ""));
    assert!(
        one_sentence(&needs_login.stderr).contains("401"),
        "{needs_login:?}"
    );
    let url = upstream.url().replace("/mcp", "/other");
    upstream.go_down();
    let unreachable = home.run(&[&url]);
    assert_eq!(unreachable.code, 1, "{unreachable:?}");
    assert!(one_sentence(&unreachable.stderr).contains("refused"));
    assert!(!log.exists(), "a browser was opened");
}

#[test]
fn who_has_said_something_is_not_checked() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    for _ in 0..2 {
        let shim = attached(&home, &[&upstream.url()]);
        assert_eq!(shim.finish(), 0);
    }
    assert_eq!(
        upstream.count("POST ping"),
        0,
        "a check asks a warm session"
    );
}

#[test]
fn logout_says_what_it_found() {
    let home = TestHome::new();
    let one = home.run(&["logout", SERVER]);
    assert_eq!(one.code, 0, "{one:?}");
    assert_eq!(one.stdout, format!("Nobody was signed in to {SERVER}.\n"));
    let all = home.run(&["logout", "--all"]);
    assert_eq!(all.stdout, "Nobody was signed in to any server.\n");
    assert_eq!(home.run(&["logout"]).code, 2);
}

#[test]
fn a_browser_that_takes_its_time_holds_up_nothing() {
    let mut home = TestHome::new();
    let (_browser, started) = Browser::staying(&mut home);
    let (_daemon, relay) = FakeDaemon::relaying(&home);
    let mut shim = home.shim(&[SERVER]);
    shim.send(INITIALIZE);
    assert!(matches!(relay.frame(1), Said::Message(_)));
    relay.say(open_browser(URL));
    let _open = started.next();
    relay.say(Frame::Message(
        r#"{"jsonrpc":"2.0","id":0,"result":{}}"#.into(),
    ));
    assert_eq!(shim.message()["id"], 0);
    shim.close_stdin();
    relay.all();
    relay.end(Ok(()));
    let ended = shim.wait_for(PATIENCE / 4);
    assert_eq!(ended, Some(0), "the browser was waited for");
}
