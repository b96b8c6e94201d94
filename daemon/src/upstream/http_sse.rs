//! HTTP+SSE (2024-11-05, Transports > HTTP with SSE): a GET stream that brings
//! everything the server says, and a POST endpoint that it names first. The
//! stream is the session: when it ends, both do.

use std::time::Duration;

use http::Method;
use url::Url;

use super::sse::{EventStream, StreamEvent};
use super::streamable_http::not_mcp;
use super::{Standing, Target, UpstreamError, refusal};
use crate::http::Payload;
use crate::oauth::token_source::TokenSource;
use crate::protocol::ProtocolVersion;

/// How long a server may take to name its endpoint. Servers do so at once; one
/// that does not is something else.
const ENDPOINT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the rest of a reply that says nothing is waited for.
const REST_TIMEOUT: Duration = Duration::from_secs(1);

/// Where to post within one HTTP+SSE session.
#[derive(Debug, Clone)]
pub(crate) struct HttpSse {
    target: Target,
    endpoint: Url,
    version: Option<ProtocolVersion>,
}

impl HttpSse {
    /// Opens the stream and waits for its `endpoint` event.
    pub(crate) async fn connect(target: Target) -> Result<(Self, EventStream), UpstreamError> {
        let opening = async {
            let headers = target.headers.listen(None, None, None);
            let getting = target.send(Method::GET, target.url.url(), headers, None);
            let (response, token) = getting.await?;
            if !response.status().is_success() {
                return Err(refusal(response, token, Standing::Stranger, &target).await);
            }
            if response.media_type() != "text/event-stream" {
                return Err(not_mcp(response.status(), &response.media_type()));
            }
            let mut events = EventStream::new(response, target.max_message);
            let endpoint = endpoint(target.url.url(), &mut events).await?;
            Ok((endpoint, events))
        };
        let seconds = ENDPOINT_TIMEOUT.as_secs();
        let timed_out =
            |_| UpstreamError::Protocol(format!("it named no endpoint within {seconds} s"));
        let (endpoint, events) = tokio::time::timeout(ENDPOINT_TIMEOUT, opening)
            .await
            .map_err(timed_out)??;
        Ok((
            Self {
                target,
                endpoint,
                version: None,
            },
            events,
        ))
    }

    /// Returns the same endpoint after the handshake.
    pub(crate) fn within(&self, version: ProtocolVersion) -> Self {
        Self {
            version: Some(version),
            ..self.clone()
        }
    }

    /// Returns the tokens that it sends.
    pub(crate) fn tokens(&self) -> Option<&TokenSource> {
        self.target.tokens.as_ref()
    }

    /// Posts one message; what answers it comes on the stream.
    pub(crate) async fn post(&self, message: impl Into<Payload>) -> Result<(), UpstreamError> {
        let headers = self.target.headers.post(None, self.version);
        let message = Some(message.into());
        let posting = self
            .target
            .send(Method::POST, &self.endpoint, headers, message);
        let (response, token) = posting.await?;
        if response.status().is_success() {
            // Read to the end, so that the connection can be used again.
            drop(tokio::time::timeout(REST_TIMEOUT, response.body(1024)).await);
            return Ok(());
        }
        // The endpoint's URI names the session.
        Err(refusal(response, token, Standing::InSession, &self.target).await)
    }
}

async fn endpoint(base: &Url, events: &mut EventStream) -> Result<Url, UpstreamError> {
    let no_endpoint =
        || UpstreamError::Protocol("its event stream does not begin with an endpoint".into());
    while let Some(event) = events.next().await {
        let StreamEvent::Event { name, data, .. } = event? else {
            return Err(no_endpoint());
        };
        if name != "endpoint" {
            continue;
        }
        let text = std::str::from_utf8(&data).map_err(|_| no_endpoint())?;
        let endpoint = base.join(text.trim()).map_err(|_| no_endpoint())?;
        // A foreign endpoint would receive the user's headers.
        if endpoint.origin() != base.origin() {
            return Err(UpstreamError::Redirected(
                endpoint.origin().ascii_serialization(),
            ));
        }
        return Ok(endpoint);
    }
    Err(no_endpoint())
}
