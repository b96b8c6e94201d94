//! Proofs of possession (DPoP, RFC 9449), as the authorization server and the guard
//! check them: signature, method, URL, token, time, nonce, and that each comes once.
//!
//! What a conforming client would not send is a complaint.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Dpop, Nonces, Shared};
use crate::upstream::{Reply, Request};

/// Seconds that a proof may be older or younger than the servers' clock.
const LIFE: u64 = 30;

/// Why a proof is not taken.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It needs this nonce.
    Nonce(String),
    /// It is too old or too young.
    Clock,
    /// A conforming client would not send it.
    Broken(String),
}

impl Refusal {
    fn error(&self) -> &'static str {
        match self {
            Self::Nonce(_) => "use_dpop_nonce",
            Self::Clock | Self::Broken(_) => "invalid_dpop_proof",
        }
    }

    /// Adds what a client needs to do better.
    fn with(&self, config: &Dpop, reply: Reply) -> Reply {
        let reply = match self {
            Self::Nonce(nonce) => reply.with("DPoP-Nonce", nonce),
            Self::Clock | Self::Broken(_) => reply,
        };
        let at = UNIX_EPOCH + std::time::Duration::from_secs(now(config));
        reply.with("Date", &httpdate::fmt_http_date(at))
    }
}

/// Lets a request to the token endpoint through whose proof is good.
pub(super) fn at_token_endpoint(
    shared: &Shared,
    origin: &str,
    request: &Request,
    answer: impl Fn(&Shared, &Request) -> Reply,
) -> Reply {
    let Some(config) = &shared.config.dpop else {
        if request.header("DPoP").is_some() {
            shared.complain(format!("a proof that nobody asked for: {request:?}"));
        }
        return answer(shared, request);
    };
    match request.header("DPoP") {
        None if config.bearer => return answer(shared, request),
        None => return Reply::json(400, json!({ "error": "invalid_dpop_proof" }).to_string()),
        Some(_) => {}
    }
    match verify(shared, config, origin, request, None) {
        Ok(_) => answer(shared, request),
        Err(refusal) => {
            let body = json!({ "error": refusal.error() }).to_string();
            refusal.with(config, Reply::json(400, body))
        }
    }
}

