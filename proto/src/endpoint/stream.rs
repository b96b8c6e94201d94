//! A connected Unix socket that is only woken for what it waits for.
//!
//! An ordinary tokio stream is registered for both directions, and a Unix socket
//! reports room each time the other side reads: two wake-ups a message that
//! nobody asked for. This one asks for room only while a write waits for it.
//! Small reads come by the stack, so that of the buffer that a connection keeps
//! only the part that is used is ever written to.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

/// What HTTP/2 has room for while it waits for the next frame. More is wanted only
/// in the middle of a long message, whose buffer is used whole.
const SMALL: usize = 8 * 1024;

/// One connection; asynchronous bytes both ways.
#[derive(Debug)]
pub struct Stream {
    socket: AsyncFd<Arc<OwnedFd>>,
    /// The same socket, while a write waits for room.
    room: Option<AsyncFd<OwnedFd>>,
}

/// Tells whether the other side of a [`Stream`] has closed.
#[derive(Debug, Clone)]
pub struct HangUp(Arc<OwnedFd>);

impl Stream {
    /// Takes a connected, non-blocking socket.
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        let socket = watch(Arc::new(socket), Interest::READABLE)?;
        Ok(Self { socket, room: None })
    }

    /// Returns what tells whether the other side has closed, for as long as it
    /// is kept.
    pub fn hang_up(&self) -> HangUp {
        HangUp(Arc::clone(self.socket.get_ref()))
    }
}

impl HangUp {
    /// Whether the other side has closed and nothing is left to read. Asks the
    /// system, which knows before the event loop does.
    pub fn has_come(&self) -> bool {
        let peeked = recv(&self.0, &mut [0], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        match peeked {
            Ok((_, length)) => length == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}

fn watch<T: std::os::fd::AsRawFd>(socket: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    #[expect(
        deprecated,
        reason = "the replacement is unsafe for types that could swap their descriptor; these do not"
    )]
    AsyncFd::with_interest(socket, interest)
}

/// Reads what is there; returns how much that was.
fn receive(socket: &OwnedFd, buffer: &mut ReadBuf<'_>) -> rustix::io::Result<usize> {
    if buffer.remaining() > SMALL {
        let (_, length) = recv(socket, buffer.initialize_unfilled(), RecvFlags::DONTWAIT)?;
        buffer.advance(length);
        return Ok(length);
    }
    let mut read = [MaybeUninit::uninit(); SMALL];
    let into = &mut read[..buffer.remaining()];
    let ((read, _), length) = recv(socket, into, RecvFlags::DONTWAIT)?;
    buffer.put_slice(read);
    Ok(length)
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.socket.poll_read_ready(context))?;
            let wanted = buffer.remaining();
            match receive(self.socket.get_ref(), buffer) {
                Ok(length) => {
                    // Less than wanted is all there was; more is a new event.
                    if 0 < length && length < wanted {
                        guard.clear_ready();
                    }
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            match send(
                self.socket.get_ref(),
                bytes,
                SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
            ) {
                Ok(length) => {
                    self.room = None;
                    return Poll::Ready(Ok(length));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Poll::Ready(Err(error.into())),
            }
            if self.room.is_none() {
                let same = self.socket.get_ref().try_clone()?;
                self.room = Some(watch(same, Interest::WRITABLE)?);
            }
            if let Some(room) = &self.room {
                ready!(room.poll_write_ready(context))?.clear_ready();
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        rustix::net::shutdown(self.socket.get_ref(), rustix::net::Shutdown::Write)?;
        Poll::Ready(Ok(()))
    }
}
