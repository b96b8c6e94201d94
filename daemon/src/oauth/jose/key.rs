//! A private key and what it signs with: ES256, RS256 or EdDSA. Knows neither files
//! nor formats of text.
//!
//! `ring` holds the key; it cannot be taken out again.

use std::sync::Arc;

use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use zeroize::Zeroizing;

use super::public::PublicJwk;
use super::read;

/// Why a key cannot be used. Completes "… is no key that can be used: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyError {
    /// There is no key in it.
    #[error(
        "it holds no private key; PEM (PKCS#8, SEC1 or PKCS#1) and one private JWK can be read"
    )]
    NotAKey,
    /// A certificate or a public key.
    #[error("it holds a public key only; the private key is what signs")]
    PublicOnly,
    /// A passphrase would be needed.
    #[error(
        "it is encrypted and nobody is there to unlock it; write it without a passphrase: openssl pkey -in KEY -out NEW"
    )]
    Encrypted,
    /// None of ours.
    #[error("its kind is not supported; EC P-256 (ES256), RSA (RS256) and Ed25519 (EdDSA) are")]
    Kind,
    /// As Java and others write them.
    #[error("its public half is missing; add it: openssl ec -in KEY -out NEW")]
    PublicMissing,
    /// An RSA key that can be broken.
    #[error("it is too short; RSA takes 2048 bits at least")]
    TooShort,
    /// Something in it is wrong.
    #[error("it is damaged ({0})")]
    Damaged(String),
}

impl From<ring::error::KeyRejected> for KeyError {
    fn from(rejected: ring::error::KeyRejected) -> Self {
        // Its text is all that it tells.
        match rejected.to_string().as_str() {
            "WrongAlgorithm" => Self::Kind,
            "TooSmall" => Self::TooShort,
            why => Self::Damaged(why.to_owned()),
        }
    }
}

/// A key that we have made.
#[derive(Debug)]
pub(crate) struct GeneratedKey {
    /// It.
    pub(crate) key: SigningKey,
    /// Its bytes, to be kept: [`SigningKey::from_pkcs8`] reads them.
    pub(crate) pkcs8: Pkcs8,
}

/// A private key in bytes. Never shown.
#[derive(Clone)]
pub(crate) struct Pkcs8(Zeroizing<Vec<u8>>);

impl Pkcs8 {
    /// Shows it, for keeping it.
    pub(crate) fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Pkcs8 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A private key. Cheap to clone.
#[derive(Clone)]
pub(crate) struct SigningKey {
    pair: Arc<Pair>,
    public: Arc<PublicJwk>,
    id: Option<Arc<str>>,
}

pub(super) enum Pair {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl SigningKey {
    /// Makes one for ES256.
    pub(crate) fn generate() -> GeneratedKey {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random);
        let document = document.expect("the system has random numbers");
        let pkcs8 = Pkcs8(Zeroizing::new(document.as_ref().to_vec()));
        let key = Self::from_pkcs8(pkcs8.reveal()).expect("it has just been made");
        GeneratedKey { key, pkcs8 }
    }

    /// Reads a private key in DER, PKCS#8.
    pub(crate) fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        Ok(Self::new(read::pkcs8(der)?))
    }

    /// Reads a private key from a text: PEM, or a JWK with its `kid`.
    pub(crate) fn from_text(text: &[u8]) -> Result<Self, KeyError> {
        let (pair, id) = read::text(text)?;
        let key = Self::new(pair);
        Ok(match id {
            Some(id) => key.with_id(&id),
            None => key,
        })
    }

    pub(super) fn new(pair: Pair) -> Self {
        let public = pair.public();
        Self {
            pair: Arc::new(pair),
            public: Arc::new(public),
            id: None,
        }
    }

    /// Gives it the name that its receivers know it by (`kid`).
    #[must_use]
    pub(crate) fn with_id(self, id: &str) -> Self {
        Self {
            id: Some(id.into()),
            ..self
        }
    }

    /// Returns that name.
    pub(crate) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Returns the name of what it signs with (`alg`).
    pub(crate) fn algorithm(&self) -> &'static str {
        match *self.pair {
            Pair::P256(_) => "ES256",
            Pair::Ed25519(_) => "EdDSA",
            Pair::Rsa(_) => "RS256",
        }
    }

    /// Returns its public half.
    pub(crate) fn public(&self) -> &PublicJwk {
        &self.public
    }

    /// Signs bytes. RSA takes about a millisecond, the others far less.
    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &*self.pair {
            Pair::P256(pair) => {
                let signed = pair.sign(&random, message);
                signed
                    .expect("the system has random numbers")
                    .as_ref()
                    .to_vec()
            }
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .expect("the signature has the length of the modulus");
                signature
            }
        }
    }
}

impl Pair {
    fn public(&self) -> PublicJwk {
        match self {
            Self::P256(pair) => {
                // Uncompressed: 4, x, y.
                let point = pair.public_key().as_ref();
                PublicJwk::p256(&point[1..33], &point[33..])
            }
            Self::Ed25519(pair) => PublicJwk::ed25519(pair.public_key().as_ref()),
            Self::Rsa(pair) => {
                let parts = PublicKeyComponents::<Vec<u8>>::from(pair.public());
                PublicJwk::rsa(&parts.n, &parts.e)
            }
        }
    }
}

/// The same key under the same name.
impl PartialEq for SigningKey {
    fn eq(&self, other: &Self) -> bool {
        self.public == other.public && self.id == other.id
    }
}

impl Eq for SigningKey {}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey")
            .field("algorithm", &self.algorithm())
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
