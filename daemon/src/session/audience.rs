//! Who listens to a session, and which of them a message is for.
//!
//! A session that one relay has says everything to it, and waits for it. One that
//! several share says each message to whom it is for: an answer and progress to
//! who asked, a change to all, what has no owner to nobody. It waits for nobody
//! for long: a relay that does not take what is its own is let go.

pub(crate) mod names;
mod routing;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};

use super::exchange::{Inbound, Outbound};
use super::lists::Lists;
use super::switches::Switches;
use crate::jsonrpc::{Envelope, Kind};
use crate::upstream::UpstreamError;

/// Messages of a shared session that wait for one relay: what comes in one piece
/// from the server, while the others take theirs. They are shared, not copied.
const NEWS: usize = 64;

/// How long a shared session waits for a relay that does not take what it says.
const PATIENCE: Duration = Duration::from_secs(1);

/// Names that the server gave to something of a member (tasks, elicitations), be it
/// one that has gone. Past it the oldest have no owner any more.
const MAX_NAMES: usize = 4096;

/// Who has a session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// One relay at a time.
    #[default]
    Exclusive,
    /// Several, which declared no capabilities and wanted it so.
    Wanted,
    /// Several, since the server keeps no session.
    NoSession,
    /// Several, since the server kept none; it does now, and the first stays.
    Outgrown,
}

/// Says something to a relay, from one opening of its session.
#[derive(Debug, Clone)]
pub(crate) struct Replies {
    relay: mpsc::Sender<Box<Inbound>>,
    generation: u64,
    /// Those of the session: a change may be announced beside any answer.
    lists: Lists,
}

impl Replies {
    /// Says it to this relay.
    pub(crate) fn to(relay: mpsc::Sender<Box<Inbound>>) -> Self {
        Self {
            relay,
            generation: 0,
            lists: Lists::default(),
        }
    }

    /// Says it from this opening of the session, which has these lists.
    pub(super) fn of_opening(mut self, generation: u64, lists: &Lists) -> Self {
        self.generation = generation;
        self.lists = lists.clone();
        self
    }

    /// Notes that what the server says beside the answer is not heard to its end.
    pub(super) fn unheard(&self) {
        self.lists.forget();
    }

    /// Notes the same of an answer that ended so.
    pub(super) fn broke_off(&self, error: &UpstreamError) {
        if error.maybe_executed() {
            self.unheard();
        }
    }

    /// Waits until the relay takes it; the error: it has gone.
    pub(crate) async fn send(&self, inbound: Inbound) -> Result<(), Inbound> {
        self.lists.heard(&inbound);
        let sent = self.relay.send(asked(inbound, self.generation).into());
        sent.await.map_err(|unsent| *unsent.0)
    }

    /// Waits until the relay has gone. Cancel safe.
    pub(super) async fn closed(&self) {
        self.relay.closed().await;
    }
}

/// A request of the server is answered to the opening that it came from.
fn asked(inbound: Inbound, generation: u64) -> Inbound {
    match inbound {
        Inbound::Message(envelope) if envelope.kind() == Kind::Request => {
            Inbound::Asked(envelope, generation)
        }
        other => other,
    }
}

/// Where what the server says unasked goes, from one opening of the session.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inbox {
    audience: Arc<Mutex<Audience>>,
    /// Says that a member has come.
    arrived: Arc<Notify>,
    generation: u64,
    lists: Lists,
}

#[derive(Debug, Default)]
struct Audience {
    sharing: Sharing,
    members: BTreeMap<u64, Member>,
    next_member: u64,
    /// Who made a request, by its id; only where the session is shared.
    owners: HashMap<u64, u64>,
    /// Whose a task or an elicitation is, and in which order they became known. Some
    /// are of members that have gone: numbers of members do not come again.
    names: HashMap<Box<str>, u64>,
    names_in_order: VecDeque<Box<str>>,
    switches: Switches<Outbound>,
    /// Whether the server has asked a client for its roots.
    has_roots: bool,
    /// When a member last pinged the server.
    pinged: Option<Instant>,
}

#[derive(Debug)]
struct Member {
    relay: mpsc::Sender<Box<Inbound>>,
    /// Only where the session is shared.
    news: Option<mpsc::Sender<Arc<Inbound>>>,
    /// Whether it missed something that was not its own.
    slow: bool,
}

