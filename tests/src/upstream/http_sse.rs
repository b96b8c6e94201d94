//! A well-behaved HTTP+SSE server (2024-11-05): one GET stream is the session.
//!
//! The stream opens with an `endpoint` event; messages are POSTed there and
//! every answer comes on the stream.

use std::sync::Arc;

use super::rpc::Rpc;
use super::{Reply, Request, Session, Shared, get, mcp, tools};

const MESSAGES: &str = "/messages?session=";

/// Answers one HTTP request; a POST to the SSE endpoint gets `refusal`.
pub(super) fn reply(shared: &Arc<Shared>, request: &Request, refusal: u16) -> Reply {
    match request.method.as_str() {
        "GET" => open(shared, request),
        "POST" => match request.target.strip_prefix(MESSAGES) {
            Some(session) => post(shared, request, session),
            None => Reply::status(refusal),
        },
        _ => Reply::status(405),
    }
}

fn open(shared: &Arc<Shared>, request: &Request) -> Reply {
    get::check(shared, request);
    let session = shared.state.update(|state| {
        state.sessions_made += 1;
        let id = format!("stream-{}", state.sessions_made);
        state.sessions.insert(id.clone(), Session::default());
        id
    });
    let endpoint = format!("event: endpoint\ndata: {MESSAGES}{session}\n\n");
    get::stream(shared, session, Some(endpoint))
}

fn post(shared: &Arc<Shared>, request: &Request, session: &str) -> Reply {
    let Some(rpc) = Rpc::parse(&request.body) else {
        shared.complain(format!("a POST without a JSON object: {request:?}"));
        return Reply::status(400);
    };
    if !shared
        .state
        .look(|state| state.sessions.contains_key(session))
    {
        return Reply::status(404);
    }
    if rpc.method.is_none() {
        shared.state.update(|state| {
            state
                .answers
                .insert(rpc.id().to_owned(), request.body.clone())
        });
    } else if rpc.id.is_none() {
        mcp::notification(shared, session, &rpc);
    } else {
        work(shared, session.to_owned(), rpc);
    }
    Reply::body(202, "text/plain", "Accepted")
}

/// Answers on the stream, in a thread: the POST is answered at once.
fn work(shared: &Arc<Shared>, session: String, rpc: Rpc) {
    let shared = shared.clone();
    std::thread::spawn(move || {
        let mut say = |message: &str| {
            shared.state.update(|state| {
                if let Some(session) = state.sessions.get_mut(&session) {
                    session.queue.push_back(message.into());
                }
            });
            Ok(())
        };
        let response = match rpc.method() {
            "initialize" => Ok(Some(rpc.result(&mcp::initialize_result("2024-11-05")))),
            _ => {
                mcp::begin(&shared, &session, &rpc);
                tools::run(&shared, &session, &rpc, &mut say)
            }
        };
        if let Ok(Some(response)) = response {
            drop(say(&response));
        }
    });
}
