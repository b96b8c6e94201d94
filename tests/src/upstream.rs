//! A remote MCP server that does what a test says and remembers what it saw.
//!
//! Owns the listener, its threads and the record of requests. Out of the box it
//! is a well-behaved server (`mcp`, `http_sse`); a script may answer any
//! request in its place (`hostile` has the evil ones). What a conforming client
//! would not do is a complaint, and complaints fail the test at the end.

mod get;
mod http;
mod http_sse;
mod mcp;
mod rpc;
mod tools;

pub mod hostile;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::BufReader;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::monitor::{Monitor, PATIENCE};
use crate::tls::{ServerTls, Wire};
pub(crate) use http::read_request;
pub use http::{EventScript, Events, RawScript, Reply, Request};
pub use rpc::{Rpc, text_result};

/// Which kind of server to be.
#[derive(Debug, Clone)]
pub struct Config {
    /// The transport.
    pub kind: Kind,
    /// How a request is answered over Streamable HTTP.
    pub replies: Replies,
    /// Whether `initialize` gives a session id.
    pub sessions: bool,
    /// Whether GET opens a stream; otherwise 405.
    pub get_stream: bool,
    /// Serves TLS instead of plain HTTP.
    pub tls: Option<ServerTls>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            kind: Kind::StreamableHttp,
            replies: Replies::Json,
            sessions: true,
            get_stream: true,
            tls: None,
        }
    }
}

/// The transport that a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Streamable HTTP.
    StreamableHttp,
    /// HTTP+SSE; a POST to its SSE endpoint gets this status.
    HttpSse(u16),
}

/// The two ways to answer a POST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replies {
    /// One JSON document.
    Json,
    /// A stream of events.
    Events,
}

/// How a server that was restarted refuses a session of its earlier life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Refusal {
    /// 404, as the specification says.
    #[default]
    NotFound,
    /// 400 with the words of the reference server.
    BadRequest,
}

/// What the fake knows of one session.
#[derive(Debug, Default)]
struct Session {
    version: String,
    initialized: bool,
    ids: BTreeSet<String>,
    /// Messages for the GET stream.
    queue: VecDeque<Vec<u8>>,
    streams: usize,
}

#[derive(Default)]
struct State {
    requests: Vec<Request>,
    connections: Vec<TcpStream>,
    sessions: BTreeMap<String, Session>,
    sessions_made: usize,
    refusal: Refusal,
    /// Messages from the client that answer requests of the server, by id.
    answers: BTreeMap<String, Vec<u8>>,
    canned: BTreeMap<String, String>,
    gates: BTreeSet<String>,
    /// The gates that calls have come to.
    holding: BTreeSet<String>,
    complaints: Vec<String>,
    streams_cut: usize,
    /// Header fields of every reply.
    extra_headers: Vec<(String, String)>,
    /// The transport since the server was upgraded.
    became: Option<Kind>,
    down: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "sessions {:?}, complaints {:?}, requests {:?}",
            self.sessions.keys(),
            self.complaints,
            self.requests
        )
    }
}

type Script = Arc<dyn Fn(&Request) -> Option<Reply> + Send + Sync>;

struct Shared {
    config: Config,
    state: Monitor<State>,
    script: Mutex<Option<Script>>,
}

impl Shared {
    fn complain(&self, complaint: String) {
        self.state.update(|state| state.complaints.push(complaint));
    }

    fn reply(self: &Arc<Self>, request: &Request) -> Reply {
        let headers = self.state.look(|state| state.extra_headers.clone());
        let reply = self.plain_reply(request);
        let with = |reply: Reply, (name, value): (String, String)| reply.with(&name, &value);
        headers.into_iter().fold(reply, with)
    }

    /// Asks the script, then the server that the configuration describes.
    fn plain_reply(self: &Arc<Self>, request: &Request) -> Reply {
        let script = {
            let script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
            script.clone()
        };
        // Only now: whoever waits for it may end the script.
        self.state
            .update(|state| state.requests.push(request.clone()));
        if let Some(reply) = script.and_then(|script| script(request)) {
            return reply;
        }
        // Nobody signs in here.
        if request.target.starts_with("/.well-known/") || request.target == "/register" {
            return Reply::status(404);
        }
        let kind = self.state.look(|state| state.became);
        match kind.unwrap_or(self.config.kind) {
            Kind::StreamableHttp => mcp::reply(self, request),
            Kind::HttpSse(refusal) => http_sse::reply(self, request, refusal),
        }
    }

