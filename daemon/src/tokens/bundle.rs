//! Sign-ins as they travel: a JSON document inside the envelope. Pure.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::oauth::grant::Grant;
use crate::oauth::store::moving::Raw;

/// Names this format; another one is not read.
const FORMAT: &str = "mcp-remote tokens 1";

/// Sign-ins that travel together.
#[derive(Serialize, Deserialize)]
pub(super) struct Bundle {
    format: String,
    /// They.
    pub(super) grants: Vec<Moved>,
}

/// A sign-in: what stands in its files.
#[derive(Serialize, Deserialize)]
pub(super) struct Moved {
    /// What the names of its files begin with.
    pub(super) identity: String,
    tokens: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_info: Option<Map<String, Value>>,
}

impl Moved {
    /// Takes what stands in files; `None`: no tokens stand there.
    pub(super) fn of(identity: &str, raw: &Raw) -> Option<Self> {
        let document = |content: &[u8]| serde_json::from_slice(content).ok();
        Some(Self {
            identity: identity.to_owned(),
            tokens: document(&raw.tokens)?,
            client_info: raw.client.as_ref().and_then(|content| document(content)),
        })
    }

    /// Returns what is to stand in files.
    pub(super) fn raw(&self) -> Raw {
        let content = |document: &Map<String, Value>| {
            let content = serde_json::to_vec_pretty(document);
            Zeroizing::new(content.expect("a map of JSON is JSON"))
        };
        Raw {
            tokens: content(&self.tokens),
            client: self.client_info.as_ref().map(content),
        }
    }

    /// Reads the tokens; `None`: they are none.
    pub(super) fn grant(&self) -> Option<Grant> {
        Grant::read(&self.raw().tokens, None)
    }
}

impl Bundle {
    /// Packs sign-ins.
    pub(super) fn new(grants: Vec<Moved>) -> Self {
        Self {
            format: FORMAT.to_owned(),
            grants,
        }
    }

    /// Writes the document.
    pub(super) fn write(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(serde_json::to_vec(self).expect("maps of JSON are JSON"))
    }

    /// Reads a document; `None`: it is another one, or has something in it that is no
    /// sign-in.
    pub(super) fn read(content: &[u8]) -> Option<Self> {
        let bundle: Self = serde_json::from_slice(content).ok()?;
        let whole = bundle.format == FORMAT && bundle.grants.iter().all(|it| it.grant().is_some());
        whole.then_some(bundle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_files_travels_whole() {
        let tokens = br#"{"access_token":"a","later":[1,{"x":null}],"expires_at":1700000000123}"#;
        let raw = Raw {
            tokens: Zeroizing::new(tokens.to_vec()),
            client: Some(Zeroizing::new(br#"{"client_id":"c"}"#.to_vec())),
        };
        let moved = Moved::of("ab", &raw).expect("tokens");
        let bundle = Bundle::read(&Bundle::new(vec![moved]).write()).expect("it is one");
        let back = bundle.grants[0].raw();
        let value = |content: &[u8]| serde_json::from_slice::<Value>(content).expect("JSON");
        assert_eq!(value(&back.tokens), value(tokens));
        assert_eq!(
            value(&back.client.expect("a client")),
            serde_json::json!({"client_id": "c"})
        );
    }

    #[test]
    fn other_documents_are_not_read() {
        for text in [
            "{}",
            r#"{"format":"mcp-remote tokens 2","grants":[]}"#,
            r#"{"format":"mcp-remote tokens 1","grants":[{"identity":"a","tokens":{}}]}"#,
        ] {
            assert!(Bundle::read(text.as_bytes()).is_none(), "{text}");
        }
    }
}
