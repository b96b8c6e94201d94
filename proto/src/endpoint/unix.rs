//! Unix sockets: who may use a folder, who listens, who is at the other end.

use std::fs::DirBuilder;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use interprocess::local_socket::tokio::prelude::*;
use interprocess::local_socket::{GenericFilePath, ListenerOptions, Name};
use interprocess::os::unix::local_socket::ListenerOptionsExt;
use interprocess::os::unix::uds_local_socket::tokio::Listener as UdListener;

use super::{Endpoint, FOLDER};

pub use super::stream::{HangUp, Stream};

/// Returns the user id of this process.
pub fn user_id() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// A folder that others could read or replace. The message says what to run.
#[derive(Debug)]
pub enum UnsafeFolder {
    /// It could not be made or looked at.
    Io(PathBuf, io::Error),
    /// It belongs to another user.
    Owner(PathBuf),
    /// It is not a folder, or a symbolic link to one.
    NotAFolder(PathBuf),
    /// Others may enter it.
    Mode(PathBuf),
}

impl std::fmt::Display for UnsafeFolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (path, what) = match self {
            Self::Io(path, error) => {
                return write!(f, "{} cannot be used: {error}", path.display());
            }
            Self::Owner(path) => (path, "belongs to another user"),
            Self::NotAFolder(path) => (path, "is not a folder"),
            Self::Mode(path) => (path, "is open to other users"),
        };
        write!(f, "{} {what}: ", path.display())?;
        match self {
            _ if !is_of_our_making(path) => {
                f.write_str("use a folder of your own that only you can enter (mode 700)")
            }
            Self::Mode(_) => {
                let word = path.display().to_string().replace('\'', r"'\''");
                write!(f, "run chmod 700 '{word}'")
            }
            _ => f.write_str("move it away"),
        }
    }
}

/// Whether it has a name that only we give. Any other folder was chosen by the
/// user, has its own purpose, and must not be changed for ours.
fn is_of_our_making(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy());
    name.and_then(|name| name.strip_prefix(FOLDER).map(str::to_owned))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

impl UnsafeFolder {
    /// Whether others could get in, and not only we could not.
    pub fn is_open_to_others(&self) -> bool {
        !matches!(self, Self::Io(..))
    }
}

impl std::error::Error for UnsafeFolder {}

/// Makes `path` a folder that only this user can enter, or refuses it.
///
/// # Errors
/// [`UnsafeFolder`] if it exists and is not exactly that: permissions are never
/// tightened silently, since somebody may already have been inside.
pub fn private_folder(path: &Path) -> Result<(), UnsafeFolder> {
    let failed = |error| UnsafeFolder::Io(path.to_owned(), error);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error)),
    }
    let metadata = std::fs::symlink_metadata(path).map_err(failed)?;
    if !metadata.is_dir() {
        Err(UnsafeFolder::NotAFolder(path.to_owned()))
    } else if metadata.uid() != user_id() {
        Err(UnsafeFolder::Owner(path.to_owned()))
    } else if metadata.mode() & 0o077 != 0 {
        Err(UnsafeFolder::Mode(path.to_owned()))
    } else {
        Ok(())
    }
}

/// Connects to a daemon of this user.
///
/// # Errors
/// What the socket says; `PermissionDenied` if another user's process answers.
pub async fn connect(endpoint: &Endpoint) -> io::Result<Stream> {
    let stream = LocalSocketStream::connect(name(endpoint)?).await?;
    same_user(stream)
}

/// Accepts connections of this user.
#[derive(Debug)]
pub struct Listener(LocalSocketListener);

impl Listener {
    /// Listens on `endpoint`, mode 0600. The caller holds the lock that makes
    /// it safe to replace a socket left behind; the folder is private.
    ///
    /// # Errors
    /// What unlinking, binding or listening gives.
    pub fn bind(endpoint: &Endpoint) -> io::Result<Self> {
        match std::fs::remove_file(endpoint.path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Named by hand on exit, under the lock: a superseded daemon must not
        // remove its successor's socket.
        let options = ListenerOptions::new()
            .name(name(endpoint)?)
            .mode(0o600)
            .reclaim_name(false);
        options.create_tokio().map(Self)
    }

    /// Accepts on a socket that a service manager has bound and keeps.
    ///
    /// # Errors
    /// Nobody can connect to it, or it cannot be watched.
    pub fn adopt(socket: std::os::unix::net::UnixListener) -> io::Result<Self> {
        if !rustix::net::sockopt::socket_acceptconn(&socket)? {
            return Err(io::Error::other("it does not listen"));
        }
        let listener = UdListener::try_from(OwnedFd::from(socket))?;
        Ok(Self(LocalSocketListener::UdSocket(listener)))
    }

    /// Accepts the next connection. Cancel safe.
    ///
    /// # Errors
    /// `PermissionDenied` if the peer is another user (the connection is closed
    /// unread; go on); anything else comes from `accept`: wait before going on.
    pub async fn accept(&self) -> io::Result<Stream> {
        same_user(self.0.accept().await?)
    }
}

/// Whether some process has a socket bound there. It does not notice: this is the
/// wrong kind of socket to connect, which is said before anybody is disturbed.
pub fn is_bound(endpoint: &Endpoint) -> bool {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket};
    let asked = SocketAddrUnix::new(endpoint.path()).and_then(|address| {
        let socket = socket(AddressFamily::UNIX, SocketType::DGRAM, None)?;
        connect(socket, &address)
    });
    asked == Err(rustix::io::Errno::PROTOTYPE)
}

fn name(endpoint: &Endpoint) -> io::Result<Name<'_>> {
    endpoint.path().to_fs_name::<GenericFilePath>()
}

/// Admits a connection to a process of this user.
fn same_user(stream: LocalSocketStream) -> io::Result<Stream> {
    match stream.peer_creds()?.euid() {
        Some(uid) if uid == user_id() => {
            let LocalSocketStream::UdSocket(stream) = stream;
            Stream::new(OwnedFd::try_from(stream).map_err(io::Error::other)?)
        }
        _ => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "the peer is another user",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_of_our_making_are_to_be_changed() {
        for (folder, advice) in [
            (
                "/h/.local/state/mcp-remote",
                "run chmod 700 '/h/.local/state/mcp-remote'",
            ),
            (
                "/tmp/mcp-remote-1000",
                "run chmod 700 '/tmp/mcp-remote-1000'",
            ),
            ("/it's/mcp-remote", r"run chmod 700 '/it'\''s/mcp-remote'"),
            ("/home/user", "use a folder of your own"),
            ("/tmp/mcp-remotes", "use a folder of your own"),
            ("/", "use a folder of your own"),
        ] {
            let text = UnsafeFolder::Mode(folder.into()).to_string();
            assert!(text.contains(advice), "{text}");
            let text = UnsafeFolder::Owner(folder.into()).to_string();
            assert_eq!(
                text.contains("move it away"),
                advice.contains("chmod"),
                "{text}"
            );
        }
    }
}
