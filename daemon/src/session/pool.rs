//! The session pool: who gets which session, how long idle ones are kept, how
//! many there may be.
//!
//! A [`Lease`] is a shim's right to a session; dropping the last one gives the
//! session back, on any path, because its place in the pool's mailbox is reserved
//! first. Knows nothing of what is said in a session.

mod ageing;
mod asking;
mod lease;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::actor::{self, SessionDeps};
use super::audience::Sharing;
use super::connections::Connections;
use super::handle::{Keep, SessionHandle};
use super::{KeptSessions, Reuse, Server, SessionKey, Terms};
pub(crate) use asking::{AcquireError, SessionPoolHandle};
use asking::{PoolMessage, Reply, Returned, Wanted};
pub(crate) use lease::Lease;
use lease::Use;

/// Shims that may wait for a session at once; more wait to be let in.
const MAX_WAITING: usize = 1024;

/// Limits of the pool.
#[derive(Debug, Clone)]
pub(crate) struct PoolConfig {
    /// How long an unused session is kept.
    pub(crate) idle_for: Duration,
    /// Unused sessions kept for one key.
    pub(crate) idle_per_key: usize,
    /// Sessions of all kinds.
    pub(crate) sessions: usize,
    /// Largest message from a server, in bytes.
    pub(crate) max_message: usize,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            idle_for: Duration::from_secs(600),
            idle_per_key: 8,
            sessions: 256,
            max_message: mcp_remote_proto::MAX_MESSAGE_LEN,
        }
    }
}

/// What a pool is made with.
#[derive(Debug)]
pub(crate) struct PoolDeps {
    /// For building clients, and to know when to.
    pub(crate) connections: Arc<Connections>,
    /// Sessions of earlier daemons.
    pub(crate) kept: Arc<KeptSessions>,
    /// Cancelled before the end if a successor waits: it gets the idle sessions.
    pub(crate) handover: CancellationToken,
}

/// Starts the pool. On `stop` it ends itself and all sessions but those that it
/// leaves to the next daemon.
pub(crate) fn spawn(
    config: PoolConfig,
    deps: PoolDeps,
    tasks: &TaskTracker,
    stop: CancellationToken,
) -> SessionPoolHandle {
    // A place for each lease's return, one for each shim that waits, and as many
    // again for what they ask.
    let (control, messages) = mpsc::channel(config.sessions + 2 * MAX_WAITING);
    let pool = SessionPool {
        config,
        deps,
        tasks: tasks.clone(),
        entries: HashMap::new(),
        kinds: HashMap::new(),
        expiries: BTreeMap::new(),
        waiting: VecDeque::new(),
        next_number: 0,
    };
    tasks.spawn(pool.run(messages, stop));
    SessionPoolHandle::new(control, MAX_WAITING)
}

/// What a shim gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// A session to be opened.
    New,
    /// One that is open, and clean.
    Warm,
    /// The one that it had from an earlier daemon.
    Used,
}

struct Entry {
    key: SessionKey,
    server: Arc<Server>,
    session: SessionHandle,
    /// Its use now; more than one if the last has not been given back yet.
    using: Weak<Use>,
    uses: u32,
    /// Since when nobody has it, as the moment at which it ends for that.
    idle_until: Option<Instant>,
    /// Of whoever leased it last.
    terms: Terms,
    /// Whether it ends with its use: what it was made from has changed, or whoever
    /// it was opened for has signed out.
    outdated: bool,
}

/// The sessions of one key, as far as others may have them.
#[derive(Debug, Default)]
struct Kind {
    /// Idle ones, the one used last at the back.
    idle: VecDeque<u64>,
    /// The one that everybody has.
    shared: Option<u64>,
    /// The one that may prove to be.
    opening: Option<u64>,
}

impl Kind {
    fn is_empty(&self) -> bool {
        self.idle.is_empty() && self.shared.is_none() && self.opening.is_none()
    }
}

impl Entry {
    /// Says whether several may have it, of what is known.
    fn is_for_several(&self) -> bool {
        match self.session.sharing() {
            Sharing::Exclusive | Sharing::Outgrown => false,
            Sharing::Wanted => self.key.reuse == Reuse::Concurrent,
            Sharing::NoSession => true,
        }
    }
}

struct SessionPool {
    config: PoolConfig,
    deps: PoolDeps,
    tasks: TaskTracker,
    entries: HashMap<u64, Entry>,
    kinds: HashMap<SessionKey, Kind>,
    /// Idle sessions by the moment at which they end; numbers make keys unique.
    expiries: BTreeMap<(Instant, u64), ()>,
    waiting: VecDeque<Box<Wanted>>,
    next_number: u64,
}

