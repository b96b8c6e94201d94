//! `mcp-remote status`: what the daemon holds, for people or for programs.
//!
//! Never starts a daemon: asking must not change the answer.

use std::time::Duration;

use mcp_remote_proto::v1::{ServerStatus, StatusRequest, StatusResponse};

use crate::cli::StatusArguments;
use crate::daemon::Daemon;
use crate::exit::{Exit, ShimError};
use crate::launch::{Found, Launcher};
use crate::terminal::Terminal;

use super::print;

mod columns;
mod document;
mod grants;
mod note;
mod table;
mod watch;

/// A daemon answers from memory; one that takes this long hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// What there is instead of a document while no daemon runs.
const NOT_RUNNING: &str = "{\"running\":false}\n";

/// Prints the status, once or again and again.
///
/// # Errors
/// No daemon runs, or it does not answer.
pub(crate) async fn run(
    arguments: StatusArguments,
    terminal: Option<Terminal>,
    launcher: &Launcher,
) -> Result<Exit, ShimError> {
    if arguments.watch && !arguments.json && terminal.is_none() {
        let sentence = "--watch needs a terminal on standard output: use --watch --json";
        return Err(ShimError::new(Exit::USAGE, sentence));
    }
    let is_dumb = terminal.is_some_and(|terminal| !terminal.can_draw());
    if arguments.watch && !arguments.json && is_dumb {
        let sentence = "--watch draws on the terminal, and TERM says that this one is dumb: use --watch --json";
        return Err(ShimError::new(Exit::USAGE, sentence));
    }
    let daemon = match launcher.look().await {
        Found::Daemon(daemon) => daemon,
        Found::Silent(error) => return Err(error),
        Found::Nothing if arguments.json => {
            print(NOT_RUNNING)?;
            return Ok(Exit::NOT_RUNNING);
        }
        Found::Nothing => {
            return Err(ShimError::new(
                Exit::NOT_RUNNING,
                "mcp-remoted is not running: the next mcp-remote URL starts it",
            ));
        }
    };
    if arguments.watch {
        return watch::run(arguments, terminal, daemon, launcher).await;
    }
    let server = arguments.server.as_deref();
    let status = ask(&daemon, server).await?;
    let now = now_ms();
    match arguments.json {
        true => print(&document::document(&status, now))?,
        false => print(&table::table(&status, server, now, terminal))?,
    };
    Ok(exit(&status, server))
}

/// Asks a daemon for its status.
///
/// # Errors
/// It does not answer, or not in time.
pub(crate) async fn ask(
    daemon: &Daemon,
    server: Option<&str>,
) -> Result<StatusResponse, ShimError> {
    let request = StatusRequest {
        server: server.unwrap_or_default().to_owned(),
    };
    match tokio::time::timeout(PATIENCE, daemon.ask(request)).await {
        Ok(Ok(status)) => Ok(status),
        Ok(Err(status)) => Err(ShimError::general(format!(
            "{daemon} does not say its status: {}",
            status.message()
        ))),
        Err(_) => Err(ShimError::general(format!(
            "{daemon} does not answer: end that process and try again"
        ))),
    }
}

/// What a script learns without reading: the worst of all servers.
fn exit(status: &StatusResponse, server: Option<&str>) -> Exit {
    let any = |wanted: fn(&ServerStatus) -> bool| status.servers.iter().any(wanted);
    if server.is_some() && status.servers.is_empty() {
        Exit::ERROR
    } else if any(note::needs_somebody) || !status.health.is_empty() {
        Exit::NEEDS_LOGIN
    } else if any(note::is_retried) {
        Exit::RETRYING
    } else {
        Exit::OK
    }
}

/// Milliseconds since the Unix epoch.
pub(super) fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}
