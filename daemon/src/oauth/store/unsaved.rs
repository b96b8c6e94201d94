//! Tokens that are in use but could not be stored, and when they still may be:
//! never over what somebody else has stored meanwhile.

use super::{OnDisk, Store, StoreError};
use crate::oauth::grant::Grant;
use crate::oauth::identity::IdentityHash;
use crate::secret::Secret;

/// Why tokens are not stored, and which stand in their place.
#[derive(Debug, Clone)]
pub(crate) struct Unsaved {
    /// One sentence.
    pub(crate) why: String,
    /// The access token in the file; `None`: there was no file.
    instead: Option<Secret<String>>,
}

impl Unsaved {
    /// Notes a failure while these tokens are in the file.
    pub(crate) fn new(error: &StoreError, instead: Option<&Grant>) -> Self {
        tracing::error!(%error, "new tokens could not be stored: they would be lost if the daemon ended now");
        Self {
            why: error.to_string(),
            instead: instead.map(|grant| grant.access_token.clone()),
        }
    }

    /// The same for tokens that have taken the place of those that are not stored.
    pub(crate) fn again(&self, error: &StoreError) -> Self {
        Self {
            instead: self.instead.clone(),
            ..Self::new(error, None)
        }
    }

    /// Notes that there is more to say of the tokens in the file.
    pub(crate) fn not_yet(grant: &Grant) -> Self {
        Self {
            why: "they are being written".into(),
            instead: Some(grant.access_token.clone()),
        }
    }

    /// Says whether the tokens are newer than what there is.
    pub(crate) fn is_newer_than(&self, on_disk: &OnDisk) -> bool {
        match (on_disk, &self.instead) {
            (OnDisk::Damaged, _) | (OnDisk::Nothing, None) => true,
            (OnDisk::Tokens(grant), Some(instead)) => grant.access_token == *instead,
            (OnDisk::Nothing, Some(_)) | (OnDisk::Tokens(_), None) => false,
        }
    }
}

impl Store {
    /// Keeps tokens that could not be kept before, unless others have taken their
    /// place: then those count.
    pub(crate) async fn save(
        &self,
        hash: &IdentityHash,
        grant: &Grant,
        unsaved: &Unsaved,
    ) -> Result<(), StoreError> {
        let _lock = self.lock(hash).await?;
        match unsaved.is_newer_than(&self.tokens(hash).await?) {
            true => self.put_grant(hash, grant).await,
            false => Ok(()),
        }
    }
}
