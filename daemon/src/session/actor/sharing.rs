//! What a session does because several relays may have it: who may, what is so
//! already, what a new opening has to be told.

use std::sync::atomic::Ordering;

use super::Session;
use crate::jsonrpc::Envelope;
use crate::session::Reuse;
use crate::session::audience::Sharing;
use crate::session::exchange::{Inbound, Outbound, OutboundKind, Upstream};
use crate::session::phase::TaskEnd;
use crate::session::switches::Change;

impl Session {
    /// A session that one relay has stays so for life; where the server has begun
    /// to keep one that several have, the pool gives it to no others, and those that
    /// have it leave it to the first.
    pub(super) fn decide_sharing(&self, upstream: &Upstream) {
        let keeps = match upstream {
            Upstream::StreamableHttp(endpoint) => endpoint.session().is_some(),
            Upstream::HttpSse(_) => true,
        };
        self.deps.server.keeps(keeps);
        let sharing = match self.key.reuse {
            Reuse::Never => Sharing::Exclusive,
            _ if self.opened_once && self.inbox.sharing() == Sharing::Exclusive => return,
            _ if !keeps => Sharing::NoSession,
            Reuse::Concurrent => Sharing::Wanted,
            _ if self.opened_once => Sharing::Outgrown,
            _ => Sharing::Exclusive,
        };
        self.inbox.share(sharing);
        if sharing == Sharing::NoSession
            && let Upstream::StreamableHttp(endpoint) = upstream
        {
            // What is set for one client would go along with another's requests.
            endpoint.without_cookies();
        }
    }

    /// Answers a request that need not be sent.
    pub(super) fn say_done(&mut self, outbound: Outbound) {
        let OutboundKind::Request(id) = outbound.kind else {
            return;
        };
        let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#);
        let answer = Envelope::parse(answer.into()).expect("it is written above");
        self.tasks.spawn(async move {
            drop(outbound.replies.send(Inbound::Message(answer)).await);
            TaskEnd::Aside
        });
    }

    /// Answers a request with what the server has said before.
    pub(super) fn answer_here(&mut self, outbound: Outbound, page: &Envelope) {
        outbound.fate.sent.cancel();
        let OutboundKind::Request(id) = outbound.kind else {
            return;
        };
        let answer = Envelope::parse(page.with_id(&id.to_string()));
        let answer = answer.expect("it was read before");
        self.tasks.spawn(async move {
            drop(outbound.replies.send(Inbound::Message(answer)).await);
            TaskEnd::Aside
        });
    }

    /// Returns what an opening has to be told: what was switched on in the one
    /// before it, or under an earlier daemon.
    pub(super) fn switched_on(&self) -> Vec<(u64, Change)> {
        // In an earlier daemon's session it still is, whether or not that daemon
        // came to note that the session was initialized.
        if self.generation == 1 && self.epoch > 0 {
            return Vec::new();
        }
        let changes = self.inbox.switches(|switches| switches.restore());
        let numbered = changes
            .into_iter()
            .map(|change| (self.next_id.fetch_add(1, Ordering::Relaxed), change));
        numbered.collect()
    }
}
