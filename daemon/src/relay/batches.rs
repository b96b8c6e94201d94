//! The answers to batches, which revision 2025-03-26 has: those to the messages of
//! one array go back in one array (JSON-RPC 2.0, section 6).
//!
//! Invariant: an array is complete once each of its requests is answered or
//! cancelled; one without answers is never said.

use std::collections::HashMap;

use bytes::Bytes;

use super::{Gone, Relay};
use crate::jsonrpc::{self, Envelope, Unusable};
use crate::protocol::ProtocolVersion;

/// An array of the client's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct BatchId(u64);

/// Arrays that are not answered completely.
#[derive(Debug)]
pub(super) struct Batches {
    /// Longest array, in bytes: what does not fit begins another.
    limit: usize,
    next: u64,
    open: HashMap<BatchId, Batch>,
    /// The batches of requests that went upstream, by their id there.
    requests: HashMap<u64, BatchId>,
}

#[derive(Debug)]
struct Batch {
    /// Answers that are still to come, and one more while it is being read.
    outstanding: usize,
    answers: Vec<Bytes>,
    bytes: usize,
}

impl Batches {
    /// Begins without any.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            next: 0,
            open: HashMap::new(),
            requests: HashMap::new(),
        }
    }

    /// Begins to read an array; [`Batches::expect_no_more`] ends it.
    pub(super) fn begin(&mut self) -> BatchId {
        let id = BatchId(self.next);
        self.next += 1;
        let batch = Batch {
            outstanding: 1,
            answers: Vec::new(),
            bytes: 0,
        };
        self.open.insert(id, batch);
        id
    }

    /// Notes a request that is answered later.
    pub(super) fn expect(&mut self, id: BatchId, minted: u64) {
        if let Some(batch) = self.open.get_mut(&id) {
            batch.outstanding += 1;
            self.requests.insert(minted, id);
        }
    }

    /// Notes a request that is not said yet; [`Batches::expect_no_more`] ends it.
    pub(super) fn hold(&mut self, id: BatchId) {
        if let Some(batch) = self.open.get_mut(&id) {
            batch.outstanding += 1;
        }
    }

    /// Takes a request out that is held from now on.
    pub(super) fn withdraw(&mut self, minted: u64) -> Option<BatchId> {
        self.requests.remove(&minted)
    }

    /// Notes that a request has another id upstream.
    pub(super) fn rename(&mut self, minted: u64, again: u64) {
        if let Some(id) = self.requests.remove(&minted) {
            self.requests.insert(again, id);
        }
    }

    /// Ends the reading. Returns the array if that completes it.
    pub(super) fn expect_no_more(&mut self, id: BatchId) -> Option<Bytes> {
        self.settle(id)
    }

    /// Takes the answer to a request in, if it is part of a batch: `Err` gives it
    /// back, `Ok` holds the arrays to be said: none, one that is full, one that is
    /// complete, or both.
    pub(super) fn answer(&mut self, minted: u64, answer: Bytes) -> Result<Vec<Bytes>, Bytes> {
        let Some(id) = self.requests.remove(&minted) else {
            return Err(answer);
        };
        let full = self.add(id, answer);
        Ok(full.into_iter().chain(self.settle(id)).collect())
    }

    /// Adds an answer that is there while the array is still being read.
    pub(super) fn add(&mut self, id: BatchId, answer: Bytes) -> Option<Bytes> {
        let batch = self.open.get_mut(&id)?;
        let full = (!batch.answers.is_empty() && batch.bytes + answer.len() > self.limit)
            .then(|| batch.take());
        batch.bytes += answer.len() + 1;
        batch.answers.push(answer);
        full
    }

    /// Notes that a request gets no answer. Returns the array if that completes it.
    pub(super) fn give_up(&mut self, minted: u64) -> Option<Bytes> {
        let id = self.requests.remove(&minted)?;
        self.settle(id)
    }

    fn settle(&mut self, id: BatchId) -> Option<Bytes> {
        let batch = self.open.get_mut(&id)?;
        batch.outstanding -= 1;
        if batch.outstanding > 0 {
            return None;
        }
        let mut batch = self.open.remove(&id)?;
        (!batch.answers.is_empty()).then(|| batch.take())
    }
}

impl Batch {
    fn take(&mut self) -> Bytes {
        self.bytes = 0;
        let answers = std::mem::take(&mut self.answers);
        [b"[".as_slice(), &answers.join(&b","[..]), b"]"]
            .concat()
            .into()
    }
}

