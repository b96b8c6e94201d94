//! What a session does when the server refuses the token: another one, and the same
//! once more. Asks nobody to sign in, which is up to whoever waits for the answer.

use bytes::Bytes;

use super::exchange::Upstream;
use crate::oauth::token_source::{TokenError, TokenSource, Wanting};
use crate::upstream::sse::EventStream;
use crate::upstream::{PostReply, StreamableHttp, UpstreamError};

/// Waits for a token other than the refused one, if there can be one without anybody
/// doing something; then the server is asked again.
///
/// # Errors
/// The error itself if a sign-in may help.
pub(super) async fn renew(
    tokens: Option<&TokenSource>,
    error: UpstreamError,
) -> Result<(), UpstreamError> {
    let (Some(tokens), UpstreamError::Unauthorized(refusal)) = (tokens, &error) else {
        return Err(error);
    };
    if !refusal.is_about_tokens() {
        return Err(error);
    }
    let wanting = Wanting {
        may_sign_in: false,
        ..Wanting::default()
    };
    let challenge = refusal.challenge.clone();
    match tokens
        .renew(refusal.token.as_ref(), challenge, wanting)
        .await
    {
        Ok(_) => Ok(()),
        Err(why @ (TokenError::Rejected(_) | TokenError::Transient(_))) => {
            Err(UpstreamError::NotSignedIn {
                status: refusal.status,
                why: why.to_string(),
                url: None,
            })
        }
        Err(TokenError::LoginRequired { .. } | TokenError::NotOffered) => Err(error),
    }
}

/// Posts a message that nobody else says again, with another token if the first is
/// refused.
pub(super) async fn post(upstream: &Upstream, message: Bytes) -> Result<PostReply, UpstreamError> {
    match upstream.post(message.clone()).await {
        Err(error) => {
            renew(upstream.tokens(), error).await?;
            upstream.post(message).await
        }
        posted => posted,
    }
}

/// Ends the session at the server, likewise.
pub(super) async fn delete(endpoint: &StreamableHttp) -> Result<(), UpstreamError> {
    match endpoint.delete().await {
        Err(error) => {
            renew(endpoint.tokens(), error).await?;
            endpoint.delete().await
        }
        deleted => deleted,
    }
}

/// Opens a stream, with another token if the first is refused.
pub(super) async fn listen(
    endpoint: &StreamableHttp,
    last_event: Option<&str>,
) -> Result<Option<EventStream>, UpstreamError> {
    match endpoint.listen(last_event).await {
        Err(error) => {
            renew(endpoint.tokens(), error).await?;
            endpoint.listen(last_event).await
        }
        listening => listening,
    }
}

/// Waits until a stream that was refused may be asked for with another token; false
/// if the refusal is about something else.
pub(super) async fn replaced(tokens: Option<&TokenSource>, error: &UpstreamError) -> bool {
    match (tokens, error) {
        (Some(tokens), UpstreamError::Unauthorized(refusal)) if refusal.is_about_tokens() => {
            tokens.replaced(refusal.token.as_ref()).await;
            true
        }
        _ => false,
    }
}
