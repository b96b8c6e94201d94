//! Writes the little JSON that the shim says itself.
//!
//! Reads none: a message is bytes. An `id` goes back exactly as it came.

use std::fmt::Write;

use bytes::Bytes;

/// JSON-RPC: the message is not a valid request.
const INVALID_REQUEST: i32 = -32600;

/// The code of every error that is ours and not the server's.
const BRIDGE_ERROR: i32 = -32001;

/// An object that is being written.
pub(crate) struct Object(String);

impl Object {
    /// Begins an object.
    pub(crate) fn new() -> Self {
        Self(String::from("{"))
    }

    /// Adds a member whose value is JSON already.
    pub(crate) fn raw(mut self, name: &str, json: &str) -> Self {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        push_string(&mut self.0, name);
        self.0.push(':');
        self.0.push_str(json);
        self
    }

    /// Adds a string.
    pub(crate) fn string(self, name: &str, text: &str) -> Self {
        let mut json = String::with_capacity(text.len() + 2);
        push_string(&mut json, text);
        self.raw(name, &json)
    }

    /// Adds a whole number.
    pub(crate) fn number(self, name: &str, number: u64) -> Self {
        self.raw(name, &number.to_string())
    }

    /// Adds a whole number, or `null`.
    pub(crate) fn optional_number(self, name: &str, number: Option<u64>) -> Self {
        match number {
            Some(number) => self.number(name, number),
            None => self.raw(name, "null"),
        }
    }

    /// Ends the object.
    pub(crate) fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// Writes an array of values that are JSON already.
pub(crate) fn array(values: impl IntoIterator<Item = String>) -> String {
    let values: Vec<String> = values.into_iter().collect();
    format!("[{}]", values.join(","))
}

/// Writes a string with its quotes.
pub(crate) fn string(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    push_string(&mut json, text);
    json
}

/// Writes text as it stands inside a string, without the quotes.
pub(crate) fn inside_string(text: &str) -> String {
    let mut json = String::with_capacity(text.len());
    push_escaped(&mut json, text);
    json
}

fn push_string(json: &mut String, text: &str) {
    json.push('"');
    push_escaped(json, text);
    json.push('"');
}

fn push_escaped(json: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            control if control < ' ' || control == '\u{7f}' => {
                write!(json, "\\u{:04x}", u32::from(control))
                    .expect("writing to a string cannot fail");
            }
            other => json.push(other),
        }
    }
}

/// Answers a line that is longer than a message may be.
pub(crate) fn oversized(id: Option<&[u8]>, limit: usize) -> Bytes {
    let message = format!("mcp-remote: the message is longer than {limit} bytes");
    error(id, INVALID_REQUEST, &message, None)
}

/// Why a request has no answer from its server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault<'a> {
    /// One sentence for the user.
    pub(crate) sentence: &'a str,
    /// What was seen, for programs and logs.
    pub(crate) cause: &'a str,
    /// Whether the server may have carried it out.
    pub(crate) maybe_executed: bool,
    /// The server's URL, without secrets.
    pub(crate) server: &'a str,
}

/// Answers a request whose answer will never come.
pub(crate) fn fault(id: &[u8], fault: Fault<'_>) -> Bytes {
    let data = Object::new()
        .string("cause", fault.cause)
        .raw(
            "maybeExecuted",
            if fault.maybe_executed {
                "true"
            } else {
                "false"
            },
        )
        .string("server", fault.server)
        .end();
    let message = format!("mcp-remote: {}", fault.sentence);
    error(Some(id), BRIDGE_ERROR, &message, Some(&data))
}

fn error(id: Option<&[u8]>, code: i32, message: &str, data: Option<&str>) -> Bytes {
    let mut error = Object::new()
        .raw("code", &code.to_string())
        .string("message", message);
    if let Some(data) = data {
        error = error.raw("data", data);
    }
    let id = id.map_or("null".into(), String::from_utf8_lossy);
    let reply = Object::new()
        .string("jsonrpc", "2.0")
        .raw("id", &id)
        .raw("error", &error.end());
    reply.end().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped() {
        assert_eq!(
            string("a\"b\\c\n\u{1}\u{7f}é"),
            "\"a\\\"b\\\\c\\n\\u0001\\u007fé\""
        );
        assert_eq!(string(""), "\"\"");
    }

    #[test]
    fn an_oversized_line_is_answered_with_its_id_or_null() {
        assert_eq!(
            oversized(Some(b"\"a\""), 8),
            "{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"error\":{\"code\":-32600,\
             \"message\":\"mcp-remote: the message is longer than 8 bytes\"}}"
        );
        assert!(oversized(None, 8).starts_with(b"{\"jsonrpc\":\"2.0\",\"id\":null,"));
    }

    #[test]
    fn a_fault_says_what_programs_need() {
        let fault = fault(
            b"9007199254740993",
            Fault {
                sentence: "the daemon went away",
                cause: "connection reset",
                maybe_executed: true,
                server: "https://h/mcp",
            },
        );
        assert_eq!(
            fault,
            "{\"jsonrpc\":\"2.0\",\"id\":9007199254740993,\"error\":{\"code\":-32001,\
             \"message\":\"mcp-remote: the daemon went away\",\"data\":{\"cause\":\
             \"connection reset\",\"maybeExecuted\":true,\"server\":\"https://h/mcp\"}}}"
        );
    }

    #[test]
    fn arrays_and_missing_numbers() {
        assert_eq!(array([string("a"), "1".into()]), "[\"a\",1]");
        assert_eq!(array([]), "[]");
        assert_eq!(
            Object::new().optional_number("n", None).end(),
            "{\"n\":null}"
        );
    }
}
