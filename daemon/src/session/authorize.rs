//! What a session does when the server refuses the token: another one, and the same
//! once more. Asks nobody to sign in, which is up to whoever waits for the answer.
//!
//! Invariant: nothing waits here for long, and nothing is sent again for ever.

use std::time::Duration;

use bytes::Bytes;

use super::exchange::Upstream;
use crate::oauth::token_source::{TokenError, TokenSource, Wanting};
use crate::upstream::sse::EventStream;
use crate::upstream::{PostReply, StreamableHttp, UpstreamError};

/// How long a request waits here for a token. Whoever wants its answer goes on waiting,
/// as long as the user allows.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long anything else does: nobody says it again.
const LONG_PATIENCE: Duration = Duration::from_secs(20);

/// The tokens that one message may still ask for: one for a token that has ended, and
/// one more for a new token that the server has not heard of yet.
#[derive(Debug)]
pub(super) struct Renewals {
    left: u8,
    patience: Duration,
}

impl Renewals {
    /// Those of a message that is said again if it is refused.
    pub(super) fn of_request() -> Self {
        Self {
            left: 2,
            patience: PATIENCE,
        }
    }

    /// Those of one that nobody says again.
    pub(super) fn of_others() -> Self {
        Self {
            patience: LONG_PATIENCE,
            ..Self::of_request()
        }
    }

    /// Waits for a token to send instead of the refused one, if there can be one without
    /// anybody doing something; then the server is asked again.
    ///
    /// # Errors
    /// The error itself if a sign-in may help, or if it took too long or was too often.
    pub(super) async fn next(
        &mut self,
        tokens: Option<&TokenSource>,
        error: UpstreamError,
    ) -> Result<(), UpstreamError> {
        let Some(left) = self.left.checked_sub(1) else {
            return Err(error);
        };
        self.left = left;
        match tokio::time::timeout(self.patience, renew(tokens, &error)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Some(instead))) => Err(instead),
            Ok(Err(None)) | Err(_) => Err(error),
        }
    }
}

/// `Err(None)`: the error stands.
async fn renew(
    tokens: Option<&TokenSource>,
    error: &UpstreamError,
) -> Result<(), Option<UpstreamError>> {
    let (Some(tokens), UpstreamError::Unauthorized(refusal)) = (tokens, error) else {
        return Err(None);
    };
    if !refusal.is_about_tokens() {
        return Err(None);
    }
    let wanting = Wanting {
        may_sign_in: false,
        ..Wanting::default()
    };
    let challenge = Some(refusal.challenge.clone());
    match tokens
        .renew(refusal.token.as_ref(), challenge, wanting)
        .await
    {
        Ok(_) => Ok(()),
        Err(why @ (TokenError::Rejected(_) | TokenError::Transient(_))) => {
            Err(Some(UpstreamError::NotSignedIn {
                status: refusal.status,
                why: why.to_string(),
                url: None,
            }))
        }
        Err(TokenError::LoginRequired { .. } | TokenError::NotOffered) => Err(None),
    }
}

/// Posts a message that nobody else says again, with another token if the first is
/// refused.
pub(super) async fn post(upstream: &Upstream, message: Bytes) -> Result<PostReply, UpstreamError> {
    let mut renewals = Renewals::of_others();
    loop {
        match upstream.post(message.clone()).await {
            Err(error) => renewals.next(upstream.tokens(), error).await?,
            posted => return posted,
        }
    }
}

/// Ends the session at the server, likewise.
pub(super) async fn delete(endpoint: &StreamableHttp) -> Result<(), UpstreamError> {
    let mut renewals = Renewals::of_others();
    loop {
        match endpoint.delete().await {
            Err(error) => renewals.next(endpoint.tokens(), error).await?,
            deleted => return deleted,
        }
    }
}

/// Opens a stream, with another token if the first is refused.
pub(super) async fn listen(
    endpoint: &StreamableHttp,
    last_event: Option<&str>,
) -> Result<Option<EventStream>, UpstreamError> {
    let mut renewals = Renewals::of_others();
    loop {
        match endpoint.listen(last_event).await {
            Err(error) => renewals.next(endpoint.tokens(), error).await?,
            listening => return listening,
        }
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
