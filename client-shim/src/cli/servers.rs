//! `remove`, `list` and `reload`: the commands about configured servers that have no
//! flags of a bridge.

use mcp_remote_proto::names;

use super::{Invocation, unexpected, usage};
use crate::exit::ShimError;

/// Understands what follows one of the commands.
pub(super) fn parse(
    command: &str,
    rest: &[(usize, &str)],
    json: bool,
) -> Result<Invocation, ShimError> {
    match (command, rest) {
        ("list", []) => Ok(Invocation::List { json }),
        ("reload", []) => Ok(Invocation::Reload),
        (_, []) => Err(usage("the name of the server to remove is missing")),
        // A name that is a command now may have been none when it was written.
        ("remove", [(_, name)]) if names::check(name) != Err(names::BadName::Characters) => {
            Ok(Invocation::Remove((*name).to_owned()))
        }
        ("remove", [(position, _)]) => Err(usage(&format!(
            "the argument in position {position} is not the name of a server"
        ))),
        ("remove", [_, (position, _), ..]) | (_, [(position, _), ..]) => {
            Err(unexpected(command, *position))
        }
    }
}
