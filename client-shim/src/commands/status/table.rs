//! The table that people read: one line about the daemon, one a server, one
//! about its health.

use mcp_remote_proto::VERSION;
use mcp_remote_proto::v1::{ServerState, ServerStatus, StatusResponse};

use crate::terminal::{Paint, Terminal, painted, plain, wrapped};

use super::columns::{Cell, aligned};
use super::document::word;
use super::{grants, note};

const HEADINGS: [&str; 12] = [
    "SERVER",
    "STATE",
    "AUTH",
    "SESSIONS",
    "CALLS",
    "ERRORS",
    "P50",
    "P99",
    "LAST USED",
    "TOOLS",
    "PROTOCOL",
    "NOTE",
];

/// The columns that a narrow terminal loses, the first one first: P99, P50, ERRORS,
/// CALLS, PROTOCOL, TOOLS, LAST USED, SESSIONS, AUTH.
const LESS_IMPORTANT: [usize; 9] = [7, 6, 5, 4, 10, 9, 8, 3, 2];

/// Writes the table. `now` is in milliseconds since the Unix epoch.
pub(super) fn table(
    status: &StatusResponse,
    server: Option<&str>,
    now: u64,
    terminal: Option<Terminal>,
) -> String {
    let width = terminal.map(|terminal| terminal.size().0);
    fitting(status, server, now, terminal, width)
}

fn fitting(
    status: &StatusResponse,
    server: Option<&str>,
    now: u64,
    terminal: Option<Terminal>,
    width: Option<usize>,
) -> String {
    let mut text = header(status, width);
    if status.servers.is_empty() {
        text.push_str(&match server {
            Some(server) => format!("No server {} is known.\n", plain(server)),
            None => "No server is known yet.\n".to_owned(),
        });
    } else {
        let headings = HEADINGS.map(|heading| Cell(Paint::Dim, heading.to_owned()));
        let servers = status.servers.iter();
        let rows = servers.map(|server| row(server, now).to_vec());
        let rows: Vec<Vec<Cell>> = std::iter::once(headings.to_vec()).chain(rows).collect();
        text.push_str(&aligned(&rows, &LESS_IMPORTANT, terminal, width));
        if status.servers.iter().any(is_from_earlier) {
            text.push_str("* from an earlier session\n");
        }
    }
    for server in &status.servers {
        text.push_str(&grants::lines(server, now));
    }
    text.push_str(&health(status, terminal));
    text
}

fn header(status: &StatusResponse, width: Option<usize>) -> String {
    let StatusResponse {
        version,
        pid,
        started_by,
        socket,
        ..
    } = status;
    let up = duration(status.uptime_ms);
    let started_by = match started_by.as_str() {
        "systemd" => "systemd user unit".to_owned(),
        "launchd" => "launchd agent".to_owned(),
        other => format!("started by {}", plain(other)),
    };
    let [version, socket] = [version, socket].map(|text| plain(text));
    let programs =
        format!("mcp-remote {VERSION} (daemon {version}, pid {pid}, up {up}, {started_by})");
    let line = format!("{programs}   socket {socket}\n");
    match width {
        // A path is for copying: in one piece, on a line of its own.
        Some(width) if line.trim_end().chars().count() > width => {
            format!(
                "{}\nsocket {socket}\n",
                wrapped(&programs, width).join("\n")
            )
        }
        _ => line,
    }
}

fn row(server: &ServerStatus, now: u64) -> [Cell; HEADINGS.len()] {
    let protocol = match (server.protocol_version.as_str(), server.transport.as_str()) {
        ("", "") => "-".to_owned(),
        ("", transport) => transport.to_owned(),
        (version, transport) => format!("{version} {transport}"),
    };
    let last_used = match server.last_used_unix_ms {
        0 => "never".to_owned(),
        used => format!("{} ago", duration(now.saturating_sub(used))),
    };
    let note = note::of(server, now);
    let paint = paint(server.state());
    let auth = grants::cell(&server.auth, now);
    [
        (Paint::Plain, note::names(server)),
        (paint, word(server.state()).to_owned()),
        (Paint::Plain, auth),
        (Paint::Plain, sessions(server)),
        (Paint::Plain, server.calls.to_string()),
        (Paint::Plain, server.errors.to_string()),
        (Paint::Plain, latency(server.p50_us)),
        (Paint::Plain, latency(server.p99_us)),
        (Paint::Plain, last_used),
        (Paint::Plain, tools(server)),
        (Paint::Plain, plain(protocol.trim_end())),
        (paint, note.text),
    ]
    .map(|(paint, text)| Cell(paint, text))
}

