//! What the fake server's tools do.
//!
//! `echo`, `session`, `hold`, `progress`, `ask`, `notify`, `vanish`, and
//! whatever a test put in with `FakeUpstream::answer`. Knows no HTTP: messages
//! that precede the response go through `say`.

use std::io;

use serde_json::Value;

use super::Shared;
use super::rpc::{Rpc, text_result};

/// Sends a message that is not the response.
pub(super) type Say<'a> = dyn FnMut(&str) -> io::Result<()> + 'a;

/// Says whether the tool needs a stream of events for its answer.
pub(super) fn speaks_meanwhile(rpc: &Rpc) -> bool {
    let tool = rpc.param("/name");
    ["progress", "ask", "notify", "vanish"]
        .iter()
        .any(|name| tool == *name)
}

/// Runs a request; returns its response, or nothing if there shall be none.
pub(super) fn run(
    shared: &Shared,
    session: &str,
    rpc: &Rpc,
    say: &mut Say<'_>,
) -> io::Result<Option<String>> {
    let tool = rpc.param("/name");
    let tool = tool.as_str().unwrap_or_default();
    let canned = shared.state.look(|state| {
        let canned = state
            .canned
            .get(rpc.method())
            .or_else(|| state.canned.get(tool));
        canned.cloned()
    });
    if let Some(result) = canned {
        return Ok(Some(rpc.result(&result)));
    }
    let response = match rpc.method() {
        "ping" | "logging/setLevel" | "resources/subscribe" | "resources/unsubscribe" => {
            rpc.result("{}")
        }
        "tools/list" => {
            rpc.result(r#"{"tools":[{"name":"echo","inputSchema":{"type":"object"}}]}"#)
        }
        "tools/call" => return call(shared, session, rpc, tool, say),
        _ => rpc.error(-32601, "Method not found"),
    };
    Ok(Some(response))
}

fn call(
    shared: &Shared,
    session: &str,
    rpc: &Rpc,
    tool: &str,
    say: &mut Say<'_>,
) -> io::Result<Option<String>> {
    let argument = |name: &str| rpc.param(&format!("/arguments/{name}"));
    let text = match tool {
        "echo" => argument("message").as_str().unwrap_or_default().to_owned(),
        "session" => session.to_owned(),
        "hold" => {
            let gate = argument("gate").as_str().unwrap_or_default().to_owned();
            if !hold(shared, &gate) {
                return Ok(None);
            }
            format!("held {gate}")
        }
        "progress" => {
            let token = rpc.param("/_meta/progressToken");
            for step in 1..=argument("steps").as_u64().unwrap_or(1) {
                say(&format!(
                    r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":{step}}}}}"#
                ))?;
            }
            "done".to_owned()
        }
        "ask" => match ask(shared, &argument("id"), &argument("method"), say)? {
            Some(answer) => answer,
            None => return Ok(None),
        },
        "notify" => {
            say(argument("message").as_str().unwrap_or_default())?;
            "notified".to_owned()
        }
        "vanish" => return Ok(None),
        _ => return Ok(Some(rpc.error(-32602, "Unknown tool"))),
    };
    Ok(Some(rpc.result(&text_result(&text))))
}

/// Waits for the gate; false if the fake ends first.
fn hold(shared: &Shared, gate: &str) -> bool {
    shared
        .state
        .update(|state| state.holding.insert(gate.to_owned()));
    shared.state.wait(|state| {
        let open = state.gates.contains(gate);
        (open || state.down).then_some(open)
    })
}

/// Asks the client and waits for its answer; none if the fake ends first.
fn ask(
    shared: &Shared,
    id: &Value,
    method: &Value,
    say: &mut Say<'_>,
) -> io::Result<Option<String>> {
    say(&format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":{method},"params":{{}}}}"#
    ))?;
    let id = id.to_string();
    Ok(shared.state.wait(|state| match state.answers.remove(&id) {
        Some(answer) => Some(Some(String::from_utf8_lossy(&answer).into_owned())),
        None => state.down.then_some(None),
    }))
}
