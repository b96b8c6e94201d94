//! The headers of requests to a server: the user's, and MCP's by revision.

use http::header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::protocol::ProtocolVersion;

/// An `Mcp-Session-Id`. Whoever has it can speak in the session: never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SessionId(HeaderValue);

impl SessionId {
    /// Reads a header's text: visible ASCII only (2025-03-26, Transports >
    /// Session Management).
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let visible = !text.is_empty() && text.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
        let mut value = HeaderValue::from_str(text).ok().filter(|_| visible)?;
        value.set_sensitive(true);
        Some(Self(value))
    }

    /// Shows it, for the storage alone.
    pub(crate) fn reveal(&self) -> &str {
        self.0.to_str().expect("it is visible ASCII")
    }
}

impl std::fmt::Debug for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionId([redacted])")
    }
}

/// Headers that MCP and HTTP own; a user's would break the protocol or reach
/// into somebody else's session.
const OWNED: [&str; 13] = [
    "accept",
    "connection",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "last-event-id",
    "mcp-protocol-version",
    "mcp-session-id",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Shorter header values are common words: taking them out would garble texts.
const SHORTEST_SECRET: usize = 6;

/// The headers that the user gives for every request to a server. Equal sets
/// are equal whatever the order of different names. Values are never shown.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct UserHeaders(Vec<(HeaderName, HeaderValue)>);

impl UserHeaders {
    /// Checks names and values. Returns the headers and a sentence for each one
    /// that is left out because it is not the user's to set.
    ///
    /// # Errors
    /// A sentence that names the header, never its value.
    pub(crate) fn parse<'a>(
        given: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<(Self, Vec<String>), String> {
        let mut headers = Vec::new();
        let mut left_out = Vec::new();
        for (name, value) in given {
            let bad_name = |_| {
                format!(
                    "the header name {:?} is not valid",
                    super::printable(name, 80)
                )
            };
            let bad_value = |_| {
                format!("the value of header {name} contains characters that a header cannot carry")
            };
            let name_checked = HeaderName::from_bytes(name.as_bytes()).map_err(bad_name)?;
            let mut value = HeaderValue::from_str(value).map_err(bad_value)?;
            value.set_sensitive(true);
            if OWNED.contains(&name_checked.as_str()) {
                left_out.push(format!(
                    "the header {name} is set by mcp-remote itself; yours is ignored"
                ));
            } else {
                headers.push((name_checked, value));
            }
        }
        headers.sort_by(|a, b| a.0.as_str().cmp(b.0.as_str()));
        Ok((Self(headers), left_out))
    }

    /// Shows names and values, for a digest.
    pub(crate) fn reveal(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let headers = self.0.iter();
        headers.map(|(name, value)| (name.as_str(), value.as_bytes()))
    }

    /// Says whether the user gives credentials.
    pub(crate) fn authorize(&self) -> bool {
        self.0.iter().any(|(name, _)| *name == AUTHORIZATION)
    }

    /// Returns foreign text without the values of these headers, which a server
    /// may have put into it.
    pub(crate) fn redacted(&self, text: &str) -> String {
        let values = self.0.iter().filter_map(|(_, value)| value.to_str().ok());
        // Of `Bearer TOKEN` either part counts, short words apart.
        let words = values.clone().flat_map(str::split_whitespace);
        without(text, values.chain(words))
    }

    /// Returns the header map of a POST.
    pub(crate) fn post(
        &self,
        session: Option<&SessionId>,
        version: Option<ProtocolVersion>,
    ) -> HeaderMap {
        let mut headers = self.with_session(session, version);
        headers.insert(
            ACCEPT,
            HeaderValue::from_static("application/json, text/event-stream"),
        );
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers
    }

    /// Returns the header map of a GET for an event stream.
    pub(crate) fn listen(
        &self,
        session: Option<&SessionId>,
        version: Option<ProtocolVersion>,
        last_event: Option<&str>,
    ) -> HeaderMap {
        let mut headers = self.with_session(session, version);
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        if let Some(last_event) =
            last_event.and_then(|id| HeaderValue::from_bytes(id.as_bytes()).ok())
        {
            headers.insert("last-event-id", last_event);
        }
        headers
    }

    /// Returns the headers of every request within a session.
    pub(crate) fn with_session(
        &self,
        session: Option<&SessionId>,
        version: Option<ProtocolVersion>,
    ) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(self.0.len() + 6);
        for (name, value) in &self.0 {
            headers.append(name.clone(), value.clone());
        }
        if let Some(SessionId(value)) = session {
            headers.insert("mcp-session-id", value.clone());
        }
        if let Some(version) = version.filter(|version| version.has_version_header()) {
            headers.insert(
                "mcp-protocol-version",
                HeaderValue::from_static(version.as_str()),
            );
        }
        headers
    }
}