    /// Returns when the fake ends or goes down.
    fn hang(&self) {
        self.state.wait(|state| state.down.then_some(()));
    }
}

/// An HTTP server on loopback that plays an MCP server.
#[expect(missing_debug_implementations, reason = "holds a closure")]
pub struct FakeUpstream {
    shared: Arc<Shared>,
    address: SocketAddr,
    accepting: Option<JoinHandle<()>>,
}

impl FakeUpstream {
    /// Starts a Streamable HTTP server that answers with JSON.
    pub fn start() -> Self {
        Self::with(Config::default())
    }

    /// Starts a server of this kind.
    pub fn with(config: Config) -> Self {
        let mut fake = Self {
            shared: Arc::new(Shared {
                config,
                state: Monitor::default(),
                script: Mutex::default(),
            }),
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            accepting: None,
        };
        fake.listen();
        fake
    }

    /// Starts a well-behaved server except for what `script` answers.
    pub fn scripted(script: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static) -> Self {
        let fake = Self::start();
        fake.script(script);
        fake
    }

    /// Lets `script` answer the requests that it wants to.
    pub fn script(&self, script: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static) {
        let mut slot = self
            .shared
            .script
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *slot = Some(Arc::new(script));
    }

    /// Returns the MCP endpoint.
    pub fn url(&self) -> String {
        format!("{}/mcp", self.origin())
    }

    /// Returns scheme, host and port.
    pub fn origin(&self) -> String {
        match self.shared.config.tls {
            Some(_) => format!("https://localhost:{}", self.address.port()),
            None => format!("http://127.0.0.1:{}", self.address.port()),
        }
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Returns every request so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.state.look(|state| state.requests.clone())
    }

    /// Returns what every request so far was, in order of arrival.
    pub fn labels(&self) -> Vec<String> {
        self.requests().iter().map(label).collect()
    }

    /// Counts the requests of this label.
    pub fn count(&self, wanted: &str) -> usize {
        self.labels()
            .iter()
            .filter(|label| *label == wanted)
            .count()
    }

    /// Waits for the `nth` request (from 1) of this label.
    ///
    /// # Panics
    /// If it does not come.
    pub fn wait_for(&self, wanted: &str, nth: usize) -> Request {
        let what = format!("request {nth} that is {wanted:?}");
        self.shared.state.expect(&what, |state| {
            let mut found = state
                .requests
                .iter()
                .filter(|request| label(request) == wanted);
            found.nth(nth - 1).cloned()
        })
    }

    /// Forgets the requests so far, so that later ones can be counted alone.
    pub fn forget_requests(&self) {
        self.shared.state.update(|state| state.requests.clear());
    }

    /// Answers this method, or calls of this tool, with this result from now on.
    pub fn answer(&self, method_or_tool: &str, result: &str) {
        self.shared.state.update(|state| {
            state
                .canned
                .insert(method_or_tool.to_owned(), result.to_owned())
        });
    }

    /// Adds this header field to every reply from now on.
    pub fn add_header(&self, name: &str, value: &str) {
        let field = (name.to_owned(), value.to_owned());
        self.shared
            .state
            .update(|state| state.extra_headers.push(field));
    }

    /// Lets calls of the tool `hold` with this gate go on.
    pub fn open_gate(&self, gate: &str) {
        self.shared
            .state
            .update(|state| state.gates.insert(gate.to_owned()));
    }

    /// Waits until a call of `hold` has begun to wait at this gate.
    ///
    /// # Panics
    /// If none comes.
    pub fn wait_for_hold(&self, gate: &str) {
        let what = format!("a call that waits for {gate}");
        self.shared
            .state
            .expect(&what, |state| state.holding.contains(gate).then_some(()));
    }

    /// Returns how many sessions were ever made.
    pub fn sessions_made(&self) -> usize {
        self.shared.state.look(|state| state.sessions_made)
    }

    /// Returns how many sessions live.
    pub fn sessions_alive(&self) -> usize {
        self.shared.state.look(|state| state.sessions.len())
    }

    /// Waits until exactly `count` sessions live.
    ///
    /// # Panics
    /// If it never is so many.
    pub fn wait_for_sessions(&self, count: usize) {
        let what = format!("{count} sessions");
        self.shared
            .state
            .expect(&what, |state| (state.sessions.len() == count).then_some(()));
    }

