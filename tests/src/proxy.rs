//! An HTTP proxy on loopback that remembers who asked it for what.
//!
//! Serves CONNECT and absolute-form requests (RFC 9112 section 3.2.2). Sends
//! everything to one given port, whatever host was asked for, so that names
//! which resolve nowhere show that the proxy was used.

use std::io::{self, BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::monitor::{Monitor, PATIENCE};
use crate::upstream::{Request, read_request};

#[derive(Debug, Default)]
struct State {
    requests: Vec<Request>,
    connections: Vec<TcpStream>,
    ended: bool,
}

/// A running proxy.
#[derive(Debug)]
pub struct FakeProxy {
    state: Arc<Monitor<State>>,
    address: SocketAddr,
}

impl FakeProxy {
    /// Starts a proxy that sends everything to `port` on loopback.
    ///
    /// # Panics
    /// If no port can be had.
    pub fn start(port: u16) -> Self {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port can be bound");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let state = Arc::new(Monitor::new(State::default()));
        let shared = state.clone();
        std::thread::spawn(move || {
            while let Ok((socket, _)) = listener.accept() {
                if shared.look(|state| state.ended) {
                    return;
                }
                let shared = shared.clone();
                std::thread::spawn(move || {
                    drop(serve(&shared, &socket, port));
                    drop(socket.shutdown(Shutdown::Both));
                });
            }
        });
        Self { state, address }
    }

    /// Returns the proxy's URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns method and target of every request so far.
    pub fn seen(&self) -> Vec<String> {
        self.state.look(|state| {
            let requests = state.requests.iter();
            requests
                .map(|request| format!("{} {}", request.method, request.target))
                .collect()
        })
    }
}

impl Drop for FakeProxy {
    fn drop(&mut self) {
        self.state.update(|state| {
            state.ended = true;
            for connection in state.connections.drain(..) {
                drop(connection.shutdown(Shutdown::Both));
            }
        });
        drop(TcpStream::connect_timeout(&self.address, PATIENCE));
    }
}

fn serve(state: &Monitor<State>, socket: &TcpStream, port: u16) -> io::Result<()> {
    let mut client = BufReader::new(socket.try_clone()?);
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    let handles = [socket.try_clone()?, server.try_clone()?];
    state.update(|state| state.connections.extend(handles));
    let mut answers = None;
    while let Some(request) = read_request(&mut client, 1)? {
        state.update(|state| state.requests.push(request.clone()));
        if request.method == "CONNECT" {
            (&*socket).write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
            let answers = start_copy(&server, socket)?;
            io::copy(&mut client, &mut server)?;
            return end(&server, answers);
        }
        if answers.is_none() {
            answers = Some(start_copy(&server, socket)?);
        }
        forward(&mut server, &request)?;
    }
    answers.map_or(Ok(()), |answers| end(&server, answers))
}

/// Tells the server that the client has said all, and waits for its last answer.
fn end(server: &TcpStream, answers: JoinHandle<()>) -> io::Result<()> {
    server.shutdown(Shutdown::Write)?;
    answers
        .join()
        .map_err(|_| io::Error::other("the copy failed"))
}

fn start_copy(from: &TcpStream, to: &TcpStream) -> io::Result<JoinHandle<()>> {
    let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
    Ok(std::thread::spawn(move || {
        drop(io::copy(&mut from, &mut to));
        drop(to.shutdown(Shutdown::Both));
    }))
}

/// Sends an absolute-form request on in origin form.
fn forward(server: &mut TcpStream, request: &Request) -> io::Result<()> {
    let after_scheme = request
        .target
        .split_once("://")
        .map_or("", |(_, rest)| rest);
    let path = after_scheme.find('/').map_or("/", |at| &after_scheme[at..]);
    let mut head = format!("{} {path} HTTP/1.1\r\n", request.method);
    for (name, value) in &request.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    server.write_all(&[head.as_bytes(), &request.body].concat())
}
