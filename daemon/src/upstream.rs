//! The transports to a server, and what can go wrong on them. Knows headers and
//! bodies; sends the token of the moment and renews none, no sessions' lives, no policy about repeating.

pub(crate) mod headers;
pub(crate) mod http_sse;
pub(crate) mod retry_after;
mod sending;
pub(crate) mod sse;
pub(crate) mod streamable_http;
mod turns;

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::http::{CookieJar, HttpError, Response};
use crate::oauth::browsers::SignInUrl;
use crate::oauth::challenge::{Challenge, ChallengeError};
use crate::oauth::token_source::{AccessToken, TokenSource};
use crate::server_url::ServerUrl;

pub(crate) use headers::{SessionId, UserHeaders};
pub(crate) use http_sse::HttpSse;
pub(crate) use streamable_http::{PostReply, StreamableHttp};

/// The two transports of the revisions to 2025-11-25.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TransportKind {
    /// Streamable HTTP (2025-03-26 and later).
    StreamableHttp,
    /// HTTP+SSE (2024-11-05).
    HttpSse,
}

impl TransportKind {
    /// Returns its name for people and records.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::StreamableHttp => "streamable-http",
            Self::HttpSse => "http+sse",
        }
    }

    /// Reads its name.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::StreamableHttp, Self::HttpSse]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

/// Where requests go: a server's URL, the client for it, the user's headers.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// The server.
    pub(crate) url: ServerUrl,
    /// The client with the right network options.
    pub(crate) client: crate::http::HttpClient,
    /// The user's headers.
    pub(crate) headers: UserHeaders,
    /// The tokens to send; none if the user gives credentials.
    pub(crate) tokens: Option<TokenSource>,
    /// The cookies of the session; none if the user wants none.
    pub(crate) cookies: Option<CookieJar>,
    /// Largest message from the server, in bytes.
    pub(crate) max_message: usize,
}

impl Target {
    /// Returns foreign text without what is secret in the token, the user's headers
    /// and URL, which a server may have put into it.
    fn redacted(&self, text: &str) -> String {
        let token = self.tokens.as_ref().and_then(TokenSource::current);
        let url = self.url.url();
        let query = url.query_pairs().map(|(_, value)| value.into_owned());
        let raw = url
            .query()
            .into_iter()
            .flat_map(|query| query.split(['&', '=']));
        let user = [Some(url.username()), url.password()].into_iter().flatten();
        let raw = raw
            .chain(user)
            .chain(token.as_ref().and_then(AccessToken::text));
        let cookies = self.cookies.iter().flat_map(CookieJar::secrets);
        let secrets = query.chain(raw.map(str::to_owned)).chain(cookies);
        let secrets: Vec<String> = secrets.collect();
        headers::without(
            &self.headers.redacted(text),
            secrets.iter().map(String::as_str),
        )
    }
}

