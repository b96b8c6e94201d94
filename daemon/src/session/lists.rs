//! The lists that a server gave in a session, answered again from here for as
//! long as they are known to be what the server would say.
//!
//! Certain is a list if the server declared that it says when it changes, the
//! stream on which it says so has been open without a gap since before the list
//! was asked for, and it has not said so. Anything that could have hidden such a
//! word forgets all lists. A page goes back byte for byte but for its id, and only
//! while all that come after it are here too: nothing says for how long a cursor
//! is good.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::exchange::Inbound;
use crate::jsonrpc::{Envelope, Kind as Message};
use crate::oauth::token_source::AccessToken;

/// Longest page that is kept, in bytes.
const MAX_PAGE: usize = 512 * 1024;

/// Bytes kept for one session, in pages and what they are kept by.
const MAX_BYTES: usize = 1024 * 1024;

/// Pages kept for one session.
const MAX_PAGES: usize = 64;

/// Longest params and method that a page is kept by.
const MAX_KEY: usize = 4 * 1024;

/// What in `_meta` makes no difference to a list.
const IMMATERIAL: [&str; 4] = ["progressToken", "traceparent", "tracestate", "baggage"];

/// Whether lists may be answered from here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum CacheLists {
    /// Never.
    Never,
    /// As long as they are certain.
    #[default]
    Certain,
    /// For this long, unless the server says that they have changed.
    For(Duration),
}

impl CacheLists {
    /// Reads `never`, `certain`, or a number of seconds.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "never" => Some(Self::Never),
            "certain" => Some(Self::Certain),
            seconds => {
                let seconds = seconds.parse::<f64>().ok()?;
                let time = Duration::try_from_secs_f64(seconds).ok()?;
                Some(if time.is_zero() {
                    Self::Never
                } else {
                    Self::For(time)
                })
            }
        }
    }
}

/// What a list is of, as far as changes are announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Of {
    Tools,
    Prompts,
    Resources,
}

impl Of {
    fn listed_by(method: &str) -> Option<Self> {
        match method {
            "tools/list" => Some(Self::Tools),
            "prompts/list" => Some(Self::Prompts),
            "resources/list" | "resources/templates/list" => Some(Self::Resources),
            _ => None,
        }
    }

    fn changed_by(method: &str) -> Option<Self> {
        match method {
            "notifications/tools/list_changed" => Some(Self::Tools),
            "notifications/prompts/list_changed" => Some(Self::Prompts),
            "notifications/resources/list_changed" => Some(Self::Resources),
            _ => None,
        }
    }
}

/// How often something happened that makes older pages worthless.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Seen {
    /// Openings of the session, and moments in which a word may have been missed.
    forgotten: u64,
    /// Changes announced, by what they are of.
    changes: [u64; 3],
    /// The stream that is open; none: no word would come.
    stream: Option<u64>,
}

/// A request for a list, and what was known when it was made.
#[derive(Debug)]
pub(crate) struct Asked {
    of: Of,
    method: Box<str>,
    /// Method and cursor.
    key: Box<str>,
    policy: CacheLists,
    /// On whose behalf; another token may show another list.
    token: Option<AccessToken>,
    seen: Seen,
}

#[derive(Debug)]
struct Page {
    of: Of,
    answer: Envelope,
    /// What the page after it is kept by, if there is one.
    next: Option<Box<str>>,
    at: Instant,
    token: Option<AccessToken>,
    seen: Seen,
}

#[derive(Debug, Default)]
struct State {
    declared: [bool; 3],
    seen: Seen,
    streams: u64,
    pages: HashMap<Box<str>, Page>,
    bytes: usize,
}

/// The lists of one session.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lists(Arc<Mutex<State>>);

/// Announcements are heard for as long as this lives.
#[derive(Debug)]
pub(super) struct Listening {
    lists: Lists,
    stream: u64,
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut state = self.lists.lock();
        if state.seen.stream == Some(self.stream) {
            state.seen.stream = None;
            state.drop_uncertain();
        }
    }
}

impl Lists {
    /// Begins anew with an opening of the session; `reply` is the answer to
    /// `initialize`.
    pub(super) fn opened(&self, reply: &[u8]) {
        let mut state = self.lock();
        state.declared = declared(reply);
        state.forget();
    }

