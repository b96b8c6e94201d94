//! `mcp-remote add`: has the daemon write a server into its configuration.

use mcp_remote_proto::v1::AddServerRequest;

use crate::cli::AddArguments;
use crate::exit::{Exit, ShimError};
use crate::launch::Launcher;
use crate::notices::Notices;

use super::{answered, print};

/// Adds the server. The daemon is started for it if none runs: it alone knows the
/// file.
///
/// # Errors
/// The daemon refuses, in its own words.
pub(crate) async fn run(
    arguments: AddArguments,
    launcher: &Launcher,
    notices: Notices,
) -> Result<Exit, ShimError> {
    let daemon = launcher.connect().await?;
    let AddArguments {
        name,
        url,
        settings,
        replace,
    } = arguments;
    let request = AddServerRequest {
        name: name.clone(),
        url,
        settings,
        replace,
    };
    let answer = answered(&daemon, request).await?;
    for note in &answer.notes {
        notices.info(note);
    }
    let done = if answer.replaced { "Replaced" } else { "Added" };
    print(&format!("{done} {name} in {}.\n", answer.file))
}