/// Why the server gave no usable answer. Completes "the server …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UpstreamError {
    /// Nothing was sent.
    #[error("could not be reached: {0}")]
    Unreachable(String),
    /// Something may have been sent, and no answer came.
    #[error("broke the connection before it answered: {0}")]
    Interrupted(String),
    /// It wants credentials (401), or better ones (403), and did not handle the
    /// message.
    #[error(
        "answered {} {}: {}",
        .0.status, if .0.status == 401 { "unauthorized" } else { "forbidden" }, .0.advice()
    )]
    Unauthorized(Box<Refusal>),
    /// Likewise, and nobody has signed in, for this reason.
    #[error(
        "answered {status}{}: {why}",
        if *.status == 401 { " unauthorized" } else { ", which is 401 unauthorized for want of access" }
    )]
    NotSignedIn {
        status: u16,
        why: String,
        /// Where to sign in.
        url: Option<SignInUrl>,
    },
    /// There is no token for it, and nobody has to sign in for one.
    #[error("was not asked: {0}")]
    NoToken(String),
    /// It does not know our session: the message was not handled. Inside is what
    /// it said, for the case that this is not about the session after all.
    #[error("has ended the session")]
    SessionGone(Box<UpstreamError>),
    /// It lost the session while it worked on the message.
    #[error("lost the session before it answered: {0}")]
    SessionLost(String),
    /// It has no time for the message and did not handle it, this many times.
    #[error("answered {status}{}: {}; try again {}", in_a_row(*.times), overload(*.status), soon(*.retry_after))]
    Busy {
        status: u16,
        retry_after: Option<Duration>,
        times: u32,
        /// A JSON-RPC error that came with it.
        body: Option<Bytes>,
    },
    /// Another HTTP error; the text is what it said, shortened.
    #[error("answered {status}{}", detail(*.status, .said))]
    Status { status: u16, said: String },
    /// An HTTP error with a JSON-RPC error inside, kept as it came.
    #[error("answered {status} with a JSON-RPC error")]
    JsonRpc { status: u16, body: Bytes },
    /// Something that is not MCP, such as a web page.
    #[error("answered with {what}, which is not MCP: check the URL")]
    NotMcp { status: u16, what: String },
    /// A message over the limit, in bytes.
    #[error("sent a message of more than {0} bytes, which is the limit")]
    TooLarge(usize),
    /// A redirect that is not followed.
    #[error("redirects to {0}, which is not followed: use the new address if you trust it")]
    Redirected(String),
    /// No answer in this time.
    #[error("did not answer within {} s", .0.as_secs_f64())]
    TimedOut(Duration),
    /// It breaks the protocol in a way that cannot be mended.
    #[error("broke the protocol: {0}")]
    Protocol(String),
    /// Our side cannot: unreadable certificates, too many sessions, stopping.
    #[error("was not asked: {0}")]
    Here(String),
}

/// What a server said when it wanted credentials, or better ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The HTTP status.
    pub(crate) status: u16,
    /// Its challenge.
    pub(crate) challenge: Challenge,
    /// The token that it refused.
    pub(crate) token: Option<AccessToken>,
    /// Whether it refused what the user gives as `Authorization`.
    pub(crate) is_header: bool,
}

impl Refusal {
    fn advice(&self) -> &'static str {
        match self.is_header {
            true => {
                "it refuses the Authorization header that it is given with --header, --header-file or in config.toml: give a value that is good"
            }
            false => {
                "it needs a sign-in or a token; give one with --header 'Authorization: Bearer ...'"
            }
        }
    }

    /// Says whether another token may help: not where access is refused as such.
    pub(crate) fn is_about_tokens(&self) -> bool {
        self.status == 401 || self.challenge.error == Some(ChallengeError::InsufficientScope)
    }
}

fn detail(status: u16, said: &str) -> String {
    let advice = match status {
        300..400 => " (it redirects where an answer was due: check the URL)",
        413 => " (the message is too long for it: send less at once)",
        415 => " (it does not take JSON: check the URL)",
        404 | 405 => " (there is no MCP endpoint at this URL: check it)",
        500.. => " (the server has a problem: try again later)",
        _ => "",
    };
    match said {
        "" => advice.into(),
        said => format!(": {said}{advice}"),
    }
}

fn is_passing(status: u16) -> bool {
    matches!(status, 500 | 502..=504)
}

fn in_a_row(times: u32) -> String {
    match times {
        0 | 1 => String::new(),
        times => format!(" {times} times in a row"),
    }
}

fn overload(status: u16) -> &'static str {
    match status {
        429 => "too many requests",
        _ => "it cannot serve at the moment",
    }
}

/// Says when to come back. A moment beyond a day is not meant so.
fn soon(retry_after: Option<Duration>) -> String {
    match retry_after.map(|wait| wait.as_secs()) {
        Some(seconds @ 1..=86_400) => format!("in {seconds} s"),
        _ => "later".into(),
    }
}

