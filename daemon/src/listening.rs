//! Begins to listen: on the socket that a service manager hands over, else at the
//! first place that is free. One of ours that others could get into ends the search.
//!
//! A socket that others have bound is never replaced or removed.

use std::io;
use std::path::PathBuf;

use mcp_remote_proto::endpoint::{self, Endpoint, Listener, Places, UnsafeFolder};

use crate::instance::{InstanceLock, LockError};
use crate::service_manager::Handed;

/// An endpoint that accepts; a socket of our own is removed with it.
#[derive(Debug)]
pub(crate) struct Listening {
    /// Where.
    pub(crate) endpoint: Endpoint,
    listener: Option<Listener>,
    /// None: the socket is the service manager's.
    own: Option<Own>,
}

/// A socket that we have bound.
#[derive(Debug)]
struct Own {
    identity: Option<Identity>,
    _lock: InstanceLock,
}

/// Device and number of a file.
type Identity = (u64, u64);

/// Why there is no place to listen.
#[derive(Debug)]
pub(crate) struct NoPlace(Vec<(Endpoint, Reason)>);

#[derive(Debug)]
enum Reason {
    Absent,
    Folder(UnsafeFolder),
    /// A socket that was handed over can be used by others.
    Open,
    Taken(LockError),
    /// Somebody has a socket there, and no lock.
    Bound,
    Io(io::Error),
}

impl NoPlace {
    /// Whether a folder that others could be in is among the reasons.
    pub(crate) fn is_unsafe(&self) -> bool {
        self.0.iter().any(|(_, reason)| reason.is_unsafe())
    }
}

impl Reason {
    fn is_unsafe(&self) -> bool {
        match self {
            Self::Folder(folder) => folder.is_open_to_others(),
            reason => matches!(reason, Self::Open),
        }
    }
}

impl std::fmt::Display for NoPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("there is no place to listen")?;
        for (endpoint, reason) in &self.0 {
            write!(f, "; {endpoint}: ")?;
            match reason {
                Reason::Absent => f.write_str("its parent folder does not exist")?,
                Reason::Folder(folder) => folder.fmt(f)?,
                Reason::Open => f.write_str(
                    "the service manager made this socket open to other users: set SocketMode=0600 in its unit",
                )?,
                Reason::Taken(error) => error.fmt(f)?,
                Reason::Bound => f.write_str("another program listens there")?,
                Reason::Io(error) => error.fmt(f)?,
            }
        }
        Ok(())
    }
}

impl Listening {
    /// Takes what was handed over, else tries the places in order.
    ///
    /// # Errors
    /// What is wrong with each.
    pub(crate) fn begin(places: &Places, handed: Option<Handed>) -> Result<Self, NoPlace> {
        let mut reasons = Vec::new();
        if let Some(handed) = handed {
            let endpoint = Endpoint::at(handed.path.clone());
            return Self::handed(&endpoint, handed)
                .map_err(|reason| NoPlace(vec![(endpoint, reason)]));
        }
        for endpoint in places.to_listen() {
            match Self::at(&endpoint) {
                Ok(listening) => return Ok(listening),
                // Others may have been in there: it is for its owner to look at.
                Err(reason) if reason.is_unsafe() && is_in_ours(&endpoint) => {
                    return Err(NoPlace(vec![(endpoint, reason)]));
                }
                Err(reason) => reasons.push((endpoint, reason)),
            }
        }
        Err(NoPlace(reasons))
    }

    #[cfg(unix)]
    fn handed(endpoint: &Endpoint, handed: Handed) -> Result<Self, Reason> {
        use std::os::unix::fs::MetadataExt as _;
        if let Some((_, folder)) = folders(endpoint) {
            endpoint::private_folder(&folder).map_err(Reason::Folder)?;
        }
        let socket = std::fs::symlink_metadata(endpoint.path()).map_err(Reason::Io)?;
        if socket.mode() & 0o077 != 0 || socket.uid() != endpoint::user_id() {
            return Err(Reason::Open);
        }
        let listener = Listener::adopt(handed.listener).map_err(Reason::Io)?;
        Ok(Self {
            endpoint: endpoint.clone(),
            listener: Some(listener),
            own: None,
        })
    }

    #[cfg(not(unix))]
    fn handed(_: &Endpoint, handed: Handed) -> Result<Self, Reason> {
        match handed.never {}
    }

    fn at(endpoint: &Endpoint) -> Result<Self, Reason> {
        if let Some((parent, folder)) = folders(endpoint) {
            // A runtime folder is made by the system, at login.
            if !parent.is_dir() {
                return Err(Reason::Absent);
            }
            endpoint::private_folder(&folder).map_err(Reason::Folder)?;
        }
        // Held by a daemon of another HOME: its socket is not ours to replace.
        let lock = InstanceLock::take(&lock_path(endpoint)).map_err(Reason::Taken)?;
        // A service manager keeps its socket while its daemon does not run.
        if endpoint::is_bound(endpoint) {
            return Err(Reason::Bound);
        }
        let listener = Listener::bind(endpoint).map_err(Reason::Io)?;
        let own = Own {
            identity: identity(endpoint),
            _lock: lock,
        };
        Ok(Self {
            endpoint: endpoint.clone(),
            listener: Some(listener),
            own: Some(own),
        })
    }

    /// Returns the listener, once.
    pub(crate) fn take_listener(&mut self) -> Option<Listener> {
        self.listener.take()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let Some(own) = &self.own else { return };
        // A service manager may have put its own there meanwhile.
        if cfg!(unix) && own.identity.is_some() && own.identity == identity(&self.endpoint) {
            // Another may have removed it; there is nothing to do about it now.
            drop(std::fs::remove_file(self.endpoint.path()));
        }
    }
}

#[cfg(unix)]
fn identity(endpoint: &Endpoint) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::symlink_metadata(endpoint.path()).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn identity(_: &Endpoint) -> Option<Identity> {
    None
}

fn folders(endpoint: &Endpoint) -> Option<(PathBuf, PathBuf)> {
    if cfg!(windows) {
        return None;
    }
    let folder = endpoint.path().parent()?;
    Some((folder.parent()?.to_owned(), folder.to_owned()))
}

/// Says whether the folder around the one of the socket is this user's. A runtime
/// folder that `sudo` or `su` left in the environment is not, nor what is in it.
#[cfg(unix)]
fn is_in_ours(endpoint: &Endpoint) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    folders(endpoint).is_some_and(|(parent, _)| {
        std::fs::metadata(parent).is_ok_and(|parent| parent.uid() == endpoint::user_id())
    })
}

#[cfg(not(unix))]
fn is_in_ours(_: &Endpoint) -> bool {
    true
}

fn lock_path(endpoint: &Endpoint) -> PathBuf {
    if cfg!(windows) {
        let name: String = endpoint
            .to_string()
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect();
        return std::env::temp_dir().join(format!("{name}.lock"));
    }
    let mut path = endpoint.path().as_os_str().to_owned();
    path.push(".lock");
    path.into()
}
