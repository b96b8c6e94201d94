//! Messages as the simulator reads them: the parts it needs, as they were written.

use serde::Deserialize;
use serde_json::value::RawValue;

/// One JSON-RPC message; ids as JSON text, since `1` is not `"1"`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Message {
    pub(super) id: Option<Box<RawValue>>,
    pub(super) method: Option<String>,
    pub(super) params: Option<Params>,
    pub(super) result: Option<Box<RawValue>>,
    pub(super) error: Option<Box<RawValue>>,
}

/// What stands in `params`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Params {
    pub(super) token: Option<String>,
    pub(super) ask: Option<String>,
    pub(super) progress_token: Option<Box<RawValue>>,
    pub(super) request_id: Option<Box<RawValue>>,
    pub(super) protocol_version: Option<String>,
    #[serde(rename = "_meta")]
    pub(super) meta: Option<Meta>,
}

/// What stands in `_meta`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Meta {
    pub(super) progress_token: Option<Box<RawValue>>,
}

impl Message {
    pub(super) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Returns the id's JSON text, `null` for none.
    pub(super) fn id(&self) -> &str {
        self.id.as_deref().map_or("null", RawValue::get)
    }

    pub(super) fn params(&self) -> &Params {
        static NONE: Params = Params {
            token: None,
            ask: None,
            progress_token: None,
            request_id: None,
            protocol_version: None,
            meta: None,
        };
        self.params.as_ref().unwrap_or(&NONE)
    }
}

/// Returns the marks of this kind in a text, each up to its last colon.
pub(super) fn marks<'a>(text: &'a str, kind: &'a str) -> impl Iterator<Item = &'a str> {
    text.match_indices(kind).map(|(at, _)| {
        let mark = &text[at..];
        let end = mark
            .match_indices(':')
            .nth(3)
            .map_or(mark.len(), |(end, _)| end + 1);
        &mark[..end]
    })
}

/// Returns the client in a `tok:` mark.
pub(super) fn client_of(token: &str) -> Option<usize> {
    token.split(':').nth(2)?.parse().ok()
}
