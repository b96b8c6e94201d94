//! `initialize` and its answer: read from the client once, said to the server as
//! often as needed, answered from memory. No I/O.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Reuse, ServerSpec, SessionKey};
use crate::jsonrpc::{Envelope, Kind, RequestId};
use crate::protocol::ProtocolVersion;
use crate::upstream::{TransportKind, UpstreamError, printable};

/// Longest `initialize` of a client that is written down, in bytes.
const MAX_WRITTEN: usize = 16 * 1024;

/// Longest server name or version that is kept, in characters.
const MAX_NAME: usize = 100;

/// A client's `initialize`, kept for the life of the session.
#[derive(Debug, Clone)]
pub(crate) struct Handshake {
    initialize: Envelope,
    version: ProtocolVersion,
    version_place: Option<std::ops::Range<usize>>,
    capabilities: String,
    client_name: String,
}

#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow, rename = "protocolVersion")]
    protocol_version: &'a RawValue,
    #[serde(borrow, default)]
    capabilities: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "clientInfo")]
    client_info: Option<&'a RawValue>,
}

/// Reads `clientInfo` or `serverInfo`; what does not fit is not there.
#[derive(Deserialize, Default)]
struct Implementation<'a> {
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    version: Option<&'a RawValue>,
}

impl<'a> Implementation<'a> {
    fn of(value: Option<&'a RawValue>) -> Self {
        let read = value.and_then(|value| serde_json::from_str(value.get()).ok());
        read.unwrap_or_default()
    }
}

/// Returns a string's text, or the JSON text of what is none that can be read.
fn text(value: Option<&RawValue>) -> String {
    let text = value.map_or("", RawValue::get);
    serde_json::from_str(text).unwrap_or_else(|_| text.to_owned())
}

/// Sorts keys, so that equal capabilities are equal. What cannot be decoded
/// without loss, such as numbers out of range, stays as it is written.
fn sorted(value: Option<&RawValue>) -> String {
    let text = value.map_or("null", RawValue::get);
    let value: Result<serde_json::Value, _> = serde_json::from_str(text);
    value.map_or_else(|_| text.to_owned(), |value| value.to_string())
}

impl Handshake {
    /// Reads a client's `initialize` request; `None` if it is not one.
    pub(crate) fn of_client(initialize: Envelope) -> Option<Self> {
        if initialize.kind() != Kind::Request || initialize.method() != Some("initialize") {
            return None;
        }
        let params: Params<'_> = initialize.params()?;
        let asked: String = serde_json::from_str(params.protocol_version.get()).ok()?;
        let version = ProtocolVersion::parse(&asked);
        let start =
            params.protocol_version.get().as_ptr().addr() - initialize.bytes().as_ptr().addr();
        // A revision that is not opened by `initialize` is asked for as the
        // newest that is (2025-11-25, Lifecycle > Version Negotiation).
        let version_place = version
            .is_none()
            .then(|| start..start + params.protocol_version.get().len());
        let capabilities = sorted(params.capabilities);
        let client_name = text(Implementation::of(params.client_info).name);
        Some(Self {
            version: version.unwrap_or(ProtocolVersion::LATEST),
            version_place,
            capabilities,
            client_name,
            initialize,
        })
    }

