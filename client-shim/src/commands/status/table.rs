//! The table that people read: one line about the daemon, one a server, one
//! about its health.

use std::fmt::Write;

use mcp_remote_proto::VERSION;
use mcp_remote_proto::v1::{ServerStatus, StatusResponse};

use super::document::word;
use super::grants;

const HEADINGS: [&str; 12] = [
    "SERVER",
    "STATE",
    "AUTH",
    "PROTOCOL",
    "SESSIONS",
    "SHIMS",
    "CALLS",
    "ERRORS",
    "P50",
    "P99",
    "LAST USED",
    "NOTE",
];

type Row = [String; HEADINGS.len()];

/// Writes the table. `now` is in milliseconds since the Unix epoch.
pub(super) fn table(status: &StatusResponse, server: Option<&str>, now: u64) -> String {
    let mut text = header(status);
    if status.servers.is_empty() {
        text.push_str(&match server {
            Some(server) => format!("No server {} is known.\n", plain(server)),
            None => "No server is known yet.\n".to_owned(),
        });
    } else {
        let rows = status.servers.iter().map(|server| row(server, now));
        let rows: Vec<Row> = std::iter::once(HEADINGS.map(str::to_owned))
            .chain(rows)
            .collect();
        push_aligned(&mut text, &rows);
    }
    for server in &status.servers {
        for grant in &server.auth {
            text.push_str(&grants::line(&plain(&server.url), grant, now));
        }
    }
    text.push_str(&health(status));
    text
}

fn header(status: &StatusResponse) -> String {
    let StatusResponse {
        version,
        pid,
        started_by,
        socket,
        ..
    } = status;
    let up = duration(status.uptime_ms);
    format!(
        "mcp-remote {VERSION} (daemon {version}, pid {pid}, up {up}, started by {started_by})   socket {socket}\n"
    )
}

fn row(server: &ServerStatus, now: u64) -> Row {
    let protocol = match (server.protocol_version.as_str(), server.transport.as_str()) {
        ("", "") => "-".to_owned(),
        ("", transport) => transport.to_owned(),
        (version, transport) => format!("{version} {transport}"),
    };
    let last_used = match server.last_used_unix_ms {
        0 => "never".to_owned(),
        used => format!("{} ago", duration(now.saturating_sub(used))),
    };
    [
        match server.names.as_slice() {
            [] => plain(&server.url),
            names => plain(&names.join(", ")),
        },
        word(server.state()).to_owned(),
        grants::cell(&server.auth, now),
        plain(protocol.trim_end()),
        sessions(server),
        server.shims.to_string(),
        server.calls.to_string(),
        server.errors.to_string(),
        latency(server.p50_us),
        latency(server.p99_us),
        last_used,
        plain(&server.last_error),
    ]
}

fn sessions(server: &ServerStatus) -> String {
    match (server.sessions_leased, server.sessions_idle) {
        (0, 0) => "0".to_owned(),
        (leased, 0) => format!("{leased} leased"),
        (0, idle) => format!("{idle} idle"),
        (leased, idle) => format!("{leased} leased, {idle} idle"),
    }
}

fn health(status: &StatusResponse) -> String {
    if status.health.is_empty() {
        return "Health: all is well.\n".to_owned();
    }
    let sentences: Vec<String> = status.health.iter().map(|text| plain(text)).collect();
    format!("Health: {}\n", sentences.join("\n        "))
}

fn push_aligned(text: &mut String, rows: &[Row]) {
    let mut widths = [0; HEADINGS.len()];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            write!(line, "{cell:width$}  ").expect("writing to a string cannot fail");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

/// Text of a server or an error on one line of a terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .collect()
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
    use mcp_remote_proto::v1::{AuthState, AuthStatus, ServerState};

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
                ..ServerStatus::default()
            },
        ];
        let text = table(&status(servers), None, 1_012_000);
        let expected = format!(
            "mcp-remote {VERSION} (daemon 0.1.0, pid 4711, up 3h12m, started by shim)   socket /run/s\n\
             SERVER                   STATE        AUTH              PROTOCOL                    SESSIONS          SHIMS  CALLS  ERRORS  P50    P99     LAST USED  NOTE\n\
             https://example.com/mcp  ready        signed-in 42m00s  2025-11-25 streamable-http  1 leased, 2 idle  1      1234   0       850us  12.3ms  12s ago\n\
             http://h/é               backing-off  -                 -                           0                 0      0      0       -      -       never      connection refused\n\
             https://example.com/mcp is signed in at https://as; the token expires in 42m00s\n\
             Health: all is well.\n"
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn nothing_known_is_said_in_words() {
        let text = table(&status(Vec::new()), None, 0);
        assert!(text.contains("\nNo server is known yet.\n"), "{text}");
        let text = table(&status(Vec::new()), Some("https://x"), 0);
        assert!(text.contains("\nNo server https://x is known.\n"), "{text}");
    }

    #[test]
    fn trouble_is_listed_line_by_line() {
        let mut status = status(Vec::new());
        status.health = vec!["the disk is full".into(), "the log is gone".into()];
        let text = table(&status, None, 0);
        assert!(text.ends_with("Health: the disk is full\n        the log is gone\n"));
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
