//! `remove`, `list` and `reload`: the commands about configured servers that have no
//! flags of a bridge.

use mcp_remote_proto::names;

use super::described::Given;
use super::{Invocation, usage};
use crate::exit::ShimError;

/// Makes something of what follows `remove`.
pub(super) fn remove(given: Given) -> Result<Invocation, ShimError> {
    let name = given.arguments.into_iter().next().unwrap_or_default();
    // A name that is a command now may have been none when it was written.
    match names::check(&name) {
        Ok(()) | Err(names::BadName::Command) => Ok(Invocation::Remove(name)),
        Err(_) => Err(usage(
            "what mcp-remote remove was given is not the name of a server",
        )),
    }
}

/// Makes something of what follows `list`.
pub(super) fn list(given: Given) -> Result<Invocation, ShimError> {
    let json = given.has("--json");
    Ok(Invocation::List { json })
}

/// Makes something of what follows `reload`.
pub(super) fn reload(_: Given) -> Result<Invocation, ShimError> {
    Ok(Invocation::Reload)
}
