//! The requests of one client that have no answer yet, and what its ids and
//! progress tokens are called upstream. Pure.
//!
//! Invariant: an entry is answered once; what comes for no entry is dropped.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::repeats::Nature;
use super::timeout::Life;
use crate::jsonrpc::{Envelope, RequestId};
use crate::session::{Asked, Fate};

/// Cancelled requests whose end is waited for. Of some nothing more is heard: past
/// this the session is not for another client.
const MAX_ABANDONED: usize = 1024;

/// Requests in flight, by the id that they have upstream.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    entries: HashMap<u64, Entry>,
    /// Cancelled requests that may still be running upstream.
    abandoned: HashSet<u64>,
    /// Whether a request that was answered with an error may still be.
    left_behind: bool,
    /// Requests that were withdrawn and may have been executed before, by the
    /// client's id.
    repeated: HashSet<Box<str>>,
}

/// A request that has no answer yet.
#[derive(Debug)]
pub(super) struct Entry {
    /// The client's id.
    pub(super) id: RequestId,
    /// What it asks for.
    pub(super) nature: Nature,
    /// The message as it went upstream.
    pub(super) message: Bytes,
    /// How often it was said again.
    pub(super) repeats: usize,
    /// How often it was said in vain for its token.
    pub(super) round: u8,
    progress_token: Option<Box<str>>,
    life: Life,
    fate: Fate,
    /// The list that it asks for, if it may be kept.
    pub(super) list: Option<Arc<Asked>>,
}

/// A request that has its answer.
#[derive(Debug)]
pub(super) struct Finished {
    /// The answer with the client's id.
    pub(super) answer: Bytes,
    /// How long it took.
    pub(super) took: Duration,
    /// What was asked for.
    pub(super) nature: Nature,
    /// The id upstream.
    pub(super) minted: u64,
    /// The client's token for its progress.
    pub(super) progress_token: Option<Box<str>>,
    /// The list that was asked for, if it may be kept.
    pub(super) list: Option<Arc<Asked>>,
}

impl InFlight {
    /// Takes a request in. Returns the message for upstream, and its fate.
    pub(crate) fn begin(&mut self, minted: u64, request: &Envelope) -> (Bytes, Fate) {
        let token = request.request_progress_token();
        let message = renamed(request, token.clone(), minted);
        let fate = Fate::default();
        let id = request.id().expect("a request has an id");
        let repeats = usize::from(self.was_repeated(&id));
        let entry = Entry {
            id,
            nature: Nature::of(request),
            message: message.clone(),
            repeats,
            round: 0,
            progress_token: token.map(|place| request.text(place).into()),
            life: Life::new(),
            fate: fate.clone(),
            list: None,
        };
        self.entries.insert(minted, entry);
        (message, fate)
    }

    /// Notes that the answer may be kept for those who ask for the same list.
    pub(super) fn note_list(&mut self, minted: u64, list: Arc<Asked>) {
        if let Some(entry) = self.entries.get_mut(&minted) {
            entry.list = Some(list);
        }
    }

    /// Notes how often a request was said in vain for its token.
    pub(super) fn note_round(&mut self, minted: u64, round: u8) {
        if let Some(entry) = self.entries.get_mut(&minted) {
            entry.round = round;
        }
    }

    /// Takes a request in again, under another id. Returns as [`Self::begin`].
    pub(super) fn repeat(&mut self, minted: u64, again: u64) -> Option<(Bytes, Fate)> {
        let mut entry = self.entries.remove(&minted)?;
        let request = Envelope::parse(entry.message).expect("it was read before");
        entry.message = renamed(&request, request.request_progress_token(), again);
        entry.fate = Fate::default();
        entry.repeats += 1;
        let outcome = (entry.message.clone(), entry.fate.clone());
        self.entries.insert(again, entry);
        Some(outcome)
    }

    /// Takes an answer in. Returns it with the client's id, and how long it took.
    pub(super) fn finish(&mut self, response: &Envelope) -> Option<Finished> {
        let minted: u64 = response.id()?.as_json().parse().ok()?;
        let entry = self.entries.remove(&minted)?;
        Some(Finished {
            answer: response.with_id(entry.id.as_json()),
            took: entry.life.began.elapsed(),
            nature: entry.nature,
            minted,
            progress_token: entry.progress_token,
            list: entry.list,
        })
    }

    /// Takes a request out that the server did not handle. Returns it as the client
    /// said it.
    pub(super) fn withdraw(&mut self, minted: u64) -> Option<Envelope> {
        let entry = self.entries.remove(&minted)?;
        if entry.repeats > 0 {
            self.repeated.insert(entry.id.as_json().into());
        }
        let request = Envelope::parse(entry.message).expect("it was read before");
        let token = request.request_progress_token();
        let mut replacements = vec![(
            request.id_place().expect("a request has an id"),
            entry.id.as_json(),
        )];
        replacements.extend(token.zip(entry.progress_token.as_deref()));
        replacements.sort_by_key(|(place, _)| place.start);
        let request = Envelope::parse(request.spliced(&replacements));
        Some(request.expect("it was read before"))
    }

