//! A daemon that a test starts itself, with flags of its choice.
//!
//! Readiness is what a service manager gets: `READY=1` on a socket. Daemons that
//! shims start are reached through `TestHome` instead.

use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::home::{Finished, SECRET, TestHome, finish};
use crate::monitor::PATIENCE;
use crate::process::{Program, peak_memory};

/// A running `mcp-remoted`.
#[derive(Debug)]
pub struct TestDaemon {
    program: Program,
}

impl TestDaemon {
    /// Starts a daemon and waits until it says that it is ready.
    ///
    /// # Panics
    /// If it ends, or is silent.
    pub fn start(home: &TestHome, flags: &[&str]) -> Self {
        Self::begin(home, home.command("mcp-remoted", flags))
    }

    /// Starts one that is held to the modes of files even where it runs as root
    /// (`setpriv` is in util-linux).
    ///
    /// # Panics
    /// If it ends, or is silent.
    pub fn start_without_privileges(home: &TestHome) -> Self {
        let plain = home.command("mcp-remoted", &[]);
        if !rustix::process::geteuid().is_root() {
            return Self::begin(home, plain);
        }
        let mut command = Command::new("setpriv");
        let variables = plain.get_envs();
        command
            .args(["--bounding-set", "-dac_override,-dac_read_search"])
            .arg(plain.get_program())
            .env_clear()
            .envs(variables.filter_map(|(name, value)| Some((name, value?))))
            .current_dir(home.folder())
            .stderr(Stdio::piped());
        Self::begin(home, command)
    }

    fn begin(home: &TestHome, mut command: Command) -> Self {
        let path = home.folder().join("notify");
        drop(std::fs::remove_file(&path));
        let notify = UnixDatagram::bind(&path).expect("a socket can be bound");
        command
            .env("NOTIFY_SOCKET", &path)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let (program, _, _) = Program::start(&mut command);
        let daemon = Self { program };
        daemon.wait_for_ready(&notify);
        daemon
    }

    /// Runs a daemon that is expected to refuse, to its end.
    pub fn refuse(home: &TestHome, flags: &[&str]) -> Finished {
        finish(home.command("mcp-remoted", flags).stdin(Stdio::null()))
    }

    fn wait_for_ready(&self, notify: &UnixDatagram) {
        notify
            .set_read_timeout(Some(Duration::from_millis(100)))
            .expect("a timeout can be set");
        let end = Instant::now() + PATIENCE;
        let mut message = [0; 1024];
        while Instant::now() < end && self.program.runs() {
            let length = notify.recv(&mut message).unwrap_or(0);
            if message[..length]
                .split(|byte| *byte == b'\n')
                .any(|line| line == b"READY=1")
            {
                return;
            }
        }
        panic!(
            "the daemon did not say READY=1; its standard error: {}",
            self.stderr()
        );
    }

    /// Returns its process id.
    pub fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// Returns its log so far.
    pub fn stderr(&self) -> String {
        self.program.stderr()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        self.program.signal(signal);
    }

    /// Waits for its end; returns the exit code.
    pub fn wait(&self) -> i32 {
        self.program.wait()
    }

    /// Waits for its end for at most `limit`.
    pub fn wait_for(&self, limit: Duration) -> Option<i32> {
        self.program.wait_for(limit)
    }

    /// Waits until its log contains `text`.
    pub fn wait_for_log(&self, text: &str) {
        self.program.wait_for_stderr(text);
    }

    /// Asks it to stop and waits; returns the exit code.
    pub fn terminate(&self) -> i32 {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Kills it as a crash would, and waits.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
        self.wait();
    }

    /// Returns the largest resident size that it ever had, in bytes.
    pub fn peak_memory(&self) -> u64 {
        peak_memory(self.pid())
    }
}

impl Drop for TestDaemon {
    fn drop(&mut self) {
        let log = self.stderr();
        if !std::thread::panicking() {
            assert!(!log.contains("panicked"), "the daemon panicked: {log}");
            assert!(!log.contains(SECRET), "a secret is in the daemon's log");
        }
    }
}
