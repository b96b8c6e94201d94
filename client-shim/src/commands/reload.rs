//! `mcp-remote reload`: has the daemon read its files again.

use mcp_remote_proto::v1::ReloadRequest;

use crate::exit::{Exit, ShimError};
use crate::launch::{Found, Launcher};
use crate::notices::Notices;

use super::{answered, print};

/// Reloads. One that does not run reads everything when it starts.
///
/// # Errors
/// None runs, or its configuration cannot be used.
pub(crate) async fn run(launcher: &Launcher, notices: Notices) -> Result<Exit, ShimError> {
    let daemon = match launcher.find().await {
        Found::Daemon(daemon) => daemon,
        Found::Nothing => {
            return Err(ShimError::new(
                Exit::NOT_RUNNING,
                "mcp-remoted is not running: it reads its configuration when it starts",
            ));
        }
        Found::Silent(error) => return Err(error),
    };
    let answer = answered(&daemon, ReloadRequest {}).await?;
    for note in &answer.notes {
        notices.info(note);
    }
    match answer.changed.as_slice() {
        [] => print("Reloaded; no server has changed.\n"),
        changed => print(&format!("Reloaded; changed: {}.\n", changed.join(", "))),
    }
}
