//! The session pool: who gets which session, how long idle ones are kept, how
//! many there may be.
//!
//! A [`Lease`] is a shim's right to a session; dropping it gives the session
//! back, on any path, because its place in the pool's mailbox is reserved first.
//! Knows nothing of what is said in a session.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::actor::{self, SessionDeps};
use super::connections::Connections;
use super::handle::{Keep, SessionHandle};
use super::{Handshake, KeptSessions, LeaseToken, Server, SessionKey};

/// Shims that may wait for a session at once; more wait to be let in.
const MAX_WAITING: usize = 1024;

/// How long a shim waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(20);

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

/// Why there is no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AcquireError {
    /// All sessions were in use for too long.
    #[error("all sessions are in use and none became free within {} s", TURN_TIMEOUT.as_secs())]
    Busy,
    /// The daemon stops.
    #[error("the daemon is stopping")]
    Stopping,
}

/// The pool, as others see it.
#[derive(Debug, Clone)]
pub(crate) struct SessionPoolHandle {
    control: mpsc::Sender<PoolMessage>,
    /// Bounds who may hold a reserved place while still asking for another.
    waiting: Arc<Semaphore>,
}

#[derive(Debug)]
enum PoolMessage {
    Acquire(Box<Wanted>),
    Returned { number: u64, state: Returned },
}

/// In which state a session comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Returned {
    /// Nothing of the shim is left in it.
    Clean,
    /// Unfit for another shim.
    Spoiled,
    /// The daemon leaves a shim that stays: it gets the session from the next one.
    Kept,
}

#[derive(Debug)]
struct Wanted {
    key: SessionKey,
    handshake: Arc<Handshake>,
    server: Arc<Server>,
    /// The lease that the shim had from an earlier daemon.
    lease: Option<LeaseToken>,
    permit: mpsc::OwnedPermit<PoolMessage>,
    reply: oneshot::Sender<Lease>,
}

/// A shim's right to a session.
#[derive(Debug)]
pub(crate) struct Lease {
    session: SessionHandle,
    number: u64,
    warm: bool,
    state: Returned,
    permit: Option<mpsc::OwnedPermit<PoolMessage>>,
}

impl Lease {
    /// Returns the session.
    pub(crate) fn session(&self) -> &SessionHandle {
        &self.session
    }

    /// Says whether the session was there already.
    pub(crate) fn is_warm(&self) -> bool {
        self.warm
    }

    /// Declares the session unfit for another shim: it ends with the lease.
    pub(crate) fn spoil(&mut self) {
        self.state = Returned::Spoiled;
    }

    /// Leaves the session behind for the same shim and the next daemon.
    pub(crate) fn keep(&mut self) {
        self.state = Returned::Kept;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            drop(permit.send(PoolMessage::Returned {
                number: self.number,
                state: self.state,
            }));
        }
    }
}

impl SessionPoolHandle {
    /// Returns a session for this key: an idle one, or a new one, which opens
    /// itself with `handshake`; for a shim that shows a `lease` of an earlier
    /// daemon the session that it had. Waits its turn if there are too many. Cancel
    /// safe.
    pub(crate) async fn acquire(
        &self,
        key: SessionKey,
        handshake: Arc<Handshake>,
        server: Arc<Server>,
        lease: Option<LeaseToken>,
    ) -> Result<Lease, AcquireError> {
        let turn = async {
            let _waiting = self
                .waiting
                .acquire()
                .await
                .map_err(|_| AcquireError::Stopping)?;
            let permit = self
                .control
                .clone()
                .reserve_owned()
                .await
                .map_err(|_| AcquireError::Stopping)?;
            let (reply, leased) = oneshot::channel();
            let wanted = Box::new(Wanted {
                key,
                handshake,
                server,
                lease,
                permit,
                reply,
            });
            self.control
                .send(PoolMessage::Acquire(wanted))
                .await
                .map_err(|_| AcquireError::Stopping)?;
            leased.await.map_err(|_| AcquireError::Stopping)
        };
        tokio::time::timeout(TURN_TIMEOUT, turn)
            .await
            .map_err(|_| AcquireError::Busy)?
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
        idle: HashMap::new(),
        expiries: BTreeMap::new(),
        waiting: VecDeque::new(),
        next_number: 0,
    };
    tasks.spawn(pool.run(messages, stop));
    SessionPoolHandle {
        control,
        waiting: Arc::new(Semaphore::new(MAX_WAITING)),
    }
}

/// What a shim gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
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
    idle_since: Option<Instant>,
}

struct SessionPool {
    config: PoolConfig,
    deps: PoolDeps,
    tasks: TaskTracker,
    entries: HashMap<u64, Entry>,
    /// Idle sessions of a key, the one used last at the back.
    idle: HashMap<SessionKey, VecDeque<u64>>,
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
                    Some(PoolMessage::Returned { number, state }) => self.returned(number, state),
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
            match entry.idle_since {
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
        let kept = self.deps.kept.clone();
        let lease = wanted.lease.as_ref().filter(|lease| kept.is_left(lease));
        while lease.is_none()
            && let Some(number) = self.take_idle(&wanted.key)
        {
            let healthy = self
                .entries
                .get(&number)
                .is_some_and(|entry| entry.session.is_usable());
            if healthy {
                return self.lease(number, *wanted, Found::Warm);
            }
            self.remove(number);
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
        let number = self.next_number;
        self.next_number += 1;
        let claimed = kept.claim(&wanted.key, lease);
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
            idle_since: None,
        };
        self.entries.insert(number, entry);
        self.lease(number, *wanted, found);
    }

    fn lease(&mut self, number: u64, wanted: Wanted, found: Found) {
        let Some(entry) = self.entries.get_mut(&number) else {
            return;
        };
        entry.idle_since = None;
        entry.server.leased.fetch_add(1, Ordering::Relaxed);
        let session = entry.session.clone();
        let lease = Lease {
            session,
            number,
            warm: found != Found::New,
            state: match found {
                // Its shim may have asked for what is still to come.
                Found::Used => Returned::Spoiled,
                Found::New | Found::Warm => Returned::Clean,
            },
            permit: Some(wanted.permit),
        };
        // If the shim has gone meanwhile, dropping the lease returns it.
        drop(wanted.reply.send(lease));
    }

    fn returned(&mut self, number: u64, state: Returned) {
        let Some(entry) = self.entries.get_mut(&number) else {
            return;
        };
        entry.server.leased.fetch_sub(1, Ordering::Relaxed);
        if state == Returned::Kept {
            entry.session.leave_behind(Keep::ForItsShim);
            self.entries.remove(&number);
        } else if state == Returned::Spoiled || !entry.session.is_usable() {
            self.remove(number);
        } else {
            let now = Instant::now();
            entry.idle_since = Some(now);
            entry.server.idle.fetch_add(1, Ordering::Relaxed);
            self.expiries.insert((now, number), ());
            let idle = self.idle.entry(entry.key.clone()).or_default();
            idle.push_back(number);
            if idle.len() > self.config.idle_per_key
                && let Some(oldest) = idle.front().copied()
            {
                self.remove(oldest);
            }
        }
        self.serve_waiting();
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
        let number = self.idle.get(key)?.back().copied()?;
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
        if let Some(idle) = self.idle.get_mut(&entry.key) {
            idle.retain(|other| *other != number);
            if idle.is_empty() {
                self.idle.remove(&entry.key);
            }
        }
    }

    /// Ends a session that nobody has.
    fn remove(&mut self, number: u64) {
        self.not_idle(number);
        if let Some(entry) = self.entries.remove(&number) {
            entry.session.close();
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
