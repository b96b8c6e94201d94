//! The model of one client: what it is owed, and what it may hear.
//!
//! Every request is owed exactly one response, or was cancelled; a response carries
//! its own request's token; nothing carries anybody else's.

use std::collections::HashSet;
use std::sync::Arc;

use super::message::{Message, marks};
use super::world::{INVENTED, World};

/// One client's account.
#[derive(Debug)]
pub(super) struct Ledger {
    world: Arc<World>,
    client: usize,
    /// The kind of server that it talks to.
    server: &'static str,
    owed: Vec<Request>,
    cancelled: Vec<Request>,
    answered: HashSet<String>,
    /// Messages that were none: each is answered with an error without id.
    garbage: usize,
    initialize: Option<String>,
}

/// A request of the client.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// JSON text.
    pub(super) id: String,
    pub(super) token: String,
    /// The progress token as JSON text.
    pub(super) progress: Option<String>,
    /// Whether the server answers it without anybody doing anything for it.
    pub(super) by_itself: bool,
    /// Whether an error came that may have been for a cancelled one of the same id.
    pub(super) unclear: bool,
}

/// What a message means for the client.
#[derive(Debug)]
pub(super) enum Heard {
    Initialized,
    Response,
    /// The server asks something: the id and the mark.
    Question(String, String),
    Other,
}

impl Ledger {
    pub(super) fn new(world: Arc<World>, client: usize, server: &'static str) -> Self {
        Self {
            world,
            client,
            server,
            owed: Vec::new(),
            cancelled: Vec::new(),
            answered: HashSet::new(),
            garbage: 0,
            initialize: None,
        }
    }

    pub(super) fn initializes(&mut self, id: String) {
        self.initialize = Some(id);
    }

    pub(super) fn says_garbage(&mut self) {
        self.garbage += 1;
    }

    pub(super) fn asks(&mut self, request: Request) {
        self.world.count("requests");
        self.owed.push(request);
    }

    /// Returns the requests without a response.
    pub(super) fn owed(&self) -> &[Request] {
        &self.owed
    }

    pub(super) fn cancels(&mut self, at: usize) -> Request {
        let request = self.owed.remove(at);
        self.world.cancels(&request.token);
        self.world.count("cancelled");
        self.cancelled.push(request.clone());
        request
    }

    /// Takes a message in.
    pub(super) fn hears(&mut self, text: &str) -> Result<Heard, String> {
        let heard = self.checked(text);
        heard.map_err(|why| format!("client {} got {text}: {why}", self.client))
    }

    fn checked(&mut self, text: &str) -> Result<Heard, String> {
        if text.contains(INVENTED) && !text.contains("\"error\"") {
            return Err("it answers nothing".to_owned());
        }
        let own = format!("tok:{}:{}:", self.world.seed, self.client);
        if let Some(foreign) = marks(text, "tok:").find(|mark| !mark.starts_with(&own)) {
            return Err(format!("{foreign} is another client's"));
        }
        let here = format!("push:{}:{}:", self.world.seed, self.server);
        for push in marks(text, "push:") {
            if !push.starts_with(&here) {
                return Err(format!("{push} is another server's"));
            }
            if !self.world.push_arrives(push) {
                return Err(format!("{push} came before"));
            }
            self.world.count("pushes");
        }
        let message = Message::parse(text).ok_or("it is not a message")?;
        match message.method.as_deref() {
            None => self.response(&message, text),
            Some("notifications/progress") => self.progress(&message, text),
            Some(_) if message.id.is_some() => {
                let mark = message.params().ask.clone().ok_or("it asks nothing")?;
                Ok(Heard::Question(message.id().to_owned(), mark))
            }
            Some(_) => Ok(Heard::Other),
        }
    }

    fn response(&mut self, message: &Message, text: &str) -> Result<Heard, String> {
        let id = message.id();
        if self.initialize.as_deref() == Some(id) {
            self.initialize = None;
            return match (&message.result, self.world.calm) {
                (None, true) => Err("nothing is wrong with the server".to_owned()),
                _ => Ok(Heard::Initialized),
            };
        }
        if id == "null" {
            self.garbage = self.garbage.checked_sub(1).ok_or("nothing was garbage")?;
            return Ok(Heard::Other);
        }
        let token = marks(text, "tok:").next();
        let is = |request: &Request| {
            request.id == id && token.is_none_or(|token| request.token == token)
        };
        let cancelled = self.cancelled.iter().position(is);
        let Some(at) = self.owed.iter().position(is) else {
            // It crossed its cancellation.
            self.cancelled
                .remove(cancelled.ok_or("it answers nothing of this client")?);
            return Ok(Heard::Other);
        };
        if let (None, Some(cancelled)) = (token, cancelled) {
            self.cancelled.remove(cancelled);
            self.owed[at].unclear = true;
            self.owed[at].by_itself = false;
            return Ok(Heard::Other);
        }
        let request = self.owed.remove(at);
        self.judge(&request, message, text)?;
        self.answered.insert(request.token);
        Ok(Heard::Response)
    }

    fn judge(&self, request: &Request, message: &Message, text: &str) -> Result<(), String> {
        if message.result.is_some() {
            self.world.count("results");
            let whole = [request.token.as_str(), "12345678901234567890", r"\u00e9"];
            return match whole.iter().all(|part| text.contains(part)) {
                true => Ok(()),
                false => Err(format!("it is not what {} has for a result", request.token)),
            };
        }
        self.world.count("errors");
        if self.world.calm {
            return Err("nothing is wrong with the server".to_owned());
        }
        if text.contains(r#""maybeExecuted":false"#) && self.world.was_executed(&request.token) {
            return Err(format!("{} was executed", request.token));
        }
        Ok(())
    }

    fn progress(&self, message: &Message, text: &str) -> Result<Heard, String> {
        let mark = marks(text, "tok:").next().ok_or("it has no mark")?;
        let wanted = message.params().progress_token.as_ref();
        let wanted = wanted.ok_or("it has no progress token")?.get();
        self.world.count("progress");
        let is = |request: &&Request| request.token == mark;
        let mut known = self.owed.iter().chain(&self.cancelled);
        match known.find(is) {
            Some(request) if request.progress.as_deref() == Some(wanted) => Ok(Heard::Other),
            Some(request) => Err(format!("the progress token was {:?}", request.progress)),
            None => Err(format!("{mark} is over")),
        }
    }

    /// Checks that nothing is owed any more.
    pub(super) fn settled(&mut self) -> Result<(), String> {
        let mut left = std::mem::take(&mut self.owed);
        left.retain(|request| !request.unclear);
        if !left.is_empty() {
            return Err(format!("client {} is owed {left:?}", self.client));
        }
        if self.garbage > 0 {
            return Err(format!(
                "client {} has no error for {} messages that were none",
                self.client, self.garbage
            ));
        }
        Ok(())
    }
}