    /// Notes that the stream has been opened on which changes are announced.
    pub(super) fn listening(&self) -> Listening {
        let mut state = self.lock();
        state.streams += 1;
        let stream = state.streams;
        state.seen.stream = Some(stream);
        state.drop_uncertain();
        drop(state);
        Listening {
            lists: self.clone(),
            stream,
        }
    }

    /// Looks at what the session says: a change may be announced.
    pub(super) fn heard(&self, inbound: &Inbound) {
        let envelope = match inbound {
            Inbound::Message(envelope) if envelope.kind() == Message::Notification => envelope,
            // It may have been such a word.
            Inbound::Skipped(None, _) => return self.forget(),
            _ => return,
        };
        let method = envelope.method().unwrap_or_default();
        let Some(of) = Of::changed_by(method) else {
            return;
        };
        let mut state = self.lock();
        state.seen.changes[of as usize] += 1;
        state.retain(|page| page.of != of);
    }

    /// Forgets everything, since a change may have been announced unheard.
    pub(crate) fn forget(&self) {
        self.lock().forget();
    }

    /// Reads a request for a list that may be answered from here, or whose answer
    /// may be kept.
    pub(crate) fn ask(
        &self,
        request: &Envelope,
        policy: CacheLists,
        token: impl FnOnce() -> Option<AccessToken>,
    ) -> Option<Asked> {
        let method = request.method()?;
        let of = Of::listed_by(method).filter(|_| policy != CacheLists::Never)?;
        let key = key(method, request)?;
        let state = self.lock();
        let certain = state.seen.stream.is_some() && state.declared[of as usize];
        if policy == CacheLists::Certain && !certain {
            return None;
        }
        let mut seen = state.seen;
        drop(state);
        if matches!(policy, CacheLists::For(_)) {
            // Such a page does not stand and fall with a stream.
            seen.stream = None;
        }
        Some(Asked {
            of,
            method: method.into(),
            key,
            policy,
            token: token(),
            seen,
        })
    }

    /// Returns the page that answers a request, if it may.
    pub(super) fn answer(&self, asked: &Asked) -> Option<Envelope> {
        let state = self.lock();
        let page = state.pages.get(&asked.key)?;
        let mut last = page;
        // Pages that lead to each other have no end, which is not ours to mend.
        for _ in 0..MAX_PAGES {
            if !state.is_good(last, asked) {
                return None;
            }
            let Some(next) = &last.next else { break };
            last = state.pages.get(next)?;
        }
        Some(page.answer.clone())
    }

    /// Keeps an answer, unless something happened while it was under way.
    pub(crate) fn keep(&self, asked: &Asked, answer: &Envelope) {
        if answer.is_error() {
            return self.failed(asked);
        }
        let length = answer.bytes().len() + asked.key.len();
        if length > MAX_PAGE {
            return;
        }
        // A copy, since these bytes may be part of something larger.
        let Ok(copy) = Envelope::parse(Bytes::copy_from_slice(answer.bytes())) else {
            return;
        };
        let Some(next) = next(&asked.method, answer) else {
            return;
        };
        let mut state = self.lock();
        let (then, now, of) = (asked.seen, state.seen, asked.of as usize);
        let missed = then.forgotten != now.forgotten || then.changes[of] != now.changes[of];
        let gap = asked.policy == CacheLists::Certain && then.stream != now.stream;
        state.remove(&asked.key, next.as_deref());
        let full = state.bytes + length > MAX_BYTES || state.pages.len() >= MAX_PAGES;
        if missed || gap || full {
            return;
        }
        let page = Page {
            of: asked.of,
            answer: copy,
            next,
            at: Instant::now(),
            token: asked.token.clone(),
            seen: then,
        };
        state.bytes += length;
        state.pages.insert(asked.key.clone(), page);
    }