/// Says why a request with a bound token may not pass the guard at `origin`; `jkt`: of
/// the key that it is bound to.
pub(super) fn at_guard(
    shared: &Shared,
    origin: &str,
    request: &Request,
    token: &str,
    jkt: &str,
) -> Option<Reply> {
    let config = shared.config.dpop.as_ref()?;
    match verify(shared, config, origin, request, Some(token)) {
        Ok(proved) if proved == jkt => None,
        Ok(_) => {
            shared.complain("a token with the proof of another key".to_owned());
            let challenge = r#"DPoP error="invalid_token", algs="ES256""#;
            Some(Reply::status(401).with("WWW-Authenticate", challenge))
        }
        Err(refusal) => {
            let error = refusal.error();
            let challenge = format!(r#"DPoP error="{error}", algs="ES256""#);
            let reply = Reply::status(401).with("WWW-Authenticate", &challenge);
            Some(refusal.with(config, reply))
        }
    }
}

/// Returns the thumbprint of the key in a request's proof.
pub(super) fn thumbprint(request: &Request) -> Option<String> {
    let (header, _, _) = parts(request.header("DPoP")?)?;
    let jwk = &header["jwk"];
    // In the order that RFC 7638 gives.
    let canonical = format!(
        r#"{{"crv":{},"kty":{},"x":{},"y":{}}}"#,
        jwk["crv"], jwk["kty"], jwk["x"], jwk["y"]
    );
    Some(URL_SAFE_NO_PAD.encode(Sha256::digest(canonical)))
}

fn verify(
    shared: &Shared,
    config: &Dpop,
    origin: &str,
    request: &Request,
    token: Option<&str>,
) -> Result<String, Refusal> {
    let verified = check(shared, config, origin, request, token);
    if let Err(Refusal::Broken(why)) = &verified {
        shared.complain(format!("{why}: {request:?}"));
    }
    verified
}

fn check(
    shared: &Shared,
    config: &Dpop,
    origin: &str,
    request: &Request,
    token: Option<&str>,
) -> Result<String, Refusal> {
    let broken = |why: &str| Refusal::Broken(why.to_owned());
    let is_proof = |(name, _): &&(String, String)| name.eq_ignore_ascii_case("dpop");
    if request.headers.iter().filter(is_proof).count() != 1 {
        return Err(broken("not exactly one proof"));
    }
    let proof = request.header("DPoP").unwrap_or_default();
    let (header, claims, signed) = parts(proof).ok_or_else(|| broken("an unreadable proof"))?;
    if header["typ"] != "dpop+jwt" || header["alg"] != "ES256" || !header["jwk"]["d"].is_null() {
        return Err(broken("a proof with a wrong header"));
    }
    signature(&header, signed, proof).ok_or_else(|| broken("a proof with a wrong signature"))?;
    let path = request.target.split('?').next().unwrap_or_default();
    let hash = token.map(|token| URL_SAFE_NO_PAD.encode(Sha256::digest(token)));
    for (name, expected) in [
        ("htm", Value::from(request.method.as_str())),
        ("htu", format!("{origin}{path}").into()),
        ("ath", hash.map_or(Value::Null, Value::from)),
    ] {
        if claims[name] != expected {
            return Err(Refusal::Broken(format!("{name} is not {expected}")));
        }
    }
    let id = claims["jti"].as_str().filter(|id| id.len() >= 22);
    let id = id.ok_or_else(|| broken("a proof without a long jti"))?;
    if !shared
        .state
        .update(|state| state.proofs.insert(id.to_owned()))
    {
        return Err(broken("a proof that has come before"));
    }
    nonce(shared, config, origin, claims["nonce"].as_str())?;
    let made = claims["iat"].as_u64().unwrap_or_default();
    if made.abs_diff(now(config)) > LIFE {
        return Err(Refusal::Clock);
    }
    thumbprint(request).ok_or_else(|| broken("no key"))
}

/// Header, claims, and what is signed.
fn parts(proof: &str) -> Option<(Value, Value, &str)> {
    let (signed, _) = proof.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let read = |part: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
        serde_json::from_slice(&bytes).ok()
    };
    Some((read(header)?, read(claims)?, signed))
}

fn signature(header: &Value, signed: &str, proof: &str) -> Option<()> {
    let (_, signature) = proof.rsplit_once('.')?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    let coordinate = |name: &str| {
        let text = header["jwk"][name].as_str()?;
        URL_SAFE_NO_PAD.decode(text).ok()
    };
    let point = [vec![4], coordinate("x")?, coordinate("y")?].concat();
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
    key.verify(signed.as_bytes(), &signature).ok()
}

fn nonce(shared: &Shared, config: &Dpop, origin: &str, sent: Option<&str>) -> Result<(), Refusal> {
    let sent = sent.map(|sent| (origin.to_owned(), sent.to_owned()));
    shared.state.update(|state| {
        let known = sent.is_some_and(|sent| match config.nonces {
            Nonces::Once => state.nonces.remove(&sent),
            Nonces::Current => state.nonces.contains(&sent),
            Nonces::None => false,
        });
        let current = state.nonces.iter().find(|(at, _)| at == origin).cloned();
        let wanted = match (config.nonces, current) {
            (Nonces::None, _) => return Ok(()),
            _ if known => return Ok(()),
            (Nonces::Current, Some((_, current))) => current,
            (Nonces::Current | Nonces::Once, _) => state.mint("nonce"),
        };
        state.nonces.insert((origin.to_owned(), wanted.clone()));
        Err(Refusal::Nonce(wanted))
    })
}

fn now(config: &Dpop) -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let since = since.expect("after 1970").as_secs();
    since.saturating_add_signed(config.clock_ahead)
}
