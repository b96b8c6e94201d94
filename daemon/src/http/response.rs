//! A response: its head, and its body piece by piece, bounded in size and, if the
//! user says so, in silence.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};

use super::{HttpError, cause};

/// A response whose body has not been read.
#[derive(Debug)]
pub(crate) struct Response {
    pub(super) response: reqwest::Response,
    /// How long it may be silent.
    pub(super) patience: Option<Duration>,
}

impl From<reqwest::Response> for Response {
    fn from(response: reqwest::Response) -> Self {
        Self {
            response,
            patience: None,
        }
    }
}

impl Response {
    /// Returns the status.
    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// Returns the headers.
    pub(crate) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// Returns a header's text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// Returns the media type without parameters, in lower case.
    pub(crate) fn media_type(&self) -> String {
        let value = self.header("content-type").unwrap_or_default();
        value
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase()
    }

    /// Reads the body, at most `limit` bytes of it.
    pub(crate) async fn body(mut self, limit: usize) -> Result<Bytes, HttpError> {
        if self
            .response
            .content_length()
            .is_some_and(|length| length > limit as u64)
        {
            return Err(HttpError::TooLarge(limit));
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            if body.len() + chunk.len() > limit {
                return Err(HttpError::TooLarge(limit));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    /// Reads the next piece of the body. Cancel safe.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, HttpError> {
        let chunk = self.response.chunk();
        let chunk = match self.patience {
            Some(patience) => tokio::time::timeout(patience, chunk).await.map_err(|_| {
                let seconds = patience.as_secs_f64();
                HttpError::Broken(format!("nothing came for {seconds} s (--body-timeout)"))
            })?,
            None => chunk.await,
        };
        chunk.map_err(|error| HttpError::Broken(cause(&error)))
    }
}
