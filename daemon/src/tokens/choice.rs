//! Which sign-ins go where one server alone is moved: its own, and those with whoever
//! vouches for its user. Pure.

use std::collections::BTreeSet;

use crate::http::NetworkOptions;
use crate::oauth::grant::Grant;
use crate::oauth::identity::{Identity, IdentityHash};
use crate::server_url::ServerUrl;

/// Whether something goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goes {
    /// It does.
    Yes,
    /// It belongs to other servers.
    No,
    /// It belongs to this server and to others: it can only be in one place.
    Shared,
}

/// What belongs to one server, or to any.
pub(super) struct Choice<'a> {
    server: Option<&'a ServerUrl>,
    /// Who vouched for the tokens of this server.
    ours: BTreeSet<String>,
    /// Who vouched for those of others.
    theirs: BTreeSet<String>,
}

impl<'a> Choice<'a> {
    /// Looks at all sign-ins that there are.
    pub(super) fn new<'b>(
        server: Option<&'a ServerUrl>,
        grants: impl Iterator<Item = (&'b IdentityHash, &'b Grant)>,
    ) -> Self {
        let mut choice = Self {
            server,
            ours: BTreeSet::new(),
            theirs: BTreeSet::new(),
        };
        for (hash, grant) in grants {
            if let Some(provider) = grant.provider.clone() {
                match choice.is_of_server(hash, grant) {
                    true => choice.ours.insert(provider),
                    false => choice.theirs.insert(provider),
                };
            }
        }
        choice
    }

    /// Says whether a sign-in goes.
    pub(super) fn of_grant(&self, hash: &IdentityHash, grant: &Grant) -> Goes {
        match self.is_of_server(hash, grant) {
            true => Goes::Yes,
            false => self.of_provider(hash),
        }
    }

    /// Says whether what there is of who vouches goes.
    pub(super) fn of_provider(&self, hash: &IdentityHash) -> Goes {
        let is_in = |those: &BTreeSet<String>| those.contains(hash.as_str());
        match (is_in(&self.ours), is_in(&self.theirs)) {
            _ if self.server.is_none() => Goes::Yes,
            (true, false) => Goes::Yes,
            (true, true) => Goes::Shared,
            (false, _) => Goes::No,
        }
    }

    fn is_of_server(&self, hash: &IdentityHash, grant: &Grant) -> bool {
        let Some(server) = self.server else {
            return true;
        };
        let plain = Identity::new(server.clone(), NetworkOptions::default());
        let is_of = grant.server.as_ref() == Some(&plain.server_digits());
        is_of || hash.as_str() == plain.hash().as_str()
    }
}
