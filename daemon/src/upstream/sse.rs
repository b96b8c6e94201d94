//! The events of a response (HTML Living Standard, 9.2 Server-sent events).
//!
//! [`Decoder`] turns bytes into events; this module feeds it from a response and
//! says what its findings mean. No event costs more memory than the limit.

mod decoder;

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;

pub(crate) use self::decoder::Addressed;
use self::decoder::{Decoder, Found};
use super::UpstreamError;
use crate::http::Response;

/// One event of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StreamEvent {
    /// An event with its type, data, and what it says about the stream.
    Event {
        name: Cow<'static, str>,
        data: Bytes,
        id: Option<String>,
        retry: Option<Duration>,
    },
    /// An event that cannot be passed on was skipped.
    Skipped {
        message: Addressed,
        why: UpstreamError,
    },
}

/// The events of one response.
pub(crate) struct EventStream(Box<Reading>);

struct Reading {
    response: Response,
    decoder: Decoder,
    limit: usize,
    ended: bool,
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventStream").finish_non_exhaustive()
    }
}

impl EventStream {
    /// Decodes the body of a response; no event may have more than `limit` bytes.
    pub(crate) fn new(response: Response, limit: usize) -> Self {
        Self(Box::new(Reading {
            response,
            decoder: Decoder::new(limit),
            limit,
            ended: false,
        }))
    }

    /// Returns the next event; `None` at the end of the stream. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Result<StreamEvent, UpstreamError>> {
        let reading = &mut *self.0;
        while !reading.ended {
            match reading.decoder.next() {
                Some(Found::Event(event)) => {
                    return Some(Ok(StreamEvent::Event {
                        name: event.name,
                        data: event.data,
                        id: event.id,
                        retry: event.retry,
                    }));
                }
                Some(Found::Oversized(message)) => {
                    let why = UpstreamError::TooLarge(reading.limit);
                    return Some(Ok(StreamEvent::Skipped { message, why }));
                }
                Some(Found::Endless) => {
                    reading.ended = true;
                    return Some(Err(UpstreamError::TooLarge(reading.limit)));
                }
                None => {}
            }
            match reading.response.chunk().await {
                Ok(Some(chunk)) => reading.decoder.push(chunk),
                Ok(None) => reading.ended = true,
                Err(error) => {
                    reading.ended = true;
                    return Some(Err(error.into()));
                }
            }
        }
        None
    }
}
