//! What the daemon knows of each server: from its answers, from use, and from
//! earlier days. One value a URL, and one a name of the configuration, shared by the
//! relays that it was opened for; status shows these very values.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::count::Count;
use super::latency::Latencies;
use super::waiting::Attempt;
use super::{Handshake, InitializeResult, ServerSpec};
use crate::changes::Changes;
use crate::oauth::identity::IdentityHash;
use crate::oauth::token_source::TokenSource;
use crate::server_url::ServerUrl;
use crate::storage::{ServerRecord, Storage};
use crate::upstream::{TransportKind, UpstreamError};

/// Servers remembered. Past it, those unused for longest are forgotten.
const MAX_SERVERS: usize = 1000;

/// Grants remembered of each.
const MAX_IDENTITIES: usize = 8;

/// Longest answer to `initialize` that is kept across restarts, in bytes.
const MAX_INITIALIZE_RESULT: usize = 256 * 1024;

/// All servers.
#[derive(Debug)]
pub(crate) struct Servers {
    storage: Storage,
    changes: Changes,
    by_key: Mutex<HashMap<String, Arc<Server>>>,
}

/// One server.
#[derive(Debug)]
pub(crate) struct Server {
    /// Its URL as people may see it.
    pub(crate) shown: String,
    /// What the configuration calls it; empty: it is used by its URL.
    pub(crate) called: String,
    facts: Mutex<Facts>,
    latencies: Mutex<Latencies>,
    changed: AtomicBool,
    /// Requests relayed.
    pub(crate) calls: AtomicU64,
    /// Requests that the server did not answer.
    pub(crate) errors: AtomicU64,
    changes: Changes,
    next_waiting: AtomicU64,
    connecting: Count,
    /// Sessions in use now.
    pub(crate) leased: Count,
    /// Sessions waiting now.
    pub(crate) idle: Count,
    /// Shims attached now.
    pub(crate) shims: Count,
}

/// A session that is being opened.
#[derive(Debug)]
pub(crate) struct Connecting(Arc<Server>);

impl Drop for Connecting {
    fn drop(&mut self) {
        self.0.connecting.remove();
    }
}

/// What is known of a server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    /// The transport that worked last and is tried first.
    pub(crate) transport: Option<TransportKind>,
    /// The transport of the newest session.
    pub(crate) spoken: Option<TransportKind>,
    /// The revision negotiated last; empty: none.
    pub(crate) protocol_version: String,
    /// `serverInfo.name`.
    pub(crate) name: String,
    /// `serverInfo.version`.
    pub(crate) version: String,
    /// The newest answer to `initialize`, as it came.
    pub(crate) initialize_result: Arc<str>,
    /// Who got it: a server may say something else to each.
    pub(crate) initialize_of: Arc<str>,
    /// The grants that were used with it lately.
    pub(crate) identities: Vec<IdentityHash>,
    /// Whether it gave the last session an id, or a stream; not known yet.
    pub(crate) keeps_sessions: Option<bool>,
    /// The newest failure since the last success.
    pub(crate) last_error: Option<UpstreamError>,
    /// Attempts that will be made again by themselves, since the last success.
    pub(crate) waiting: Vec<Attempt>,
    /// How many tools the newest whole list names.
    pub(crate) tools_known: Option<u32>,
    /// When a shim last used it, in ms since the epoch.
    pub(crate) last_used_unix_ms: u64,
    /// How the newest client that a session can be opened for in advance introduced
    /// itself.
    pub(crate) client: Option<Arc<Handshake>>,
}

impl Servers {
    /// Starts with what the storage has.
    pub(crate) fn new(
        storage: Storage,
        changes: &Changes,
        records: Vec<(String, ServerRecord)>,
    ) -> Self {
        let known = records
            .into_iter()
            .map(|(key, record)| (key, Arc::new(Server::from_record(record, changes))));
        Self {
            storage,
            changes: changes.clone(),
            by_key: Mutex::new(known.collect()),
        }
    }