    /// Makes a handshake in the daemon's own name, without capabilities.
    pub(crate) fn of_daemon() -> Self {
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{}","capabilities":{{}},"clientInfo":{{"name":"mcp-remote","version":"{}"}}}}}}"#,
            ProtocolVersion::LATEST.as_str(),
            env!("CARGO_PKG_VERSION"),
        );
        let envelope = Envelope::parse(text.into()).expect("it is written above");
        Self::of_client(envelope).expect("it is written above")
    }

    /// Returns the key of sessions opened by this handshake. What a client is
    /// capable of, the server may ask it for; among several it could not be told
    /// whom it asks.
    pub(crate) fn key(&self, spec: std::sync::Arc<ServerSpec>, wanted: Reuse) -> SessionKey {
        let reuse = match wanted {
            Reuse::Concurrent if self.is_capable() => Reuse::Sequential,
            wanted => wanted,
        };
        SessionKey {
            reuse,
            signed_in_at: spec.signed_in_at(),
            spec,
            version: self.version,
            capabilities: self.capabilities.clone(),
            client_name: self.client_name.clone(),
        }
    }

    /// Says whether the server may ask the client for something.
    pub(crate) fn is_capable(&self) -> bool {
        !matches!(self.capabilities.as_str(), "{}" | "null")
    }

    /// Writes it down, if it is short enough for that.
    pub(crate) fn write(&self) -> String {
        let bytes = self.initialize.bytes();
        match bytes.len() <= MAX_WRITTEN {
            true => String::from_utf8_lossy(bytes).into_owned(),
            false => String::new(),
        }
    }

    /// Reads what has been written down.
    pub(crate) fn read(text: String) -> Option<Self> {
        Self::of_client(Envelope::parse(text.into()).ok()?)
    }

    /// Returns the revision that the server is asked for.
    pub(crate) fn version(&self) -> ProtocolVersion {
        self.version
    }

    /// Says whether the client declares that it says when its roots change.
    pub(crate) fn tells_of_roots(&self) -> bool {
        let capabilities: Option<serde_json::Value> = serde_json::from_str(&self.capabilities).ok();
        let declared = capabilities.and_then(|all| all.pointer("/roots/listChanged")?.as_bool());
        declared == Some(true)
    }

    /// Says whether the client shows pages to its user when it is asked to.
    pub(crate) fn shows_pages(&self) -> bool {
        let capabilities: Option<serde_json::Value> = serde_json::from_str(&self.capabilities).ok();
        capabilities.is_some_and(|all| all.pointer("/elicitation/url").is_some())
    }

    /// Returns the request as the client sent it, with our id.
    pub(crate) fn message(&self, id: u64) -> Bytes {
        let id = id.to_string();
        let version = format!("\"{}\"", self.version.as_str());
        let mut replacements = vec![(
            self.initialize.id_place().expect("a request has an id"),
            id.as_str(),
        )];
        if let Some(place) = self.version_place.clone() {
            replacements.push((place, version.as_str()));
        }
        replacements.sort_by_key(|(place, _)| place.start);
        self.initialize.spliced(&replacements)
    }
}

/// A server's answer to `initialize`.
#[derive(Debug, Clone)]
pub(crate) struct InitializeResult {
    reply: Envelope,
    /// The negotiated revision.
    pub(crate) version: ProtocolVersion,
    /// The transport it came over.
    pub(crate) transport: TransportKind,
    /// `serverInfo.name`, printable.
    pub(crate) server_name: String,
    /// `serverInfo.version`, printable.
    pub(crate) server_version: String,
}

