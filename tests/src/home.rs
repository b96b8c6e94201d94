//! A user's home for one test: nothing outside it is read or written.
//!
//! Owns the folders and the environment that both programs get. When it is
//! dropped, whatever was started in it is killed, also a daemon that is still
//! starting, and the folders are deleted.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{File, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::sync_channel;

use mcp_remote_proto::endpoint::{Environment, Places};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::monitor::PATIENCE;
use crate::process::{
    Program, binary, capture, install, kill_all_with, kill_and_wait, send_signal,
};
use crate::shim::TestShim;

/// Every secret in the tests begins so; it must not show up anywhere.
pub const SECRET: &str = "s3cr3t-";

/// How a program ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code.
    pub code: i32,
    /// All of standard output.
    pub stdout: String,
    /// All of standard error.
    pub stderr: String,
}

/// A temporary HOME with its environment.
#[derive(Debug)]
pub struct TestHome {
    folder: TempDir,
    environment: BTreeMap<OsString, OsString>,
    /// Where programs are installed, if not where they were built.
    programs: Option<PathBuf>,
}

impl TestHome {
    /// Makes a home with a runtime folder, and detailed logs.
    ///
    /// # Panics
    /// If folders cannot be made.
    pub fn new() -> Self {
        let mut home = Self::stripped();
        let runtime = home.folder().join("run");
        private_folder(&runtime);
        home.set("XDG_RUNTIME_DIR", runtime);
        home.set("MCP_REMOTE_LOG", "debug");
        home
    }

    /// Makes a home whose programs get HOME, PATH and USER only, as some MCP
    /// clients start them.
    ///
    /// # Panics
    /// If folders cannot be made.
    pub fn stripped() -> Self {
        Self::named("home")
    }

    /// As [`TestHome::stripped`], with HOME at this path below a temporary folder.
    ///
    /// # Panics
    /// If folders cannot be made.
    pub fn named(path: &str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("mcpr")
            .tempdir()
            .expect("a temporary folder can be made");
        let home = folder.path().join(path);
        private_folder(&home);
        let mut made = Self {
            folder,
            environment: BTreeMap::new(),
            programs: None,
        };
        made.set("HOME", home);
        made.set("PATH", "/usr/bin:/bin");
        made.set("USER", "tester");
        made
    }

    /// Returns the temporary folder, parent of everything.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns HOME.
    pub fn home(&self) -> PathBuf {
        self.environment[OsStr::new("HOME")].clone().into()
    }

