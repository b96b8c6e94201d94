//! What a service manager and the daemon tell each other: the socket that systemd or
//! launchd hands over, and by `NOTIFY_SOCKET` that we are ready, alive or stopping.

use std::path::PathBuf;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// A socket that outlives us: whoever connects while we do not run waits in it.
#[derive(Debug)]
pub(crate) struct Handed {
    /// Where it is bound.
    pub(crate) path: PathBuf,
    /// Accepts.
    #[cfg(unix)]
    pub(crate) listener: std::os::unix::net::UnixListener,
    /// Nothing is handed over on Windows.
    #[cfg(not(unix))]
    pub(crate) never: std::convert::Infallible,
}

/// Takes the socket that was handed over, once, before there are threads.
pub(crate) fn handed() -> Option<Handed> {
    #[cfg(unix)]
    {
        let listener = listener()?;
        let address = listener.local_addr().ok()?;
        let path = address.as_pathname()?.to_owned();
        Some(Handed { path, listener })
    }
    #[cfg(not(unix))]
    None
}

/// Takes the first socket of the kind that we serve.
#[cfg(all(unix, not(target_os = "macos")))]
fn listener() -> Option<std::os::unix::net::UnixListener> {
    let mut handed = listenfd::ListenFd::from_env();
    (0..handed.len()).find_map(|at| handed.take_unix_listener(at).ok().flatten())
}

/// The socket's name in the agent.
#[cfg(target_os = "macos")]
const SOCKET: &str = "daemon";

#[cfg(target_os = "macos")]
fn listener() -> Option<std::os::unix::net::UnixListener> {
    use std::os::fd::{FromRawFd as _, OwnedFd};
    // Fails wherever launchd does not run us by an agent with this socket.
    let descriptor = raunch::activate_socket(SOCKET).ok()?.into_iter().next()?;
    #[expect(unsafe_code, reason = "the descriptor came from outside as a number")]
    // SAFETY: launchd has just opened it for us, and gives it away once.
    let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
    // It is not for the programs that we start.
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC).ok()?;
    Some(socket.into())
}

/// Says that the endpoint accepts.
pub(crate) fn ready(endpoint: &str) {
    notify(&[
        State::Ready,
        State::MainPid(std::process::id()),
        State::Status(&format!("listening on {endpoint}")),
    ]);
}

/// Says what the start waits for.
pub(crate) fn waiting(what: &str) {
    notify(&[State::Status(what)]);
}

/// Says that we stop.
pub(crate) fn stopping() {
    notify(&[State::Stopping]);
}

/// Says that we are alive, as often as is asked for; without that, nothing.
pub(crate) async fn stay_alive(stop: CancellationToken) {
    let Some(interval) = watchdog() else { return };
    while !stop.is_cancelled() {
        notify(&[State::Watchdog]);
        // Also while we stop, which takes less than the interval.
        tokio::time::sleep(interval / 3).await;
    }
}

#[cfg(unix)]
use sd_notify::NotifyState as State;

#[cfg(unix)]
fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|interval| !interval.is_zero())
}

#[cfg(unix)]
fn notify(states: &[State<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager was not told");
    }
}

#[cfg(not(unix))]
enum State<'a> {
    Ready,
    MainPid(u32),
    Status(&'a str),
    Stopping,
    Watchdog,
}

#[cfg(not(unix))]
fn watchdog() -> Option<Duration> {
    None
}

#[cfg(not(unix))]
fn notify(_: &[State<'_>]) {}
