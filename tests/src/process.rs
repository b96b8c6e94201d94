//! A child process whose end and standard error can be waited for.
//!
//! Owns the process: it is killed, by its pid, when the handle is dropped.
//! Knows nothing of what the program is for.

use std::ffi::OsStr;
use std::io::{ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::SIGINT;

use crate::monitor::{Monitor, PATIENCE};

/// What came out of a pipe so far.
#[derive(Debug, Default)]
pub struct Captured {
    /// The bytes not yet taken.
    pub bytes: Vec<u8>,
    /// Whether the writer has closed it.
    pub ended: bool,
}

/// Reads `pipe` to its end in a thread.
pub fn capture(mut pipe: impl Read + Send + 'static) -> Arc<Monitor<Captured>> {
    let captured = Arc::new(Monitor::new(Captured::default()));
    let shared = captured.clone();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match pipe.read(&mut buffer) {
                Ok(0) | Err(_) => return shared.update(|captured| captured.ended = true),
                Ok(length) => {
                    shared.update(|captured| captured.bytes.extend_from_slice(&buffer[..length]));
                }
            }
        }
    });
    captured
}

/// Lets the programs that this one starts end at SIGINT. Without a handler here they
/// would inherit that it is ignored, as it is in whatever a shell runs in the background.
fn heed_interrupts() {
    let ends_us_too = Arc::new(AtomicBool::new(true));
    signal_hook::flag::register_conditional_default(SIGINT, ends_us_too)
        .expect("signals can be handled");
}

/// A running program.
#[derive(Debug)]
pub struct Program {
    pid: u32,
    end: Arc<Monitor<Option<ExitStatus>>>,
    stderr: Option<Arc<Monitor<Captured>>>,
}

impl Program {
    /// Starts a command; gives back the pipes it asked for, except standard error.
    ///
    /// # Panics
    /// If the command cannot be started.
    pub fn start(command: &mut Command) -> (Self, Option<ChildStdin>, Option<ChildStdout>) {
        static AS_IN_A_TERMINAL: Once = Once::new();
        AS_IN_A_TERMINAL.call_once(heed_interrupts);
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let program = Self {
            pid: child.id(),
            stderr: child.stderr.take().map(capture),
            end: Arc::default(),
        };
        let end = program.end.clone();
        std::thread::spawn(move || reap(child, &end));
        (program, stdin, stdout)
    }

    /// Returns the process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for the end; returns the exit code as a shell would show it.
    ///
    /// # Panics
    /// If the program goes on.
    pub fn wait(&self) -> i32 {
        self.wait_for(PATIENCE).unwrap_or_else(|| {
            panic!(
                "process {} still runs after {PATIENCE:?}; its standard error: {}",
                self.pid,
                self.stderr()
            )
        })
    }

    /// Waits for the end for at most `limit`.
    pub fn wait_for(&self, limit: Duration) -> Option<i32> {
        let status = self.end.poll(limit, |end| *end)?;
        Some(
            status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
        )
    }

    /// Says whether the program still runs.
    pub fn runs(&self) -> bool {
        self.end.look(Option::is_none)
    }

    /// Sends a signal, unless the program has ended.
    pub fn signal(&self, signal: Signal) {
        if self.runs() {
            send_signal(self.pid, signal);
        }
    }

    /// Returns what is on standard error so far, all of it if the program ended.
    pub fn stderr(&self) -> String {
        let Some(stderr) = &self.stderr else {
            return String::new();
        };
        if !self.runs() {
            // A grandchild may hold the pipe, hence the bound.
            stderr.poll(Duration::from_secs(2), |captured| {
                captured.ended.then_some(())
            });
        }
        stderr.look(|captured| String::from_utf8_lossy(&captured.bytes).into_owned())
    }

    /// Waits until standard error contains `text`.
    ///
    /// # Panics
    /// If it does not come.
    pub fn wait_for_stderr(&self, text: &str) {
        let stderr = self.stderr.as_ref().expect("standard error is captured");
        let found = stderr.poll(PATIENCE, |captured| {
            String::from_utf8_lossy(&captured.bytes)
                .contains(text)
                .then_some(())
        });
        assert!(
            found.is_some(),
            "no {text:?} on standard error: {}",
            self.stderr()
        );
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        self.wait_for(PATIENCE);
    }
}

fn reap(mut child: Child, end: &Monitor<Option<ExitStatus>>) {
    let status = child.wait().expect("a child can be waited for once");
    end.update(|end| *end = Some(status));
}

/// Sends a signal to a process; one that has gone is no error.
pub fn send_signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let _ = kill_process(pid.expect("a process id is positive"), signal);
}

