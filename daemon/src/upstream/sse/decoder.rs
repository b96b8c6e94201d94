//! Bytes in, events out (HTML Living Standard, 9.2.6 Interpreting an event
//! stream); no I/O.
//!
//! However the bytes are cut into chunks, the same events come out. A data line
//! within one chunk becomes the event's data without a copy. Of an event over the
//! limit nothing is kept; a scan looks for the id of the message in it. Data is
//! not decoded: whether it is UTF-8 is for those who read it.

use std::borrow::Cow;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use mcp_remote_proto::members::{Members, Scanner};

use crate::jsonrpc::RequestId;

/// An event over the limit, or a comment, is read to its end only up to this many
/// times the limit; then the stream is given up, since it may have no end.
const SKIP_FACTOR: usize = 8;

/// May stand at the beginning of a stream.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What a line of data begins with.
const DATA_FIELD: &[u8] = b"data:";

/// The type of an event that names none.
const MESSAGE: &str = "message";

/// What comes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// A whole event.
    Event(Event),
    /// An event over the limit was skipped.
    Oversized(Addressed),
    /// What goes on for longer than can be waited for; nothing comes after it.
    Endless,
}

/// What a message that was skipped would have been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Addressed {
    /// The answer to this id.
    Answer(RequestId),
    /// A request with this id.
    Request(RequestId),
    /// Something else, or nobody knows.
    Nobody,
}

impl Addressed {
    fn of(found: &Members) -> Self {
        let id = |id: &[u8]| RequestId::found(id);
        match (found.response_id(), found.request_id()) {
            (Some(answers), _) => id(answers).map(Self::Answer),
            (None, Some(asks)) => id(asks).map(Self::Request),
            (None, None) => None,
        }
        .unwrap_or(Self::Nobody)
    }
}

/// An event. One that has only an id or a retry has no data: it is not for
/// listeners, but for the next connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// The type.
    pub(crate) name: Cow<'static, str>,
    /// The data lines, joined.
    pub(crate) data: Bytes,
    /// The id, if this event has one that is not empty.
    pub(crate) id: Option<String>,
    /// How long to wait before connecting again, if this event says so.
    pub(crate) retry: Option<Duration>,
}

/// Reads a stream that arrives in chunks.
#[derive(Debug)]
pub(crate) struct Decoder {
    limit: usize,
    /// What has come and is not read yet.
    chunk: Bytes,
    /// How much of a byte order mark has come; all of it: none is looked for.
    mark: usize,
    /// Whether the last byte was a CR, which a LF may belong to.
    after_cr: bool,
    /// The line that is not whole yet, and how many bytes of it have come.
    line: Line,
    length: usize,
    event: Pending,
    ended: bool,
}

/// What is kept of a line that is not whole yet.
#[derive(Debug)]
enum Line {
    /// Its bytes.
    Kept(BytesMut),
    /// Nothing: a comment.
    Comment,
    /// Nothing: its event is over the limit. The scan sees it if it is data.
    Skipped { is_data: bool },
}

/// The lines of an event that is not whole yet.
#[derive(Debug, Default)]
struct Pending {
    /// How many bytes its whole lines have, without comments.
    size: usize,
    /// Looks for the id once the event is over the limit.
    scanner: Option<Scanner>,
    name: Option<Cow<'static, str>>,
    data: Data,
    id: Option<String>,
    retry: Option<Duration>,
}

#[derive(Debug, Default)]
enum Data {
    #[default]
    None,
    /// One line: a part of the chunk that brought it.
    One(Bytes),
    /// Many lines, joined.
    Many(BytesMut),
}

