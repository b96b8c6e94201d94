//! One client: what it says follows from the seed; what it hears goes to its ledger.

use std::sync::Arc;

use super::ledger::{Heard, Ledger, Request};
use super::link::Link;
use super::random::Random;
use super::script::Script;
use super::server::Kind;
use super::world::{INVENTED, World};
use crate::monitor::PATIENCE;

/// Ids that every client uses, again and again.
const IDS: [&str; 7] = [
    "0",
    "1",
    "\"1\"",
    "\"a\"",
    "2",
    "9007199254740993",
    "\"\\u00e9\"",
];

/// Progress tokens that every client uses.
const PROGRESS: [&str; 4] = ["1", "\"1\"", "2", "\"p\""];

const METHODS: [&str; 4] = ["tools/call", "tools/call", "resources/read", "vendor/x"];

/// A client and its connection.
#[derive(Debug)]
pub(super) struct Client {
    world: Arc<World>,
    number: usize,
    kind: Kind,
    link: Link,
    random: Random,
    ledger: Ledger,
    /// Questions of the server that are not answered yet.
    questions: Vec<(String, String)>,
    said: usize,
    ended: bool,
}

impl Client {
    pub(super) fn new(world: Arc<World>, kind: Kind, link: Link, number: usize) -> Self {
        Self {
            number,
            kind,
            link,
            random: world.random(&format!("client {number}")),
            ledger: Ledger::new(world.clone(), number, kind.path()),
            world,
            questions: Vec::new(),
            said: 0,
            ended: false,
        }
    }

