//! The token files of this user: `mcp-remote-d1/{hash}_tokens.json`,
//! `{hash}_client_info.json`, and while a sign-in is under way
//! `{hash}_code_verifier.txt` and `{hash}_sign_in.json`, or `{hash}_device_code.json`;
//! of an identity provider perhaps `{hash}_subject.json`.
//! Asynchronous over blocking threads; knows no OAuth requests.
//!
//! What a call has written survives a crash once the call has returned. Tokens and
//! the client that got them are one file; `client_info.json`, as which the next
//! sign-in is made, follows them. The version in the folder's name is the layout's:
//! an upgrade signs nobody out.

pub(crate) mod files;
mod folders;
mod import;
mod keyring;
pub(crate) mod moving;
mod pinned;
mod place;
mod subject;
mod unsaved;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use self::files::Replacement;
use self::folders::exists;
use self::keyring::Keyring;
use super::grant::Grant;
use super::identity::{Identity, IdentityHash};
use super::kept_device::KeptDevice;
use super::kept_sign_in::KeptSignIn;
use super::registration::Client;

pub(crate) use self::files::FileError;
pub(crate) use self::keyring::TokenStoreKind;
pub(crate) use self::place::Place;
pub(crate) use self::subject::{Replaced, Successor};
pub(crate) use self::unsaved::Unsaved;

/// The folder of this layout.
const FOLDER: &str = "mcp-remote-d1";

const TOKENS: &str = "tokens.json";
const CLIENT: &str = "client_info.json";
const VERIFIER: &str = "code_verifier.txt";
const SIGN_IN: &str = "sign_in.json";
const DEVICE: &str = "device_code.json";
/// Belongs to an identity provider, not to who signs in there.
const SUBJECT: &str = "subject.json";
/// Marks what has been taken over from the npm package, so that it happens once.
const IMPORTED: &str = "imported.txt";
const LOCK: &str = "lock";
/// Says of an identity that its tokens are in the keyring, which lists nothing.
const IN_KEYRING: &str = "keyring.txt";
/// The same of what replaced the token of a user's file.
const SUBJECT_IN_KEYRING: &str = "subject_keyring.txt";

/// Age at which what a killed daemon left of a sign-in is swept.
const LEFTOVER_AGE: Duration = Duration::from_secs(3600);

/// How often a lock that another daemon holds is tried.
const LOCK_INTERVAL: Duration = Duration::from_millis(50);

/// How long it is tried: longer than a refresh holds it, which may send four requests
/// of 20 s at worst.
const LOCK_TIMEOUT: Duration = Duration::from_secs(90);

/// Why the store cannot be used. One sentence, no secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// A file or folder.
    #[error("the token store failed: {0}")]
    File(#[from] FileError),
    /// Another daemon that uses the same folder.
    #[error("the token store failed: another daemon has held {} for {} s", .0.display(), LOCK_TIMEOUT.as_secs())]
    Locked(PathBuf),
    /// The daemon is stopping.
    #[error("the token store failed: the daemon is stopping")]
    Stopping,
}

/// What is kept of an identity.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    /// Its tokens.
    pub(crate) grant: Option<Grant>,
    /// The client of its next sign-in; tokens have their own.
    pub(crate) client: Option<Client>,
    /// The sign-in that was under way when the last daemon ended.
    pub(crate) sign_in: Option<KeptSignIn>,
    /// Likewise, by code.
    pub(crate) device: Option<KeptDevice>,
    /// Whether the tokens have just been taken over from the npm package.
    pub(crate) taken_over: bool,
}

/// What there is of tokens.
#[derive(Debug)]
pub(crate) enum OnDisk {
    /// There is no such file: nobody is signed in, or somebody has signed out.
    Nothing,
    /// A file that we would not have written. Whoever has its tokens writes it anew.
    Damaged,
    /// They.
    Tokens(Box<Grant>),
}

impl OnDisk {
    /// Returns the tokens, if they can be read.
    pub(crate) fn tokens(self) -> Option<Grant> {
        match self {
            Self::Tokens(grant) => Some(*grant),
            Self::Nothing | Self::Damaged => None,
        }
    }
}

/// The files. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Store(Arc<Folders>);

#[derive(Debug)]
struct Folders {
    /// `~/.mcp-auth`.
    base: PathBuf,
    /// Ours in it.
    ours: PathBuf,
    /// Where secrets are kept instead, if not in files.
    keyring: Option<Arc<dyn Keyring>>,
}

/// The right to renew a grant, among all daemons that use the folder.
#[derive(Debug)]
pub(crate) struct GrantLock {
    _file: std::fs::File,
}

/// Room for new tokens, taken before they are asked for.
#[derive(Debug)]
pub(crate) struct Reserved {
    /// `None`: in the keyring.
    room: Option<Replacement>,
    folders: Arc<Folders>,
    hash: IdentityHash,
}

