//! A session as its server knows it: who uses it, what was asked in it, and the
//! stream for what the server says unasked.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, watch};

use super::message::{Message, client_of};
use super::script;
use super::world::World;

/// A piece of a stream; `None` breaks the connection.
pub(super) type Piece = Option<Vec<u8>>;

/// Pieces that a server may write ahead of its connection.
pub(super) const PIECES: usize = 64;

/// One session, or all that a server without sessions knows.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: String,
    /// Whether the server gives ids: then one client at a time uses the session.
    pub(super) exclusive: bool,
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    gone: bool,
    users: HashSet<usize>,
    /// What the client was asked, by id: the mark, and whether it has answered.
    asks: HashMap<String, (String, bool)>,
    /// Tokens of requests by the id that they have here.
    running: HashMap<String, String>,
    cancelled: HashSet<String>,
    pushes: Option<mpsc::Sender<Piece>>,
    /// Answers that have lost their stream.
    strays: Vec<String>,
}

impl Session {
    pub(super) fn new(id: String, exclusive: bool) -> Arc<Self> {
        Arc::new(Self {
            id,
            exclusive,
            state: Mutex::default(),
            changed: watch::Sender::new(()),
        })
    }

    fn update<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let result = change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.send_replace(());
        result
    }

    async fn until(&self, ready: impl Fn(&State) -> bool) {
        let mut changes = self.changed.subscribe();
        while !ready(&self.state.lock().unwrap_or_else(PoisonError::into_inner)) {
            // The sender is ours: it does not go away meanwhile.
            let _ = changes.changed().await;
        }
    }

    /// Takes note of who uses it.
    pub(super) fn used_by(&self, world: &World, token: &str) {
        let Some(client) = client_of(token) else {
            return world.violation(format!("a request without owner: {token}"));
        };
        let others = self.update(|state| {
            state.users.insert(client);
            state.users.clone()
        });
        let mut here = others.iter().filter(|other| **other != client);
        if let Some(other) = here.find(|other| self.exclusive && !world.has_left(**other)) {
            world.violation(format!(
                "client {client} is in the session of client {other}"
            ));
        }
    }

    pub(super) fn begin(&self, world: &World, id: &str, token: &str) {
        let before = self.update(|state| state.running.insert(id.to_owned(), token.to_owned()));
        if let Some(before) = before
            && self.exclusive
            && before != token
        {
            world.violation(format!("{before} and {token} have the same id {id}"));
        }
    }

    /// Handles a cancellation. Without sessions the server cannot tell whose request
    /// has this id.
    pub(super) fn cancel(&self, world: &World, id: &str) {
        if !self.exclusive {
            return;
        }
        let token = self.update(|state| {
            state.cancelled.insert(id.to_owned());
            state.running.get(id).cloned()
        });
        if let Some(token) = token
            && !world.may_be_cancelled(&token)
        {
            world.violation(format!("{token} was cancelled, and not by its client"));
        }
    }

    pub(super) async fn cancelled(&self, id: &str) {
        self.until(|state| state.cancelled.contains(id)).await;
    }

    /// Asks under an id that other questions of the session do not have, but those of
    /// other sessions and requests may. Returns id and message.
    pub(super) fn ask(&self, world: &World, mark: &str, text: bool) -> (String, String) {
        world.count("questions");
        let id = self.update(|state| {
            let number = state.asks.len();
            let id = match text {
                true => format!("\"{number}\""),
                false => number.to_string(),
            };
            state.asks.insert(id.clone(), (mark.to_owned(), false));
            id
        });
        let message = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"sampling/createMessage","params":{{"ask":"{mark}","maxTokens":1}}}}"#
        );
        (id, message)
    }

    pub(super) async fn answered(&self, id: &str) {
        self.until(|state| state.asks.get(id).is_some_and(|(_, answered)| *answered))
            .await;
    }

    /// Handles a response of the client.
    pub(super) fn answer(&self, world: &World, message: &Message, text: &str) {
        let ask = self.update(|state| {
            let (mark, answered) = state.asks.get_mut(message.id())?;
            Some((mark.clone(), std::mem::replace(answered, true)))
        });
        match ask {
            None => world.violation(format!("a response to nothing in {}: {text}", self.id)),
            Some((_, true)) => world.violation(format!("answered twice: {text}")),
            // Ours, because the client had gone.
            Some(_) if message.error.is_some() => world.count("questions refused"),
            Some((mark, _)) if text.contains(&format!("\"{mark}\"")) => {
                world.count("questions answered");
            }
            Some((mark, _)) => world.violation(format!("{mark} was answered with {text}")),
        }
    }

    /// Returns the token of the request whose stream has this name.
    pub(super) fn resumed(&self, stream: &str) -> Option<String> {
        self.update(|state| state.running.get(stream).cloned())
    }

    /// Keeps an answer for another stream.
    pub(super) fn lose(&self, id: &str, token: &str) {
        self.update(|state| state.strays.push(script::answer(id, token)));
    }

    pub(super) fn stray(&self) -> Option<String> {
        self.update(|state| state.strays.pop())
    }

    /// Opens the stream for what is unasked; an earlier one ends.
    pub(super) fn open_pushes(&self) -> mpsc::Receiver<Piece> {
        let (pushes, pieces) = mpsc::channel(PIECES);
        self.update(|state| state.pushes = Some(pushes));
        pieces
    }

    pub(super) fn pushes(&self) -> Option<mpsc::Sender<Piece>> {
        self.update(|state| state.pushes.clone())
    }

    pub(super) fn cut_pushes(&self) {
        self.update(|state| state.pushes = None);
    }

    pub(super) fn forget(&self) {
        self.update(|state| {
            state.gone = true;
            state.pushes = None;
        });
    }

    pub(super) fn is_gone(&self) -> bool {
        self.update(|state| state.gone)
    }
}
