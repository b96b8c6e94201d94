//! Tokens that others have got: the text of a file or of a program's output. What it
//! says of its end is believed only for when to look again.
//!
//! Two forms are understood: the token alone, and the JSON object of a token endpoint
//! (RFC 6749, section 5.1).

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::ObtainError;
use crate::oauth::grant::{Grant, life};
use crate::oauth::secret_file::{self, Access};
use crate::secret::Secret;

/// Longest token, in bytes; more fits into no header.
const MAX_TOKEN: usize = 32 * 1024;

/// Reads a token file.
pub(super) async fn from_file(path: &Path, now: fn() -> SystemTime) -> Result<Grant, ObtainError> {
    let unusable = |why: &dyn std::fmt::Display| {
        ObtainError::Here(format!("the token file cannot be used: {why}"))
    };
    let content = secret_file::read(path, Access::AnyReader).await;
    let content = content.map_err(|error| unusable(&error))?;
    read(&content, now()).map_err(|why| unusable(&format!("{} {why}", path.display())))
}

/// Why a text holds no token. Completes "FILE …"; repeats nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoToken {
    #[error("is empty")]
    Empty,
    #[error("holds more than one word, which no token is")]
    Words,
    #[error("holds something that is no text")]
    Binary,
    #[error("holds a text that is too long for a token")]
    TooLong,
    #[error("holds a JSON object without a usable access_token")]
    Object,
}

/// Reads a text that came at `now`.
pub(super) fn read(content: &[u8], now: SystemTime) -> Result<Grant, NoToken> {
    let content = content.trim_ascii();
    if content.is_empty() {
        return Err(NoToken::Empty);
    }
    if content.first() == Some(&b'{') {
        return object(content, now).ok_or(NoToken::Object);
    }
    let token = match content.split_at_checked("Bearer ".len()) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"Bearer ") => token.trim_ascii(),
        _ => content,
    };
    if token.len() > MAX_TOKEN {
        return Err(NoToken::TooLong);
    }
    match std::str::from_utf8(token) {
        Ok(text) if is_token(text) => Ok(grant(text, None, now)),
        Ok(text) if text.split_whitespace().nth(1).is_some() => Err(NoToken::Words),
        _ => Err(NoToken::Binary),
    }
}

fn object(content: &[u8], now: SystemTime) -> Option<Grant> {
    let object: Map<String, Value> = serde_json::from_slice(content).ok()?;
    let token = object.get("access_token")?.as_str()?;
    let fits = is_token(token) && token.len() <= MAX_TOKEN;
    let left = object.get("expires_in").and_then(|given| match given {
        Value::String(text) => text.trim().parse().ok(),
        given => given.as_f64(),
    });
    let left = left.filter(|left| *left >= 1.0).map(|left: f64| {
        let left = Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX);
        life(left.as_secs())
    });
    fits.then(|| grant(token, left, now))
}

/// Visible ASCII: no line ends, no spaces.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn grant(token: &str, left: Option<Duration>, now: SystemTime) -> Grant {
    let ends = match left {
        Some(left) => now.checked_add(left),
        None => end_of_jwt(token),
    };
    Grant {
        access_token: Secret::new(token.to_owned()),
        refresh_token: None,
        id_token: None,
        life: ends.and_then(|ends| ends.duration_since(now).ok()),
        expires_at: ends,
        scope: None,
        requested_scope: None,
        issuer: None,
        resource: None,
        resource_metadata: None,
        signed_in_at: None,
        server: None,
        provider: None,
        client: None,
        binding: None,
        is_bound: false,
    }
}

/// Returns when a token ends that is a JWT and says so (RFC 7519, section 4.1.4). Nobody
/// has checked what it says.
fn end_of_jwt(token: &str) -> Option<SystemTime> {
    let mut parts = token.split('.');
    let claims = parts.nth(1)?;
    if parts.count() != 1 {
        return None;
    }
    let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
    let claims: Map<String, Value> = serde_json::from_slice(&claims).ok()?;
    let seconds = claims.get("exp")?.as_f64()?;
    let since = Duration::try_from_secs_f64(seconds).ok()?;
    UNIX_EPOCH.checked_add(since)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn token_in(content: &[u8]) -> Result<String, NoToken> {
        read(content, at(1000)).map(|grant| grant.access_token.reveal().clone())
    }

    #[test]
    fn tokens_are_found_in_what_programs_write() {
        for content in [
            "t0ken",
            "t0ken\n",
            " \r\nt0ken\r\n",
            "Bearer t0ken\n",
            "bearer  t0ken",
            r#"{"access_token":"t0ken","token_type":"Bearer"}"#,
        ] {
            assert_eq!(
                token_in(content.as_bytes()),
                Ok("t0ken".into()),
                "{content:?}"
            );
        }
    }

    #[test]
    fn what_is_no_token_is_told_apart() {
        let long = "x".repeat(MAX_TOKEN + 1);
        for (content, expected) in [
            (&b""[..], NoToken::Empty),
            (b" \n\t\r\n", NoToken::Empty),
            (b"Error: not logged in\n", NoToken::Words),
            (b"a\nb", NoToken::Words),
            (b"\x7fELF\0\x01", NoToken::Binary),
            (b"\xff\xfe", NoToken::Binary),
            ("\u{feff}".as_bytes(), NoToken::Binary),
            (long.as_bytes(), NoToken::TooLong),
            (b"{", NoToken::Object),
            (b"{}", NoToken::Object),
            (br#"{"access_token":5}"#, NoToken::Object),
            (br#"{"access_token":"a b"}"#, NoToken::Object),
        ] {
            assert_eq!(token_in(content), Err(expected), "{content:?}");
        }
    }

    #[test]
    fn the_end_is_what_the_object_or_the_jwt_says() {
        let jwt = |claims: &str| format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        let check = |content: &str, expected: Option<u64>| {
            let grant = read(content.as_bytes(), at(1000)).expect("a token");
            assert_eq!(grant.expires_at, expected.map(at), "{content}");
        };
        check(r#"{"access_token":"a","expires_in":60}"#, Some(1060));
        check(r#"{"access_token":"a","expires_in":"60"}"#, Some(1060));
        check(r#"{"access_token":"a","expires_in":-60}"#, None);
        check(r#"{"access_token":"a","expires_in":"NaN"}"#, None);
        check("opaque", None);
        check("a.b.c", None);
        check(&jwt(r#"{"exp":1060}"#), Some(1060));
        check(&jwt(r#"{"exp":900}"#), Some(900));
        check(&jwt(r#"{"exp":1e300}"#), None);
        check(&jwt(r#"{"exp":-1}"#), None);
        check(&jwt("[]"), None);
        check(&format!("{}.more.parts", jwt(r#"{"exp":1060}"#)), None);
    }
}
