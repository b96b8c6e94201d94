//! A loopback HTTP pass-through that counts what goes to the server. Slower than
//! nothing, so it stands in no timed measurement.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::Failure;
use crate::proxy::Proxy;

/// Requests by kind: the MCP method of a POST, else the HTTP method.
pub(crate) type Counts = BTreeMap<String, usize>;

/// The pass-through, until dropped.
#[derive(Debug)]
pub(crate) struct Counting {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    counts: Arc<Mutex<Counts>>,
    _proxy: Proxy,
}

impl Counting {
    /// Starts it in front of `server`.
    pub(crate) fn start(
        runtime: &tokio::runtime::Runtime,
        server: SocketAddr,
    ) -> Result<Self, Failure> {
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        let counts = Arc::new(Mutex::new(Counts::new()));
        let shared = Arc::clone(&counts);
        let proxy = Proxy::start(runtime, listener, move |stream| {
            serve(stream, server, Arc::clone(&shared))
        });
        Ok(Self {
            address,
            counts,
            _proxy: proxy,
        })
    }

    /// What was counted since the last time.
    pub(crate) fn take(&self) -> Counts {
        std::mem::take(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How often this kind was counted since the last take.
    pub(crate) fn seen(&self, kind: &str) -> usize {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(kind).copied().unwrap_or(0)
    }
}

async fn serve(stream: TcpStream, server: SocketAddr, counts: Arc<Mutex<Counts>>) {
    let service = service_fn(|request| forward(request, server, &counts));
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // A client that goes away is no failure of the pass-through.
    drop(connection.await);
}

async fn forward(
    request: Request<Incoming>,
    server: SocketAddr,
    counts: &Mutex<Counts>,
) -> Result<Response<Incoming>, Failure> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let kind = kind(&head.method, &body);
    *counts
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .entry(kind)
        .or_default() += 1;
    let stream = TcpStream::connect(server).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut driver = JoinSet::new();
    driver.spawn(async move { drop(connection.await) });
    let response = sender
        .send_request(Request::from_parts(head, Full::new(body)))
        .await?;
    // The answer's body is still to come; the connection ends with it.
    driver.detach_all();
    Ok(response)
}

fn kind(method: &Method, body: &Bytes) -> String {
    if method != Method::POST {
        return method.to_string();
    }
    let message: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    match message["method"].as_str() {
        Some(name) => name.to_owned(),
        None => "an answer".to_owned(),
    }
}
