//! `mcp-remote URL` at a terminal: connects, says who answers, and leaves.

use mcp_remote_proto::v1::Purpose;
use mcp_remote_proto::v1::relay_response::Frame;

use crate::bridge::Opening;
use crate::bridge::link::{Event, Link};
use crate::exit::{Exit, ShimError};
use crate::launch::Launcher;
use crate::notices::Notices;

/// Checks the server.
///
/// # Errors
/// Why it cannot be used, in the daemon's words.
pub(crate) async fn run(
    opening: Opening,
    launcher: &Launcher,
    notices: Notices,
) -> Result<Exit, ShimError> {
    let daemon = launcher.connect().await?;
    let mut link = Link::open(daemon, opening.open(Purpose::Check));
    let mut connected = false;
    loop {
        match link.event().await {
            Event::Frame(Frame::Server(server)) => {
                notices.info(opening.connected(&server));
                connected = true;
            }
            Event::Frame(Frame::Notice(notice)) => opening.notice(notices, &notice),
            Event::Frame(Frame::Goodbye(goodbye)) => notices.info(goodbye.text),
            Event::Ended(Ok(())) if connected => return Ok(Exit::OK),
            Event::Ended(Ok(())) => {
                return Err(ShimError::general(format!(
                    "mcp-remoted ended the check of {} without an answer: try again",
                    opening.server()
                )));
            }
            Event::Ended(Err(status)) => {
                crate::bridge::refusal(&status)?;
                return Err(ShimError::general(crate::bridge::describe(&status)));
            }
            Event::Failed(error) => return Err(error),
            // Nothing follows the first frame.
            Event::Opened(requests) => drop(requests),
            Event::Frame(_) | Event::Found(_) => {}
        }
    }
}
