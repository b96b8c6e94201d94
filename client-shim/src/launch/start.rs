//! Starts `mcp-remoted` and reads its report: ready, or why not.
//!
//! The daemon gets null standard input and error, a pipe for the report, `/` as
//! its folder and a short environment: nothing of the client stays open in it.

use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mcp_remote_proto::release::Release;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::environment::Environment;
use crate::exit::ShimError;

use super::not_started;

/// Longest report; a longer one is not a report.
const MAX_REPORT_LEN: u64 = 4096;

/// How long a daemon may take to report. It reports within milliseconds; only
/// one that hangs gets here.
const REPORT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a program may take to say its release.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

const PROGRAM: &str = "mcp-remoted";

/// What a daemon says of its start.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// It accepts connections.
    Ready,
    /// Another one, with this pid (0: unknown), holds the lock.
    Running(u32),
    /// An exit code and a sentence.
    Failed(u8, String),
}

/// Starts a daemon and returns its report.
///
/// # Errors
/// It cannot be started, or ends without a report.
pub(crate) async fn run(environment: &Environment) -> Result<Report, ShimError> {
    let program = find_program(environment)?;
    let mut command = Command::new(&program);
    command
        .arg("--spawned")
        .env_clear()
        .envs(environment.for_daemon())
        .current_dir(if cfg!(windows) { "\\" } else { "/" })
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    detach(&mut command);
    let failed = |why: &dyn std::fmt::Display| not_started(format!("{}: {why}", program.display()));
    let line = match timeout(REPORT_TIMEOUT, spawn_and_read(command)).await {
        Ok(line) => line.map_err(|error| failed(&error))?,
        Err(_) => return Err(failed(&"it does not say whether it is ready")),
    };
    parse(&line)
        .ok_or_else(|| failed(&"it ended without saying why; run it in a terminal to see more"))
}

/// Spawns on a thread that stays until the daemon ends, so that no zombie is
/// left while this shim lives.
async fn spawn_and_read(mut command: Command) -> io::Result<String> {
    let (sender, receiver) = oneshot::channel();
    let work = move || match spawn(&mut command) {
        Ok(mut child) => {
            // Whoever waited may have left; then nobody needs the report.
            let _sent = sender.send(read_report(&mut child));
            let _status = child.wait();
        }
        Err(error) => drop(sender.send(Err(error))),
    };
    std::thread::Builder::new()
        .name("daemon".to_owned())
        .stack_size(64 * 1024)
        .spawn(work)?;
    receiver.await.map_err(io::Error::other)?
}

fn spawn(command: &mut Command) -> io::Result<Child> {
    #[cfg(unix)]
    super::descriptors::keep_from_children();
    command.spawn()
}

fn read_report(child: &mut Child) -> io::Result<String> {
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::with_capacity(512, stdout.take(MAX_REPORT_LEN)).read_line(&mut line)?;
    }
    Ok(line)
}

fn parse(line: &str) -> Option<Report> {
    let line = line.strip_suffix('\n')?;
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    match word {
        "ready" => Some(Report::Ready),
        "running" => Some(Report::Running(rest.parse().unwrap_or(0))),
        "failed" => {
            let (code, sentence) = rest.split_once(' ')?;
            Some(Report::Failed(code.parse().ok()?, sentence.to_owned()))
        }
        _ => None,
    }
}

/// Beside this program, where the two are installed together; else on `PATH`.
pub(crate) fn find_program(environment: &Environment) -> Result<PathBuf, ShimError> {
    let name = format!("{PROGRAM}{}", std::env::consts::EXE_SUFFIX);
    let this = std::env::current_exe().ok();
    // Replaced while it runs, this program has no file any more, but its folder.
    let this = this.map(|path| path.canonicalize().unwrap_or(path));
    let beside = this.and_then(|path| Some(path.parent()?.to_owned()));
    let folders = beside.iter().cloned().chain(environment.search_path());
    let mut candidates = folders.map(|folder| folder.join(&name));
    candidates.find(|path| is_program(path)).ok_or_else(|| {
        let beside = beside.unwrap_or_default();
        not_started(format!(
            "there is no {PROGRAM} in {} nor on PATH: install it beside mcp-remote",
            beside.display()
        ))
    })
}

/// Asks a program for its release.
pub(super) async fn release_of(program: PathBuf) -> Option<Release> {
    let asking = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(program);
        command.arg("--version").env_clear();
        command.stdin(Stdio::null()).stderr(Stdio::null()).output()
    });
    let output = timeout(RELEASE_TIMEOUT, asking).await.ok()?.ok()?.ok()?;
    let line = String::from_utf8(output.stdout).ok()?;
    let release = line.strip_prefix(PROGRAM)?.trim();
    Some(Release::read(release))
}

/// On Unix the daemon makes its own session.
#[cfg(not(windows))]
fn detach(_command: &mut Command) {}

/// No console of the client's, and no Ctrl-C with it.
#[cfg(windows)]
fn detach(command: &mut Command) {
    use std::os::windows::process::CommandExt;
    const DETACHED_PROCESS: u32 = 0x8;
    const CREATE_NEW_PROCESS_GROUP: u32 = 0x200;
    command.creation_flags(DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP);
}

#[cfg(unix)]
fn is_program(path: &std::path::Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(path: &std::path::Path) -> bool {
    path.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_one_line_each() {
        for (line, expected) in [
            ("ready /run/x.sock\n", Some(Report::Ready)),
            ("running 4711\n", Some(Report::Running(4711))),
            ("running\n", Some(Report::Running(0))),
            (
                "failed 5 /h is open to other users: run chmod 700 '/h'\n",
                Some(Report::Failed(
                    5,
                    "/h is open to other users: run chmod 700 '/h'".to_owned(),
                )),
            ),
            ("failed\n", None),
            ("failed x y\n", None),
            ("ready /cut-off", None),
            ("", None),
        ] {
            assert_eq!(parse(line), expected, "{line:?}");
        }
    }
}
