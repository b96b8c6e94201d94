//! The stream that a session's GET opens: what the server says unasked.
//!
//! One thread a stream, which waits on the fake's state; it ends with the
//! session, with `cut_streams`, or with the fake.

use std::sync::Arc;

use super::{Reply, Request, Shared};

enum Next {
    Message(Vec<u8>),
    End,
}

/// Checks what a GET has to say.
pub(super) fn check(shared: &Shared, request: &Request) {
    let accept = request.header("Accept").unwrap_or_default();
    if !accept.contains("text/event-stream") {
        shared.complain(format!("GET came with Accept {accept:?}"));
    }
    if request.header("Cache-Control") != Some("no-cache") {
        shared.complain("GET came without Cache-Control: no-cache".to_owned());
    }
}

/// Opens the stream of `session`. `first` is sent before anything else; a stream
/// that has it is the session (HTTP+SSE), which ends with it.
pub(super) fn stream(shared: &Arc<Shared>, session: String, first: Option<String>) -> Reply {
    let shared = shared.clone();
    let cut = shared.state.look(|state| state.streams_cut);
    Reply::events(move |events| {
        if let Some(first) = &first {
            events.raw(first.as_bytes())?;
        }
        count(&shared, &session, |streams| streams + 1);
        let result = loop {
            let next = shared.state.wait(|state| {
                if state.down || state.streams_cut != cut {
                    return Some(Next::End);
                }
                match state.sessions.get_mut(&session) {
                    None => Some(Next::End),
                    Some(session) => session.queue.pop_front().map(Next::Message),
                }
            });
            match next {
                Next::Message(message) => {
                    if let Err(gone) = events.message(&message) {
                        break Err(gone);
                    }
                }
                Next::End => break Ok(()),
            }
        };
        count(&shared, &session, |streams| streams.saturating_sub(1));
        if first.is_some() {
            shared.state.update(|state| state.sessions.remove(&session));
        }
        result
    })
}

fn count(shared: &Shared, session: &str, change: impl FnOnce(usize) -> usize) {
    shared.state.update(|state| {
        if let Some(session) = state.sessions.get_mut(session) {
            session.streams = change(session.streams);
        }
    });
}
