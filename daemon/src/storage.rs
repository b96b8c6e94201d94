//! What is kept across restarts: typed, asynchronous, over a database that one
//! thread owns. Only `storage/*` names the database.
//!
//! Nothing here is precious: losing it costs a warm start. Every failure is a
//! warning and life without it.

mod worker;

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::secret::Secret;

/// Commands waiting for the worker. Past it the caller waits: writes are rare.
const COMMANDS: usize = 64;

/// How long the disk may take to have a session. A disk that hangs must not hold
/// up the client: its session would not outlive the daemon, that is all.
const SESSION_TIMEOUT: Duration = Duration::from_secs(2);

/// The secret of this installation; it keys digests of what must not be stored.
pub(crate) type InstallSecret = Secret<[u8; 32]>;

/// What is kept of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ServerRecord {
    /// Its URL as people may see it; the key is a digest of the whole.
    pub(crate) url: String,
    /// What the configuration calls it; empty: it is used by its URL.
    pub(crate) called: String,
    /// The transport that worked last; empty: unknown.
    pub(crate) transport: String,
    /// The revision negotiated last.
    pub(crate) protocol_version: String,
    /// `serverInfo.name`.
    pub(crate) name: String,
    /// `serverInfo.version`.
    pub(crate) version: String,
    /// The newest answer to `initialize`.
    pub(crate) initialize_result: String,
    /// The newest `initialize` of a client that is capable of nothing.
    pub(crate) client: String,
    /// Who got it.
    pub(crate) initialize_of: String,
    /// Requests relayed, ever.
    pub(crate) calls: u64,
    /// Requests without an answer, ever.
    pub(crate) errors: u64,
    /// When it was used last, in ms since the epoch.
    pub(crate) last_used_unix_ms: u64,
}

/// What is kept of a session with a server, for the daemon after this one.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SessionRecord {
    /// Keyed digest of the session's key.
    pub(crate) key: String,
    /// Keyed digest of the way to its server.
    pub(crate) spec: String,
    /// Its `Mcp-Session-Id`: a secret.
    pub(crate) session_id: String,
    /// The server's answer to `initialize`.
    pub(crate) initialize_result: String,
    /// Whether the server has heard `notifications/initialized`.
    pub(crate) initialized: bool,
    /// Whether nothing of a client was left in it when the daemon ended.
    pub(crate) clean: bool,
    /// How many daemons had it before: each mints request ids of its own.
    pub(crate) epoch: u64,
    /// The server's URL if that is all it takes to reach it, else empty.
    pub(crate) url: String,
}

impl std::fmt::Debug for SessionRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionRecord").finish_non_exhaustive()
    }
}

/// What was kept when the database was opened.
#[derive(Debug)]
pub(crate) struct Contents {
    /// Servers by their keys.
    pub(crate) servers: Vec<(String, ServerRecord)>,
    /// Sessions by their leases.
    pub(crate) sessions: Vec<(String, SessionRecord)>,
    /// The secret of this installation.
    pub(crate) secret: InstallSecret,
}

#[derive(Debug)]
enum Command {
    Put(Vec<(String, ServerRecord)>),
    /// Answered when it is on the disk; with none to answer, it may take its time.
    PutSession(Box<(String, SessionRecord)>, Option<oneshot::Sender<()>>),
    /// Need not be on the disk: a session that is gone is found out.
    RemoveSession(String),
    Close(oneshot::Sender<()>),
}

/// A handle on the database. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Storage {
    commands: Option<mpsc::Sender<Command>>,
}

impl Storage {
    /// Opens the database under the state folder and reads everything. A damaged
    /// one is moved aside; without any, the storage forgets what it is given.
    pub(crate) async fn open(state: &Path) -> (Self, Contents) {
        let (commands, received) = mpsc::channel(COMMANDS);
        let (opened, contents) = oneshot::channel();
        let folder = state.join(worker::FOLDER);
        let thread = std::thread::Builder::new().name("storage".into());
        let started = thread.spawn(move || worker::run(&folder, opened, received));
        if let Err(error) = started {
            tracing::warn!(%error, "no thread for the storage: nothing is kept across restarts");
            return (Self { commands: None }, Contents::none());
        }
        match contents.await {
            Ok(contents) => (
                Self {
                    commands: Some(commands),
                },
                contents,
            ),
            Err(_) => (Self { commands: None }, Contents::none()),
        }
    }

    /// Says whether anything is kept across restarts.
    pub(crate) fn is_available(&self) -> bool {
        self.commands
            .as_ref()
            .is_some_and(|commands| !commands.is_closed())
    }

    /// Keeps records, replacing those of the same keys.
    pub(crate) async fn put(&self, records: Vec<(String, ServerRecord)>) {
        self.tell(Command::Put(records)).await;
    }

    /// Keeps a session; returns once it is on the disk. Without storage, or with
    /// one that is stuck, it is not kept.
    pub(crate) async fn put_session(&self, lease: &str, record: SessionRecord) {
        let (flushed, on_disk) = oneshot::channel();
        let session = Box::new((lease.to_owned(), record));
        let put = async {
            self.tell(Command::PutSession(session, Some(flushed))).await;
            drop(on_disk.await);
        };
        if tokio::time::timeout(SESSION_TIMEOUT, put).await.is_err() {
            tracing::warn!("the storage is slow: a session may not outlive this daemon");
        }
    }

    /// Replaces what is kept of a session, without waiting for the disk.
    pub(crate) async fn update_session(&self, lease: &str, record: SessionRecord) {
        let session = Box::new((lease.to_owned(), record));
        self.tell(Command::PutSession(session, None)).await;
    }

    /// Forgets a session.
    pub(crate) async fn remove_session(&self, lease: &str) {
        self.tell(Command::RemoveSession(lease.to_owned())).await;
    }

    /// Flushes and closes the database.
    pub(crate) async fn close(&self) {
        let (closed, done) = oneshot::channel();
        self.tell(Command::Close(closed)).await;
        // Gone already means closed already.
        drop(done.await);
    }

    async fn tell(&self, command: Command) {
        if let Some(commands) = &self.commands {
            // The worker has gone only after a warning of its own.
            drop(commands.send(command).await);
        }
    }
}

impl Contents {
    fn none() -> Self {
        Self {
            servers: Vec::new(),
            sessions: Vec::new(),
            secret: worker::new_secret(),
        }
    }
}
