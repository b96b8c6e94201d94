//! What the members of a session have switched on in it: its log level and its
//! resource subscriptions, of which the protocol has one set a session. Pure.
//!
//! Invariants, where a session is shared: it logs at the most verbose level that
//! a member wants; it is subscribed to what at least one member is; of each switch
//! one change is under way at a time. `W` is a request that waits for its turn.

mod adopting;
mod level;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use bytes::Bytes;
use serde::Deserialize;

use crate::jsonrpc::Envelope;
pub(crate) use level::Level;

/// Subscriptions that are remembered in one session. Past it they cannot be
/// undone one by one; where several share it, there are no more.
const MAX_URIS: usize = 10_000;

/// A change of a session's switches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// `resources/subscribe`.
    Subscribe(Box<str>),
    /// `resources/unsubscribe`.
    Unsubscribe(Box<str>),
    /// `logging/setLevel`.
    Level(Level),
}

impl Change {
    /// Reads a request; `None` if it changes no switch, the inner one if it means
    /// to and cannot be understood.
    pub(crate) fn of(request: &Envelope) -> Option<Option<Self>> {
        #[derive(Deserialize)]
        struct Params {
            uri: Box<str>,
        }
        let uri = || request.params::<Params>().map(|params| params.uri);
        match request.method()? {
            "resources/subscribe" => Some(uri().map(Self::Subscribe)),
            "resources/unsubscribe" => Some(uri().map(Self::Unsubscribe)),
            "logging/setLevel" => Some(Level::of(request).map(Self::Level)),
            _ => None,
        }
    }

    /// Returns the request for it.
    pub(crate) fn message(&self, id: u64) -> Bytes {
        let (method, params) = match self {
            Self::Subscribe(uri) => ("resources/subscribe", serde_json::json!({ "uri": uri })),
            Self::Unsubscribe(uri) => ("resources/unsubscribe", serde_json::json!({ "uri": uri })),
            Self::Level(level) => (
                "logging/setLevel",
                serde_json::json!({ "level": level.as_str() }),
            ),
        };
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#).into()
    }
}

/// How a change that went upstream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The server did it.
    Done,
    /// The server did not.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// What to do with a request, now or after its turn has come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Course<W> {
    /// Send it, or this in its place; then [`Switches::settle`].
    Upstream(W, Option<Change>),
    /// It is so already: say that it is done.
    Here(W),
    /// Send this in one's own name, with this id; then [`Switches::settle`].
    Own(u64, Change),
}

/// The way to one switch.
#[derive(Debug)]
struct Lane<W> {
    /// The request that is on it.
    busy: Option<u64>,
    waiting: VecDeque<Waiting<W>>,
}

#[derive(Debug)]
struct Waiting<W> {
    member: u64,
    id: u64,
    change: Change,
    request: W,
}

impl<W> Default for Lane<W> {
    fn default() -> Self {
        Self {
            busy: None,
            waiting: VecDeque::new(),
        }
    }
}

#[derive(Debug)]
struct Subscription<W> {
    /// Members that are subscribed, or may be.
    holders: BTreeSet<u64>,
    /// Whether the server is known to have it.
    upstream: bool,
    lane: Lane<W>,
}

/// The switches of one session.
#[derive(Debug)]
pub(crate) struct Switches<W> {
    /// Whether members ask before they change something.
    shared: bool,
    members: BTreeMap<u64, Option<Level>>,
    /// What the session was told; none yet.
    level: Option<Level>,
    /// What it is being told.
    telling: Option<Level>,
    level_lane: Lane<W>,
    uris: HashMap<Box<str>, Subscription<W>>,
    /// Whether something is switched on that is not remembered.
    overflowed: bool,
}

impl<W> Default for Switches<W> {
    fn default() -> Self {
        Self {
            shared: false,
            members: BTreeMap::new(),
            level: None,
            telling: None,
            level_lane: Lane::default(),
            uris: HashMap::new(),
            overflowed: false,
        }
    }
}

impl<W> Switches<W> {
    /// Decides whether several members may be there at the same time.
    pub(crate) fn share(&mut self, shared: bool) {
        self.shared = shared;
    }

    /// Takes a member in.
    pub(crate) fn join(&mut self, member: u64) {
        self.members.insert(member, None);
    }

    /// Says whether a shared session has no place for this change.
    pub(crate) fn is_full(&self, change: &Change) -> bool {
        match change {
            Change::Subscribe(uri) => self.uris.len() >= MAX_URIS && !self.uris.contains_key(uri),
            Change::Unsubscribe(_) | Change::Level(_) => false,
        }
    }

    /// Asks for a change in a shared session, whose request has this id; `None`: it
    /// waits for its turn.
    pub(crate) fn ask(
        &mut self,
        member: u64,
        id: u64,
        change: Change,
        request: W,
    ) -> Option<Course<W>> {
        self.ask_in_turn(Waiting {
            member,
            id,
            change,
            request,
        })
    }

