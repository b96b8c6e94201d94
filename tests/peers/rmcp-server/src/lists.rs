//! What the server lists: tools, resources, prompts, page by page.

use rmcp::model::{
    ErrorCode, ErrorData, GetPromptResponse, PaginatedRequestParams, ReadResourceResponse,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::model;
use crate::tools::NAMES;

const PAGE: usize = 5;

/// One page of a list that goes under `name` in the result.
pub fn page<T: DeserializeOwned>(
    name: &str,
    items: Vec<Value>,
    request: Option<PaginatedRequestParams>,
) -> T {
    let cursor = request.and_then(|request| request.cursor);
    let start: usize = cursor.and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
    let end = items.len().min(start + PAGE);
    let mut result = json!({ name: items[start..end] });
    if end < items.len() {
        result["nextCursor"] = end.to_string().into();
    }
    model(result)
}

/// Every tool.
pub fn tools() -> Vec<Value> {
    let tool = |name: &&str| {
        json!({
            "name": name,
            "description": format!("The tool {name}."),
            "inputSchema": { "type": "object", "additionalProperties": true },
            "annotations": { "readOnlyHint": *name == "echo" },
            "_meta": { "vendor.example/number": 9_007_199_254_740_993_u64 },
        })
    };
    NAMES.iter().map(tool).collect()
}

/// Every resource.
pub fn resources() -> Vec<Value> {
    let resource = |n| {
        json!({
            "name": format!("{n}"),
            "uri": format!("test://resource/{n}"),
            "mimeType": "text/plain",
        })
    };
    (0..7).map(resource).collect()
}

/// The content of a resource.
pub fn read(uri: &str) -> Result<ReadResourceResponse, ErrorData> {
    if !resources().iter().any(|resource| resource["uri"] == uri) {
        let data = json!({ "uri": uri });
        return Err(ErrorData::new(
            ErrorCode(-32002),
            "Resource not found",
            Some(data),
        ));
    }
    let text = format!("This is {uri}");
    let contents = json!({ "contents": [{ "uri": uri, "text": text }] });
    Ok(ReadResourceResponse::Complete(model(contents)))
}

/// A prompt, filled in.
pub fn prompt(request: &Value) -> Result<GetPromptResponse, ErrorData> {
    if request["name"] != "weather" {
        return Err(ErrorData::invalid_params("Unknown prompt", None));
    }
    let city = request["arguments"]["city"].as_str().unwrap_or_default();
    let text = format!("The weather in {city}?");
    let message = json!({ "role": "user", "content": { "type": "text", "text": text } });
    Ok(GetPromptResponse::Complete(model(
        json!({ "messages": [message] }),
    )))
}
