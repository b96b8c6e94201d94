//! `mcp-remote logs`.

use mcp_remote_proto::v1::LogLevel;

use crate::exit::ShimError;

use super::Invocation;
use super::described::Given;

/// Which lines of the log to show.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LogsArguments {
    /// Only about this server; empty: all.
    pub(crate) server: String,
    /// `--follow`: go on.
    pub(crate) follow: bool,
    /// `--level`: only those at least as bad.
    pub(crate) level: Option<LogLevel>,
    /// `--set-level`: how much the daemon is to log.
    pub(crate) set_level: Option<LogLevel>,
    /// `--json`: for programs.
    pub(crate) json: bool,
}

/// Makes something of what was given.
pub(super) fn read(given: Given) -> Result<Invocation, ShimError> {
    Ok(Invocation::Logs(LogsArguments {
        follow: given.has("--follow"),
        json: given.has("--json"),
        level: given.value("--level").map(level),
        set_level: given.value("--set-level").map(level),
        server: given.arguments.into_iter().next().unwrap_or_default(),
    }))
}

/// Reads one of the words that the table allows.
fn level(word: &str) -> LogLevel {
    match word {
        "error" => LogLevel::Error,
        "warn" => LogLevel::Warn,
        "info" => LogLevel::Info,
        "debug" => LogLevel::Debug,
        _ => LogLevel::Trace,
    }
}
