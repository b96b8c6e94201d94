//! `mcp-remote doctor`: with the flags of a bridge, since it looks at what that would
//! do.

use super::words::{unexpected, usage};
use super::{BridgeArguments, Invocation, Words};
use crate::exit::ShimError;

/// What to check.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DoctorArguments {
    /// The way to this server; none: this side.
    pub(crate) server: Option<Box<BridgeArguments>>,
    /// For programs.
    pub(crate) json: bool,
}

impl Words {
    /// Understands `doctor`.
    pub(super) fn doctor(&mut self) -> Result<Invocation, ShimError> {
        self.positional.remove(0);
        let all = self.all.then_some("--all");
        let mut unknown = self.unknown.iter().map(String::as_str);
        if let Some(flag) = unknown.next().or(all) {
            return Err(usage(&format!(
                "the flag {flag} means nothing to mcp-remote doctor"
            )));
        }
        let json = std::mem::take(&mut self.json);
        let server = match self.positional.as_slice() {
            [] => None,
            // The second may be the callback port.
            [_] | [_, _] => Some(self.bridge()?),
            [_, _, (position, _), ..] => return Err(unexpected("doctor", *position)),
        };
        Ok(Invocation::Doctor(DoctorArguments { server, json }))
    }
}
