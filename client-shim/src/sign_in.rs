//! What the person in front of the shim hears while somebody has to sign in, and
//! the browser that this shim is asked to open.
//!
//! The words about the URL are the npm package's: scripts look for them.

use mcp_remote_proto::browser;
use mcp_remote_proto::v1::relay_request::Frame;
use mcp_remote_proto::v1::{BrowserOpened, Display, OpenBrowser, SignIn, SignInState};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::bridge::link::{Requests, request};
use crate::launch;
use crate::notices::Notices;

/// Says how far a sign-in is.
pub(crate) fn say(notices: Notices, sign_in: &SignIn) {
    match sign_in.state() {
        SignInState::Unspecified => {}
        SignInState::Pending if browser::is_safe(&sign_in.url) => notices.info(format_args!(
            "\nPlease authorize this client by visiting:\n{}\n{}{}",
            sign_in.url,
            sign_in.text,
            if sign_in.text.is_empty() { "" } else { "\n" }
        )),
        SignInState::Pending => notices.error(format_args!(
            "{} asks for a sign-in at something that is not a web page",
            sign_in.server
        )),
        SignInState::BrowserOpened => notices.info("Browser opened automatically."),
        SignInState::BrowserNotOpened => notices.info(
            "Could not open a browser automatically. Please copy and paste the URL above into your browser.",
        ),
        SignInState::Done => notices.info(&sign_in.text),
        SignInState::Failed => notices.error(&sign_in.text),
    }
}

/// Opens browsers while the shim goes on, and tells the daemon whether it could.
#[derive(Default)]
pub(crate) struct Browsers(JoinSet<()>);

impl Browsers {
    /// Opens a browser; the answer goes out on `requests` unless they are closed
    /// by then.
    pub(crate) fn open(&mut self, asked: OpenBrowser, display: &Display, requests: &Requests) {
        while self.0.try_join_next().is_some() {}
        let (display, requests) = (display.clone(), requests.downgrade());
        self.0.spawn(async move {
            let ok = opened(asked.url, display).await;
            if let Some(requests) = requests.upgrade() {
                let answer = request(Frame::BrowserOpened(BrowserOpened { ok }));
                // Without a stream nobody waits for the answer.
                let _sent = requests.send(answer).await;
            }
        });
    }
}

/// Blocks a thread of its own, which the end of the process does not wait for.
async fn opened(url: String, display: Display) -> bool {
    let (sender, receiver) = oneshot::channel();
    let work = move || {
        launch::keep_from_children();
        let ok = display.may_open_browser && browser::open(&url, &display).is_ok();
        // Whoever waited may have left.
        let _sent = sender.send(ok);
    };
    let thread = std::thread::Builder::new().name("opener".to_owned());
    match thread.stack_size(128 * 1024).spawn(work) {
        Ok(_) => receiver.await.unwrap_or(false),
        Err(_) => false,
    }
}
