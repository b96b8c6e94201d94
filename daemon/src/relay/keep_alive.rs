//! Pings the server while the shim has a session (`--keep-alive`), so that neither
//! forgets the other, and a session that died is found and mended before the client
//! needs it.
//!
//! A ping of ours is no request of the client's: nobody sees it or its answer.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::Relay;
use super::leaving::minted_id;
use crate::session::{Inbound, Outbound, OutboundKind};

/// The time that a server has to answer a ping: as long as until the next one,
/// within these bounds.
const PATIENCE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];

/// When to ping, and what has been asked.
#[derive(Debug, Default)]
pub(super) struct KeepAlive {
    due: Option<Instant>,
    asked: Option<Asked>,
    /// Whether the server has ever answered one: some do not, and live.
    was_answered: bool,
}

#[derive(Debug)]
struct Asked {
    /// Its id upstream.
    minted: u64,
    until: Instant,
    cancelled: CancellationToken,
}

impl KeepAlive {
    /// Begins with a session that the shim has got.
    pub(super) fn begin(&mut self, interval: Option<Duration>) {
        self.asked = None;
        self.was_answered = false;
        self.due = interval.and_then(|interval| Instant::now().checked_add(interval));
    }

    /// Says whether this is about our ping alone.
    pub(super) fn hears(&mut self, inbound: &Inbound) -> bool {
        let Some(Asked { minted, .. }) = self.asked else {
            return false;
        };
        match inbound {
            // It may still come.
            Inbound::Waiting(id, _) => return *id == minted,
            Inbound::Ended(id, _) if *id == minted => {}
            Inbound::Message(message) if minted_id(message) == Some(minted) => {
                self.was_answered = true;
            }
            Inbound::Skipped(Some(id), _) if id.as_json().parse() == Ok(minted) => {}
            Inbound::Lost { up_to, .. } if minted <= *up_to => {
                self.asked = None;
                return false;
            }
            _ => return false,
        }
        self.asked = None;
        true
    }
}

impl Relay {
    /// Waits until there is a ping to send, or one to give up. Cancel safe.
    pub(super) fn next_ping(&self) -> impl Future<Output = ()> + 'static {
        let KeepAlive { due, asked, .. } = &self.keep_alive;
        let next = match asked {
            Some(asked) => Some(asked.until),
            None => due.filter(|_| self.lease.is_some()),
        };
        async move {
            match next {
                Some(next) => tokio::time::sleep_until(next.into()).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Pings the server, or gives up a ping that it has not answered.
    pub(super) async fn ping(&mut self) {
        let Some(interval) = self.deps.ping_interval else {
            return;
        };
        let now = Instant::now();
        let unanswered = self.keep_alive.asked.take();
        self.keep_alive.due = now.checked_add(interval);
        let Some(lease) = &self.lease else {
            return;
        };
        if let Some(Asked {
            minted, cancelled, ..
        }) = unanswered
        {
            cancelled.cancel();
            lease.membership().disown(minted);
            // One that works on something may just have no time for pings.
            let is_idle = self.in_flight.is_empty() && !lease.membership().others_wait();
            if self.keep_alive.was_answered && is_idle {
                tracing::info!("the server did not answer a ping in time");
                lease.session().is_silent().await;
            }
            return;
        }
        // Where several have the session, one ping is enough for all.
        if !lease.membership().may_ping(interval) {
            return;
        }
        let minted = lease.session().next_id();
        lease.membership().own(minted);
        let ping = format!(r#"{{"jsonrpc":"2.0","id":{minted},"method":"ping"}}"#);
        let outbound = Outbound::new(ping.into(), OutboundKind::Request(minted), self.replies());
        self.keep_alive.asked = Some(Asked {
            minted,
            until: now + interval.clamp(PATIENCE[0], PATIENCE[1]),
            cancelled: outbound.fate.cancelled.clone(),
        });
        // A session that has ended is replaced by the next message.
        drop(lease.session().send(outbound).await);
    }
}