fn paint(state: ServerState) -> Paint {
    match state {
        ServerState::Ready => Paint::Good,
        ServerState::Connecting | ServerState::BackingOff | ServerState::SessionLost => Paint::Fair,
        ServerState::NeedsLogin => Paint::Bad,
        ServerState::Idle | ServerState::Disabled | ServerState::Unspecified => Paint::Dim,
    }
}

fn sessions(server: &ServerStatus) -> String {
    match (server.sessions_leased, server.sessions_idle) {
        (0, 0) => "0".to_owned(),
        (leased, 0) => format!("{leased} leased"),
        (0, idle) => format!("{idle} idle"),
        (leased, idle) => format!("{leased} leased, {idle} idle"),
    }
}

/// The number of tools, with a star if no session is open that it is of.
fn tools(server: &ServerStatus) -> String {
    match server.tools_known {
        None => "-".to_owned(),
        Some(tools) if is_from_earlier(server) => format!("{tools}*"),
        Some(tools) => tools.to_string(),
    }
}

fn is_from_earlier(server: &ServerStatus) -> bool {
    server.tools_known.is_some() && server.sessions_leased + server.sessions_idle == 0
}

/// What is wrong, counted, and what the daemon says of itself.
fn health(status: &StatusResponse, terminal: Option<Terminal>) -> String {
    let count = |wanted: fn(&ServerStatus) -> bool| {
        let servers = status.servers.iter();
        servers.filter(|server| wanted(server)).count()
    };
    let waiting = count(note::needs_somebody);
    let retrying = count(note::is_retried);
    let mut sentences = Vec::new();
    sentences.extend(match waiting {
        0 => None,
        1 => Some("1 server needs you.".to_owned()),
        many => Some(format!("{many} servers need you.")),
    });
    sentences.extend(match retrying {
        0 => None,
        1 => Some("1 server is tried again.".to_owned()),
        many => Some(format!("{many} servers are tried again.")),
    });
    let bad = waiting > 0 || !status.health.is_empty();
    sentences.extend(status.health.iter().map(|text| plain(text)));
    let (paint, text) = match sentences.is_empty() {
        true => (Paint::Good, "all is well.".to_owned()),
        false if bad => (Paint::Bad, sentences.join("\n        ")),
        false => (Paint::Fair, sentences.join("\n        ")),
    };
    format!("Health: {}\n", painted(terminal, paint, &text))
}

/// The two largest units, as in `3h12m`.
pub(super) fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{:02}s", seconds % 60),
        3600..86400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

