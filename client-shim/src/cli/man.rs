//! `mcp-remote man`.

use crate::exit::ShimError;

use super::Invocation;
use super::described::Given;

/// Makes something of what was given.
pub(super) fn read(_: Given) -> Result<Invocation, ShimError> {
    Ok(Invocation::Man)
}
