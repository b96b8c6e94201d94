//! Who gave an account its first token: `{hash}_issuer.json`. Outlives the token, until
//! somebody signs out.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{IdentityHash, Store, StoreError, blocking};

pub(super) const ISSUER: &str = "issuer.json";

/// The file.
#[derive(Deserialize, Serialize)]
struct Pinned {
    issuer: String,
}

impl Store {
    /// Returns who gave this account its first token, as far as is known.
    pub(crate) async fn pinned(&self, hash: &IdentityHash) -> Result<Option<String>, StoreError> {
        let (folders, hash) = (self.0.clone(), hash.clone());
        let content = blocking(move || folders.secret(&hash, ISSUER)).await?;
        let pinned = content.and_then(|content| serde_json::from_slice::<Pinned>(&content).ok());
        Ok(pinned.map(|pinned| pinned.issuer))
    }

    /// Keeps who has given it one: the same as before, or whom the user names by now.
    pub(crate) async fn pin(&self, hash: &IdentityHash, issuer: &str) -> Result<(), StoreError> {
        if self.pinned(hash).await?.as_deref() == Some(issuer) {
            return Ok(());
        }
        let issuer = issuer.to_owned();
        let content = serde_json::to_vec_pretty(&Pinned { issuer }).expect("a string is JSON");
        self.put(hash, ISSUER, Zeroizing::new(content)).await
    }

    /// Forgets it.
    pub(crate) async fn unpin(&self, hash: &IdentityHash) -> Result<(), StoreError> {
        self.remove(hash, &[ISSUER]).await
    }
}
