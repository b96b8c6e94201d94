//! `mcp-remote URL` at a terminal, and `mcp-remote login URL`: signs in if that
//! is needed, says who answers, and leaves.
//!
//! Interrupting it gives nothing up: the sign-in is the daemon's. A line on
//! standard input is the URL that a browser elsewhere ended on.

use mcp_remote_proto::v1::relay_request::Frame as Sent;
use mcp_remote_proto::v1::relay_response::Frame;
use mcp_remote_proto::v1::{CompleteSignIn, Purpose, SignInState};

use crate::bridge::Opening;
use crate::bridge::link::{Event, Link, Requests, request};
use crate::exit::{Exit, ShimError};
use crate::launch::Launcher;
use crate::notices::Notices;
use crate::sign_in::{self, Browsers};
use crate::stdio::{Input, Line};

use super::check::ended;

/// Signs in and checks the server.
///
/// # Errors
/// Why it cannot be used, in the daemon's words.
pub(crate) async fn run(
    opening: &Opening,
    launcher: &Launcher,
    notices: Notices,
) -> Result<Exit, ShimError> {
    let daemon = launcher.connect().await?;
    let mut link = Link::open(daemon, opening.open(Purpose::Login));
    let mut input = Input::start()
        .map_err(|error| ShimError::general(format!("standard input cannot be used: {error}")))?;
    let mut requests = None;
    let mut browsers = Browsers::default();
    let mut connected = false;
    loop {
        let event = tokio::select! {
            biased;
            event = link.event() => event,
            lines = input.lines(), if !input.has_ended() && requests.is_some() => {
                paste(lines, requests.as_ref()).await;
                continue;
            }
        };
        match event {
            Event::Frame(Frame::Server(server)) => {
                notices.info(opening.connected(&server));
                connected = true;
            }
            Event::Frame(Frame::SignIn(asked)) => {
                sign_in::say(notices, &asked);
                if asked.state() == SignInState::BrowserNotOpened {
                    notices.info("If it is on another machine, paste the URL of the page that it ends on here.");
                }
            }
            Event::Frame(Frame::OpenBrowser(asked)) => {
                if let Some(requests) = &requests {
                    browsers.open(asked, opening.display(), requests);
                }
            }
            Event::Frame(Frame::Notice(notice)) => opening.notice(notices, &notice),
            Event::Frame(Frame::Goodbye(goodbye)) => notices.info(goodbye.text),
            Event::Opened(opened) => requests = Some(opened),
            Event::Ended(result) => return ended(result, connected, opening),
            Event::Failed(error) => return Err(error),
            Event::Frame(Frame::Message(_) | Frame::Output(_) | Frame::Finished(_))
            | Event::Found(_) => {}
        }
    }
}

/// Passes on what was pasted.
async fn paste(lines: Vec<Line>, requests: Option<&Requests>) {
    for line in lines {
        let Line::Message(text) = line else { continue };
        let redirect_url = String::from_utf8_lossy(&text).trim().to_owned();
        if let Some(requests) = requests.filter(|_| !redirect_url.is_empty()) {
            let pasted = Sent::CompleteSignIn(CompleteSignIn { redirect_url });
            // The stream's end is about to say why it has closed.
            let _sent = requests.send(request(pasted)).await;
        }
    }
}
