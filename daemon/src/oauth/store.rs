//! The token files of this user: `mcp-remote-d1/{hash}_tokens.json`,
//! `{hash}_client_info.json`, and while a sign-in is under way
//! `{hash}_code_verifier.txt` and `{hash}_sign_in.json`. Asynchronous over
//! blocking threads; knows no OAuth requests.
//!
//! What a call has written survives a crash once the call has returned. Tokens and
//! the client that got them are one file; `client_info.json`, as which the next
//! sign-in is made, follows them. The version in the folder's name is the layout's:
//! an upgrade signs nobody out.

mod files;
mod import;
mod unsaved;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use zeroize::Zeroizing;

use self::files::{Loose, Replacement};
use super::grant::Grant;
use super::identity::{ClientChoice, Identity, IdentityHash};
use super::kept_sign_in::KeptSignIn;
use super::registration::Client;

pub(crate) use self::files::FileError;
pub(crate) use self::unsaved::Unsaved;

/// The folder of this layout.
const FOLDER: &str = "mcp-remote-d1";

const TOKENS: &str = "tokens.json";
const CLIENT: &str = "client_info.json";
const VERIFIER: &str = "code_verifier.txt";
const SIGN_IN: &str = "sign_in.json";
/// Marks what has been taken over from the npm package, so that it happens once.
const IMPORTED: &str = "imported.txt";
const LOCK: &str = "lock";

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

impl Stored {
    fn is_empty(&self) -> bool {
        self.grant.is_none() && self.client.is_none() && self.sign_in.is_none()
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
}

/// The right to renew a grant, among all daemons that use the folder.
#[derive(Debug)]
pub(crate) struct GrantLock {
    _file: std::fs::File,
}

/// Room on the disk for new tokens, taken before they are asked for.
#[derive(Debug)]
pub(crate) struct Reserved {
    tokens: Replacement,
    folders: Arc<Folders>,
    hash: IdentityHash,
}

impl Reserved {
    /// Replaces the tokens of the identity that this was taken for.
    pub(crate) async fn put(self, grant: &Grant) -> Result<(), StoreError> {
        let grant = grant.clone();
        blocking(move || {
            self.tokens.commit(&grant.write())?;
            self.folders.keep_client(&self.hash, grant.client.as_ref());
            Ok(())
        })
        .await
    }
}

impl Store {
    /// Names the folder; nothing is read or made yet.
    pub(crate) fn new(base: PathBuf) -> Self {
        let ours = base.join(FOLDER);
        Self(Arc::new(Folders { base, ours }))
    }

    /// Reads everything of an identity; where there is nothing, takes over what
    /// the npm package has, once.
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
            files::sweep(&folders.ours, &[VERIFIER, SIGN_IN], LEFTOVER_AGE);
            let stored = folders.read(&hash)?;
            if !stored.is_empty() || exists(&folders.path(&hash, IMPORTED))? {
                return Ok(stored);
            }
            folders.import(&identity)
        })
        .await
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
            Ok(Reserved {
                tokens: Replacement::prepare(&folders.path(&hash, TOKENS))?,
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
        self.remove(hash, &[SIGN_IN, VERIFIER]).await
    }

    /// Deletes everything of an identity. What the npm package has of it stays
    /// there and is not taken over again.
    pub(crate) async fn forget(&self, hash: &IdentityHash) -> Result<(), StoreError> {
        if self.0.ours.exists() {
            let marked = Zeroizing::new(b"signed out\n".to_vec());
            self.put(hash, IMPORTED, marked).await?;
        }
        self.remove(hash, &[TOKENS, CLIENT, SIGN_IN, VERIFIER])
            .await
    }

    /// Returns the identities that have tokens.
    pub(crate) async fn identities(&self) -> Result<Vec<IdentityHash>, StoreError> {
        let folders = self.0.clone();
        blocking(move || {
            let Ok(entries) = std::fs::read_dir(&folders.ours) else {
                return Ok(Vec::new());
            };
            let names = entries
                .flatten()
                .filter_map(|entry| entry.file_name().into_string().ok());
            let hash =
                |name: String| IdentityHash::parse(name.strip_suffix(TOKENS)?.strip_suffix('_')?);
            Ok(names.filter_map(hash).collect())
        })
        .await
    }

    async fn put(
        &self,
        hash: &IdentityHash,
        name: &str,
        content: Zeroizing<Vec<u8>>,
    ) -> Result<(), StoreError> {
        let (folders, path) = (self.0.clone(), self.0.path(hash, name));
        blocking(move || {
            files::prepare_folder(&folders.ours)?;
            Replacement::prepare(&path)?.commit(&content)
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
            let paths = names.iter().map(|name| folders.path(&hash, name));
            paths
                .map(|path| files::remove(&path))
                .fold(Ok(()), Result::and)
        })
        .await
    }
}

