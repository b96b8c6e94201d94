//! Every state that a server can have, in the table, in the JSON and in the exit
//! code: from real situations, and as a daemon could show all of them at once.

use std::collections::BTreeMap;

use mcp_remote_proto::VERSION;
use mcp_remote_proto::v1::{AuthState, AuthStatus, ServerState, ServerStatus, StatusResponse};
use mcp_remote_tests::daemon::TestDaemon;
use mcp_remote_tests::fake_daemon::FakeDaemon;
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::rpc::Rpc;
use mcp_remote_tests::shim::INITIALIZE;
use mcp_remote_tests::upstream::{Config, FakeUpstream, Kind, Replies, Reply, label};
use serde_json::Value;

use crate::support::{attached, one_sentence, one_shot};

fn json(home: &TestHome) -> (i32, Value) {
    let finished = home.run(&["status", "--json"]);
    let json = serde_json::from_str(&finished.stdout).expect("it is JSON");
    (finished.code, json)
}

/// Returns state, action and note of every server, by its URL.
fn servers(json: &Value) -> BTreeMap<String, [String; 3]> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let servers = json["servers"].as_array().expect("servers").iter();
    servers
        .map(|server| {
            let shown = ["state", "action", "note"].map(|name| text(&server[name]));
            (text(&server["url"]), shown)
        })
        .collect()
}

/// Answers the first request of this label with a status and a delay.
fn busy(wanted: &'static str) -> impl Fn(&mcp_remote_tests::upstream::Request) -> Option<Reply> {
    move |request| {
        let later = || Reply::status(429).with("Retry-After", "15");
        (label(request) == wanted).then(later)
    }
}

#[test]
fn what_happens_to_servers_is_what_their_states_say() {
    let ready = FakeUpstream::start();
    let idle = FakeUpstream::start();
    let connecting = FakeUpstream::start();
    let busy_server = FakeUpstream::scripted(busy("POST initialize"));
    let mut down = FakeUpstream::start();
    down.go_down();
    let closed = FakeUpstream::scripted(|_| Some(Reply::status(401)));
    let lost = FakeUpstream::with(Config {
        kind: Kind::HttpSse(405),
        ..Config::default()
    });
    let home = TestHome::new();
    one_shot(&home, &[&idle.url(), "--reuse", "never"]);
    one_shot(&home, &[&ready.url()]);
    let _lost = attached(&home, &[&lost.url()]);
    lost.cut_streams();
    connecting.script(|request| (label(request) == "POST initialize").then_some(Reply::Hang));
    let mut waiting: Vec<_> = [&connecting, &busy_server, &down, &closed]
        .map(|server| home.shim(&[&server.url()]))
        .into();
    for shim in &mut waiting {
        shim.send(INITIALIZE);
    }
    for shim in &waiting[2..] {
        assert!(shim.message()["error"].is_object());
    }
    let expected = [
        (&ready, ServerState::Ready),
        (&idle, ServerState::Idle),
        (&connecting, ServerState::Connecting),
        (&busy_server, ServerState::BackingOff),
        (&down, ServerState::BackingOff),
        (&closed, ServerState::NeedsLogin),
        (&lost, ServerState::SessionLost),
    ]
    .map(|(server, state)| (server.url(), state));
    Rpc::connect(&home).watch_until(|status| {
        let state = |url: &str| {
            let mut servers = status.servers.iter();
            servers
                .find(|server| server.url == url)
                .map(ServerStatus::state)
        };
        let as_expected = |(url, wanted): &(String, ServerState)| state(url) == Some(*wanted);
        expected.iter().all(as_expected).then_some(())
    });
    let (code, json) = json(&home);
    assert_eq!((code, &json["action"]), (11, &Value::from("login")));
    let shown = servers(&json);
    let of = |server: &FakeUpstream| shown[&server.url()].clone();
    assert_eq!(of(&ready), ["ready", "none", ""]);
    assert_eq!(of(&idle), ["idle", "none", ""]);
    assert_eq!(of(&connecting), ["connecting", "none", ""]);
    let [state, action, note] = of(&busy_server);
    assert_eq!([state.as_str(), action.as_str()], ["backing-off", "wait"]);
    assert!(
        note.contains("429") && note.contains("; next try in 1"),
        "{note}"
    );
    let [state, action, note] = of(&down);
    assert_eq!([state.as_str(), action.as_str()], ["backing-off", "retry"]);
    assert!(
        note.ends_with("; tried again at the next request"),
        "{note}"
    );
    let run = format!("run: mcp-remote login {}", closed.url());
    assert_eq!(of(&closed), ["needs-login", "login", &run]);
    let [state, action, _] = of(&lost);
    assert_eq!([state.as_str(), action.as_str()], ["session-lost", "retry"]);
}

