//! A well-behaved Streamable HTTP server (2025-03-26 to 2025-11-25).
//!
//! Keeps sessions and checks what the specification demands of the client;
//! knows nothing of sockets. What the tools do stands in `tools`.

use std::sync::Arc;

use super::rpc::Rpc;
use super::{Refusal, Replies, Reply, Request, Session, Shared, get, tools};

const SESSION_ID: &str = "Mcp-Session-Id";
const VERSIONS: [&str; 3] = ["2025-03-26", "2025-06-18", "2025-11-25"];

/// Answers one HTTP request.
pub(super) fn reply(shared: &Arc<Shared>, request: &Request) -> Reply {
    match request.method.as_str() {
        "POST" => post(shared, request),
        "GET" => stream(shared, request),
        "DELETE" => delete(shared, request),
        _ => Reply::status(405),
    }
}

/// Writes the result of `initialize` for a client that asks for `asked`.
pub(super) fn initialize_result(version: &str) -> String {
    format!(
        r#"{{"protocolVersion":"{version}","capabilities":{{"tools":{{"listChanged":true}},"logging":{{}},"resources":{{"subscribe":true}}}},"serverInfo":{{"name":"fake-upstream","version":"1.2.3"}}}}"#
    )
}

fn post(shared: &Arc<Shared>, request: &Request) -> Reply {
    let Some(rpc) = Rpc::parse(&request.body) else {
        shared.complain(format!("a POST without a JSON object: {request:?}"));
        return Reply::status(400);
    };
    let accept = request.header("Accept").unwrap_or_default();
    if !(accept.contains("application/json") && accept.contains("text/event-stream")) {
        shared.complain(format!(
            "{} came with Accept {accept:?}",
            super::label(request)
        ));
    }
    if request.header("Content-Type") != Some("application/json") {
        shared.complain(format!("{} is not application/json", super::label(request)));
    }
    if rpc.method() == "initialize" {
        return initialize(shared, request, &rpc);
    }
    let session = match find(shared, request) {
        Ok(session) => session,
        Err(refusal) => return refusal,
    };
    if rpc.method.is_none() {
        shared.state.update(|state| {
            state
                .answers
                .insert(rpc.id().to_owned(), request.body.clone())
        });
        return Reply::status(202);
    }
    if rpc.id.is_none() {
        notification(shared, &session, &rpc);
        return Reply::status(202);
    }
    begin(shared, &session, &rpc);
    answer(shared, session, rpc)
}

fn initialize(shared: &Shared, request: &Request, rpc: &Rpc) -> Reply {
    if let Some(id) = request.header(SESSION_ID) {
        shared.complain(format!("initialize came with the session id {id}"));
    }
    let asked = rpc.param("/protocolVersion");
    let version = VERSIONS
        .into_iter()
        .find(|version| asked == *version)
        .unwrap_or("2025-11-25");
    let canned = shared
        .state
        .look(|state| state.canned.get("initialize").cloned());
    let result = canned.unwrap_or_else(|| initialize_result(version));
    let agreed: serde_json::Value = serde_json::from_str(&result).unwrap_or_default();
    let session = Session {
        version: agreed["protocolVersion"]
            .as_str()
            .unwrap_or(version)
            .to_owned(),
        ..Session::default()
    };
    let id = shared.state.update(|state| {
        state.sessions_made += 1;
        let id = match shared.config.sessions {
            true => format!("session-{}", state.sessions_made),
            false => String::new(),
        };
        state.sessions.insert(id.clone(), session);
        id
    });
    let response = rpc.result(&result);
    let reply = match shared.config.replies {
        Replies::Json => Reply::json(200, response),
        Replies::Events => Reply::events(move |events| events.message(&response)),
    };
    match id.is_empty() {
        true => reply,
        false => reply.with(SESSION_ID, &id),
    }
}

