//! Which kind of authorization server the fake is.

use serde_json::{Map, Value};

use super::Device;

/// Which kind of authorization server to be.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where its metadata stand.
    pub metadata: Metadata,
    /// Where the guarded server says who its authorization server is.
    pub resource_metadata: ResourceMetadata,
    /// The path of the issuer, for instance "/tenant1".
    pub issuer_path: String,
    /// Whether clients may register themselves.
    pub registration: bool,
    /// Whether an ID token comes with them, a JWT by its form.
    pub id_tokens: bool,
    /// Whether a refresh token comes with an access token.
    pub refresh_tokens: bool,
    /// Whether each refresh token works once only.
    pub rotation: bool,
    /// What becomes of one that comes a second time.
    pub reuse: Reuse,
    /// `expires_in` of access tokens, as it is written; absent: not said.
    pub expires_in: Option<Value>,
    /// `iss` in redirects, and that it is announced.
    pub iss: bool,
    /// The scopes that the guarded server asks for and that are granted.
    pub scopes: Option<String>,
    /// Whether and how sign-ins by code are offered.
    pub device: Option<Device>,
    /// Members to change in the metadata; null removes one.
    pub patch: Map<String, Value>,
    /// Members to change in the guarded server's metadata.
    pub resource_patch: Map<String, Value>,
    /// Whether tokens are bound to keys; absent: nobody knows of that.
    pub dpop: Option<Dpop>,
}

/// How tokens are bound to keys (DPoP).
#[derive(Debug, Clone, Default)]
pub struct Dpop {
    /// Whether tokens that are not are taken as well.
    pub bearer: bool,
    /// Which nonces both servers want in proofs.
    pub nonces: Nonces,
    /// Seconds that the clock of both servers is ahead.
    pub clock_ahead: i64,
}

/// Which nonces a server wants in proofs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Nonces {
    /// None.
    #[default]
    None,
    /// Its current one.
    Current,
    /// One that it has given, each once.
    Once,
}

/// Where an authorization server's metadata stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metadata {
    /// RFC 8414, before the issuer's path.
    OAuth,
    /// OpenID Connect, before the issuer's path.
    OpenIdInserted,
    /// OpenID Connect, behind the issuer's path.
    OpenIdAppended,
    /// Nowhere.
    None,
}

/// Where a guarded server says who its authorization server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceMetadata {
    /// At a URL of its own that the challenge names.
    Hint,
    /// At the well-known place with the server's path; the challenge is silent.
    Path,
    /// At the well-known place without a path; the challenge is silent.
    Root,
    /// Nowhere: the authorization server is at the guarded server's own origin.
    None,
}

/// What becomes of a refresh token that comes a second time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// The grant is withdrawn, and the test fails: a client would not do that.
    Complaint,
    /// The grant is withdrawn.
    Withdrawal,
    /// It works, as within the grace period that some servers give.
    Grace,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            metadata: Metadata::OAuth,
            resource_metadata: ResourceMetadata::Hint,
            issuer_path: String::new(),
            registration: true,
            id_tokens: false,
            refresh_tokens: true,
            rotation: true,
            reuse: Reuse::Complaint,
            expires_in: Some(3600.into()),
            iss: true,
            scopes: None,
            device: None,
            patch: Map::new(),
            resource_patch: Map::new(),
            dpop: None,
        }
    }
}