#[test]
fn a_server_that_goes_away_while_a_session_waits_is_tried_again_by_itself() {
    let mut upstream = FakeUpstream::start();
    let home = TestHome::new();
    let mut shim = attached(&home, &[&upstream.url()]);
    upstream.wait_for_streams(1);
    upstream.go_down();
    let rpc = Rpc::connect(&home);
    let server = rpc.watch_until(|status| {
        let server = status.servers.first()?;
        (server.state() == ServerState::BackingOff).then(|| server.clone())
    });
    assert!(server.next_attempt_unix_ms > 0, "{server:?}");
    assert!(server.last_error.contains("refused"), "{server:?}");
    assert_eq!(home.run(&["status"]).code, 10);
    upstream.come_back();
    shim.echo("again");
    rpc.watch_until(|status| {
        let server = status.servers.first()?;
        (server.state() == ServerState::Ready && server.next_attempt_unix_ms == 0).then_some(())
    });
    assert_eq!(home.run(&["status"]).code, 0);
}

#[test]
fn one_request_that_takes_too_long_says_nothing_about_its_server() {
    let upstream = FakeUpstream::with(Config {
        replies: Replies::Json,
        ..Config::default()
    });
    let home = TestHome::new();
    let mut patient = attached(&home, &[&upstream.url()]);
    for flag in ["--request-timeout", "--headers-timeout"] {
        let mut hasty = attached(&home, &[&upstream.url(), flag, "0.3"]);
        let refused = hasty.call("hold", r#"{"gate":"never"}"#);
        assert!(refused["error"].is_object(), "{refused}");
        let (code, json) = json(&home);
        let server = &json["servers"][0];
        assert_eq!(
            (code, &server["state"]),
            (0, &Value::from("ready")),
            "{json}"
        );
        let error = server["last_error"].as_str();
        assert!(error.is_some_and(|error| error.contains("0.3 s")), "{json}");
    }
    patient.echo("works");
}

#[test]
fn a_server_that_nobody_knows_is_an_error() {
    let home = TestHome::new();
    let upstream = FakeUpstream::start();
    one_shot(&home, &[&upstream.url()]);
    let finished = home.run(&["status", "https://nobody.example.com/mcp"]);
    assert_eq!(finished.code, 1);
    assert!(
        finished.stdout.contains("No server https://nobody"),
        "{finished:?}"
    );
}

/// Returns state, action and note of every named server.
fn named(json: &Value) -> BTreeMap<String, [String; 3]> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let rows = json["servers"].as_array().expect("servers").iter();
    let named = rows.filter(|row| row["names"][0].is_string());
    named
        .map(|row| {
            let shown = ["state", "action", "note"].map(|name| text(&row[name]));
            (text(&row["names"][0]), shown)
        })
        .collect()
}

