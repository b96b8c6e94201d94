//! `mcp-remote stop`: ends the daemon and waits until it has gone.

use mcp_remote_proto::v1::StopRequest;

use crate::exit::{Exit, ShimError};
use crate::launch::{Found, Launcher, PATIENCE, gone};

use super::print;

/// Stops the daemon.
///
/// # Errors
/// None runs, or it does not stop.
pub(crate) async fn run(launcher: &Launcher) -> Result<Exit, ShimError> {
    let daemon = match launcher.look().await {
        Found::Daemon(daemon) => daemon,
        Found::Nothing => {
            return Err(ShimError::new(
                Exit::NOT_RUNNING,
                "mcp-remoted is not running: there is nothing to stop",
            ));
        }
        Found::Silent(error) => return Err(error),
    };
    let pid = daemon.hello.pid;
    let answer = tokio::time::timeout(PATIENCE, daemon.ask(StopRequest {})).await;
    if let Ok(Err(status)) = answer {
        return Err(ShimError::general(format!(
            "mcp-remoted (pid {pid}) does not stop: {}",
            status.message()
        )));
    }
    if gone(daemon, PATIENCE).await {
        launcher.forgive();
        print(&format!("mcp-remoted (pid {pid}) has stopped\n"))
    } else {
        Err(ShimError::general(format!(
            "mcp-remoted (pid {pid}) was asked to stop and is still running: end that process"
        )))
    }
}
