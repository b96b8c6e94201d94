//! Named pipes, through the same calls as Unix sockets. Never run so far: kept
//! as thin as it can be.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use interprocess::local_socket::tokio::prelude::*;
use interprocess::local_socket::{GenericFilePath, ListenerOptions, Name};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Endpoint;

/// One connection; asynchronous bytes both ways.
#[derive(Debug)]
pub struct Stream(LocalSocketStream);

/// Would tell whether the other side of a [`Stream`] has closed; a pipe does not
/// say so in advance.
#[derive(Debug, Clone)]
pub struct HangUp;

impl Stream {
    /// Returns what tells whether the other side has closed.
    pub fn hang_up(&self) -> HangUp {
        HangUp
    }
}

impl HangUp {
    /// Whether the other side is known to have closed.
    pub fn has_come(&self) -> bool {
        false
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
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

/// Returns 0: on Windows the folder and the pipe's name carry the identity.
pub fn user_id() -> u32 {
    0
}

/// Whether some process has the pipe; only its owner would know.
pub fn is_bound(_: &Endpoint) -> bool {
    false
}

/// A folder that could not be made.
#[derive(Debug)]
pub struct UnsafeFolder(PathBuf, io::Error);

impl std::fmt::Display for UnsafeFolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} cannot be used: {}", self.0.display(), self.1)
    }
}

impl std::error::Error for UnsafeFolder {}

impl UnsafeFolder {
    /// Whether others could get in, and not only we could not: never, the
    /// profile's access list keeps them out.
    pub fn is_open_to_others(&self) -> bool {
        false
    }
}

/// Makes `path` a folder; the profile's access list keeps others out.
///
/// # Errors
/// [`UnsafeFolder`] if it cannot be made.
pub fn private_folder(path: &Path) -> Result<(), UnsafeFolder> {
    std::fs::create_dir_all(path).map_err(|error| UnsafeFolder(path.to_owned(), error))
}

/// Connects to a daemon of this user.
///
/// # Errors
/// What the pipe says.
pub async fn connect(endpoint: &Endpoint) -> io::Result<Stream> {
    LocalSocketStream::connect(name(endpoint)?)
        .await
        .map(Stream)
}

/// Accepts connections of this user.
#[derive(Debug)]
pub struct Listener(LocalSocketListener);

impl Listener {
    /// Listens on `endpoint`; the default access list admits the owner, remote
    /// clients are rejected by interprocess, and the first instance is exclusive.
    ///
    /// # Errors
    /// What creating the pipe gives.
    pub fn bind(endpoint: &Endpoint) -> io::Result<Self> {
        ListenerOptions::new()
            .name(name(endpoint)?)
            .create_tokio()
            .map(Self)
    }

    /// Accepts the next connection. Cancel safe.
    ///
    /// # Errors
    /// What the pipe says.
    pub async fn accept(&self) -> io::Result<Stream> {
        self.0.accept().await.map(Stream)
    }
}

fn name(endpoint: &Endpoint) -> io::Result<Name<'_>> {
    endpoint.path().to_fs_name::<GenericFilePath>()
}
