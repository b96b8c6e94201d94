//! Server-sent events with bounded memory.
//!
//! [`Cutter`] cuts the bytes into whole events and guards their size;
//! `eventsource-stream` parses each. Without the cut, the parser would look at a
//! long event again with every piece, hold a line without end, and stumble over
//! a byte order mark. An event over the limit is skipped, not kept, while a scan
//! looks for the id of the message in it.

use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use eventsource_stream::Eventsource as _;
use futures_util::stream::{BoxStream, StreamExt as _};
use mcp_remote_proto::members::{Members, Scanner};

use super::UpstreamError;
use crate::http::Response;
use crate::jsonrpc::RequestId;

/// An oversized event is read to its end only up to this many times the limit;
/// then the stream is given up, since it may have no end.
const SKIP_FACTOR: usize = 8;

/// May stand at the beginning of a stream; the parser would panic at it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One event of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StreamEvent {
    /// An event with its type, data, and what it says about the stream.
    Event {
        name: String,
        data: Bytes,
        id: Option<String>,
        retry: Option<Duration>,
    },
    /// An event that cannot be passed on was skipped; the message in it answered
    /// this id.
    Skipped {
        answers: Option<RequestId>,
        why: UpstreamError,
    },
}

/// The events of one response.
pub(crate) struct EventStream {
    events: BoxStream<
        'static,
        Result<eventsource_stream::Event, eventsource_stream::EventStreamError<FrameError>>,
    >,
    limit: usize,
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventStream").finish_non_exhaustive()
    }
}

impl EventStream {
    /// Decodes the body of a response; no event may have more than `limit` bytes.
    pub(crate) fn new(response: Response, limit: usize) -> Self {
        let frames = Frames {
            response,
            cutter: Cutter::new(limit),
            ended: false,
        };
        let pieces = futures_util::stream::unfold(frames, |mut frames| async move {
            let piece = frames.next().await?;
            Some((piece, frames))
        });
        Self {
            events: pieces.eventsource().boxed(),
            limit,
        }
    }

    /// Returns the next event; `None` at the end of the stream. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Result<StreamEvent, UpstreamError>> {
        use eventsource_stream::EventStreamError as Error;
        let event = match self.events.next().await? {
            Ok(event) => event,
            Err(Error::Transport(FrameError::Oversized(answers))) => {
                let why = UpstreamError::TooLarge(self.limit);
                return Some(Ok(StreamEvent::Skipped { answers, why }));
            }
            Err(Error::Transport(FrameError::NotUtf8(answers))) => {
                let why = UpstreamError::Protocol("it sent an event that is not UTF-8".into());
                return Some(Ok(StreamEvent::Skipped { answers, why }));
            }
            Err(Error::Transport(FrameError::Endless)) => {
                return Some(Err(UpstreamError::TooLarge(self.limit)));
            }
            Err(Error::Transport(FrameError::Broken(error))) => return Some(Err(error)),
            Err(Error::Utf8(_)) => {
                return Some(Err(UpstreamError::Protocol(
                    "its event stream is not UTF-8".into(),
                )));
            }
            Err(Error::Parser(_)) => {
                return Some(Err(UpstreamError::Protocol(
                    "its event stream is not valid".into(),
                )));
            }
        };
        let id = Some(event.id).filter(|id| !id.is_empty());
        Some(Ok(StreamEvent::Event {
            name: event.event,
            data: event.data.into(),
            id,
            retry: event.retry,
        }))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum FrameError {
    Oversized(Option<RequestId>),
    NotUtf8(Option<RequestId>),
    Endless,
    Broken(UpstreamError),
}

/// Reads a response through a [`Cutter`].
struct Frames {
    response: Response,
    cutter: Cutter,
    ended: bool,
}

impl Frames {
    async fn next(&mut self) -> Option<Result<Bytes, FrameError>> {
        loop {
            match self.cutter.next() {
                Some(Err(FrameError::Endless)) => {
                    self.ended = true;
                    return Some(Err(FrameError::Endless));
                }
                Some(frame) => return Some(frame),
                None if self.ended => return None,
                None => {}
            }
            match self.response.chunk().await {
                Ok(Some(chunk)) => self.cutter.push(chunk),
                Ok(None) => self.ended = true,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(FrameError::Broken(error.into())));
                }
            }
        }
    }
}

