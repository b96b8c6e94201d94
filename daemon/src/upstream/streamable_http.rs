//! Streamable HTTP (2025-03-26 to 2025-11-25, Transports > Streamable HTTP): one
//! POST a message, one GET stream for what the server says unasked, DELETE at
//! the end.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};

use super::sse::EventStream;
use super::turns::Turns;
use super::{SessionId, Standing, Target, UpstreamError, refusal};
use crate::http::{HttpClient, Payload};
use crate::oauth::token_source::TokenSource;
use crate::protocol::ProtocolVersion;

/// What came back for a POST.
#[derive(Debug)]
pub(crate) enum PostReply {
    /// Accepted, nothing to read.
    Accepted,
    /// One JSON body.
    Json(Bytes),
    /// A stream that carries the answer.
    Events(EventStream),
}

/// One MCP endpoint, with or without a session.
#[derive(Debug, Clone)]
pub(crate) struct StreamableHttp {
    target: Target,
    session: Option<SessionId>,
    version: Option<ProtocolVersion>,
    turns: Arc<Turns>,
}

impl StreamableHttp {
    /// Makes an endpoint without a session, for `initialize`.
    pub(crate) fn new(target: Target) -> Self {
        Self {
            target,
            session: None,
            version: None,
            turns: Arc::default(),
        }
    }

    /// Returns the same endpoint within a session.
    pub(crate) fn within(&self, session: Option<SessionId>, version: ProtocolVersion) -> Self {
        Self {
            target: self.target.clone(),
            session,
            version: Some(version),
            turns: self.turns.clone(),
        }
    }

    /// Returns the same endpoint for what is said before the handshake ends.
    pub(crate) fn opening(&self, session: Option<SessionId>) -> Self {
        Self {
            session,
            ..self.clone()
        }
    }

    /// Uses another client, and so none of the connections made so far.
    pub(crate) fn use_client(&mut self, client: HttpClient) {
        self.target.client = client;
    }

    /// Returns the tokens that it sends.
    pub(crate) fn tokens(&self) -> Option<&TokenSource> {
        self.target.tokens.as_ref()
    }

    /// Keeps no cookies any more, and forgets those of the handshake.
    pub(crate) fn without_cookies(&self) {
        if let Some(cookies) = &self.target.cookies {
            cookies.close();
        }
    }

    /// Returns the session id if the server gave one.
    pub(crate) fn session(&self) -> Option<&SessionId> {
        self.session.as_ref()
    }

    fn standing(&self) -> Standing {
        match (&self.session, self.version) {
            (Some(_), _) => Standing::InSession,
            (None, Some(_)) => Standing::Sessionless,
            (None, None) => Standing::Stranger,
        }
    }

    /// Posts one message. Returns the session id of the response too, which only
    /// counts for `initialize`. Dropping the future abandons the request.
    pub(crate) async fn post(
        &self,
        message: impl Into<Payload>,
    ) -> Result<(PostReply, Option<SessionId>), UpstreamError> {
        let _turn = self.turns.take().await;
        let headers = self
            .target
            .headers
            .post(self.session.as_ref(), self.version);
        let url = self.target.url.url();
        let posting = self
            .target
            .send(Method::POST, url, headers, Some(message.into()))
            .await;
        self.turns.answered();
        let (response, token) = posting?;
        let status = response.status();
        if !status.is_success() {
            return Err(refusal(response, token, self.standing(), &self.target).await);
        }
        refuse_compressed(&response)?;
        let session = response.header("mcp-session-id").and_then(SessionId::parse);
        let reply = match response.media_type().as_str() {
            "text/event-stream" => {
                PostReply::Events(EventStream::new(response, self.target.max_message))
            }
            "application/json" => {
                let body = response.body(self.target.max_message).await?;
                if body.is_empty() {
                    PostReply::Accepted
                } else {
                    PostReply::Json(body)
                }
            }
            _ if status == StatusCode::ACCEPTED || status == StatusCode::NO_CONTENT => {
                PostReply::Accepted
            }
            "" if response.header("content-length") == Some("0") => PostReply::Accepted,
            other => return Err(not_mcp(status, other)),
        };
        Ok((reply, session))
    }

    /// Opens the stream for what the server says unasked; `None` if it has none
    /// (405, Listening for Messages from the Server).
    pub(crate) async fn listen(
        &self,
        last_event: Option<&str>,
    ) -> Result<Option<EventStream>, UpstreamError> {
        let headers = self
            .target
            .headers
            .listen(self.session.as_ref(), self.version, last_event);
        let url = self.target.url.url();
        let getting = self.target.send(Method::GET, url, headers, None);
        let (response, token) = getting.await?;
        if response.status() == StatusCode::METHOD_NOT_ALLOWED {
            return Ok(None);
        }
        if !response.status().is_success() {
            return Err(refusal(response, token, self.standing(), &self.target).await);
        }
        refuse_compressed(&response)?;
        match response.media_type().as_str() {
            "text/event-stream" => Ok(Some(EventStream::new(response, self.target.max_message))),
            other => Err(not_mcp(response.status(), other)),
        }
    }

    /// Ends the session at the server, if there is one. 405 is a fine answer, and
    /// whatever else is not about the token.
    pub(crate) async fn delete(&self) -> Result<(), UpstreamError> {
        if self.session.is_none() {
            return Ok(());
        }
        let headers = self
            .target
            .headers
            .with_session(self.session.as_ref(), self.version);
        let url = self.target.url.url();
        let deleting = self.target.send(Method::DELETE, url, headers, None);
        let (response, token) = deleting.await?;
        match response.status() {
            StatusCode::UNAUTHORIZED => {
                Err(refusal(response, token, self.standing(), &self.target).await)
            }
            _ => Ok(()),
        }
    }
}

/// Refuses a body in an encoding that was not asked for: none is, since a few
/// compressed bytes can stand for a great many.
fn refuse_compressed(response: &crate::http::Response) -> Result<(), UpstreamError> {
    match response.header("content-encoding") {
        None | Some("" | "identity") => Ok(()),
        Some(encoding) => {
            let encoding = super::printable(encoding, 40);
            Err(UpstreamError::Protocol(format!(
                "its answer is compressed ({encoding}), which was not asked for"
            )))
        }
    }
}

/// Describes a body that is not MCP by its media type.
pub(super) fn not_mcp(status: StatusCode, media_type: &str) -> UpstreamError {
    let what = match media_type {
        "text/html" | "application/xhtml+xml" => "a web page".into(),
        "" => "a body of no stated type".into(),
        other => super::printable(other, 60),
    };
    UpstreamError::NotMcp {
        status: status.as_u16(),
        what,
    }
}
