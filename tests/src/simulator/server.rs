//! The servers of all worlds, behind one listener: HTTP in, what `performance`
//! plays out. The path says which kind of server, the header `x-seed` whose.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use super::message::Message;
use super::performance::{Call, Stage, UNASKED};
use super::script::{self, Fate, Script};
use super::session::{PIECES, Piece, Session};
use super::world::World;

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A kind of server; its path is its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// Streamable HTTP, answers in bodies.
    Json,
    /// Streamable HTTP, answers in streams.
    Events,
    /// The same without sessions.
    Stateless,
    /// HTTP+SSE.
    Old,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Json, Self::Events, Self::Stateless, Self::Old];

    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Events => "events",
            Self::Stateless => "stateless",
            Self::Old => "old",
        }
    }
}

/// The listener and all worlds.
#[derive(Debug, Default)]
pub(super) struct Servers {
    worlds: Mutex<HashMap<u64, Arc<Hall>>>,
    tasks: Mutex<JoinSet<()>>,
}

/// The servers of one world.
#[derive(Debug)]
struct Hall {
    world: Arc<World>,
    sessions: Mutex<HashMap<String, Arc<Session>>>,
}

impl Hall {
    fn session(&self, id: &str) -> Option<Arc<Session>> {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions
            .get(id)
            .filter(|session| !session.is_gone())
            .cloned()
    }

    fn new_session(&self, kind: Kind) -> Arc<Session> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let exclusive = kind != Kind::Stateless;
        let id = match exclusive {
            true => format!("{}-{}-{}", kind.path(), self.world.seed, sessions.len()),
            false => kind.path().to_owned(),
        };
        let new = || Session::new(id.clone(), exclusive);
        sessions.entry(id.clone()).or_insert_with(new).clone()
    }
}

