//! Tokens that have expired and that nobody can renew: their file is deleted.

use std::time::{Duration, SystemTime};

use super::{Actor, Done};
use crate::oauth::grant::Grant;
use crate::oauth::identity::IdentityHash;
use crate::oauth::store::{Store, StoreError};

/// Tokens that nobody can renew are deleted this long after their end: clocks are
/// wrong, and servers lenient.
const PURGE_AFTER: Duration = Duration::from_secs(3600);

/// Returns when the file of these tokens is deleted.
pub(super) fn purge_at(grant: &Grant) -> Option<SystemTime> {
    let ends = grant.expires_at.filter(|_| grant.refresh_token.is_none());
    ends?.checked_add(PURGE_AFTER)
}

impl Actor {
    /// Deletes the file of tokens that have expired and that nobody can renew. They are
    /// sent on: only the server knows whether they are of use.
    pub(super) fn purge(&mut self) {
        self.purge_at = None;
        if let Some(grant) = self.grant.clone() {
            self.delete(grant);
        }
    }

    /// Deletes the file of these tokens.
    pub(super) fn delete(&mut self, grant: Grant) {
        tracing::info!("the stored token has expired and cannot be renewed: it is deleted");
        self.unsaved = None;
        let (store, hash) = (self.tools.store.clone(), self.identity.hash());
        self.tasks.spawn(async move {
            if let Err(error) = delete(&store, &hash, &grant).await {
                tracing::warn!(%error, "an expired token is still stored");
            }
            Done::Aside
        });
    }
}

/// Deletes tokens unless others have been stored meanwhile.
async fn delete(store: &Store, hash: &IdentityHash, grant: &Grant) -> Result<(), StoreError> {
    let _lock = store.lock(hash).await?;
    match store.tokens(hash).await?.tokens() {
        Some(stored) if stored.access_token == grant.access_token => store.remove_grant(hash).await,
        _ => Ok(()),
    }
}
