//! A temporary HOME: the environment of the programs in it, and the daemon that
//! they started there, which ends with it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::Failure;
use crate::programs::{Programs, search_path};

/// How long a daemon may take to end.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// A user's HOME, empty at first.
#[derive(Debug)]
pub(crate) struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    /// Makes the folder.
    pub(crate) fn new() -> Result<Self, Failure> {
        let folder = tempfile::Builder::new()
            .prefix("mcp-remote-bench-")
            .tempdir()?;
        std::fs::create_dir(folder.path().join("run"))?;
        Ok(Self { folder })
    }

    /// A program with this HOME and, but for its search path, nothing else.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("HOME", self.folder.path())
            .env("PATH", search_path())
            .env("USER", "bench")
            .env("XDG_RUNTIME_DIR", self.folder.path().join("run"));
        command
    }

    /// The daemon's process id, if one runs.
    pub(crate) fn daemon(&self) -> Option<u32> {
        let text = std::fs::read_to_string(self.lock()).ok()?;
        let pid: u32 = text.trim().parse().ok()?;
        lives(pid).then_some(pid)
    }

    /// Ends the daemon as a user would, and waits until it is gone.
    pub(crate) fn stop(&self, programs: &Programs) -> Result<(), Failure> {
        let Some(pid) = self.daemon() else {
            return Ok(());
        };
        self.command(&programs.shim)
            .arg("stop")
            .stdout(Stdio::null())
            .status()?;
        wait_until("the daemon to end", STOP_DEADLINE, || !lives(pid))
    }

    fn lock(&self) -> PathBuf {
        self.path().join(".local/state/mcp-remote/lock")
    }

    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let pid = self
            .daemon()
            .and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        if let Some(pid) = pid {
            // It may have gone by itself in the meantime.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// Polls what has no event to wait for.
pub(crate) fn wait_until(
    what: &str,
    deadline: Duration,
    mut condition: impl FnMut() -> bool,
) -> Result<(), Failure> {
    let start = Instant::now();
    while !condition() {
        if start.elapsed() > deadline {
            return Err(format!("waited {} s for {what}", deadline.as_secs()).into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Whether a process lives. A zombie does not: in a container nobody may reap it.
pub(crate) fn lives(pid: u32) -> bool {
    let known = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let zombie = std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        stat.rsplit(')')
            .next()
            .is_some_and(|rest| rest.starts_with(" Z"))
    });
    known.is_some_and(|pid| test_kill_process(pid).is_ok()) && !zombie
}
