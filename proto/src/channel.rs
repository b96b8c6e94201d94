//! Dials the daemon: one HTTP/2 connection over the local socket. The only
//! dialling code; knows no policy about when or whom.

use std::future::Future;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tonic::body::Body;

use crate::endpoint::{self, Endpoint};

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
pub struct Channel(SendRequest<Body>);

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
        http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)
    };
    let (sender, connection) = tokio::time::timeout(CONNECT_TIMEOUT, dial).await??;
    // Its errors reach the caller through the streams on the connection.
    Ok((Channel(sender), async move { drop(connection.await) }))
}

impl tower_service::Service<http::Request<Body>> for Channel {
    type Response = http::Response<hyper::body::Incoming>;
    type Error = hyper::Error;
    type Future =
        std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}