/// Cuts a byte stream after each blank line.
struct Cutter {
    limit: usize,
    /// What has come and is not looked at yet.
    pending: Bytes,
    /// The event so far.
    event: BytesMut,
    /// Bytes of the event that were skipped, and the search for its id.
    skipping: Option<(usize, Scanner)>,
    /// Whether the current line has no byte yet.
    line_is_empty: bool,
    /// Whether the last byte was a CR, which a LF may belong to.
    after_cr: bool,
    /// Whether no event has come yet: the first may begin with a mark.
    at_start: bool,
}

impl Cutter {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            pending: Bytes::new(),
            event: BytesMut::new(),
            skipping: None,
            line_is_empty: true,
            after_cr: false,
            at_start: true,
        }
    }

    fn push(&mut self, chunk: Bytes) {
        self.pending = chunk;
    }

    /// Returns the next whole event, or none until more is pushed.
    fn next(&mut self) -> Option<Result<Bytes, FrameError>> {
        let end = self.find_end();
        let piece = self.pending.split_to(end.unwrap_or(self.pending.len()));
        if let Err(error) = self.take(&piece) {
            return Some(Err(error));
        }
        end?;
        if let Some((_, scanner)) = self.skipping.take() {
            return Some(Err(FrameError::Oversized(answered(&scanner.finish()))));
        }
        if std::mem::take(&mut self.at_start) && self.event.starts_with(BYTE_ORDER_MARK) {
            self.event.advance(BYTE_ORDER_MARK.len());
        }
        if std::str::from_utf8(&self.event).is_err() {
            let members = Members::of(data_of(&self.event).unwrap_or_default());
            self.event.clear();
            return Some(Err(FrameError::NotUtf8(answered(&members))));
        }
        // The parser waits after a final CR for the LF that may follow.
        if self.event.ends_with(b"\r") {
            self.event.extend_from_slice(b"\n");
        }
        Some(Ok(std::mem::take(&mut self.event).freeze()))
    }

    /// Returns where the event ends in what is pending.
    fn find_end(&mut self) -> Option<usize> {
        let mut at = 0;
        if self.after_cr && self.pending.first() == Some(&b'\n') {
            at = 1;
        }
        if !self.pending.is_empty() {
            self.after_cr = false;
        }
        while at < self.pending.len() {
            if !matches!(self.pending[at], b'\n' | b'\r') {
                self.line_is_empty = false;
                at = memchr::memchr2(b'\n', b'\r', &self.pending[at..])
                    .map_or(self.pending.len(), |found| at + found);
                continue;
            }
            let ends_event = self.line_is_empty;
            self.line_is_empty = true;
            let cr = self.pending[at] == b'\r';
            at += 1;
            if cr {
                match self.pending.get(at) {
                    Some(b'\n') => at += 1,
                    Some(_) => {}
                    None => self.after_cr = true,
                }
            }
            if ends_event {
                return Some(at);
            }
        }
        None
    }

    fn take(&mut self, piece: &[u8]) -> Result<(), FrameError> {
        if self.skipping.is_none() && self.event.len() + piece.len() <= self.limit {
            self.event.extend_from_slice(piece);
            return Ok(());
        }
        match &mut self.skipping {
            Some((skipped, scanner)) => {
                *skipped += piece.len();
                scanner.push(piece);
            }
            None => {
                let event = std::mem::take(&mut self.event);
                let mut scanner = Scanner::default();
                match data_of(&event) {
                    Some(data) => {
                        scanner.push(data);
                        scanner.push(piece);
                    }
                    None => scanner.push(data_of(piece).unwrap_or_default()),
                }
                self.skipping = Some((event.len() + piece.len(), scanner));
            }
        }
        let skipped = self.skipping.as_ref().map_or(0, |(skipped, _)| *skipped);
        if skipped > self.limit.saturating_mul(SKIP_FACTOR) {
            Err(FrameError::Endless)
        } else {
            Ok(())
        }
    }
}

