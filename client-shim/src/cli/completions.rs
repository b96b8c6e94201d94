//! `mcp-remote completions`.

use crate::exit::ShimError;

use super::described::Given;
use super::{Invocation, Shell};

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
