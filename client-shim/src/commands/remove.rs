//! `mcp-remote remove`: has the daemon take a server out of its configuration.

use mcp_remote_proto::v1::RemoveServerRequest;

use crate::exit::{Exit, ShimError};
use crate::launch::Launcher;
use crate::notices::Notices;

use super::{answered, print};

/// Removes the server. Who is signed in to it stays so.
///
/// # Errors
/// The daemon refuses, in its own words.
pub(crate) async fn run(
    name: String,
    launcher: &Launcher,
    notices: Notices,
) -> Result<Exit, ShimError> {
    let daemon = launcher.connect().await?;
    let request = RemoveServerRequest { name: name.clone() };
    let answer = answered(&daemon, request).await?;
    for note in &answer.notes {
        notices.info(note);
    }
    print(&format!("Removed {name} from {}.\n", answer.file))
}
