//! `mcp-remote logout`: forgets who is signed in to a server, or to all.

use std::time::Duration;

use mcp_remote_proto::v1::{LogoutRequest, Purpose};
use tonic::Code;

use crate::bridge::Opening;
use crate::exit::{Exit, ShimError};
use crate::launch::Launcher;
use crate::notices::Notices;

use super::print;

/// A daemon revokes tokens at servers, which have 20 s each to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Signs out. `opening`: of which server; `None`: of all. The daemon is started
/// for it if none runs, since tokens outlive it.
///
/// # Errors
/// The daemon does not do it.
pub(crate) async fn run(
    opening: Option<&Opening>,
    request: LogoutRequest,
    launcher: &Launcher,
    notices: Notices,
) -> Result<Exit, ShimError> {
    let daemon = launcher.connect().await?;
    let request = LogoutRequest {
        open: opening.map(|opening| opening.open(Purpose::Unspecified)),
        ..request
    };
    let server = opening.map_or("any server", Opening::server);
    let answer = tokio::time::timeout(PATIENCE, daemon.ask(request)).await;
    let answer = match answer {
        Ok(Ok(answer)) => answer,
        Ok(Err(status)) if status.code() == Code::Unimplemented => {
            return Err(ShimError::new(
                Exit::VERSION_MISMATCH,
                format!("{daemon} cannot sign out: run mcp-remote stop, then try again"),
            ));
        }
        Ok(Err(status)) => return Err(ShimError::general(status.message())),
        Err(_) => {
            return Err(ShimError::general(format!(
                "{daemon} does not answer: end that process and try again"
            )));
        }
    };
    for note in &answer.notes {
        notices.info(note);
    }
    let text = match answer.signed_out {
        0 => format!("Nobody was signed in to {server}.\n"),
        1 if opening.is_some() => format!("Signed out of {server}.\n"),
        count => format!("Signed out {count} times.\n"),
    };
    print(&text)
}
