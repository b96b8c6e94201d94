//! Who connects: only this user, and a flood of failures does not spin.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{self, Stream};
use mcp_remote_proto::endpoint::{self, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

/// Pause after an accept that failed, for instance for lack of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Returns the connections of this user, without end.
pub(super) fn incoming(listener: Listener) -> impl Stream<Item = io::Result<Peer>> {
    stream::unfold(listener, |listener| async move {
        loop {
            match listener.accept().await {
                Ok(stream) => return Some((Ok(Peer(stream)), listener)),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    tracing::warn!("refused a connection of another user");
                }
                Err(error) => {
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    })
}

/// A connection of this user.
#[derive(Debug)]
pub(super) struct Peer(endpoint::Stream);

impl Connected for Peer {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Peer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Peer {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
