//! What the client is owed: requests without an answer, and the handshake to
//! make again if the daemon is lost.
//!
//! Pure; looks only at ids, methods and the bytes of `initialize`.

use std::collections::BTreeSet;

use bytes::Bytes;
use mcp_remote_proto::MAX_MESSAGE_LEN;
use mcp_remote_proto::members::Members;
use mcp_remote_proto::v1::ResumedHandshake;

use super::batch;
use super::switches::Switches;

const INITIALIZED: &[u8] = b"notifications/initialized";
const CANCELLED: &[u8] = b"notifications/cancelled";

/// The account of one client. No `Debug`, which would show the lease.
#[derive(Default)]
pub(super) struct Ledger {
    /// Ids as JSON text, sent to the daemon and not answered.
    unanswered: BTreeSet<Vec<u8>>,
    /// The newest `initialize` that was not refused.
    handshake: Option<Handshake>,
    /// What the client has switched on in its session.
    switches: Switches,
    /// What stands for the session, for the daemon after this one. A secret.
    lease: String,
}

#[derive(Debug)]
struct Handshake {
    initialize: Bytes,
    id: Vec<u8>,
    answered: bool,
    /// Empty: not sent yet.
    initialized: Bytes,
    /// The one before, which stands if the server refuses this.
    before: Option<Box<Self>>,
}

/// What a lost daemon leaves behind.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    /// Requests that may have been carried out: they get an error.
    pub(super) failed: Vec<Vec<u8>>,
    /// The handshake that the client still waits for: it is sent again.
    pub(super) again: Vec<Bytes>,
}

impl Ledger {
    /// Notes a line that goes to the daemon.
    pub(super) fn sent(&mut self, line: &Bytes) {
        for message in batch::messages(line) {
            let members = Members::of(message);
            match members.request_id() {
                Some(id) => {
                    self.unanswered.insert(id.to_vec());
                    if is_initialize(&members) {
                        self.begin(alone(message, line), id);
                    } else if Switches::are_meant(&members) {
                        self.switches.asked(id, &members, message);
                    }
                }
                None => match members.method.as_deref() {
                    Some(INITIALIZED) => {
                        if let Some(handshake) = &mut self.handshake {
                            handshake.initialized = alone(message, line);
                        }
                    }
                    Some(CANCELLED) => self.cancelled(message),
                    _ => {}
                },
            }
        }
    }

    /// A cancelled request is owed nothing: its sender ignores an answer.
    fn cancelled(&mut self, message: &[u8]) {
        let initialize = self.handshake.as_ref().map(|handshake| &handshake.id);
        if let Some(id) = cancelled_id(message).filter(|id| Some(id) != initialize) {
            self.unanswered.remove(&id);
            self.switches.answered(&id, false);
        }
    }

    fn begin(&mut self, initialize: Bytes, id: &[u8]) {
        let before = self.handshake.take();
        self.handshake = Some(Handshake {
            initialize,
            id: id.to_vec(),
            answered: false,
            initialized: Bytes::new(),
            before: before.filter(|before| before.answered).map(Box::new),
        });
    }

    /// Notes a line that goes to the client.
    pub(super) fn received(&mut self, line: &[u8]) {
        if self.unanswered.is_empty() {
            return;
        }
        for message in batch::messages(line) {
            let members = Members::of(message);
            let Some(id) = members.response_id() else {
                continue;
            };
            if !self.unanswered.remove(id) {
                continue;
            }
            self.switches.answered(id, !members.fails);
            let awaited = |handshake: &mut Handshake| !handshake.answered && handshake.id == id;
            if let Some(mut handshake) = self.handshake.take_if(awaited) {
                self.handshake = match members.fails {
                    true => handshake.before.map(|before| *before),
                    false => {
                        handshake.answered = true;
                        if handshake.before.take().is_some() {
                            self.switches.clear();
                        }
                        Some(handshake)
                    }
                };
            }
        }
    }

