//! One connection to a running daemon, after the first exchange.
//!
//! Owns the connection: dropping it hangs up. Knows no policy about which
//! daemon to use or when to start one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mcp_remote_proto::calls::{Answers, Call};
use mcp_remote_proto::channel::{self, Channel};
use mcp_remote_proto::endpoint::Endpoint;
use mcp_remote_proto::v1::{HelloRequest, HelloResponse, RelayRequest, RelayResponse};
use mcp_remote_proto::{API_VERSION, VERSION};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

/// How long a daemon may take to say who it is. One that is stopped (SIGSTOP)
/// accepts connections and would hold a shim for ever.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// Why nobody answers at an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DialError {
    /// No daemon of this user is there.
    Absent,
    /// Something is there and says nothing.
    Silent,
}

/// A daemon that said who it is.
pub(crate) struct Daemon {
    /// Where it listens.
    pub(crate) endpoint: Endpoint,
    /// What it said. API version 0: it is too old to say.
    pub(crate) hello: HelloResponse,
    channel: Channel,
    connection: JoinSet<()>,
}

impl Daemon {
    /// Connects and asks who is there.
    pub(crate) async fn dial(endpoint: &Endpoint) -> Result<Self, DialError> {
        let (channel, driver) =
            channel::connect(endpoint)
                .await
                .map_err(|error| match error.kind() {
                    std::io::ErrorKind::TimedOut => DialError::Silent,
                    _ => DialError::Absent,
                })?;
        let mut connection = JoinSet::new();
        connection.spawn(driver);
        let request = HelloRequest {
            api_version: API_VERSION,
            version: VERSION.to_owned(),
            pid: std::process::id(),
        };
        let hello = match timeout(HELLO_TIMEOUT, channel.ask(request)).await {
            Ok(Ok(hello)) => hello,
            Ok(Err(status)) if status.code() == Code::Unimplemented => HelloResponse {
                version: "(unknown version)".to_owned(),
                ..HelloResponse::default()
            },
            Ok(Err(_)) => return Err(DialError::Absent),
            Err(_) => return Err(DialError::Silent),
        };
        Ok(Self {
            endpoint: endpoint.clone(),
            hello,
            channel,
            connection,
        })
    }

    /// Whether it serves `state`, this HOME's state folder.
    pub(crate) fn serves(&self, state: &Path) -> bool {
        let theirs = Path::new(&self.hello.state_folder);
        // HOME may be spelled through a symbolic link here and not there.
        self.hello.state_folder == state.display().to_string()
            || matches!(
                (theirs.canonicalize(), state.canonicalize()),
                (Ok(theirs), Ok(ours)) if theirs == ours
            )
    }

    /// The lock that it holds until its process ends.
    pub(crate) fn lock_file(&self) -> PathBuf {
        Path::new(&self.hello.state_folder).join("lock")
    }

    /// Asks it something.
    ///
    /// # Errors
    /// What it says instead.
    pub(crate) async fn ask<C: Call>(&self, question: C) -> Result<C::Answer, Status> {
        self.channel.ask(question).await
    }

    /// Asks it something that it answers again and again.
    ///
    /// # Errors
    /// What it says instead.
    pub(crate) async fn follow<C: Call>(&self, question: C) -> Result<Answers<C::Answer>, Status> {
        self.channel.follow(question).await
    }

    /// Opens a stream both ways.
    ///
    /// # Errors
    /// Why it refuses.
    pub(crate) async fn converse(
        &self,
        method: &'static str,
        requests: mpsc::Receiver<RelayRequest>,
    ) -> Result<Answers<RelayResponse>, Status> {
        let requests = ReceiverStream::new(requests);
        self.channel.converse(method, requests).await
    }

    /// Whether it has hung up, known before the streams to it end.
    pub(crate) fn is_hung_up(&self) -> bool {
        self.channel.is_hung_up()
    }

    /// Waits until the connection has ended.
    pub(crate) async fn hung_up(&mut self) {
        while self.connection.join_next().await.is_some() {}
    }
}

impl std::fmt::Display for Daemon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let HelloResponse {
            version,
            pid,
            started_by,
            ..
        } = &self.hello;
        write!(
            f,
            "mcp-remoted {version} (pid {pid}, started by {started_by}) at {}",
            self.endpoint
        )
    }
}
