//! On which terms a session is kept when nobody has it: not part of what decides who
//! may have it, which is the key's.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// The terms of whoever leased a session last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    /// By which name of the configuration; none: by URL.
    pub(crate) name: Option<Arc<str>>,
    /// How long it is kept unused; none: as long as any.
    pub(crate) idle_for: Option<Duration>,
    /// The last one of its name is kept for ever.
    pub(crate) warm: bool,
}

/// Whose sessions are out of date.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Outdated {
    /// Those that were leased by one of these names.
    pub(crate) names: BTreeSet<String>,
    /// Those that were leased by URL.
    pub(crate) urls: bool,
}

impl Outdated {
    /// Says whether a session that was leased on these terms is.
    pub(crate) fn covers(&self, terms: &Terms) -> bool {
        match &terms.name {
            Some(name) => self.names.contains(&**name),
            None => self.urls,
        }
    }
}