/// A relay's place among those that listen; dropping it gives it up.
#[derive(Debug)]
pub(crate) struct Membership {
    inbox: Inbox,
    member: u64,
    sharing: Sharing,
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut audience = self.inbox.lock();
        audience.members.remove(&self.member);
        audience.owners.retain(|_, owner| *owner != self.member);
        // What it alone had switched on was undone before this.
        audience.switches.forget(self.member);
        // What it was given a name for stays its own: nobody else may have it.
    }
}

impl Membership {
    /// Says whether others may be members of the session too.
    pub(crate) fn is_shared(&self) -> bool {
        self.sharing != Sharing::Exclusive
    }

    /// Says whether other members are part of the same session at the server.
    pub(crate) fn is_one_of_several(&self) -> bool {
        self.sharing == Sharing::Wanted
    }

    /// Says whether the session has become another member's alone, and leaving it
    /// loses nothing.
    pub(crate) fn is_to_leave(&self) -> bool {
        if self.sharing != Sharing::NoSession {
            return false;
        }
        let audience = self.inbox.lock();
        let first = audience.members.first_key_value();
        audience.sharing == Sharing::Outgrown
            && first.is_some_and(|(first, _)| *first != self.member)
            && !audience.switches.has_any(self.member)
    }

    /// Claims the answer and the progress of a request.
    pub(crate) fn own(&self, request: u64) {
        if self.is_shared() {
            self.inbox.lock().owners.insert(request, self.member);
        }
    }

    /// Gives the claim up.
    pub(crate) fn disown(&self, request: u64) {
        if self.is_shared() {
            self.inbox.lock().owners.remove(&request);
        }
    }

    /// Claims something that the server has given a name.
    pub(crate) fn own_name(&self, name: &str) {
        let mut audience = self.inbox.lock();
        if audience.names.insert(name.into(), self.member).is_some() {
            return;
        }
        audience.names_in_order.push_back(name.into());
        if audience.names_in_order.len() > MAX_NAMES
            && let Some(oldest) = audience.names_in_order.pop_front()
        {
            audience.names.remove(&oldest);
        }
    }

    /// Says whether something with this name is another member's.
    pub(crate) fn is_anothers(&self, name: &str) -> bool {
        let audience = self.inbox.lock();
        let Some(owner) = audience.names.get(name) else {
            return false;
        };
        // What a server without sessions has, it shows to whoever comes later.
        let counts = match self.sharing {
            Sharing::NoSession => audience.members.contains_key(owner),
            Sharing::Exclusive | Sharing::Wanted | Sharing::Outgrown => true,
        };
        counts && *owner != self.member
    }

    /// Says whether it is time for a ping, which is then this member's.
    pub(crate) fn may_ping(&self, interval: Duration) -> bool {
        let (mut audience, now) = (self.inbox.lock(), Instant::now());
        // Timers are not exact.
        let since = audience.pinged.map(|pinged| now - pinged + interval / 10);
        let may = since.is_none_or(|since| since >= interval);
        if may {
            audience.pinged = Some(now);
        }
        may
    }

    /// Says whether other members wait for answers.
    pub(crate) fn others_wait(&self) -> bool {
        let audience = self.inbox.lock();
        audience.owners.values().any(|owner| *owner != self.member)
    }

    /// Notes that the server has a client's roots.
    pub(crate) fn note_roots(&self) {
        self.inbox.note_roots();
    }

    /// Says whether it has those of a client, this one or one before.
    pub(crate) fn has_roots(&self) -> bool {
        self.inbox.lock().has_roots
    }

    /// Says whether this member wants a log message.
    pub(crate) fn admits(&self, message: &Envelope) -> bool {
        let level = super::switches::Level::of(message);
        self.inbox.lock().switches.admits(self.member, level)
    }

    /// Looks at or changes what is switched on, as this member.
    pub(crate) fn switches<T>(&self, change: impl FnOnce(&mut Switches<Outbound>, u64) -> T) -> T {
        change(&mut self.inbox.lock().switches, self.member)
    }
}

impl Inbox {
    /// Takes a relay in. What comes for it alone in a shared session, and what is
    /// for several, comes by the second way, which ends when the relay is let go.
    pub(crate) fn attach(
        &self,
        relay: mpsc::Sender<Box<Inbound>>,
    ) -> (Membership, Option<mpsc::Receiver<Arc<Inbound>>>) {
        let mut audience = self.lock();
        let sharing = audience.sharing;
        let member = audience.next_member;
        audience.next_member += 1;
        let (news, received) = (sharing != Sharing::Exclusive)
            .then(|| mpsc::channel(NEWS))
            .unzip();
        let slow = false;
        audience
            .members
            .insert(member, Member { relay, news, slow });
        audience.switches.join(member);
        drop(audience);
        self.arrived.notify_waiters();
        let membership = Membership {
            inbox: self.clone(),
            member,
            sharing,
        };
        (membership, received)
    }

