//! `mcp-remote adopt`: where to.

use super::described::Given;
use super::{Invocation, usage};
use crate::exit::ShimError;

/// Where `npx mcp-remote` can be made to find this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seat {
    /// `~/node_modules/.bin/mcp-remote`.
    Home,
    /// `mcp-remote` where npm installs programs for all folders.
    Global,
    /// An `npx` of our own.
    Npx,
}

/// What the command line says of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct AdoptArguments {
    /// The seat that was named; `None`: none was.
    pub(crate) seat: Option<Seat>,
    /// `--undo`: remove what was made; without a seat: everywhere.
    pub(crate) undo: bool,
}

/// Makes something of what was given.
pub(super) fn read(given: Given) -> Result<Invocation, ShimError> {
    let seat = match (given.has("--global"), given.has("--npx")) {
        (true, true) => return Err(usage("adopt takes one of --global and --npx, not both")),
        (true, false) => Some(Seat::Global),
        (false, true) => Some(Seat::Npx),
        (false, false) => None,
    };
    let undo = given.has("--undo");
    Ok(Invocation::Adopt(AdoptArguments { seat, undo }))
}
