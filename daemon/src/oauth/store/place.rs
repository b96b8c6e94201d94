//! Where the tokens of an identity are, for people. Reads no token.

use std::path::PathBuf;

use super::folders::exists;
use super::{IN_KEYRING, Store, StoreError, TOKENS, blocking};
use crate::oauth::identity::IdentityHash;

/// Where tokens are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nowhere.
    Nowhere,
    /// In the keyring of the operating system.
    Keyring,
    /// In this file, which these permissions protect.
    File {
        /// Its path.
        path: PathBuf,
        /// Its mode, where there are modes.
        mode: Option<u32>,
    },
}

impl Store {
    /// Says where the tokens of an identity are.
    pub(crate) async fn place(&self, hash: &IdentityHash) -> Result<Place, StoreError> {
        let (folders, hash) = (self.0.clone(), hash.clone());
        blocking(move || {
            let path = folders.path(&hash, TOKENS);
            if exists(&path)? {
                let mode = mode(&path);
                return Ok(Place::File { path, mode });
            }
            let in_keyring = folders.keyring.is_some() && exists(&folders.path(&hash, IN_KEYRING))?;
            Ok(match in_keyring {
                true => Place::Keyring,
                false => Place::Nowhere,
            })
        })
        .await
    }
}

#[cfg(unix)]
fn mode(path: &std::path::Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::symlink_metadata(path).ok()?;
    Some(metadata.mode() & 0o777)
}

#[cfg(not(unix))]
fn mode(_path: &std::path::Path) -> Option<u32> {
    None
}
