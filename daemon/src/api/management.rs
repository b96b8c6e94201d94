//! `ManagementService`: one thin method a call.

use futures_util::stream::{Stream, StreamExt as _};
use mcp_remote_proto::API_VERSION;
use mcp_remote_proto::release::Release;
use mcp_remote_proto::v1::management_service_server::ManagementService;
use mcp_remote_proto::v1::{
    AddServerRequest, AddServerResponse, DiagnoseRequest, DiagnoseResponse, HandoverRequest,
    HandoverResponse, HelloRequest, HelloResponse, ListServersRequest, ListServersResponse,
    LogoutRequest, LogoutResponse, LogsRequest, LogsResponse, ReloadRequest, ReloadResponse,
    RemoveServerRequest, RemoveServerResponse, SetLogLevelRequest, SetLogLevelResponse,
    StatusRequest, StatusResponse, StopRequest, StopResponse, WatchRequest,
};
use tonic::{Request, Response, Status};

use super::{Api, diagnose, logout, logs, status, watching};

/// The service.
#[derive(Debug)]
pub(super) struct Management {
    api: Api,
}

impl Management {
    /// Serves from this daemon.
    pub(super) fn new(api: Api) -> Self {
        Self { api }
    }
}

#[tonic::async_trait]
impl ManagementService for Management {
    type WatchStream = std::pin::Pin<Box<dyn Stream<Item = Result<StatusResponse, Status>> + Send>>;

    async fn hello(&self, _: Request<HelloRequest>) -> Result<Response<HelloResponse>, Status> {
        Ok(Response::new(HelloResponse {
            api_version: API_VERSION,
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            state_folder: self.api.config.places.state().display().to_string(),
            executable: executable(),
            started_by: self.api.config.started_by.as_str().into(),
        }))
    }

    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        Ok(Response::new(status::now(
            &self.api,
            &request.get_ref().server,
        )))
    }

    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let states = watching::states(self.api.clone(), request.into_inner().server);
        let stop = self.api.stop.clone().cancelled_owned();
        Ok(Response::new(states.take_until(stop).boxed()))
    }

    async fn stop(&self, _: Request<StopRequest>) -> Result<Response<StopResponse>, Status> {
        tracing::info!("asked to stop");
        self.api.stop.cancel();
        Ok(Response::new(StopResponse {
            pid: std::process::id(),
        }))
    }

    async fn reload(&self, _: Request<ReloadRequest>) -> Result<Response<ReloadResponse>, Status> {
        let done = self.api.reload().await;
        Ok(Response::new(done.map_err(Status::invalid_argument)?))
    }

    async fn handover(
        &self,
        request: Request<HandoverRequest>,
    ) -> Result<Response<HandoverResponse>, Status> {
        let ours = env!("CARGO_PKG_VERSION");
        let theirs = request.into_inner().version;
        if Release::read(&theirs) <= Release::read(ours) {
            let reason = format!("mcp-remoted {ours} is not older than {theirs}: it stays");
            return Ok(Response::new(HandoverResponse {
                accepted: false,
                reason,
            }));
        }
        tracing::info!(successor = %theirs, "making place for a newer release");
        self.api.handover.cancel();
        self.api.stop.cancel();
        Ok(Response::new(HandoverResponse {
            accepted: true,
            reason: String::new(),
        }))
    }

    async fn logout(
        &self,
        request: Request<LogoutRequest>,
    ) -> Result<Response<LogoutResponse>, Status> {
        let LogoutRequest {
            open,
            all,
            auth_folder,
        } = request.into_inner();
        let done = logout::run(&self.api, open, all, auth_folder).await;
        Ok(Response::new(done.map_err(Status::invalid_argument)?))
    }

    type LogsStream = std::pin::Pin<Box<dyn Stream<Item = Result<LogsResponse, Status>> + Send>>;

    async fn logs(
        &self,
        request: Request<LogsRequest>,
    ) -> Result<Response<Self::LogsStream>, Status> {
        let frames = logs::frames(&self.api, request.get_ref());
        let stop = self.api.stop.clone().cancelled_owned();
        Ok(Response::new(frames.take_until(stop).map(Ok).boxed()))
    }

    async fn set_log_level(
        &self,
        request: Request<SetLogLevelRequest>,
    ) -> Result<Response<SetLogLevelResponse>, Status> {
        let changed = logs::set_level(&self.api.log, request.get_ref().level());
        let before = changed.map_err(Status::invalid_argument)?;
        let before = before.into();
        Ok(Response::new(SetLogLevelResponse { before }))
    }

    async fn add_server(
        &self,
        request: Request<AddServerRequest>,
    ) -> Result<Response<AddServerResponse>, Status> {
        let done = self.api.add_server(request.into_inner()).await;
        Ok(Response::new(done.map_err(Status::invalid_argument)?))
    }

    async fn remove_server(
        &self,
        request: Request<RemoveServerRequest>,
    ) -> Result<Response<RemoveServerResponse>, Status> {
        let done = self.api.remove_server(request.into_inner().name).await;
        Ok(Response::new(done.map_err(Status::invalid_argument)?))
    }

    async fn list_servers(
        &self,
        _: Request<ListServersRequest>,
    ) -> Result<Response<ListServersResponse>, Status> {
        Ok(Response::new(self.api.list_servers()))
    }

    type DiagnoseStream =
        std::pin::Pin<Box<dyn Stream<Item = Result<DiagnoseResponse, Status>> + Send>>;

    async fn diagnose(
        &self,
        request: Request<DiagnoseRequest>,
    ) -> Result<Response<Self::DiagnoseStream>, Status> {
        let findings = diagnose::start(&self.api, request.into_inner().open)?;
        Ok(Response::new(findings.boxed()))
    }
}

/// Returns where this program is. One that was replaced while it runs is named by
/// its place, where the next one is.
fn executable() -> String {
    let path = std::env::current_exe().map(|path| path.display().to_string());
    let path = path.unwrap_or_default();
    path.trim_end_matches(" (deleted)").to_owned()
}
