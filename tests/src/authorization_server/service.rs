//! Service accounts: clients that ask for tokens on their own behalf, with a secret or
//! with a key (RFC 6749, section 4.4; RFC 7523, section 2.2), and tokens that nobody
//! asked for.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use serde_json::Value;

use super::endpoints::{authenticate, form, refused, tokens};
use super::{Client, FakeAuthorizationServer, Grant, ResourceMetadata, Shared, proofs};
use crate::home::SECRET;
use crate::upstream::{Reply, Request};

/// The longest life of an assertion that is taken, in seconds.
const LONGEST_LIFE: u64 = 300;

/// The public key of a service account.
#[derive(Debug, Clone)]
pub(super) struct Key {
    algorithm: String,
    public: Vec<u8>,
}

impl FakeAuthorizationServer {
    /// Makes a service account; returns its secret, which has characters in it that
    /// are encoded on their way.
    pub fn service_account(&self, id: &str) -> String {
        let secret = format!("{SECRET}a/b+c:d %e");
        let client = Client {
            redirect_uris: Vec::new(),
            secret: Some(secret.clone()),
            device: false,
        };
        let account = id.to_owned();
        self.shared
            .state
            .update(|state| state.clients.insert(account, client));
        secret
    }

    /// Makes one that shows who it is with a key; `algorithm`: ES256, RS256 or EdDSA;
    /// `public`: as `ring` reads it.
    pub fn service_key(&self, id: &str, algorithm: &str, public: &[u8]) {
        let key = Key {
            algorithm: algorithm.to_owned(),
            public: public.to_owned(),
        };
        let account = id.to_owned();
        self.shared
            .state
            .update(|state| state.keys.insert(account, key));
    }

    /// Makes a token that the guarded server takes.
    pub fn issue(&self) -> String {
        self.shared.state.update(|state| {
            state.grants.push(Grant::default());
            let token = state.mint("access");
            let grant = state.grants.len() - 1;
            state.access.insert(token.clone(), grant);
            token
        })
    }
}

/// Answers a service account.
pub(super) fn client_credentials(shared: &Shared, origin: &str, request: &Request) -> Reply {
    let form = form(request);
    let client = match form.get("client_assertion") {
        Some(assertion) => match signer(shared, origin, assertion, &form) {
            Ok(client) => client,
            Err(why) => {
                shared.complain(why);
                return refused("invalid_client");
            }
        },
        None => {
            let id = basic_id(request).or_else(|| form.get("client_id").cloned());
            let id = id.unwrap_or_default();
            if let Some(refusal) = authenticate(shared, &id, request) {
                return refusal;
            }
            id
        }
    };
    let published = shared.config.resource_metadata != ResourceMetadata::None;
    if published != form.contains_key("resource") {
        shared.complain(format!("resource is {:?}", form.get("resource")));
    }
    // An assertion is spent by then.
    proofs::at_token_endpoint(shared, origin, request, |shared, request| {
        shared.state.update(|state| {
            state.grants.push(Grant {
                client: client.clone(),
                resource: form.get("resource").cloned(),
                scope: form.get("scope").cloned(),
                revoked: false,
                jkt: proofs::thumbprint(request),
            });
            tokens(shared, state, state.grants.len() - 1, None)
        })
    })
}

pub(super) fn basic_id(request: &Request) -> Option<String> {
    let value = request.header("Authorization")?.strip_prefix("Basic ")?;
    let text = String::from_utf8(STANDARD.decode(value).ok()?).ok()?;
    Some(text.split_once(':')?.0.to_owned())
}

/// Returns who has signed an assertion, or what is wrong with it.
pub(super) fn signer(
    shared: &Shared,
    origin: &str,
    assertion: &str,
    form: &std::collections::BTreeMap<String, String>,
) -> Result<String, String> {
    let kind = form.get("client_assertion_type").map(String::as_str);
    if kind != Some("urn:ietf:params:oauth:client-assertion-type:jwt-bearer") {
        return Err(format!("client_assertion_type is {kind:?}"));
    }
    if form.contains_key("client_secret") {
        return Err("a secret came along with an assertion".into());
    }
    let (signed, signature) = assertion.rsplit_once('.').ok_or("it is no JWT")?;
    let (header, claims) = signed.split_once('.').ok_or("it is no JWT")?;
    let (header, claims) = (json(header)?, json(claims)?);
    let text = |name: &str| claims[name].as_str().unwrap_or_default().to_owned();
    let client = text("sub");
    let key = shared.state.look(|state| state.keys.get(&client).cloned());
    let key = key.ok_or_else(|| format!("{client} has no key"))?;
    if header["alg"] != key.algorithm || text("iss") != client {
        return Err(format!("{client} signed as {header} {claims}"));
    }
    let algorithm: &dyn VerificationAlgorithm = match key.algorithm.as_str() {
        "ES256" => &ECDSA_P256_SHA256_FIXED,
        "RS256" => &RSA_PKCS1_2048_8192_SHA256,
        _ => &ED25519,
    };
    let signature = URL_SAFE_NO_PAD.decode(signature);
    let signature = signature.map_err(|error| error.to_string())?;
    UnparsedPublicKey::new(algorithm, &key.public)
        .verify(signed.as_bytes(), &signature)
        .map_err(|_| "its signature is wrong".to_owned())?;
    let audiences = [shared.issuer(origin), format!("{origin}/token")];
    if !audiences.contains(&text("aud")) {
        return Err(format!("it is for {}, not {audiences:?}", text("aud")));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_err(|error| error.to_string())?.as_secs();
    let ends = claims["exp"].as_u64().unwrap_or_default();
    if ends < now || ends > now + LONGEST_LIFE {
        return Err(format!("it ends at {ends}, now is {now}"));
    }
    let id = text("jti");
    let is_new = shared
        .state
        .update(|state| state.assertions.insert(id.clone()));
    match is_new && id.len() >= 16 {
        true => Ok(client),
        false => Err(format!("it is not the first {id}")),
    }
}

fn json(part: &str) -> Result<Value, String> {
    let text = URL_SAFE_NO_PAD.decode(part);
    let text = text.map_err(|error| error.to_string())?;
    serde_json::from_slice(&text).map_err(|error| error.to_string())
}