impl Reserved {
    /// Replaces the tokens of the identity that this was taken for.
    pub(crate) async fn put(self, grant: &Grant) -> Result<(), StoreError> {
        let grant = grant.clone();
        blocking(move || {
            let content = grant.write();
            match self.room {
                Some(replacement) => replacement.commit(&content)?,
                None => self.folders.put(&self.hash, TOKENS, &content)?,
            }
            self.folders.keep_client(&self.hash, grant.client.as_ref());
            Ok(())
        })
        .await
    }
}

impl Store {
    /// Names the folder; nothing is read or made yet.
    pub(crate) fn new(base: PathBuf, kind: TokenStoreKind) -> Self {
        Self::with(
            base,
            match kind {
                TokenStoreKind::Files => None,
                TokenStoreKind::Keyring => Some(keyring::system()),
            },
        )
    }

    fn with(base: PathBuf, keyring: Option<Arc<dyn Keyring>>) -> Self {
        let ours = base.join(FOLDER);
        Self(Arc::new(Folders {
            base,
            ours,
            keyring,
        }))
    }

    /// Reads everything of an identity; where there are no tokens, takes over those
    /// that the npm package has, once, whatever has been tried here before.
    pub(crate) async fn load(&self, identity: &Identity) -> Result<Stored, StoreError> {
        let (folders, identity) = (self.0.clone(), identity.clone());
        blocking(move || {
            let hash = identity.hash();
            let is_in_npm = || import::find(&folders.base, &identity.npm_hashes()).is_some();
            if !exists(&folders.ours)? && !is_in_npm() {
                // Nobody has signed in anywhere: nothing is made for it.
                return Ok(Stored::default());
            }
            files::prepare_folder(&folders.ours)?;
            files::sweep(&folders.ours, &[VERIFIER, SIGN_IN, DEVICE], LEFTOVER_AGE);
            let stored = folders.read(&hash)?;
            if stored.grant.is_some() || exists(&folders.path(&hash, IMPORTED))? {
                return Ok(stored);
            }
            folders.import(&identity, stored)
        })
        .await
    }

    /// Reads everything of an identity of which only the files are known.
    pub(crate) async fn read(&self, hash: &IdentityHash) -> Result<Stored, StoreError> {
        let (folders, hash) = (self.0.clone(), hash.clone());
        blocking(move || folders.read(&hash)).await
    }

    /// Reads the tokens again: another daemon may have renewed them.
    pub(crate) async fn tokens(&self, hash: &IdentityHash) -> Result<OnDisk, StoreError> {
        let (folders, hash) = (self.0.clone(), hash.clone());
        blocking(move || folders.tokens(&hash)).await
    }

    /// Takes the right to renew a grant, waiting for whoever has it.
    pub(crate) async fn lock(&self, hash: &IdentityHash) -> Result<GrantLock, StoreError> {
        let path = self.0.path(hash, LOCK);
        let begun = tokio::time::Instant::now();
        loop {
            let (folders, trying) = (self.0.clone(), path.clone());
            let locked = blocking(move || {
                files::prepare_folder(&folders.ours)?;
                try_lock(&trying).map_err(|error| FileError::Io(trying, error))
            });
            if let Some(file) = locked.await? {
                return Ok(GrantLock { _file: file });
            }
            if begun.elapsed() > LOCK_TIMEOUT {
                return Err(StoreError::Locked(path));
            }
            tokio::time::sleep(LOCK_INTERVAL).await;
        }
    }

    /// Takes room for new tokens. Fails where they could not be kept, before a
    /// server has given any.
    pub(crate) async fn reserve(&self, hash: &IdentityHash) -> Result<Reserved, StoreError> {
        let (folders, hash) = (self.0.clone(), hash.clone());
        blocking(move || {
            files::prepare_folder(&folders.ours)?;
            let room = match folders.keyring {
                Some(_) => {
                    // What can be read can be written, as far as one can know.
                    folders.secret(&hash, TOKENS)?;
                    None
                }
                None => Some(Replacement::prepare(&folders.path(&hash, TOKENS))?),
            };
            Ok(Reserved {
                room,
                folders,
                hash,
            })
        })
        .await
    }

    /// Keeps tokens.
    pub(crate) async fn put_grant(
        &self,
        hash: &IdentityHash,
        grant: &Grant,
    ) -> Result<(), StoreError> {
        self.reserve(hash).await?.put(grant).await
    }

    /// Keeps a sign-in that begins.
    pub(crate) async fn put_sign_in(
        &self,
        hash: &IdentityHash,
        sign_in: &KeptSignIn,
    ) -> Result<(), StoreError> {
        self.remove(hash, &[DEVICE]).await?;
        let verifier = sign_in.pending.verifier.reveal().clone().into_bytes();
        self.put(hash, VERIFIER, Zeroizing::new(verifier)).await?;
        self.update_sign_in(hash, sign_in).await
    }

