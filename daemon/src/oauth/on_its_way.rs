//! Token requests that have been sent: each may spend the only refresh token or code
//! there is, so nobody ends before the answer is kept, and nobody sends one at the end.

use tokio::sync::watch;

/// The token requests of one grant. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct OnItsWay(watch::Sender<State>);

#[derive(Debug, Default)]
struct State {
    closed: bool,
    sent: usize,
}

/// A request whose answer is not kept yet, as long as this lives.
#[derive(Debug)]
pub(crate) struct Sent(OnItsWay);

impl OnItsWay {
    /// Starts without any.
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(State::default()))
    }

    /// Takes the right to send one; `None`: the daemon is stopping.
    pub(crate) fn send(&self) -> Option<Sent> {
        let may_send = self.0.send_if_modified(|state| {
            state.sent += usize::from(!state.closed);
            !state.closed
        });
        may_send.then(|| Sent(self.clone()))
    }

    /// Lets none be sent from now on.
    pub(crate) fn close(&self) {
        self.0.send_modify(|state| state.closed = true);
    }

    /// Says whether there are any.
    pub(crate) fn is_any(&self) -> bool {
        self.0.borrow().sent > 0
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| state.sent -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_is_sent_at_the_end() {
        let requests = OnItsWay::new();
        let (one, other) = (requests.send(), requests.clone().send());
        requests.close();
        assert!(one.is_some() && other.is_some() && requests.is_any());
        assert!(requests.send().is_none());
        drop((one, other));
        assert!(!requests.is_any() && requests.send().is_none());
    }
}
