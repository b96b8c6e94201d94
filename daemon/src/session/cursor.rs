//! How far one event stream has been read, and what it said about coming back.
//! One value a stream: a cursor of one means nothing to another (2025-11-25,
//! Transports > Resumability and Redelivery).

use std::time::Duration;

use super::reconnect::Reconnect;
use crate::upstream::headers::can_be_resumed_from;

/// The place in one stream.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    last_event: Option<String>,
    retry: Option<Duration>,
    /// Whether an event has come since the last word to the delays.
    moved: bool,
}

impl Cursor {
    /// Takes in what an event says of the stream.
    pub(super) fn note(&mut self, id: Option<String>, retry: Option<Duration>) {
        self.moved = true;
        self.retry = retry.or(self.retry);
        if id.is_some() {
            // An id that no header can carry leaves no place to go on from.
            self.last_event = id.filter(|id| can_be_resumed_from(id));
        }
    }

    /// Returns the id to go on after.
    pub(super) fn last_event(&self) -> Option<&str> {
        self.last_event.as_deref()
    }

    /// Tells the delays of a stream that has ended after living this long.
    pub(super) fn tell(&mut self, reconnect: &mut Reconnect, lived: Duration) {
        if let Some(retry) = self.retry.take() {
            reconnect.asked(retry);
        }
        reconnect.had_stream(std::mem::take(&mut self.moved), lived);
    }
}
