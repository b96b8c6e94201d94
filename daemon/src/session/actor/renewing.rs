//! Gives an open session new connections when the old ones may not be used any
//! more: after the machine slept, or when the daemon was told to reload.

use std::collections::VecDeque;

use tokio_util::sync::CancellationToken;

use super::{Session, SessionState};
use crate::http::{HttpClient, HttpError};
use crate::session::connections::Clocks;
use crate::session::exchange::Upstream;
use crate::session::listener;
use crate::session::phase::{Open, Phase, TaskEnd};
use crate::upstream::UpstreamError;

impl Session {
    /// Looks whether the session's connections may be used now; if not, messages
    /// wait until it has others.
    pub(super) fn check_connections(&mut self) {
        let needed = self.deps.connections.check(Clocks::now());
        if needed == self.freshness || !matches!(self.phase, Phase::Ready(_)) {
            return;
        }
        let used = std::mem::replace(&mut self.freshness, needed);
        let Phase::Ready(old) = std::mem::replace(&mut self.phase, Phase::Lost) else {
            return;
        };
        match old.upstream {
            Upstream::StreamableHttp(_) => self.renew(old),
            // The stream is the session, and answers on it may be lost already.
            Upstream::HttpSse(_) if used.sleeps != self.freshness.sleeps => {
                let error = UpstreamError::SessionLost("the machine slept".into());
                self.report_lost(error.clone(), None);
                self.deps.server.failed(&error);
                self.state.send_replace(SessionState::Lost(error));
            }
            Upstream::HttpSse(_) => self.phase = Phase::Ready(old),
        }
    }

    fn renew(&mut self, old: Open) {
        // The old guard ends the old listening stream.
        let listening = CancellationToken::new();
        self.phase = Phase::Initializing(Open {
            _listening_guard: listening.clone().drop_guard(),
            listening,
            ..old
        });
        let (connections, spec) = (self.deps.connections.clone(), self.key.spec.clone());
        let generation = self.generation;
        self.tasks.spawn(async move {
            let client = connections.clients().client(&spec.network).await;
            TaskEnd::Renewed {
                generation,
                client: Box::new(client),
            }
        });
    }

    /// Goes on with new connections. With the old ones if there can be no new: the
    /// certificate files may be unreadable just now.
    pub(super) fn renewed(&mut self, client: Result<HttpClient, HttpError>) {
        let Phase::Initializing(mut open) = std::mem::replace(&mut self.phase, Phase::Lost) else {
            return;
        };
        match (client, &mut open.upstream) {
            (Ok(client), Upstream::StreamableHttp(endpoint)) => endpoint.use_client(client),
            (Ok(_), Upstream::HttpSse(_)) => {}
            (Err(error), _) => tracing::warn!(%error, "no new connections, using the old"),
        }
        self.ready(open);
    }

    /// Listens, and sends what has waited.
    pub(super) fn ready(&mut self, open: Open) {
        if let Upstream::StreamableHttp(endpoint) = &open.upstream {
            let (endpoint, place) = (endpoint.clone(), open.place.clone());
            let inbox = self.inbox.of_opening(self.generation);
            let server = self.deps.server.clone();
            let listening = listener::keep_listening(endpoint, server, inbox, place);
            self.listen(open.listening.clone(), listening);
        }
        self.phase = Phase::Ready(open);
        let mut waiting = VecDeque::new();
        // Behind a notification that is on its way they wait on.
        if !self.notifying {
            waiting.append(&mut self.notifications);
        }
        waiting.append(&mut self.parked);
        for outbound in waiting {
            self.dispatch(outbound);
        }
    }
}
