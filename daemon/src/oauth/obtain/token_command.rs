//! Tokens that a program prints. It gets no input and no shell, and is ended with
//! whatever it started if it takes too long.
//!
//! Nothing that it prints is shown: it may be the token.

mod start;

use std::process::{ExitStatus, Stdio};
use std::time::{Duration, SystemTime};

use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::{ObtainError, given};
use crate::oauth::grant::Grant;
use crate::secret::Secret;

/// How long it may take: less than a client waits for its first answer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// How long its last words are waited for once it has ended.
const REST: Duration = Duration::from_millis(500);

/// The most that it may print, in bytes.
const MAX_OUTPUT: usize = 64 * 1024;

/// Runs it.
pub(super) async fn run(
    words: &Secret<Vec<String>>,
    now: fn() -> SystemTime,
) -> Result<Grant, ObtainError> {
    let failed = |why: &dyn std::fmt::Display| {
        ObtainError::Here(format!(
            "the token command {why}: run it by hand to see what it says"
        ))
    };
    let by = Instant::now() + TIMEOUT;
    let started = start::start(words, TIMEOUT).await;
    let mut running = started.map_err(|why| failed(&why))?;
    let ended = tokio::time::timeout_at(by, running.output()).await;
    let late = |_| failed(&format!("did not end within {} s", TIMEOUT.as_secs()));
    let output = ended.map_err(late)?.map_err(|why| failed(&why))?;
    given::read(&output, now()).map_err(|why| {
        let said = why.to_string();
        // What a file holds a program prints.
        let said = said.replacen("holds", "prints", 1);
        failed(&said.replacen("is empty", "prints nothing", 1))
    })
}

/// A program that is ended with this, and what it has started with it.
struct Running {
    child: Child,
}

impl Running {
    fn start(words: &[String]) -> Result<Self, String> {
        let (program, rest) = words.split_first().ok_or("has no words")?;
        let mut command = Command::new(program);
        command
            .args(rest)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        #[cfg(unix)]
        command.process_group(0);
        let child = command
            .spawn()
            .map_err(|error| format!("cannot be started ({error})"))?;
        Ok(Self { child })
    }

    /// Returns what it prints, once it has ended well.
    async fn output(&mut self) -> Result<Zeroizing<Vec<u8>>, String> {
        let broken = |error: std::io::Error| format!("cannot be waited for ({error})");
        let stdout = self.child.stdout.take().ok_or("prints nowhere")?;
        // One allocation, so that no copy is left behind.
        let mut output = Zeroizing::new(Vec::with_capacity(MAX_OUTPUT + 1));
        let mut limited = stdout.take(MAX_OUTPUT as u64 + 1);
        let mut reading = Box::pin(limited.read_to_end(&mut output));
        let status = tokio::select! {
            read = &mut reading => {
                read.map_err(broken)?;
                None
            }
            status = self.child.wait() => {
                // What it has left running may hold its output open for ever.
                if let Ok(read) = tokio::time::timeout(REST, &mut reading).await {
                    read.map_err(broken)?;
                }
                Some(status.map_err(broken)?)
            }
        };
        drop(reading);
        if output.len() > MAX_OUTPUT {
            let limit = MAX_OUTPUT / 1024;
            return Err(format!("prints more than {limit} KiB"));
        }
        let status = match status {
            Some(status) => status,
            None => self.child.wait().await.map_err(broken)?,
        };
        match status.success() {
            true => Ok(output),
            false => Err(ended(status)),
        }
    }
}

fn ended(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("failed with exit code {code}"),
        None => "was killed".to_owned(),
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(id) = self.child.id()
            && let Some(group) = i32::try_from(id)
                .ok()
                .and_then(rustix::process::Pid::from_raw)
        {
            // It has not been waited for, so the number is still its own.
            let _gone = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}
