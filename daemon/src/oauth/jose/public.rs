//! The public half of a key, as a JSON Web Key (RFC 7517) and as its thumbprint
//! (RFC 7638). Pure.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// A public key. The members are those that RFC 7638 asks for, in its order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum PublicJwk {
    /// On P-256.
    Ec {
        /// `P-256`.
        crv: &'static str,
        /// `EC`.
        kty: &'static str,
        /// The first coordinate.
        x: String,
        /// The second one.
        y: String,
    },
    /// Ed25519.
    Okp {
        /// `Ed25519`.
        crv: &'static str,
        /// `OKP`.
        kty: &'static str,
        /// The key.
        x: String,
    },
    /// RSA.
    Rsa {
        /// The exponent.
        e: String,
        /// `RSA`.
        kty: &'static str,
        /// The modulus.
        n: String,
    },
}

impl PublicJwk {
    /// A point on P-256.
    pub(super) fn p256(x: &[u8], y: &[u8]) -> Self {
        Self::Ec {
            crv: "P-256",
            kty: "EC",
            x: URL_SAFE_NO_PAD.encode(x),
            y: URL_SAFE_NO_PAD.encode(y),
        }
    }

    /// A key of Ed25519.
    pub(super) fn ed25519(x: &[u8]) -> Self {
        Self::Okp {
            crv: "Ed25519",
            kty: "OKP",
            x: URL_SAFE_NO_PAD.encode(x),
        }
    }

    /// An RSA key, by its numbers without leading zeros.
    pub(super) fn rsa(n: &[u8], e: &[u8]) -> Self {
        Self::Rsa {
            e: URL_SAFE_NO_PAD.encode(e),
            kty: "RSA",
            n: URL_SAFE_NO_PAD.encode(n),
        }
    }

    /// Returns the SHA-256 thumbprint in base64url: `jkt`.
    pub(crate) fn thumbprint(&self) -> String {
        let canonical = serde_json::to_vec(self).expect("strings are JSON");
        URL_SAFE_NO_PAD.encode(Sha256::digest(canonical))
    }
}
