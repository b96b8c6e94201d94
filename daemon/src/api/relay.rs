//! `RelayService`: one stream a shim, handed to a [`Relay`].

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use mcp_remote_proto::API_VERSION;
use mcp_remote_proto::v1::relay_request::Frame;
use mcp_remote_proto::v1::relay_service_server::RelayService;
use mcp_remote_proto::v1::{self, Display, Purpose, RelayRequest, RelayResponse};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument as _;

use super::configured::For;
use super::convert::Opening;
use super::sign_in::{self, SignInReplies};
use super::{Api, convert, login, one_shot};
use crate::http::HttpError;
use crate::relay::{self, Relay, RelayDeps, Resumed, ShimGone, ToShim};
use crate::upstream::UpstreamError;

/// Frames waiting for a shim's connection: one, since each may be as long as a
/// message can be. A shim that does not read holds up its own relay.
const FRAMES: usize = 1;

/// The service.
#[derive(Debug)]
pub(super) struct Relays {
    api: Api,
}

impl Relays {
    /// Serves from this daemon.
    pub(super) fn new(api: Api) -> Self {
        Self { api }
    }
}

pub(super) type Frames =
    std::pin::Pin<Box<dyn Stream<Item = Result<RelayResponse, Status>> + Send>>;

#[tonic::async_trait]
impl RelayService for Relays {
    type RelayStream = Frames;

    async fn relay(
        &self,
        request: Request<Streaming<RelayRequest>>,
    ) -> Result<Response<Frames>, Status> {
        let mut requests = request.into_inner();
        let open = self.first_frame(&mut requests).await?;
        let (deps, opening) = self.opening(open).await?;
        match opening.purpose {
            Purpose::Check => self.check(deps).await,
            Purpose::Login => {
                let patience = opening.auth_timeout;
                let frames = login::start(&self.api, deps, &opening.display, patience, requests);
                Ok(Response::new(frames.boxed()))
            }
            Purpose::Unspecified | Purpose::Bridge => {
                let (resumed, pid) = (opening.resumed, opening.shim_pid);
                Ok(self.start(deps, resumed, pid, requests, &opening.display))
            }
        }
    }

    type CallStream = Frames;

    async fn call(
        &self,
        request: Request<Streaming<RelayRequest>>,
    ) -> Result<Response<Frames>, Status> {
        let mut requests = request.into_inner();
        let mut open = self.first_frame(&mut requests).await?;
        let asked = open.one_shot.take().and_then(|one_shot| {
            let as_json = one_shot.as_json;
            one_shot.what.map(|what| (what, as_json))
        });
        let Some((what, as_json)) = asked else {
            return Err(Status::invalid_argument("`open` says nothing to do"));
        };
        let (deps, opening) = self.opening(open).await?;
        let command = convert::one_shot(what, as_json);
        let frames = one_shot::start(&self.api, deps, &opening.display, requests, command);
        Ok(Response::new(frames.boxed()))
    }
}

/// Makes what a relay works with; of the opening it leaves what is the shim's.
///
/// # Errors
/// Certificate files that cannot be read are said at once.
pub(super) async fn deps(api: &Api, opening: &mut Opening) -> Result<RelayDeps, String> {
    if let Err(HttpError::Setup(sentence)) = api.clients.client(&opening.spec.network).await {
        return Err(sentence);
    }
    if !opening.spec.headers.authorize() {
        opening.spec.tokens = Some(api.authority.source(opening.identity.clone()));
    }
    let server = api
        .servers
        .get(&opening.spec.url, opening.terms.name.as_deref());
    if let Some(tokens) = &opening.spec.tokens {
        server.used_as(tokens);
    }
    Ok(RelayDeps {
        pool: api.pool.clone(),
        server,
        spec: Arc::new(opening.spec.clone()),
        reuse: opening.reuse,
        terms: opening.terms.clone(),
        cache_lists: opening.cache_lists,
        max_message: api.config.pool.max_message,
        warnings: std::mem::take(&mut opening.warnings),
        debug: opening.debug,
        request_timeout: opening.request_timeout,
        tools: std::mem::take(&mut opening.tools),
        ping_interval: opening.ping_interval,
        auth_timeout: opening.auth_timeout.unwrap_or(relay::AUTH_TIMEOUT),
        non_interactive: opening.display.non_interactive,
        stop: api.stop.clone(),
    })
}