impl UpstreamError {
    /// Says whether the server may have handled the message all the same.
    pub(crate) fn maybe_executed(&self) -> bool {
        match self {
            Self::Interrupted(_)
            | Self::SessionLost(_)
            | Self::TimedOut(_)
            | Self::TooLarge(_)
            | Self::NotMcp { .. }
            | Self::Protocol(_) => true,
            Self::Status { status, .. } => *status >= 500,
            _ => false,
        }
    }

    /// Says whether the trouble may be over in a moment, so that what is safe to
    /// repeat is worth repeating.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Interrupted(_) => true,
            Self::Status { status, .. } => is_passing(*status),
            // An error with an id is the answer; one without was made before the
            // request was understood.
            Self::JsonRpc { status, body } => {
                is_passing(*status)
                    && crate::jsonrpc::Envelope::parse(body.clone())
                        .is_ok_and(|error| error.id().is_none())
            }
            _ => false,
        }
    }

    /// Returns the HTTP status behind it.
    pub(crate) fn http_status(&self) -> Option<u16> {
        match self {
            Self::Unauthorized(refusal) => Some(refusal.status),
            Self::NotSignedIn { status, .. }
            | Self::Status { status, .. }
            | Self::Busy { status, .. }
            | Self::NotMcp { status, .. }
            | Self::JsonRpc { status, .. } => Some(*status),
            Self::SessionGone(refusal) => refusal.http_status(),
            _ => None,
        }
    }
}

impl From<HttpError> for UpstreamError {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::Setup(cause) => Self::Here(cause),
            HttpError::Connect(cause) => Self::Unreachable(cause),
            HttpError::Broken(cause) => Self::Interrupted(cause),
            HttpError::Redirect(origin) => Self::Redirected(origin),
            HttpError::Silent(patience) => Self::TimedOut(patience),
            HttpError::TooLarge(limit) => Self::TooLarge(limit),
        }
    }
}

/// Longest piece of an error page that is shown, in characters.
const MAX_SAID: usize = 200;

/// How long an error body is waited for; the status alone says enough.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Most bytes of an error body that are read.
const MAX_ERROR_BODY: usize = 64 * 1024;

/// As what a request was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Before the handshake.
    Stranger,
    /// After a handshake that gave no session id.
    Sessionless,
    /// With the session's id.
    InSession,
}

/// Turns an unsuccessful response into an error. `token`: the request carried this one.
async fn refusal(
    response: Response,
    token: Option<AccessToken>,
    standing: Standing,
    target: &Target,
) -> UpstreamError {
    let status = response.status().as_u16();
    if status == 401 || status == 403 {
        return unauthorized(status, &response, token, target);
    }
    let media_type = response.media_type();
    let retry_after = response
        .header("retry-after")
        .and_then(|value| retry_after::read(value, SystemTime::now()));
    let body = tokio::time::timeout(ERROR_BODY_TIMEOUT, response.body(MAX_ERROR_BODY)).await;
    let body = body.ok().and_then(Result::ok).unwrap_or_default();
    let envelope = crate::jsonrpc::Envelope::parse(body.clone());
    let error = envelope.ok().filter(|envelope| envelope.is_error());
    let is_error = error.is_some();
    // Only then is it sure that the message was not handled.
    if status == 429 || (status == 503 && retry_after.is_some()) {
        return UpstreamError::Busy {
            status,
            retry_after,
            times: 1,
            body: is_error.then_some(body),
        };
    }
    let is_gone = is_session_gone(status, standing, &body, error.as_ref());
    let refusal = match media_type.as_str() {
        _ if is_error => UpstreamError::JsonRpc { status, body },
        "text/html" | "application/xhtml+xml" if status < 500 => UpstreamError::Status {
            status,
            said: "a web page, which is not MCP".into(),
        },
        "text/plain" | "application/json" => UpstreamError::Status {
            status,
            said: printable(&target.redacted(&String::from_utf8_lossy(&body)), MAX_SAID),
        },
        _ => UpstreamError::Status {
            status,
            said: String::new(),
        },
    };
    match is_gone {
        true => UpstreamError::SessionGone(Box::new(refusal)),
        false => refusal,
    }
}