/// Finds the session of a request, and checks the headers that go with it.
fn find(shared: &Shared, request: &Request) -> Result<String, Reply> {
    let label = super::label(request);
    let id = request.header(SESSION_ID).unwrap_or_default().to_owned();
    if id.is_empty() && shared.config.sessions {
        // A GET may be a client looking for HTTP+SSE.
        if request.method != "GET" {
            shared.complain(format!("{label} came without a session id"));
        }
        return Err(Reply::status(400));
    }
    let version = shared.state.look(|state| {
        let session = state.sessions.get(&id);
        session
            .map(|session| session.version.clone())
            .ok_or(state.refusal)
    });
    match version {
        Ok(version) => {
            let sent = request.header("MCP-Protocol-Version");
            if version.as_str() > "2025-03-26" && sent != Some(&version) {
                shared.complain(format!(
                    "{label} came with MCP-Protocol-Version {sent:?} after {version} was agreed"
                ));
            }
            Ok(id)
        }
        Err(Refusal::NotFound) => Err(Reply::json(
            404,
            r#"{"jsonrpc":"2.0","error":{"code":-32001,"message":"Session not found"},"id":null}"#,
        )),
        Err(Refusal::BadRequest) => Err(Reply::json(
            400,
            r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: No valid session ID provided"},"id":null}"#,
        )),
    }
}

/// Notes a notification of the client.
pub(super) fn notification(shared: &Shared, session: &str, rpc: &Rpc) {
    shared.state.update(|state| {
        let Some(session) = state.sessions.get_mut(session) else {
            return;
        };
        match rpc.method() {
            "notifications/initialized" => session.initialized = true,
            "notifications/cancelled" if shared.config.sessions => {
                let id = rpc.param("/requestId").to_string();
                // The request may have arrived on another connection just now.
                let arrived =
                    |request: &Request| Rpc::parse(&request.body).is_some_and(|rpc| rpc.id() == id);
                if !session.ids.contains(&id) && !state.requests.iter().any(arrived) {
                    let complaint = format!("{id} was cancelled and never asked");
                    state.complaints.push(complaint);
                }
            }
            _ => {}
        }
    });
}

/// Notes a request of the client, and whether it may come now with that id.
pub(super) fn begin(shared: &Shared, session: &str, rpc: &Rpc) {
    let id = rpc.id();
    let method = rpc.method();
    shared.state.update(|state| {
        let Some(session) = state.sessions.get_mut(session) else {
            return;
        };
        let mut complaints = Vec::new();
        // Without session ids every client shares what the fake calls a session.
        if shared.config.sessions {
            if !session.ids.insert(id.to_owned()) {
                complaints.push(format!("{method} used the id {id} a second time"));
            }
            if !session.initialized && method != "ping" {
                complaints.push(format!("{method} came before notifications/initialized"));
            }
        }
        state.complaints.append(&mut complaints);
    });
}

fn answer(shared: &Arc<Shared>, session: String, rpc: Rpc) -> Reply {
    if shared.config.replies == Replies::Json && !tools::speaks_meanwhile(&rpc) {
        return match tools::run(shared, &session, &rpc, &mut |_| Ok(())) {
            Ok(Some(response)) => Reply::json(200, response),
            // Nothing sensible can be said any more: the connection ends.
            Ok(None) | Err(_) => Reply::raw(|_| Ok(())),
        };
    }
    let shared = shared.clone();
    Reply::events(move |events| {
        let response = tools::run(&shared, &session, &rpc, &mut |message| {
            events.message(message)
        })?;
        match response {
            Some(response) => events.message(&response),
            None => Ok(()),
        }
    })
}

fn stream(shared: &Arc<Shared>, request: &Request) -> Reply {
    get::check(shared, request);
    if !shared.config.get_stream {
        return Reply::status(405);
    }
    match find(shared, request) {
        Ok(session) => get::stream(shared, session, None),
        Err(refusal) => refusal,
    }
}

fn delete(shared: &Shared, request: &Request) -> Reply {
    match find(shared, request) {
        Ok(session) => {
            shared.state.update(|state| state.sessions.remove(&session));
            Reply::status(200)
        }
        Err(refusal) => refusal,
    }
}
