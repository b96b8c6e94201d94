//! JSON-RPC 2.0 envelopes: what a message is, and the places of the few values
//! that a relay may replace. The bytes are kept as they came; no I/O.

use std::borrow::Cow;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use mcp_remote_proto::members;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A request id as JSON text, so that `1`, `"1"` and `12345678901234567890` stay
/// what they are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct RequestId(Box<str>);

impl RequestId {
    /// Returns the JSON text.
    pub(crate) fn as_json(&self) -> &str {
        &self.0
    }

    /// Returns the response that nothing but its coming is wanted of, as to a ping.
    pub(crate) fn empty_result(&self) -> Bytes {
        format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}"#, self.0).into()
    }

    /// Takes the bytes that a scan found.
    pub(crate) fn found(text: &[u8]) -> Option<Self> {
        std::str::from_utf8(text).ok().map(Self::from_json)
    }

    /// Takes JSON text that is known to be a string or a number.
    pub(crate) fn from_json(text: &str) -> Self {
        Self(text.into())
    }
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Has a method and an id.
    Request,
    /// Has a method and no id.
    Notification,
    /// Has a result or an error.
    Response,
}

/// Why bytes are no JSON-RPC message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParseError {
    /// JSON-RPC -32700.
    #[error("not valid JSON: {0}")]
    NotJson(String),
    /// JSON-RPC -32600.
    #[error("not a JSON-RPC message: {0}")]
    Invalid(&'static str),
}

/// Bytes that are no message, and why.
#[derive(Debug)]
pub(crate) struct Unusable {
    bytes: Bytes,
    /// Why.
    pub(crate) error: ParseError,
}

impl Unusable {
    /// Says whether it is all of what was read, not an element of it.
    pub(crate) fn is_all_of(&self, read: &[u8]) -> bool {
        self.bytes.len() == read.len()
    }

    /// Returns the id of the request that it was meant to be, as far as one can
    /// be found.
    pub(crate) fn request_id(&self) -> Option<RequestId> {
        members::Members::of(&self.bytes)
            .request_id()
            .and_then(RequestId::found)
    }

    /// Returns the id of the request that it was meant to answer.
    pub(crate) fn response_id(&self) -> Option<RequestId> {
        members::Members::of(&self.bytes)
            .response_id()
            .and_then(RequestId::found)
    }
}

/// One message: its bytes, and where its parts stand in them.
#[derive(Debug, Clone)]
pub(crate) struct Envelope {
    bytes: Bytes,
    kind: Kind,
    method: Option<Box<str>>,
    id: Option<Range<usize>>,
    params: Option<Range<usize>>,
    is_error: bool,
}

#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    error: Option<&'a RawValue>,
}