    fn ask_in_turn(&mut self, asking: Waiting<W>) -> Option<Course<W>> {
        let member = asking.member;
        match &asking.change {
            Change::Level(level) => {
                if self.level_lane.busy.is_some() {
                    self.level_lane.waiting.push_back(asking);
                    return None;
                }
                let before = self.members.insert(member, Some(*level));
                let wanted = self.most_verbose();
                if wanted == self.level {
                    return Some(Course::Here(asking.request));
                }
                // It counts from the server's answer on.
                self.members.insert(member, before.flatten());
                self.level_lane.busy = Some(asking.id);
                self.telling = wanted;
                let instead = wanted.filter(|wanted| wanted != level).map(Change::Level);
                Some(Course::Upstream(asking.request, instead))
            }
            Change::Subscribe(uri) | Change::Unsubscribe(uri) => {
                let uri = uri.clone();
                self.ask_subscription(&uri, asking)
            }
        }
    }

    fn ask_subscription(&mut self, uri: &str, asking: Waiting<W>) -> Option<Course<W>> {
        if self.uris.len() >= MAX_URIS && !self.uris.contains_key(uri) {
            // An end to what nobody has: the server says what it thinks of that.
            return Some(Course::Upstream(asking.request, None));
        }
        let subscription = self.subscription(uri);
        if subscription.lane.busy.is_some() {
            subscription.lane.waiting.push_back(asking);
            return None;
        }
        let member = asking.member;
        let holders = &mut subscription.holders;
        let here = match asking.change {
            Change::Subscribe(_) if subscription.upstream => {
                holders.insert(member);
                true
            }
            Change::Subscribe(_) => false,
            // The last one to go tells the server.
            _ if holders.iter().any(|holder| *holder != member) => {
                holders.remove(&member);
                true
            }
            _ => false,
        };
        if here {
            return Some(Course::Here(asking.request));
        }
        subscription.lane.busy = Some(asking.id);
        Some(Course::Upstream(asking.request, None))
    }

    fn subscription(&mut self, uri: &str) -> &mut Subscription<W> {
        self.uris.entry(uri.into()).or_insert_with(|| Subscription {
            holders: BTreeSet::new(),
            upstream: false,
            lane: Lane::default(),
        })
    }

    /// Notes how a change ended that went upstream with this id for a member.
    /// Returns what can go on.
    pub(crate) fn settle(
        &mut self,
        member: u64,
        id: u64,
        change: &Change,
        outcome: Outcome,
        mint: &dyn Fn() -> u64,
    ) -> Vec<Course<W>> {
        let busy = match change {
            Change::Level(_) => self.level_lane.busy,
            Change::Subscribe(uri) | Change::Unsubscribe(uri) => {
                self.uris.get(uri).and_then(|known| known.lane.busy)
            }
        };
        // It was said here that it is so already, or its turn has never come.
        if self.shared && busy != Some(id) {
            self.withdraw(id, change);
            return Vec::new();
        }
        let waiting = match change {
            Change::Level(level) => self.settle_level(member, *level, outcome),
            Change::Subscribe(uri) | Change::Unsubscribe(uri) => {
                self.settle_subscription(member, change, uri, outcome)
            }
        };
        let mut courses = Vec::new();
        for asking in waiting {
            courses.extend(self.ask_in_turn(asking));
        }
        if matches!(change, Change::Level(_)) && outcome != Outcome::Refused {
            courses.extend(self.rebalance(mint));
        }
        courses
    }

    /// Takes a request back that waits for its turn; says whether it did.
    pub(crate) fn withdraw(&mut self, id: u64, change: &Change) -> bool {
        let lane = match change {
            Change::Level(_) => Some(&mut self.level_lane),
            Change::Subscribe(uri) | Change::Unsubscribe(uri) => {
                let subscription = self.uris.get_mut(uri);
                subscription.map(|subscription| &mut subscription.lane)
            }
        };
        let Some(lane) = lane else { return false };
        let before = lane.waiting.len();
        lane.waiting.retain(|asking| asking.id != id);
        lane.waiting.len() < before
    }

    fn settle_level(
        &mut self,
        member: u64,
        level: Level,
        outcome: Outcome,
    ) -> VecDeque<Waiting<W>> {
        let told = self.telling.take().unwrap_or(level);
        if outcome != Outcome::Refused {
            self.level = Some(told);
            if let Some(wanted) = self.members.get_mut(&member) {
                *wanted = Some(level);
            }
        }
        self.level_lane.busy = None;
        std::mem::take(&mut self.level_lane.waiting)
    }

