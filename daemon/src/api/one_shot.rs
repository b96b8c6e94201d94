//! `Call`: one command of a shim, run against a relay of its own. It ends with the
//! shim, the command or the daemon.

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use mcp_remote_proto::v1::{Display, RelayRequest, RelayResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use tracing::Instrument as _;

use super::relay::{Attached, messages};
use super::sign_in::{self, SignInReplies};
use super::{Api, convert};
use crate::one_shot::{self, Command, Peer};
use crate::relay::{Relay, RelayDeps, ShimGone};

/// Starts it.
pub(super) fn start(
    api: &Api,
    deps: RelayDeps,
    display: &Display,
    requests: Streaming<RelayRequest>,
    command: Command,
) -> impl Stream<Item = Result<RelayResponse, Status>> + Send + use<> {
    let attached = Attached::new(&api.shims);
    let tokens = deps.spec.tokens.as_ref();
    let (sign_in, replies) = sign_in::attend(&api.authority, tokens, display, false, &api.relays);
    let span = tracing::info_span!("one-shot", server = %deps.server.shown);
    let (to_relay, own) = mpsc::channel(1);
    let (out, from_relay) = mpsc::channel(1);
    let (say, said) = mpsc::channel(1);
    // As it was typed.
    let server = deps.terms.name.as_deref().unwrap_or(&deps.server.shown);
    let peer = Peer {
        server: server.to_owned(),
        to_relay,
        from_relay,
        say: say.clone(),
        last_id: 0,
    };
    let downstream = downstream(own, requests, replies);
    let relay = Box::pin(Relay::run(deps, None, downstream, out));
    let commanded = Box::pin(one_shot::run(command, peer));
    let running = async move {
        let _attached = attached;
        if let (Some(finished), ()) = tokio::join!(commanded, relay) {
            // The shim may have gone.
            drop(say.send(finished).await);
        }
    };
    api.relays.spawn(running.instrument(span));
    let handover = api.handover.clone();
    let frames =
        ReceiverStream::new(said).map(move |said| Ok(convert::said(said, handover.is_cancelled())));
    sign_in::beside(sign_in, frames)
}

/// The command's messages, until it has no more or its shim has gone.
fn downstream(
    own: mpsc::Receiver<Bytes>,
    requests: Streaming<RelayRequest>,
    replies: SignInReplies,
) -> impl Stream<Item = Result<Bytes, ShimGone>> + Unpin {
    let own = ReceiverStream::new(own).map(|message| Some(Ok(message)));
    let own = own.chain(stream::iter([None]));
    let gone = messages(requests, replies).filter_map(|said| {
        // A message of the shim would be one of a later release.
        std::future::ready(said.err().map(|gone| Some(Err(gone))))
    });
    let both = stream::select(own, gone).take_while(|said| std::future::ready(said.is_some()));
    both.filter_map(std::future::ready).boxed()
}
