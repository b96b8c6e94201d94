//! What the client is owed: requests without an answer, and the handshake to
//! make again if the daemon is lost.
//!
//! Pure; looks only at ids, methods and the bytes of `initialize`.

use std::collections::BTreeSet;

use bytes::Bytes;
use mcp_remote_proto::members::Members;
use mcp_remote_proto::v1::ResumedHandshake;

use super::batch;

const INITIALIZED: &[u8] = b"notifications/initialized";
const CANCELLED: &[u8] = b"notifications/cancelled";

/// The account of one client. No `Debug`, which would show the lease.
#[derive(Default)]
pub(super) struct Ledger {
    /// Ids as JSON text, sent to the daemon and not answered.
    unanswered: BTreeSet<Vec<u8>>,
    initialize: Option<Initialize>,
    initialized: Bytes,
    /// What stands for the session, for the daemon after this one. A secret.
    lease: String,
}

#[derive(Debug)]
struct Initialize {
    line: Bytes,
    id: Vec<u8>,
    answered: bool,
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
                        self.begin(line.clone(), id.to_vec());
                    }
                }
                None => match members.method.as_deref() {
                    Some(INITIALIZED) => self.initialized = line.clone(),
                    Some(CANCELLED) => self.cancelled(message),
                    _ => {}
                },
            }
        }
    }

    /// A cancelled request is owed nothing: its sender ignores an answer.
    fn cancelled(&mut self, message: &[u8]) {
        let initialize = self.initialize.as_ref().map(|initialize| &initialize.id);
        if let Some(id) = cancelled_id(message).filter(|id| Some(id) != initialize) {
            self.unanswered.remove(&id);
        }
    }

    fn begin(&mut self, line: Bytes, id: Vec<u8>) {
        self.initialized = Bytes::new();
        self.initialize = Some(Initialize {
            line,
            id,
            answered: false,
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
            if self.unanswered.remove(id)
                && let Some(initialize) = &mut self.initialize
            {
                initialize.answered |= initialize.id == id;
            }
        }
    }

    /// Closes the account with a daemon that is gone.
    pub(super) fn lost(&mut self) -> Lost {
        let mut again = Vec::new();
        if let Some(initialize) = &self.initialize
            && !initialize.answered
            && self.unanswered.remove(&initialize.id)
        {
            again.push(initialize.line.clone());
            if !self.initialized.is_empty() {
                again.push(self.initialized.clone());
            }
        }
        let failed = self.close();
        Lost { failed, again }
    }

    /// Closes the account for good; returns the requests without an answer.
    pub(super) fn close(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.unanswered).into_iter().collect()
    }

    /// Returns the handshake that a new daemon has to make before `next`, which
    /// the client sends now.
    pub(super) fn resume(&self, next: Option<&Bytes>) -> Option<ResumedHandshake> {
        // A client that says `initialize` begins anew.
        if next.is_some_and(|message| is_initialize(&Members::of(message))) {
            return None;
        }
        let initialize = self.initialize.as_ref()?;
        initialize.answered.then(|| ResumedHandshake {
            initialize: initialize.line.clone(),
            initialized: self.initialized.clone(),
            lease: self.lease.clone(),
        })
    }

    /// Says whether the client has a session, which may speak to it unasked.
    pub(super) fn is_established(&self) -> bool {
        let initialize = self.initialize.as_ref();
        initialize.is_some_and(|initialize| initialize.answered)
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

/// Returns `params.requestId`. Within a string of the message the quotes of this
/// key would be escaped, so the first match is a key.
fn cancelled_id(message: &[u8]) -> Option<Vec<u8>> {
    const KEY: &[u8] = b"\"requestId\"";
    let at = message.windows(KEY.len()).position(|bytes| bytes == KEY)?;
    // The same rules as for any other id.
    let value = &message[at + KEY.len()..];
    Members::of(&[b"{\"id\"", value].concat()).id
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
        let ledger = ledger(
            &[INITIALIZE],
            &[r#"{"jsonrpc":"2.0","id":0,"error":{"code":-32001}}"#],
        );
        assert_eq!(ledger.resume(Some(&bytes(INITIALIZE))), None);
        assert!(ledger.resume(Some(&bytes(INITIALIZED))).is_some());
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
        assert_eq!(ledger.lost().failed, [b"\"a\""]);
    }

    #[test]
    fn without_a_handshake_there_is_nothing_to_resume() {
        assert_eq!(ledger(&[CALL], &[]).resume(None), None);
    }
}
