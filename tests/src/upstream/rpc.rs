//! Reads JSON-RPC messages without changing a byte of what matters.
//!
//! The fake has to give an id back exactly as it came, so ids and params stay
//! raw text. Knows no HTTP.

use serde::Deserialize;
use serde_json::value::RawValue;

/// One JSON-RPC message, its parts as raw text.
#[derive(Debug, Deserialize)]
pub struct Rpc {
    /// The id, quotes included.
    pub id: Option<Box<RawValue>>,
    /// The method; absent in a response.
    pub method: Option<String>,
    /// The params.
    pub params: Option<Box<RawValue>>,
}

impl Rpc {
    /// Reads a message; `None` if it is not a JSON object.
    pub fn parse(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }

    /// Returns the method, or an empty string.
    pub fn method(&self) -> &str {
        self.method.as_deref().unwrap_or_default()
    }

    /// Returns the id's text, or `null`.
    pub fn id(&self) -> &str {
        self.id.as_deref().map_or("null", RawValue::get)
    }

    /// Returns the value at `pointer` in the params (RFC 6901), or null.
    pub fn param(&self, pointer: &str) -> serde_json::Value {
        let params = self.params.as_deref().map_or("null", RawValue::get);
        let params: serde_json::Value = serde_json::from_str(params).unwrap_or_default();
        params.pointer(pointer).cloned().unwrap_or_default()
    }

    /// Writes the response that carries `result`, raw JSON.
    pub fn result(&self, result: &str) -> String {
        format!(
            r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#,
            self.id()
        )
    }

    /// Writes the response that carries an error.
    pub fn error(&self, code: i32, message: &str) -> String {
        let id = self.id();
        format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"{message}"}}}}"#)
    }
}

/// Writes the result of a tool that says `text`.
pub fn text_result(text: &str) -> String {
    let text = serde_json::Value::from(text);
    format!(r#"{{"content":[{{"type":"text","text":{text}}}]}}"#)
}
