//! Forgets grants: of one identity, of one server, or all; sessions that were
//! opened with them go first, so that the next person gets none of them.

use futures_util::stream::{self, StreamExt as _};
use mcp_remote_proto::v1::{LogoutResponse, Open};

use super::Api;
use super::configured::For;
use super::convert;
use crate::oauth::REVOCATIONS;
use crate::oauth::token_source::{LoggedOut, TokenSource};

/// Signs out; see `LogoutRequest`.
///
/// # Errors
/// A sentence about the field that is wrong.
pub(super) async fn run(
    api: &Api,
    open: Option<Open>,
    all: bool,
    folder: String,
) -> Result<LogoutResponse, String> {
    let Some(open) = open else {
        return match all {
            true => {
                let folder = convert::auth_folder(folder, &api.config)?;
                let mut done = sign_out(api, api.authority.sources_in(&folder)).await;
                done.extend(api.authority.log_out_left(&folder).await);
                Ok(response(done))
            }
            false => Err("it is not said whom to sign out".into()),
        };
    };
    let opening = api.opening(open, For::Forget)?;
    // Its files may be there although nobody has used it since the daemon began.
    let source = api.authority.source(opening.identity.clone());
    let sources = match all {
        true => {
            let mut sources = api.authority.sources_in(source.hash().folder());
            sources.retain(|source| source.identity().server == opening.spec.url);
            sources
        }
        false => vec![source],
    };
    let mut done = sign_out(api, sources).await;
    if all {
        done.extend(api.authority.log_out_unused(&opening.identity).await);
    }
    Ok(response(done))
}

/// Several at a time: a server that does not answer holds up its own only.
async fn sign_out(api: &Api, sources: Vec<TokenSource>) -> Vec<LoggedOut> {
    let signing_out = sources.into_iter().map(async |source| {
        source.ready().await;
        // First, since their end takes the tokens.
        api.pool.sign_out(&source).await;
        source.log_out().await
    });
    stream::iter(signing_out)
        .buffer_unordered(REVOCATIONS)
        .collect()
        .await
}

fn response(done: Vec<LoggedOut>) -> LogoutResponse {
    let signed_out = done.iter().filter(|one| one.was_signed_in).count();
    LogoutResponse {
        signed_out: u32::try_from(signed_out).unwrap_or(u32::MAX),
        notes: done.into_iter().flat_map(|one| one.notes).collect(),
    }
}