#[test]
fn names_of_one_url_have_a_line_each() {
    let mut down = FakeUpstream::start();
    down.go_down();
    let accounts = FakeUpstream::scripted(|request| {
        let refused = request.header("authorization") == Some("Bearer b");
        refused.then(|| Reply::status(401))
    });
    let home = TestHome::new();
    home.configure(&format!(
        "[servers.y]\nurl = \"{0}\"\n[servers.off]\nurl = \"{0}\"\nenabled = false\n[servers.broken]\nurl = \"{0}\"\nheader_file = \"nowhere\"\n[servers.home]\nurl = \"{1}\"\nheaders = {{ Authorization = \"Bearer a\" }}\n[servers.work]\nurl = \"{1}\"\nheaders = {{ Authorization = \"Bearer b\" }}\n",
        down.url(),
        accounts.url()
    ));
    assert_ne!(home.run(&["y"]).code, 0);
    assert_eq!(home.run(&["home"]).code, 0);
    assert_ne!(home.run(&["work"]).code, 0);
    let (code, json) = json(&home);
    let shown = named(&json);
    let of = |name: &str| {
        let [state, action, note] = &shown[name];
        (state.as_str(), action.as_str(), note.as_str())
    };
    let (state, action, note) = of("y");
    assert_eq!((state, action), ("backing-off", "retry"), "{note}");
    assert!(note.contains("refused"), "{note}");
    let (state, action, note) = of("off");
    assert_eq!((state, action), ("disabled", "enable"), "{note}");
    assert!(note.contains("enabled = false"), "{note}");
    let (state, action, note) = of("broken");
    assert_eq!((state, action), ("disabled", "enable"), "{note}");
    assert!(note.contains("the header file"), "{note}");
    assert_eq!(of("home").0, "ready");
    assert_eq!(of("work").0, "needs-login");
    assert_eq!((shown.len(), code), (5, 11), "{shown:?}");
    // By its name each is shown alone, by their URL all are.
    for (asked, lines) in [("home", 1), ("work", 1), (&accounts.url(), 2)] {
        let one = home.run(&["status", asked, "--json"]).stdout;
        let one: Value = serde_json::from_str(&one).expect("JSON");
        assert_eq!(
            one["servers"].as_array().map(Vec::len),
            Some(lines),
            "{asked}"
        );
    }
}

#[test]
fn what_is_shown_goes_with_whoever_has_the_session() {
    let upstream = FakeUpstream::start();
    let home = TestHome::new();
    home.configure(&format!("[servers.work]\nurl = \"{}\"\n", upstream.url()));
    one_shot(&home, &[&upstream.url()]);
    let _shim = attached(&home, &["work"]);
    let (_, json) = json(&home);
    assert_eq!(named(&json)["work"][0], "ready");
    let rows = json["servers"].as_array().expect("servers");
    let by_url = rows.iter().find(|row| row["names"][0].is_null());
    assert_eq!(by_url.expect("a row")["state"], "idle");
    let work = rows.iter().find(|row| row["names"][0] == "work");
    let work = work.expect("a row");
    assert_eq!(work["transport"], "streamable-http", "{work}");
    assert_eq!(upstream.sessions_made(), 1);
}

#[test]
fn a_server_that_cannot_be_used_as_it_is_written_needs_somebody() {
    let home = TestHome::new();
    let _daemon = TestDaemon::start(&home, &[]);
    let upstream = FakeUpstream::start();
    for (key, said) in [
        ("ca_file = \"nowhere.pem\"", "the file of ca_file"),
        (
            "headers = { Authorization = \"Bearer ${NOBODY}\" }",
            "NOBODY",
        ),
    ] {
        let url = upstream.url();
        home.configure(&format!("[servers.odd]\nurl = \"{url}\"\n{key}\n"));
        let reload = home.run(&["reload"]);
        assert!(
            reload.stderr.contains(said) || reload.stdout.contains(said),
            "{reload:?}"
        );
        let status = home.run(&["status"]);
        assert_eq!(status.code, 11, "{status:?}");
        let health = status
            .stdout
            .split("Health: ")
            .nth(1)
            .expect("a health line");
        assert!(
            health.contains("odd cannot be used") && health.contains(said),
            "{health}"
        );
        let doctor = home.run(&["doctor"]).stdout;
        assert!(doctor.contains("odd cannot be used"), "{doctor}");
        let used = home.run_with(&["odd"], "");
        assert!(one_sentence(&used.stderr).contains(said), "{used:?}");
        // One that is switched off needs nobody.
        let text = format!("[servers.odd]\nurl = \"{url}\"\nenabled = false\n{key}\n");
        home.configure(&text);
        assert_eq!(home.run(&["reload"]).code, 0);
        assert_eq!(home.run(&["status"]).code, 0);
    }
}

fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(now.expect("after 1970").as_millis()).expect("it fits")
}

