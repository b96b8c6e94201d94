//! One daemon a state folder, one daemon a socket: locks on files that are never
//! deleted. The lock is the truth; sockets, endpoint files and pids are hints.

use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a shim may have the lock that waits for the end of a daemon: as long as
/// it takes to let go of it.
const LOOK: Duration = Duration::from_millis(1);

/// How often it is waited for.
const MAX_LOOKS: u32 = 100;

/// How long a daemon may take to make place: past all its own limits.
const SUCCESSION: Duration = Duration::from_secs(25);

/// Between two looks whether it has.
const SUCCESSION_LOOK: Duration = Duration::from_millis(20);

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
        let mut looks = 0;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {
                    let mut pid = String::new();
                    let read = file.rewind().and_then(|()| file.read_to_string(&mut pid));
                    let pid = read.ok().and_then(|_| pid.trim().parse().ok());
                    if looks == MAX_LOOKS || !pid.is_some_and(has_ended) {
                        return Err(LockError::Held(pid));
                    }
                    looks += 1;
                    std::thread::sleep(LOOK);
                }
                Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
            }
        }
        Self::write(file)
    }

    /// Takes the lock from the daemon that has it, after asking it to make place;
    /// for a service, which a daemon that a shim started is to give way to.
    pub(crate) fn succeed(path: &Path) -> Result<Self, LockError> {
        let deadline = Instant::now() + SUCCESSION;
        let (mut seen, mut asked) = (None, None);
        loop {
            match Self::take(path) {
                Err(LockError::Held(pid)) if Instant::now() < deadline => {
                    // Twice the same: whoever took it has written its own by now.
                    if pid == seen && pid != asked {
                        asked = pid;
                        pid.into_iter().for_each(ask_for_place);
                    }
                    seen = pid;
                    std::thread::sleep(SUCCESSION_LOOK);
                }
                taken => return taken,
            }
        }
    }

    fn write(mut file: File) -> Result<Self, LockError> {
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        written.map_err(LockError::Io)?;
        Ok(Self { _file: file })
    }
}

/// Asks a daemon for its place by signal: its socket may be replaced already.
fn ask_for_place(pid: u32) {
    #[cfg(unix)]
    {
        use rustix::process::{Pid, Signal, kill_process};
        tracing::info!(pid, "asking another daemon to make place");
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        if let Some(Err(error)) = pid.map(|pid| kill_process(pid, Signal::USR2)) {
            tracing::debug!(%error, "it cannot be asked");
        }
    }
    #[cfg(not(unix))]
    let _ = pid;
}

/// Says whether a process is no more. It may have been another's: then the lock is
/// taken for held, and the next attempt will tell.
fn has_ended(pid: u32) -> bool {
    #[cfg(unix)]
    {
        use rustix::process::{Pid, test_kill_process};
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        pid.is_some_and(|pid| test_kill_process(pid) == Err(rustix::io::Errno::SRCH))
    }
    #[cfg(not(unix))]
    {
        let _ = pid;
        false
    }
}
