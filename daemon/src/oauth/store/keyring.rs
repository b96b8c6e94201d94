//! The keyring of the operating system, for those who want their tokens there: an
//! entry for each file, named like it. Blocks.
//!
//! There is no fall back to files: where the keyring cannot be used nothing is kept.

use std::fmt::Debug;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::FileError;

/// Where tokens are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum TokenStoreKind {
    /// In files of the user.
    #[default]
    Files,
    /// In the keyring of the operating system.
    Keyring,
}

impl TokenStoreKind {
    /// Reads its word in the configuration.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "file" | "files" => Some(Self::Files),
            "keyring" => Some(Self::Keyring),
            _ => None,
        }
    }
}

/// Named secrets.
pub(super) trait Keyring: Debug + Send + Sync {
    /// Returns a secret.
    fn get(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, String>;

    /// Keeps a secret in place of the last one of this name.
    fn put(&self, name: &str, secret: &[u8]) -> Result<(), String>;

    /// Forgets a secret; there may be none.
    fn remove(&self, name: &str) -> Result<(), String>;
}

/// Returns the system's.
pub(super) fn system() -> Arc<dyn Keyring> {
    Arc::new(System)
}

/// Says what to do where a keyring fails.
pub(super) fn failed(why: String) -> FileError {
    FileError::Keyring(why)
}

#[derive(Debug)]
struct System;

/// What the entries of this program are found under.
#[cfg(feature = "keyring")]
const SERVICE: &str = "mcp-remote";

#[cfg(feature = "keyring")]
impl Keyring for System {
    fn get(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
        match entry(name)?.get_secret() {
            Ok(secret) => Ok(Some(Zeroizing::new(secret))),
            Err(keyring::Error::NoEntry) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    fn put(&self, name: &str, secret: &[u8]) -> Result<(), String> {
        let entry = entry(name)?;
        entry.set_secret(secret).map_err(|error| error.to_string())
    }

    fn remove(&self, name: &str) -> Result<(), String> {
        match entry(name)?.delete_credential() {
            Ok(()) | Err(keyring::Error::NoEntry) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}

#[cfg(feature = "keyring")]
fn entry(name: &str) -> Result<keyring::Entry, String> {
    keyring::Entry::new(SERVICE, name).map_err(|error| error.to_string())
}

#[cfg(not(feature = "keyring"))]
impl Keyring for System {
    fn get(&self, _name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
        Err(NOT_BUILT.into())
    }

    fn put(&self, _name: &str, _secret: &[u8]) -> Result<(), String> {
        Err(NOT_BUILT.into())
    }

    fn remove(&self, _name: &str) -> Result<(), String> {
        Err(NOT_BUILT.into())
    }
}

#[cfg(not(feature = "keyring"))]
const NOT_BUILT: &str = "this mcp-remoted was built without it (cargo build --features keyring)";
