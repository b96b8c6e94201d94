//! Begins to listen: the first place that is ours, private and free.

use std::io;
use std::path::PathBuf;

use mcp_remote_proto::endpoint::{self, Endpoint, Listener, Places, UnsafeFolder};

use crate::instance::{InstanceLock, LockError};

/// An endpoint that accepts; its socket is removed with it, under its lock.
#[derive(Debug)]
pub(crate) struct Listening {
    /// Where.
    pub(crate) endpoint: Endpoint,
    listener: Option<Listener>,
    _lock: InstanceLock,
}

/// Why there is no place to listen.
#[derive(Debug)]
pub(crate) struct NoPlace(Vec<(Endpoint, Reason)>);

#[derive(Debug)]
enum Reason {
    Absent,
    Folder(UnsafeFolder),
    Taken(LockError),
    Io(io::Error),
}

impl NoPlace {
    /// Whether a folder that others could be in is among the reasons.
    pub(crate) fn is_unsafe(&self) -> bool {
        let unsafe_folder = |reason: &Reason| matches!(reason, Reason::Folder(folder) if folder.is_open_to_others());
        self.0.iter().any(|(_, reason)| unsafe_folder(reason))
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
                Reason::Taken(error) => error.fmt(f)?,
                Reason::Io(error) => error.fmt(f)?,
            }
        }
        Ok(())
    }
}

impl Listening {
    /// Tries the places in order.
    ///
    /// # Errors
    /// What is wrong with each.
    pub(crate) fn begin(places: &Places) -> Result<Self, NoPlace> {
        let mut reasons = Vec::new();
        for endpoint in places.to_listen() {
            match Self::at(&endpoint) {
                Ok(listening) => return Ok(listening),
                Err(reason) => reasons.push((endpoint, reason)),
            }
        }
        Err(NoPlace(reasons))
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
        let listener = Listener::bind(endpoint).map_err(Reason::Io)?;
        Ok(Self {
            endpoint: endpoint.clone(),
            listener: Some(listener),
            _lock: lock,
        })
    }

    /// Returns the listener, once.
    pub(crate) fn take_listener(&mut self) -> Option<Listener> {
        self.listener.take()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if cfg!(unix) {
            // Another may have removed it; there is nothing to do about it now.
            drop(std::fs::remove_file(self.endpoint.path()));
        }
    }
}

fn folders(endpoint: &Endpoint) -> Option<(PathBuf, PathBuf)> {
    if cfg!(windows) {
        return None;
    }
    let folder = endpoint.path().parent()?;
    Some((folder.parent()?.to_owned(), folder.to_owned()))
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