    /// Returns the server of a URL, or of a name and the URL that it stands for, making
    /// it known.
    pub(crate) fn get(&self, url: &ServerUrl, name: Option<&str>) -> Arc<Server> {
        let mut by_key = self.lock();
        let new = || Arc::new(Server::new(url.shown(), name, &self.changes));
        let server = by_key.entry(key(url, name)).or_insert_with(new).clone();
        server.used();
        while by_key.len() > MAX_SERVERS {
            let unused = by_key
                .iter()
                .filter(|(_, server)| Arc::strong_count(server) == 1);
            let Some(oldest) = unused
                .min_by_key(|(_, server)| server.facts().last_used_unix_ms)
                .map(|(key, _)| key.clone())
            else {
                break;
            };
            by_key.remove(&oldest);
        }
        server
    }

    /// Returns the server of a name if it is known.
    pub(crate) fn find(&self, url: &ServerUrl, name: &str) -> Option<Arc<Server>> {
        self.lock().get(&key(url, Some(name))).cloned()
    }

    /// Returns what is known of a server as a value of its own, which nobody else
    /// sees or keeps: for trials.
    pub(crate) fn stand_in(&self, url: &ServerUrl, name: Option<&str>) -> Arc<Server> {
        let known = self.lock().get(&key(url, name)).cloned();
        let known = known.map(|server| server.record());
        let changes = Changes::default();
        Arc::new(match known {
            Some(record) => Server::from_record(record, &changes),
            None => Server::new(url.shown(), name, &changes),
        })
    }

    /// Returns every server, sorted by URL.
    pub(crate) fn all(&self) -> Vec<Arc<Server>> {
        let mut all: Vec<_> = self.lock().values().cloned().collect();
        all.sort_by(|a, b| a.shown.cmp(&b.shown));
        all
    }

    /// Forgets which transport each server speaks, so that it is found anew.
    pub(crate) fn forget_transports(&self) {
        for server in self.all() {
            server.change(|facts| facts.transport = None);
        }
    }

    /// Says whether what is known is kept across restarts.
    pub(crate) fn are_kept(&self) -> bool {
        self.storage.is_available()
    }

