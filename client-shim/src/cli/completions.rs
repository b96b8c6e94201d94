//! `mcp-remote completions`.

use crate::exit::ShimError;

use super::Invocation;
use super::described::Given;

/// A shell that completes command lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shell {
    /// bash.
    Bash,
    /// zsh.
    Zsh,
    /// fish.
    Fish,
}

/// Makes something of what was given.
pub(super) fn read(given: Given) -> Result<Invocation, ShimError> {
    let shell = match given.arguments.first().map(String::as_str) {
        Some("zsh") => Shell::Zsh,
        Some("fish") => Shell::Fish,
        // The table allows nothing else.
        _ => Shell::Bash,
    };
    Ok(Invocation::Completions(shell))
}