    /// Keeps how far a sign-in is that has been kept.
    pub(crate) async fn update_sign_in(
        &self,
        hash: &IdentityHash,
        sign_in: &KeptSignIn,
    ) -> Result<(), StoreError> {
        self.put(hash, SIGN_IN, sign_in.write()).await
    }

    /// Keeps a sign-in by code that begins. There is one sign-in at a time.
    pub(crate) async fn put_device(
        &self,
        hash: &IdentityHash,
        device: &KeptDevice,
    ) -> Result<(), StoreError> {
        self.remove(hash, &[SIGN_IN, VERIFIER]).await?;
        self.put(hash, DEVICE, device.write()).await
    }

    /// Deletes the tokens.
    pub(crate) async fn remove_grant(&self, hash: &IdentityHash) -> Result<(), StoreError> {
        self.remove(hash, &[TOKENS]).await
    }

    /// Deletes the client of the next sign-in, which has to be registered anew.
    pub(crate) async fn remove_client(&self, hash: &IdentityHash) -> Result<(), StoreError> {
        self.remove(hash, &[CLIENT]).await
    }

    /// Deletes what was kept of a sign-in.
    pub(crate) async fn remove_sign_in(&self, hash: &IdentityHash) -> Result<(), StoreError> {
        self.remove(hash, &[SIGN_IN, VERIFIER, DEVICE]).await
    }

    /// Deletes everything of an identity. What the npm package has of it stays
    /// there and is not taken over again.
    pub(crate) async fn forget(&self, hash: &IdentityHash) -> Result<(), StoreError> {
        if self.0.ours.exists() {
            let marked = Zeroizing::new(b"signed out\n".to_vec());
            self.put(hash, IMPORTED, marked).await?;
        }
        self.remove(hash, &[TOKENS, CLIENT, SIGN_IN, VERIFIER, DEVICE])
            .await
    }

    /// Returns the identities that have tokens.
    pub(crate) async fn identities(&self) -> Result<Vec<IdentityHash>, StoreError> {
        self.listed(TOKENS, IN_KEYRING).await
    }

    /// Says whether there are tokens in the keyring, where that is not asked.
    pub(crate) async fn leaves_out_keyring(&self) -> Result<bool, StoreError> {
        let marked = self.listed(IN_KEYRING, IN_KEYRING).await?;
        Ok(self.0.keyring.is_none() && !marked.is_empty())
    }

    /// Returns those of whom there is such a file, or what says that it is in the
    /// keyring. A file moves there when it is read.
    async fn listed(
        &self,
        name: &'static str,
        in_keyring: &'static str,
    ) -> Result<Vec<IdentityHash>, StoreError> {
        let folders = self.0.clone();
        blocking(move || {
            let Ok(entries) = std::fs::read_dir(&folders.ours) else {
                return Ok(Vec::new());
            };
            let names = entries
                .flatten()
                .filter_map(|entry| entry.file_name().into_string().ok());
            let in_keyring = folders.keyring.as_ref().map(|_| in_keyring);
            let hash = |file: String| {
                let ends = [Some(name), in_keyring].into_iter().flatten();
                let digits = ends.filter_map(|end| file.strip_suffix(end)?.strip_suffix('_'));
                let mut hashes =
                    digits.filter_map(|digits| IdentityHash::parse(&folders.base, digits));
                hashes.next()
            };
            let listed: BTreeSet<_> = names.filter_map(hash).collect();
            Ok(listed.into_iter().collect())
        })
        .await
    }

    async fn put(
        &self,
        hash: &IdentityHash,
        name: &'static str,
        content: Zeroizing<Vec<u8>>,
    ) -> Result<(), StoreError> {
        let (folders, hash) = (self.0.clone(), hash.clone());
        blocking(move || {
            files::prepare_folder(&folders.ours)?;
            folders.put(&hash, name, &content)
        })
        .await
    }

    async fn remove(
        &self,
        hash: &IdentityHash,
        names: &'static [&'static str],
    ) -> Result<(), StoreError> {
        let (folders, hash) = (self.0.clone(), hash.clone());
        blocking(move || {
            let removed = names.iter().map(|name| folders.remove(&hash, name));
            removed.fold(Ok(()), Result::and)
        })
        .await
    }
}

/// Returns the file if the lock is ours. It is never deleted.
fn try_lock(path: &std::path::Path) -> std::io::Result<Option<std::fs::File>> {
    let mut options = std::fs::File::options();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        options.mode(0o600).custom_flags(flags.bits().cast_signed());
    }
    let file = options.open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FileError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(StoreError::Stopping),
    }
}

#[cfg(all(test, unix))]
pub(crate) mod tests;
