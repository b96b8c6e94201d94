//! The MCP server that the soak talks to, within this process: one of its own
//! would be the bottleneck. Streamable HTTP, answers in JSON, `echo` at once and
//! `slow` after a moment. It measures its own time.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::{TcpListener, TcpStream};

use crate::Failure;
use crate::everything::url;
use crate::proxy::Proxy;

/// How long the tool `slow` takes.
const SLOW: Duration = Duration::from_millis(20);

/// The server, until dropped.
#[derive(Debug)]
pub(crate) struct Server {
    /// Whether it gives session ids.
    pub(crate) keeps_sessions: bool,
    address: SocketAddr,
    state: Arc<State>,
    _proxy: Proxy,
}

#[derive(Debug)]
struct State {
    keeps_sessions: bool,
    sessions: Mutex<BTreeSet<String>>,
    made: AtomicU64,
    busy: AtomicU64,
}

impl Server {
    /// Starts it on a free port.
    pub(crate) fn start(
        runtime: &tokio::runtime::Runtime,
        keeps_sessions: bool,
    ) -> Result<Self, Failure> {
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            keeps_sessions,
            sessions: Mutex::default(),
            made: AtomicU64::new(0),
            busy: AtomicU64::new(0),
        });
        let shared = Arc::clone(&state);
        let proxy = Proxy::start(runtime, listener, move |stream| {
            serve(stream, Arc::clone(&shared))
        });
        Ok(Self {
            keeps_sessions,
            address,
            state,
            _proxy: proxy,
        })
    }

    /// The URL of its MCP endpoint.
    pub(crate) fn url(&self) -> String {
        url("http", self.address)
    }

    /// How often it was asked to initialize.
    pub(crate) fn initialized(&self) -> u64 {
        self.state.made.load(Ordering::Relaxed)
    }

    /// How long it has worked on requests, ever.
    pub(crate) fn busy(&self) -> Duration {
        Duration::from_nanos(self.state.busy.load(Ordering::Relaxed))
    }

    /// Forgets every session; their ids are answered with 404 from now on.
    pub(crate) fn forget_sessions(&self) {
        self.state.sessions().clear();
    }
}

impl State {
    fn sessions(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The body of a response.
enum Answer {
    Whole(Full<Bytes>),
    /// A stream on which nothing is ever said.
    Silent,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(context),
            Self::Silent => Poll::Pending,
        }
    }
}

/// What it needs to know of a message.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(default)]
    method: String,
    params: Option<Params>,
}

#[derive(Deserialize)]
struct Params {
    name: Option<String>,
}

async fn serve(stream: TcpStream, state: Arc<State>) {
    let service = service_fn(|request| answer(request, &state));
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // A client that goes away is no failure of the server.
    drop(connection.await);
}

async fn answer(request: Request<Incoming>, state: &State) -> Result<Response<Answer>, Failure> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let start = Instant::now();
    let session = head.headers.get("mcp-session-id");
    let session = session.and_then(|id| id.to_str().ok()).unwrap_or_default();
    let response = match head.method {
        Method::POST => post(state, session, &body).await,
        Method::GET if !state.keeps_sessions => status(StatusCode::METHOD_NOT_ALLOWED),
        _ if !known(state, session) => status(StatusCode::NOT_FOUND),
        Method::GET => Response::builder()
            .header("content-type", "text/event-stream")
            .body(Answer::Silent),
        _ => {
            state.sessions().remove(session);
            status(StatusCode::OK)
        }
    };
    let busy = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
    state.busy.fetch_add(busy, Ordering::Relaxed);
    Ok(response?)
}

async fn post(state: &State, session: &str, body: &Bytes) -> hyper::http::Result<Response<Answer>> {
    let Ok(message) = serde_json::from_slice::<Message<'_>>(body) else {
        return status(StatusCode::BAD_REQUEST);
    };
    let id = message.id.map_or("null", RawValue::get);
    if message.method == "initialize" {
        return initialize(state, id);
    }
    if state.keeps_sessions && !known(state, session) {
        return status(StatusCode::NOT_FOUND);
    }
    if message.id.is_none() || message.method.is_empty() {
        return status(StatusCode::ACCEPTED);
    }
    if message.params.and_then(|params| params.name).as_deref() == Some("slow") {
        tokio::time::sleep(SLOW).await;
    }
    json(
        Response::builder(),
        id,
        r#"{"content":[{"type":"text","text":"Echo: hello"}]}"#,
    )
}

fn initialize(state: &State, id: &str) -> hyper::http::Result<Response<Answer>> {
    let number = state.made.fetch_add(1, Ordering::Relaxed);
    let mut head = Response::builder();
    if state.keeps_sessions {
        let session = format!("session-{number}");
        head = head.header("mcp-session-id", &session);
        state.sessions().insert(session);
    }
    let result = r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"soak","version":"1"}}"#;
    json(head, id, result)
}

fn json(
    head: hyper::http::response::Builder,
    id: &str,
    result: &str,
) -> hyper::http::Result<Response<Answer>> {
    let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
    head.header("content-type", "application/json")
        .body(Answer::Whole(Full::from(body)))
}

fn status(status: StatusCode) -> hyper::http::Result<Response<Answer>> {
    Response::builder()
        .status(status)
        .body(Answer::Whole(Full::default()))
}

fn known(state: &State, session: &str) -> bool {
    state.sessions().contains(session)
}
