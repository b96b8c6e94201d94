//! A file with a private key: where it is, and reading it, which happens each time
//! that something is signed, so that a replaced key is used at once.

use std::path::{Path, PathBuf};

use super::key::{KeyError, SigningKey};
use crate::oauth::secret_file::{self, Access, SecretFileError};

/// Why there is no key. One sentence, no secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyFileError {
    /// The file.
    #[error("the key file cannot be used: {0}")]
    File(#[from] SecretFileError),
    /// What it holds.
    #[error("the key in {} cannot be used: {}", .0.display(), .1)]
    Key(PathBuf, #[source] KeyError),
}

/// A file with a private key, in PEM or as a JWK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyFile(PathBuf);

impl KeyFile {
    /// Names it; nothing is read yet.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Returns where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Reads the key. Refuses a file that others can read.
    pub(crate) async fn read(&self) -> Result<SigningKey, KeyFileError> {
        let text = secret_file::read(&self.0, Access::OwnerOnly).await?;
        SigningKey::from_text(&text).map_err(|error| KeyFileError::Key(self.0.clone(), error))
    }
}