impl InitializeResult {
    /// Reads the answer to `initialize`.
    ///
    /// # Errors
    /// The server's own JSON-RPC error, or a protocol it does not share with us
    /// (2025-11-25, Lifecycle > Version Negotiation).
    pub(crate) fn read(reply: Envelope, transport: TransportKind) -> Result<Self, UpstreamError> {
        #[derive(Deserialize)]
        struct Reply<'a> {
            #[serde(borrow)]
            result: Body<'a>,
        }
        #[derive(Deserialize)]
        struct Body<'a> {
            #[serde(rename = "protocolVersion")]
            protocol_version: String,
            #[serde(borrow, default, rename = "serverInfo")]
            server_info: Option<&'a RawValue>,
        }
        if reply.is_error() {
            return Err(UpstreamError::JsonRpc {
                status: 200,
                body: reply.bytes().clone(),
            });
        }
        let result = match serde_json::from_slice::<Reply<'_>>(reply.bytes()) {
            Ok(parsed) => parsed.result,
            Err(_) => {
                return Err(UpstreamError::Protocol(
                    "its answer to initialize has no protocol version".into(),
                ));
            }
        };
        let Some(version) = ProtocolVersion::parse(&result.protocol_version) else {
            let named = printable(&result.protocol_version, 40);
            return Err(UpstreamError::Protocol(format!(
                "it insists on revision {named} of MCP, which is not supported"
            )));
        };
        let server = Implementation::of(result.server_info);
        let server_name = printable(&text(server.name), MAX_NAME);
        let server_version = printable(&text(server.version), MAX_NAME);
        Ok(Self {
            version,
            transport,
            server_name,
            server_version,
            reply,
        })
    }

    /// Returns the answer for another request id.
    pub(crate) fn answer(&self, id: &RequestId) -> Bytes {
        self.reply.with_id(id.as_json())
    }

    /// Returns the answer as the server gave it.
    pub(crate) fn reply(&self) -> &Bytes {
        self.reply.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handshake(text: &str) -> Option<Handshake> {
        Handshake::of_client(
            Envelope::parse(Bytes::copy_from_slice(text.as_bytes())).expect("valid"),
        )
    }

    #[test]
    fn initialize_goes_upstream_as_it_came_but_for_the_id() {
        let text = r#"{"params":{"clientInfo":{"name":"c","x":1e5},"protocolVersion":"2025-06-18","capabilities":{"b":{},"a":1}},"id":"k","method":"initialize"}"#;
        let read = handshake(text).expect("an initialize");
        assert_eq!(read.message(3), text.replace("\"k\"", "3"));
        assert_eq!(read.version, ProtocolVersion::V2025_06_18);
        assert_eq!(read.capabilities, r#"{"a":1,"b":{}}"#);
        assert_eq!(read.client_name, "c");
    }

    #[test]
    fn an_unknown_revision_is_asked_for_as_the_newest() {
        let read = handshake(
            r#"{"method":"initialize","id":1,"params":{"protocolVersion":"2026-07-28"}}"#,
        )
        .expect("an initialize");
        assert_eq!(
            read.message(1),
            r#"{"method":"initialize","id":1,"params":{"protocolVersion":"2025-11-25"}}"#
        );
    }

    #[test]
    fn what_is_no_initialize_is_none() {
        for text in [
            r#"{"method":"initialize","id":1}"#,
            r#"{"method":"initialize"}"#,
            r#"{"method":"ping","id":1,"params":{"protocolVersion":"x"}}"#,
        ] {
            assert!(handshake(text).is_none(), "{text}");
        }
        assert_eq!(Handshake::of_daemon().version, ProtocolVersion::LATEST);
    }

    #[test]
    fn results_are_answered_again_with_another_id() {
        let text = r#"{"result":{"protocolVersion":"2025-03-26","serverInfo":{"name":"s\u0007","version":"1"},"extra":12345678901234567890},"jsonrpc":"2.0","id":0}"#;
        let envelope = Envelope::parse(Bytes::copy_from_slice(text.as_bytes())).expect("valid");
        let result =
            InitializeResult::read(envelope, TransportKind::StreamableHttp).expect("a result");
        assert_eq!(
            result.answer(&RequestId::from_json("\"x\"")),
            text.replace("\"id\":0", "\"id\":\"x\"")
        );
        assert_eq!(result.server_name, "s");
    }

    #[test]
    fn unusable_results_are_refused() {
        for text in [
            r#"{"id":0,"result":{}}"#,
            r#"{"id":0,"result":{"protocolVersion":"1999-01-01"}}"#,
            r#"{"id":0,"error":{"code":1,"message":"no"}}"#,
        ] {
            let envelope = Envelope::parse(Bytes::copy_from_slice(text.as_bytes())).expect("valid");
            assert!(
                InitializeResult::read(envelope, TransportKind::HttpSse).is_err(),
                "{text}"
            );
        }
    }
}