    /// Says whether a request that was withdrawn may have been executed before it
    /// was refused, and forgets it.
    pub(super) fn was_repeated(&mut self, id: &RequestId) -> bool {
        !self.repeated.is_empty() && self.repeated.remove(id.as_json())
    }

    /// Ends a request without an answer.
    pub(super) fn fail(&mut self, minted: u64) -> Option<Entry> {
        self.entries.remove(&minted)
    }

    /// Returns a progress notification with the client's token.
    pub(crate) fn progress(&mut self, notification: &Envelope) -> Option<Bytes> {
        let place = notification.progress_token()?;
        let minted: u64 = notification.text(place.clone()).parse().ok()?;
        let entry = self.entries.get_mut(&minted)?;
        entry.life.heard = Instant::now();
        let token = entry.progress_token.as_deref()?;
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
        if self.abandoned.len() > MAX_ABANDONED {
            self.abandoned.clear();
            self.left_behind = true;
        }
        // What still waits to be said again will not be, under this id.
        let is_unknown = entry.repeats > 0 && !entry.fate.sent.is_cancelled();
        (!is_unknown).then_some(entry.fate.sent)
    }

    /// Notes that something of a request may be left upstream.
    pub(super) fn leave_behind(&mut self) {
        self.left_behind = true;
    }

    /// Says whether that is so: then no waiting ends it.
    pub(super) fn has_left_something(&self) -> bool {
        self.left_behind
    }

    /// Returns a request that has no answer yet.
    pub(super) fn get(&self, minted: u64) -> Option<&Entry> {
        self.entries.get(&minted)
    }

    /// Returns the requests without an answer, and how they live.
    pub(super) fn lives(&self) -> impl Iterator<Item = (u64, Life)> {
        self.entries
            .iter()
            .map(|(minted, entry)| (*minted, entry.life))
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
        self.entries.is_empty() && self.abandoned.is_empty() && !self.left_behind
    }
}

/// Returns a request with this id, and with it for its progress token.
fn renamed(request: &Envelope, token: Option<Range<usize>>, id: u64) -> Bytes {
    let text = id.to_string();
    let mut replacements = vec![(
        request.id_place().expect("a request has an id"),
        text.as_str(),
    )];
    replacements.extend(token.map(|place| (place, text.as_str())));
    replacements.sort_by_key(|(place, _)| place.start);
    request.spliced(&replacements)
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
        let restored = in_flight.finish(&answer).expect("belongs to the request");
        assert_eq!(
            restored.answer,
            r#"{"id":"a","result":{"n":9007199254740993}}"#
        );
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
    fn cancelled_requests_that_never_end_are_not_counted_for_ever() {
        let mut in_flight = InFlight::default();
        for minted in 0..10 * MAX_ABANDONED as u64 {
            in_flight.begin(minted, &envelope(r#"{"id":1,"method":"x"}"#));
            in_flight.abandon(minted);
            assert!(in_flight.abandoned.len() <= MAX_ABANDONED);
        }
        in_flight.all_over();
        assert!(in_flight.is_whole() && !in_flight.is_clean());
    }

    #[test]
    fn a_request_is_said_again_under_another_id() {
        let mut in_flight = InFlight::default();
        let request = r#"{"id":"a","method":"x/list","params":{"_meta":{"progressToken":"p"}}}"#;
        in_flight.begin(1, &envelope(request));
        let (message, fate) = in_flight.repeat(1, 5).expect("in flight");
        assert_eq!(
            message,
            r#"{"id":5,"method":"x/list","params":{"_meta":{"progressToken":5}}}"#
        );
        assert!(in_flight.get(1).is_none() && in_flight.repeat(1, 6).is_none());
        let late = envelope(r#"{"id":1,"result":{}}"#);
        assert!(in_flight.finish(&late).is_none());
        let cancel = envelope(r#"{"method":"notifications/cancelled","params":{"requestId":"a"}}"#);
        assert!(in_flight.cancel(&cancel).is_none(), "not said yet");
        assert!(fate.cancelled.is_cancelled() && in_flight.is_empty());
    }

    #[test]
    fn what_was_not_handled_is_the_clients_again() {
        let mut in_flight = InFlight::default();
        let text = r#"{"params":{"_meta":{"progressToken":"p"},"n":1e2},"id":"a","method":"x"}"#;
        in_flight.begin(7, &envelope(text));
        let request = in_flight.withdraw(7).expect("in flight");
        assert_eq!(request.bytes(), text);
        assert!(in_flight.is_clean() && in_flight.withdraw(7).is_none());
        assert!(!in_flight.was_repeated(&request.id().expect("it has one")));
    }

    #[test]
    fn what_may_have_been_executed_once_still_may_after_a_refusal() {
        let mut in_flight = InFlight::default();
        let request = envelope(r#"{"id":"a","method":"tools/list"}"#);
        in_flight.begin(1, &request);
        in_flight.repeat(1, 2).expect("in flight");
        let request = in_flight.withdraw(2).expect("in flight");
        in_flight.begin(3, &request);
        assert!(in_flight.fail(3).expect("in flight").repeats > 0);
        in_flight.begin(4, &request);
        assert_eq!(in_flight.fail(4).expect("in flight").repeats, 0);
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
