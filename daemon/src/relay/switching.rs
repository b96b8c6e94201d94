//! What a client switches on and off in its session, alone or among others: the
//! log level, subscriptions; and whose tasks and elicitations are whose.

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::{Gone, Relay};
use crate::jsonrpc::{self, Envelope};
use crate::session::{Change, Course, Outbound, OutboundKind, Outcome, Replies, names};

impl Relay {
    /// Sends a request that changes a switch, unless it is so already. Returns what
    /// is to be sent as it is.
    pub(super) async fn switch(
        &mut self,
        minted: u64,
        change: Option<Change>,
        outbound: Outbound,
    ) -> Result<Option<Outbound>, Gone> {
        let Some(lease) = &mut self.lease else {
            return Ok(None);
        };
        let shared = lease.is_shared();
        let Some(change) = change else {
            // It means to change something, and nobody knows what.
            if !shared {
                lease.spoil();
                return Ok(Some(outbound));
            }
            let refused = "mcp-remote: the params of this request cannot be understood";
            return self
                .answer_here(minted, |id| {
                    jsonrpc::error_response(Some(id), -32602, refused, None)
                })
                .await;
        };
        if shared
            && lease
                .membership()
                .switches(|switches, _| switches.is_full(&change))
        {
            let refused = "mcp-remote: the clients of this session have too many subscriptions";
            return self
                .answer_here(minted, |id| {
                    jsonrpc::error_response(Some(id), -32603, refused, None)
                })
                .await;
        }
        self.changes.insert(minted, change.clone());
        if !shared {
            return Ok(Some(outbound));
        }
        let course = lease
            .membership()
            .switches(|switches, member| switches.ask(member, minted, change, outbound));
        match course {
            // It is sent or answered when its turn has come.
            None => Ok(None),
            Some(Course::Upstream(outbound, instead)) => Ok(Some(put(outbound, instead))),
            Some(Course::Here(_) | Course::Own(..)) => {
                self.changes.remove(&minted);
                self.answer_here(minted, |id| id.empty_result()).await
            }
        }
    }

    async fn answer_here(
        &mut self,
        minted: u64,
        answer: impl FnOnce(&jsonrpc::RequestId) -> Bytes,
    ) -> Result<Option<Outbound>, Gone> {
        self.disown(minted);
        if let Some(entry) = self.in_flight.fail(minted) {
            self.answer(Some(minted), answer(&entry.id)).await?;
        }
        Ok(None)
    }

    /// Says that somebody is there who has not said which level it wants.
    pub(super) async fn join(&mut self) {
        let Some(lease) = self.lease.as_ref().filter(|lease| lease.is_shared()) else {
            return;
        };
        let mint = || lease.session().next_id();
        let course = lease
            .membership()
            .switches(|switches, _| switches.rebalance(&mint));
        self.go_on(course.into_iter().collect()).await;
    }

    /// Cancels a request at the client's wish. Returns the notification for
    /// upstream, and what has to be sent before it.
    pub(super) async fn cancel(
        &mut self,
        notification: &Envelope,
    ) -> Option<(Bytes, CancellationToken)> {
        let place = notification.cancelled_request()?;
        let minted = self.in_flight.minted(notification.text(place))?;
        let cancelled = self.in_flight.cancel(notification);
        self.answer_without(minted).await;
        self.disown(minted);
        if self.withdraw(minted) {
            return None;
        }
        self.settle(minted, Outcome::Unknown).await;
        cancelled
    }

    /// Drops a request whose answer nobody wants. Returns what its cancellation has
    /// to wait for.
    pub(super) async fn abandon(&mut self, minted: u64) -> Option<CancellationToken> {
        let sent = self.in_flight.abandon(minted);
        self.disown(minted);
        if self.withdraw(minted) {
            return None;
        }
        self.settle(minted, Outcome::Unknown).await;
        sent
    }

    /// Takes a change back that waits for its turn: the server has not heard of it.
    fn withdraw(&mut self, minted: u64) -> bool {
        let (Some(lease), Some(change)) = (&self.lease, self.changes.get(&minted)) else {
            return false;
        };
        let waited = lease
            .membership()
            .switches(|switches, _| switches.withdraw(minted, change));
        if waited {
            self.changes.remove(&minted);
            self.in_flight.over(minted);
        }
        waited
    }