    /// Returns the same for another opening of the session.
    pub(super) fn of_opening(&self, generation: u64) -> Self {
        Self {
            generation,
            ..self.clone()
        }
    }

    /// Waits until somebody listens.
    pub(super) async fn attended(&self) {
        loop {
            let mut arrived = std::pin::pin!(self.arrived.notified());
            arrived.as_mut().enable();
            if !self.lock().members.is_empty() {
                return;
            }
            arrived.await;
        }
    }

    /// Decides who may have the session, once it is known.
    pub(super) fn share(&self, sharing: Sharing) {
        let mut audience = self.lock();
        audience.sharing = sharing;
        audience.switches.share(sharing != Sharing::Exclusive);
    }

    /// Says who may have the session.
    pub(super) fn sharing(&self) -> Sharing {
        self.lock().sharing
    }

    /// Returns the lists that the server gave.
    pub(super) fn lists(&self) -> &Lists {
        &self.lists
    }

    /// Notes that the server has a client's roots, or may.
    pub(super) fn note_roots(&self) {
        self.lock().has_roots = true;
    }

    /// Looks at what is switched on.
    pub(super) fn switches<T>(&self, look: impl FnOnce(&Switches<Outbound>) -> T) -> T {
        look(&self.lock().switches)
    }

    fn lock(&self) -> MutexGuard<'_, Audience> {
        self.audience
            .lock()
            .expect("nothing panics while it holds the lock")
    }

    /// Says something to those that it is for. Returns a request of the server that
    /// nobody can be asked.
    pub(crate) async fn deliver(&self, inbound: Inbound) -> Option<Envelope> {
        self.lists.heard(&inbound);
        let exclusive = {
            let audience = self.lock();
            let newest = audience.members.last_key_value();
            let relay = newest.map(|(_, member)| member.relay.clone());
            (audience.sharing == Sharing::Exclusive).then_some(relay)
        };
        let unsaid = match exclusive {
            Some(Some(relay)) => {
                let sent = relay.send(asked(inbound, self.generation).into()).await;
                sent.err().map(|unsent| *unsent.0)
            }
            Some(None) => Some(inbound),
            None => self.spread(inbound).await,
        };
        match unsaid? {
            Inbound::Message(request) | Inbound::Asked(request, _) => {
                (request.kind() == Kind::Request).then_some(request)
            }
            _ => None,
        }
    }

    /// Says something in a shared session; gives back what is for nobody.
    async fn spread(&self, inbound: Inbound) -> Option<Inbound> {
        let mut late = Vec::new();
        let (news, its_own) = {
            let mut audience = self.lock();
            let (members, its_own) = audience.route(&inbound);
            if members.is_empty() {
                return Some(inbound);
            }
            let news = Arc::new(asked(inbound, self.generation));
            for number in members {
                let Some(member) = audience.members.get_mut(&number) else {
                    continue;
                };
                let Some(way) = &member.news else { continue };
                match way.try_send(news.clone()) {
                    Ok(()) => member.slow = false,
                    // One that does not read is waited for once.
                    Err(TrySendError::Full(_)) if its_own || !member.slow => {
                        late.push((number, way.clone()));
                    }
                    Err(_) => {}
                }
            }
            (news, its_own)
        };
        let waiting = late.into_iter().map(|(number, way)| {
            let news = news.clone();
            async move {
                let sent = tokio::time::timeout(PATIENCE, way.send(news)).await;
                sent.is_err().then_some(number)
            }
        });
        for number in join_all(waiting).await.into_iter().flatten() {
            self.missed(number, its_own);
        }
        None
    }

    fn missed(&self, number: u64, its_own: bool) {
        let mut audience = self.lock();
        let Some(member) = audience.members.get_mut(&number) else {
            return;
        };
        if its_own {
            tracing::warn!("let a client go that did not take an answer: it does not read");
            member.news = None;
        } else if !member.slow {
            tracing::warn!("dropped what the server told a client that does not read");
            member.slow = true;
        }
    }
}
