//! The one thread that owns the database and blocks. Records carry the version
//! of their layout; what does not read is dropped.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use ring::rand::{SecureRandom as _, SystemRandom};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};

use super::{Command, Contents, InstallSecret};
use crate::secret::Secret;

/// The database's folder under the state folder; the number is the layout's.
pub(super) const FOLDER: &str = "store-v1";

/// The tree of servers.
const SERVERS: &str = "servers";

/// The tree of sessions.
const SESSIONS: &str = "sessions";

/// The tree of what there is one of.
const META: &str = "meta";

/// The key of the installation's secret in it.
const SECRET: &str = "secret";

/// The key of the daemon that opened it last, in it.
const STARTED: &str = "started";

/// First byte of each record: the version of its layout, JSON by serde.
const RECORD_VERSION: u8 = 1;

/// Cache of the database in bytes: it holds a few KiB.
const CACHE: u64 = 512 * 1024;

/// Size of a log segment in bytes; the default of 512 KiB is made for more.
const SEGMENT: usize = 64 * 1024;

/// What the database says if another process has it.
const LOCKED: &str = "could not acquire lock";

/// How long it is waited for: a daemon that ends may let go of it last.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);

/// Pause between attempts.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// The open database.
struct Database {
    database: sled::Db,
    servers: sled::Tree,
    sessions: sled::Tree,
    meta: sled::Tree,
}

/// Serves commands until it is closed or all handles have gone.
pub(super) fn run(
    folder: &Path,
    opened: oneshot::Sender<Contents>,
    mut commands: mpsc::Receiver<Command>,
) {
    let Some(database) = open_or_replace(folder) else {
        return;
    };
    if opened.send(database.contents()).is_err() {
        return;
    }
    database.warm_up();
    while let Some(command) = commands.blocking_recv() {
        // What waits already is written together: one flush for all of it.
        let waiting = std::iter::from_fn(|| commands.try_recv().ok());
        let batch: Vec<Command> = std::iter::once(command).chain(waiting).collect();
        // The database may panic on a damaged page that it had not met before.
        let served = catch_unwind(AssertUnwindSafe(|| database.serve(batch)));
        match served {
            Ok(None) => {}
            Ok(Some(closed)) => {
                drop(database);
                // Whoever asked may have stopped waiting.
                let _gone = closed.send(());
                return;
            }
            Err(_) => {
                tracing::warn!("the storage failed: nothing more is kept across restarts");
                return;
            }
        }
    }
}

impl Database {
    /// Serves commands and flushes once. After the last, returns whom to tell.
    fn serve(&self, commands: Vec<Command>) -> Option<oneshot::Sender<()>> {
        let (mut flush, mut flushed, mut closed) = (false, Vec::new(), None);
        let mut written = Ok(());
        for command in commands {
            flush |= !matches!(command, Command::RemoveSession(_));
            let result = match command {
                Command::Put(records) => put(&self.servers, &records),
                Command::PutSession(session, waiting) => {
                    flushed.extend(waiting);
                    put(&self.sessions, &[*session])
                }
                Command::RemoveSession(lease) => self.sessions.remove(lease).map(drop),
                Command::Close(waiting) => {
                    closed = Some(waiting);
                    Ok(())
                }
            };
            written = written.and(result);
        }
        if flush {
            written = written.and_then(|()| self.database.flush().map(drop));
        }
        if let Err(error) = written {
            tracing::warn!(%error, "the storage could not be written");
        }
        for waiting in flushed {
            // Whoever asked may have stopped waiting.
            let _gone = waiting.send(());
        }
        closed
    }

    /// Writes something, since the first write is slow: the database starts its
    /// threads for it, and they spin until the last has begun. On one processor it
    /// is the last at once, and the others can serve those who wait meanwhile.
    fn warm_up(&self) {
        #[cfg(target_os = "linux")]
        let all = pin_to_one_processor();
        let written = self.meta.insert(STARTED, &std::process::id().to_be_bytes());
        if let Err(error) = written.and_then(|_| self.database.flush()) {
            tracing::warn!(%error, "the storage could not be written");
        }
        #[cfg(target_os = "linux")]
        if let Some(all) = all {
            // Failing leaves this thread where it is, which does no harm.
            let _restored = rustix::thread::sched_setaffinity(None, &all);
        }
    }

    fn contents(&self) -> Contents {
        Contents {
            servers: read(&self.servers),
            sessions: read(&self.sessions),
            secret: self.secret(),
        }
    }

    /// Returns the installation's secret, made when it is first asked for. It is
    /// on the disk before anything that depends on it.
    fn secret(&self) -> InstallSecret {
        let kept = self.meta.get(SECRET).ok().flatten();
        if let Some(Ok(secret)) = kept.map(|kept| kept.as_ref().try_into()) {
            return Secret::new(secret);
        }
        let secret = new_secret();
        if let Err(error) = self.meta.insert(SECRET, secret.reveal().as_slice()) {
            tracing::warn!(%error, "the storage could not be written");
        }
        secret
    }
}

/// Keeps this thread, and those that it starts, on the processor that it is on.
/// Returns where it could go before.
#[cfg(target_os = "linux")]
fn pin_to_one_processor() -> Option<rustix::thread::CpuSet> {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
    let all = sched_getaffinity(None).ok()?;
    let mut one = CpuSet::new();
    one.set(sched_getcpu());
    sched_setaffinity(None, &one).ok()?;
    Some(all)
}

