//! What a daemon holds at one moment: memory, descriptors, threads from /proc;
//! shims and sessions from its own status.

use std::process::Stdio;

use crate::Failure;
use crate::home::Home;
use crate::memory::{pss, rss};
use crate::programs::Programs;

/// One look at the daemon.
#[derive(Debug, Clone)]
pub(crate) struct Vitals {
    /// When it was taken.
    pub(crate) when: String,
    /// KiB, shared pages divided.
    pub(crate) pss: u64,
    /// KiB.
    pub(crate) rss: u64,
    /// Open file descriptors.
    pub(crate) descriptors: usize,
    /// Threads.
    pub(crate) threads: usize,
    /// Shims that are attached.
    pub(crate) shims: u64,
    /// Sessions with servers, idle and leased.
    pub(crate) sessions: u64,
}

impl Vitals {
    /// Looks at the daemon of `home`.
    pub(crate) fn take(when: &str, programs: &Programs, home: &Home) -> Result<Self, Failure> {
        let pid = home.daemon().ok_or("no daemon runs")?;
        let count = |folder: &str| -> Result<usize, Failure> {
            Ok(std::fs::read_dir(format!("/proc/{pid}/{folder}"))?.count())
        };
        // Before status is asked, which is a connection of its own.
        let descriptors = count("fd")?;
        let threads = count("task")?;
        let (pss, rss) = (pss(pid)?, rss(pid)?);
        let status = status(programs, home)?;
        let number = |value: &serde_json::Value| value.as_u64().unwrap_or(0);
        let servers = status["servers"].as_array().cloned().unwrap_or_default();
        Ok(Self {
            when: when.to_owned(),
            pss,
            rss,
            descriptors,
            threads,
            shims: number(&status["shims"]),
            sessions: servers
                .iter()
                .map(|row| number(&row["sessions_idle"]) + number(&row["sessions_leased"]))
                .sum(),
        })
    }
}

fn status(programs: &Programs, home: &Home) -> Result<serde_json::Value, Failure> {
    let mut command = home.command(&programs.shim);
    command.args(["status", "--json"]).stderr(Stdio::null());
    Ok(serde_json::from_slice(&command.output()?.stdout)?)
}
