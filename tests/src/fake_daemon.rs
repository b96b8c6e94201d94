//! A daemon of another release, as far as a shim meets it before it relays.
//!
//! Serves the frozen calls (but watch and reload) on the usual socket and counts what it was asked;
//! one relay stream may be played by the test. Everything else is unimplemented.

use std::pin::Pin;
use std::sync::Arc;
use std::thread::JoinHandle;

use mcp_remote_proto::API_VERSION;
use mcp_remote_proto::v1::management_service_server::{ManagementService, ManagementServiceServer};
use mcp_remote_proto::v1::relay_service_server::RelayServiceServer;
use mcp_remote_proto::v1::{
    AddServerRequest, AddServerResponse, DiagnoseRequest, DiagnoseResponse, HandoverRequest,
    HandoverResponse, HelloRequest, HelloResponse, ListServersRequest, ListServersResponse,
    LogoutRequest, LogoutResponse, LogsRequest, LogsResponse, ReloadRequest, ReloadResponse,
    RemoveServerRequest, RemoveServerResponse, SetLogLevelRequest, SetLogLevelResponse,
    StatusRequest, StatusResponse, StopRequest, StopResponse, WatchRequest,
};
use tokio::net::UnixListener;
use tokio::sync::{Notify, watch};
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream, WatchStream};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

use crate::fake_relay::FakeRelay;
use crate::home::TestHome;
use crate::monitor::Monitor;

/// What the fake answers.
#[derive(Debug, Clone)]
pub struct Answers {
    /// Its API version; none: it does not know hello.
    pub api_version: Option<u32>,
    /// The release that it says it is.
    pub version: &'static str,
    /// What it does when it is asked to make place.
    pub handover: Handover,
}

/// What a daemon does when it is asked to make place.
#[derive(Debug, Clone)]
pub enum Handover {
    /// It goes.
    Goes,
    /// It stays, and says why.
    Stays(String),
    /// It does not answer.
    Hangs,
}

/// A running fake.
#[derive(Debug)]
pub struct FakeDaemon {
    shared: Arc<Shared>,
    serving: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    answers: Answers,
    state_folder: String,
    asked: Monitor<Vec<String>>,
    relay: FakeRelay,
    /// What it shows, if the test says so.
    shown: watch::Sender<Option<StatusResponse>>,
    end: Notify,
}

struct Management(Arc<Shared>);

impl FakeDaemon {
    /// Listens where the daemon of `home` would; relays nothing.
    ///
    /// # Panics
    /// If it cannot.
    pub fn start(home: &TestHome, answers: Answers) -> Self {
        Self::start_with(home, answers, FakeRelay::absent())
    }

    fn start_with(home: &TestHome, answers: Answers, relay: FakeRelay) -> Self {
        let endpoint = home.places().to_listen()[0].clone();
        let folder = endpoint.path().parent().expect("a socket is in a folder");
        mcp_remote_proto::endpoint::private_folder(folder).expect("the folder can be made");
        let listener = std::os::unix::net::UnixListener::bind(endpoint.path());
        let listener = listener.expect("the socket can be bound");
        listener.set_nonblocking(true).expect("it can be set");
        let shared = Arc::new(Shared {
            answers,
            state_folder: home.state().display().to_string(),
            asked: Monitor::default(),
            relay,
            shown: watch::Sender::new(None),
            end: Notify::new(),
        });
        let server = shared.clone();
        let serving = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime can be built");
            // Its socket stays, since a successor may have put its own there.
            runtime.block_on(serve(server, listener));
        });
        Self {
            shared,
            serving: Some(serving),
        }
    }

    /// Starts one of this release, and plays its relay stream.
    pub fn relaying(home: &TestHome) -> (Self, FakeRelay) {
        let answers = Answers {
            api_version: Some(API_VERSION),
            version: env!("CARGO_PKG_VERSION"),
            handover: Handover::Goes,
        };
        let daemon = Self::start_with(home, answers, FakeRelay::default());
        let relay = daemon.shared.relay.clone();
        (daemon, relay)
    }

    /// Starts one of this release that shows this status.
    pub fn showing(home: &TestHome, status: StatusResponse) -> Self {
        let (daemon, _relay) = Self::relaying(home);
        daemon.show(status);
        daemon
    }

    /// Shows another status from now on.
    pub fn show(&self, status: StatusResponse) {
        self.shared.shown.send_replace(Some(status));
    }

    /// Returns what it was asked, in order.
    pub fn asked(&self) -> Vec<String> {
        self.shared.asked.look(Clone::clone)
    }
}

