//! Sessions that outlive their daemon: what is written down of each, and which of
//! an earlier daemon's may be taken up again, by whom.
//!
//! A session is on the disk before it is first used. Its lease, a random token,
//! gives it back to the shim that had it; one that was left clean may be had by
//! anybody with an equal key. What nobody claims in time is ended. Header values
//! are not stored: keys are compared by keyed digests.

mod digests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::stream::{self, StreamExt as _};
use ring::rand::{SecureRandom as _, SystemRandom};

use super::{InitializeResult, ServerSpec, SessionKey, authorize};
use crate::http::{HttpClients, NetworkOptions};
use crate::jsonrpc::Envelope;
use crate::server_url::ServerUrl;
use crate::storage::{InstallSecret, SessionRecord, Storage};
use crate::upstream::{
    SessionId, StreamableHttp, Target, TransportKind, UpstreamError, UserHeaders,
};
use digests::Digests;

/// Longest answer to `initialize` that is written down, in bytes.
const MAX_INITIALIZE_RESULT: usize = 256 * 1024;

/// Request ids that one daemon may mint in a session: each begins at a multiple,
/// so that none repeats without a note for each.
const IDS_PER_EPOCH: u64 = 1 << 32;

/// Ids stay below 2^53, past which JavaScript cannot tell them apart.
const MAX_EPOCH: u64 = (1 << 21) - 1;

/// How long ending one unclaimed session may take.
const DELETE_TIMEOUT: Duration = Duration::from_secs(2);

/// Unclaimed sessions that are ended at the same time.
const DELETES: usize = 8;

/// Stands for a session towards its shim. Whoever shows it to the next daemon gets
/// the session: never shown to anybody else.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct LeaseToken(Arc<str>);

impl LeaseToken {
    /// Makes one that nobody can guess.
    pub(crate) fn new() -> Self {
        let mut random = [0; 16];
        SystemRandom::new()
            .fill(&mut random)
            .expect("the system has random numbers");
        Self(URL_SAFE_NO_PAD.encode(random).into())
    }

    /// Takes one that a shim shows; none if it has none.
    pub(crate) fn shown(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self(text.into()))
    }

    /// Returns it for the shim and the storage.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for LeaseToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LeaseToken([redacted])")
    }
}

/// The sessions of earlier daemons, and the notes about ours.
#[derive(Debug)]
pub(crate) struct KeptSessions {
    storage: Storage,
    digests: Digests,
    left: Mutex<Left>,
}

/// What earlier daemons left behind and nobody has claimed yet.
#[derive(Debug, Default)]
struct Left {
    records: HashMap<LeaseToken, SessionRecord>,
    /// Ways to their servers, learnt from shims that come; by digest.
    specs: HashMap<String, Arc<ServerSpec>>,
}

/// A session of an earlier daemon that may go on.
#[derive(Debug)]
pub(crate) struct Claimed {
    /// Its lease, which stays.
    pub(crate) lease: LeaseToken,
    /// Whether nothing of a client was left in it.
    pub(crate) clean: bool,
    record: SessionRecord,
}

/// What is written down of one session of ours.
#[derive(Debug, Clone)]
pub(crate) struct Note(SessionRecord);

impl Claimed {
    /// Returns the first request id that the session has not had.
    pub(crate) fn first_id(&self) -> u64 {
        self.record.epoch * IDS_PER_EPOCH
    }

    /// Returns how many daemons had it before.
    pub(crate) fn epoch(&self) -> u64 {
        self.record.epoch
    }
}

impl Note {
    /// Returns the session's id and what the server said when it was opened.
    ///
    /// # Errors
    /// What was written does not read: it is another release's.
    pub(crate) fn opened(&self) -> Result<(SessionId, InitializeResult), UpstreamError> {
        let unreadable = || UpstreamError::Here("its kept session does not read".into());
        let reply = Envelope::parse(self.0.initialize_result.clone().into());
        let reply = reply.map_err(|_| unreadable())?;
        let result = InitializeResult::read(reply, TransportKind::StreamableHttp)?;
        let session = SessionId::parse(&self.0.session_id).ok_or_else(unreadable)?;
        Ok((session, result))
    }

    /// Says whether the server has heard `notifications/initialized`.
    pub(crate) fn is_initialized(&self) -> bool {
        self.0.initialized
    }

    /// Notes that it has; says whether that is new.
    pub(crate) fn initialize(&mut self) -> bool {
        !std::mem::replace(&mut self.0.initialized, true)
    }

    /// Notes that nothing of a client is left in the session.
    pub(crate) fn cleaned(mut self) -> Self {
        self.0.clean = true;
        self
    }
}

impl KeptSessions {
    /// Starts with what the storage has.
    pub(crate) fn new(
        storage: Storage,
        secret: &InstallSecret,
        sessions: Vec<(String, SessionRecord)>,
    ) -> Self {
        let records = sessions
            .into_iter()
            .map(|(lease, record)| (LeaseToken(lease.into()), record));
        let left = Left {
            records: records.collect(),
            specs: HashMap::new(),
        };
        Self {
            storage,
            digests: Digests::new(secret),
            left: Mutex::new(left),
        }
    }