    /// Gives up what comes for a request.
    pub(super) fn disown(&mut self, minted: u64) {
        self.named.remove(&minted);
        if let Some(lease) = &self.lease {
            lease.membership().disown(minted);
        }
    }

    /// Refuses a request about a task of another member.
    pub(super) async fn refuse_foreign(&mut self, minted: u64) -> Result<(), Gone> {
        let refused = "mcp-remote: there is no such task";
        let answer = self.answer_here(minted, |id| {
            jsonrpc::error_response(Some(id), -32602, refused, None)
        });
        answer.await.map(|_| ())
    }

    /// Notes how a change ended, if this request was one.
    pub(super) async fn settle(&mut self, minted: u64, outcome: Outcome) {
        let Some(change) = self.changes.remove(&minted) else {
            return;
        };
        let Some(lease) = &self.lease else { return };
        let mint = || lease.session().next_id();
        let courses = lease
            .membership()
            .switches(|switches, member| switches.settle(member, minted, &change, outcome, &mint));
        self.go_on(courses).await;
    }

    /// Notes that nobody hears any more how the changes under way end.
    pub(super) async fn settle_all(&mut self) {
        while let Some(minted) = self.changes.keys().next().copied() {
            self.settle(minted, Outcome::Unknown).await;
        }
    }

    /// Does what can be done now, for others too.
    pub(super) async fn go_on(&mut self, courses: Vec<Course<Outbound>>) {
        for course in courses {
            let Some(lease) = &self.lease else { return };
            match course {
                Course::Upstream(outbound, instead) => {
                    drop(lease.session().send(put(outbound, instead)).await);
                }
                Course::Here(outbound) => lease.session().done(outbound).await,
                Course::Own(id, change) => {
                    lease.membership().own(id);
                    let message = change.message(id);
                    let outbound =
                        Outbound::new(message, OutboundKind::Request(id), self.replies());
                    drop(lease.session().send(outbound).await);
                    self.changes.insert(id, change);
                }
            }
        }
    }

    /// Returns where answers for this relay go.
    pub(super) fn replies(&self) -> Replies {
        Replies::to(self.inbox.clone())
    }

    /// Notes what a request of a member has to do with tasks; true: they are
    /// another member's.
    pub(super) fn is_foreign(&mut self, minted: u64, request: &Envelope) -> bool {
        let Some(lease) = &self.lease else {
            return false;
        };
        match request.method() {
            Some("tasks/get" | "tasks/result" | "tasks/cancel") => {
                let id = names::text(request, "taskId");
                id.is_some_and(|id| lease.membership().is_anothers(&names::task(id)))
            }
            Some("tasks/list") => {
                self.named.insert(minted, Named::List);
                false
            }
            _ => {
                if names::asks_for_task(request) {
                    self.named.insert(minted, Named::Task);
                }
                false
            }
        }
    }

    /// Notes the names in an answer, and takes out of it what is another member's.
    pub(super) fn claim(&mut self, minted: u64, answer: Envelope) -> Envelope {
        let Some(lease) = &self.lease else {
            return answer;
        };
        lease.membership().disown(minted);
        let named = self.named.remove(&minted);
        if answer.is_error() {
            for id in names::elicitations(&answer) {
                lease.membership().own_name(&names::elicitation(id));
            }
            return answer;
        }
        match named {
            Some(Named::Task) => {
                if let Some(id) = names::task_of(&answer) {
                    lease.membership().own_name(&names::task(id));
                }
                answer
            }
            Some(Named::List) => names::without(&answer, |id| {
                lease.membership().is_anothers(&names::task(id))
            })
            .unwrap_or(answer),
            None => answer,
        }
    }
}

/// What the answer to a request names.
#[derive(Debug, Clone, Copy)]
pub(super) enum Named {
    /// The task that it makes.
    Task,
    /// All tasks.
    List,
}

/// Puts another change in the place of what a request asks for.
fn put(outbound: Outbound, instead: Option<Change>) -> Outbound {
    match (instead, outbound.kind) {
        (Some(change), OutboundKind::Request(id)) => Outbound {
            message: change.message(id),
            ..outbound
        },
        _ => outbound,
    }
}
