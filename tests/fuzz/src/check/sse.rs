//! Event streams.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;

use super::{cut, memory, settings};
use crate::decoder::{Addressed, Decoder, Event, Found};
use crate::jsonrpc::RequestId;
use crate::members::Members;

/// How many times the limit something without an end is read.
const SKIP_FACTOR: usize = 8;

/// The limit is the first byte, the cuts follow from the second.
pub fn check(input: &[u8]) {
    let Some(([limit, seed], stream)) = settings(input) else {
        return;
    };
    let limit = 1 + usize::from(limit);
    let expected = simple(stream, limit);
    for chunks in [vec![stream], cut(stream, 0), cut(stream, seed)] {
        let mut decoder = Decoder::new(limit);
        let mut found = Vec::new();
        for chunk in chunks {
            decoder.push(Bytes::copy_from_slice(chunk));
            found.extend(std::iter::from_fn(|| decoder.next()));
        }
        assert_eq!(found, expected);
    }
    if seed % 64 == 1 {
        let mut decoder = Decoder::new(limit);
        // A part of a chunk may be held: all of the chunk is. The scan for an id
        // holds up to 1 KiB of it, twice while it copies.
        let bound = 8 * limit + 2 * stream.len() + 9216;
        memory::stays_below(bound, stream, |stream| {
            decoder.push(Bytes::copy_from_slice(stream));
            while decoder.next().is_some() {}
        });
    }
}

/// Interprets an event stream, one rule of the standard after the other.
fn simple(stream: &[u8], limit: usize) -> Vec<Found> {
    let stream = stream.strip_prefix(b"\xef\xbb\xbf").unwrap_or(stream);
    let (whole, unfinished) = lines(stream);
    let mut found = Vec::new();
    let mut event: Vec<&[u8]> = Vec::new();
    for line in whole {
        let is_comment = line.starts_with(b":");
        let size = match is_comment {
            true => line.len(),
            false => event.iter().map(|line| line.len()).sum::<usize>() + line.len(),
        };
        if size > SKIP_FACTOR * limit {
            found.push(Found::Endless);
            return found;
        }
        if line.is_empty() {
            found.extend(interpreted(&event, limit));
            event.clear();
        } else if !is_comment {
            event.push(line);
        }
    }
    let before: usize = event.iter().map(|line| line.len()).sum();
    let counted = if unfinished.starts_with(b":") {
        0
    } else {
        before
    };
    if !unfinished.is_empty() && counted + unfinished.len() > SKIP_FACTOR * limit {
        found.push(Found::Endless);
    }
    found
}

/// Returns the lines that have an end, and the rest.
fn lines(mut rest: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let mut lines = Vec::new();
    while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
        lines.push(&rest[..end]);
        let length = if rest[end..].starts_with(b"\r\n") {
            2
        } else {
            1
        };
        rest = &rest[end + length..];
    }
    (lines, rest)
}

fn interpreted(lines: &[&[u8]], limit: usize) -> Option<Found> {
    if lines.iter().map(|line| line.len()).sum::<usize>() > limit {
        return Some(Found::Oversized(addressed(lines)));
    }
    let mut event = Event {
        name: Cow::Borrowed("message"),
        data: Bytes::new(),
        id: None,
        retry: None,
    };
    let mut data: Vec<&[u8]> = Vec::new();
    let mut has_id = false;
    for line in lines {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let field = parts.next().unwrap_or_default();
        let value = parts.next().unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        let text = String::from_utf8_lossy(value);
        match field {
            b"data" => data.push(value),
            b"event" if text.is_empty() => event.name = Cow::Borrowed("message"),
            b"event" => event.name = text.into_owned().into(),
            b"id" if !text.contains('\0') => {
                has_id = true;
                event.id = Some(text.into_owned()).filter(|id| !id.is_empty());
            }
            b"retry" if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                event.retry = text.parse().ok().map(Duration::from_millis).or(event.retry);
            }
            _ => {}
        }
    }
    if data.is_empty() && !has_id && event.retry.is_none() {
        return None;
    }
    event.data = data.join(&b'\n').into();
    Some(Found::Event(event))
}

/// Returns what the message in the data lines is. Blanks make no difference but
/// within an id that has a line break, which is not JSON.
fn addressed(lines: &[&[u8]]) -> Addressed {
    let data: Vec<u8> = lines
        .iter()
        .filter_map(|line| line.strip_prefix(b"data:"))
        .flat_map(|data| [data, b"\n"].concat())
        .collect();
    let found = Members::of(&data);
    let Some(id) = found.id.as_deref().and_then(RequestId::found) else {
        return Addressed::Nobody;
    };
    match (found.method.is_some(), found.answers) {
        (true, _) => Addressed::Request(id),
        (false, true) => Addressed::Answer(id),
        (false, false) => Addressed::Nobody,
    }
}