    /// Says whether an unclaimed session belongs to this lease.
    pub(crate) fn is_left(&self, lease: &LeaseToken) -> bool {
        self.lock().records.contains_key(lease)
    }

    /// Gives away an unclaimed session: to the shim that had it, else a clean one
    /// to whoever comes with an equal key.
    pub(crate) fn claim(&self, key: &SessionKey, lease: Option<&LeaseToken>) -> Option<Claimed> {
        let mut left = self.lock();
        if left.records.is_empty() {
            return None;
        }
        let spec = self.digests.of_spec(&key.spec);
        if left.records.values().any(|record| record.spec == spec) {
            left.specs.insert(spec.clone(), key.spec.clone());
        }
        let key = self.digests.of_key(&spec, key);
        let may_go_on = |record: &SessionRecord| record.key == key && record.epoch < MAX_EPOCH;
        let own = lease.filter(|lease| left.records.get(*lease).is_some_and(may_go_on));
        let clean = || {
            let clean = |(_, record): &(_, &SessionRecord)| record.clean && may_go_on(record);
            left.records.iter().find(clean).map(|(lease, _)| lease)
        };
        let lease = own.or_else(clean)?.clone();
        let mut record = left.records.remove(&lease)?;
        record.epoch += 1;
        let clean = std::mem::take(&mut record.clean);
        Some(Claimed {
            lease,
            clean,
            record,
        })
    }

    /// Writes down that a session is ours now; returns once that is on the disk.
    pub(crate) async fn take_up(&self, claimed: Claimed) -> Note {
        let Claimed { lease, record, .. } = claimed;
        self.storage
            .put_session(lease.reveal(), record.clone())
            .await;
        Note(record)
    }

    /// Writes down a session that has just been opened; returns once it is on the
    /// disk. None if it cannot outlive this daemon.
    pub(crate) async fn opened(
        &self,
        lease: &LeaseToken,
        epoch: u64,
        key: &SessionKey,
        session: &SessionId,
        result: &InitializeResult,
    ) -> Option<Note> {
        let reply = str::from_utf8(result.reply()).ok()?;
        if reply.len() > MAX_INITIALIZE_RESULT || !self.storage.is_available() {
            return None;
        }
        let spec = self.digests.of_spec(&key.spec);
        let record = SessionRecord {
            key: self.digests.of_key(&spec, key),
            spec,
            session_id: session.reveal().to_owned(),
            initialize_result: reply.to_owned(),
            initialized: false,
            clean: false,
            epoch,
            url: enough_to_reach(&key.spec),
        };
        self.storage
            .put_session(lease.reveal(), record.clone())
            .await;
        Some(Note(record))
    }

    /// Writes down what has changed of a session, without waiting for the disk.
    pub(crate) async fn update(&self, lease: &LeaseToken, note: Note) {
        self.storage.update_session(lease.reveal(), note.0).await;
    }

    /// Forgets a session that has ended.
    pub(crate) async fn ended(&self, lease: &LeaseToken) {
        self.storage.remove_session(lease.reveal()).await;
    }

    /// Ends what nobody has claimed, as far as it is known how to reach it.
    pub(crate) async fn end_unclaimed(&self, clients: &HttpClients) {
        let Left { records, specs } = std::mem::take(&mut *self.lock());
        let ends = records.into_iter().map(|(lease, record)| {
            let spec = specs.get(&record.spec).cloned();
            async move {
                let ending = end(Note(record), spec, clients);
                if let Ok(Some(())) = tokio::time::timeout(DELETE_TIMEOUT, ending).await {
                    tracing::debug!("ended a session that an earlier daemon left behind");
                }
                self.ended(&lease).await;
            }
        });
        stream::iter(ends)
            .for_each_concurrent(DELETES, |end| end)
            .await;
    }

    fn lock(&self) -> MutexGuard<'_, Left> {
        self.left
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

/// Returns the URL if nothing else is needed to reach the server: what may be
/// secret, in headers, the URL or for a proxy, is not stored.
fn enough_to_reach(spec: &ServerSpec) -> String {
    let shown = spec.url.shown();
    let plain = spec.headers == UserHeaders::default()
        && spec.network == NetworkOptions::default()
        && spec.url.url().as_str() == shown;
    match plain {
        true => shown.to_owned(),
        false => String::new(),
    }
}

/// Sends DELETE; none if it is not known where to, or nobody is there.
async fn end(note: Note, spec: Option<Arc<ServerSpec>>, clients: &HttpClients) -> Option<()> {
    let (session, result) = note.opened().ok()?;
    let target = match spec {
        Some(spec) => spec.target(clients, 0).await.ok()?,
        None => Target {
            // It was checked when the session was opened.
            url: ServerUrl::parse(&note.0.url, true).ok()?,
            client: clients.client(&NetworkOptions::default()).await.ok()?,
            headers: UserHeaders::default(),
            tokens: None,
            cookies: None,
            max_message: 0,
        },
    };
    let endpoint = StreamableHttp::new(target).within(Some(session), result.version);
    authorize::delete(&endpoint).await.ok()
}
