//! Whose roots (folders) the server has in mind. It has asked one client for them
//! and goes by the answer until it hears that they have changed: the next client of
//! the session says so before its first request. A client that does not declare
//! that it can say so leaves a session that is for nobody else.

use tokio_util::sync::CancellationToken;

use super::Relay;
use super::questions::Question;
use crate::jsonrpc::Envelope;
use crate::session::{Fate, Outbound, OutboundKind};

/// What a client says whose folders are others than they were.
const CHANGED: &[u8] = br#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#;

/// What the server has to hear of this client's roots.
#[derive(Debug, Default)]
pub(super) enum Roots {
    /// Nothing.
    #[default]
    Known,
    /// That those that it knows may be another client's.
    Untold,
    /// It is being told; requests wait for this.
    Told(CancellationToken),
}

impl Relay {
    /// Passes an answer of the client on to whoever asked.
    pub(super) async fn on_response(&mut self, envelope: Envelope) {
        if let Some((
            answer,
            Question {
                generation, method, ..
            },
        )) = self.questions.answer(&envelope)
        {
            if &*method == "roots/list" {
                self.note_roots(&envelope);
            }
            self.send(answer, OutboundKind::Response(generation), None)
                .await;
        }
    }

    /// Notes that the client has answered the question for its roots.
    pub(super) fn note_roots(&mut self, answer: &Envelope) {
        let declared = self.tells_of_roots();
        let Some(lease) = &mut self.lease else { return };
        if answer.is_error() || lease.is_shared() {
            return;
        }
        lease.membership().note_roots();
        if !declared {
            lease.spoil();
        }
    }

    /// Says whether other clients are part of the same session at the server.
    pub(super) fn is_one_of_several(&self) -> bool {
        let lease = self.lease.as_ref();
        lease.is_some_and(|lease| lease.membership().is_one_of_several())
    }

    /// Looks whether the server of a session that was there already has another
    /// client's roots.
    pub(super) fn look_at_roots(&mut self) {
        let declared = self.tells_of_roots();
        let lease = self.lease.as_ref().filter(|lease| !lease.is_shared());
        let others = lease.is_some_and(|lease| lease.is_warm() && lease.membership().has_roots());
        self.roots = match declared && others {
            true => Roots::Untold,
            false => Roots::Known,
        };
    }

    /// Tells the server, if it has to be told. Returns what a request has to wait
    /// for.
    pub(super) async fn tell_of_roots(&mut self) -> Option<CancellationToken> {
        match &self.roots {
            Roots::Known => return None,
            Roots::Told(told) if told.is_cancelled() => {
                self.roots = Roots::Known;
                return None;
            }
            Roots::Told(told) => return Some(told.clone()),
            Roots::Untold => {}
        }
        let told = CancellationToken::new();
        let message = bytes::Bytes::from_static(CHANGED);
        let fate = Fate {
            _over: Some(std::sync::Arc::new(told.clone().drop_guard())),
            _under_way: Some(self.said.token()),
            ..Fate::default()
        };
        let outbound = Outbound {
            fate,
            ..Outbound::new(message, OutboundKind::Notification, self.replies())
        };
        self.roots = Roots::Told(told.clone());
        if let Some(lease) = &self.lease {
            // One that is being closed needs no more notifications.
            drop(lease.session().send(outbound).await);
        }
        Some(told)
    }

    fn tells_of_roots(&self) -> bool {
        let handshake = self.handshake.as_ref();
        handshake.is_some_and(|handshake| handshake.tells_of_roots())
    }
}
