//! A relay stream of `PURPOSE_LOGIN`: signs somebody in if that is needed, then
//! says who answers. The sign-in belongs to the daemon, not to the stream.

use std::time::Duration;

use futures_util::stream::{Stream, StreamExt as _};
use mcp_remote_proto::v1::{Display, RelayRequest, RelayResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use tracing::Instrument as _;

use super::relay::Attached;
use super::sign_in::{self, SignInReplies};
use super::{Api, convert};
use crate::oauth::challenge::Challenge;
use crate::oauth::token_source::{TokenError, TokenSource, Wanting};
use crate::relay::fault::Whom;
use crate::relay::{self, RelayDeps, ToShim};
use crate::upstream::UpstreamError;

/// How often a new token is tried: after a sign-in, after what the server turns
/// out to want besides, and once more.
const SIGN_INS: usize = 3;

/// Starts it; it ends with the shim or the daemon.
pub(super) fn start(
    api: &Api,
    deps: RelayDeps,
    display: &Display,
    patience: Option<Duration>,
    requests: Streaming<RelayRequest>,
) -> impl Stream<Item = Result<RelayResponse, Status>> + Send + use<> {
    let attached = Attached::new(&api.shims);
    let tokens = deps.spec.tokens.clone();
    let (sign_in, replies) =
        sign_in::attend(&api.authority, tokens.as_ref(), display, true, &api.relays);
    let span = tracing::info_span!("login", server = %deps.server.shown);
    let stop = api.stop.clone();
    let (out, frames) = mpsc::channel(1);
    let running = async move {
        let _attached = attached;
        let ended = tokio::select! {
            ended = sign_in_and_check(&deps, tokens.as_ref(), patience) => ended,
            () = heard(requests, replies) => return,
            () = stop.cancelled() => Err(Status::unavailable("the daemon is stopping: try again")),
        };
        // The shim may have gone.
        drop(out.send(ended).await);
    };
    api.relays.spawn(running.instrument(span));
    sign_in::beside(sign_in, ReceiverStream::new(frames)).boxed()
}

/// Takes what the shim says; returns when it has gone. One that only has no more
/// to say is still there.
async fn heard(mut requests: Streaming<RelayRequest>, replies: SignInReplies) {
    loop {
        match requests.message().await {
            Ok(Some(RelayRequest { frame })) => {
                // The rest makes no sense on such a stream.
                let _unknown = frame.and_then(|frame| replies.hear(frame));
            }
            Ok(None) => std::future::pending().await,
            Err(_) => return,
        }
    }
}

async fn sign_in_and_check(
    deps: &RelayDeps,
    source: Option<&TokenSource>,
    patience: Option<Duration>,
) -> Result<RelayResponse, Status> {
    let (whom, server) = (deps.whom(), &deps.server.shown);
    if let Some(source) = source.filter(|source| source.is_unattended())
        && source.current().is_none()
    {
        // Earlier failures do not count. The check says why there is no token.
        drop(sign_in(source, None, true, deps.non_interactive).await);
    }
    for attempt in 0..SIGN_INS {
        let error = match relay::check(deps.clone()).await {
            Ok((result, warm, lease)) => {
                return Ok(convert::frame(ToShim::Server(result, warm, lease), false));
            }
            Err(error) => error,
        };
        let (Some(source), true) = (source, needs_somebody(&error)) else {
            return Err(unavailable(whom, &error));
        };
        // Earlier refusals do not count for a person who asks; what the server
        // says of the new token does.
        let explicit = attempt == 0 && !deps.non_interactive;
        // What it said is known from the check.
        let said = Some(Challenge::default());
        let signing_in = sign_in(source, said, explicit, deps.non_interactive);
        let signed_in = match patience {
            None => signing_in.await,
            Some(patience) => match tokio::time::timeout(patience, signing_in).await {
                Ok(signed_in) => signed_in,
                Err(_) => {
                    return Err(Status::unauthenticated(format!(
                        "{server} answered 401 unauthorized, and nobody signed in within {} s{}",
                        patience.as_secs(),
                        whom.advice()
                    )));
                }
            },
        };
        signed_in.map_err(|why| refused(whom, &error, &why))?;
    }
    Err(Status::unauthenticated(format!(
        "{server} answers 401 unauthorized whoever signs in: ask whoever runs it"
    )))
}

/// Joins the sign-in under way or begins one, and waits for its end. `said`: what the
/// server said when it refused; `non_interactive`: neither joins nor begins one.
async fn sign_in(
    source: &TokenSource,
    said: Option<Challenge>,
    explicit: bool,
    non_interactive: bool,
) -> Result<(), TokenError> {
    let rejected = source.current();
    let wanting = Wanting {
        explicit,
        may_sign_in: !non_interactive,
        ..Wanting::default()
    };
    let renewed = source.renew(rejected.as_ref(), said, wanting).await;
    match renewed {
        Err(TokenError::LoginRequired { why, .. }) if non_interactive => {
            Err(TokenError::Rejected(relay::nobody_is_asked(why)))
        }
        Err(TokenError::LoginRequired {
            sign_in: Some(_), ..
        }) => source.signed_in(rejected.as_ref()).await.map(drop),
        renewed => renewed.map(drop),
    }
}

fn needs_somebody(error: &UpstreamError) -> bool {
    matches!(error, UpstreamError::Unauthorized(refusal) if refusal.is_about_tokens())
}

/// Says why nobody has signed in where the server answered `error`.
fn refused(whom: Whom<'_>, error: &UpstreamError, why: &TokenError) -> Status {
    let server = whom.server;
    match why {
        TokenError::NotOffered => unavailable(whom, error),
        TokenError::Transient(why) => {
            Status::aborted(format!("{server} cannot be signed in to now: {why}"))
        }
        TokenError::LoginRequired { .. } | TokenError::Rejected(_) => Status::unauthenticated(
            format!("{server} answered 401 unauthorized: {why}{}", whom.advice()),
        ),
    }
}

/// Says why a server cannot be used. "Unavailable" is kept for a daemon that stops,
/// which a shim waits for.
pub(super) fn unavailable(whom: Whom<'_>, error: &UpstreamError) -> Status {
    let sentence = relay::fault::sentence(whom, error);
    match error {
        UpstreamError::Unauthorized(_)
        | UpstreamError::NotSignedIn { .. }
        | UpstreamError::NoToken(_) => Status::unauthenticated(sentence),
        _ => Status::aborted(sentence),
    }
}