/// Turns a 401 or 403 into an error.
fn unauthorized(
    status: u16,
    response: &Response,
    token: Option<AccessToken>,
    target: &Target,
) -> UpstreamError {
    let sent = token.as_ref().and_then(AccessToken::text);
    let without_secrets = |text: &str| headers::without(&target.redacted(text), sent.into_iter());
    let challenge = Challenge::parse(response.headers(), without_secrets);
    let is_bound = token.as_ref().is_some_and(|token| token.proofs().is_some());
    if is_bound && challenge.error.is_some_and(ChallengeError::is_about_proof) {
        return sending::unproven(status, challenge.description.as_deref());
    }
    UpstreamError::Unauthorized(Box::new(Refusal {
        status,
        is_header: token.is_none() && target.headers.authorize(),
        challenge,
        token,
    }))
}

/// Says whether a refusal means that the server does not know our session, or, if
/// it kept none when we shook hands, that it does so now.
fn is_session_gone(
    status: u16,
    standing: Standing,
    body: &[u8],
    error: Option<&crate::jsonrpc::Envelope>,
) -> bool {
    // Our ids are numbers; an error with one is the answer, whatever its words.
    let id = error.and_then(crate::jsonrpc::Envelope::id);
    let is_answer = id.is_some_and(|id| id.as_json().parse::<u64>().is_ok());
    match (status, standing) {
        (_, Standing::Stranger) => false,
        (404, Standing::InSession) => true,
        (404, Standing::Sessionless) => error.is_some() && !is_answer,
        // The reference server says so to a session id from before its restart.
        (400, _) => !is_answer && says_no_session(body),
        _ => false,
    }
}

fn says_no_session(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body).to_ascii_lowercase();
    [
        "no valid session",
        "session not found",
        "invalid session",
        "unknown session",
        "session expired",
    ]
    .iter()
    .any(|said| text.contains(said))
}

/// Returns foreign text as one harmless line of at most `limit` characters.
pub(crate) fn printable(text: &str, limit: usize) -> String {
    let clean = |character: char| {
        if character.is_control() {
            ' '
        } else {
            character
        }
    };
    let line: String = text.trim().chars().take(limit).map(clean).collect();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_becomes_one_line() {
        assert_eq!(printable(" a\x1b[31m\r\nb\u{7} ", 10), "a [31m b");
        assert_eq!(printable(&"x".repeat(1000), 10).len(), 10);
    }

    #[test]
    fn wording_of_lost_sessions_is_known() {
        assert!(says_no_session(
            br#"{"error":{"message":"Bad Request: No valid session ID provided"}}"#
        ));
        assert!(!says_no_session(b"Bad Request: missing field"));
    }

    #[test]
    fn an_error_with_our_id_is_an_answer_and_not_the_end_of_the_session() {
        use Standing::{InSession, Sessionless, Stranger};
        let no_session = "No valid session ID provided";
        for (status, standing, id, said, gone) in [
            (400, InSession, "null", no_session, true),
            (400, InSession, "\"server-error\"", no_session, true),
            (400, InSession, "7", "invalid session cookie", false),
            (400, Sessionless, "null", no_session, true),
            (400, Sessionless, "7", no_session, false),
            (400, Sessionless, "null", "missing field", false),
            (404, InSession, "7", "x", true),
            (404, Sessionless, "null", "x", true),
            (404, Sessionless, "7", "x", false),
            (404, Stranger, "null", "x", false),
            (400, Stranger, "null", no_session, false),
        ] {
            let body = format!(
                r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32000,"message":"{said}"}}}}"#
            );
            let error = crate::jsonrpc::Envelope::parse(body.clone().into()).expect("valid");
            assert_eq!(
                is_session_gone(status, standing, body.as_bytes(), Some(&error)),
                gone,
                "{status} {standing:?} {body}"
            );
        }
        assert!(is_session_gone(404, InSession, b"Cannot POST /mcp", None));
        assert!(!is_session_gone(
            404,
            Sessionless,
            b"Cannot POST /mcp",
            None
        ));
    }
}
