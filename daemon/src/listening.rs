//! Begins to listen: the first place that is ours, private and free.

use std::path::PathBuf;

use mcp_remote_proto::endpoint::{self, Endpoint, Listener, Places};

use crate::instance::InstanceLock;

/// An endpoint that accepts; its socket is removed with it, under its lock.
#[derive(Debug)]
pub(crate) struct Listening {
    /// Where.
    pub(crate) endpoint: Endpoint,
    listener: Option<Listener>,
    _lock: InstanceLock,
}

impl Listening {
    /// Tries the places in order.
    ///
    /// # Errors
    /// A sentence about each place.
    pub(crate) fn begin(places: &Places) -> Result<Self, String> {
        let mut reasons = Vec::new();
        for endpoint in places.to_listen() {
            match Self::at(&endpoint) {
                Ok(listening) => return Ok(listening),
                Err(Some(reason)) => reasons.push(format!("{endpoint}: {reason}")),
                Err(None) => {}
            }
        }
        Err(format!(
            "there is no place to listen ({})",
            reasons.join("; ")
        ))
    }

    /// Listens at one place; `None`: it does not exist here.
    fn at(endpoint: &Endpoint) -> Result<Self, Option<String>> {
        let lock = match folders(endpoint) {
            Some((parent, folder)) => {
                // A runtime folder is made by the system, at login.
                if !parent.is_dir() {
                    return Err(None);
                }
                endpoint::private_folder(&folder).map_err(|error| Some(error.to_string()))?;
                lock_path(endpoint)
            }
            None => lock_path(endpoint),
        };
        // Held by a daemon of another HOME: its socket is not ours to replace.
        let lock = InstanceLock::take(&lock).map_err(|error| Some(error.to_string()))?;
        let listener = Listener::bind(endpoint).map_err(|error| Some(error.to_string()))?;
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