impl Servers {
    /// Serves on a port of the system's choice; returns it.
    pub(super) async fn start(self: &Arc<Self>) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a loopback port can be bound");
        let address = listener.local_addr().expect("it is bound");
        let servers = self.clone();
        self.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let shared = servers.clone();
                let service = service_fn(move |request| {
                    let servers = shared.clone();
                    async move { servers.serve(request).await }
                });
                let serving = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(socket), service);
                servers.spawn(async move { drop(serving.await) });
            }
        });
        address.port()
    }

    pub(super) fn open(&self, world: &Arc<World>) {
        let hall = Hall {
            world: world.clone(),
            sessions: Mutex::default(),
        };
        self.worlds().insert(world.seed, Arc::new(hall));
    }

    pub(super) fn close(&self, world: &World) {
        world.end();
        self.worlds().remove(&world.seed);
    }

    fn worlds(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Hall>>> {
        self.worlds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    /// Answers one HTTP request; an error breaks the connection.
    async fn serve(&self, request: Request<Incoming>) -> Result<Response<Body>, io::Error> {
        let seed = header(&request, "x-seed").parse().ok();
        let hall = seed.and_then(|seed: u64| self.worlds().get(&seed).cloned());
        let path = request.uri().path().trim_start_matches('/').to_owned();
        let kind = Kind::ALL
            .into_iter()
            .find(|kind| path.starts_with(kind.path()));
        let (Some(hall), Some(kind)) = (hall, kind) else {
            return Ok(status(404));
        };
        let id = match kind {
            Kind::Stateless => kind.path().to_owned(),
            Kind::Old => request.uri().query().unwrap_or_default().to_owned(),
            _ => header(&request, "mcp-session-id"),
        };
        let method = request.method().clone();
        let last_event = header(&request, "last-event-id");
        if kind == Kind::Old && method == Method::GET {
            return Ok(old_stream(&hall));
        }
        if (kind == Kind::Old && !path.ends_with("/post"))
            || (kind == Kind::Stateless && method != Method::POST)
        {
            return Ok(status(405));
        }
        let body = request
            .into_body()
            .collect()
            .await
            .map_err(io::Error::other)?;
        let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        let message = Message::parse(&body).unwrap_or_default();
        if message.method.as_deref() == Some("initialize") && kind != Kind::Old {
            return Ok(opened(&hall, kind, &message));
        }
        let Some(session) = hall.session(&id) else {
            hall.world.note(format!("{id} is unknown: {method} {body}"));
            return Ok(status(404));
        };
        if method == Method::DELETE {
            hall.world.note(format!("{id}: DELETE"));
            session.forget();
            return Ok(status(200));
        }
        if method == Method::GET {
            return Ok(match session.resumed(&last_event) {
                Some(token) => resumed(&hall.world, &last_event, &token),
                None => stream(session.open_pushes()),
            });
        }
        hall.world.note(format!("{id} <- {body}"));
        if body.contains(super::world::INVENTED) {
            hall.world.violation(format!("{id} got {body}"));
        }
        self.post(&hall.world, kind, session, message, &body).await
    }

    async fn post(
        &self,
        world: &Arc<World>,
        kind: Kind,
        session: Arc<Session>,
        message: Message,
        body: &str,
    ) -> Result<Response<Body>, io::Error> {
        let Some(method) = &message.method else {
            session.answer(world, &message, body);
            return Ok(status(202));
        };
        if message.id.is_none() {
            notified(world, &session, method, &message);
            return Ok(status(202));
        }
        let Some(token) = message.params().token.clone() else {
            return Ok(self.plain(world, kind, &session, &message));
        };
        session.used_by(world, &token);
        let script = Script::of(world, &token);
        if script.fate == Fate::SessionLost && session.exclusive && world.refuse_once(&token) {
            session.forget();
            return Ok(status(404));
        }
        session.begin(world, message.id(), &token);
        world.executed(&token, method);
        let meta = message.params().meta.as_ref();
        let call = Call {
            world: world.clone(),
            session,
            id: message.id().to_owned(),
            progress: meta
                .and_then(|meta| meta.progress_token.as_ref())
                .map(|token| token.get().to_owned()),
            token,
        };
        match script.fate {
            Fate::Vanished => return Err(io::Error::other("it vanishes")),
            Fate::Failed => return Ok(status(500)),
            Fate::Ignored if kind != Kind::Old => return Ok(status(202)),
            _ => {}
        }
        let stage = match kind {
            Kind::Json => {
                let body = call.body(script).await;
                return Ok(response(200, "application/json", body));
            }
            Kind::Events | Kind::Stateless => {
                let (pieces, came) = mpsc::channel(PIECES);
                self.spawn(call.perform(script, Stage::Own(pieces)));
                return Ok(stream(came));
            }
            Kind::Old => Stage::Shared,
        };
        self.spawn(call.perform(script, stage));
        Ok(status(202))
    }

    /// Answers what stands outside of the game: `initialize` on HTTP+SSE, and what
    /// the daemon may ask for itself.
    fn plain(
        &self,
        world: &Arc<World>,
        kind: Kind,
        session: &Arc<Session>,
        message: &Message,
    ) -> Response<Body> {
        let answer = match message.method.as_deref() {
            Some("initialize") => initialized(message),
            _ => format!(
                r#"{{"jsonrpc":"2.0","id":{},"result":{{"tools":[]}}}}"#,
                message.id()
            ),
        };
        if kind != Kind::Old {
            return response(200, "application/json", answer);
        }
        let mut random = world.random(&session.id);
        let session = session.clone();
        self.spawn(async move {
            if let Some(pushes) = session.pushes() {
                for piece in script::event(&mut random, UNASKED, &answer) {
                    drop(pushes.send(Some(piece)).await);
                }
            }
        });
        status(202)
    }
}

fn header(request: &Request<Incoming>, name: &str) -> String {
    let value = request.headers().get(name);
    let text = value.and_then(|value| value.to_str().ok());
    text.unwrap_or_default().to_owned()
}

fn initialized(message: &Message) -> String {
    let version = message.params().protocol_version.as_deref();
    format!(
        r#"{{"jsonrpc":"2.0","id":{},"result":{{"protocolVersion":"{}","capabilities":{{}},"serverInfo":{{"name":"simulator","version":"1"}}}}}}"#,
        message.id(),
        version.unwrap_or("2025-11-25")
    )
}

fn opened(hall: &Hall, kind: Kind, message: &Message) -> Response<Body> {
    let session = hall.new_session(kind);
    hall.world.note(format!("{} is opened", session.id));
    let mut response = response(200, "application/json", initialized(message));
    if session.exclusive {
        let id = session.id.parse().expect("it is a header's value");
        response.headers_mut().insert("mcp-session-id", id);
    }
    response
}

fn old_stream(hall: &Hall) -> Response<Body> {
    let session = hall.new_session(Kind::Old);
    hall.world.note(format!("{} is opened", session.id));
    let pieces = session.open_pushes();
    let endpoint = format!("event: endpoint\ndata: /old/post?{}\n\n", session.id);
    if let Some(pushes) = session.pushes() {
        pushes
            .try_send(Some(endpoint.into_bytes()))
            .expect("nothing was sent before");
    }
    stream(pieces)
}

/// Handles a notification.
fn notified(world: &World, session: &Session, method: &str, message: &Message) {
    if method == "notifications/cancelled"
        && let Some(id) = &message.params().request_id
    {
        session.cancel(world, id.get());
    }
    if let Some(token) = &message.params().token {
        session.used_by(world, token);
    }
}

/// Goes on with the stream of a request, or says that it cannot.
fn resumed(world: &World, id: &str, token: &str) -> Response<Body> {
    let mut random = world.random(&format!("resumed {token}"));
    world.note(format!("the stream of {token} is resumed"));
    if random.one_in(3) {
        return status(405);
    }
    world.count("streams resumed");
    let event = script::event(&mut random, id, &script::answer(id, token));
    let event = String::from_utf8(event.concat()).expect("it is text");
    response(200, "text/event-stream", event)
}

fn status(status: u16) -> Response<Body> {
    response(status, "text/plain", String::new())
}

fn response(status: u16, media_type: &str, body: String) -> Response<Body> {
    let body = Full::new(Bytes::from(body)).map_err(|never: Infallible| match never {});
    Response::builder()
        .status(status)
        .header("content-type", media_type)
        .body(body.boxed_unsync())
        .expect("it is well formed")
}

/// A response that ends with its pieces.
fn stream(pieces: mpsc::Receiver<Piece>) -> Response<Body> {
    let pieces = ReceiverStream::new(pieces).map(|piece| match piece {
        Some(bytes) => Ok(Frame::data(Bytes::from(bytes))),
        None => Err(io::Error::other("the stream is cut")),
    });
    Response::builder()
        .header("content-type", "text/event-stream")
        .body(StreamBody::new(pieces).boxed_unsync())
        .expect("it is well formed")
}
