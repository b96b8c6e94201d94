//! What is kept of an identity, read and written: in its files, or in the keyring.
//! Blocks.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use zeroize::Zeroizing;

use super::files::{self, Loose, Replacement};
use super::{
    CLIENT, FileError, Folders, IMPORTED, IN_KEYRING, SIGN_IN, Stored, TOKENS, VERIFIER, import,
    keyring,
};
use crate::oauth::grant::Grant;
use crate::oauth::identity::IdentityHash;
use crate::oauth::kept_sign_in::KeptSignIn;

impl Folders {
    pub(super) fn path(&self, hash: &IdentityHash, name: &str) -> PathBuf {
        self.ours.join(format!("{hash}_{name}"))
    }

    /// Reads a secret. What is still in a file although the keyring is wanted moves
    /// there.
    pub(super) fn secret(
        &self,
        hash: &IdentityHash,
        name: &str,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, FileError> {
        let path = self.path(hash, name);
        let Some(keyring) = &self.keyring else {
            return usable(files::read(&path, Loose::Repair));
        };
        let kept = keyring.get(&entry(&path)).map_err(keyring::failed)?;
        if kept.is_some() {
            return Ok(kept);
        }
        let Some(content) = usable(files::read(&path, Loose::Repair))? else {
            return Ok(None);
        };
        self.put(hash, name, &content)?;
        files::remove(&path)?;
        tracing::info!(file = %path.display(), "a secret was moved from a file to the keyring");
        Ok(Some(content))
    }

    pub(super) fn put(
        &self,
        hash: &IdentityHash,
        name: &str,
        content: &[u8],
    ) -> Result<(), FileError> {
        let write = |name, content| Replacement::prepare(&self.path(hash, name))?.commit(content);
        match &self.keyring {
            Some(keyring) if name != IMPORTED => {
                if name == TOKENS {
                    write(IN_KEYRING, b"")?;
                }
                let kept = keyring.put(&entry(&self.path(hash, name)), content);
                kept.map_err(keyring::failed)
            }
            _ => write(name, content),
        }
    }

    pub(super) fn remove(&self, hash: &IdentityHash, name: &str) -> Result<(), FileError> {
        if let Some(keyring) = &self.keyring {
            let removed = keyring.remove(&entry(&self.path(hash, name)));
            removed.map_err(keyring::failed)?;
            if name == TOKENS {
                files::remove(&self.path(hash, IN_KEYRING))?;
            }
        }
        files::remove(&self.path(hash, name))
    }

    pub(super) fn is_imported(&self, hash: &IdentityHash) -> bool {
        std::fs::symlink_metadata(self.path(hash, IMPORTED)).is_ok()
    }

    pub(super) fn read(&self, hash: &IdentityHash) -> Result<Stored, FileError> {
        let path = self.path(hash, CLIENT);
        let content = self.secret(hash, CLIENT)?;
        let client = content.and_then(|content| {
            let document = serde_json::from_slice(&content).ok();
            if document.is_none() {
                tracing::warn!(file = %path.display(), "a damaged file is ignored: its client will be registered anew");
            }
            document
        });
        Ok(Stored {
            grant: self.grant(hash)?,
            sign_in: self.sign_in(hash)?,
            client,
            taken_over: false,
        })
    }

    /// Reads a sign-in under way; one that is not whole is over.
    fn sign_in(&self, hash: &IdentityHash) -> Result<Option<KeptSignIn>, FileError> {
        let kept = self.secret(hash, SIGN_IN)?;
        let kept = kept.zip(self.secret(hash, VERIFIER)?);
        Ok(kept.and_then(|(content, verifier)| KeptSignIn::read(&content, &verifier)))
    }

    pub(super) fn grant(&self, hash: &IdentityHash) -> Result<Option<Grant>, FileError> {
        let path = self.path(hash, TOKENS);
        let Some(content) = self.secret(hash, TOKENS)? else {
            return Ok(None);
        };
        let grant = Grant::read(&content, written(&path));
        if grant.is_none() {
            tracing::warn!(file = %path.display(), "a damaged file of tokens is ignored: somebody has to sign in again");
        }
        Ok(grant)
    }

    /// Tokens last: whoever finds them finds their client as well. A client without
    /// tokens is of use only where there is none.
    pub(super) fn import(
        &self,
        hash: &IdentityHash,
        npm_hashes: &[String],
        ours: Stored,
    ) -> Result<Stored, FileError> {
        let found = import::find(&self.base, npm_hashes)
            .filter(|found| found.grant.is_some() || ours.client.is_none());
        let Some(found) = found else {
            return Ok(ours);
        };
        match &found.client {
            Some(client) => {
                let content = serde_json::to_vec_pretty(client).expect("a map of JSON is JSON");
                self.put(hash, CLIENT, &content)?;
            }
            // Another client could do nothing with these tokens.
            None => self.remove(hash, CLIENT)?,
        }
        let Some(grant) = found.grant else {
            return Ok(Stored {
                client: found.client,
                ..ours
            });
        };
        self.put(hash, TOKENS, &grant.write())?;
        let mark = format!("{}\n", found.folder);
        Replacement::prepare(&self.path(hash, IMPORTED))?.commit(mark.as_bytes())?;
        tracing::info!(
            folder = found.folder,
            "the sign-in of the npm package was taken over; from now on its tokens are renewed here"
        );
        Ok(Stored {
            grant: Some(grant),
            client: found.client,
            sign_in: None,
            taken_over: true,
        })
    }
}

/// A file that nobody should trust is as good as none: a sign-in replaces it.
fn usable(
    content: Result<Option<Zeroizing<Vec<u8>>>, FileError>,
) -> Result<Option<Zeroizing<Vec<u8>>>, FileError> {
    match content {
        Err(error @ (FileError::Io(..) | FileError::Keyring(_))) => Err(error),
        Err(error) => {
            tracing::warn!(%error, "a file of tokens is ignored");
            Ok(None)
        }
        content => content,
    }
}

/// Names a secret in the keyring after the file that it is instead of: there is one
/// keyring for all folders.
fn entry(path: &Path) -> String {
    path.display().to_string()
}

pub(super) fn written(path: &std::path::Path) -> Option<SystemTime> {
    path.metadata()
        .and_then(|metadata| metadata.modified())
        .ok()
}
