//! One seed's world: what happened in it, what must not, and who is done.
//!
//! Clients and servers report here; the first violation ends the seed with its
//! transcript. Marks: `tok:SEED:CLIENT:NUMBER:` stands in everything about one
//! request, `push:SEED:SERVER:NUMBER:` in what a server says unasked, [`INVENTED`]
//! in what must reach nobody.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::message::client_of;
use super::random::Random;

/// Stands in messages that answer nothing: no client and no server may see them.
pub(super) const INVENTED: &str = "invented";

/// One seed's world.
#[derive(Debug)]
pub(super) struct World {
    pub(super) seed: u64,
    /// Nothing is lost and nobody is hostile: every request has a result.
    pub(super) calm: bool,
    facts: Mutex<Facts>,
    /// Whether everybody has said what they had to say: nothing is held up any more.
    released: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Facts {
    transcript: Vec<String>,
    violation: Option<String>,
    /// How often each tool call was executed.
    executions: HashMap<String, usize>,
    /// Calls that were told that their session is gone.
    refused: HashSet<String>,
    pushes: usize,
    /// Pushes that arrived.
    pushed: HashSet<String>,
    /// Requests that their clients have cancelled, or are about to.
    cancelled: HashSet<String>,
    /// Clients that have gone, or are about to.
    left: HashSet<usize>,
    clients: HashMap<usize, usize>,
    busy: usize,
    tally: Tally,
}

/// How often what happened; shows that a run was not idle.
pub type Tally = BTreeMap<&'static str, usize>;

impl World {
    pub(super) fn new(seed: u64, slots: usize) -> Self {
        Self {
            seed,
            calm: Random::of(seed, "calm").one_in(5),
            facts: Mutex::new(Facts {
                busy: slots,
                ..Facts::default()
            }),
            released: watch::Sender::new(false),
        }
    }

    pub(super) fn random(&self, purpose: &str) -> Random {
        Random::of(self.seed, purpose)
    }

    pub(super) fn note(&self, line: String) {
        self.facts().transcript.push(line);
    }

    pub(super) fn count(&self, what: &'static str) {
        *self.facts().tally.entry(what).or_default() += 1;
    }

    /// Reports what must not be.
    pub(super) fn violation(&self, what: String) {
        let mut facts = self.facts();
        facts.transcript.push(format!("!!! {what}"));
        facts.violation.get_or_insert(what);
    }

    /// Returns the tally, or the first violation and how it came to it.
    pub(super) fn verdict(&self) -> Result<Tally, String> {
        let facts = self.facts();
        match &facts.violation {
            None => Ok(facts.tally.clone()),
            Some(violation) => Err(format!(
                "seed {}: {violation}\n{}",
                self.seed,
                facts.transcript.join("\n")
            )),
        }
    }

    /// Numbers the clients of a slot.
    pub(super) fn new_client(&self, slot: usize) -> usize {
        let mut facts = self.facts();
        let before = facts.clients.entry(slot).or_default();
        *before += 1;
        slot * 10 + *before
    }

    pub(super) fn leaves(&self, client: usize) {
        self.facts().left.insert(client);
    }

    pub(super) fn has_left(&self, client: usize) -> bool {
        self.facts().left.contains(&client)
    }

    pub(super) fn cancels(&self, token: &str) {
        self.facts().cancelled.insert(token.to_owned());
    }

    pub(super) fn may_be_cancelled(&self, token: &str) -> bool {
        let facts = self.facts();
        let left = client_of(token).is_some_and(|client| facts.left.contains(&client));
        left || facts.cancelled.contains(token)
    }

    /// A server executes a request.
    pub(super) fn executed(&self, token: &str, method: &str) {
        let mut facts = self.facts();
        let times = facts.executions.entry(token.to_owned()).or_default();
        *times += 1;
        let twice = *times > 1 && method != "resources/read";
        drop(facts);
        if twice {
            self.violation(format!("{token} was executed twice"));
        }
    }

    pub(super) fn was_executed(&self, token: &str) -> bool {
        self.facts().executions.contains_key(token)
    }

    /// Says whether a call is refused for the first time.
    pub(super) fn refuse_once(&self, token: &str) -> bool {
        self.facts().refused.insert(token.to_owned())
    }

    pub(super) fn new_push(&self, kind: &str) -> String {
        let mut facts = self.facts();
        facts.pushes += 1;
        format!("push:{}:{kind}:{}:", self.seed, facts.pushes)
    }

    /// Says whether a push arrives for the first time.
    pub(super) fn push_arrives(&self, mark: &str) -> bool {
        self.facts().pushed.insert(mark.to_owned())
    }

    /// A slot has said all it has to say; after the last, nothing is held up.
    pub(super) fn slot_is_done(&self) {
        let mut facts = self.facts();
        facts.busy -= 1;
        let all = facts.busy == 0;
        drop(facts);
        if all {
            self.note("--- everybody has said everything".to_owned());
            self.released.send_replace(true);
        }
    }

    pub(super) fn end(&self) {
        self.released.send_replace(true);
    }

    pub(super) async fn released(&self) {
        // The sender is ours: it does not go away meanwhile.
        let mut released = self.released.subscribe();
        drop(released.wait_for(|released| *released).await);
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
