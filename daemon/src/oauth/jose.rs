//! What we sign: JSON Web Tokens in compact form (RFC 7515), with the keys that sign
//! them. Knows no OAuth.
//!
//! A private key leaves [`SigningKey`] only as the bytes of one that we have made, to
//! be kept; nothing here is shown by `Debug`.

mod key;
mod key_file;
mod public;
mod read;

pub(crate) use self::key::{GeneratedKey, SigningKey};
pub(crate) use self::key_file::{KeyFile, KeyFileError};

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::{Map, Value, json};

use crate::secret::Secret;

/// Random bytes in a `jti`: nobody meets another's.
const JTI_BYTES: usize = 16;

/// How a signed token says what it is and who signed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header<'a> {
    /// `typ`.
    pub(crate) kind: &'a str,
    /// Whether it carries the public key itself (`jwk`) instead of its id (`kid`).
    pub(crate) carries_key: bool,
}

impl Header<'static> {
    /// An ordinary token, whose receiver knows the key.
    pub(crate) const JWT: Self = Self {
        kind: "JWT",
        carries_key: false,
    };
}

/// What a token says. May be secret.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Claims(Map<String, Value>);

impl Claims {
    /// Says when it is made (`iat`), and that it is one of a kind (`jti`).
    pub(crate) fn new(now: SystemTime) -> Self {
        Self(Map::new())
            .with("iat", seconds(now))
            .with("jti", random_id())
    }

    /// Says when it ends (`exp`).
    #[must_use]
    pub(crate) fn expires_at(self, time: SystemTime) -> Self {
        self.with("exp", seconds(time))
    }

    /// Says anything else.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }
}

impl std::fmt::Debug for Claims {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Returns whole seconds since 1970.
fn seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or(Duration::ZERO).as_secs()
}

fn random_id() -> String {
    let mut bytes = [0; JTI_BYTES];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.expect("the system has random numbers");
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Signs claims: `header.claims.signature`.
pub(crate) fn sign(key: &SigningKey, header: Header<'_>, claims: &Claims) -> Secret<String> {
    let mut first = Map::new();
    first.insert("alg".into(), key.algorithm().into());
    first.insert("typ".into(), header.kind.into());
    if header.carries_key {
        first.insert("jwk".into(), json!(key.public()));
    } else if let Some(id) = key.id() {
        first.insert("kid".into(), id.into());
    }
    let first = Value::Object(first).to_string();
    let claims = serde_json::to_string(&claims.0).expect("a map of JSON is JSON");
    Secret::new(sign_texts(key, &first, &claims))
}

fn sign_texts(key: &SigningKey, header: &str, payload: &str) -> String {
    // Room for the signature of the longest RSA key.
    let mut text = String::with_capacity((header.len() + payload.len()) * 4 / 3 + 700);
    URL_SAFE_NO_PAD.encode_string(header, &mut text);
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(payload, &mut text);
    let signature = key.sign(text.as_bytes());
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut text);
    text
}

#[cfg(test)]
mod tests;
