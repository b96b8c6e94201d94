//! When tokens are bound to a key, and which of them are of use. Pure.
//!
//! Where the MCP server asks for it: it is the one that has to check the proofs. An
//! authorization server that could bind tokens is not reason enough. Whatever the user
//! says excludes tokens of the other kind, also those that are there already.

use super::{BINDS_ALWAYS, Binding, ProofKey};
use crate::oauth::challenge::Challenge;
use crate::oauth::discovery::{AuthorizationServer, Discovered};
use crate::oauth::grant::Grant;
use crate::oauth::identity::Identity;
use crate::oauth::registration::Client;
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

impl Choice {
    /// Says whether tokens of this kind are sent.
    pub(crate) fn takes(self, is_bound: bool) -> bool {
        match self {
            Self::Asked => true,
            Self::Always => is_bound,
            Self::Never => !is_bound,
        }
    }

    /// Says why tokens of the other kind are of no use.
    pub(crate) fn of_no_use(self) -> &'static str {
        match self {
            Self::Never => "its tokens are bound to a key (DPoP), which --dpop never excludes",
            Self::Always => "its tokens are not bound to a key (DPoP), which --dpop always wants",
            Self::Asked => "the server takes only tokens that are bound to a key (DPoP)",
        }
    }
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

/// Returns what the user says of the tokens that are sent.
pub(crate) fn choice(identity: &Identity) -> Choice {
    let registers_for_it = identity.client_metadata.get(BINDS_ALWAYS) == Some(&true.into());
    // Nothing binds an ID token, or what others have got.
    let can_be = !identity.use_id_token && !identity.grant_type.is_given();
    match identity.dpop {
        Choice::Never => Choice::Never,
        _ if !can_be => Choice::Asked,
        Choice::Asked if registers_for_it => Choice::Always,
        said => said,
    }
}

/// Says whether all tokens that are got so are bound, so that a client may be
/// registered that takes no others.
pub(crate) fn binds_always(identity: &Identity, discovered: &Discovered) -> bool {
    wanted(identity, discovered.bound_tokens) == Wanted::Demanded
}

fn wanted(identity: &Identity, said: Wanted) -> Wanted {
    match choice(identity) {
        _ if identity.use_id_token => Wanted::Unsaid,
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
    let said = challenge.bound_tokens.max(discovered.bound_tokens);
    bind(wanted(identity, said), &discovered.server)
}

fn bind(wanted: Wanted, server: &AuthorizationServer) -> Result<Option<Binding>, String> {
    let demanded = wanted == Wanted::Demanded;
    match (wanted, server.takes_proofs) {
        (Wanted::Unsaid, _) | (Wanted::Taken, None | Some(false)) => Ok(None),
        (Wanted::Demanded, Some(false)) => Err(format!(
            "tokens have to be bound to a key of type ES256 (DPoP), which the authorization server {} does not offer: ask who runs it",
            printable(&server.issuer)
        )),
        // Some that can do it do not announce it.
        (Wanted::Demanded, None | Some(true)) | (Wanted::Taken, Some(true)) => Ok(Some(Binding {
            key: ProofKey::generate(),
            demanded,
        })),
    }
}

/// Decides what the tokens of a refresh are bound to: to what those before are, or to a
/// new key where that is wanted by now.
///
/// # Errors
/// Somebody has to sign in, for this reason.
pub(crate) fn of_refresh(
    identity: &Identity,
    challenge: &Challenge,
    server: &AuthorizationServer,
    client: &Client,
    grant: &Grant,
) -> Result<Option<Binding>, String> {
    let demand = wanted(identity, challenge.bound_tokens) == Wanted::Demanded;
    match &grant.binding {
        Some(_) if choice(identity) == Choice::Never => match can_be_unbound(client) {
            true => Ok(None),
            false => Err(BOUND_FOR_GOOD.into()),
        },
        Some(binding) => Ok(Some(Binding {
            demanded: binding.demanded || demand,
            ..binding.clone()
        })),
        None if demand => bind(Wanted::Demanded, server),
        None => Ok(None),
    }
}

/// Says why tokens are of no use, and no refresh gives others.
pub(crate) fn excluded(identity: &Identity, grant: &Grant) -> Option<&'static str> {
    let choice = choice(identity);
    let client = grant.client.as_ref();
    let gives_others = match choice {
        Choice::Never => client.is_some_and(can_be_unbound),
        Choice::Always | Choice::Asked => true,
    };
    let is_lost = grant.refresh_token.is_none() || !gives_others;
    let is_other = !choice.takes(grant.is_bound);
    (is_other && is_lost).then(|| choice.of_no_use())
}

/// Why a refresh gives nothing that is of use.
const BOUND_FOR_GOOD: &str = "its tokens are bound to a key (DPoP), which --dpop never excludes, and no refresh unbinds them";

/// A refresh token of a client without a secret works with its key only (RFC 9449,
/// section 5).
fn can_be_unbound(client: &Client) -> bool {
    client.client_secret.is_some() && !client.binds_always()
}