    /// Begins as MCP demands.
    pub(super) async fn begin(&mut self) -> Result<(), String> {
        let id = (*self.random.pick(&IDS)).to_owned();
        let version = *self
            .random
            .pick(&["2025-03-26", "2025-06-18", "2025-11-25"]);
        let name = *self.random.pick(&["one", "two"]);
        self.ledger.initializes(id.clone());
        self.say(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"initialize","params":{{"protocolVersion":"{version}","capabilities":{{"sampling":{{}}}},"clientInfo":{{"name":"{name}","version":"1"}}}}}}"#
        ))
        .await?;
        while !matches!(self.hear().await?, Heard::Initialized) {}
        self.say(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#)
            .await
    }

    /// Says what it has to say.
    pub(super) async fn talk(&mut self) -> Result<(), String> {
        for _ in 0..2 + self.random.below(10) {
            match self.random.below(12) {
                0..=5 => self.request().await?,
                6 => self.cancel().await?,
                7 => self.answer(usize::MAX).await?,
                8 => self.notify().await?,
                9 if !self.world.calm => self.nonsense().await?,
                _ => self.wait().await?,
            }
        }
        Ok(())
    }

    async fn request(&mut self) -> Result<(), String> {
        self.said += 1;
        let token = format!("tok:{}:{}:{}:", self.world.seed, self.number, self.said);
        // An id that is in flight is not used again; one that was is.
        let free: Vec<&&str> = IDS.iter().filter(|id| !self.is_owed(id)).collect();
        let Some(id) = (!free.is_empty()).then(|| (**self.random.pick(&free)).to_owned()) else {
            return Ok(());
        };
        let progress = self.random.one_in(2);
        let progress = progress.then(|| (*self.random.pick(&PROGRESS)).to_owned());
        let meta = match &progress {
            Some(token) => format!(r#","_meta":{{"progressToken":{token}}}"#),
            None => String::new(),
        };
        let method = self.random.pick(&METHODS);
        let message = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{"token":"{token}"{meta}}}}}"#
        );
        let script = Script::of(&self.world, &token);
        self.ledger.asks(Request {
            by_itself: script.answers_by_itself(self.kind),
            id,
            token,
            progress,
            unclear: false,
        });
        self.say(&message).await
    }

    fn is_owed(&self, id: &str) -> bool {
        self.ledger.owed().iter().any(|request| request.id == id)
    }

    async fn cancel(&mut self) -> Result<(), String> {
        if self.ledger.owed().is_empty() {
            return Ok(());
        }
        let at = self.random.below(self.ledger.owed().len());
        self.cancel_at(at).await
    }

    async fn cancel_at(&mut self, at: usize) -> Result<(), String> {
        let Request { id, .. } = self.ledger.cancels(at);
        self.say(&format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
        ))
        .await
    }

    async fn notify(&mut self) -> Result<(), String> {
        let token = format!("tok:{}:{}:0:", self.world.seed, self.number);
        self.say(&format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/roots/list_changed","params":{{"token":"{token}"}}}}"#
        ))
        .await
    }

    /// Says what is no message, or answers what nobody asked.
    async fn nonsense(&mut self) -> Result<(), String> {
        if self.random.one_in(2) {
            self.ledger.says_garbage();
            return self.say("{nonsense").await;
        }
        let id = *self.random.pick(&["1000000007", "\"b\"", "-3"]);
        self.say(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"result":{{"answer":"{INVENTED}"}}}}"#
        ))
        .await
    }

    /// Answers questions, the newest first.
    async fn answer(&mut self, most: usize) -> Result<(), String> {
        for _ in 0..most {
            let Some((id, mark)) = self.questions.pop() else {
                break;
            };
            self.say(&format!(
                r#"{{"jsonrpc":"2.0","id":{id},"result":{{"answer":"{mark}"}}}}"#
            ))
            .await?;
        }
        Ok(())
    }

    /// Waits for a response, if one comes without anybody doing anything for it.
    async fn wait(&mut self) -> Result<(), String> {
        while self.ledger.owed().iter().any(|request| request.by_itself) {
            if let Heard::Response = self.hear().await? {
                break;
            }
        }
        Ok(())
    }

    /// Leaves without a word.
    pub(super) fn cut(self) {
        self.world.note(format!("client {} is gone", self.number));
        self.world.count("clients cut");
        self.world.leaves(self.number);
    }

    /// Cancels what would keep it waiting, then leaves with all answers.
    pub(super) async fn leave(mut self) -> Result<(), String> {
        let waits = |request: &Request| !request.by_itself;
        while let Some(at) = self.ledger.owed().iter().position(waits) {
            self.cancel_at(at).await?;
        }
        self.finish().await
    }

    /// Listens until nothing is held up any more, then leaves with all answers.
    pub(super) async fn stay(mut self) -> Result<(), String> {
        loop {
            let world = self.world.clone();
            tokio::select! {
                () = world.released() => break,
                heard = self.link.next() => self.heard(heard).await?,
            };
        }
        self.finish().await
    }

    async fn finish(mut self) -> Result<(), String> {
        self.world
            .note(format!("client {} has said all", self.number));
        self.world.leaves(self.number);
        self.link.half_close();
        while !self.ended {
            self.hear().await?;
        }
        self.ledger.settled()
    }

    async fn say(&mut self, message: &str) -> Result<(), String> {
        self.world
            .note(format!("client {} -> {message}", self.number));
        let sent = tokio::time::timeout(PATIENCE, self.link.send(message)).await;
        sent.unwrap_or_else(|_| Err("nobody reads".to_owned()))
            .map_err(|why| format!("client {}: {why}", self.number))
    }

    async fn hear(&mut self) -> Result<Heard, String> {
        let heard = tokio::time::timeout(PATIENCE, self.link.next()).await;
        match heard {
            Ok(heard) => self.heard(heard).await,
            Err(_) => Err(format!(
                "client {} waited {PATIENCE:?}; it is owed {:?}",
                self.number,
                self.ledger.owed()
            )),
        }
    }

    async fn heard(&mut self, heard: Result<Option<String>, String>) -> Result<Heard, String> {
        let heard = heard.map_err(|why| format!("client {}: {why}", self.number))?;
        let Some(text) = heard else {
            self.ended = true;
            return match self.world.has_left(self.number) {
                true => Ok(Heard::Other),
                false => Err(format!("client {}: its stream ended", self.number)),
            };
        };
        self.world.note(format!("client {} <- {text}", self.number));
        let heard = self.ledger.hears(&text)?;
        if let Heard::Question(id, mark) = &heard {
            self.questions.push((id.clone(), mark.clone()));
            if self.random.one_in(2) {
                self.answer(1).await?;
            }
        }
        Ok(heard)
    }
}
