//! Sign-ins as they travel: a JSON document inside the envelope. Pure.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::oauth::grant::Grant;
use crate::oauth::store::Successor;
use crate::oauth::store::moving::Raw;

/// Names this format; another one is not read.
const FORMAT: &str = "mcp-remote tokens 1";

/// The same with refresh tokens that replaced those of files: earlier releases would
/// lose them.
const WITH_SUCCESSORS: &str = "mcp-remote tokens 2";

/// Sign-ins that travel together.
#[derive(Serialize, Deserialize)]
pub(super) struct Bundle {
    format: String,
    /// They.
    pub(super) grants: Vec<Moved>,
    /// What identity providers gave in the place of refresh tokens in files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) successors: Vec<MovedSuccessor>,
}

/// A refresh token that replaced the one of a user's file: what stands in its file.
#[derive(Serialize, Deserialize)]
pub(super) struct MovedSuccessor {
    /// What the name of its file begins with.
    pub(super) identity: String,
    subject: Map<String, Value>,
}

impl MovedSuccessor {
    /// Takes what stands in a file; `None`: nothing that can be moved.
    pub(super) fn of(identity: &str, raw: &[u8]) -> Option<Self> {
        Successor::read(raw)?;
        Some(Self {
            identity: identity.to_owned(),
            subject: serde_json::from_slice(raw).ok()?,
        })
    }

    /// Returns what is to stand in a file.
    pub(super) fn raw(&self) -> Zeroizing<Vec<u8>> {
        let content = serde_json::to_vec_pretty(&self.subject);
        Zeroizing::new(content.expect("a map of JSON is JSON"))
    }

    /// Reads it; `None`: it is none.
    pub(super) fn successor(&self) -> Option<Successor> {
        Successor::read(&self.raw())
    }
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
    pub(super) fn new(grants: Vec<Moved>, successors: Vec<MovedSuccessor>) -> Self {
        let format = match successors.is_empty() {
            true => FORMAT,
            false => WITH_SUCCESSORS,
        };
        Self {
            format: format.to_owned(),
            grants,
            successors,
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
        let is_known = [FORMAT, WITH_SUCCESSORS].contains(&bundle.format.as_str());
        let mut successors = bundle.successors.iter();
        let whole = is_known
            && bundle.grants.iter().all(|it| it.grant().is_some())
            && successors.all(|it| it.successor().is_some());
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
        let bundle =
            Bundle::read(&Bundle::new(vec![moved], Vec::new()).write()).expect("it is one");
        let back = bundle.grants[0].raw();
        let value = |content: &[u8]| serde_json::from_slice::<Value>(content).expect("JSON");
        assert_eq!(value(&back.tokens), value(tokens));
        assert_eq!(
            value(&back.client.expect("a client")),
            serde_json::json!({"client_id": "c"})
        );
    }

    #[test]
    fn what_replaced_a_refresh_token_travels_in_a_form_that_earlier_releases_refuse() {
        let content = br#"{"of":"ab","refresh_token":"r","file":"/f","later":1}"#;
        let moved = MovedSuccessor::of("ab", content).expect("a token");
        let written = Bundle::new(Vec::new(), vec![moved]).write();
        let bundle = Bundle::read(&written).expect("it is one");
        assert_eq!(bundle.format, WITH_SUCCESSORS);
        let value = |content: &[u8]| serde_json::from_slice::<Value>(content).expect("JSON");
        assert_eq!(value(&bundle.successors[0].raw()), value(content));
        // As earlier releases wrote it, and this one does where they can read it.
        let older = br#"{"format":"mcp-remote tokens 1","grants":[]}"#;
        assert!(Bundle::read(older).is_some());
        assert_eq!(*Bundle::new(Vec::new(), Vec::new()).write(), older);
        let gone = br#"{"of":"ab","file":"/f"}"#;
        assert!(MovedSuccessor::of("ab", gone).is_none(), "it is elsewhere");
    }

    #[test]
    fn other_documents_are_not_read() {
        for text in [
            "{}",
            r#"{"format":"mcp-remote tokens 3","grants":[]}"#,
            r#"{"format":"mcp-remote tokens 2","grants":[],"successors":[{"identity":"a","subject":{"of":"x"}}]}"#,
            r#"{"format":"mcp-remote tokens 1","grants":[{"identity":"a","tokens":{}}]}"#,
        ] {
            assert!(Bundle::read(text.as_bytes()).is_none(), "{text}");
        }
    }
}
