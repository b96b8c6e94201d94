//! Runs a program that may hang, and waits for it no longer than it is worth.
//!
//! Knows no program. Whatever still runs then is left alone, and no zombie stays.

use std::io::{self, Read};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longest output that is read; the program is left to write more in vain.
const MAX_OUTPUT: u64 = 64 * 1024;

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    /// Whether it ended well.
    pub well: bool,
    /// What it wrote to its standard output, if that is piped.
    pub output: Vec<u8>,
}

/// Runs a program; `None`: it still runs after `patience`, or nobody can wait for it.
///
/// # Errors
/// It cannot be started.
pub fn run(mut command: Command, patience: Duration) -> io::Result<Option<Ended>> {
    let deadline = Instant::now() + patience;
    let mut child = command.spawn()?;
    let ended = Arc::new(Mutex::new(None));
    let (end, asking) = (Arc::clone(&ended), std::thread::current());
    let waiting = move || {
        let mut output = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            // What could not be read is not there.
            drop(stdout.take(MAX_OUTPUT).read_to_end(&mut output));
        }
        let well = child.wait().is_ok_and(|status| status.success());
        *end.lock().unwrap_or_else(PoisonError::into_inner) = Some(Ended { well, output });
        asking.unpark();
    };
    let thread = std::thread::Builder::new().name("program".to_owned());
    if thread.stack_size(64 * 1024).spawn(waiting).is_err() {
        return Ok(None);
    }
    loop {
        let taken = ended.lock().unwrap_or_else(PoisonError::into_inner).take();
        let left = deadline.saturating_duration_since(Instant::now());
        if taken.is_some() || left.is_zero() {
            return Ok(taken);
        }
        std::thread::park_timeout(left);
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::process::Stdio;

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(Stdio::piped());
        command
    }

    #[test]
    fn what_ends_in_time_says_how() {
        let long = Duration::from_secs(60);
        let ended = run(shell("echo a; exit 1"), long).expect("it starts");
        let ended = ended.expect("it ends");
        assert!(!ended.well && ended.output == b"a\n");
        let ended = run(shell("true"), long).expect("it starts");
        assert!(ended.expect("it ends").well);
        run(Command::new("/nonexistent"), long).expect_err("it is not there");
    }

    #[test]
    fn nobody_waits_longer_than_it_is_worth() {
        let ended = run(shell("sleep 5"), Duration::from_millis(20)).expect("it starts");
        assert!(ended.is_none());
    }
}