    fn settle_subscription(
        &mut self,
        member: u64,
        change: &Change,
        uri: &str,
        outcome: Outcome,
    ) -> VecDeque<Waiting<W>> {
        if self.uris.len() >= MAX_URIS && !self.uris.contains_key(uri) {
            self.overflowed = true;
            return VecDeque::new();
        }
        let present = self.members.contains_key(&member);
        let subscription = self.subscription(uri);
        match (change, outcome) {
            (Change::Subscribe(_), Outcome::Done | Outcome::Unknown) => {
                subscription.upstream = outcome == Outcome::Done;
                if present {
                    subscription.holders.insert(member);
                }
            }
            (Change::Unsubscribe(_), Outcome::Done | Outcome::Unknown) => {
                subscription.upstream = false;
                subscription.holders.remove(&member);
                self.overflowed |= outcome == Outcome::Unknown;
            }
            _ => {}
        }
        let subscription = self.subscription(uri);
        subscription.lane.busy = None;
        let waiting = std::mem::take(&mut subscription.lane.waiting);
        if subscription.holders.is_empty() && waiting.is_empty() {
            self.uris.remove(uri);
        }
        waiting
    }

    /// Makes the session's level what the members want, if it has been told one.
    pub(crate) fn rebalance(&mut self, mint: &dyn Fn() -> u64) -> Option<Course<W>> {
        let wanted = self.most_verbose()?;
        let is_so = self.level.is_none_or(|level| level == wanted);
        if !self.shared || is_so || self.level_lane.busy.is_some() {
            return None;
        }
        let id = mint();
        self.level_lane.busy = Some(id);
        self.telling = Some(wanted);
        Some(Course::Own(id, Change::Level(wanted)))
    }

    /// What the members want; none if nobody is there or nobody ever said.
    fn most_verbose(&self) -> Option<Level> {
        let said = |level: &Option<Level>| level.unwrap_or(Level::UNSAID);
        let ever = self.level.is_some() || self.members.values().any(Option::is_some);
        self.members.values().map(said).min().filter(|_| ever)
    }

    /// Lets a member go. Returns the changes that undo what it alone had switched
    /// on, each to be settled.
    pub(crate) fn leave(&mut self, member: u64, mint: &dyn Fn() -> u64) -> Vec<Course<W>> {
        let mut undo = Vec::new();
        self.members.remove(&member);
        let keep = |waiting: &mut VecDeque<Waiting<W>>| {
            waiting.retain(|asking| asking.member != member);
        };
        keep(&mut self.level_lane.waiting);
        for (uri, subscription) in &mut self.uris {
            keep(&mut subscription.lane.waiting);
            let held = subscription.holders.remove(&member);
            if held && subscription.holders.is_empty() && subscription.lane.busy.is_none() {
                let id = mint();
                subscription.lane.busy = Some(id);
                undo.push(Course::Own(id, Change::Unsubscribe(uri.clone())));
            }
        }
        undo.extend(self.rebalance(mint));
        undo
    }

    /// Forgets a member whatever it has left switched on.
    pub(crate) fn forget(&mut self, member: u64) {
        if self.members.remove(&member).is_none() {
            return;
        }
        let mut left = false;
        for subscription in self.uris.values_mut() {
            left |= subscription.holders.remove(&member);
            let waiting = &mut subscription.lane.waiting;
            waiting.retain(|asking| asking.member != member);
        }
        // It went without a word: the session is not what it was.
        self.overflowed |= left;
    }

    /// Returns what a new session has to be told.
    pub(crate) fn restore(&self) -> Vec<Change> {
        let level = self.level.map(Change::Level);
        let held = self
            .uris
            .iter()
            .filter(|(_, subscription)| !subscription.holders.is_empty());
        let uris = held.map(|(uri, _)| Change::Subscribe(uri.clone()));
        level.into_iter().chain(uris).collect()
    }

    /// Says whether something is switched on that cannot be switched off again:
    /// what the level was before cannot be read.
    pub(crate) fn is_marked(&self) -> bool {
        self.level.is_some() || self.overflowed
    }

    /// Says whether a member has switched anything on.
    pub(crate) fn has_any(&self, member: u64) -> bool {
        let mut subscriptions = self.uris.values();
        self.members.get(&member).is_some_and(Option::is_some)
            || subscriptions.any(|subscription| subscription.holders.contains(&member))
    }

    /// Says whether a member wants a message of this level.
    pub(crate) fn admits(&self, member: u64, level: Option<Level>) -> bool {
        let Some(level) = level.filter(|_| self.level.is_some()) else {
            return true;
        };
        let wanted = self.members.get(&member).copied().flatten();
        level >= wanted.unwrap_or(Level::UNSAID)
    }

    /// Returns the members that an update of this resource is for: those that are
    /// subscribed to it or to a resource above it.
    pub(crate) fn subscribers(&self, uri: &str) -> BTreeSet<u64> {
        let covering = self.uris.iter().filter(|(held, _)| covers(held, uri));
        covering
            .flat_map(|(_, subscription)| subscription.holders.iter().copied())
            .collect()
    }
}

/// Says whether `uri` is `held` or below it: it goes on where a path, a query or a
/// fragment may begin.
fn covers(held: &str, uri: &str) -> bool {
    let Some(rest) = uri.strip_prefix(held) else {
        return false;
    };
    rest.is_empty() || held.ends_with(['/', ':']) || rest.starts_with(['/', '?', '#'])
}

#[cfg(test)]
mod tests;
