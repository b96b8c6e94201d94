//! What the tools do: each shows one way of a message between client and server.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, ErrorCode, ErrorData, ProgressNotificationParam,
    ServerRequest,
};
use rmcp::service::ServiceError;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{Context, model};

/// The name of every tool.
pub const NAMES: [&str; 16] = [
    "echo",
    "media",
    "fail",
    "refuse",
    "slow",
    "wait",
    "was_cancelled",
    "sample",
    "elicit",
    "elicit_url",
    "roots",
    "ping",
    "log",
    "touch",
    "change",
    "large",
];

const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/// What all sessions share.
#[derive(Debug, Default)]
pub struct Shared {
    subscribed: Mutex<BTreeMap<String, isize>>,
    cancelled: watch::Sender<BTreeSet<String>>,
}

impl Shared {
    /// Notes a subscription, or its end.
    pub fn subscribe(&self, uri: String, on: bool) {
        let mut subscribed = self
            .subscribed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *subscribed.entry(uri).or_default() += if on { 1 } else { -1 };
    }

    fn is_subscribed(&self, uri: &str) -> bool {
        let subscribed = self
            .subscribed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        subscribed.get(uri).is_some_and(|count| *count > 0)
    }
}

/// Runs a tool.
pub async fn call(
    shared: &Shared,
    request: CallToolRequestParams,
    context: Context,
) -> Result<CallToolResponse, ErrorData> {
    let arguments = Value::Object(request.arguments.unwrap_or_default());
    let result = match request.name.as_ref() {
        "echo" => {
            let mut result = text(&arguments.to_string());
            result["structuredContent"] = arguments;
            result
        }
        "media" => media(),
        "fail" => json!({ "content": [{ "type": "text", "text": "it failed" }], "isError": true }),
        "refuse" => {
            let data = json!({ "null": null, "big": u64::MAX, "list": [1, 1.0, "1"] });
            return Err(ErrorData::new(
                ErrorCode(-31999),
                "refused \u{2028} é",
                Some(data),
            ));
        }
        "slow" => slow(&context, &arguments).await?,
        "wait" => wait(shared, &context, &arguments).await?,
        "was_cancelled" => was_cancelled(shared, &arguments).await?,
        "sample" | "elicit" | "elicit_url" | "roots" | "ping" => {
            text(&ask(&request.name, &context, &arguments).await?.to_string())
        }
        "log" | "touch" | "change" => tell(shared, &request.name, &context, &arguments).await?,
        "large" => {
            let bytes = arguments["bytes"]
                .as_u64()
                .and_then(|bytes| usize::try_from(bytes).ok());
            text(&"漢x".repeat(bytes.unwrap_or(0) / 4))
        }
        name => {
            return Err(ErrorData::invalid_params(
                format!("Unknown tool: {name}"),
                None,
            ));
        }
    };
    Ok(CallToolResponse::Complete(model(result)))
}

fn text(text: &str) -> Value {
    json!({ "content": [{ "type": "text", "text": text }] })
}

fn media() -> Value {
    let text = "é \u{2028} \u{1f600}";
    json!({
        "content": [
            { "type": "image", "data": PIXEL, "mimeType": "image/png" },
            { "type": "audio", "data": "UklGRg==", "mimeType": "audio/wav" },
            { "type": "resource_link", "name": "zero", "uri": "test://resource/0" },
            { "type": "resource", "resource": { "uri": "test://resource/1", "text": text } },
        ],
        "_meta": { "vendor.example/field": { "null": null, "big": 9_223_372_036_854_775_809_u64 } },
    })
}

async fn progress(
    context: &Context,
    progress: u64,
    total: Option<u64>,
    message: &str,
) -> Result<(), ErrorData> {
    let Some(token) = context.meta.get_progress_token() else {
        return Ok(());
    };
    let mut params = json!({ "progressToken": token, "progress": progress, "message": message });
    if let Some(total) = total {
        params["total"] = total.into();
    }
    let params: ProgressNotificationParam = model(params);
    context.peer.notify_progress(params).await.map_err(broken)
}

