//! The daemon's side of one relay stream, played by a test: it says what a shim
//! is told and sees what the shim answers.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use mcp_remote_proto::v1::relay_service_server::RelayService;
use mcp_remote_proto::v1::{Open, RelayRequest, RelayResponse, relay_request, relay_response};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};

use crate::monitor::Monitor;

/// Steps that a test may be ahead.
const STEPS: usize = 64;

#[derive(Debug)]
enum Step {
    Say(relay_response::Frame),
    End(Result<(), Status>),
}

/// What came from the shim.
#[derive(Debug, Default)]
struct Seen {
    open: Option<Open>,
    frames: Vec<relay_request::Frame>,
    half_closed: bool,
}

/// One stream.
#[derive(Debug, Clone)]
pub struct FakeRelay {
    steps: mpsc::Sender<Step>,
    played: Arc<Mutex<Option<mpsc::Receiver<Step>>>>,
    seen: Arc<Monitor<Seen>>,
}

impl Default for FakeRelay {
    fn default() -> Self {
        let (steps, played) = mpsc::channel(STEPS);
        Self {
            steps,
            played: Arc::new(Mutex::new(Some(played))),
            seen: Arc::default(),
        }
    }
}

impl FakeRelay {
    /// One that no stream reaches.
    pub fn absent() -> Self {
        Self {
            played: Arc::default(),
            ..Self::default()
        }
    }

    /// Sends a frame, now or when the stream opens.
    ///
    /// # Panics
    /// If the stream has ended.
    pub fn say(&self, frame: relay_response::Frame) {
        let step = self.steps.blocking_send(Step::Say(frame));
        step.expect("the stream goes on");
    }

    /// Ends the stream.
    ///
    /// # Panics
    /// If it has ended.
    pub fn end(&self, result: Result<(), Status>) {
        let step = self.steps.blocking_send(Step::End(result));
        step.expect("the stream goes on");
    }

    /// Waits for the opening frame.
    pub fn open(&self) -> Open {
        self.seen
            .expect("the opening frame", |seen| seen.open.clone())
    }

    /// Waits for the `nth` further frame, from 1.
    pub fn frame(&self, nth: usize) -> relay_request::Frame {
        self.seen.expect(&format!("frame {nth}"), |seen| {
            seen.frames.get(nth - 1).cloned()
        })
    }

    /// Waits until the shim has no more to say; returns all that it said.
    pub fn all(&self) -> Vec<relay_request::Frame> {
        self.seen.expect("the shim's end", |seen| {
            seen.half_closed.then(|| seen.frames.clone())
        })
    }
}

#[tonic::async_trait]
impl RelayService for FakeRelay {
    type RelayStream = Pin<Box<dyn Stream<Item = Result<RelayResponse, Status>> + Send>>;

    async fn relay(
        &self,
        request: Request<Streaming<RelayRequest>>,
    ) -> Result<Response<Self::RelayStream>, Status> {
        let slot = self
            .played
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let steps = slot.ok_or_else(|| Status::unimplemented("a second stream"))?;
        let mut requests = request.into_inner();
        let first = requests.message().await?.and_then(|first| first.frame);
        let Some(relay_request::Frame::Open(open)) = first else {
            return Err(Status::invalid_argument("no opening frame"));
        };
        self.seen.update(|seen| seen.open = Some(*open));
        let (seen, end) = (self.seen.clone(), self.seen.clone());
        let heard = requests
            .filter_map(move |request| {
                let frame = request.ok()?.frame?;
                seen.update(|seen| seen.frames.push(frame));
                None
            })
            .chain(tokio_stream::iter(std::iter::from_fn(move || {
                end.update(|seen| seen.half_closed = true);
                None
            })));
        let said = ReceiverStream::new(steps).map(|step| match step {
            Step::Say(frame) => Some(Ok(RelayResponse { frame: Some(frame) })),
            Step::End(Ok(())) => None,
            Step::End(Err(status)) => Some(Err(status)),
        });
        let frames = said
            .merge(heard)
            .take_while(Option::is_some)
            .map_while(|frame| frame);
        Ok(Response::new(Box::pin(frames)))
    }

    type CallStream = Self::RelayStream;

    async fn call(
        &self,
        _: Request<Streaming<RelayRequest>>,
    ) -> Result<Response<Self::CallStream>, Status> {
        Err(Status::unimplemented("a daemon of before"))
    }
}
