//! Tokens that are bound to a key of ours (DPoP, RFC 9449): each request with one
//! proves that we have the key, so that whoever steals the token has no use of it.
//!
//! A proof is made for one request and sent with no other. The private key leaves
//! this module only as text for the store.

mod heard;
mod rule;

use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use sha2::{Digest as _, Sha256};
use url::Url;
use zeroize::Zeroizing;

use self::heard::{Heard, Nonce};
use super::challenge::Challenge;
use super::http::{OAuthHttp, OAuthHttpError, Reply};
use super::jose::{self, Claims, GeneratedKey, SigningKey};
use crate::secret::Secret;

pub(crate) use self::rule::{Choice, Wanted, binds_always, choice, decide, excluded, of_refresh};

/// The only algorithm of ours. All servers have it (RFC 9449, section 5.1, names it).
const ALGORITHM: &str = "ES256";

/// Where a proof stands in a request.
const PROOF: HeaderName = HeaderName::from_static("dpop");

/// Where a registration says that all tokens are bound (RFC 9449, section 5.2).
pub(super) const BINDS_ALWAYS: &str = "dpop_bound_access_tokens";

/// The token type, and the scheme in `Authorization`.
pub(crate) const SCHEME: &str = "DPoP";

/// Says whether a list of algorithms has ours.
pub(super) fn takes_ours<'a>(mut algorithms: impl Iterator<Item = &'a str>) -> bool {
    algorithms.any(|algorithm| algorithm == ALGORITHM)
}

/// What tokens that are asked for are bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binding {
    /// The key. It stays when they are renewed: refresh tokens are bound to it as well.
    pub(crate) key: ProofKey,
    /// Whether a token that is not bound will not do.
    pub(crate) demanded: bool,
}

/// A key, and what the servers that it was proved to have said. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ProofKey(Arc<Inner>);

struct Inner {
    key: SigningKey,
    /// PKCS#8 in base64url.
    kept: Secret<String>,
    heard: Heard,
}

impl ProofKey {
    /// Makes one.
    pub(crate) fn generate() -> Self {
        let GeneratedKey { key, pkcs8 } = SigningKey::generate();
        Self::new(key, URL_SAFE_NO_PAD.encode(pkcs8.reveal()))
    }

    /// Reads one that was kept; `None` if it is none of ours.
    pub(crate) fn of_kept(text: &str) -> Option<Self> {
        let der = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok()?);
        let key = SigningKey::from_pkcs8(&der).ok()?;
        (key.algorithm() == ALGORITHM).then(|| Self::new(key, text.to_owned()))
    }

    fn new(key: SigningKey, kept: String) -> Self {
        Self(Arc::new(Inner {
            key,
            kept: Secret::new(kept),
            heard: Heard::default(),
        }))
    }

    /// Returns what is kept of it.
    pub(crate) fn to_keep(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.kept.reveal().clone())
    }

    /// Returns what stands for it in an authorization request (`dpop_jkt`).
    pub(crate) fn thumbprint(&self) -> String {
        self.0.key.public().thumbprint()
    }

    /// Posts a request of ours to an authorization server, with a proof. If it is the
    /// proof that is refused and another one may do, once more.
    pub(crate) async fn post(
        &self,
        http: &OAuthHttp,
        url: &Url,
        request: http::Request<Vec<u8>>,
    ) -> Result<Reply, OAuthHttpError> {
        let (reply, better) = self.attempt(http, url, request.clone()).await?;
        let Some(better) = better else {
            return Ok(reply);
        };
        let mut asked = request;
        let second = self.prove(&Method::POST, url, None, better.nonce.as_ref());
        asked.headers_mut().insert(PROOF, second);
        let reply = http.post(url, asked).await?;
        let refused = refuses_proof(&reply);
        let _last = self.hear(url, &reply.headers, refused, Some(&better));
        Ok(reply)
    }

    /// Posts a request of ours that has something in it that works once. Returns
    /// whether it is the proof that is refused, and the next one may do.
    pub(crate) async fn post_once(
        &self,
        http: &OAuthHttp,
        url: &Url,
        request: http::Request<Vec<u8>>,
    ) -> Result<(Reply, bool), OAuthHttpError> {
        let (reply, better) = self.attempt(http, url, request).await?;
        let may_do = better.is_some();
        if let Some(nonce) = better.and_then(|better| better.nonce) {
            self.0.heard.take_nonce(url, nonce);
        }
        Ok((reply, may_do))
    }

    /// Posts a request once, with a proof.
    async fn attempt(
        &self,
        http: &OAuthHttp,
        url: &Url,
        mut request: http::Request<Vec<u8>>,
    ) -> Result<(Reply, Option<Better>), OAuthHttpError> {
        let proof = self.prove(&Method::POST, url, None, None);
        request.headers_mut().insert(PROOF, proof);
        let reply = http.post(url, request).await?;
        let refused = refuses_proof(&reply);
        let better = self.hear(url, &reply.headers, refused, None);
        Ok((reply, better))
    }

    /// Makes the proof for one request. `digest`: of the access token that goes along.
    /// `nonce`: instead of the newest one of that server.
    fn prove(
        &self,
        method: &Method,
        url: &Url,
        digest: Option<&str>,
        nonce: Option<&Nonce>,
    ) -> HeaderValue {
        let (newest, now) = self.0.heard.of(url, SystemTime::now());
        let mut claims = Claims::new(now)
            .with("htm", method.as_str())
            .with("htu", addressed(url));
        if let Some(nonce) = nonce.or(newest.as_ref()) {
            claims = claims.with("nonce", nonce.as_str());
        }
        if let Some(digest) = digest {
            claims = claims.with("ath", digest);
        }
        let header = jose::Header {
            kind: "dpop+jwt",
            carries_key: true,
        };
        let proof = jose::sign(&self.0.key, header, &claims);
        let value = HeaderValue::from_str(proof.reveal());
        let mut value = value.expect("base64url and dots fit into a header");
        value.set_sensitive(true);
        value
    }

    /// Takes in what a server says with an answer to a proof, `tried`: made with this.
    /// `refused`: it did not take the proof; then returns with what another one may do,
    /// if one may.
    fn hear(
        &self,
        url: &Url,
        headers: &HeaderMap,
        refused: bool,
        tried: Option<&Better>,
    ) -> Option<Better> {
        let nonce = Nonce::of(headers);
        if !refused {
            if let Some(nonce) = nonce.or_else(|| tried?.nonce.clone()) {
                self.0.heard.take_nonce(url, nonce);
            }
            return None;
        }
        let clock = self.0.heard.clock(url, headers, SystemTime::now());
        (nonce.is_some() || clock).then_some(Better { nonce })
    }
}