impl SessionPool {
    async fn run(mut self, mut messages: mpsc::Receiver<PoolMessage>, stop: CancellationToken) {
        loop {
            let expiry = self
                .expiries
                .first_key_value()
                .map(|((until, _), ())| *until);
            tokio::select! {
                () = stop.cancelled() => break,
                message = messages.recv() => match message {
                    Some(PoolMessage::Acquire(wanted)) => self.acquire(wanted),
                    Some(PoolMessage::Returned { number, state }) => self.returned(number, state),
                    Some(PoolMessage::SignedOut(tokens, reply)) => {
                        drop(reply.send(self.signed_out(&tokens)));
                    }
                    Some(PoolMessage::Outdated(outdated)) => self.end_outdated(&outdated),
                    None => break,
                },
                () = sleep_until(expiry) => self.expire(),
            }
        }
        // Relays have ended before, and what they returned is here.
        while let Ok(message) = messages.try_recv() {
            if let PoolMessage::Returned { number, state } = message {
                self.returned(number, state);
            }
        }
        for entry in self.entries.values() {
            match entry.idle_until {
                Some(_) if self.deps.handover.is_cancelled() => {
                    entry.session.leave_behind(Keep::Clean);
                }
                Some(_) => entry.session.close(),
                // Its relay is stuck, and its shim still there.
                None => entry.session.leave_behind(Keep::ForItsShim),
            }
        }
    }

    fn acquire(&mut self, wanted: Box<Wanted>) {
        let kept = &self.deps.kept;
        let lease = wanted.lease.as_ref();
        let comes_back = lease.is_some_and(|lease| kept.is_left(lease));
        if wanted.key.reuse != Reuse::Never && !comes_back {
            if let Some(number) = self.shared(&wanted.key) {
                return self.lease(number, *wanted, Found::Warm);
            }
            while let Some(number) = self.take_idle(&wanted.key) {
                if self.is_usable(number) {
                    return self.lease(number, *wanted, Found::Warm);
                }
                self.remove(number);
            }
            if let Some(session) = self.to_wait_for(&wanted) {
                drop(wanted.reply.send(Reply::Opening(session, wanted.key)));
                return;
            }
        }
        if self.entries.len() >= self.config.sessions {
            match self
                .expiries
                .first_key_value()
                .map(|((_, number), ())| *number)
            {
                Some(oldest) => self.remove(oldest),
                None => return self.waiting.push_back(wanted),
            }
        }
        let (number, found) = self.open(&wanted);
        self.lease(number, *wanted, found);
    }

    fn open(&mut self, wanted: &Wanted) -> (u64, Found) {
        let number = self.next_number;
        self.next_number += 1;
        let kept = self.deps.kept.clone();
        let claimed = kept.claim(&wanted.key, wanted.lease.as_ref());
        let found = match &claimed {
            Some(claimed) if claimed.clean => Found::Warm,
            Some(_) => Found::Used,
            None => Found::New,
        };
        let deps = SessionDeps {
            connections: self.deps.connections.clone(),
            server: wanted.server.clone(),
            kept,
            max_message: self.config.max_message,
        };
        let (key, handshake) = (&wanted.key, wanted.handshake.clone());
        let session = actor::spawn(key, handshake, claimed, deps, &self.tasks);
        let entry = Entry {
            key: wanted.key.clone(),
            server: wanted.server.clone(),
            session,
            using: Weak::new(),
            uses: 0,
            idle_until: None,
            terms: wanted.terms.clone(),
            outdated: false,
        };
        self.entries.insert(number, entry);
        match wanted.key.reuse {
            Reuse::Never => {}
            Reuse::Concurrent => {
                self.kinds.entry(wanted.key.clone()).or_default().shared = Some(number);
            }
            Reuse::Sequential => {
                let kind = self.kinds.entry(wanted.key.clone()).or_default();
                kind.opening.get_or_insert(number);
            }
        }
        (number, found)
    }

    /// Returns the session that everybody with this key has.
    fn shared(&mut self, key: &SessionKey) -> Option<u64> {
        let kind = self.kinds.get_mut(key)?;
        if let Some(number) = kind.opening {
            let entry = self.entries.get(&number);
            let connecting = entry.is_some_and(|entry| entry.session.is_connecting());
            if !connecting {
                kind.opening = None;
                kind.shared = kind
                    .shared
                    .or(entry.and_then(|entry| entry.is_for_several().then_some(number)));
            }
        }
        let number = kind.shared?;
        let usable = self.entries.get(&number).is_some_and(|entry| {
            entry.session.is_usable() && (entry.session.is_connecting() || entry.is_for_several())
        });
        if usable {
            self.not_idle(number);
            return Some(number);
        }
        kind.shared = None;
        let entry = self.entries.get(&number);
        if entry.is_some_and(|entry| entry.uses == 0) {
            self.remove(number);
        }
        None
    }

    /// Returns a session of this key that is being opened, if it may prove to be
    /// for everybody: where the server keeps no sessions, one is enough.
    fn to_wait_for(&self, wanted: &Wanted) -> Option<SessionHandle> {
        if wanted.server.keeps_sessions() == Some(true) {
            return None;
        }
        let number = self.kinds.get(&wanted.key)?.opening?;
        Some(self.entries.get(&number)?.session.clone())
    }

    fn is_usable(&self, number: u64) -> bool {
        let entry = self.entries.get(&number);
        entry.is_some_and(|entry| entry.session.is_usable())
    }

