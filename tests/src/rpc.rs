//! The daemon's RPCs, for tests that need one itself rather than the shim.
//!
//! One connection with its own runtime; every call has the suite's deadline.

use std::future::Future;

use mcp_remote_proto::channel::{self, Channel, ORIGIN};
use mcp_remote_proto::v1::management_service_client::ManagementServiceClient;
use mcp_remote_proto::v1::relay_service_client::RelayServiceClient;
use mcp_remote_proto::v1::{
    HandoverRequest, HandoverResponse, HelloRequest, HelloResponse, Open, RelayRequest,
    RelayResponse, ReloadRequest, StatusRequest, StatusResponse, StopRequest, StopResponse,
    WatchRequest, relay_request,
};
use mcp_remote_proto::{API_VERSION, VERSION};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::home::TestHome;
use crate::monitor::PATIENCE;

/// Messages that a test may send ahead of the daemon.
const OUTBOX: usize = 16;

/// A connection to a daemon.
#[derive(Debug)]
pub struct Rpc {
    runtime: Runtime,
    channel: Channel,
    /// Drives the connection.
    _connection: JoinSet<()>,
}

/// An open relay stream.
#[derive(Debug)]
pub struct RelayStream {
    /// What goes to the daemon; dropping it half-closes.
    pub outbox: Option<mpsc::Sender<RelayRequest>>,
    inbox: Streaming<RelayResponse>,
}

