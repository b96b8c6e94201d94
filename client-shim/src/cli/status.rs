//! `mcp-remote status`.

use crate::exit::ShimError;

use super::described::Given;
use super::{Invocation, StatusArguments};

/// Makes something of what was given.
pub(super) fn read(given: Given) -> Result<Invocation, ShimError> {
    Ok(Invocation::Status(StatusArguments {
        json: given.has("--json"),
        watch: given.has("--watch"),
        server: given.arguments.into_iter().next(),
    }))
}
