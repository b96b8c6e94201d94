//! Tells systemd that we are ready or stopping, by `NOTIFY_SOCKET`. Socket
//! activation will come in here.

/// Says that the endpoint accepts.
pub(crate) fn ready(endpoint: &str) {
    notify(&[
        State::Ready,
        State::Status(&format!("listening on {endpoint}")),
    ]);
}

/// Says that we stop.
pub(crate) fn stopping() {
    notify(&[State::Stopping]);
}

#[cfg(unix)]
use sd_notify::NotifyState as State;

#[cfg(unix)]
fn notify(states: &[State<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager was not told");
    }
}

#[cfg(not(unix))]
enum State<'a> {
    Ready,
    Status(&'a str),
    Stopping,
}

#[cfg(not(unix))]
fn notify(_: &[State<'_>]) {}