/// Returns an event's bytes from its data on, for the search for an id.
fn data_of(event: &[u8]) -> Option<&[u8]> {
    memchr::memmem::find(event, b"data:").map(|at| &event[at + 5..])
}

fn answered(members: &Members) -> Option<RequestId> {
    members.response_id().and_then(RequestId::found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(chunks: &[&[u8]], limit: usize) -> Vec<Result<String, FrameError>> {
        let mut cutter = Cutter::new(limit);
        let mut frames = Vec::new();
        for chunk in chunks {
            cutter.push(Bytes::copy_from_slice(chunk));
            while let Some(frame) = cutter.next() {
                frames.push(frame.map(|frame| String::from_utf8_lossy(&frame).into_owned()));
            }
        }
        frames
    }

    #[test]
    fn events_end_at_blank_lines_however_lines_end_and_bytes_are_cut() {
        let check = |text: &str, expected: &[&str]| {
            let whole: Vec<String> = cut(&[text.as_bytes()], 1000)
                .into_iter()
                .map(|frame| frame.expect(text))
                .collect();
            assert_eq!(whole, expected, "{text:?}");
            let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            let single: Vec<String> = cut(&bytes, 1000)
                .into_iter()
                .map(|frame| frame.expect(text))
                .collect();
            let parts = |frames: &[String]| {
                frames
                    .iter()
                    .map(|frame| frame.trim().to_owned())
                    .filter(|frame| !frame.is_empty())
                    .collect::<Vec<_>>()
            };
            assert_eq!(parts(&single), parts(&whole), "byte by byte: {text:?}");
        };
        check("data: a\n\ndata: b\n\n", &["data: a\n\n", "data: b\n\n"]);
        check(
            "data: a\r\n\r\ndata: b\r\n\r\n",
            &["data: a\r\n\r\n", "data: b\r\n\r\n"],
        );
        check(
            "data: a\r\rdata: b\r\r",
            &["data: a\r\r\n", "data: b\r\r\n"],
        );
        check("\u{feff}data: a\n\n", &["data: a\n\n"]);
        check(": comment\ndata: a", &[]);
    }

    #[test]
    fn an_oversized_event_is_skipped_and_its_id_found() {
        let long = format!(
            "event: message\ndata: {{\"result\":\"{}\",\"id\":42}}\n\ndata: next\n\n",
            "x".repeat(500)
        );
        for size in [1, 7, 10_000] {
            let chunks: Vec<&[u8]> = long.as_bytes().chunks(size).collect();
            let frames = cut(&chunks, 100);
            assert_eq!(frames.len(), 2, "{frames:?}");
            assert_eq!(
                frames[0],
                Err(FrameError::Oversized(Some(RequestId::from_json("42"))))
            );
            assert_eq!(frames[1].as_deref(), Ok("data: next\n\n"));
        }
    }

    #[test]
    fn an_event_without_end_is_given_up() {
        let mut cutter = Cutter::new(100);
        let mut pushed = 0;
        loop {
            cutter.push(Bytes::from_static(&[b'x'; 64]));
            pushed += 64;
            assert!(cutter.event.capacity() <= 400);
            match cutter.next() {
                None => assert!(pushed <= 100 * (SKIP_FACTOR + 1)),
                Some(frame) => return assert_eq!(frame, Err(FrameError::Endless)),
            }
        }
    }
}
