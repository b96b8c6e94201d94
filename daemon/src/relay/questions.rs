//! What the server has asked the client and the client has not answered. Pure.
//!
//! Invariants: the client sees each of our ids once, whichever session asks; an
//! answer goes with the server's own id to the opening that asked, once.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::jsonrpc::{Envelope, RequestId};

/// Questions that a client may leave unanswered; what comes then is refused.
const MAX_OPEN: usize = 1024;

/// Questions without an answer, by the ids that the client knows.
#[derive(Debug)]
pub(crate) struct Questions {
    next: u64,
    open: HashMap<u64, Question>,
}

/// One question, as the server knows it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Question {
    /// The server's id for it.
    pub(crate) id: RequestId,
    /// The opening of the session that it came from.
    pub(crate) generation: u64,
    /// What it asks for.
    pub(crate) method: Box<str>,
}

impl Questions {
    /// Begins with a client that was asked nothing yet, or may have been by another
    /// daemon: then ids begin where that one cannot have come.
    pub(crate) fn new(resumed: bool) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |now| now.as_micros());
        Self {
            next: match resumed {
                true => u64::try_from(now).unwrap_or(1),
                false => 1,
            },
            open: HashMap::new(),
        }
    }

    /// Takes a question in. Returns it as the client gets it; `None`: there are too
    /// many already.
    pub(crate) fn ask(&mut self, request: &Envelope, generation: u64) -> Option<Bytes> {
        let id = request.id()?;
        if self.open.len() >= MAX_OPEN {
            return None;
        }
        let ours = self.next;
        self.next += 1;
        let method = request.method().unwrap_or_default().into();
        let question = Question {
            id,
            generation,
            method,
        };
        self.open.insert(ours, question);
        Some(request.with_id(&ours.to_string()))
    }

    /// Takes the client's answer. Returns it with the server's id, and what it
    /// answers.
    pub(crate) fn answer(&mut self, response: &Envelope) -> Option<(Bytes, Question)> {
        let ours = response.id()?.as_json().parse().ok()?;
        let question = self.open.remove(&ours)?;
        Some((response.with_id(question.id.as_json()), question))
    }

    /// Ends a question that the server takes back. Returns the notification with
    /// our id.
    pub(crate) fn cancel(&mut self, notification: &Envelope) -> Option<Bytes> {
        let place = notification.cancelled_request()?;
        let id = notification.text(place.clone());
        let same = self
            .open
            .iter()
            .filter(|(_, question)| question.id.as_json() == id);
        let newest = same.map(|(ours, _)| *ours).max()?;
        self.open.remove(&newest);
        Some(notification.spliced(&[(place, &newest.to_string())]))
    }

    /// Gives up all questions.
    pub(crate) fn take(&mut self) -> Vec<Question> {
        self.open.drain().map(|(_, question)| question).collect()
    }

    /// Says whether the client owes no answer.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(text: &str) -> Envelope {
        Envelope::parse(Bytes::copy_from_slice(text.as_bytes())).expect("valid")
    }

    #[test]
    fn an_answer_gets_the_servers_id_back_as_it_was_written() {
        let mut questions = Questions::new(false);
        for (ours, id) in ["7", "\"7\"", "9007199254740993", "\"\\u00e9\""]
            .into_iter()
            .enumerate()
        {
            let (ours, generation) = (ours + 1, ours as u64);
            let asked = envelope(&format!(r#"{{"id":{id},"method":"ping"}}"#));
            let asked = questions.ask(&asked, generation).expect("asked");
            assert_eq!(asked, format!(r#"{{"id":{ours},"method":"ping"}}"#));
            let answer = envelope(&format!(r#"{{"result":{{}},"id":{ours}}}"#));
            let expected = format!(r#"{{"result":{{}},"id":{id}}}"#);
            let (answered, question) = questions.answer(&answer).expect("asked");
            assert_eq!(
                (answered, question.generation),
                (expected.into(), generation)
            );
            assert_eq!(&*question.method, "ping");
            assert_eq!(questions.answer(&answer), None, "answered once");
        }
        assert!(questions.is_empty());
    }

    #[test]
    fn equal_ids_of_two_openings_are_two_questions() {
        let mut questions = Questions::new(false);
        let asked = envelope(r#"{"id":0,"method":"roots/list"}"#);
        questions.ask(&asked, 1);
        questions.ask(&asked, 2);
        let (_, question) = questions
            .answer(&envelope(r#"{"id":1,"result":{}}"#))
            .expect("asked");
        assert_eq!(question.generation, 1);
        let cancel = envelope(
            r#"{"method":"notifications/cancelled","params":{"requestId":0,"reason":""}}"#,
        );
        let cancelled = questions.cancel(&cancel).expect("asked");
        assert_eq!(
            cancelled,
            r#"{"method":"notifications/cancelled","params":{"requestId":2,"reason":""}}"#
        );
        assert_eq!(
            questions.cancel(&cancel),
            None,
            "it is no question any more"
        );
    }

    #[test]
    fn a_client_is_not_asked_without_end() {
        let mut questions = Questions::new(true);
        let asked = envelope(r#"{"id":0,"method":"ping"}"#);
        for _ in 0..MAX_OPEN {
            assert!(questions.ask(&asked, 1).is_some());
        }
        assert_eq!(questions.ask(&asked, 1), None);
        assert_eq!(questions.take().len(), MAX_OPEN);
    }
}