    fn lease(&mut self, number: u64, wanted: Wanted, found: Found) {
        let Some(entry) = self.entries.get_mut(&number) else {
            return;
        };
        entry.idle_until = None;
        entry.terms = wanted.terms;
        let using = entry.using.upgrade().unwrap_or_else(|| {
            if entry.uses == 0 {
                // Whoever has it is whose it counts as.
                entry.server = wanted.server;
                entry.server.leased.add();
            }
            entry.uses += 1;
            // A shim that had it before may have asked for what is still to come.
            let reusable = wanted.key.reuse != Reuse::Never && found != Found::Used;
            Arc::new(Use::new(number, reusable, wanted.permit))
        });
        entry.using = Arc::downgrade(&using);
        let warm = match found {
            Found::New => false,
            // Others may still wait for its opening.
            Found::Warm => entry.session.is_open(),
            Found::Used => true,
        };
        let lease = Lease::new(entry.session.clone(), using, found, warm);
        // If the shim has gone meanwhile, dropping the lease returns it.
        drop(wanted.reply.send(Reply::Lease(lease)));
    }

    fn returned(&mut self, number: u64, state: Returned) {
        let Some(entry) = self.entries.get_mut(&number) else {
            return;
        };
        entry.uses -= 1;
        if entry.uses > 0 {
            // Somebody had it again before this was read.
            return;
        }
        entry.server.leased.remove();
        let sharing = entry.session.sharing();
        let for_next = sharing == Sharing::Exclusive || entry.is_for_several();
        if state == Returned::Kept {
            if let Some(entry) = self.take_out(number) {
                entry.session.leave_behind(Keep::ForItsShim);
            }
        } else if state == Returned::Spoiled
            || !for_next
            || !entry.session.is_usable()
            || entry.session.is_marked()
            || entry.outdated
            || entry.key.signed_in_at != entry.key.spec.signed_in_at()
        {
            self.remove(number);
        } else {
            self.keep(number);
        }
        self.serve_waiting();
    }

    /// Keeps a session that nobody has for whoever comes next.
    fn keep(&mut self, number: u64) {
        let Some(entry) = self.entries.get_mut(&number) else {
            return;
        };
        let until = Instant::now() + entry.terms.idle_for.unwrap_or(self.config.idle_for);
        entry.idle_until = Some(until);
        entry.server.idle.add();
        self.expiries.insert((until, number), ());
        let for_several = entry.is_for_several();
        let kind = self.kinds.entry(entry.key.clone()).or_default();
        if for_several && kind.shared.is_none_or(|shared| shared == number) {
            kind.shared = Some(number);
            return;
        }
        kind.idle.push_back(number);
        if kind.idle.len() > self.config.idle_per_key
            && let Some(oldest) = kind.idle.front().copied()
        {
            self.remove(oldest);
        }
    }

    fn serve_waiting(&mut self) {
        while let Some(wanted) = self.waiting.pop_front() {
            if wanted.reply.is_closed() {
                continue;
            }
            let possible = self.entries.len() < self.config.sessions || !self.expiries.is_empty();
            if !possible {
                return self.waiting.push_front(wanted);
            }
            self.acquire(wanted);
        }
    }

    fn expire(&mut self) {
        let now = Instant::now();
        while let Some(((until, number), ())) = self.expiries.first_key_value() {
            if *until > now {
                break;
            }
            let number = *number;
            if !self.is_kept_warm(number) || !self.postpone(number) {
                self.remove(number);
            }
        }
        self.serve_waiting();
    }

    /// Takes the idle session of a key that was used last.
    fn take_idle(&mut self, key: &SessionKey) -> Option<u64> {
        let number = self.kinds.get(key)?.idle.back().copied()?;
        self.not_idle(number);
        Some(number)
    }

    fn not_idle(&mut self, number: u64) {
        let Some(entry) = self.entries.get_mut(&number) else {
            return;
        };
        let Some(until) = entry.idle_until.take() else {
            return;
        };
        entry.server.idle.remove();
        self.expiries.remove(&(until, number));
        if let Some(kind) = self.kinds.get_mut(&entry.key) {
            kind.idle.retain(|other| *other != number);
        }
    }

    /// Ends a session that nobody has.
    fn remove(&mut self, number: u64) {
        if let Some(entry) = self.take_out(number) {
            entry.session.close();
        }
    }

    fn take_out(&mut self, number: u64) -> Option<Entry> {
        self.not_idle(number);
        let entry = self.entries.remove(&number)?;
        if let Some(kind) = self.kinds.get_mut(&entry.key) {
            let other = |one: &u64| *one != number;
            kind.shared = kind.shared.filter(other);
            kind.opening = kind.opening.filter(other);
            if kind.is_empty() {
                self.kinds.remove(&entry.key);
            }
        }
        Some(entry)
    }
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

impl std::fmt::Debug for SessionPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionPool")
            .field("sessions", &self.entries.len())
            .finish_non_exhaustive()
    }
}
