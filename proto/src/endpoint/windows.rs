//! Named pipes, through the same calls as Unix sockets. Never run so far: kept
//! as thin as it can be.

use std::io;
use std::path::{Path, PathBuf};

use interprocess::local_socket::tokio::prelude::*;
use interprocess::local_socket::{GenericFilePath, ListenerOptions, Name};

use super::Endpoint;

/// One connection; asynchronous bytes both ways.
pub type Stream = LocalSocketStream;

/// Returns 0: on Windows the folder and the pipe's name carry the identity.
pub fn user_id() -> u32 {
    0
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
    Stream::connect(name(endpoint)?).await
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
        self.0.accept().await
    }
}

fn name(endpoint: &Endpoint) -> io::Result<Name<'_>> {
    endpoint.path().to_fs_name::<GenericFilePath>()
}
