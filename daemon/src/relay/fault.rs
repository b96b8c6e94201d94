//! What goes wrong upstream, as the client and the user hear it. The only table
//! from domain errors to JSON-RPC errors.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::jsonrpc::{self, RequestId};
use crate::oauth::token_source::TokenSource;
use crate::upstream::UpstreamError;

/// The code of errors made by the bridge, as the npm package's.
pub(crate) const BRIDGE_ERROR: i64 = -32001;

/// Whom a sentence is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Whom<'a> {
    /// The server, for people.
    pub(crate) server: &'a str,
    /// On whose behalf it is asked.
    pub(crate) tokens: Option<&'a TokenSource>,
}

impl Whom<'_> {
    /// Returns what to do where nobody is signed in, to be said last.
    pub(crate) fn advice(&self) -> String {
        let signs_in = |tokens: &TokenSource| tokens.identity().identity_provider().is_some();
        let is_account = |tokens: &TokenSource| tokens.is_unattended() && !signs_in(tokens);
        match self.tokens.is_some_and(is_account) {
            // What is wrong with it is said already.
            true => String::new(),
            false => format!("; run: {}", self.login()),
        }
    }

    /// Returns the command that signs in.
    fn login(&self) -> String {
        match self.tokens {
            Some(tokens) => tokens.identity().login_command(),
            None => format!("mcp-remote login {}", crate::shell::quoted(self.server)),
        }
    }
}

/// Says in one sentence what happened, to which server, and what to do.
pub(crate) fn sentence(whom: Whom<'_>, error: &UpstreamError) -> String {
    said(whom, error, false)
}

/// Says the same of a request that may have been executed.
pub(super) fn said(whom: Whom<'_>, error: &UpstreamError, maybe_executed: bool) -> String {
    let server = whom.server;
    let caution = match maybe_executed {
        true => {
            "; the request may have been executed: check whether it was done before repeating it"
        }
        false => "",
    };
    let advice = match error {
        UpstreamError::Unreachable(_) => "; check the URL and the server, then try again",
        UpstreamError::TimedOut(_) if !maybe_executed => "; try again, or ask whoever runs it",
        UpstreamError::NotSignedIn { .. } => {
            return format!("{server} {error}{}{caution}", whom.advice());
        }
        _ => "",
    };
    format!("{server} {error}{advice}{caution}")
}

/// Builds the answer to a request that the server did not answer.
pub(crate) fn response(
    id: &RequestId,
    whom: Whom<'_>,
    error: &UpstreamError,
    maybe_executed: bool,
) -> Bytes {
    if let UpstreamError::JsonRpc { body, .. } = error
        && let Some(own) = with_own_error(id, body)
    {
        return own;
    }
    let mut data = json!({ "server": whom.server, "cause": error.to_string() });
    if let Some(status) = error.http_status() {
        data["httpStatus"] = status.into();
    }
    if let UpstreamError::NoToken(_) = error {
        data["noToken"] = true.into();
    }
    if let UpstreamError::NotSignedIn { url: Some(url), .. } = error {
        data["authorizationUrl"] = url.as_str().into();
        if let Some(code) = url.code() {
            data["userCode"] = code.code.as_str().into();
            data["verificationUri"] = code.page.as_str().into();
        }
    }
    let mut message = format!("mcp-remote: {}", said(whom, error, maybe_executed));
    if let UpstreamError::NotSignedIn { url: Some(url), .. } = error
        && let Some(code) = url.code()
    {
        // Here only: a sentence is logged, and who reads a log could use the code.
        message.push_str(&format!("; or visit {} and enter {}", code.page, code.code));
    }
    if maybe_executed {
        data["maybeExecuted"] = true.into();
    }
    jsonrpc::error_response(Some(id), BRIDGE_ERROR, &message, Some(&data.to_string()))
}