impl Rpc {
    /// Connects to the daemon of `home`.
    ///
    /// # Panics
    /// If none answers.
    pub fn connect(home: &TestHome) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be built");
        let endpoints = home.places().to_find();
        let mut connection = JoinSet::new();
        let channel = runtime.block_on(async {
            for endpoint in &endpoints {
                if let Ok((channel, driver)) = channel::connect(endpoint).await {
                    connection.spawn(driver);
                    return channel;
                }
            }
            panic!("no daemon answers at {endpoints:?}")
        });
        Self {
            runtime,
            channel,
            _connection: connection,
        }
    }

    /// Runs a future on this connection's runtime.
    ///
    /// # Panics
    /// If it takes too long.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        let bounded = async { tokio::time::timeout(PATIENCE, future).await };
        self.runtime
            .block_on(bounded)
            .expect("the daemon answers in time")
    }

    fn management(&self) -> ManagementServiceClient<Channel> {
        let origin = ORIGIN.parse().expect("it is a URI");
        ManagementServiceClient::with_origin(self.channel.clone(), origin)
    }

    /// Asks who answers.
    ///
    /// # Errors
    /// The daemon's.
    pub fn hello(&self) -> Result<HelloResponse, Status> {
        let request = HelloRequest {
            api_version: API_VERSION,
            version: VERSION.to_owned(),
            pid: std::process::id(),
        };
        let answer = self.block_on(self.management().hello(request))?;
        Ok(answer.into_inner())
    }

    /// Asks what the daemon holds.
    ///
    /// # Errors
    /// The daemon's.
    pub fn status(&self) -> Result<StatusResponse, Status> {
        let answer = self.block_on(self.management().status(StatusRequest::default()))?;
        Ok(answer.into_inner())
    }

    /// Asks for the status again and again until `ready` is satisfied: the
    /// daemon sends it after every change.
    ///
    /// # Panics
    /// If it never is.
    pub fn watch_until<T>(&self, ready: impl Fn(&StatusResponse) -> Option<T>) -> T {
        self.block_on(async {
            let watch = self.management().watch(WatchRequest::default()).await;
            let mut states = watch.expect("the daemon can be watched").into_inner();
            while let Some(state) = states.message().await.expect("the daemon goes on") {
                if let Some(result) = ready(&state) {
                    return result;
                }
            }
            panic!("the daemon ended the watch")
        })
    }

    /// Asks the daemon to stop.
    ///
    /// # Errors
    /// The daemon's.
    pub fn stop(&self) -> Result<StopResponse, Status> {
        let answer = self.block_on(self.management().stop(StopRequest {}))?;
        Ok(answer.into_inner())
    }

    /// Asks the daemon to read its files again.
    ///
    /// # Errors
    /// The daemon's.
    pub fn reload(&self) -> Result<(), Status> {
        self.block_on(self.management().reload(ReloadRequest {}))?;
        Ok(())
    }

    /// Asks the daemon to make place for a release.
    ///
    /// # Errors
    /// The daemon's.
    pub fn handover(&self, version: &str) -> Result<HandoverResponse, Status> {
        let request = HandoverRequest {
            version: version.to_owned(),
        };
        let answer = self.block_on(self.management().handover(request))?;
        Ok(answer.into_inner())
    }

    /// Asks what the daemon serves (gRPC reflection); returns the services' names.
    ///
    /// # Errors
    /// The daemon's: it only tells when it was started so.
    pub fn services(&self) -> Result<Vec<String>, Status> {
        let asked = MessageRequest::ListServices(String::new());
        match self.reflected(asked)? {
            MessageResponse::ListServicesResponse(list) => {
                let services = list.service.into_iter();
                Ok(services.map(|service| service.name).collect())
            }
            other => Err(Status::internal(format!("{other:?}"))),
        }
    }

    /// Asks for the files that describe a name; returns the encoded descriptors.
    ///
    /// # Errors
    /// As [`Rpc::services`].
    pub fn described(&self, name: &str) -> Result<Vec<Vec<u8>>, Status> {
        let asked = MessageRequest::FileContainingSymbol(name.to_owned());
        match self.reflected(asked)? {
            MessageResponse::FileDescriptorResponse(files) => Ok(files.file_descriptor_proto),
            other => Err(Status::internal(format!("{other:?}"))),
        }
    }

    fn reflected(&self, asked: MessageRequest) -> Result<MessageResponse, Status> {
        let origin = ORIGIN.parse().expect("it is a URI");
        let mut client = ServerReflectionClient::with_origin(self.channel.clone(), origin);
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(asked),
        };
        self.block_on(async {
            let answers = client.server_reflection_info(tokio_stream::once(request));
            let answer = answers.await?.into_inner().message().await?;
            let said = answer.and_then(|answer| answer.message_response);
            said.ok_or_else(|| Status::internal("no answer"))
        })
    }

    /// Asks the standard health service; returns its status number.
    ///
    /// # Errors
    /// The daemon's.
    pub fn health(&self, service: &str) -> Result<i32, Status> {
        let origin = ORIGIN.parse().expect("it is a URI");
        let mut client = HealthClient::with_origin(self.channel.clone(), origin);
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = self.block_on(client.check(request))?;
        Ok(answer.into_inner().status)
    }

    /// Opens a relay stream.
    ///
    /// # Errors
    /// The daemon's.
    pub fn relay(&self, open: Open) -> Result<RelayStream, Status> {
        let first = RelayRequest {
            frame: Some(relay_request::Frame::Open(Box::new(open))),
        };
        self.relay_with(first)
    }

    /// Opens a relay stream with this first frame.
    ///
    /// # Errors
    /// The daemon's.
    pub fn relay_with(&self, first: RelayRequest) -> Result<RelayStream, Status> {
        let origin = ORIGIN.parse().expect("it is a URI");
        let mut client = RelayServiceClient::with_origin(self.channel.clone(), origin);
        let (outbox, requests) = mpsc::channel(OUTBOX);
        self.block_on(async {
            outbox
                .send(first)
                .await
                .map_err(|_| Status::cancelled("no room"))?;
            let answer = client.relay(ReceiverStream::new(requests)).await?;
            Ok(RelayStream {
                outbox: Some(outbox),
                inbox: answer.into_inner(),
            })
        })
    }

    /// Waits for the next frame of a relay stream.
    ///
    /// # Errors
    /// The daemon's, when it ends the stream with one.
    pub fn frame(&self, stream: &mut RelayStream) -> Result<Option<RelayResponse>, Status> {
        self.block_on(stream.inbox.message())
    }
}