/// One server of each state, as a daemon would show it.
fn every_state() -> StatusResponse {
    let now = now_ms();
    // Half a second more than is shown, for the time that passes until then.
    let soon = |seconds: u64| now + seconds * 1000 + 500;
    let ago = |seconds: u64| now - seconds * 1000;
    let server = |name: &str, state: ServerState| ServerStatus {
        url: format!("https://{name}.example.com/mcp"),
        state: state.into(),
        protocol_version: "2025-11-25".to_owned(),
        transport: "streamable-http".to_owned(),
        calls: 1204,
        errors: 3,
        p50_us: Some(3600),
        p99_us: Some(13_000),
        last_used_unix_ms: ago(7200),
        ..ServerStatus::default()
    };
    let grant = |state: AuthState| AuthStatus {
        state: state.into(),
        issuer: "https://auth.example.com".to_owned(),
        ..AuthStatus::default()
    };
    let signed_in = AuthStatus {
        expires_at_unix_ms: soon(2520),
        next_refresh_unix_ms: soon(1860),
        ..grant(AuthState::SignedIn)
    };
    StatusResponse {
        version: VERSION.to_owned(),
        pid: 4711,
        uptime_ms: 11_520_000,
        started_by: "systemd".to_owned(),
        socket: "/run/user/1000/mcp-remote/daemon.sock".to_owned(),
        shims: 2,
        servers: vec![
            ServerStatus {
                sessions_leased: 1,
                sessions_idle: 2,
                tools_known: Some(38),
                auth: vec![signed_in],
                ..server("github", ServerState::Ready)
            },
            ServerStatus {
                sessions_leased: 1,
                protocol_version: String::new(),
                transport: String::new(),
                ..server("slow", ServerState::Connecting)
            },
            ServerStatus {
                tools_known: Some(12),
                ..server("files", ServerState::Idle)
            },
            ServerStatus {
                last_error: "could not be reached: connection refused".to_owned(),
                next_attempt_unix_ms: soon(38),
                ..server("intranet", ServerState::BackingOff)
            },
            ServerStatus {
                last_error: "answered with a web page, which is not MCP: check the URL".to_owned(),
                ..server("old", ServerState::BackingOff)
            },
            ServerStatus {
                auth: vec![AuthStatus {
                    last_error: "the refresh token was rejected (invalid_grant)".to_owned(),
                    ..grant(AuthState::NeedsLogin)
                }],
                ..server("notion", ServerState::NeedsLogin)
            },
            ServerStatus {
                auth: vec![AuthStatus {
                    sign_in_url: "https://auth.example.com/authorize?state=x".to_owned(),
                    ..grant(AuthState::SigningIn)
                }],
                ..server("linear", ServerState::NeedsLogin)
            },
            ServerStatus {
                last_error: "lost the session before it answered: its stream ended".to_owned(),
                sessions_idle: 1,
                transport: "http+sse".to_owned(),
                ..server("legacy", ServerState::SessionLost)
            },
            server("paused", ServerState::Disabled),
        ],
        ..StatusResponse::default()
    }
}

/// The same text stands in the README.
const TABLE: &str = "\
mcp-remote VERSION (daemon VERSION, pid 4711, up 3h12m, systemd user unit)   socket /run/user/1000/mcp-remote/daemon.sock
SERVER                            STATE         AUTH              SESSIONS          CALLS  ERRORS  P50    P99     LAST USED  TOOLS  PROTOCOL                    NOTE
https://github.example.com/mcp    ready         signed-in 42m00s  1 leased, 2 idle  1204   3       3.6ms  13.0ms  2h00m ago  38     2025-11-25 streamable-http
https://slow.example.com/mcp      connecting    -                 1 leased          1204   3       3.6ms  13.0ms  2h00m ago  -      -
https://files.example.com/mcp     idle          -                 0                 1204   3       3.6ms  13.0ms  2h00m ago  12*    2025-11-25 streamable-http
https://intranet.example.com/mcp  backing-off   -                 0                 1204   3       3.6ms  13.0ms  2h00m ago  -      2025-11-25 streamable-http  could not be reached: connection refused; next try in 38s
https://old.example.com/mcp       backing-off   -                 0                 1204   3       3.6ms  13.0ms  2h00m ago  -      2025-11-25 streamable-http  answered with a web page, which is not MCP: check the URL; tried again at the next request
https://notion.example.com/mcp    needs-login   needs-login       0                 1204   3       3.6ms  13.0ms  2h00m ago  -      2025-11-25 streamable-http  run: mcp-remote login https://notion.example.com/mcp
https://linear.example.com/mcp    needs-login   signing-in        0                 1204   3       3.6ms  13.0ms  2h00m ago  -      2025-11-25 streamable-http  visit the URL below, or run: mcp-remote login https://linear.example.com/mcp
https://legacy.example.com/mcp    session-lost  -                 1 idle            1204   3       3.6ms  13.0ms  2h00m ago  -      2025-11-25 http+sse         lost the session before it answered: its stream ended; made again at the next request
https://paused.example.com/mcp    disabled      -                 0                 1204   3       3.6ms  13.0ms  2h00m ago  -      2025-11-25 streamable-http  switched off by enabled = false in config.toml
* from an earlier session
https://github.example.com/mcp is signed in at https://auth.example.com; the token expires in 42m00s, will be refreshed in 31m00s
https://notion.example.com/mcp needs a sign-in: run mcp-remote login https://notion.example.com/mcp; the refresh token was rejected (invalid_grant)
https://linear.example.com/mcp waits for a sign-in at https://auth.example.com/authorize?state=x
Health: 2 servers need you.
        3 servers are tried again.
