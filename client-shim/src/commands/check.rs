//! `mcp-remote URL` whose standard input is empty: says by its exit code whether
//! the server can be used. Never signs in and opens no browser.

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
    opening: &Opening,
    launcher: &Launcher,
    notices: Notices,
) -> Result<Exit, ShimError> {
    let daemon = launcher.connect().await?;
    let mut link = Link::open(daemon, opening.open(Purpose::Check));
    let mut connected = false;
    loop {
        match link.event().await {
            Event::Frame(Frame::Server(server)) => {
                notices.debug(opening.connected(&server));
                connected = true;
            }
            Event::Frame(Frame::Notice(notice)) => opening.notice(notices, &notice),
            Event::Frame(Frame::Goodbye(goodbye)) => notices.info(goodbye.text),
            Event::Ended(result) => return ended(result, connected, opening),
            Event::Failed(error) => return Err(error),
            // Nothing follows the first frame.
            Event::Opened(requests) => drop(requests),
            Event::Frame(_) | Event::Found(_) => {}
        }
    }
}

/// What the end of a stream without messages means.
///
/// # Errors
/// The daemon's own sentence.
pub(super) fn ended(
    result: Result<(), tonic::Status>,
    connected: bool,
    opening: &Opening,
) -> Result<Exit, ShimError> {
    match result {
        Ok(()) if connected => Ok(Exit::OK),
        Ok(()) => Err(ShimError::general(format!(
            "mcp-remoted ended the check of {} without an answer: try again",
            opening.server()
        ))),
        Err(status) if status.code() == tonic::Code::Unauthenticated => {
            Err(ShimError::new(Exit::NEEDS_LOGIN, status.message()))
        }
        Err(status) => {
            crate::bridge::refusal(&status)?;
            Err(ShimError::general(crate::bridge::describe(&status)))
        }
    }
}
