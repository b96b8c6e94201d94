//! When tokens are bound to a key. Pure.
//!
//! Where the MCP server asks for it: it is the one that has to check the proofs. An
//! authorization server that could bind tokens is not reason enough.

use super::{BINDS_ALWAYS, Binding, ProofKey};
use crate::oauth::challenge::Challenge;
use crate::oauth::discovery::Discovered;
use crate::oauth::identity::Identity;
use crate::oauth::text::printable;

/// What the user says about it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Choice {
    /// What the servers ask for, or the metadata that the user registers with.
    #[default]
    Asked,
    /// Tokens are bound, or nobody signs in.
    Always,
    /// No token is bound.
    Never,
}

/// How much an MCP server wants it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Wanted {
    /// It does not say.
    #[default]
    Unsaid,
    /// It takes bound tokens as well as others.
    Taken,
    /// It takes no others.
    Demanded,
}

/// Says whether all tokens that are got so are bound, so that a client may be
/// registered that takes no others.
pub(crate) fn binds_always(identity: &Identity, discovered: &Discovered) -> bool {
    wanted(identity, discovered.bound_tokens) == Wanted::Demanded
}

fn wanted(identity: &Identity, said: Wanted) -> Wanted {
    match identity.dpop {
        // Nothing binds an ID token.
        _ if identity.use_id_token => Wanted::Unsaid,
        Choice::Asked if identity.client_metadata.get(BINDS_ALWAYS) == Some(&true.into()) => {
            Wanted::Demanded
        }
        Choice::Asked => said,
        Choice::Always => Wanted::Demanded,
        Choice::Never => Wanted::Unsaid,
    }
}

/// Decides what the tokens of a sign-in are bound to, and makes the key; `None`: to
/// nothing.
///
/// # Errors
/// A sentence that completes "the sign-in failed: ...".
pub(crate) fn decide(
    identity: &Identity,
    challenge: &Challenge,
    discovered: &Discovered,
) -> Result<Option<Binding>, String> {
    let wanted = wanted(
        identity,
        challenge.bound_tokens.max(discovered.bound_tokens),
    );
    let demanded = wanted == Wanted::Demanded;
    match (wanted, discovered.server.takes_proofs) {
        (Wanted::Unsaid, _) | (Wanted::Taken, None | Some(false)) => Ok(None),
        (Wanted::Demanded, Some(false)) => Err(format!(
            "tokens have to be bound to a key of type ES256 (DPoP), which the authorization server {} does not offer: ask who runs it",
            printable(&discovered.server.issuer)
        )),
        // Some that can do it do not announce it.
        (Wanted::Demanded, None | Some(true)) | (Wanted::Taken, Some(true)) => Ok(Some(Binding {
            key: ProofKey::generate(),
            demanded,
        })),
    }
}