impl Relays {
    async fn first_frame(
        &self,
        requests: &mut Streaming<RelayRequest>,
    ) -> Result<v1::Open, Status> {
        if self.api.stop.is_cancelled() {
            return Err(Status::unavailable("the daemon is stopping"));
        }
        let Some(RelayRequest {
            frame: Some(Frame::Open(open)),
        }) = requests.message().await?
        else {
            return Err(Status::invalid_argument(
                "the first frame of a relay stream is not `open`",
            ));
        };
        if open.api_version != API_VERSION {
            return Err(other_version(&open));
        }
        Ok(*open)
    }

    /// Returns what a relay is made with, and what else the opening frame says.
    async fn opening(&self, open: v1::Open) -> Result<(RelayDeps, Opening), Status> {
        let opening = self.api.opening(open, For::Use);
        let mut opening = opening.map_err(Status::invalid_argument)?;
        let deps = deps(&self.api, &mut opening).await;
        Ok((deps.map_err(Status::invalid_argument)?, opening))
    }

    /// Connects, says who answers, and is done.
    async fn check(&self, deps: RelayDeps) -> Result<Response<Frames>, Status> {
        let _attached = Attached::new(&self.api.shims);
        let signs_in = deps.spec.tokens.is_some();
        let checked = relay::check(deps.clone()).await;
        let unavailable =
            |error| login::unavailable(deps.whom(), &without_sign_in(error, signs_in));
        let (result, warm, lease) = checked.map_err(unavailable)?;
        let frame = convert::frame(ToShim::Server(result, warm, lease), false);
        Ok(Response::new(stream::iter([Ok(frame)]).boxed()))
    }

    /// Starts a relay, which ends with the shim or the daemon.
    fn start(
        &self,
        deps: RelayDeps,
        resumed: Option<Resumed>,
        pid: u32,
        requests: Streaming<RelayRequest>,
        display: &Display,
    ) -> Response<Frames> {
        let tasks = &self.api.relays;
        let (sign_in, replies) = sign_in::attend(
            &self.api.authority,
            deps.spec.tokens.as_ref(),
            display,
            false,
            tasks,
        );
        let attached = Attached::new(&self.api.shims);
        let span = tracing::info_span!("relay", server = %deps.server.shown, pid);
        let (out, frames) = mpsc::channel(FRAMES);
        // Boxed here, since a future that is moved into another takes its place twice.
        let relay = Box::pin(Relay::run(deps, resumed, messages(requests, replies), out));
        let running = async move {
            let _attached = attached;
            tracing::debug!("shim attached");
            relay.await;
            tracing::debug!("shim left");
        };
        self.api.relays.spawn(running.instrument(span));
        let handover = self.api.handover.clone();
        let frames = ReceiverStream::new(frames)
            .map(move |frame| Ok(convert::frame(frame, handover.is_cancelled())));
        Response::new(sign_in::beside(sign_in, frames).boxed())
    }
}

/// Says of a check, for which nobody is asked to sign in, that this is what it
/// would take.
fn without_sign_in(error: UpstreamError, signs_in: bool) -> UpstreamError {
    match error {
        UpstreamError::Unauthorized(refusal) if signs_in && refusal.is_about_tokens() => {
            UpstreamError::NotSignedIn {
                status: refusal.status,
                why: "somebody has to sign in".into(),
                url: None,
            }
        }
        error => error,
    }
}

/// Says that the shim speaks another contract.
pub(super) fn other_version(open: &v1::Open) -> Status {
    let (theirs, ours) = (open.api_version, API_VERSION);
    Status::failed_precondition(format!(
        "mcp-remote {} speaks API {theirs} and mcp-remoted {} speaks API {ours}: run mcp-remote stop, or update mcp-remote",
        open.shim_version,
        env!("CARGO_PKG_VERSION"),
    ))
}

/// The shim's messages; an error is the shim's end.
pub(super) fn messages(
    requests: Streaming<RelayRequest>,
    replies: SignInReplies,
) -> impl Stream<Item = Result<Bytes, ShimGone>> + Unpin {
    requests.filter_map(move |request| {
        std::future::ready(match request {
            Ok(v1::RelayRequest {
                frame: Some(Frame::Message(message)),
            }) => Some(Ok(message)),
            // What is left is of a later release, which an `open` would have
            // announced.
            Ok(v1::RelayRequest { frame }) => {
                let _unknown = frame.and_then(|frame| replies.hear(frame));
                None
            }
            Err(_) => Some(Err(ShimGone)),
        })
    })
}

/// Counts a shim while it is attached, for the idle exit.
#[derive(Debug)]
pub(super) struct Attached(watch::Sender<u32>);

impl Attached {
    /// Counts one.
    pub(super) fn new(shims: &watch::Sender<u32>) -> Self {
        shims.send_modify(|shims| *shims += 1);
        Self(shims.clone())
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.0.send_modify(|shims| *shims -= 1);
    }
}
