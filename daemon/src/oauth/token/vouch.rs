//! Token exchange for an identity assertion (RFC 8693; Identity Assertion JWT
//! Authorization Grant, an IETF draft): an identity provider says to another
//! authorization server who somebody is. Keeps nothing.
//!
//! The assertion is as good as a sign-in: it is in no log, error or `Debug`, and is
//! shown once to the authorization server that it was made for.

use serde_json::{Map, Value};

use super::TokenEndpointError;
use super::request::{self, TokenRequest};
use super::response::refresh_token_in;
use crate::oauth::http::OAuthHttp;
use crate::oauth::text::printable;
use crate::secret::Secret;

/// The kind of token that is asked for.
pub(crate) const ID_JAG: &str = "urn:ietf:params:oauth:token-type:id-jag";

/// Longest assertion, in bytes.
const MAX_ASSERTION: usize = 64 * 1024;

/// What an identity provider gave.
#[derive(Debug)]
pub(crate) struct Vouched {
    /// The assertion.
    pub(crate) assertion: Secret<String>,
    /// The refresh token that replaces the one that was shown.
    pub(crate) refresh_token: Option<Secret<String>>,
}

/// Asks for an assertion. Whatever else is wrong with the answer, a refresh token in
/// it is not lost: [`TokenEndpointError::Spoiled`].
pub(crate) async fn vouch(
    http: &OAuthHttp,
    request: TokenRequest<'_>,
) -> Result<Vouched, TokenEndpointError> {
    let issuer = printable(&request.server.issuer);
    let reply = request::ask(http, &request).await?;
    let refresh_token = refresh_token_in(&reply.body);
    match (assertion(&reply.body), refresh_token) {
        (Ok(assertion), refresh_token) => Ok(Vouched {
            assertion,
            refresh_token,
        }),
        (Err(why), Some(refresh_token)) => Err(TokenEndpointError::Spoiled {
            why: format!("the identity provider {issuer} {why}"),
            refresh_token,
        }),
        (Err(why), None) => Err(TokenEndpointError::Unusable(format!(
            "the identity provider {issuer} {why}"
        ))),
    }
}

/// Reads an answer; the error completes "the identity provider …".
fn assertion(body: &[u8]) -> Result<Secret<String>, &'static str> {
    let document: Map<String, Value> = serde_json::from_slice(body)
        .map_err(|_| "answered with something that is not a JSON object")?;
    let text = |name: &str| document.get(name).and_then(Value::as_str);
    // Nothing else says that it is meant for another authorization server.
    if text("issued_token_type") != Some(ID_JAG) {
        return Err(
            "gave another kind of token than the identity assertion (ID-JAG) that it was asked for: ask who runs it whether it supports enterprise-managed authorization",
        );
    }
    // RFC 8693, section 2.2.1: what is no access token says so.
    if text("token_type").is_some_and(|kind| !kind.eq_ignore_ascii_case("n_a")) {
        return Err("says that its identity assertion is an access token");
    }
    let token = text("access_token").unwrap_or_default();
    match token.len() <= MAX_ASSERTION && is_jwt(token) {
        true => Ok(Secret::new(token.to_owned())),
        false => Err("gave an identity assertion that is not a JWT"),
    }
}

/// Says whether a text has the form of a signed JWT.
pub(crate) fn is_jwt(text: &str) -> bool {
    let is_part = |part: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        !part.is_empty() && part.bytes().all(known)
    };
    text.split('.').count() == 3 && text.split('.').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(patch: Value) -> Result<Secret<String>, &'static str> {
        let mut document = json!({
            "issued_token_type": ID_JAG, "access_token": "e30.e30.c2ln", "token_type": "N_A",
            "expires_in": 300,
        });
        for (name, value) in patch.as_object().expect("an object") {
            document[name] = value.clone();
        }
        assertion(document.to_string().as_bytes())
    }

    #[test]
    fn an_assertion_is_read_and_hidden() {
        let read = read(json!({})).expect("usable");
        assert_eq!(read.reveal(), "e30.e30.c2ln");
        let vouched = Vouched {
            assertion: read,
            refresh_token: Some(Secret::new("s3cret".into())),
        };
        let shown = format!("{vouched:?}");
        assert!(
            !shown.contains("e30") && !shown.contains("s3cret"),
            "{shown}"
        );
    }

    #[test]
    fn what_is_no_assertion_for_another_server_is_refused() {
        let access = "urn:ietf:params:oauth:token-type:access_token";
        for patch in [
            json!({ "issued_token_type": access }),
            json!({ "issued_token_type": null }),
            json!({ "token_type": "Bearer" }),
            json!({ "access_token": "" }),
            json!({ "access_token": 1 }),
            json!({ "access_token": "a.b" }),
            json!({ "access_token": "a.b.c d" }),
            json!({ "access_token": "a.b.c\r\n" }),
            json!({ "access_token": format!("a.b.{}", "c".repeat(MAX_ASSERTION)) }),
        ] {
            assert!(read(patch.clone()).is_err(), "{patch}");
        }
        assert!(assertion(b"<html>").is_err());
        assert!(read(json!({ "token_type": "n_a" })).is_ok());
    }
}