impl Drop for FakeDaemon {
    fn drop(&mut self) {
        self.shared.end.notify_one();
        if let Some(serving) = self.serving.take() {
            drop(serving.join());
        }
    }
}

async fn serve(shared: Arc<Shared>, listener: std::os::unix::net::UnixListener) {
    let listener = UnixListener::from_std(listener).expect("a runtime is there");
    let end = shared.clone();
    let relay = RelayServiceServer::new(shared.relay.clone());
    let server = tonic::transport::Server::builder()
        .add_service(relay)
        .add_service(ManagementServiceServer::new(Management(shared)))
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), async move {
            end.end.notified().await;
        });
    drop(server.await);
}

impl Management {
    fn note(&self, what: String) {
        self.0.asked.update(|asked| asked.push(what));
    }
}

#[tonic::async_trait]
impl ManagementService for Management {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<StatusResponse, Status>> + Send>>;

    async fn hello(
        &self,
        request: Request<HelloRequest>,
    ) -> Result<Response<HelloResponse>, Status> {
        self.note(format!("hello {}", request.into_inner().version));
        let api_version = self.0.answers.api_version;
        let api_version = api_version.ok_or_else(|| Status::unimplemented("hello"))?;
        Ok(Response::new(HelloResponse {
            api_version,
            version: self.0.answers.version.to_owned(),
            pid: std::process::id(),
            state_folder: self.0.state_folder.clone(),
            executable: "/opt/other/mcp-remoted".to_owned(),
            started_by: "user".to_owned(),
        }))
    }

    async fn handover(
        &self,
        request: Request<HandoverRequest>,
    ) -> Result<Response<HandoverResponse>, Status> {
        self.note(format!("handover {}", request.into_inner().version));
        let reason = match &self.0.answers.handover {
            Handover::Goes => {
                self.0.end.notify_one();
                String::new()
            }
            Handover::Stays(reason) => reason.clone(),
            Handover::Hangs => std::future::pending().await,
        };
        Ok(Response::new(HandoverResponse {
            accepted: reason.is_empty(),
            reason,
        }))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        self.note("status".to_owned());
        let shown = self.0.shown.borrow().clone();
        Ok(Response::new(shown.unwrap_or_else(|| StatusResponse {
            version: self.0.answers.version.to_owned(),
            pid: std::process::id(),
            ..StatusResponse::default()
        })))
    }

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        if self.0.shown.borrow().is_none() {
            return Err(Status::unimplemented("watch"));
        }
        let states = WatchStream::new(self.0.shown.subscribe());
        let states = states.filter_map(|shown| shown.map(Ok));
        Ok(Response::new(Box::pin(states)))
    }

    type LogsStream = ReceiverStream<Result<LogsResponse, Status>>;

    async fn logs(&self, _: Request<LogsRequest>) -> Result<Response<Self::LogsStream>, Status> {
        Err(Status::unimplemented("logs"))
    }

    async fn set_log_level(
        &self,
        _: Request<SetLogLevelRequest>,
    ) -> Result<Response<SetLogLevelResponse>, Status> {
        Err(Status::unimplemented("set_log_level"))
    }

    async fn stop(&self, _: Request<StopRequest>) -> Result<Response<StopResponse>, Status> {
        self.note("stop".to_owned());
        self.0.end.notify_one();
        Ok(Response::new(StopResponse {
            pid: std::process::id(),
        }))
    }

    async fn add_server(
        &self,
        _: Request<AddServerRequest>,
    ) -> Result<Response<AddServerResponse>, Status> {
        Err(Status::unimplemented("add_server"))
    }

    async fn remove_server(
        &self,
        _: Request<RemoveServerRequest>,
    ) -> Result<Response<RemoveServerResponse>, Status> {
        Err(Status::unimplemented("remove_server"))
    }

    async fn list_servers(
        &self,
        _: Request<ListServersRequest>,
    ) -> Result<Response<ListServersResponse>, Status> {
        Err(Status::unimplemented("list_servers"))
    }

    async fn reload(&self, _: Request<ReloadRequest>) -> Result<Response<ReloadResponse>, Status> {
        Err(Status::unimplemented("reload"))
    }

    async fn logout(&self, _: Request<LogoutRequest>) -> Result<Response<LogoutResponse>, Status> {
        Err(Status::unimplemented("logout"))
    }

    type DiagnoseStream = ReceiverStream<Result<DiagnoseResponse, Status>>;

    async fn diagnose(
        &self,
        _: Request<DiagnoseRequest>,
    ) -> Result<Response<Self::DiagnoseStream>, Status> {
        Err(Status::unimplemented("diagnose"))
    }
}
