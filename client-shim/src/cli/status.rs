//! `mcp-remote status`.

use crate::exit::ShimError;

use super::Invocation;
use super::described::Given;

/// What to say of the daemon, and how.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct StatusArguments {
    /// Only this server.
    pub(crate) server: Option<String>,
    /// `--json`: for programs.
    pub(crate) json: bool,
    /// `--watch`: again after every change.
    pub(crate) watch: bool,
}

/// Makes something of what was given.
pub(super) fn read(given: Given) -> Result<Invocation, ShimError> {
    Ok(Invocation::Status(StatusArguments {
        json: given.has("--json"),
        watch: given.has("--watch"),
        server: given.arguments.into_iter().next(),
    }))
}
