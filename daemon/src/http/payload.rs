//! A request's body that tells when it has been sent, so that what must not
//! overtake it can wait.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio_util::sync::{CancellationToken, DropGuard};

/// A body to send.
#[derive(Debug, Clone)]
pub(crate) struct Payload {
    bytes: Bytes,
    sent: CancellationToken,
}

impl Payload {
    /// Takes bytes, and what is cancelled once they are on their way.
    pub(crate) fn new(bytes: Bytes, sent: CancellationToken) -> Self {
        Self { bytes, sent }
    }

    /// Returns the body for one attempt.
    pub(super) fn body(&self) -> reqwest::Body {
        reqwest::Body::wrap(SentBody {
            bytes: Some(self.bytes.clone()),
            _sent: self.sent.clone().drop_guard(),
        })
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Self::new(bytes, CancellationToken::new())
    }
}

/// The connection drops a body when it has written it.
struct SentBody {
    bytes: Option<Bytes>,
    _sent: DropGuard,
}

impl Body for SentBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}