    /// Closes the account with a daemon that is gone.
    pub(super) fn lost(&mut self) -> Lost {
        let mut again = Vec::new();
        if let Some(handshake) = &self.handshake
            && !handshake.answered
            && self.unanswered.remove(&handshake.id)
        {
            again.push(handshake.initialize.clone());
            if !handshake.initialized.is_empty() {
                again.push(handshake.initialized.clone());
            }
        }
        let failed = self.close();
        Lost { failed, again }
    }

    /// Closes the account for good; returns the requests without an answer.
    pub(super) fn close(&mut self) -> Vec<Vec<u8>> {
        self.switches.unanswered();
        std::mem::take(&mut self.unanswered).into_iter().collect()
    }

    /// Returns the handshake that a new daemon has to make before `next`, which
    /// the client sends now.
    pub(super) fn resume(&self, next: Option<&Bytes>) -> Option<ResumedHandshake> {
        // A client that says `initialize` begins anew.
        if next.is_some_and(|message| is_initialize(&Members::of(message))) {
            return None;
        }
        let handshake = self.handshake.as_ref().filter(|made| made.answered)?;
        let room = MAX_MESSAGE_LEN.saturating_sub(handshake.initialize.len());
        Some(ResumedHandshake {
            initialize: handshake.initialize.clone(),
            initialized: handshake.initialized.clone(),
            lease: self.lease.clone(),
            switched_on: self.switches.requests(room),
        })
    }

    /// Says whether the client has a session, which may speak to it unasked.
    pub(super) fn is_established(&self) -> bool {
        let handshake = self.handshake.as_ref();
        handshake.is_some_and(|handshake| handshake.answered)
    }

    /// Notes what stands for the client's session.
    pub(super) fn leased(&mut self, lease: String) {
        self.lease = lease;
    }

    /// How many requests wait for an answer.
    pub(super) fn owed(&self) -> usize {
        self.unanswered.len()
    }
}

/// Returns the ids of a line that was never sent, as far as it wants answers.
pub(super) fn request_ids(line: &[u8]) -> Vec<Vec<u8>> {
    let messages = batch::messages(line).into_iter();
    messages
        .filter_map(|message| Members::of(message).request_id().map(<[u8]>::to_vec))
        .collect()
}

/// Returns `params.requestId`.
fn cancelled_id(message: &[u8]) -> Option<Vec<u8>> {
    batch::value_of(b"\"requestId\"", message)
}

/// Returns a message that stands alone or in a batch.
fn alone(message: &[u8], line: &Bytes) -> Bytes {
    match message.len() == line.len() {
        true => line.clone(),
        false => Bytes::copy_from_slice(message),
    }
}

fn is_initialize(members: &Members) -> bool {
    members.method.as_deref() == Some(b"initialize")
}

#[cfg(test)]
mod tests {
    use super::*;