    /// Hands what has changed to the storage.
    pub(crate) async fn save(&self) {
        let changed: Vec<_> = {
            let by_key = self.lock();
            let changed = by_key
                .iter()
                .filter(|(_, server)| server.changed.swap(false, Ordering::Relaxed));
            changed
                .map(|(key, server)| (key.clone(), server.record()))
                .collect()
        };
        if !changed.is_empty() {
            self.storage.put(changed).await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Server>>> {
        self.by_key
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

/// A digest, since URLs may carry secrets.
fn key(url: &ServerUrl, name: Option<&str>) -> String {
    use sha2::Digest as _;
    let mut digest = sha2::Sha256::new_with_prefix(url.url().as_str());
    if let Some(name) = name {
        // No URL has a space.
        digest.update(" ");
        digest.update(name);
    }
    let digest = digest.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Names who signs in; nobody does where headers authorize.
fn who(spec: &ServerSpec) -> String {
    let name = |tokens: &TokenSource| {
        let hash = tokens.hash();
        format!("{} {hash}", hash.folder().display())
    };
    spec.tokens.as_ref().map(name).unwrap_or_default()
}

fn now_ms() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

impl Facts {
    fn speaks(&mut self, result: &InitializeResult) {
        self.transport = Some(result.transport);
        self.spoken = Some(result.transport);
        self.protocol_version = result.version.as_str().to_owned();
        self.name.clone_from(&result.server_name);
        self.version.clone_from(&result.server_version);
    }

    /// Forgets earlier failures.
    fn succeeded(&mut self) {
        self.last_error = None;
        self.waiting.clear();
    }

    /// Returns the attempt that will be made next by itself.
    pub(crate) fn next_attempt(&self) -> Option<&Attempt> {
        self.waiting.iter().min_by_key(|attempt| attempt.at_unix_ms)
    }
}

impl Server {
    fn new(shown: &str, name: Option<&str>, changes: &Changes) -> Self {
        let record = ServerRecord {
            url: shown.to_owned(),
            called: name.unwrap_or_default().to_owned(),
            ..ServerRecord::default()
        };
        Self::from_record(record, changes)
    }

    fn from_record(record: ServerRecord, changes: &Changes) -> Self {
        let facts = Facts {
            transport: TransportKind::parse(&record.transport),
            spoken: TransportKind::parse(&record.transport),
            protocol_version: record.protocol_version,
            name: record.name,
            version: record.version,
            initialize_result: record.initialize_result.into(),
            initialize_of: record.initialize_of.into(),
            identities: Vec::new(),
            keeps_sessions: None,
            last_error: None,
            waiting: Vec::new(),
            tools_known: None,
            last_used_unix_ms: record.last_used_unix_ms,
            client: Handshake::read(record.client).map(Arc::new),
        };
        Self {
            shown: record.url,
            called: record.called,
            facts: Mutex::new(facts),
            latencies: Mutex::default(),
            changed: AtomicBool::new(false),
            calls: AtomicU64::new(record.calls),
            errors: AtomicU64::new(record.errors),
            changes: changes.clone(),
            next_waiting: AtomicU64::new(0),
            connecting: Count::new(changes),
            leased: Count::new(changes),
            idle: Count::new(changes),
            shims: Count::new(changes),
        }
    }

    fn record(&self) -> ServerRecord {
        let facts = self.facts();
        ServerRecord {
            url: self.shown.clone(),
            called: self.called.clone(),
            transport: facts
                .transport
                .map(TransportKind::as_str)
                .unwrap_or_default()
                .to_owned(),
            protocol_version: facts.protocol_version,
            name: facts.name,
            version: facts.version,
            initialize_result: facts.initialize_result.to_string(),
            client: facts
                .client
                .map_or_else(String::new, |client| client.write()),
            initialize_of: facts.initialize_of.to_string(),
            last_used_unix_ms: facts.last_used_unix_ms,
            calls: self.calls.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
        }
    }

    /// Counts a session as being opened until the guard is dropped.
    pub(crate) fn connecting(self: &Arc<Self>) -> Connecting {
        self.connecting.add();
        Connecting(Arc::clone(self))
    }

    /// Says whether a session is being opened now.
    pub(crate) fn is_connecting(&self) -> bool {
        self.connecting.get() > 0
    }

    /// Returns a copy of what is known.
    pub(crate) fn facts(&self) -> Facts {
        self.lock_facts().clone()
    }

    /// Returns the transports to try in order.
    pub(crate) fn transports(&self, spec: &ServerSpec) -> Vec<TransportKind> {
        spec.transport.order(self.lock_facts().transport)
    }

    /// Notes a handshake on somebody's behalf.
    pub(crate) fn connected(&self, spec: &ServerSpec, result: &InitializeResult) {
        self.change(|facts| {
            facts.initialize_of = who(spec).into();
            facts.speaks(result);
            let reply = Some(result.reply()).filter(|reply| reply.len() <= MAX_INITIALIZE_RESULT);
            facts.initialize_result =
                String::from_utf8_lossy(reply.map_or(&[], |reply| reply)).into();
            facts.succeeded();
        });
    }

    /// Notes who answers in a session that somebody got, whoever opened it.
    pub(crate) fn answered_by(&self, result: &InitializeResult) {
        let mut facts = self.lock_facts();
        if facts.transport == Some(result.transport)
            && facts.protocol_version == result.version.as_str()
            && facts.name == result.server_name
            && facts.version == result.server_version
        {
            return;
        }
        facts.speaks(result);
        drop(facts);
        self.change(|_| {});
    }

    /// Notes which grant is used with it.
    pub(crate) fn used_as(&self, tokens: &TokenSource) {
        let known = &mut self.lock_facts().identities;
        known.retain(|known| known != tokens.hash());
        known.insert(0, tokens.hash().clone());
        known.truncate(MAX_IDENTITIES);
    }

    /// Notes how a client introduced itself, if a session for the next one like it
    /// can be opened in advance: one that is capable of nothing cannot be asked
    /// anything meanwhile.
    pub(crate) fn spoken_to(&self, client: &Arc<Handshake>) {
        if !client.is_capable() {
            self.lock_facts().client = Some(client.clone());
        }
    }

    /// Returns the newest answer to `initialize` if this spec's user got it.
    pub(crate) fn said_to(&self, spec: &ServerSpec) -> Option<Arc<str>> {
        let facts = self.lock_facts();
        (*facts.initialize_of == *who(spec)).then(|| facts.initialize_result.clone())
    }

    /// Notes whether it keeps sessions.
    pub(crate) fn keeps(&self, sessions: bool) {
        self.lock_facts().keeps_sessions = Some(sessions);
    }

    /// Says whether it keeps sessions, as far as that is known.
    pub(crate) fn keeps_sessions(&self) -> Option<bool> {
        self.lock_facts().keeps_sessions
    }

    /// Notes how many tools it lists.
    pub(crate) fn lists_tools(&self, count: u32) {
        self.lock_facts().tools_known = Some(count);
    }

    /// Notes that the remembered transport no longer works.
    pub(crate) fn forget_transport(&self) {
        self.change(|facts| facts.transport = None);
    }

    /// Notes a failure.
    pub(crate) fn failed(&self, error: &UpstreamError) {
        self.lock_facts().last_error = Some(error.clone());
        self.changes.note();
    }

    /// Notes that it can be reached after all.
    pub(crate) fn reached(&self) {
        let mut facts = self.lock_facts();
        if !facts.waiting.is_empty() {
            facts.waiting.clear();
            self.changes.note();
        }
    }

    /// Notes an attempt that will be made again; returns its number.
    pub(super) fn begin_waiting(&self, error: &UpstreamError, at_unix_ms: u64) -> u64 {
        let number = self.next_waiting.fetch_add(1, Ordering::Relaxed);
        let error = error.clone();
        self.lock_facts().waiting.push(Attempt {
            number,
            error,
            at_unix_ms,
        });
        self.changes.note();
        number
    }

    /// Notes that it has been made, or never will be.
    pub(super) fn end_waiting(&self, number: u64) {
        let mut facts = self.lock_facts();
        facts.waiting.retain(|attempt| attempt.number != number);
        drop(facts);
        self.changes.note();
    }

    /// Notes a request that the server answered, and how long that took.
    pub(crate) fn answered(&self, took: Duration) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.latencies
            .lock()
            .expect("nothing panics while it holds the lock")
            .add(took);
        self.change(|facts| {
            facts.last_used_unix_ms = now_ms();
            facts.succeeded();
        });
    }

    /// Notes a request that the server did not answer.
    pub(crate) fn unanswered(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.errors.fetch_add(1, Ordering::Relaxed);
        self.used();
    }

    /// Returns the median and the 99th percentile of answers in microseconds.
    pub(crate) fn percentiles(&self) -> Option<(u64, u64)> {
        self.latencies
            .lock()
            .expect("nothing panics while it holds the lock")
            .percentiles()
    }

    fn used(&self) {
        self.change(|facts| facts.last_used_unix_ms = now_ms());
    }

    fn change(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.lock_facts());
        self.changed.store(true, Ordering::Relaxed);
        self.changes.note();
    }

    fn lock_facts(&self) -> std::sync::MutexGuard<'_, Facts> {
        self.facts
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}