/// A member that is there, be it null.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl Envelope {
    /// Reads one message.
    pub(crate) fn parse(bytes: Bytes) -> Result<Self, ParseError> {
        // A member that is not looked at has to be UTF-8 too: it is passed on.
        let text =
            std::str::from_utf8(&bytes).map_err(|error| ParseError::NotJson(error.to_string()))?;
        let members: Members<'_> = match serde_json::from_str(text) {
            Ok(members) if is_object(text) => members,
            Ok(_) => return Err(ParseError::Invalid("an array within an array")),
            Err(error) => return Err(why_not(&bytes, &error)),
        };
        let id = members
            .id
            .filter(|id| matches!(id.get().as_bytes()[0], b'"' | b'-' | b'0'..=b'9'));
        let null_id = id.is_none() && members.id.is_some();
        let kind = match (&members.method, id) {
            (Some(_), Some(_)) => Kind::Request,
            (Some(_), None) if null_id => {
                return Err(ParseError::Invalid("the id is not a string or a number"));
            }
            (Some(_), None) => Kind::Notification,
            (None, _) if members.result.is_some() || members.error.is_some() => Kind::Response,
            (None, _) => return Err(ParseError::Invalid("no method, result or error")),
        };
        let id = id.map(|id| place(&bytes, id));
        let params = members.params.map(|params| place(&bytes, params));
        let (is_error, method) = (
            members.error.is_some(),
            members.method.map(|method| method.into()),
        );
        Ok(Self {
            kind,
            method,
            id,
            params,
            is_error,
            bytes,
        })
    }

    /// Reads a message or, in revision 2025-03-26, each of an array of them (Base
    /// Protocol > Batching). What is no message keeps its bytes.
    pub(crate) fn parse_all(bytes: Bytes) -> Vec<Result<Self, Unusable>> {
        let parse =
            |bytes: Bytes| Self::parse(bytes.clone()).map_err(|error| Unusable { bytes, error });
        if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'[') {
            return vec![parse(bytes)];
        }
        match serde_json::from_slice::<Vec<&RawValue>>(&bytes) {
            Ok(parts) if parts.is_empty() => {
                let error = ParseError::Invalid("an empty array");
                vec![Err(Unusable { bytes, error })]
            }
            Ok(parts) => {
                let places: Vec<_> = parts.into_iter().map(|part| place(&bytes, part)).collect();
                places
                    .into_iter()
                    .map(|place| parse(bytes.slice(place)))
                    .collect()
            }
            Err(error) => {
                let error = ParseError::NotJson(error.to_string());
                vec![Err(Unusable { bytes, error })]
            }
        }
    }

    /// Returns what the message is.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the method of a request or a notification.
    pub(crate) fn method(&self) -> Option<&str> {
        self.method.as_deref()
    }

    /// Returns the id; a response to something unreadable has none.
    pub(crate) fn id(&self) -> Option<RequestId> {
        self.id
            .clone()
            .map(|range| RequestId(self.text(range).into()))
    }

    /// Says whether this is an error response.
    pub(crate) fn is_error(&self) -> bool {
        self.is_error
    }

    /// Returns the message as it came.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Decodes the parts of `params` that `T` names; none if they do not fit.
    pub(crate) fn params<'a, T: Deserialize<'a>>(&'a self) -> Option<T> {
        read_object(self.text(self.params.clone()?))
    }

    /// Returns the text of `params`.
    pub(crate) fn params_text(&self) -> Option<&str> {
        Some(self.text(self.params.clone()?))
    }

    /// Returns where the id stands.
    pub(crate) fn id_place(&self) -> Option<Range<usize>> {
        self.id.clone()
    }

    /// Returns where `params._meta.progressToken` stands.
    pub(crate) fn request_progress_token(&self) -> Option<Range<usize>> {
        #[derive(Deserialize)]
        struct Params<'a> {
            #[serde(borrow, rename = "_meta")]
            meta: &'a RawValue,
        }
        #[derive(Deserialize)]
        struct Meta<'a> {
            #[serde(borrow, rename = "progressToken")]
            progress_token: Option<&'a RawValue>,
        }
        let params = &self.bytes[self.params.clone()?];
        // Most requests have none, and need not be read again to see it.
        memchr::memmem::find(params, b"progressToken")
            .or_else(|| memchr::memmem::find(params, b"\\u"))?;
        let meta: Meta<'_> = read_object(self.params::<Params<'_>>()?.meta.get())?;
        Some(place(&self.bytes, meta.progress_token?))
    }

    /// Returns where `params.progressToken` of a progress notification stands.
    pub(crate) fn progress_token(&self) -> Option<Range<usize>> {
        #[derive(Deserialize)]
        struct Params<'a> {
            #[serde(borrow, rename = "progressToken")]
            progress_token: &'a RawValue,
        }
        Some(place(
            &self.bytes,
            self.params::<Params<'_>>()?.progress_token,
        ))
    }

    /// Returns where `params.requestId` of a cancellation stands.
    pub(crate) fn cancelled_request(&self) -> Option<Range<usize>> {
        #[derive(Deserialize)]
        struct Params<'a> {
            #[serde(borrow, rename = "requestId")]
            request_id: &'a RawValue,
        }
        Some(place(&self.bytes, self.params::<Params<'_>>()?.request_id))
    }

    /// Returns the text at a place.
    pub(crate) fn text(&self, range: Range<usize>) -> &str {
        std::str::from_utf8(&self.bytes[range])
            .expect("a parsed message is UTF-8 and places are JSON values")
    }

    /// Returns the message with some places replaced, in order and disjoint.
    pub(crate) fn spliced(&self, replacements: &[(Range<usize>, &str)]) -> Bytes {
        if replacements.is_empty() {
            return self.bytes.clone();
        }
        let added: usize = replacements.iter().map(|(_, text)| text.len()).sum();
        let mut spliced = BytesMut::with_capacity(self.bytes.len() + added);
        let mut done = 0;
        for (range, text) in replacements {
            spliced.extend_from_slice(&self.bytes[done..range.start]);
            spliced.extend_from_slice(text.as_bytes());
            done = range.end;
        }
        spliced.extend_from_slice(&self.bytes[done..]);
        spliced.freeze()
    }

    /// Returns the message with another id.
    pub(crate) fn with_id(&self, id: &str) -> Bytes {
        match self.id.clone() {
            Some(range) => self.spliced(&[(range, id)]),
            None => self.bytes.clone(),
        }
    }
}

