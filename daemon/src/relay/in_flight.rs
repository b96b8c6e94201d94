//! The requests of one client that have no answer yet, and what its ids and
//! progress tokens are called upstream. Pure.
//!
//! Invariant: an entry is answered once; what comes for no entry is dropped.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::jsonrpc::{Envelope, RequestId};
use crate::session::Fate;

/// Requests in flight, by the id that they have upstream.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    entries: HashMap<u64, Entry>,
    /// Cancelled requests that may still be running upstream.
    abandoned: HashSet<u64>,
}

#[derive(Debug)]
struct Entry {
    id: RequestId,
    progress_token: Option<Box<str>>,
    began: Instant,
    fate: Fate,
}

impl InFlight {
    /// Takes a request in. Returns the message for upstream, and its fate.
    pub(crate) fn begin(&mut self, minted: u64, request: &Envelope) -> (Bytes, Fate) {
        let text = minted.to_string();
        let token = request.request_progress_token();
        let mut replacements = vec![(
            request.id_place().expect("a request has an id"),
            text.as_str(),
        )];
        replacements.extend(token.clone().map(|place| (place, text.as_str())));
        replacements.sort_by_key(|(place, _)| place.start);
        let message = request.spliced(&replacements);
        let fate = Fate::default();
        let entry = Entry {
            id: request.id().expect("a request has an id"),
            progress_token: token.map(|place| request.text(place).into()),
            began: Instant::now(),
            fate: fate.clone(),
        };
        self.entries.insert(minted, entry);
        (message, fate)
    }

    /// Takes an answer in. Returns it with the client's id, how long it took, and the
    /// id upstream.
    pub(crate) fn finish(&mut self, response: &Envelope) -> Option<(Bytes, Duration, u64)> {
        let minted: u64 = response.id()?.as_json().parse().ok()?;
        let entry = self.entries.remove(&minted)?;
        let answer = response.with_id(entry.id.as_json());
        Some((answer, entry.began.elapsed(), minted))
    }

    /// Ends a request without an answer. Returns the client's id.
    pub(crate) fn fail(&mut self, minted: u64) -> Option<RequestId> {
        self.entries.remove(&minted).map(|entry| entry.id)
    }

    /// Returns a progress notification with the client's token.
    pub(crate) fn progress(&self, notification: &Envelope) -> Option<Bytes> {
        let place = notification.progress_token()?;
        let minted: u64 = notification.text(place.clone()).parse().ok()?;
        let token = self.entries.get(&minted)?.progress_token.as_deref()?;
        Some(notification.spliced(&[(place, token)]))
    }

    /// Cancels a request at the client's wish: its answer will be dropped.
    /// Returns the notification for upstream, and what has to be sent before it.
    pub(crate) fn cancel(&mut self, notification: &Envelope) -> Option<(Bytes, CancellationToken)> {
        let place = notification.cancelled_request()?;
        let id = notification.text(place.clone());
        let minted = self.minted(id)?;
        let sent = self.abandon(minted)?;
        Some((notification.spliced(&[(place, &minted.to_string())]), sent))
    }

    /// Drops a request whose answer nobody wants. Returns what its cancellation
    /// has to wait for.
    pub(crate) fn abandon(&mut self, minted: u64) -> Option<CancellationToken> {
        let entry = self.entries.remove(&minted)?;
        entry.fate.cancelled.cancel();
        self.abandoned.insert(minted);
        Some(entry.fate.sent)
    }

    /// Notes that the server is done with a request, whoever wanted its answer.
    pub(crate) fn over(&mut self, minted: u64) {
        self.abandoned.remove(&minted);
    }

    /// Notes that the server is done with all that were cancelled.
    pub(crate) fn all_over(&mut self) {
        self.abandoned.clear();
    }

    /// Returns the id upstream of a request of the client's.
    pub(crate) fn minted(&self, id: &str) -> Option<u64> {
        let same = |(_, entry): &(&u64, &Entry)| entry.id.as_json() == id;
        self.entries.iter().find(same).map(|(minted, _)| *minted)
    }

    /// Returns the requests without an answer, oldest first.
    pub(crate) fn all(&self) -> Vec<u64> {
        let mut all: Vec<u64> = self.entries.keys().copied().collect();
        all.sort_unstable();
        all
    }

    /// Says whether every request has been answered or cancelled.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Says whether none was cancelled that may still be running upstream.
    pub(crate) fn is_whole(&self) -> bool {
        self.abandoned.is_empty()
    }

    /// Says whether nothing of these requests can be left upstream.
    pub(crate) fn is_clean(&self) -> bool {
        self.entries.is_empty() && self.abandoned.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(text: &str) -> Envelope {
        Envelope::parse(Bytes::copy_from_slice(text.as_bytes())).expect("valid")
    }

    #[test]
    fn ids_and_tokens_go_out_minted_and_come_back_restored() {
        let mut in_flight = InFlight::default();
        let request =
            envelope(r#"{"params":{"_meta":{"progressToken":"p"}},"id":"a","method":"x"}"#);
        let (message, _) = in_flight.begin(7, &request);
        assert_eq!(
            message,
            r#"{"params":{"_meta":{"progressToken":7}},"id":7,"method":"x"}"#
        );
        let progress = envelope(
            r#"{"method":"notifications/progress","params":{"progress":1e2,"progressToken":7}}"#,
        );
        let restored = in_flight
            .progress(&progress)
            .expect("belongs to the request");
        assert_eq!(
            restored,
            r#"{"method":"notifications/progress","params":{"progress":1e2,"progressToken":"p"}}"#
        );
        let answer = envelope(r#"{"id":7,"result":{"n":9007199254740993}}"#);
        let (restored, _, _) = in_flight.finish(&answer).expect("belongs to the request");
        assert_eq!(restored, r#"{"id":"a","result":{"n":9007199254740993}}"#);
        assert!(in_flight.finish(&answer).is_none(), "answered once");
        assert!(
            in_flight.progress(&progress).is_none(),
            "progress ends with the answer"
        );
        assert!(in_flight.is_clean());
    }

    #[test]
    fn a_cancelled_request_is_named_by_its_id_upstream_and_never_answered() {
        let mut in_flight = InFlight::default();
        let (_, fate) = in_flight.begin(3, &envelope(r#"{"id":1,"method":"x"}"#));
        let cancel = envelope(
            r#"{"method":"notifications/cancelled","params":{"requestId":1,"reason":"r"}}"#,
        );
        let (message, after) = in_flight.cancel(&cancel).expect("in flight");
        assert!(!after.is_cancelled(), "not sent yet");
        assert_eq!(
            message,
            r#"{"method":"notifications/cancelled","params":{"requestId":3,"reason":"r"}}"#
        );
        assert!(fate.cancelled.is_cancelled());
        assert!(
            in_flight
                .finish(&envelope(r#"{"id":3,"result":{}}"#))
                .is_none()
        );
        assert!(in_flight.is_empty() && !in_flight.is_clean());
        assert!(in_flight.cancel(&cancel).is_none());
        in_flight.over(3);
        assert!(in_flight.is_clean());
    }

    #[test]
    fn foreign_answers_are_dropped() {
        let mut in_flight = InFlight::default();
        in_flight.begin(1, &envelope(r#"{"id":1,"method":"x"}"#));
        for text in [
            r#"{"id":2,"result":{}}"#,
            r#"{"id":"1","result":{}}"#,
            r#"{"error":{},"id":null}"#,
        ] {
            assert!(in_flight.finish(&envelope(text)).is_none(), "{text}");
        }
        assert_eq!(in_flight.all(), [1]);
    }
}