";

#[test]
fn every_state_has_its_line() {
    let home = TestHome::new();
    let _daemon = FakeDaemon::showing(&home, every_state());
    let finished = home.run(&["status"]);
    assert_eq!(finished.stdout, TABLE.replace("VERSION", VERSION));
    assert_eq!(finished.code, 11);
    let (code, json) = json(&home);
    assert_eq!(code, 11);
    let actions: Vec<String> = servers(&json).into_values().map(|[_, it, _]| it).collect();
    for action in ["none", "retry", "wait", "enable", "finish-sign-in", "login"] {
        assert!(
            actions.iter().any(|one| one == action),
            "{action}: {actions:?}"
        );
    }
    let readme = include_str!("../../README.md");
    for line in TABLE.lines().skip(1) {
        assert!(readme.contains(line), "the README lacks {line}");
    }
}

#[test]
fn the_exit_code_is_that_of_the_worst_server() {
    let home = TestHome::new();
    let daemon = FakeDaemon::showing(&home, every_state());
    for (states, code) in [
        (&[][..], 0),
        (
            &[
                ServerState::Ready,
                ServerState::Idle,
                ServerState::Connecting,
            ],
            0,
        ),
        (&[ServerState::Disabled], 0),
        (&[ServerState::Ready, ServerState::BackingOff], 10),
        (&[ServerState::SessionLost], 10),
        (&[ServerState::BackingOff, ServerState::NeedsLogin], 11),
    ] {
        let servers = states.iter().map(|state| ServerStatus {
            url: "https://h/".to_owned(),
            state: (*state).into(),
            ..ServerStatus::default()
        });
        let servers = servers.collect();
        daemon.show(StatusResponse {
            servers,
            ..StatusResponse::default()
        });
        for flags in [&["status"][..], &["status", "--json"]] {
            assert_eq!(home.run(flags).code, code, "{states:?}");
        }
    }
    daemon.show(StatusResponse {
        health: vec!["nothing is kept".to_owned()],
        ..StatusResponse::default()
    });
    let finished = home.run(&["status"]);
    assert_eq!(finished.code, 11);
    assert!(finished.stdout.ends_with("Health: nothing is kept\n"));
}

#[test]
fn what_servers_say_cannot_drive_the_terminal() {
    let home = TestHome::new();
    let evil = "x\u{1b}[2J\u{9b}31m\u{202e}\r\nHealth: all is well.";
    let server = ServerStatus {
        url: "https://h/".to_owned(),
        state: ServerState::BackingOff.into(),
        last_error: evil.to_owned(),
        protocol_version: evil.to_owned(),
        transport: evil.to_owned(),
        server_name: evil.to_owned(),
        auth: vec![AuthStatus {
            issuer: evil.to_owned(),
            scopes: evil.to_owned(),
            last_error: evil.to_owned(),
            state: AuthState::SignedIn.into(),
            ..AuthStatus::default()
        }],
        ..ServerStatus::default()
    };
    let _daemon = FakeDaemon::showing(
        &home,
        StatusResponse {
            version: evil.to_owned(),
            socket: evil.to_owned(),
            servers: vec![server],
            health: vec![evil.to_owned()],
            ..StatusResponse::default()
        },
    );
    let finished = home.run(&["status"]);
    for character in ['\u{1b}', '\u{9b}', '\u{202e}', '\r'] {
        assert!(!finished.stdout.contains(character), "{finished:?}");
    }
    let healthy = finished
        .stdout
        .lines()
        .filter(|line| line.starts_with("Health: "));
    assert_eq!(healthy.count(), 1, "{finished:?}");
}
