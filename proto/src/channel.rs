//! Dials the daemon: one HTTP/2 connection over the local socket. The only
//! dialling code; knows no policy about when or whom.

use std::future::Future;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tonic::body::Body;

use crate::endpoint::{self, Endpoint, HangUp};

/// Bytes the other side may send on one stream before we read them: large
/// enough that a usual tool result needs no window update.
pub const STREAM_WINDOW: u32 = 1024 * 1024;

/// The same for a whole connection.
pub const CONNECTION_WINDOW: u32 = 2 * STREAM_WINDOW;

/// How long a local connect may take. A daemon that is stopped (SIGSTOP) with a
/// full backlog would otherwise hold a shim for ever.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The authority in every request; the socket decides who answers.
pub const ORIGIN: &str = "http://mcp-remoted";

/// A connection to the daemon, for the generated clients' `with_origin`.
///
/// tonic's own channel reconnects and balances, which the shim must not (it
/// has to say the handshake again) and which would double its size.
#[derive(Debug, Clone)]
pub struct Channel {
    requests: SendRequest<Body>,
    hang_up: HangUp,
}

impl Channel {
    /// Whether the daemon has closed the connection, known before the streams on
    /// it end.
    pub fn is_hung_up(&self) -> bool {
        self.hang_up.has_come()
    }
}

/// Connects to `endpoint`. The second part drives the connection: it must be
/// polled, and ends when the connection does.
///
/// # Errors
/// Whatever the socket says: usually `NotFound` or `ConnectionRefused` when no
/// daemon runs, `PermissionDenied` if another user answers, `TimedOut` after 5 s.
pub async fn connect(
    endpoint: &Endpoint,
) -> io::Result<(Channel, impl Future<Output = ()> + Send + 'static)> {
    let dial = async {
        let stream = endpoint::connect(endpoint).await?;
        let hang_up = stream.hang_up();
        let shaken = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake(TokioIo::new(stream))
            .await;
        let (requests, connection) = shaken.map_err(io::Error::other)?;
        io::Result::Ok((Channel { requests, hang_up }, connection))
    };
    let (channel, connection) = tokio::time::timeout(CONNECT_TIMEOUT, dial).await??;
    // Its errors reach the caller through the streams on the connection.
    Ok((channel, async move { drop(connection.await) }))
}

impl tower_service::Service<http::Request<Body>> for Channel {
    type Response = http::Response<hyper::body::Incoming>;
    type Error = hyper::Error;
    type Future =
        std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.requests.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.requests.send_request(request))
    }
}