    const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}"#;
    const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    const CALL: &str = r#"{"jsonrpc":"2.0","id":"a","method":"tools/call"}"#;

    fn ledger(messages: &[&str], answers: &[&str]) -> Ledger {
        let mut ledger = Ledger::default();
        for message in messages {
            ledger.sent(&bytes(message));
        }
        for answer in answers {
            ledger.received(answer.as_bytes());
        }
        ledger
    }

    fn bytes(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    #[test]
    fn an_answered_handshake_is_resumed_and_calls_in_flight_fail() {
        let mut ledger = ledger(
            &[INITIALIZE, INITIALIZED, CALL],
            &[r#"{"jsonrpc":"2.0","id":0,"result":{}}"#],
        );
        assert_eq!(ledger.owed(), 1);
        let lost = ledger.lost();
        assert_eq!(lost.failed, [b"\"a\"".to_vec()]);
        assert!(lost.again.is_empty());
        let resumed = ledger.resume(Some(&bytes(CALL))).expect("resumed");
        assert_eq!(resumed.initialize, INITIALIZE);
        assert_eq!(resumed.initialized, INITIALIZED);
        assert_eq!(ledger.owed(), 0);
    }

    #[test]
    fn an_unanswered_handshake_is_sent_again() {
        let mut ledger = ledger(&[INITIALIZE, INITIALIZED, CALL], &[]);
        let lost = ledger.lost();
        assert_eq!(lost.again, [INITIALIZE, INITIALIZED]);
        assert_eq!(lost.failed, [b"\"a\"".to_vec()]);
        assert_eq!(ledger.resume(None), None);
    }

    #[test]
    fn a_client_that_begins_anew_is_not_resumed() {
        let ledger = ledger(&[INITIALIZE], &[r#"{"jsonrpc":"2.0","id":0,"result":{}}"#]);
        assert_eq!(ledger.resume(Some(&bytes(INITIALIZE))), None);
        assert!(ledger.resume(Some(&bytes(INITIALIZED))).is_some());
    }

    #[test]
    fn a_handshake_that_was_refused_is_not_resumed() {
        let bad = r#"{"id":1,"method":"initialize"}"#;
        let refusal = r#"{"id":1,"error":{"code":-32602}}"#;
        assert_eq!(ledger(&[bad], &[refusal]).resume(None), None);
        let mut ledger = ledger(
            &[INITIALIZE, INITIALIZED],
            &[r#"{"id":0,"result":{"error":1}}"#],
        );
        ledger.sent(&bytes(bad));
        assert_eq!(ledger.resume(None), None);
        ledger.received(refusal.as_bytes());
        let resumed = ledger.resume(None).expect("the one before stands");
        assert_eq!(resumed.initialize, INITIALIZE);
        assert_eq!(resumed.initialized, INITIALIZED);
    }

    #[test]
    fn what_is_switched_on_is_said_to_the_next_daemon() {
        let subscribe = r#"{"id":2,"method":"resources/subscribe","params":{"uri":"a"}}"#;
        let mut ledger = ledger(&[INITIALIZE, subscribe], &[r#"{"id":0,"result":{}}"#]);
        let switched_on = |ledger: &Ledger| {
            let resumed = ledger.resume(None);
            resumed.expect("it is established").switched_on
        };
        assert!(switched_on(&ledger).is_empty());
        ledger.received(br#"{"id":2,"result":{}}"#);
        assert_eq!(switched_on(&ledger), [subscribe]);
    }

    #[test]
    fn ids_are_compared_as_they_are_written() {
        let mut ledger = ledger(
            &[CALL],
            &[
                r#"{"jsonrpc":"2.0","id":"b","result":{}}"#,
                r#"{"jsonrpc":"2.0","id":"a","method":"roots/list"}"#,
            ],
        );
        assert_eq!(ledger.owed(), 1);
        ledger.received(br#"{"result":{},"id":"a"}"#);
        assert_eq!(ledger.owed(), 0);
        assert_eq!(ledger.lost(), Lost::default());
    }

    #[test]
    fn a_cancelled_request_is_owed_nothing() {
        let cancel = |id: &str| {
            format!(
                r#"{{"method":"notifications/cancelled","params":{{"reason":"\"requestId\":1","requestId" : {id}}}}}"#
            )
        };
        let left = ledger(&[INITIALIZE, CALL, &cancel("\"a\"")], &[]).owed();
        assert_eq!(left, 1);
        let left = ledger(&[INITIALIZE, CALL, &cancel("0")], &[]).owed();
        assert_eq!(left, 2, "initialize cannot be cancelled");
        let left = ledger(&[CALL, &cancel("1"), &cancel("\"b\"")], &[]).owed();
        assert_eq!(left, 1);
    }

    #[test]
    fn each_request_of_a_batch_is_owed_an_answer() {
        let batch = format!("[{CALL},{INITIALIZED},{INITIALIZE}]");
        let mut ledger = ledger(&[&batch], &[r#"[{"id":0,"result":{}}]"#]);
        assert_eq!(request_ids(batch.as_bytes()), [&b"\"a\""[..], b"0"]);
        let resumed = ledger.resume(None).expect("resumed");
        assert_eq!(resumed.initialize, INITIALIZE, "not the whole array");
        assert_eq!(ledger.lost().failed, [b"\"a\""]);
    }

    #[test]
    fn without_a_handshake_there_is_nothing_to_resume() {
        assert_eq!(ledger(&[CALL], &[]).resume(None), None);
    }
}
