//! What is kept of an identity, read and written: in its files, or in the keyring.
//! Blocks.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use zeroize::Zeroizing;

use super::files::{self, Loose, Replacement};
use super::{
    CLIENT, DEVICE, FileError, Folders, IMPORTED, IN_KEYRING, OnDisk, SIGN_IN, SUBJECT,
    SUBJECT_IN_KEYRING, Stored, TOKENS, VERIFIER, import, keyring,
};
use crate::oauth::grant::Grant;
use crate::oauth::identity::{ClientChoice, Identity, IdentityHash};
use crate::oauth::kept_device::KeptDevice;
use crate::oauth::kept_sign_in::KeptSignIn;
use crate::oauth::registration::Client;

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
                if let Some(mark) = mark(name) {
                    write(mark, b"")?;
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
            if let Some(mark) = mark(name) {
                files::remove(&self.path(hash, mark))?;
            }
        }
        files::remove(&self.path(hash, name))
    }

    pub(super) fn read(&self, hash: &IdentityHash) -> Result<Stored, FileError> {
        Ok(Stored {
            grant: self.tokens(hash)?.tokens(),
            sign_in: self.sign_in(hash)?,
            device: self.device(hash)?,
            client: self.client(hash)?,
            taken_over: false,
        })
    }

    fn client(&self, hash: &IdentityHash) -> Result<Option<Client>, FileError> {
        let content = self.secret(hash, CLIENT)?;
        Ok(content.and_then(|content| {
            let document = serde_json::from_slice(&content).ok();
            let client = document.and_then(Client::of_kept);
            if client.is_none() {
                let path = self.path(hash, CLIENT);
                tracing::warn!(file = %path.display(), "a damaged file is ignored: its client will be registered anew");
            }
            client
        }))
    }

    /// What goes wrong is no loss: tokens have their client with them.
    pub(super) fn keep_client(&self, hash: &IdentityHash, client: Option<&Client>) {
        let Some(client) = client else {
            return;
        };
        if matches!(self.client(hash), Ok(Some(known)) if known == *client) {
            return;
        }
        let content = serde_json::to_vec_pretty(&client.to_keep());
        let content = Zeroizing::new(content.expect("a map of JSON is JSON"));
        if let Err(error) = self.put(hash, CLIENT, &content) {
            tracing::warn!(%error, "a client could not be stored: the next sign-in may register another one");
        }
    }

    /// Reads a sign-in under way; one that is not whole is over.
    fn sign_in(&self, hash: &IdentityHash) -> Result<Option<KeptSignIn>, FileError> {
        let kept = self.secret(hash, SIGN_IN)?;
        let kept = kept.zip(self.secret(hash, VERIFIER)?);
        Ok(kept.and_then(|(content, verifier)| KeptSignIn::read(&content, &verifier)))
    }

    fn device(&self, hash: &IdentityHash) -> Result<Option<KeptDevice>, FileError> {
        let kept = self.secret(hash, DEVICE)?;
        Ok(kept.and_then(|content| KeptDevice::read(&content)))
    }

    pub(super) fn tokens(&self, hash: &IdentityHash) -> Result<OnDisk, FileError> {
        let path = self.path(hash, TOKENS);
        let Some(content) = self.secret(hash, TOKENS)? else {
            // A file that is there all the same is not to be trusted.
            return Ok(match exists(&path)? {
                true => OnDisk::Damaged,
                false => OnDisk::Nothing,
            });
        };
        let Some(grant) = Grant::read(&content, written(&path)) else {
            tracing::warn!(file = %path.display(), "a damaged file of tokens is ignored");
            return Ok(OnDisk::Damaged);
        };
        Ok(OnDisk::Tokens(Box::new(match grant.client {
            Some(_) => grant,
            // Written by somebody who keeps the two apart.
            None => grant.got_by(self.client(hash)?),
        })))
    }

    /// Takes over what the npm package has. A client without tokens is of use only
    /// where there is none.
    pub(super) fn import(&self, identity: &Identity, ours: Stored) -> Result<Stored, FileError> {
        let hash = &identity.hash();
        let found = import::find(&self.base, &identity.npm_hashes())
            .filter(|found| found.grant.is_some() || ours.client.is_none());
        let Some(mut found) = found else {
            return Ok(ours);
        };
        if let ClientChoice::PreRegistered { .. } = identity.client {
            // Such a client is never stored there: what is stored is of earlier days.
            found.client = None;
        }
        let Some(grant) = found.grant else {
            self.keep_client(hash, found.client.as_ref());
            return Ok(Stored {
                client: found.client,
                ..ours
            });
        };
        let grant = grant.got_by(found.client.clone());
        self.put(hash, TOKENS, &grant.write())?;
        self.keep_client(hash, found.client.as_ref());
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
            device: None,
            taken_over: true,
        })
    }
}

/// Returns the file that says of a secret that it is in the keyring.
fn mark(name: &str) -> Option<&'static str> {
    match name {
        TOKENS => Some(IN_KEYRING),
        SUBJECT => Some(SUBJECT_IN_KEYRING),
        _ => None,
    }
}

/// Only "there is none" says that there is none.
pub(super) fn exists(path: &std::path::Path) -> Result<bool, FileError> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(FileError::Io(path.to_owned(), error)),
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