impl Folders {
    fn path(&self, hash: &IdentityHash, name: &str) -> PathBuf {
        self.ours.join(format!("{hash}_{name}"))
    }

    fn read(&self, hash: &IdentityHash) -> Result<Stored, FileError> {
        Ok(Stored {
            grant: self.tokens(hash)?.tokens(),
            sign_in: self.sign_in(hash)?,
            client: self.client(hash)?,
        })
    }

    fn client(&self, hash: &IdentityHash) -> Result<Option<Client>, FileError> {
        let path = self.path(hash, CLIENT);
        let content = usable(files::read(&path, Loose::Repair))?;
        Ok(content.and_then(|content| {
            let document = serde_json::from_slice(&content).ok();
            let client = document.and_then(Client::of_kept);
            if client.is_none() {
                tracing::warn!(file = %path.display(), "a damaged file is ignored: its client will be registered anew");
            }
            client
        }))
    }

    /// What goes wrong is no loss: tokens have their client with them.
    fn keep_client(&self, hash: &IdentityHash, client: Option<&Client>) {
        let Some(client) = client else {
            return;
        };
        if matches!(self.client(hash), Ok(Some(known)) if known == *client) {
            return;
        }
        let content = serde_json::to_vec_pretty(&client.to_keep());
        let content = Zeroizing::new(content.expect("a map of JSON is JSON"));
        let kept = Replacement::prepare(&self.path(hash, CLIENT));
        if let Err(error) = kept.and_then(|replacement| replacement.commit(&content)) {
            tracing::warn!(%error, "a client could not be stored: the next sign-in may register another one");
        }
    }

    /// Reads a sign-in under way; one that is not whole is over.
    fn sign_in(&self, hash: &IdentityHash) -> Result<Option<KeptSignIn>, FileError> {
        let read = |name| usable(files::read(&self.path(hash, name), Loose::Repair));
        let kept = read(SIGN_IN)?.zip(read(VERIFIER)?);
        Ok(kept.and_then(|(content, verifier)| KeptSignIn::read(&content, &verifier)))
    }

    fn tokens(&self, hash: &IdentityHash) -> Result<OnDisk, FileError> {
        let path = self.path(hash, TOKENS);
        let read = files::read(&path, Loose::Repair);
        if let Ok(None) = read {
            return Ok(OnDisk::Nothing);
        }
        let Some(content) = usable(read)? else {
            return Ok(OnDisk::Damaged);
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

    fn import(&self, identity: &Identity) -> Result<Stored, FileError> {
        let hash = &identity.hash();
        let Some(mut found) = import::find(&self.base, &identity.npm_hashes()) else {
            return Ok(Stored::default());
        };
        if let ClientChoice::PreRegistered { .. } = identity.client {
            // Such a client is never stored there: what is stored is of earlier days.
            found.client = None;
        }
        found.grant = found.grant.map(|grant| grant.got_by(found.client.clone()));
        if let Some(grant) = &found.grant {
            Replacement::prepare(&self.path(hash, TOKENS))?.commit(&grant.write())?;
        }
        self.keep_client(hash, found.client.as_ref());
        let mark = format!("{}\n", found.folder);
        Replacement::prepare(&self.path(hash, IMPORTED))?.commit(mark.as_bytes())?;
        tracing::info!(
            folder = found.folder,
            "the sign-in of the npm package was taken over; from now on its tokens are renewed here"
        );
        Ok(Stored {
            grant: found.grant,
            client: found.client,
            sign_in: None,
        })
    }
}

/// A file that nobody should trust is as good as none: a sign-in replaces it.
fn usable(
    content: Result<Option<Zeroizing<Vec<u8>>>, FileError>,
) -> Result<Option<Zeroizing<Vec<u8>>>, FileError> {
    match content {
        Err(FileError::Io(path, error)) => Err(FileError::Io(path, error)),
        Err(error) => {
            tracing::warn!(%error, "a file of tokens is ignored");
            Ok(None)
        }
        content => content,
    }
}

/// Only "there is none" says that there is none.
fn exists(path: &std::path::Path) -> Result<bool, FileError> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(FileError::Io(path.to_owned(), error)),
    }
}

fn written(path: &std::path::Path) -> Option<SystemTime> {
    path.metadata()
        .and_then(|metadata| metadata.modified())
        .ok()
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
mod tests;
