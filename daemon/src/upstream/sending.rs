//! One request to a server, with the token of the moment and whatever proves that it
//! is ours. Judges no answer but that to a proof.
//!
//! A proof is for one request: a redirect and a second attempt have their own.

use http::header::AUTHORIZATION;
use http::{HeaderMap, Method};
use url::Url;

use super::{Target, UpstreamError};
use crate::http::{HttpError, Payload, Response};
use crate::oauth::token_source::AccessToken;

impl Target {
    /// Sends a request with the token of the moment, which comes back for the case
    /// that it is refused. If only its proof is refused and another one may do, it is
    /// sent once more.
    pub(super) async fn send(
        &self,
        method: Method,
        url: &Url,
        mut headers: HeaderMap,
        body: Option<Payload>,
    ) -> Result<(Response, Option<AccessToken>), HttpError> {
        let token = match &self.tokens {
            Some(tokens) => tokens.to_send().await,
            None => None,
        };
        if let Some(token) = &token {
            headers.insert(AUTHORIZATION, token.header().clone());
        }
        let proofs = token.as_ref().and_then(AccessToken::proofs);
        let mut better = None;
        let response = loop {
            let with_proof = |url: &Url| {
                let mut headers = headers.clone();
                if let Some(proofs) = proofs {
                    proofs.add(&method, url, better.as_ref(), &mut headers);
                }
                headers
            };
            let (body, cookies) = (body.as_ref(), self.cookies.as_ref());
            let sending = self.client.send(&method, url, with_proof, body, cookies);
            let response = sending.await?;
            let (status, said) = (response.status(), response.headers());
            match proofs.and_then(|proofs| proofs.hear(url, status, said, better.as_ref())) {
                Some(again) if better.is_none() => better = Some(again),
                _ => break response,
            }
        };
        if let Some(token) = token.as_ref().filter(|_| response.status().is_success()) {
            token.accept();
        }
        Ok((response, token))
    }
}

/// The proof of the key that a token is bound to is not taken: another token would not
/// help.
pub(super) fn unproven(status: u16, said: Option<&str>) -> UpstreamError {
    let said = said.map(|said| format!(" ({said})")).unwrap_or_default();
    UpstreamError::NotSignedIn {
        status,
        why: format!(
            "it does not take our proof of the key that the token is bound to{said}: check the clock of this machine, or sign out and in again with --dpop never"
        ),
        url: None,
    }
}