/// The server's own error, for the client's id.
fn with_own_error(id: &RequestId, body: &[u8]) -> Option<Bytes> {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        error: &'a RawValue,
    }
    let body: Body<'_> = serde_json::from_slice(body).ok()?;
    Some(
        format!(
            r#"{{"jsonrpc":"2.0","id":{},"error":{}}}"#,
            id.as_json(),
            body.error.get()
        )
        .into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::browsers::SignInUrl;

    fn whom(server: &str) -> Whom<'_> {
        Whom {
            server,
            tokens: None,
        }
    }

    fn answer(error: &UpstreamError, sent: bool) -> serde_json::Value {
        let maybe_executed = sent && error.maybe_executed();
        let id = RequestId::from_json("5");
        let bytes = response(&id, whom("https://h/mcp"), error, maybe_executed);
        serde_json::from_slice(&bytes).expect("valid")
    }

    #[test]
    fn errors_say_what_happened_to_whom() {
        let refused = answer(
            &UpstreamError::Unreachable("connection refused".into()),
            true,
        );
        assert_eq!(refused["error"]["code"], -32001);
        assert_eq!(
            refused["error"]["message"],
            "mcp-remote: https://h/mcp could not be reached: connection refused; check the URL and the server, then try again"
        );
        assert!(refused["error"]["data"].get("maybeExecuted").is_none());
        let status = answer(
            &UpstreamError::Status {
                status: 502,
                said: "bad".into(),
            },
            true,
        );
        assert_eq!(status["error"]["data"]["httpStatus"], 502);
        assert_eq!(status["error"]["data"]["maybeExecuted"], true);
        let unsent = answer(
            &UpstreamError::Status {
                status: 502,
                said: String::new(),
            },
            false,
        );
        assert!(unsent["error"]["data"].get("maybeExecuted").is_none());
    }

    #[test]
    fn nobody_is_told_to_repeat_what_may_have_been_done() {
        let late = UpstreamError::TimedOut(std::time::Duration::from_secs(2));
        let message = answer(&late, true)["error"]["message"].to_string();
        assert!(!message.contains("try again"), "{message}");
        assert!(message.contains("before repeating it"), "{message}");
        let message = answer(&late, false)["error"]["message"].to_string();
        assert!(message.contains("try again") && !message.contains("executed"));
    }

    #[test]
    fn a_session_that_is_gone_has_the_status_that_said_so() {
        let said = "no valid session".to_owned();
        let refusal = UpstreamError::Status { status: 400, said };
        let gone = answer(&UpstreamError::SessionGone(Box::new(refusal)), true);
        assert_eq!(gone["error"]["data"]["httpStatus"], 400, "{gone}");
    }

    #[test]
    fn the_servers_own_error_passes_with_our_id() {
        let body = Bytes::from_static(br#"{"jsonrpc":"2.0","id":null,"error":{"code":-32099,"message":"m","data":{"n":9007199254740993}}}"#);
        let bytes = response(
            &RequestId::from_json("\"x\""),
            whom("s"),
            &UpstreamError::JsonRpc { status: 400, body },
            true,
        );
        assert_eq!(
            bytes,
            r#"{"jsonrpc":"2.0","id":"x","error":{"code":-32099,"message":"m","data":{"n":9007199254740993}}}"#
        );
    }

    #[test]
    fn a_sign_in_by_code_is_told_whole() {
        let url = |text: &str| url::Url::parse(text).expect("a URL");
        let (page, complete) = (url("https://as/device"), url("https://as/device?c=A-B"));
        for (given, expected) in [(Some(&complete), &complete), (None, &page)] {
            let error = UpstreamError::NotSignedIn {
                status: 401,
                why: "somebody has to sign in".into(),
                url: Some(SignInUrl::by_code(&page, given, "A-B")),
            };
            assert!(!sentence(whom("https://h/mcp"), &error).contains("A-B"));
            let error = answer(&error, false)["error"].clone();
            let message = error["message"].as_str().expect("a message");
            assert!(message.ends_with("; or visit https://as/device and enter A-B"));
            let data = &error["data"];
            assert_eq!(data["authorizationUrl"], expected.as_str());
            assert_eq!(data["verificationUri"], page.as_str());
            assert_eq!(data["userCode"], "A-B");
        }
    }

    #[test]
    fn a_missing_sign_in_says_401_and_what_to_do() {
        let url = url::Url::parse("https://as/authorize?state=s").expect("a URL");
        for status in [401, 403] {
            let error = UpstreamError::NotSignedIn {
                status,
                why: "somebody has to sign in".into(),
                url: Some(SignInUrl::new(url.clone())),
            };
            let answer = answer(&error, true);
            let message = answer["error"]["message"].as_str().expect("a message");
            for text in [
                "401",
                "unauthorized",
                "run: mcp-remote login https://h/mcp",
                &status.to_string(),
            ] {
                assert!(message.contains(text), "no {text} in {message}");
            }
            assert!(!message.contains("state="), "{message}");
            let data = &answer["error"]["data"];
            assert_eq!(data["authorizationUrl"], url.as_str());
            assert_eq!(data["httpStatus"], status);
            assert!(data.get("maybeExecuted").is_none());
        }
    }
}