    /// Forgets the pages of a list of which the server did not give one: a cursor
    /// from here may be good no more.
    pub(crate) fn failed(&self, asked: &Asked) {
        self.lock().retain(|page| page.of != asked.of);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

impl State {
    fn forget(&mut self) {
        self.seen.forgotten += 1;
        self.pages.clear();
        self.bytes = 0;
    }

    /// Drops what is certain no more; what may be used for a time does not come
    /// from a stream.
    fn drop_uncertain(&mut self) {
        let stream = self.seen.stream;
        self.retain(|page| page.seen.stream.is_none() || page.seen.stream == stream);
    }

    fn retain(&mut self, wanted: impl Fn(&Page) -> bool) {
        let bytes = &mut self.bytes;
        self.pages.retain(|key, page| {
            let kept = wanted(page);
            if !kept {
                *bytes -= page.answer.bytes().len() + key.len();
            }
            kept
        });
    }

    /// Says whether a page may still be given to whoever asks so.
    fn is_good(&self, page: &Page, asked: &Asked) -> bool {
        let (now, of) = (self.seen, asked.of as usize);
        let unchanged = page.seen.forgotten == now.forgotten
            && page.seen.changes[of] == now.changes[of]
            && page.token == asked.token;
        let fresh = match asked.policy {
            CacheLists::Never => false,
            CacheLists::Certain => {
                self.declared[of] && now.stream.is_some() && page.seen.stream == now.stream
            }
            CacheLists::For(time) => page.at.elapsed() < time,
        };
        unchanged && fresh
    }

    /// Takes a page out, and those that it alone leads to; another in its place
    /// leads to `next`.
    fn remove(&mut self, key: &str, next: Option<&str>) {
        let mut place: Option<Box<str>> = Some(key.into());
        while let Some(key) = place.take() {
            let Some(page) = self.pages.remove(&key) else {
                return;
            };
            self.bytes -= page.answer.bytes().len() + key.len();
            place = page.next.filter(|old| Some(&**old) != next);
        }
    }
}

/// Reads which changes the server announces.
fn declared(reply: &[u8]) -> [bool; 3] {
    let reply: Option<serde_json::Value> = serde_json::from_slice(reply).ok();
    ["tools", "prompts", "resources"].map(|name| {
        let place = format!("/result/capabilities/{name}/listChanged");
        reply
            .as_ref()
            .and_then(|reply| reply.pointer(&place)?.as_bool())
            == Some(true)
    })
}

/// Returns what a page is kept by: the method and the cursor; `None`: something else
/// in the params may make a difference.
fn key(method: &str, request: &Envelope) -> Option<Box<str>> {
    #[derive(Deserialize)]
    struct Params<'a>(#[serde(borrow)] HashMap<std::borrow::Cow<'a, str>, &'a RawValue>);
    let Some(text) = request.params_text() else {
        return Some(method.into());
    };
    if text.len() > MAX_KEY {
        return None;
    }
    let Params(mut params) = match text {
        "null" => return Some(method.into()),
        text => serde_json::from_str(text).ok()?,
    };
    if let Some(meta) = params.remove("_meta") {
        let Params(meta) = serde_json::from_str(meta.get()).ok()?;
        if !meta.keys().all(|name| IMMATERIAL.contains(&name.as_ref())) {
            return None;
        }
    }
    let cursor = params.remove("cursor");
    match cursor {
        _ if !params.is_empty() => None,
        None => Some(method.into()),
        Some(cursor) => by_cursor(method, cursor),
    }
}

/// Whoever repeats a cursor may write it with other escapes; `None`: it is too long.
fn by_cursor(method: &str, cursor: &RawValue) -> Option<Box<str>> {
    let cursor: serde_json::Value = serde_json::from_str(cursor.get()).ok()?;
    let key = format!("{method} {cursor}");
    (key.len() <= MAX_KEY).then(|| key.into())
}

/// Returns what the page after this one will be kept by, if there is one; `None`: it
/// cannot be told.
fn next(method: &str, answer: &Envelope) -> Option<Option<Box<str>>> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        result: Result<'a>,
    }
    #[derive(Deserialize)]
    struct Result<'a> {
        #[serde(borrow, default, rename = "nextCursor")]
        next: Option<&'a RawValue>,
    }
    let Answer { result } = serde_json::from_slice(answer.bytes()).ok()?;
    match result.next {
        None => Some(None),
        Some(cursor) => by_cursor(method, cursor).map(Some),
    }
}

#[cfg(test)]
#[path = "lists/tests.rs"]
mod tests;