async fn slow(context: &Context, arguments: &Value) -> Result<Value, ErrorData> {
    let steps = arguments["steps"].as_u64().unwrap_or(3);
    for step in 1..=steps {
        tokio::time::sleep(Duration::from_millis(
            arguments["ms"].as_u64().unwrap_or(20),
        ))
        .await;
        progress(context, step, Some(steps), &format!("step {step}")).await?;
    }
    Ok(text(&format!("{steps} steps")))
}

async fn wait(shared: &Shared, context: &Context, arguments: &Value) -> Result<Value, ErrorData> {
    progress(context, 1, None, "waiting").await?;
    let cancelled = tokio::time::timeout(Duration::from_secs(60), context.ct.cancelled()).await;
    if cancelled.is_err() {
        return Ok(text("nobody cancelled"));
    }
    let key = arguments["key"].as_str().unwrap_or_default().to_owned();
    shared.cancelled.send_modify(|keys| {
        keys.insert(key);
    });
    Ok(text("cancelled"))
}

async fn was_cancelled(shared: &Shared, arguments: &Value) -> Result<Value, ErrorData> {
    let key = arguments["key"].as_str().unwrap_or_default();
    let mut keys = shared.cancelled.subscribe();
    let found = keys.wait_for(|keys| keys.contains(key));
    match tokio::time::timeout(Duration::from_secs(10), found).await {
        Ok(Ok(_)) => Ok(text("cancelled")),
        _ => Err(ErrorData::internal_error("nobody cancelled", None)),
    }
}

/// Asks the client; its answer as JSON.
#[expect(
    deprecated,
    reason = "sampling and roots are what the suites are about"
)]
async fn ask(what: &str, context: &Context, arguments: &Value) -> Result<Value, ErrorData> {
    let peer = &context.peer;
    let answer = match what {
        "sample" => {
            let content = json!({ "type": "text", "text": arguments["prompt"] });
            let messages = json!([{ "role": "user", "content": content }]);
            let params = model(json!({ "messages": messages, "maxTokens": 7 }));
            json!(peer.create_message(params).await.map_err(broken)?)
        }
        "elicit" => {
            let schema = json!({ "type": "object", "properties": { "colour": { "type": "string" } }, "required": ["colour"] });
            let params =
                json!({ "mode": "form", "message": "Which colour?", "requestedSchema": schema });
            json!(
                peer.create_elicitation(model(params))
                    .await
                    .map_err(broken)?
            )
        }
        "elicit_url" => {
            let params = json!({ "mode": "url", "message": "Please look", "url": "https://example.com/x?y=1", "elicitationId": "e-1" });
            json!(
                peer.create_elicitation(model(params))
                    .await
                    .map_err(broken)?
            )
        }
        "roots" => json!(peer.list_roots().await.map_err(broken)?),
        _ => {
            let ping = ServerRequest::PingRequest(Default::default());
            json!(peer.send_request(ping).await.map_err(broken)?)
        }
    };
    Ok(answer)
}

/// Notifies the client.
async fn tell(
    shared: &Shared,
    what: &str,
    context: &Context,
    arguments: &Value,
) -> Result<Value, ErrorData> {
    let peer = &context.peer;
    match what {
        "log" => {
            let data = json!({ "where": "beside the call", "null": null });
            let params = json!({ "level": "warning", "logger": "a logger", "data": data });
            peer.notify_logging_message(model(params))
                .await
                .map_err(broken)?;
            Ok(text("logged"))
        }
        "touch" => {
            if arguments["uri"]
                .as_str()
                .is_some_and(|uri| shared.is_subscribed(uri))
            {
                let params = model(json!({ "uri": arguments["uri"] }));
                peer.notify_resource_updated(params).await.map_err(broken)?;
            }
            Ok(text("touched"))
        }
        _ => {
            peer.notify_tool_list_changed().await.map_err(broken)?;
            peer.notify_prompt_list_changed().await.map_err(broken)?;
            peer.notify_resource_list_changed().await.map_err(broken)?;
            Ok(text("changed"))
        }
    }
}

/// A failure on the way to the client, or the client's own error.
fn broken(error: ServiceError) -> ErrorData {
    ErrorData::internal_error(error.to_string(), None)
}
