//! Private keys in the forms that programs write them: PEM around PKCS#8, SEC1 or
//! PKCS#1, and JSON Web Keys. Pure; what it decodes is zeroed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::rsa::{KeyPairComponents, PublicKeyComponents};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use zeroize::{Zeroize as _, Zeroizing};

use super::key::{KeyError, Pair};

/// Reads PEM or a JWK, which may name the key.
pub(super) fn text(text: &[u8]) -> Result<(Pair, Option<String>), KeyError> {
    match text.trim_ascii_start().first() {
        Some(b'{') => jwk(text),
        _ => pem(text).map(|pair| (pair, None)),
    }
}

fn pem(text: &[u8]) -> Result<Pair, KeyError> {
    let has = |what: &str| memchr::memmem::find(text, what.as_bytes()).is_some();
    let Ok(mut der) = PrivateKeyDer::from_pem_slice(text) else {
        return Err(match () {
            () if has("ENCRYPTED") => KeyError::Encrypted,
            () if has("BEGIN PUBLIC KEY") || has("BEGIN CERTIFICATE") => KeyError::PublicOnly,
            () => KeyError::NotAKey,
        });
    };
    let pair = match &der {
        // The old way of writing an encrypted key.
        _ if has("Proc-Type: 4,ENCRYPTED") => Err(KeyError::Encrypted),
        PrivateKeyDer::Pkcs8(der) => pkcs8(der.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(der) => Ok(Pair::Rsa(RsaKeyPair::from_der(der.secret_pkcs1_der())?)),
        PrivateKeyDer::Sec1(der) => p256(&sec1_to_pkcs8(der.secret_sec1_der())),
        _ => Err(KeyError::Kind),
    };
    der.zeroize();
    pair
}

/// Reads DER: whatever kind of key it says it is.
pub(super) fn pkcs8(der: &[u8]) -> Result<Pair, KeyError> {
    let kinds = [p256, ed25519, rsa];
    let mut tried = kinds.iter().map(|kind| kind(der));
    let found = tried.find(|read| !matches!(read, Err(KeyError::Kind)));
    found.unwrap_or(Err(KeyError::Kind))
}

fn p256(der: &[u8]) -> Result<Pair, KeyError> {
    /// BIT STRING of 65 bytes, the first of which is that of an uncompressed point.
    const PUBLIC_HALF: &[u8] = &[0x03, 0x42, 0x00, 0x04];
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    match EcdsaKeyPair::from_pkcs8(algorithm, der, &SystemRandom::new()) {
        Ok(pair) => Ok(Pair::P256(pair)),
        Err(rejected) => Err(match KeyError::from(rejected) {
            KeyError::Damaged(_) if memchr::memmem::find(der, PUBLIC_HALF).is_none() => {
                KeyError::PublicMissing
            }
            why => why,
        }),
    }
}

/// OpenSSL writes no public half, which is computed.
fn ed25519(der: &[u8]) -> Result<Pair, KeyError> {
    Ok(Pair::Ed25519(Ed25519KeyPair::from_pkcs8_maybe_unchecked(
        der,
    )?))
}

fn rsa(der: &[u8]) -> Result<Pair, KeyError> {
    Ok(Pair::Rsa(RsaKeyPair::from_pkcs8(der)?))
}

/// Puts the header of a P-256 key around what SEC1 says of it. If it is on another
/// curve it says so itself, and is refused for that.
fn sec1_to_pkcs8(sec1: &[u8]) -> Zeroizing<Vec<u8>> {
    const VERSION_0: &[u8] = &[0x02, 0x01, 0x00];
    /// SEQUENCE { id-ecPublicKey, prime256v1 }.
    const ALGORITHM: &[u8] = &[
        0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
        0x48, 0xce, 0x3d, 0x03, 0x01, 0x07,
    ];
    const OCTET_STRING: u8 = 0x04;
    const SEQUENCE: u8 = 0x30;
    let key_header = der_header(OCTET_STRING, sec1.len());
    let length = VERSION_0.len() + ALGORITHM.len() + key_header.len() + sec1.len();
    let header = der_header(SEQUENCE, length);
    // One allocation, so that no copy is left behind.
    let mut der = Zeroizing::new(Vec::with_capacity(header.len() + length));
    for part in [&header, VERSION_0, ALGORITHM, &key_header, sec1] {
        der.extend_from_slice(part);
    }
    der
}

/// A tag and a length, in as few bytes as can be.
fn der_header(tag: u8, length: usize) -> Vec<u8> {
    let bytes = length.to_be_bytes();
    let bytes = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
    match bytes {
        [] => vec![tag, 0],
        [short] if *short < 0x80 => vec![tag, *short],
        long => {
            let count = u8::try_from(long.len()).expect("eight at most");
            [&[tag, 0x80 | count], long].concat()
        }
    }
}

/// What a private JWK may hold (RFC 7518, RFC 8037).
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(default)]
    crv: String,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    x: String,
    #[serde(default)]
    y: String,
    #[serde(default)]
    n: String,
    #[serde(default)]
    e: String,
    #[serde(default)]
    d: Zeroizing<String>,
    #[serde(default)]
    p: Zeroizing<String>,
    #[serde(default)]
    q: Zeroizing<String>,
    #[serde(default)]
    dp: Zeroizing<String>,
    #[serde(default)]
    dq: Zeroizing<String>,
    #[serde(default)]
    qi: Zeroizing<String>,
}

