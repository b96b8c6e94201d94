//! How a session opens, or goes on with what an earlier daemon wrote down of it, and
//! what it writes down itself.

use std::sync::atomic::Ordering;

use super::Session;
use crate::session::SessionKey;
use crate::session::connect::{self, Opened};
use crate::session::connections::{Clocks, Freshness};
use crate::session::exchange::Upstream;
use crate::session::kept::{Claimed, KeptSessions, LeaseToken};
use crate::session::phase::{Phase, TaskEnd};

impl Session {
    fn check_freshness(&self) -> Freshness {
        let network = &self.key.spec.network;
        self.deps.connections.check(Clocks::now(), network)
    }

    /// Opens the session, for the first time or again.
    pub(super) fn open(&mut self) {
        self.phase = Phase::Opening;
        self.generation += 1;
        self.freshness = self.check_freshness();
        self.key.signed_in_at = self.key.spec.signed_in_at();
        let (key, deps, handshake) = (self.key.clone(), self.deps.clone(), self.handshake.clone());
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (lease, epoch) = (self.lease.clone(), self.epoch);
        self.tasks.spawn(async move {
            let _connecting = deps.server.connecting();
            let opened = connect::open(
                deps.connections.clients(),
                &key.spec,
                &deps.server,
                &handshake,
                id,
                deps.max_message,
            )
            .await;
            let opened = match opened {
                Ok(opened) => Ok(noted(&deps.kept, &lease, epoch, &key, opened).await),
                Err(error) => Err(error),
            };
            TaskEnd::Opened(Box::new(opened))
        });
    }

    /// Goes on with an earlier daemon's session. Nobody asks whether it still is
    /// one: the first message finds out.
    pub(super) fn resume(&mut self, claimed: Claimed) {
        tracing::info!("going on with a session of an earlier daemon");
        self.phase = Phase::Opening;
        self.generation += 1;
        self.freshness = self.check_freshness();
        let (spec, deps) = (self.key.spec.clone(), self.deps.clone());
        self.tasks.spawn(async move {
            // Before the first request, so that none after it has its id.
            let note = deps.kept.take_up(claimed).await;
            let (clients, server) = (deps.connections.clients(), &deps.server);
            let resumed = connect::resume(clients, &spec, server, note, deps.max_message).await;
            TaskEnd::Opened(Box::new(resumed))
        });
    }

    /// Notes that the server has heard `notifications/initialized`.
    pub(super) fn note_initialized(&mut self) {
        if let Some(note) = &mut self.note
            && note.initialize()
        {
            let (kept, lease, note) = (self.deps.kept.clone(), self.lease.clone(), note.clone());
            self.tasks.spawn(async move {
                kept.update(&lease, note).await;
                TaskEnd::Aside
            });
        }
    }
}

/// Writes down a session that has just been opened, before anybody uses it.
pub(super) async fn noted(
    kept: &KeptSessions,
    lease: &LeaseToken,
    epoch: u64,
    key: &SessionKey,
    opened: Opened,
) -> Opened {
    let note = match &opened.upstream {
        Upstream::StreamableHttp(endpoint) => match endpoint.session() {
            Some(session) => {
                kept.opened(lease, epoch, key, session, &opened.result)
                    .await
            }
            None => None,
        },
        // Its stream is the session, and ends with the daemon.
        Upstream::HttpSse(_) => None,
    };
    Opened { note, ..opened }
}
