//! The one thread that owns the database and blocks. Records carry the version
//! of their layout; what does not read is dropped.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::{Command, ServerRecord};

/// The database's folder under the state folder; the number is the layout's.
pub(super) const FOLDER: &str = "store-v1";

/// The tree of servers.
const SERVERS: &str = "servers";

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

/// Serves commands until it is closed or all handles have gone.
pub(super) fn run(
    folder: &Path,
    opened: oneshot::Sender<Vec<(String, ServerRecord)>>,
    mut commands: mpsc::Receiver<Command>,
) {
    let Some((database, servers)) = open_or_replace(folder) else {
        return;
    };
    let records = read(&servers);
    if opened.send(records).is_err() {
        return;
    }
    while let Some(command) = commands.blocking_recv() {
        // The database may panic on a damaged page that it had not met before.
        let served = catch_unwind(AssertUnwindSafe(|| serve(&database, &servers, command)));
        match served {
            Ok(None) => {}
            Ok(Some(closed)) => {
                drop((servers, database));
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

/// Serves one command. After the last, returns whom to tell.
fn serve(
    database: &sled::Db,
    servers: &sled::Tree,
    command: Command,
) -> Option<oneshot::Sender<()>> {
    match command {
        Command::Put(records) => {
            let written = records
                .iter()
                .try_for_each(|(key, record)| servers.insert(key, encode(record)).map(drop));
            if let Err(error) = written.and_then(|()| database.flush().map(drop)) {
                tracing::warn!(%error, "the storage could not be written");
            }
            None
        }
        Command::Close(closed) => {
            if let Err(error) = database.flush() {
                tracing::warn!(%error, "the storage could not be written");
            }
            Some(closed)
        }
    }
}

fn open_or_replace(folder: &Path) -> Option<(sled::Db, sled::Tree)> {
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
fn open(folder: &Path) -> Result<(sled::Db, sled::Tree), OpenError> {
    let attempt = || {
        let config = sled::Config::new()
            .path(folder)
            .cache_capacity(CACHE)
            .segment_size(SEGMENT)
            .flush_every_ms(None);
        let database = config.open()?;
        let servers = database.open_tree(SERVERS)?;
        for entry in servers.iter() {
            entry?;
        }
        Ok((database, servers))
    };
    catch_unwind(AssertUnwindSafe(attempt))
        .unwrap_or_else(|_| Err(OpenError::Damaged("the database panicked".into())))
}

fn read(servers: &sled::Tree) -> Vec<(String, ServerRecord)> {
    let entries = servers.iter().filter_map(Result::ok);
    entries
        .filter_map(|(key, value)| Some((String::from_utf8(key.to_vec()).ok()?, decode(&value)?)))
        .collect()
}

fn encode(record: &ServerRecord) -> Vec<u8> {
    let mut bytes = vec![RECORD_VERSION];
    bytes.extend(serde_json::to_vec(record).expect("a record of texts and numbers is JSON"));
    bytes
}

fn decode(bytes: &[u8]) -> Option<ServerRecord> {
    match bytes.split_first()? {
        (&RECORD_VERSION, json) => serde_json::from_slice(json).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(decode(&bytes), None);
        assert_eq!(decode(b""), None);
        assert_eq!(decode(b"\x01nonsense"), None);
    }
}