    /// Sets a variable for programs started from now on.
    pub fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.environment.insert(name.into(), value.into());
    }

    /// Unsets a variable for programs started from now on.
    pub fn unset(&mut self, name: &str) {
        self.environment.remove(OsStr::new(name));
    }

    /// Returns where both programs meet in this home.
    ///
    /// # Panics
    /// If HOME is not absolute, which it is.
    pub fn places(&self) -> Places {
        let get = |name: &str| self.environment.get(OsStr::new(name)).map(PathBuf::from);
        Places::new(&Environment {
            home: get("HOME"),
            state_dir: get("MCP_REMOTE_STATE_DIR"),
            socket: get("MCP_REMOTE_SOCKET"),
            runtime_dir: get("XDG_RUNTIME_DIR"),
        })
        .expect("HOME is absolute")
    }

    /// Returns the state folder.
    pub fn state(&self) -> PathBuf {
        self.places().state().to_owned()
    }

    /// Makes the state folder as the programs would.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn make_state(&self) -> PathBuf {
        let state = self.state();
        private_folder(&state);
        state
    }

    /// Returns what daemons started by shims have logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.state().join("mcp-remoted.log")).unwrap_or_default()
    }

    /// Installs these programs as another release, in place of those that are
    /// installed already; they are used from now on.
    ///
    /// # Panics
    /// If they cannot be written, or do not say that they are this release.
    pub fn install(&mut self, names: &[&str], release: &str) {
        let folder = self.folder().join("bin");
        private_folder(&folder);
        for name in names {
            install(name, &folder.join(name), release);
        }
        self.programs = Some(folder);
    }

    /// Prepares a program with exactly this home's environment.
    pub fn command(&self, name: &str, arguments: &[&str]) -> Command {
        let program = match &self.programs {
            Some(folder) => folder.join(name),
            None => binary(name),
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .envs(&self.environment)
            .current_dir(self.folder())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Starts a shim with pipes.
    pub fn shim(&self, arguments: &[&str]) -> TestShim {
        TestShim::start(&mut self.command("mcp-remote", arguments))
    }

    /// Runs a shim with `input` on standard input to its end.
    pub fn run_with(&self, arguments: &[&str], input: &str) -> Finished {
        let mut shim = self.shim(arguments);
        shim.send_raw(input.as_bytes());
        shim.close_stdin();
        let code = shim.wait();
        Finished {
            code,
            stdout: shim.rest(),
            stderr: shim.stderr(),
        }
    }

    /// Runs a shim with nothing on standard input to its end.
    pub fn run(&self, arguments: &[&str]) -> Finished {
        finish(self.command("mcp-remote", arguments).stdin(Stdio::null()))
    }

    /// Returns where the configuration file of this home is.
    pub fn configuration(&self) -> PathBuf {
        self.home().join(".config/mcp-remote/config.toml")
    }

    /// Writes the configuration file.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn configure(&self, text: &str) {
        let path = self.configuration();
        private_folder(path.parent().expect("it is in a folder"));
        std::fs::write(&path, text).expect("the configuration can be written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&path, mode).expect("it is ours");
    }

    /// Returns the pid of the daemon that holds this home's lock.
    pub fn daemon_pid(&self) -> Option<u32> {
        let path = self.state().join("lock");
        let file = File::open(&path).ok()?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                std::fs::read_to_string(&path).ok()?.trim().parse().ok()
            }
            _ => None,
        }
    }

    /// Kills the daemon that a shim started, as a crash would.
    ///
    /// # Panics
    /// If there is none.
    pub fn kill_daemon(&self) {
        let pid = self.daemon_pid().expect("a daemon runs");
        kill_and_wait(pid);
    }

    /// Waits until no daemon holds this home's lock.
    ///
    /// # Panics
    /// If one still does.
    pub fn wait_until_no_daemon(&self) {
        let Ok(file) = File::open(self.state().join("lock")) else {
            return;
        };
        let (tx, rx) = sync_channel(1);
        std::thread::spawn(move || {
            drop(file.lock());
            drop(file);
            let _ = tx.send(());
        });
        rx.recv_timeout(PATIENCE).expect("the daemon ends");
    }
}

impl Default for TestHome {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for TestHome {
    fn drop(&mut self) {
        let mut home = OsString::from("HOME=");
        home.push(self.home());
        kill_all_with(&home);
        if let Some(pid) = self.daemon_pid() {
            send_signal(pid, Signal::KILL);
            self.wait_until_no_daemon();
        }
        let log = self.log();
        if std::thread::panicking() {
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(40)..];
            show(&tail.join("\n"));
        } else {
            assert!(!log.contains("panicked"), "the daemon panicked: {log}");
            assert!(!log.contains(SECRET), "a secret is in the daemon's log");
        }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "shown with the message of a test that fails"
)]
fn show(log: &str) {
    if !log.is_empty() {
        eprintln!("the daemon's log ends with:\n{log}");
    }
}

/// Runs a prepared command to its end.
///
/// # Panics
/// If it does not end.
pub fn finish(command: &mut Command) -> Finished {
    let (program, stdin, stdout) = Program::start(command);
    drop(stdin);
    let stdout = capture(stdout.expect("standard output is a pipe"));
    let code = program.wait();
    let stdout = stdout.expect("the end of standard output", |captured| {
        captured
            .ended
            .then(|| String::from_utf8_lossy(&captured.bytes).into_owned())
    });
    Finished {
        code,
        stdout,
        stderr: program.stderr(),
    }
}

fn private_folder(path: &Path) {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .expect("a folder can be made");
}