/// Kills a process that is not a child and, on Linux, waits for its end: all its
/// files and connections are closed then.
///
/// # Panics
/// If the process does not end.
pub fn kill_and_wait(pid: u32) {
    #[cfg(target_os = "linux")]
    {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let raw = raw.expect("a process id is positive");
        let process = pidfd_open(raw, PidfdFlags::empty()).expect("the process runs");
        pidfd_send_signal(&process, Signal::KILL).expect("the process is ours");
        let limit = Timespec::try_from(PATIENCE).expect("it fits");
        let ended = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&limit));
        assert_eq!(ended, Ok(1), "process {pid} ends when it is killed");
    }
    #[cfg(not(target_os = "linux"))]
    send_signal(pid, Signal::KILL);
}

/// Kills whatever was started with this variable, `NAME=value`, in its environment and
/// still runs, also what nobody knows the pid of: a program whose starter was killed
/// meanwhile. On Linux only, where the system tells.
///
/// # Panics
/// If one does not end.
pub fn kill_all_with(variable: &OsStr) {
    let begin = Instant::now();
    loop {
        let pids = started_with(variable);
        if pids.is_empty() {
            return;
        }
        assert!(
            begin.elapsed() < PATIENCE,
            "{pids:?} end when they are killed"
        );
        for pid in pids {
            send_signal(pid, Signal::KILL);
        }
        std::thread::yield_now();
    }
}

/// A process that has ended, or nearly, has no environment any more.
fn started_with(variable: &OsStr) -> Vec<u32> {
    let has = |environment: Vec<u8>| {
        let mut variables = environment.split(|byte| *byte == 0);
        variables.any(|other| other == variable.as_bytes())
    };
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|process| process.file_name().to_str()?.parse().ok());
    pids.filter(|pid| std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(has))
        .collect()
}

/// Finds a binary of the workspace: beside the folder of the test executable.
///
/// # Panics
/// If it was not built.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test executable has a path");
    let folder = test.parent().and_then(std::path::Path::parent);
    let binary = folder
        .expect("tests run from target/<profile>/deps")
        .join(name);
    assert!(
        binary.exists(),
        "{} is missing, build it first: cargo build --workspace --bins",
        binary.display()
    );
    binary
}

/// Writes a program of the workspace to `path` as another release: the other build, if
/// `MCP_REMOTE_OTHER_BUILD` names its folder (see `skew.sh`), else the same program with
/// another number in it. What is there is replaced at once, as installers do, while it
/// may be running.
///
/// # Panics
/// If it cannot be written, or does not say that it is this release.
pub fn install(name: &str, path: &std::path::Path, release: &str) {
    let program = match other_build().filter(|_| release != mcp_remote_proto::VERSION) {
        Some(folder) => std::fs::read(folder.join(name)).expect("it has been built"),
        None => renumbered(name, release),
    };
    let new = path.with_extension("new");
    std::fs::write(&new, program).expect("the program can be written");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&new, executable).expect("its mode can be set");
    std::fs::rename(&new, path).expect("it can be put in place");
    let begin = Instant::now();
    let said = loop {
        match Command::new(path).arg("--version").output() {
            // Another thread starts a program and has our file open until it has.
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {
                assert!(begin.elapsed() < PATIENCE, "{error}");
                std::thread::yield_now();
            }
            said => break said.expect("it runs"),
        }
    };
    let said = String::from_utf8(said.stdout).expect("it says text");
    assert!(said.trim_end().ends_with(release), "{name} says {said:?}");
}

#[expect(
    clippy::disallowed_methods,
    reason = "a setting of the tests, not of the programs"
)]
fn other_build() -> Option<PathBuf> {
    std::env::var_os("MCP_REMOTE_OTHER_BUILD").map(PathBuf::from)
}

/// Reads a program with another number in it.
fn renumbered(name: &str, release: &str) -> Vec<u8> {
    let mut program = std::fs::read(binary(name)).expect("the program can be read");
    let built = mcp_remote_proto::VERSION.as_bytes();
    assert_eq!(built.len(), release.len(), "the number has its place");
    let places: Vec<usize> = memchr::memmem::find_iter(&program, built).collect();
    for at in places {
        program[at..at + built.len()].copy_from_slice(release.as_bytes());
    }
    program
}

/// Returns the largest resident size that a process ever had, in bytes.
///
/// # Panics
/// If the process has gone, or elsewhere than on Linux.
pub fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
    let status = status.expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kibibytes: u64 = kibibytes
        .and_then(|text| text.trim().parse().ok())
        .expect("VmHWM is a number");
    kibibytes * 1024
}
