//! Who gave an account its first token: `{hash}_issuer.json`. Outlives the token, until
//! somebody signs out. No secret: a file also where those are in the keyring.
//!
//! What is there and cannot be read is no permission to ask anybody else.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::files::{self, FileError, Loose, Replacement};
use super::{IdentityHash, Store, StoreError, blocking};

const ISSUER: &str = "issuer.json";

/// The file.
#[derive(Deserialize, Serialize)]
struct Pinned {
    issuer: String,
    /// Which MCP server the tokens are for (see `Identity::server_digits`).
    server: String,
}

impl Pinned {
    fn read(path: &Path) -> Result<Option<Self>, FileError> {
        let Some(content) = files::read(path, Loose::Repair)? else {
            return Ok(None);
        };
        let pinned = serde_json::from_slice(&content);
        pinned.map_err(|_| FileError::Damaged(path.to_owned()))
    }
}

impl Store {
    /// Returns who gave this account its first token, as far as is known.
    ///
    /// # Errors
    /// That is kept, and cannot be read.
    pub(crate) async fn pinned(&self, hash: &IdentityHash) -> Result<Option<String>, StoreError> {
        let path = self.0.path(hash, ISSUER);
        let pinned = blocking(move || Pinned::read(&path)).await?;
        Ok(pinned.map(|pinned| pinned.issuer))
    }

    /// Keeps who has given it one: the same as before, or whom the user names by now.
    pub(crate) async fn pin(
        &self,
        hash: &IdentityHash,
        issuer: &str,
        server: String,
    ) -> Result<(), StoreError> {
        if self.pinned(hash).await?.as_deref() == Some(issuer) {
            return Ok(());
        }
        let issuer = issuer.to_owned();
        let pinned = Pinned { issuer, server };
        let content = serde_json::to_vec_pretty(&pinned).expect("strings are JSON");
        let (folder, path) = (self.0.ours.clone(), self.0.path(hash, ISSUER));
        blocking(move || {
            files::prepare_folder(&folder)?;
            Replacement::prepare(&path)?.commit(&content)
        })
        .await
    }

    /// Forgets it.
    pub(crate) async fn unpin(&self, hash: &IdentityHash) -> Result<(), StoreError> {
        let path = self.0.path(hash, ISSUER);
        blocking(move || files::remove(&path)).await
    }

    /// Forgets who gave tokens for this MCP server; `None`: for any.
    pub(crate) async fn unpin_all(&self, server: Option<&str>) -> Result<(), StoreError> {
        for hash in self.listed(ISSUER, ISSUER).await? {
            let path = self.0.path(&hash, ISSUER);
            let pinned = blocking(move || Pinned::read(&path)).await;
            let is_of = |server: &str| {
                let pinned = pinned.as_ref().ok().and_then(Option::as_ref);
                pinned.is_some_and(|pinned| pinned.server == server)
            };
            if server.is_none_or(is_of) {
                self.unpin(&hash).await?;
            }
        }
        Ok(())
    }
}
