//! Sign-ins that leave this machine or come to it: their files as they are.

use zeroize::Zeroizing;

use super::files::{self, FileError};
use super::{CLIENT, Store, StoreError, TOKENS, blocking};
use crate::oauth::identity::IdentityHash;

/// What stands in the files of a sign-in.
pub(crate) struct Raw {
    /// The tokens.
    pub(crate) tokens: Zeroizing<Vec<u8>>,
    /// The client of the next sign-in.
    pub(crate) client: Option<Zeroizing<Vec<u8>>>,
}

/// It is secret.
impl std::fmt::Debug for Raw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Raw").finish_non_exhaustive()
    }
}

impl Store {
    /// Returns what stands in the files of a sign-in; `None`: there is none.
    pub(crate) async fn raw(&self, hash: &IdentityHash) -> Result<Option<Raw>, StoreError> {
        let (folders, hash) = (self.0.clone(), hash.clone());
        blocking(move || {
            let Some(tokens) = folders.secret(&hash, TOKENS)? else {
                return Ok(None);
            };
            let client = folders.secret(&hash, CLIENT)?;
            Ok(Some(Raw { tokens, client }))
        })
        .await
    }

    /// Keeps what stood in files elsewhere, in place of what there is.
    pub(crate) async fn put_raw(&self, hash: &IdentityHash, raw: Raw) -> Result<(), StoreError> {
        let (folders, hash) = (self.0.clone(), hash.clone());
        blocking(move || {
            files::prepare_folder(&folders.ours)?;
            folders.put(&hash, TOKENS, &raw.tokens)?;
            match &raw.client {
                Some(client) => folders.put(&hash, CLIENT, client),
                None => Ok::<(), FileError>(()),
            }
        })
        .await
    }
}
