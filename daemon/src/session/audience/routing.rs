//! Which members of a shared session a message is for. Pure.
//!
//! What a stream of its own brought does not come here: that is for the relay
//! whose request opened it.

use super::names::{elicitation, related_task, task, text};
use super::{Audience, Sharing};
use crate::jsonrpc::{Envelope, Kind};
use crate::session::exchange::Inbound;
use crate::session::switches::Level;

impl Audience {
    /// Returns who gets this, and whether it is its own, so that it may not miss
    /// it.
    pub(super) fn route(&self, inbound: &Inbound) -> (Vec<u64>, bool) {
        match inbound {
            Inbound::Message(envelope) | Inbound::Asked(envelope, _) => match envelope.kind() {
                Kind::Response => (self.owner(id_of(envelope)), true),
                Kind::Request => (self.asked(envelope), true),
                Kind::Notification => self.told(envelope),
            },
            Inbound::Skipped(Some(id), _) => (self.owner(id.as_json().parse().ok()), true),
            Inbound::Ended(id, _) | Inbound::Waiting(id, _) => (self.owner(Some(*id)), true),
            Inbound::Skipped(None, _) | Inbound::Lost { .. } => (self.all(), true),
        }
    }

    fn all(&self) -> Vec<u64> {
        self.members.keys().copied().collect()
    }

    fn owner(&self, request: Option<u64>) -> Vec<u64> {
        let owner = request.and_then(|request| self.owners.get(&request));
        owner.into_iter().copied().collect()
    }

    /// Returns whose this is: nobody's if the owner has gone, `None` if it never had
    /// one.
    fn named(&self, name: Option<String>) -> Option<Vec<u64>> {
        let owner = self.names.get(name?.as_str())?;
        let is_there = self.members.contains_key(owner);
        Some(is_there.then_some(*owner).into_iter().collect())
    }

    /// Where the server keeps no session, and one member is there, it is the one
    /// that would have the stream if it had come by itself.
    fn alone(&self) -> Vec<u64> {
        match (self.sharing, self.members.len()) {
            (Sharing::NoSession | Sharing::Outgrown, 1) => self.all(),
            _ => Vec::new(),
        }
    }

    /// Whom a request of the server asks. A ping asks whether we are there.
    fn asked(&self, request: &Envelope) -> Vec<u64> {
        if request.method() == Some("ping") {
            return Vec::new();
        }
        let owner = self.named(related_task(request));
        owner.unwrap_or_else(|| self.alone())
    }

    fn told(&self, notification: &Envelope) -> (Vec<u64>, bool) {
        let method = notification.method().unwrap_or_default();
        match method {
            "notifications/progress" => {
                let token = notification.progress_token();
                let token = token.and_then(|place| notification.text(place).parse().ok());
                match self.owner(token) {
                    owner if owner.is_empty() => {
                        let owner = self.named(related_task(notification));
                        (owner.unwrap_or_default(), true)
                    }
                    owner => (owner, true),
                }
            }
            // Each knows which requests it has been asked.
            "notifications/cancelled" => (self.all(), false),
            "notifications/message" => {
                let level = Level::of(notification);
                let wants = |member: &u64| self.switches.admits(*member, level);
                (self.all().into_iter().filter(wants).collect(), false)
            }
            "notifications/resources/updated" => {
                let uri = text(notification, "uri");
                let members = uri.map(|uri| self.switches.subscribers(&uri));
                (members.into_iter().flatten().collect(), false)
            }
            "notifications/tasks/status" => {
                let owner = self.named(text(notification, "taskId").map(task));
                (owner.unwrap_or_default(), true)
            }
            "notifications/elicitation/complete" => {
                let name = text(notification, "elicitationId").map(elicitation);
                (self.named(name).unwrap_or_default(), true)
            }
            _ if method.ends_with("/list_changed") => (self.all(), false),
            _ => match self.named(related_task(notification)) {
                Some(owner) => (owner, true),
                None => (self.alone(), false),
            },
        }
    }
}

fn id_of(response: &Envelope) -> Option<u64> {
    response.id()?.as_json().parse().ok()
}
