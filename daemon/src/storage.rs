//! What is kept across restarts: typed, asynchronous, over a database that one
//! thread owns. Only `storage/*` names the database.
//!
//! Nothing here is precious: losing it costs a warm start. Every failure is a
//! warning and life without it.

mod worker;

use std::path::Path;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

/// Commands waiting for the worker. Past it the caller waits: writes are rare.
const COMMANDS: usize = 64;

/// What is kept of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ServerRecord {
    /// Its URL as people may see it; the key is a digest of the whole.
    pub(crate) url: String,
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
    /// Requests relayed, ever.
    pub(crate) calls: u64,
    /// Requests without an answer, ever.
    pub(crate) errors: u64,
    /// When it was used last, in ms since the epoch.
    pub(crate) last_used_unix_ms: u64,
}

#[derive(Debug)]
enum Command {
    Put(Vec<(String, ServerRecord)>),
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
    pub(crate) async fn open(state: &Path) -> (Self, Vec<(String, ServerRecord)>) {
        let (commands, received) = mpsc::channel(COMMANDS);
        let (opened, records) = oneshot::channel();
        let folder = state.join(worker::FOLDER);
        let thread = std::thread::Builder::new().name("storage".into());
        let started = thread.spawn(move || worker::run(&folder, opened, received));
        if let Err(error) = started {
            tracing::warn!(%error, "no thread for the storage: nothing is kept across restarts");
            return (Self { commands: None }, Vec::new());
        }
        match records.await {
            Ok(records) => (
                Self {
                    commands: Some(commands),
                },
                records,
            ),
            Err(_) => (Self { commands: None }, Vec::new()),
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
