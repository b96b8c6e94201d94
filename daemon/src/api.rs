//! The gRPC edge: accepts this user's shims and serves the three services.
//! Only `api/*` names tonic or the generated types.

mod code_text;
mod configured;
mod convert;
mod diagnose;
mod federation;
mod grant_type;
mod identity;
mod login;
mod login_command;
mod logout;
mod logs;
mod management;
mod one_shot;
mod peer;
mod relay;
mod servers;
mod sign_in;
mod status;
mod warm;
mod watching;

use std::sync::Arc;
use std::time::{Duration, Instant};

use mcp_remote_proto::endpoint::Listener;
use mcp_remote_proto::v1::management_service_server::ManagementServiceServer;
use mcp_remote_proto::v1::relay_service_server::RelayServiceServer;
use mcp_remote_proto::{MAX_FRAME_LEN, channel};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic_reflection::server::v1::{ServerReflection, ServerReflectionServer};

use crate::changes::Changes;
use crate::config::Config;
use crate::configuration::Settings;
use crate::http::HttpClients;
use crate::oauth::Authority;
use crate::session::{Connections, Servers, SessionPoolHandle};
use crate::telemetry::Log;
pub(crate) use configured::check;
pub(crate) use warm::keep as keep_warm;

/// How long relays may take to end: the 5 s of their own and some.
const RELAYS_TIMEOUT: Duration = Duration::from_secs(7);

/// How long connections may take to end after the relays have.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

/// What the services serve from.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    /// What the daemon runs with.
    pub(crate) config: Arc<Config>,
    /// The user's configuration.
    pub(crate) settings: Settings,
    /// Where it listens.
    pub(crate) socket: String,
    /// When it began.
    pub(crate) started: Instant,
    /// The pool.
    pub(crate) pool: SessionPoolHandle,
    /// The servers.
    pub(crate) servers: Arc<Servers>,
    /// The HTTP clients, to say at once what is wrong with their files.
    pub(crate) clients: Arc<HttpClients>,
    /// Their connections, for reloading.
    pub(crate) connections: Arc<Connections>,
    /// The grants.
    pub(crate) authority: Authority,
    /// Shims attached now.
    pub(crate) shims: watch::Sender<u32>,
    /// Relays run in here.
    pub(crate) relays: TaskTracker,
    /// Cancelled when the daemon stops.
    pub(crate) stop: CancellationToken,
    /// Cancelled before that if it makes place for a newer one.
    pub(crate) handover: CancellationToken,
    /// Says that status has changed.
    pub(crate) changes: Changes,
    /// The log.
    pub(crate) log: Log,
}

/// Serves until `api.stop`, then until the relays have ended, bounded.
///
/// # Errors
/// What ends the server unasked.
pub(crate) async fn serve(api: Api, listener: Listener) -> Result<(), tonic::transport::Error> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health
        .set_serving::<RelayServiceServer<relay::Relays>>()
        .await;
    health
        .set_serving::<ManagementServiceServer<management::Management>>()
        .await;
    let relays = RelayServiceServer::new(relay::Relays::new(api.clone()))
        .max_decoding_message_size(MAX_FRAME_LEN)
        .max_encoding_message_size(MAX_FRAME_LEN);
    let management = ManagementServiceServer::new(management::Management::new(api.clone()));
    let reflection = api.config.reflection.then(reflection);
    let stop = api.stop.clone();
    let serving = tonic::transport::Server::builder()
        .initial_stream_window_size(channel::STREAM_WINDOW)
        .initial_connection_window_size(channel::CONNECTION_WINDOW)
        .add_service(relays)
        .add_service(management)
        .add_service(health_service)
        .add_optional_service(reflection)
        .serve_with_incoming_shutdown(peer::incoming(listener), stop.clone().cancelled_owned());
    let bounded = async {
        stop.cancelled().await;
        api.relays.close();
        // Relays bound themselves; this bounds what they wait for.
        drop(tokio::time::timeout(RELAYS_TIMEOUT, api.relays.wait()).await);
        // tonic waits for every connection; one that never ends is dropped.
        tokio::time::sleep(GOODBYE_TIMEOUT).await;
    };
    tokio::select! {
        served = serving => served,
        () = bounded => Ok(()),
    }
}

/// Lets clients that know nothing of the contract (grpcurl) ask for it.
fn reflection() -> ServerReflectionServer<impl ServerReflection> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(mcp_remote_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .expect("the descriptors were written when this was built")
}