/// Longest event id that is sent back; servers refuse long headers.
const MAX_EVENT_ID: usize = 4096;

/// Says whether a stream can be asked for what follows the event of this id.
pub(crate) fn can_be_resumed_from(event_id: &str) -> bool {
    event_id.len() <= MAX_EVENT_ID && HeaderValue::from_bytes(event_id.as_bytes()).is_ok()
}

/// Returns text without these secrets; short words count as none.
pub(super) fn without<'a>(text: &str, secrets: impl Iterator<Item = &'a str>) -> String {
    let mut redacted = text.to_owned();
    for secret in secrets.filter(|secret| secret.len() >= SHORTEST_SECRET) {
        redacted = redacted.replace(secret, "[redacted]");
    }
    redacted
}

impl std::fmt::Debug for UserHeaders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name.as_str()))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(given: &[(&str, &str)]) -> Result<(UserHeaders, Vec<String>), String> {
        UserHeaders::parse(given.iter().copied())
    }

    #[test]
    fn headers_that_are_ours_are_left_out() {
        let (headers, left_out) = parse(&[
            ("Mcp-Session-Id", "x"),
            ("HOST", "evil"),
            ("X-Api-Key", "k"),
        ])
        .expect("valid");
        assert_eq!(left_out.len(), 2);
        let map = headers.post(None, None);
        assert!(map.get("mcp-session-id").is_none() && map.get("host").is_none());
        assert_eq!(
            map.get("x-api-key").map(HeaderValue::as_bytes),
            Some(&b"k"[..])
        );
    }

    #[test]
    fn bad_values_are_named_but_not_shown() {
        let error = parse(&[("X-Key", "s3cret\r\nX-Evil: 1")]).expect_err("has a line break");
        assert!(error.contains("X-Key") && !error.contains("s3cret"));
        assert!(parse(&[("X Key", "v")]).is_err());
    }

    #[test]
    fn values_are_not_in_debug_output() {
        let (headers, _) = parse(&[("Authorization", "Bearer s3cret")]).expect("valid");
        let session = SessionId::parse("s3cret").expect("visible");
        let map = headers.post(Some(&session), Some(ProtocolVersion::LATEST));
        assert!(!format!("{headers:?}{session:?}{map:?}").contains("s3cret"));
    }

    #[test]
    fn values_are_taken_out_of_foreign_text() {
        let (headers, _) =
            parse(&[("Authorization", "Bearer s3cret-token"), ("X-Team", "a")]).expect("valid");
        assert_eq!(
            headers.redacted("no such user: s3cret-token, a"),
            "no such user: [redacted], a"
        );
    }

    #[test]
    fn the_version_header_begins_with_2025_06_18() {
        let headers = UserHeaders::default();
        let version = |version| {
            headers
                .post(None, Some(version))
                .contains_key("mcp-protocol-version")
        };
        assert!(!version(ProtocolVersion::V2025_03_26));
        assert!(version(ProtocolVersion::V2025_06_18));
    }

    #[test]
    fn session_ids_are_visible_ascii() {
        for bad in ["", "a b", "a\n", "ä"] {
            assert!(SessionId::parse(bad).is_none(), "{bad:?}");
        }
    }
}