    /// Waits until `count` GET streams are open.
    ///
    /// # Panics
    /// If they are not opened.
    pub fn wait_for_streams(&self, count: usize) {
        self.shared
            .state
            .expect(&format!("{count} open GET streams"), |state| {
                let open: usize = state.sessions.values().map(|session| session.streams).sum();
                (open >= count).then_some(())
            });
    }

    /// Sends a message on the GET stream of every session, once one is open.
    pub fn push(&self, message: impl AsRef<[u8]>) {
        self.wait_for_streams(1);
        self.shared.state.update(|state| {
            for session in state.sessions.values_mut() {
                session.queue.push_back(message.as_ref().to_owned());
            }
        });
    }

    /// Waits for the client's answer to the server's request `id` (JSON text).
    ///
    /// # Panics
    /// If it does not come.
    pub fn wait_for_answer(&self, id: &str) -> String {
        let what = format!("the client's answer to {id}");
        let answer = self
            .shared
            .state
            .expect(&what, |state| state.answers.get(id).cloned());
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Forgets all sessions, as a restart does, and ends their streams.
    pub fn forget_sessions(&self, refusal: Refusal) {
        self.shared.state.update(|state| {
            state.sessions.clear();
            state.refusal = refusal;
        });
    }

    /// Speaks another transport from now on, as after an upgrade of the server.
    pub fn upgrade(&self, kind: Kind) {
        self.shared.state.update(|state| {
            state.became = Some(kind);
            state.sessions.clear();
        });
    }

    /// Ends all GET streams and leaves the sessions.
    pub fn cut_streams(&self) {
        self.shared.state.update(|state| state.streams_cut += 1);
    }

    /// Stops listening, ends all connections and forgets all sessions.
    pub fn go_down(&mut self) {
        self.shared.state.update(|state| {
            state.down = true;
            state.sessions.clear();
            for connection in state.connections.drain(..) {
                // It may be closed already.
                drop(connection.shutdown(Shutdown::Both));
            }
        });
        // Wakes the thread in accept, which then sees that it shall end.
        drop(TcpStream::connect_timeout(&self.address, PATIENCE));
        if let Some(accepting) = self.accepting.take() {
            drop(accepting.join());
        }
    }

    /// Listens again where it did before.
    pub fn come_back(&mut self) {
        self.shared.state.update(|state| state.down = false);
        self.listen();
    }

    fn listen(&mut self) {
        let listener = TcpListener::bind(self.address).expect("a loopback port can be bound");
        self.address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let shared = self.shared.clone();
        self.accepting = Some(std::thread::spawn(move || accept(&shared, &listener)));
    }
}

impl Drop for FakeUpstream {
    fn drop(&mut self) {
        self.go_down();
        if !std::thread::panicking() {
            let complaints = self.shared.state.look(|state| state.complaints.clone());
            assert!(
                complaints.is_empty(),
                "the fake server complains: {complaints:#?}"
            );
        }
    }
}

/// Names a request: its method, and for a POST the message in it.
pub fn label(request: &Request) -> String {
    if request.method != "POST" {
        return request.method.clone();
    }
    match Rpc::parse(&request.body) {
        Some(Rpc {
            method: Some(method),
            ..
        }) => format!("POST {method}"),
        Some(_) => "POST response".to_owned(),
        None => "POST ?".to_owned(),
    }
}

fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    for number in 1.. {
        let Ok((socket, _)) = listener.accept() else {
            return;
        };
        let Ok(handle) = socket.try_clone() else {
            return;
        };
        let down = shared.state.update(|state| {
            if !state.down {
                state.connections.push(handle);
            }
            state.down
        });
        if down {
            return;
        }
        let shared = shared.clone();
        std::thread::spawn(move || {
            let closing = socket.try_clone();
            // Its errors are the client hanging up, which is the client's right.
            drop(serve(&shared, socket, number));
            // The handle kept above would hold the connection open.
            drop(closing.and_then(|socket| socket.shutdown(Shutdown::Both)));
        });
    }
}

fn serve(shared: &Arc<Shared>, socket: TcpStream, connection: usize) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let wire: Wire = match &shared.config.tls {
        Some(tls) => tls.accept(socket)?,
        None => Box::new(socket),
    };
    let mut wire = BufReader::new(wire);
    while let Some(request) = read_request(&mut wire, connection)? {
        let reply = shared.reply(&request);
        if !reply.write(wire.get_mut(), &|| shared.hang())? {
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
