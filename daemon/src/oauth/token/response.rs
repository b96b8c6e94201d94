//! What a token endpoint answers (RFC 6749, section 5.1), cleaned: only what can
//! be used gets through. Pure.

use std::time::Duration;

use oauth2::basic::BasicTokenType;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::oauth::dpop;
use crate::oauth::scope::Scope;
use crate::secret::Secret;

/// Longest life that is believed; what is meant to last is refreshed anyway.
const MAX_LIFE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Longest token, in bytes; more fits into no header.
const MAX_TOKEN: usize = 64 * 1024;

/// Tokens, fresh from the authorization server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TokenResponse {
    /// Fits into a header.
    pub(crate) access_token: Secret<String>,
    /// `None`: the one in use stays.
    pub(crate) refresh_token: Option<Secret<String>>,
    /// `None`: not said, or nothing that can be believed.
    pub(crate) expires_in: Option<Duration>,
    /// `None`: what was asked for.
    pub(crate) scope: Option<Scope>,
    /// Fits into a header.
    pub(crate) id_token: Option<Secret<String>>,
    /// Whether the access token is bound to a key (DPoP); `None`: not said.
    pub(crate) is_bound: Option<bool>,
}

/// The same for the `oauth2` crate, which reads it.
#[derive(Debug, Deserialize, Serialize)]
#[serde(try_from = "Map<String, Value>")]
pub(super) struct Answer {
    access_token: oauth2::AccessToken,
    token_type: BasicTokenType,
    expires_in: Option<Duration>,
    refresh_token: Option<oauth2::RefreshToken>,
    scopes: Option<Vec<oauth2::Scope>>,
    #[serde(skip)]
    id_token: Option<Secret<String>>,
    /// `None`: it does not say of which type its token is.
    #[serde(skip)]
    is_bound: Option<bool>,
}

/// Why an answer cannot be used. Completes "the authorization server ...".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    #[error("answered with something that is not a JSON object")]
    NotJson,
    #[error("answered without an access token")]
    NoToken,
    #[error("gave a token that fits into no header")]
    Token,
    #[error("did not say of which type its token is")]
    NoType,
    #[error("gave a token of a type that was not asked for")]
    Type,
    #[error("gave a token that is not bound to a key (DPoP), which is what the server demands")]
    NotBound,
}

impl Unusable {
    /// Tells why a body could not be read, without a word of what is in it.
    pub(super) fn of(body: &[u8]) -> Self {
        match serde_json::from_slice::<Map<String, Value>>(body) {
            Ok(document) => Answer::try_from(document).err().unwrap_or(Self::NotJson),
            Err(_) => Self::NotJson,
        }
    }
}

impl TryFrom<Map<String, Value>> for Answer {
    type Error = Unusable;

    fn try_from(document: Map<String, Value>) -> Result<Self, Unusable> {
        let text = |name: &str| document.get(name).and_then(Value::as_str);
        let access_token = text("access_token").filter(|token| !token.is_empty());
        let access_token = access_token.ok_or(Unusable::NoToken)?;
        let is_bound = match text("token_type") {
            None => None,
            Some(found) if found.eq_ignore_ascii_case("bearer") => Some(false),
            Some(found) if found.eq_ignore_ascii_case(dpop::SCHEME) => Some(true),
            Some(_) => return Err(Unusable::Type),
        };
        let refresh_token = text("refresh_token").filter(|token| !token.is_empty());
        let id_token = text("id_token").filter(|token| fits_a_header(token));
        if !fits_a_header(access_token)
            || refresh_token.is_some_and(|token| token.len() > MAX_TOKEN)
        {
            return Err(Unusable::Token);
        }
        let scope = document.get("scope").and_then(scope);
        let owned = |token: &str| oauth2::Scope::new(token.to_owned());
        Ok(Self {
            access_token: oauth2::AccessToken::new(access_token.to_owned()),
            token_type: BasicTokenType::Bearer,
            expires_in: document.get("expires_in").and_then(life),
            refresh_token: refresh_token.map(|token| oauth2::RefreshToken::new(token.to_owned())),
            scopes: scope.map(|scope| scope.tokens().map(owned).collect()),
            id_token: id_token.map(|token| Secret::new(token.to_owned())),
            is_bound,
        })
    }
}

/// Returns the refresh token of an answer that cannot be used otherwise.
pub(super) fn refresh_token_in(body: &[u8]) -> Option<Secret<String>> {
    let document: Map<String, Value> = serde_json::from_slice(body).ok()?;
    let token = document.get("refresh_token")?.as_str()?;
    let is_one = !token.is_empty() && token.len() <= MAX_TOKEN;
    is_one.then(|| Secret::new(token.to_owned()))
}

/// Reads a life: seconds, as a number or in a string. What is no time ahead says
/// nothing.
fn life(value: &Value) -> Option<Duration> {
    let seconds = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    if seconds.is_nan() || seconds < 1.0 {
        return None;
    }
    let life = Duration::try_from_secs_f64(seconds.floor());
    Some(life.unwrap_or(MAX_LIFE).min(MAX_LIFE))
}