/// Equal keys sign alike, whatever they have heard.
impl PartialEq for ProofKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }
}

impl Eq for ProofKey {}

impl std::fmt::Debug for ProofKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProofKey([redacted])")
    }
}

/// With what a second proof may be taken. Its nonce is nobody else's until it has
/// worked: a server may take each one only once.
#[derive(Debug)]
pub(crate) struct Better {
    nonce: Option<Nonce>,
}

/// What proves, request by request, that an access token is ours.
#[derive(Debug, Clone)]
pub(crate) struct Proofs {
    key: ProofKey,
    /// `ath`.
    digest: Arc<str>,
}

impl Proofs {
    /// For one token.
    pub(crate) fn new(key: ProofKey, access_token: &str) -> Self {
        Self {
            key,
            digest: URL_SAFE_NO_PAD.encode(Sha256::digest(access_token)).into(),
        }
    }

    /// Adds the proof for one request.
    pub(crate) fn add(
        &self,
        method: &Method,
        url: &Url,
        better: Option<&Better>,
        headers: &mut HeaderMap,
    ) {
        let nonce = better.and_then(|better| better.nonce.as_ref());
        let proof = self.key.prove(method, url, Some(&self.digest), nonce);
        headers.insert(PROOF, proof);
    }

    /// Takes in an answer to a proof, `tried`: made with this. If it is the proof that is refused, returns with what another
    /// one may do, if one may.
    pub(crate) fn hear(
        &self,
        url: &Url,
        status: StatusCode,
        headers: &HeaderMap,
        tried: Option<&Better>,
    ) -> Option<Better> {
        let refused = status == StatusCode::UNAUTHORIZED
            && Challenge::parse(headers, str::to_owned)
                .error
                .is_some_and(|error| error.is_about_proof());
        self.key.hear(url, headers, refused, tried)
    }
}

/// Says whether a token endpoint refuses a request for its proof.
pub(crate) fn is_about_proof(error: &str) -> bool {
    matches!(error, "use_dpop_nonce" | "invalid_dpop_proof")
}

fn refuses_proof(reply: &Reply) -> bool {
    let is_refusal = reply.status.is_client_error();
    let document = is_refusal.then(|| reply.json()).flatten();
    let error = document.as_ref().and_then(|document| document.get("error"));
    error
        .and_then(serde_json::Value::as_str)
        .is_some_and(is_about_proof)
}

/// Returns a URL as proofs name it: without query and fragment.
fn addressed(url: &Url) -> String {
    let mut text = url.origin().ascii_serialization();
    text.push_str(url.path());
    text
}

#[cfg(test)]
mod tests;