/// Makes a secret.
pub(super) fn new_secret() -> InstallSecret {
    let mut secret = [0; 32];
    SystemRandom::new()
        .fill(&mut secret)
        .expect("the system has random numbers");
    Secret::new(secret)
}

fn put<T: Serialize>(tree: &sled::Tree, records: &[(String, T)]) -> sled::Result<()> {
    records
        .iter()
        .try_for_each(|(key, record)| tree.insert(key, encode(record)).map(drop))
}

fn open_or_replace(folder: &Path) -> Option<Database> {
    let mut waited = Duration::ZERO;
    let damage = loop {
        match open(folder) {
            Ok(opened) => return Some(opened),
            // The daemon before us has not let go of it yet.
            Err(OpenError::Locked) if waited < LOCK_PATIENCE => {
                std::thread::sleep(LOCK_PAUSE);
                waited += LOCK_PAUSE;
            }
            Err(OpenError::Damaged(damage)) => break damage,
            Err(error) => {
                tracing::warn!(%error, "no storage: nothing is kept across restarts");
                return None;
            }
        }
    };
    let aside = folder.with_extension("damaged");
    let moved = match std::fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => std::fs::rename(folder, &aside),
    };
    if let Err(error) = moved {
        tracing::warn!(%damage, %error, "the storage is damaged and cannot be moved aside");
        return None;
    }
    tracing::warn!(%damage, moved_to = %aside.display(), "the storage was damaged and has been moved aside; sessions start cold");
    match open(folder) {
        Ok(opened) => Some(opened),
        Err(error) => {
            tracing::warn!(%error, "no storage: nothing is kept across restarts");
            None
        }
    }
}

/// Why the database could not be opened.
#[derive(Debug)]
enum OpenError {
    /// Another process has it.
    Locked,
    /// The disk is full or does not let us: the database itself may be well.
    Disk(io::Error),
    /// What is there cannot be read.
    Damaged(String),
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Locked => f.write_str("another process has it"),
            Self::Disk(error) => error.fmt(f),
            Self::Damaged(damage) => f.write_str(damage),
        }
    }
}

impl From<sled::Error> for OpenError {
    fn from(error: sled::Error) -> Self {
        use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        match error {
            sled::Error::Io(error) if error.to_string().contains(LOCKED) => Self::Locked,
            sled::Error::Io(error)
                if matches!(
                    error.kind(),
                    PermissionDenied | QuotaExceeded | ReadOnlyFilesystem | StorageFull
                ) =>
            {
                Self::Disk(error)
            }
            other => Self::Damaged(other.to_string()),
        }
    }
}

/// Opens and reads everything once, since damage shows only then, by an error or
/// by a panic.
fn open(folder: &Path) -> Result<Database, OpenError> {
    let attempt = || {
        // It holds session ids; a file in its place is damage, found below.
        make_private(folder);
        let config = sled::Config::new()
            .path(folder)
            .cache_capacity(CACHE)
            .segment_size(SEGMENT)
            .flush_every_ms(None);
        let database = config.open()?;
        let tree = |name| {
            let tree = database.open_tree(name)?;
            tree.iter().try_for_each(|entry| entry.map(drop))?;
            sled::Result::Ok(tree)
        };
        let (servers, sessions, meta) = (tree(SERVERS)?, tree(SESSIONS)?, tree(META)?);
        Ok(Database {
            database,
            servers,
            sessions,
            meta,
        })
    };
    catch_unwind(AssertUnwindSafe(attempt))
        .unwrap_or_else(|_| Err(OpenError::Damaged("the database panicked".into())))
}

/// Makes the folder, or an earlier release's, this user's alone. It stands in one
/// that is, so that failing is no danger.
fn make_private(folder: &Path) {
    drop(mcp_remote_proto::endpoint::private_folder(folder));
    #[cfg(unix)]
    if folder.is_dir() {
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        drop(std::fs::set_permissions(folder, private));
    }
}

fn read<T: DeserializeOwned>(tree: &sled::Tree) -> Vec<(String, T)> {
    let entries = tree.iter().filter_map(Result::ok);
    entries
        .filter_map(|(key, value)| Some((String::from_utf8(key.to_vec()).ok()?, decode(&value)?)))
        .collect()
}

fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    let mut bytes = vec![RECORD_VERSION];
    bytes.extend(serde_json::to_vec(record).expect("a record of texts and numbers is JSON"));
    bytes
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    match bytes.split_first()? {
        (&RECORD_VERSION, json) => serde_json::from_slice(json).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::ServerRecord;

    #[test]
    fn records_read_back_and_foreign_ones_do_not() {
        let record = ServerRecord {
            url: "https://h/".into(),
            calls: 7,
            ..ServerRecord::default()
        };
        let mut bytes = encode(&record);
        assert_eq!(decode(&bytes), Some(record));
        bytes[0] = 99;
        assert_eq!(decode::<ServerRecord>(&bytes), None);
        assert_eq!(decode::<ServerRecord>(b""), None);
        assert_eq!(decode::<ServerRecord>(b"\x01nonsense"), None);
    }
}
