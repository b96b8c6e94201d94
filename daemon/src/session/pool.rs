//! The session pool: who gets which session, how long idle ones are kept, how
//! many there may be.
//!
//! A [`Lease`] is a shim's right to a session; dropping the last one gives the
//! session back, on any path, because its place in the pool's mailbox is reserved
//! first. Knows nothing of what is said in a session.

mod asking;
mod lease;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::actor::{self, SessionDeps};
use super::audience::Sharing;
use super::handle::SessionHandle;
use super::{Reuse, Server, SessionKey};
use crate::http::HttpClients;
pub(crate) use asking::{AcquireError, SessionPoolHandle};
use asking::{PoolMessage, Reply, Wanted};
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

/// Starts the pool. On `stop` it ends all sessions and itself.
pub(crate) fn spawn(
    config: PoolConfig,
    clients: Arc<HttpClients>,
    tasks: &TaskTracker,
    stop: CancellationToken,
) -> SessionPoolHandle {
    // A place for each lease's return, one for each shim that waits, and as many
    // again for what they ask.
    let (control, messages) = mpsc::channel(config.sessions + 2 * MAX_WAITING);
    let pool = SessionPool {
        config,
        clients,
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

struct Entry {
    key: SessionKey,
    server: Arc<Server>,
    session: SessionHandle,
    /// Its use now; more than one if the last has not been given back yet.
    using: Weak<Use>,
    uses: u32,
    idle_since: Option<Instant>,
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
            Sharing::Exclusive => false,
            Sharing::Wanted => self.key.reuse == Reuse::Concurrent,
            Sharing::NoSession => true,
        }
    }
}

struct SessionPool {
    config: PoolConfig,
    clients: Arc<HttpClients>,
    tasks: TaskTracker,
    entries: HashMap<u64, Entry>,
    kinds: HashMap<SessionKey, Kind>,
    /// Idle sessions by the moment they became so; numbers make keys unique.
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
                .map(|((since, _), ())| *since + self.config.idle_for);
            tokio::select! {
                () = stop.cancelled() => break,
                message = messages.recv() => match message {
                    Some(PoolMessage::Acquire(wanted)) => self.acquire(wanted),
                    Some(PoolMessage::Returned { number, reusable }) => self.returned(number, reusable),
                    None => break,
                },
                () = sleep_until(expiry) => self.expire(),
            }
        }
        for entry in self.entries.values() {
            entry.session.close();
        }
    }

    fn acquire(&mut self, wanted: Box<Wanted>) {
        if wanted.key.reuse != Reuse::Never {
            if let Some(number) = self.shared(&wanted.key) {
                return self.lease(number, *wanted, true);
            }
            while let Some(number) = self.take_idle(&wanted.key) {
                if self.is_usable(number) {
                    return self.lease(number, *wanted, true);
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
        let number = self.open(&wanted);
        self.lease(number, *wanted, false);
    }

    fn open(&mut self, wanted: &Wanted) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        let deps = SessionDeps {
            clients: self.clients.clone(),
            server: wanted.server.clone(),
            max_message: self.config.max_message,
        };
        let session = actor::spawn(&wanted.key, wanted.handshake.clone(), deps, &self.tasks);
        let entry = Entry {
            key: wanted.key.clone(),
            server: wanted.server.clone(),
            session,
            using: Weak::new(),
            uses: 0,
            idle_since: None,
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
        number
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

    fn lease(&mut self, number: u64, wanted: Wanted, warm: bool) {
        let Some(entry) = self.entries.get_mut(&number) else {
            return;
        };
        entry.idle_since = None;
        let using = entry.using.upgrade().unwrap_or_else(|| {
            if entry.uses == 0 {
                entry.server.leased.fetch_add(1, Ordering::Relaxed);
            }
            entry.uses += 1;
            let reusable = wanted.key.reuse != Reuse::Never;
            Arc::new(Use::new(number, reusable, wanted.permit))
        });
        entry.using = Arc::downgrade(&using);
        let warm = warm && entry.session.is_open();
        let lease = Lease::new(entry.session.clone(), using, warm);
        // If the shim has gone meanwhile, dropping the lease returns it.
        drop(wanted.reply.send(Reply::Lease(lease)));
    }

    fn returned(&mut self, number: u64, reusable: bool) {
        let Some(entry) = self.entries.get_mut(&number) else {
            return;
        };
        entry.uses -= 1;
        if entry.uses > 0 {
            // Somebody had it again before this was read.
            return;
        }
        entry.server.leased.fetch_sub(1, Ordering::Relaxed);
        let sharing = entry.session.sharing();
        let for_next = sharing == Sharing::Exclusive || entry.is_for_several();
        if !reusable || !for_next || !entry.session.is_usable() || entry.session.is_marked() {
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
        let now = Instant::now();
        entry.idle_since = Some(now);
        entry.server.idle.fetch_add(1, Ordering::Relaxed);
        self.expiries.insert((now, number), ());
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
        let Some(oldest) = Instant::now().checked_sub(self.config.idle_for) else {
            return;
        };
        while let Some(((since, number), ())) = self.expiries.first_key_value() {
            if *since > oldest {
                break;
            }
            let number = *number;
            self.remove(number);
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
        let Some(since) = entry.idle_since.take() else {
            return;
        };
        entry.server.idle.fetch_sub(1, Ordering::Relaxed);
        self.expiries.remove(&(since, number));
        if let Some(kind) = self.kinds.get_mut(&entry.key) {
            kind.idle.retain(|other| *other != number);
        }
    }

    /// Ends a session that nobody has.
    fn remove(&mut self, number: u64) {
        self.not_idle(number);
        let Some(entry) = self.entries.remove(&number) else {
            return;
        };
        entry.session.close();
        if let Some(kind) = self.kinds.get_mut(&entry.key) {
            let other = |one: &u64| *one != number;
            kind.shared = kind.shared.filter(other);
            kind.opening = kind.opening.filter(other);
            if kind.is_empty() {
                self.kinds.remove(&entry.key);
            }
        }
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
