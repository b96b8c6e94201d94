//! `mcp-remote doctor`.

use crate::exit::ShimError;

use super::Invocation;
use super::described::Given;

/// Makes something of what was given.
pub(super) fn read(given: Given) -> Result<Invocation, ShimError> {
    Ok(Invocation::Doctor {
        json: given.has("--json"),
    })
}
