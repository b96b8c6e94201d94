//! One daemon a state folder, one daemon a socket: locks on files that are never
//! deleted. The lock is the truth; sockets, endpoint files and pids are hints.

use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;

/// A lock held for the life of the process.
#[derive(Debug)]
pub(crate) struct InstanceLock {
    _file: File,
}

/// Why a lock is not ours.
#[derive(Debug)]
pub(crate) enum LockError {
    /// Another process has it; its pid if it is readable.
    Held(Option<u32>),
    /// The file could not be opened or locked.
    Io(io::Error),
}

impl std::fmt::Display for LockError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Held(Some(pid)) => write!(
                f,
                "a daemon of another state folder (pid {pid}) listens there"
            ),
            Self::Held(None) => f.write_str("a daemon of another state folder listens there"),
            Self::Io(error) => write!(f, "its lock failed: {error}"),
        }
    }
}

impl InstanceLock {
    /// Takes the lock, and writes our pid into the file for people and messages.
    pub(crate) fn take(path: &Path) -> Result<Self, LockError> {
        let mut options = File::options();
        options.create(true).truncate(false).read(true).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(LockError::Io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let read = file.read_to_string(&mut pid);
                return Err(LockError::Held(
                    read.ok().and_then(|_| pid.trim().parse().ok()),
                ));
            }
            Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
        }
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        written.map_err(LockError::Io)?;
        Ok(Self { _file: file })
    }
}
