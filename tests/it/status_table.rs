//! Every state that a server can have, in the table, in the JSON and in the exit
//! code, as a daemon could show all of them at once.

use mcp_remote_proto::VERSION;
use mcp_remote_proto::v1::{AuthState, AuthStatus, ServerState, ServerStatus, StatusResponse};
use mcp_remote_tests::fake_daemon::FakeDaemon;
use mcp_remote_tests::home::TestHome;

use crate::status_states::{json, servers};

fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(now.expect("after 1970").as_millis()).expect("it fits")
}

/// One server of each state, as a daemon would show it.
#[expect(clippy::too_many_lines, reason = "a table")]
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
