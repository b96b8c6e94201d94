//! `mcp-remote status`: what the daemon holds, for people or for programs.
//!
//! Never starts a daemon: asking must not change the answer.

use std::time::Duration;

use mcp_remote_proto::v1::{StatusRequest, StatusResponse};

use crate::exit::{Exit, ShimError};
use crate::launch::{Found, Launcher};

use super::print;

mod document;
mod grants;
mod table;

/// A daemon answers from memory; one that takes this long hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// Prints the status.
///
/// # Errors
/// The daemon runs and does not answer.
pub(crate) async fn run(
    server: Option<String>,
    json: bool,
    launcher: &Launcher,
) -> Result<Exit, ShimError> {
    let daemon = match launcher.look().await {
        Found::Daemon(daemon) => daemon,
        Found::Silent(error) => return Err(error),
        Found::Nothing if json => {
            print("{\"running\":false}\n")?;
            return Ok(Exit::NOT_RUNNING);
        }
        Found::Nothing => {
            return Err(ShimError::new(
                Exit::NOT_RUNNING,
                "mcp-remoted is not running: the next mcp-remote URL starts it",
            ));
        }
    };
    let request = StatusRequest {
        server: server.clone().unwrap_or_default(),
    };
    let answer = tokio::time::timeout(PATIENCE, daemon.management().status(request)).await;
    let status: StatusResponse = match answer {
        Ok(Ok(status)) => status.into_inner(),
        Ok(Err(status)) => {
            return Err(ShimError::general(format!(
                "{daemon} does not say its status: {}",
                status.message()
            )));
        }
        Err(_) => {
            return Err(ShimError::general(format!(
                "{daemon} does not answer: end that process and try again"
            )));
        }
    };
    if json {
        print(&document::document(&status))
    } else {
        print(&table::table(&status, server.as_deref(), now_ms()))
    }
}

fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}