impl Relay {
    /// Reads the messages of an array. They go upstream one by one, whether the
    /// server knows batches or not. A client that did not agree on the revision
    /// that has them gets its answers one by one too.
    pub(super) async fn on_array(&mut self, array: Bytes) -> Result<(), Gone> {
        let mut elements = Envelope::parse_all(array.clone());
        if let [Err(unusable)] = elements.as_slice()
            && unusable.is_all_of(&array)
        {
            return self.refuse(unusable).await;
        }
        if self.version.is_none() && self.handshake.is_some() {
            // A client that agreed on a revision with an earlier daemon.
            drop(self.leased().await?);
        }
        let has_batches = ProtocolVersion::V2025_03_26;
        self.reading = (self.version == Some(has_batches)).then(|| self.batches.begin());
        if self.version.is_none_or(|version| version == has_batches) {
            self.refuse_initialize(&mut elements).await?;
        }
        self.on_parsed(elements).await?;
        self.has_read().await
    }

    /// Ends what [`Relay::reading`] began.
    pub(super) async fn has_read(&mut self) -> Result<(), Gone> {
        let batch = self.reading.take();
        match batch.and_then(|batch| self.batches.expect_no_more(batch)) {
            Some(answers) => self.say(answers).await,
            None => Ok(()),
        }
    }

    /// `initialize` is not part of a batch (2025-03-26, Lifecycle > Initialization).
    async fn refuse_initialize(
        &mut self,
        elements: &mut Vec<Result<Envelope, Unusable>>,
    ) -> Result<(), Gone> {
        let initialize = |element: &mut Result<Envelope, Unusable>| match element {
            Ok(message) => message.method() == Some("initialize") && message.id().is_some(),
            Err(_) => false,
        };
        for refused in elements.extract_if(.., initialize).flatten() {
            let sentence = "mcp-remote: initialize is not part of a batch";
            let answer = jsonrpc::error_response(refused.id().as_ref(), -32600, sentence, None);
            self.answer(None, answer).await?;
        }
        Ok(())
    }

    /// Says an answer, or keeps it for its array. `minted` is the request's id
    /// upstream, if it went there.
    pub(super) async fn answer(&mut self, minted: Option<u64>, answer: Bytes) -> Result<(), Gone> {
        let single_or_arrays = match (minted, self.reading) {
            (Some(minted), _) => self.batches.answer(minted, answer),
            (None, Some(batch)) => Ok(self.batches.add(batch, answer).into_iter().collect()),
            (None, None) => Err(answer),
        };
        match single_or_arrays {
            Err(message) => self.say(message).await,
            Ok(arrays) => {
                for array in arrays {
                    self.say(array).await?;
                }
                Ok(())
            }
        }
    }

    /// Says what a batch waited for that gets no answer to this request.
    pub(super) async fn answer_without(&mut self, minted: u64) {
        if let Some(answers) = self.batches.give_up(minted) {
            // A shim that has gone is seen elsewhere.
            drop(self.say(answers).await);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(batches: &mut Batches, minted: u64, text: &'static str) -> Vec<Bytes> {
        let answered = batches.answer(minted, Bytes::from_static(text.as_bytes()));
        answered.expect("it is part of a batch")
    }

    const NOTHING: [&str; 0] = [];

    #[test]
    fn the_answers_go_out_together_once_all_are_there() {
        let mut batches = Batches::new(100);
        let id = batches.begin();
        batches.expect(id, 1);
        batches.add(id, Bytes::from_static(b"bad"));
        batches.expect(id, 2);
        batches.expect(id, 3);
        assert_eq!(answer(&mut batches, 2, "2"), NOTHING);
        assert_eq!(batches.expect_no_more(id), None);
        assert_eq!(batches.give_up(3), None);
        assert_eq!(answer(&mut batches, 1, "1"), ["[bad,2,1]"]);
        assert!(batches.open.is_empty() && batches.requests.is_empty());
    }

    #[test]
    fn an_array_without_answers_is_not_said() {
        let mut batches = Batches::new(100);
        let id = batches.begin();
        assert_eq!(batches.expect_no_more(id), None);
        let id = batches.begin();
        batches.expect(id, 1);
        assert_eq!(batches.expect_no_more(id), None);
        assert_eq!(batches.give_up(1), None);
        assert!(batches.open.is_empty());
    }

    #[test]
    fn an_array_that_grows_too_long_is_said_in_parts() {
        let mut batches = Batches::new(4);
        let id = batches.begin();
        for minted in 1..=3 {
            batches.expect(id, minted);
        }
        assert_eq!(batches.expect_no_more(id), None);
        assert_eq!(answer(&mut batches, 1, "111"), NOTHING);
        assert_eq!(answer(&mut batches, 2, "222"), ["[111]"]);
        // The last one does not fit either: both parts are said.
        assert_eq!(answer(&mut batches, 3, "333"), ["[222]", "[333]"]);
        assert!(batches.open.is_empty() && batches.requests.is_empty());
    }

    #[test]
    fn what_is_in_no_batch_stays_itself() {
        let mut batches = Batches::new(4);
        let single = Bytes::from_static(b"1");
        assert_eq!(batches.answer(1, single.clone()), Err(single));
        assert_eq!(batches.give_up(1), None);
    }
}
