//! The redirect listener of all sign-ins (RFC 8252, section 7.3): loopback only,
//! bound only while a sign-in is pending, routed by `state`. Knows no OAuth but
//! the name of that parameter.
//!
//! What does not carry a `state` that is waited for, comes from a page instead of
//! a navigation, or names another host, neither ends nor changes a sign-in.

mod serve;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, Mutex, MutexGuard};

use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::pages::Verdict;
use crate::secret::Secret;

/// Where redirects lead if nothing else is asked for: the port that the users of
/// earlier bridges have opened and forwarded.
pub(crate) const DEFAULT_PORT: u16 = 5598;

/// Ports tried from the first one on.
const PORTS_TRIED: u16 = 32;

/// Answers to one sign-in that may wait: a person gives one.
const ANSWERS: usize = 4;

/// Which port a sign-in needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PortChoice {
    /// This one or none.
    Strict(u16),
    /// This one or the next free one.
    From(u16),
}

/// Why there is no port to listen on. One sentence.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    /// The one port that would do.
    #[error("port {0} on this machine, to which the sign-in has to come back, is taken: {1}")]
    Taken(u16, io::Error),
    /// None of the ports.
    #[error("no port from {0} on is free for the sign-in to come back to: {1}")]
    NoneFree(u16, io::Error),
}

/// An answer that came back. Its sender waits to hear what became of it.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The query of the redirect, which holds the code.
    pub(crate) query: Secret<String>,
    /// Takes what became of it.
    pub(crate) verdict: oneshot::Sender<Verdict>,
}

/// The listener. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Loopback(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    tasks: TaskTracker,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    ports: HashMap<u16, Port>,
    /// By the digest of `state`, so that a look-up takes no time that depends
    /// on how much of it is right.
    expected: HashMap<[u8; 32], Expected>,
}

#[derive(Debug)]
struct Port {
    users: usize,
    _stop_guard: DropGuard,
}

#[derive(Debug)]
struct Expected {
    port: u16,
    host: String,
    path: String,
    answers: mpsc::Sender<Answer>,
}

/// A port that listens as long as this lives.
#[derive(Debug)]
pub(crate) struct Listening {
    port: u16,
    shared: Arc<Shared>,
}

/// The answers to one sign-in, as long as this lives.
#[derive(Debug)]
pub(crate) struct Answers {
    digest: [u8; 32],
    received: mpsc::Receiver<Answer>,
    shared: Arc<Shared>,
}

impl Loopback {
    /// Makes one that listens nowhere yet.
    pub(crate) fn new(tasks: TaskTracker) -> Self {
        let state = Mutex::default();
        Self(Arc::new(Shared { tasks, state }))
    }

    /// Listens on a port, together with whoever does already.
    pub(crate) fn listen(&self, choice: PortChoice) -> Result<Listening, ListenError> {
        match choice {
            PortChoice::Strict(port) => self
                .listen_on(port)
                .map_err(|error| ListenError::Taken(port, error)),
            PortChoice::From(first) => {
                let mut last = None;
                for port in first..first.saturating_add(PORTS_TRIED) {
                    match self.listen_on(port) {
                        Ok(listening) => return Ok(listening),
                        Err(error) => last = Some(error),
                    }
                }
                let error = last.unwrap_or_else(|| io::Error::other("there is no such port"));
                Err(ListenError::NoneFree(first, error))
            }
        }
    }

    fn listen_on(&self, port: u16) -> io::Result<Listening> {
        self.0.begin(port)?;
        Ok(Listening {
            port,
            shared: self.0.clone(),
        })
    }

    /// Hands over an answer that a person pasted.
    pub(crate) async fn answer(&self, redirect_url: &str) -> Option<Verdict> {
        let url = redirect_url.trim();
        let (_, query) = url.split_once('?')?;
        let query = query.split('#').next()?;
        let answers = self.0.find(&state_of(query)?, None)?;
        serve::deliver(&answers, query).await
    }
}

/// IPv4 has to work; IPv6 may be switched off, but not be somebody else's, to
/// whom the browser could go first.
fn bind(port: u16) -> io::Result<Vec<TcpListener>> {
    let mut listeners = vec![bind_one((Ipv4Addr::LOCALHOST, port).into())?];
    match bind_one((Ipv6Addr::LOCALHOST, port).into()) {
        Ok(listener) => listeners.push(listener),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported
            ) || error.raw_os_error() == Some(ADDRESS_FAMILY_NOT_SUPPORTED) => {}
        Err(error) => return Err(error),
    }
    Ok(listeners)
}

/// Has no [`io::ErrorKind`] of its own.
const ADDRESS_FAMILY_NOT_SUPPORTED: i32 = if cfg!(target_os = "linux") {
    97
} else if cfg!(windows) {
    10047
} else {
    47
};

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = StdListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

impl Listening {
    /// Returns the port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Expects answers with this `state` on this host name and path.
    pub(crate) fn expect(&self, state: &Secret<String>, host: &str, path: &str) -> Answers {
        let digest = Sha256::digest(state.reveal()).into();
        let (answers, received) = mpsc::channel(ANSWERS);
        let expected = Expected {
            port: self.port,
            host: host.to_ascii_lowercase(),
            path: path.to_owned(),
            answers,
        };
        self.shared.lock().expected.insert(digest, expected);
        Answers {
            digest,
            received,
            shared: self.shared.clone(),
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if let Some(port) = state.ports.get_mut(&self.port) {
            port.users -= 1;
            if port.users == 0 {
                drop(state.ports.remove(&self.port));
            }
        }
    }
}

impl Answers {
    /// Returns the next answer. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Answer> {
        self.received.recv().await
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        drop(self.shared.lock().expected.remove(&self.digest));
    }
}

impl Shared {
    /// Counts one more who listens on a port, beginning to if nobody does.
    fn begin(self: &Arc<Self>, port: u16) -> io::Result<()> {
        let mut state = self.lock();
        if let Some(open) = state.ports.get_mut(&port) {
            open.users += 1;
            return Ok(());
        }
        let listeners = bind(port)?;
        let stop = CancellationToken::new();
        let serving = serve::run(self.clone(), port, listeners, stop.clone());
        self.tasks.spawn(serving);
        let open = Port {
            users: 1,
            _stop_guard: stop.drop_guard(),
        };
        state.ports.insert(port, open);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nothing panics while it holds the lock")
    }

    /// Returns who waits for this `state`, at this port and path if given.
    fn find(&self, state: &str, place: Option<(u16, &str)>) -> Option<mpsc::Sender<Answer>> {
        let digest: [u8; 32] = Sha256::digest(state).into();
        let guard = self.lock();
        let expected = guard.expected.get(&digest)?;
        let fits = place.is_none_or(|(port, path)| expected.port == port && expected.path == path);
        fits.then(|| expected.answers.clone())
    }

    fn knows_host(&self, port: u16, host: &str) -> bool {
        matches!(host, "localhost" | "127.0.0.1" | "[::1]")
            || self
                .lock()
                .expected
                .values()
                .any(|expected| expected.port == port && expected.host == host)
    }

    fn knows_path(&self, port: u16, path: &str) -> bool {
        self.lock()
            .expected
            .values()
            .any(|expected| expected.port == port && expected.path == path)
    }
}

/// Returns the one `state` of a query; two make none.
fn state_of(query: &str) -> Option<String> {
    let mut states = url::form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| name == "state")
        .map(|(_, value)| value.into_owned());
    let state = states.next().filter(|state| !state.is_empty())?;
    states.next().is_none().then_some(state)
}

#[cfg(test)]
mod tests;