type Reader = fn(&Jwk) -> Result<Pair, KeyError>;

fn jwk(text: &[u8]) -> Result<(Pair, Option<String>), KeyError> {
    let jwk: Jwk = serde_json::from_slice(text).map_err(|_| KeyError::NotAKey)?;
    let (algorithm, read): (_, Reader) = match (jwk.kty.as_str(), jwk.crv.as_str()) {
        ("EC", "P-256") => ("ES256", jwk_p256),
        ("OKP", "Ed25519") => ("EdDSA", jwk_ed25519),
        ("RSA", _) => ("RS256", jwk_rsa),
        _ => return Err(KeyError::Kind),
    };
    let fits = |given: &String| given == algorithm || (given == "Ed25519" && jwk.kty == "OKP");
    if !jwk.alg.as_ref().is_none_or(fits) {
        return Err(KeyError::Kind);
    }
    if jwk.d.is_empty() {
        return Err(KeyError::PublicOnly);
    }
    Ok((read(&jwk)?, jwk.kid.filter(|id| !id.is_empty())))
}

fn jwk_p256(jwk: &Jwk) -> Result<Pair, KeyError> {
    let (x, y) = (decode("x", &jwk.x)?, decode("y", &jwk.y)?);
    let point = [&[4], x.as_slice(), y.as_slice()].concat();
    let pair = EcdsaKeyPair::from_private_key_and_public_key(
        &ECDSA_P256_SHA256_FIXED_SIGNING,
        &decode("d", &jwk.d)?,
        &point,
        &SystemRandom::new(),
    )?;
    Ok(Pair::P256(pair))
}

fn jwk_ed25519(jwk: &Jwk) -> Result<Pair, KeyError> {
    let (seed, public) = (decode("d", &jwk.d)?, decode("x", &jwk.x)?);
    Ok(Pair::Ed25519(Ed25519KeyPair::from_seed_and_public_key(
        &seed, &public,
    )?))
}

fn jwk_rsa(jwk: &Jwk) -> Result<Pair, KeyError> {
    let components = KeyPairComponents {
        public_key: PublicKeyComponents {
            n: decode("n", &jwk.n)?,
            e: decode("e", &jwk.e)?,
        },
        d: decode("d", &jwk.d)?,
        p: decode("p", &jwk.p)?,
        q: decode("q", &jwk.q)?,
        dP: decode("dp", &jwk.dp)?,
        dQ: decode("dq", &jwk.dq)?,
        qInv: decode("qi", &jwk.qi)?,
    };
    Ok(Pair::Rsa(RsaKeyPair::from_components(&components)?))
}

fn decode(name: &str, text: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    if text.is_empty() {
        return Err(KeyError::Damaged(format!("\"{name}\" is missing")));
    }
    // Some write the padding that RFC 7515 forbids.
    let decoded = URL_SAFE_NO_PAD.decode(text.trim_end_matches('='));
    let decoded = decoded.map_err(|_| KeyError::Damaged(format!("\"{name}\" is not base64url")))?;
    Ok(Zeroizing::new(decoded))
}