/// Returns the place of a value that was borrowed from `bytes`.
fn place(bytes: &[u8], value: &RawValue) -> Range<usize> {
    let start = value.get().as_ptr().addr() - bytes.as_ptr().addr();
    start..start + value.get().len()
}

/// Decodes the members of an object that `T` names; none if they do not fit.
fn read_object<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    is_object(text)
        .then(|| serde_json::from_str(text).ok())
        .flatten()
}

/// Says whether valid JSON is an object; a struct could be decoded from an array too.
fn is_object(text: &str) -> bool {
    text.trim_ascii_start().starts_with('{')
}

fn why_not(bytes: &[u8], error: &serde_json::Error) -> ParseError {
    match serde_json::from_slice::<&RawValue>(bytes) {
        Ok(_) if error.is_data() => {
            ParseError::Invalid("a member is missing, double, or of the wrong type")
        }
        _ => ParseError::NotJson(error.to_string()),
    }
}

/// Builds an error response. `data` is JSON text.
pub(crate) fn error_response(
    id: Option<&RequestId>,
    code: i64,
    message: &str,
    data: Option<&str>,
) -> Bytes {
    let id = id.map_or("null", RequestId::as_json);
    let message = serde_json::Value::from(message);
    let data = data
        .map(|data| format!(r#","data":{data}"#))
        .unwrap_or_default();
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":{message}{data}}}}}"#)
        .into()
}

/// Returns a message on one line: a newline in valid JSON is only ever white
/// space, and would break the framing of stdio.
pub(crate) fn on_one_line(bytes: Bytes) -> Bytes {
    if memchr::memchr2(b'\n', b'\r', &bytes).is_none() {
        return bytes;
    }
    let blank = |byte: u8| {
        if matches!(byte, b'\n' | b'\r') {
            b' '
        } else {
            byte
        }
    };
    bytes.iter().copied().map(blank).collect::<Vec<u8>>().into()
}

// The path is the usual one, said so that it holds where tests/fuzz includes us.
#[cfg(test)]
#[path = "jsonrpc/found.rs"]
mod found;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Envelope, ParseError> {
        Envelope::parse(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn kinds_are_told_by_members() {
        let check = |text: &str, kind: Kind, id: Option<&str>, method: Option<&str>| {
            let envelope = parse(text).expect(text);
            assert_eq!(envelope.kind(), kind, "{text}");
            assert_eq!(envelope.id().as_ref().map(RequestId::as_json), id, "{text}");
            assert_eq!(envelope.method(), method, "{text}");
        };
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
            Kind::Request,
            Some("1"),
            Some("ping"),
        );
        check(
            r#"{"id":"a\"b","method":"x\u002fy"}"#,
            Kind::Request,
            Some(r#""a\"b""#),
            Some("x/y"),
        );
        check(
            r#"{"method":"notifications/initialized"}"#,
            Kind::Notification,
            None,
            Some("notifications/initialized"),
        );
        check(
            r#"{"result":null,"id":123456789012345678901}"#,
            Kind::Response,
            Some("123456789012345678901"),
            None,
        );
        check(
            r#"{"error":{"code":-1,"message":""},"id":null}"#,
            Kind::Response,
            None,
            None,
        );
    }

    #[test]
    fn what_is_no_message_is_refused_for_its_reason() {
        for text in [
            "",
            "{",
            "nonsense",
            "{\"id\":1,}",
            "{\"id\":1,\"method\":\"x\",\"params\":{]}",
        ] {
            assert!(matches!(parse(text), Err(ParseError::NotJson(_))), "{text}");
        }
        for text in [
            "[]",
            "1",
            "{}",
            r#"{"id":null,"method":"x"}"#,
            r#"{"id":{},"method":"x"}"#,
            r#"{"id":1,"id":2,"method":"x"}"#,
        ] {
            assert!(matches!(parse(text), Err(ParseError::Invalid(_))), "{text}");
        }
        let invalid_utf8 = Envelope::parse(Bytes::from_static(b"{\"method\":\"\xff\"}"));
        assert!(matches!(invalid_utf8, Err(ParseError::NotJson(_))));
    }

    #[test]
    fn splicing_replaces_only_what_it_names() {
        let text = r#"{ "id" : 7 , "method":"tools/call","params":{"_meta":{"progressToken":"t"},"n":12345678901234567890} }"#;
        let envelope = parse(text).expect("valid");
        let token = envelope.request_progress_token().expect("has a token");
        assert_eq!(envelope.text(token.clone()), "\"t\"");
        let id = envelope.id_place().expect("has an id");
        let spliced = envelope.spliced(&[(id, "99"), (token, "99")]);
        assert_eq!(spliced, text.replace(": 7", ": 99").replace("\"t\"", "99"));
    }

    #[test]
    fn deep_nesting_is_read_without_recursion() {
        let deep = format!(
            r#"{{"id":1,"method":"x","params":{}{}}}"#,
            "[".repeat(200_000),
            "]".repeat(200_000)
        );
        assert_eq!(parse(&deep).expect("valid").kind(), Kind::Request);
    }

    #[test]
    fn batches_are_split() {
        let batch = b" [ {\"id\":1,\"result\":{}} , {\"method\":\"n\"}, {\"id\":7,\"params\":{}} ]";
        let mut all = Envelope::parse_all(Bytes::from_static(batch));
        assert!(
            all.pop().is_some_and(|last| last.is_err()),
            "one bad element spoils only itself"
        );
        let all: Vec<_> = all.into_iter().map(|one| one.expect("valid")).collect();
        assert!(
            Envelope::parse_all(Bytes::from_static(b"[]"))
                .pop()
                .is_some_and(|empty| empty.is_err())
        );
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].bytes(), "{\"id\":1,\"result\":{}}");
        assert_eq!(all[0].with_id("\"a\""), "{\"id\":\"a\",\"result\":{}}");
    }

    #[test]
    fn errors_are_valid_json_whatever_the_message() {
        let id = RequestId::from_json("\"a\"");
        let error = error_response(
            Some(&id),
            -32001,
            "a \"b\"\n",
            Some(r#"{"httpStatus":500}"#),
        );
        let value: serde_json::Value = serde_json::from_slice(&error).expect("valid");
        assert_eq!(value["error"]["message"], "a \"b\"\n");
        assert_eq!(value["id"], "a");
    }
}
