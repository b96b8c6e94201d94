//! `mcp-remote logs`.

use mcp_remote_proto::v1::LogLevel;

use crate::exit::ShimError;

use super::described::Given;
use super::{Invocation, LogsArguments};

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