/// Reads a scope; some servers send a list.
fn scope(value: &Value) -> Option<Scope> {
    match value {
        Value::String(text) => Scope::parse(text),
        Value::Array(tokens) => Scope::from_tokens(tokens.iter().filter_map(Value::as_str)),
        _ => None,
    }
}

/// Visible ASCII: no line ends, no spaces.
fn fits_a_header(token: &str) -> bool {
    let visible = |byte: u8| byte.is_ascii_graphic();
    !token.is_empty() && token.len() <= MAX_TOKEN && token.bytes().all(visible)
}

impl oauth2::TokenResponse for Answer {
    type TokenType = BasicTokenType;

    fn access_token(&self) -> &oauth2::AccessToken {
        &self.access_token
    }

    fn token_type(&self) -> &BasicTokenType {
        &self.token_type
    }

    fn expires_in(&self) -> Option<Duration> {
        self.expires_in
    }

    fn refresh_token(&self) -> Option<&oauth2::RefreshToken> {
        self.refresh_token.as_ref()
    }

    fn scopes(&self) -> Option<&Vec<oauth2::Scope>> {
        self.scopes.as_ref()
    }
}

impl From<Answer> for TokenResponse {
    fn from(answer: Answer) -> Self {
        let scopes = answer.scopes.iter().flatten();
        let refresh_token = answer.refresh_token.map(oauth2::RefreshToken::into_secret);
        Self {
            scope: Scope::from_tokens(scopes.map(|scope| scope.as_str())),
            access_token: Secret::new(answer.access_token.into_secret()),
            refresh_token: refresh_token.map(Secret::new),
            expires_in: answer.expires_in,
            id_token: answer.id_token,
            is_bound: answer.is_bound,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(document: Value) -> Result<TokenResponse, Unusable> {
        let body = document.to_string();
        serde_json::from_str::<Answer>(&body)
            .map(TokenResponse::from)
            .map_err(|_| Unusable::of(body.as_bytes()))
    }

    #[test]
    fn honest_answers_are_read() {
        let response = read(json!({
            "access_token": "at", "token_type": "bearer", "expires_in": 3600,
            "refresh_token": "rt", "scope": "a b", "id_token": "it", "more": [1],
        }))
        .expect("usable");
        assert_eq!(response.access_token.reveal(), "at");
        assert_eq!(response.expires_in, Some(Duration::from_secs(3600)));
        assert_eq!(response.refresh_token.expect("it is there").reveal(), "rt");
        assert_eq!(response.scope, Scope::parse("a b"));
        assert_eq!(response.id_token.expect("it is there").reveal(), "it");
    }

    #[test]
    fn lives_are_cleaned() {
        let check = |expires_in: Value, expected: Option<u64>| {
            let document = json!({
                "access_token": "at", "token_type": "Bearer", "expires_in": expires_in.clone(),
            });
            let life = read(document).expect("usable").expires_in;
            assert_eq!(life, expected.map(Duration::from_secs), "{expires_in}");
        };
        check(json!(3600), Some(3600));
        check(json!("3600"), Some(3600));
        check(json!(3599.9), Some(3599));
        check(json!(1), Some(1));
        check(json!(0), None);
        check(json!(-1), None);
        check(json!(0.5), None);
        check(json!(1e18), Some(MAX_LIFE.as_secs()));
        check(json!(1e300), Some(MAX_LIFE.as_secs()));
        check(json!(u64::MAX), Some(MAX_LIFE.as_secs()));
        for nonsense in [
            json!("NaN"),
            json!("inf0"),
            json!("x"),
            json!(""),
            json!({}),
        ] {
            check(nonsense, None);
        }
        check(json!("inf"), Some(MAX_LIFE.as_secs()));
        check(json!(null), None);
        check(json!([3600]), None);
    }

    #[test]
    fn unusable_answers_say_why_and_show_nothing() {
        let check = |document: Value, expected: Unusable| {
            assert_eq!(read(document.clone()), Err(expected), "{document}");
        };
        check(json!({}), Unusable::NoToken);
        check(
            json!({"access_token": "", "token_type": "Bearer"}),
            Unusable::NoToken,
        );
        check(
            json!({"access_token": 1, "token_type": "Bearer"}),
            Unusable::NoToken,
        );
        check(
            json!({"access_token": "at", "token_type": "mac"}),
            Unusable::Type,
        );
        check(
            json!({"access_token": "a\r\nX: y", "token_type": "Bearer"}),
            Unusable::Token,
        );
        check(
            json!({"access_token": "x".repeat(MAX_TOKEN + 1), "token_type": "Bearer"}),
            Unusable::Token,
        );
        check(json!("s3cret"), Unusable::NotJson);
        assert_eq!(Unusable::of(b"<html>"), Unusable::NotJson);
        assert_eq!(Unusable::of(b"{\"expires_in\": NaN}"), Unusable::NotJson);
    }

    #[test]
    fn odd_scopes_and_tokens_do_no_harm() {
        let response = read(json!({
            "access_token": "at", "token_type": "Bearer",
            "scope": ["a", "b\"", 1, "c"], "id_token": "no header", "refresh_token": "",
        }))
        .expect("usable");
        assert_eq!(response.scope, Scope::parse("a c"));
        assert_eq!(response.id_token, None);
        assert_eq!(response.refresh_token, None);
    }
}
