//! The page of a sign-in, offered to a client that shows pages to its user
//! (2025-11-25, Elicitation > URL Mode), where no browser could be opened for it:
//! there is one tab. What the client answers changes nothing.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::{Gone, Relay};
use crate::oauth::browsers::SignInUrl;
use crate::protocol::ProtocolVersion;

/// A page, offered or not yet.
#[derive(Debug, Default)]
pub(super) enum Page {
    /// There is none, or a browser shows it.
    #[default]
    None,
    /// Nobody shows it.
    Hidden(SignInUrl),
    /// The client was asked to, by this id of the elicitation.
    Offered(SignInUrl, String),
}

impl Page {
    /// Notes that no browser shows a page, unless the client has it already.
    pub(super) fn hide(&mut self, url: SignInUrl) {
        if !matches!(self, Self::Offered(offered, _) if *offered == url) {
            *self = Self::Hidden(url);
        }
    }
}

impl Relay {
    /// Offers the page of a sign-in that no browser shows, once the client can be
    /// asked something.
    pub(super) async fn offer_page(&mut self) -> Result<(), Gone> {
        let Page::Hidden(url) = &self.sign_in.page else {
            return Ok(());
        };
        let shows = |relay: &Self| {
            let handshake = relay.handshake.as_ref()?;
            Some(handshake.shows_pages() && relay.version? == ProtocolVersion::V2025_11_25)
        };
        let is_initialized = self.lease.is_some() || self.initialized.is_some();
        if shows(self) != Some(true) || !is_initialized || self.input_ended {
            return Ok(());
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let id = format!("mcp-remote-{}", now.unwrap_or_default().as_micros());
        let server = &self.deps.server.shown;
        let message = match url.code() {
            Some(code) => format!("Sign in to {server} with the code {} to go on.", code.code),
            None => format!("Sign in to {server} to go on."),
        };
        // A text: the ids of what servers ask are numbers.
        let question = json!({
            "jsonrpc": "2.0",
            "id": format!("{id}-question"),
            "method": "elicitation/create",
            "params": {
                "mode": "url",
                "elicitationId": id,
                "url": url.as_str(),
                "message": message,
            },
        });
        self.sign_in.page = Page::Offered(url.clone(), id);
        self.say(question.to_string().into()).await
    }

    /// Tells the client that nobody has to visit the page any more.
    pub(super) async fn close_page(&mut self) -> Result<(), Gone> {
        let Page::Offered(_, id) = std::mem::take(&mut self.sign_in.page) else {
            return Ok(());
        };
        let said = json!({
            "jsonrpc": "2.0",
            "method": "notifications/elicitation/complete",
            "params": { "elicitationId": id },
        });
        self.say(said.to_string().into()).await
    }
}