/// Three significant digits at most.
fn latency(us: Option<u64>) -> String {
    match us {
        None => "-".to_owned(),
        Some(us @ 0..1000) => format!("{us}us"),
        Some(us @ 1000..100_000) => format!("{}.{}ms", us / 1000, us % 1000 / 100),
        Some(us @ 100_000..10_000_000) => format!("{}ms", us / 1000),
        Some(us) => format!("{}s", us / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use mcp_remote_proto::v1::{AuthState, AuthStatus};

    use super::*;

    fn status(servers: Vec<ServerStatus>) -> StatusResponse {
        StatusResponse {
            version: "0.1.0".into(),
            pid: 4711,
            uptime_ms: 11_520_000,
            started_by: "shim".into(),
            socket: "/run/s".into(),
            servers,
            ..StatusResponse::default()
        }
    }

    #[test]
    fn columns_are_aligned_whatever_is_in_them() {
        let servers = vec![
            ServerStatus {
                url: "https://example.com/mcp".into(),
                state: ServerState::Ready.into(),
                protocol_version: "2025-11-25".into(),
                transport: "streamable-http".into(),
                sessions_leased: 1,
                sessions_idle: 2,
                shims: 1,
                tools_known: Some(38),
                calls: 1234,
                auth: vec![AuthStatus {
                    state: AuthState::SignedIn.into(),
                    issuer: "https://as".into(),
                    expires_at_unix_ms: 1_012_000 + 2_520_000,
                    ..AuthStatus::default()
                }],
                p50_us: Some(850),
                p99_us: Some(12_345),
                last_used_unix_ms: 1_000_000,
                ..ServerStatus::default()
            },
            ServerStatus {
                url: "http://h/é".into(),
                state: ServerState::BackingOff.into(),
                last_error: "connection\nrefused".into(),
                tools_known: Some(9),
                ..ServerStatus::default()
            },
        ];
        let text = table(&status(servers), None, 1_012_000, None);
        let expected = format!(
            "mcp-remote {VERSION} (daemon 0.1.0, pid 4711, up 3h12m, started by shim)   socket /run/s\n\
             SERVER                   STATE        AUTH              SESSIONS          CALLS  ERRORS  P50    P99     LAST USED  TOOLS  PROTOCOL                    NOTE\n\
             https://example.com/mcp  ready        signed-in 42m00s  1 leased, 2 idle  1234   0       850us  12.3ms  12s ago    38     2025-11-25 streamable-http\n\
             http://h/é               backing-off  -                 0                 0      0       -      -       never      9*     -                           connection refused; tried again at the next request\n\
             * from an earlier session\n\
             https://example.com/mcp is signed in at https://as; the token expires in 42m00s\n\
             Health: 1 server is tried again.\n"
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn nothing_known_is_said_in_words() {
        let text = table(&status(Vec::new()), None, 0, None);
        assert!(text.contains("\nNo server is known yet.\n"), "{text}");
        let text = table(&status(Vec::new()), Some("https://x"), 0, None);
        assert!(text.contains("\nNo server https://x is known.\n"), "{text}");
    }

    #[test]
    fn trouble_is_listed_line_by_line() {
        let mut status = status(Vec::new());
        status.health = vec!["the disk is full".into(), "the log is gone".into()];
        let text = table(&status, None, 0, None);
        assert!(text.ends_with("Health: the disk is full\n        the log is gone\n"));
    }

    #[test]
    fn a_narrow_terminal_still_shows_what_to_do() {
        let login = ServerStatus {
            url: "https://example.com/mcp".into(),
            state: ServerState::NeedsLogin.into(),
            ..ServerStatus::default()
        };
        let text = fitting(&status(vec![login]), None, 0, None, Some(40));
        let rows: Vec<&str> = text.lines().collect();
        let programs = wrapped(
            &format!("mcp-remote {VERSION} (daemon 0.1.0, pid 4711, up 3h12m, started by shim)"),
            40,
        );
        assert_eq!(rows[..2], programs);
        let rows = &rows[2..];
        let expected = [
            "socket /run/s",
            "SERVER                   STATE        ",
            "https://example.com/mcp  needs-login",
            "    run: mcp-remote login https://example.com/mcp",
            "Health: 1 server needs you.",
        ];
        assert_eq!(rows, expected.map(str::trim_end));
    }

    #[test]
    fn times_are_short() {
        for (ms, expected) in [
            (999, "0s"),
            (61_000, "1m01s"),
            (3_600_000, "1h00m"),
            (90_000_000, "1d01h"),
        ] {
            assert_eq!(duration(ms), expected);
        }
        for (us, expected) in [
            (Some(999), "999us"),
            (Some(1049), "1.0ms"),
            (Some(100_000), "100ms"),
            (Some(10_000_000), "10s"),
            (None, "-"),
        ] {
            assert_eq!(latency(us), expected);
        }
    }
}