impl Decoder {
    /// Begins a stream; no event may have more than `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            chunk: Bytes::new(),
            mark: 0,
            after_cr: false,
            line: Line::Kept(BytesMut::new()),
            length: 0,
            event: Pending::default(),
            ended: false,
        }
    }

    /// Takes the next chunk, once [`Self::next`] has found all in the last one.
    pub(crate) fn push(&mut self, chunk: Bytes) {
        debug_assert!(self.chunk.is_empty(), "the last chunk is read");
        if self.ended {
            return;
        }
        self.chunk = chunk;
        while self.mark < BYTE_ORDER_MARK.len() && !self.chunk.is_empty() {
            if self.chunk[0] == BYTE_ORDER_MARK[self.mark] {
                self.chunk.advance(1);
                self.mark += 1;
            } else {
                self.line = Line::Kept(BYTE_ORDER_MARK[..self.mark].into());
                self.length = self.mark;
                self.mark = BYTE_ORDER_MARK.len();
            }
        }
    }

    /// Finds the next event, or nothing until more is pushed.
    pub(crate) fn next(&mut self) -> Option<Found> {
        let mut chunk = std::mem::take(&mut self.chunk);
        let mut found = None;
        while found.is_none() && !chunk.is_empty() {
            if std::mem::take(&mut self.after_cr) && chunk[0] == b'\n' {
                chunk.advance(1);
                continue;
            }
            let Some(end) = memchr::memchr2(b'\n', b'\r', &chunk) else {
                found = self.part_of_line(&chunk);
                chunk.clear();
                break;
            };
            found = if self.length == 0 {
                self.whole_line(&chunk, end)
            } else {
                self.part_of_line(&chunk[..end])
                    .or_else(|| self.end_of_line())
            };
            self.after_cr = chunk[end] == b'\r';
            chunk.advance(end + 1);
        }
        if found == Some(Found::Endless) {
            self.ended = true;
            chunk.clear();
        }
        self.chunk = chunk;
        found
    }

    /// Reads the line that `bytes` begins with.
    fn whole_line(&mut self, bytes: &Bytes, end: usize) -> Option<Found> {
        let line = &bytes[..end];
        let Some(first) = line.first() else {
            return std::mem::take(&mut self.event).finish();
        };
        if *first == b':' {
            return (end > self.longest()).then_some(Found::Endless);
        }
        self.event.size += end;
        if self.event.size > self.longest() {
            return Some(Found::Endless);
        }
        if self.event.size > self.limit {
            let scanner = self.event.skip();
            if let Some(data) = line.strip_prefix(DATA_FIELD) {
                scanner.push(data);
                scanner.push(b"\n");
            }
            return None;
        }
        let (field, value) = match memchr::memchr(b':', line) {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &line[end..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        self.event.add(field, value, bytes);
        None
    }

    /// Takes a part of a line of which more may come.
    fn part_of_line(&mut self, part: &[u8]) -> Option<Found> {
        if self.length == 0 && part.starts_with(b":") {
            self.line = Line::Comment;
        }
        self.length += part.len();
        let size = match self.line {
            Line::Comment => self.length,
            _ => self.event.size + self.length,
        };
        if size > self.longest() {
            return Some(Found::Endless);
        }
        match &mut self.line {
            Line::Comment | Line::Skipped { is_data: false } => {}
            Line::Skipped { is_data: true } => self.event.skip().push(part),
            Line::Kept(line) if size <= self.limit => line.extend_from_slice(part),
            Line::Kept(line) => {
                let scanner = self.event.skip();
                // Only what tells whether it is data is still kept.
                let missing = DATA_FIELD.len().saturating_sub(line.len());
                let (head, tail) = part.split_at(missing.min(part.len()));
                line.extend_from_slice(head);
                if line.len() >= DATA_FIELD.len() {
                    let data = line.strip_prefix(DATA_FIELD);
                    if let Some(data) = data {
                        scanner.push(data);
                        scanner.push(tail);
                    }
                    let is_data = data.is_some();
                    self.line = Line::Skipped { is_data };
                }
            }
        }
        None
    }

    fn end_of_line(&mut self) -> Option<Found> {
        let length = std::mem::take(&mut self.length);
        match std::mem::replace(&mut self.line, Line::Kept(BytesMut::new())) {
            Line::Kept(line) => return self.whole_line(&line.freeze(), length),
            Line::Comment => {}
            Line::Skipped { is_data } => {
                self.event.size += length;
                if is_data {
                    self.event.skip().push(b"\n");
                }
            }
        }
        None
    }

    /// How many bytes without an end are read.
    fn longest(&self) -> usize {
        self.limit.saturating_mul(SKIP_FACTOR)
    }
}

impl Pending {
    /// Adds a field; its value is a part of `bytes`.
    fn add(&mut self, field: &[u8], value: &[u8], bytes: &Bytes) {
        match field {
            b"data" => self.data.add(bytes.slice_ref(value)),
            b"event" if value == MESSAGE.as_bytes() => self.name = None,
            b"event" => {
                let name = Some(String::from_utf8_lossy(value).into_owned());
                self.name = name.filter(|name| !name.is_empty()).map(Cow::Owned);
            }
            b"id" if !value.contains(&0) => {
                self.id = Some(String::from_utf8_lossy(value).into_owned());
            }
            b"retry" if value.iter().all(u8::is_ascii_digit) => {
                let digits = std::str::from_utf8(value).unwrap_or_default();
                // More than fits is no time to wait for.
                self.retry = digits
                    .parse()
                    .ok()
                    .map(Duration::from_millis)
                    .or(self.retry);
            }
            _ => {}
        }
    }

    /// Keeps nothing of this event any more; returns the search for its id.
    fn skip(&mut self) -> &mut Scanner {
        self.name = None;
        self.id = None;
        self.retry = None;
        let data = std::mem::take(&mut self.data);
        self.scanner.get_or_insert_with(|| {
            let mut scanner = Scanner::default();
            scanner.push(&data.joined());
            scanner.push(b"\n");
            scanner
        })
    }

    /// Returns what a blank line makes of it.
    fn finish(self) -> Option<Found> {
        if let Some(scanner) = self.scanner {
            return Some(Found::Oversized(Addressed::of(&scanner.finish())));
        }
        let says_nothing =
            matches!(self.data, Data::None) && self.id.is_none() && self.retry.is_none();
        (!says_nothing).then(|| {
            Found::Event(Event {
                name: self.name.unwrap_or(Cow::Borrowed(MESSAGE)),
                data: self.data.joined(),
                id: self.id.filter(|id| !id.is_empty()),
                retry: self.retry,
            })
        })
    }
}

impl Data {
    fn add(&mut self, line: Bytes) {
        match self {
            Self::None => *self = Self::One(line),
            Self::One(first) => {
                let mut lines = BytesMut::with_capacity(first.len() + 1 + line.len());
                for part in [first, b"\n".as_slice(), &line] {
                    lines.extend_from_slice(part);
                }
                *self = Self::Many(lines);
            }
            Self::Many(lines) => {
                lines.extend_from_slice(b"\n");
                lines.extend_from_slice(&line);
            }
        }
    }

    fn joined(self) -> Bytes {
        match self {
            Self::None => Bytes::new(),
            Self::One(line) => line,
            Self::Many(lines) => lines.freeze(),
        }
    }
}

// The path is the usual one, said so that it holds where tests/fuzz includes us.
#[cfg(test)]
#[path = "decoder/tests.rs"]
mod tests;
