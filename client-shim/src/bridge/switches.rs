//! What the client has switched on in its session (its log level, subscriptions),
//! for the daemon after this one.
//!
//! Pure. Keeps the client's own requests. Invariant: what is kept is bounded; past
//! that the rest is not known.

use bytes::Bytes;
use mcp_remote_proto::members::Members;

use super::batch;

/// Longest request that is kept.
const MAX_REQUEST: usize = 8 * 1024;

/// How many bytes of requests are kept in all.
const MAX_TOTAL: usize = 1024 * 1024;

/// Requests that may wait for their answers.
const MAX_ASKED: usize = 1024;

const LEVEL: &[u8] = b"logging/setLevel";
const SUBSCRIBE: &[u8] = b"resources/subscribe";
const UNSUBSCRIBE: &[u8] = b"resources/unsubscribe";

/// The switches of one client.
#[derive(Debug, Default)]
pub(super) struct Switches {
    /// Requests by what they switch on: a resource, or the level.
    on: Vec<(Switch, Bytes)>,
    /// Requests without an answer, by their id.
    asked: Vec<Asked>,
    /// Bytes of all requests.
    total: usize,
}

/// The log level, or a resource by its URI as the client writes it.
type Switch = Option<Vec<u8>>;

#[derive(Debug)]
struct Asked {
    id: Vec<u8>,
    switch: Switch,
    /// The request, if it switches on.
    on: Option<Bytes>,
}

impl Switches {
    /// Says whether a message may be a request to change one.
    pub(super) fn are_meant(members: &Members) -> bool {
        matches!(
            members.method.as_deref(),
            Some(LEVEL | SUBSCRIBE | UNSUBSCRIBE)
        )
    }

    /// Notes that the client asks for a change.
    pub(super) fn asked(&mut self, id: &[u8], members: &Members, message: &[u8]) {
        let off = members.method.as_deref() == Some(UNSUBSCRIBE);
        let fits = message.len() <= MAX_REQUEST && self.asked.len() < MAX_ASKED;
        if !fits || (!off && self.total + message.len() > MAX_TOTAL) {
            return;
        }
        let switch = match members.method.as_deref() {
            Some(LEVEL) => None,
            _ => match batch::value_of(b"\"uri\"", message) {
                Some(uri) => Some(uri),
                None => return,
            },
        };
        let on = (!off).then(|| Bytes::copy_from_slice(message));
        // An id that is used twice has one answer.
        self.answered(id, false);
        self.total += on.as_ref().map_or(0, Bytes::len);
        let id = id.to_vec();
        self.asked.push(Asked { id, switch, on });
    }

    /// Notes the answer to a request.
    pub(super) fn answered(&mut self, id: &[u8], done: bool) {
        let Some(at) = self.asked.iter().position(|asked| asked.id == id) else {
            return;
        };
        let Asked { switch, on, .. } = self.asked.swap_remove(at);
        let known = self.on.iter().position(|(known, _)| *known == switch);
        let over = match (on, known) {
            (on, _) if !done => on,
            (Some(on), Some(at)) => Some(std::mem::replace(&mut self.on[at].1, on)),
            (Some(on), None) => {
                self.on.push((switch, on));
                None
            }
            (None, known) => known.map(|at| self.on.remove(at).1),
        };
        self.total -= over.map_or(0, |over| over.len());
    }

    /// Notes that the client will get no more answers: it asks again.
    pub(super) fn unanswered(&mut self) {
        for asked in self.asked.drain(..) {
            self.total -= asked.on.map_or(0, |on| on.len());
        }
    }

    /// Notes that the client begins anew.
    pub(super) fn clear(&mut self) {
        for (_, on) in self.on.drain(..) {
            self.total -= on.len();
        }
    }

    /// Returns the requests that switch on what is on, if they fit.
    pub(super) fn requests(&self, room: usize) -> Vec<Bytes> {
        match self.total <= room {
            true => self.on.iter().map(|(_, on)| on.clone()).collect(),
            false => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(switches: &mut Switches, what: &str, params: &str, done: bool) -> String {
        let request = format!(r#"{{"id":1,"method":"{what}","params":{params}}}"#);
        let members = Members::of(request.as_bytes());
        assert!(Switches::are_meant(&members));
        switches.asked(b"1", &members, request.as_bytes());
        switches.answered(b"1", done);
        request
    }

    #[test]
    fn what_is_on_is_kept_and_what_is_off_again_is_not() {
        let mut switches = Switches::default();
        let uri = |uri: &str| format!(r#"{{"_meta":{{"a":"uri"}},"uri" : "{uri}"}}"#);
        let level = |level: &str| format!(r#"{{"level":"{level}"}}"#);
        ask(&mut switches, "logging/setLevel", &level("debug"), true);
        ask(&mut switches, "resources/subscribe", &uri("a"), true);
        let b = ask(&mut switches, "resources/subscribe", &uri("b"), true);
        ask(&mut switches, "resources/subscribe", &uri("c"), false);
        ask(&mut switches, "resources/unsubscribe", &uri("b"), false);
        ask(&mut switches, "resources/unsubscribe", &uri("a"), true);
        let error = ask(&mut switches, "logging/setLevel", &level("error"), true);
        assert_eq!(switches.requests(1024), [error, b]);
        assert!(switches.requests(8).is_empty());
        switches.clear();
        assert!(switches.requests(1024).is_empty());
    }

    #[test]
    fn memory_is_bounded_and_given_back() {
        let mut switches = Switches::default();
        let long = |at: u32| format!(r#"{{"uri":"{at}","x":"{}"}}"#, "x".repeat(7000));
        for at in 0..1000 {
            ask(&mut switches, "resources/subscribe", &long(at), true);
        }
        assert!(switches.total <= MAX_TOTAL && switches.on.len() > 100);
        for at in 0..1000 {
            ask(&mut switches, "resources/unsubscribe", &long(at), true);
        }
        assert_eq!(switches.total, 0);
        let request = format!(
            r#"{{"id":1,"method":"resources/subscribe","params":{}}}"#,
            long(0)
        );
        for id in 0..2000_u32 {
            let members = Members::of(request.as_bytes());
            switches.asked(id.to_string().as_bytes(), &members, request.as_bytes());
        }
        assert!(switches.total <= MAX_TOTAL);
        switches.unanswered();
        assert_eq!(switches.total, 0);
    }
}
