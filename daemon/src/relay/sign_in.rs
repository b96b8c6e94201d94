//! Requests that wait until somebody has signed in. The sign-in is the daemon's: it
//! goes on whatever becomes of them.
//!
//! Invariants: what is held was not handled by the server, and is said once more
//! after the sign-in, a few times at most; nothing waits longer than the user allows,
//! and a client that has no more to say waits for nobody.

use std::time::Duration;

use serde::Deserialize;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::batches::BatchId;
use super::elicitation::Page;
use super::unasked::Unasked;
use super::{Gone, Relay};
use crate::jsonrpc::{Envelope, RequestId};
use crate::oauth::browsers::{Shown, SignInUrl};
use crate::oauth::token_source::{AccessToken, TokenError, TokenSource, Wanting};
use crate::session::InitializeResult;
use crate::upstream::{Refusal, TransportKind, UpstreamError};

/// How long a request waits for somebody to sign in unless the user says so.
pub(crate) const AUTH_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a client that has no more to say waits until the page of the sign-in is
/// known. Less than the shim waits for answers, and the daemon when it stops.
const LAST_WAIT: Duration = Duration::from_secs(4);

/// How often a request is said again: after a token was renewed, somebody has signed
/// in, and more access was asked for.
const MAX_ROUNDS: u8 = 5;

/// Requests that wait.
const MAX_HELD: usize = 1000;

/// What they may take, in bytes; one may be longer.
const MAX_HELD_BYTES: usize = 16 * 1024 * 1024;

/// Why no more do.
const TOO_MANY: &str = "too many requests wait for somebody to sign in";

/// Characters kept of the name of what a request does.
const MAX_NAME: usize = 256;

/// How far the waiting is.
#[derive(Debug)]
pub(super) enum Step {
    /// Somebody has to sign in there.
    Begun(Refusal, SignInUrl, Instant),
    /// No browser shows its page.
    Hidden(Refusal, SignInUrl, Instant),
    /// There is a token now.
    Done,
    /// There will be none.
    Failed(UpstreamError),
    /// There will be none, since somebody would have to sign in and nobody is asked.
    Unasked(UpstreamError, Unasked),
}

/// A request that is not said yet.
#[derive(Debug)]
struct Held {
    request: Envelope,
    batch: Option<BatchId>,
    /// How often it has been said in vain.
    round: u8,
}

/// What waits for a sign-in.
#[derive(Default)]
pub(super) struct SignIn {
    held: Vec<Held>,
    /// How often what is being said again has been said in vain.
    round: u8,
    /// One task at most.
    waiting: JoinSet<Step>,
    /// What nobody was asked for, and what was said of it.
    pub(super) unasked: Option<(Unasked, String)>,
    input_ended: CancellationToken,
    /// What the client may show its user.
    pub(super) page: Page,
}

impl std::fmt::Debug for SignIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignIn")
            .field("held", &self.held.len())
            .finish_non_exhaustive()
    }
}

impl SignIn {
    /// Says whether no request waits.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Says whether the next request has to wait too.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Returns how often what is being said has been said in vain.
    pub(super) fn round(&self) -> u8 {
        self.round
    }

    /// Says whether a request of this length may wait too.
    fn has_room(&self, length: usize) -> bool {
        let lengths = self.held.iter().map(|held| held.request.bytes().len());
        let fits = lengths.sum::<usize>() + length <= MAX_HELD_BYTES;
        self.held.is_empty() || (fits && self.held.len() < MAX_HELD)
    }

    /// Says why a request that was refused is not held.
    fn refuses(&self, refusal: &Refusal, length: usize, round: u8) -> Option<UpstreamError> {
        let why = if round > MAX_ROUNDS {
            format!("it refuses one token after another, {MAX_ROUNDS} for this request")
        } else if !self.has_room(length) {
            TOO_MANY.to_owned()
        } else {
            return None;
        };
        Some(not_signed_in(refusal, why, None))
    }

    /// Ends the waiting for people: the client has no more to say, or the daemon
    /// stops.
    pub(super) fn wait_no_more(&self) {
        self.input_ended.cancel();
    }

    /// Waits for the next step; for ever if nothing waits. Cancel safe.
    pub(super) async fn next(&mut self) -> Step {
        match self.waiting.join_next().await {
            Some(Ok(step)) => step,
            Some(Err(error)) => {
                tracing::error!(%error, "the waiting for a sign-in panicked");
                Step::Failed(UpstreamError::Here("an internal error".into()))
            }
            None => std::future::pending().await,
        }
    }
}

impl Relay {
    /// Answers a request for which there is no session, or holds it back.
    pub(super) async fn not_leased(
        &mut self,
        request: Envelope,
        id: &RequestId,
        error: UpstreamError,
    ) -> Result<(), Gone> {
        let error = match error {
            UpstreamError::Unauthorized(refusal) if self.can_sign_in(&refusal) => {
                let round = self.sign_in.round + 1;
                match self.sign_in.refuses(&refusal, request.bytes().len(), round) {
                    Some(error) => error,
                    None => {
                        self.begin_sign_in(&refusal, &request);
                        self.hold(request, round);
                        return Ok(());
                    }
                }
            }
            error => error,
        };
        self.deps.server.unanswered();
        self.fault(id, &error, None).await
    }

    /// Holds a request back that comes while others wait.
    pub(super) async fn hold_too(&mut self, request: Envelope, id: &RequestId) -> Result<(), Gone> {
        if self.sign_in.has_room(request.bytes().len()) {
            self.hold(request, self.sign_in.round);
            return Ok(());
        }
        self.deps.server.unanswered();
        self.fault(id, &UpstreamError::Here(TOO_MANY.into()), None)
            .await
    }

    /// Holds a request back that was refused for its token; else returns the error.
    pub(super) fn hold_refused(
        &mut self,
        minted: u64,
        error: UpstreamError,
    ) -> Result<(), UpstreamError> {
        let refusal = match &error {
            UpstreamError::Unauthorized(refusal) if self.can_sign_in(refusal) => refusal,
            _ => return Err(error),
        };
        let Some(entry) = self.in_flight.get(minted) else {
            return Err(error);
        };
        let round = entry.round + 1;
        if let Some(instead) = self.sign_in.refuses(refusal, entry.message.len(), round) {
            return Err(instead);
        }
        let Some(request) = self.in_flight.withdraw(minted) else {
            return Err(error);
        };
        self.disown(minted);
        self.deps.server.failed(&error);
        self.begin_sign_in(refusal, &request);
        let batch = self.batches.withdraw(minted);
        self.sign_in.held.push(Held {
            request,
            batch,
            round,
        });
        Ok(())
    }

    /// Holds back what has just been read.
    fn hold(&mut self, request: Envelope, round: u8) {
        let batch = self.reading;
        if let Some(batch) = batch {
            self.batches.hold(batch);
        }
        self.sign_in.held.push(Held {
            request,
            batch,
            round,
        });
    }

    /// Forgets a held request that the client cancels; says whether it was one.
    pub(super) async fn drop_held(&mut self, notification: &Envelope) -> bool {
        let Some(place) = notification.cancelled_request() else {
            return false;
        };
        let cancelled = notification.text(place);
        let is_it = |Held { request, .. }: &mut Held| {
            request.id().is_some_and(|id| id.as_json() == cancelled)
                && request.method() != Some("initialize")
        };
        let dropped: Vec<Held> = self.sign_in.held.extract_if(.., is_it).collect();
        for Held { request, batch, .. } in &dropped {
            let _executed = request.id().map(|id| self.in_flight.was_repeated(&id));
            self.reading = *batch;
            // A shim that has gone is seen elsewhere.
            drop(self.has_read().await);
        }
        !dropped.is_empty()
    }

    fn can_sign_in(&self, refusal: &Refusal) -> bool {
        self.deps.spec.tokens.is_some() && refusal.is_about_tokens()
    }

    /// Asks for a sign-in, or joins the one that is asked for.
    fn begin_sign_in(&mut self, refusal: &Refusal, request: &Envelope) {
        let Some(tokens) = self.deps.spec.tokens.clone() else {
            return;
        };
        if !self.sign_in.is_waiting() {
            let deadline = Instant::now() + self.deps.auth_timeout;
            let patience = (deadline, self.deps.auth_timeout);
            let ended = self.sign_in.input_ended.clone();
            let wanting = Wanting {
                operation: operation(request),
                may_sign_in: !self.deps.non_interactive,
                ..Wanting::default()
            };
            let asking = ask(tokens, refusal.clone(), wanting, patience, ended);
            self.sign_in.waiting.spawn(asking);
        }
    }

    /// Goes on with what is held.
    pub(super) async fn on_sign_in(&mut self, step: Step) -> Result<(), Gone> {
        match step {
            Step::Begun(refusal, url, deadline) => {
                self.answer_from_memory().await?;
                self.wait_on(refusal, url, deadline, false);
                Ok(())
            }
            Step::Hidden(refusal, url, deadline) => {
                self.sign_in.page.hide(url.clone());
                self.wait_on(refusal, url, deadline, true);
                self.offer_page().await
            }
            Step::Done => {
                self.failing = None;
                self.close_page().await?;
                for held in std::mem::take(&mut self.sign_in.held) {
                    self.reading = held.batch;
                    self.sign_in.round = held.round;
                    // Boxed: it may come to be held again.
                    Box::pin(self.on_parsed(vec![Ok(held.request)])).await?;
                    self.has_read().await?;
                }
                self.sign_in.round = 0;
                Ok(())
            }
            Step::Unasked(error, unasked) => {
                self.note_unasked(unasked, &error);
                Box::pin(self.on_sign_in(Step::Failed(error))).await
            }
            Step::Failed(error) => {
                for Held { request, batch, .. } in std::mem::take(&mut self.sign_in.held) {
                    let id = request.id().expect("a request has an id");
                    self.reading = batch;
                    self.deps.server.unanswered();
                    self.deps.server.failed(&error);
                    let maybe_executed = self.in_flight.was_repeated(&id);
                    self.fault_of(&id, &error, None, maybe_executed).await?;
                    self.has_read().await?;
                }
                Ok(())
            }
        }
    }

    fn wait_on(&mut self, refusal: Refusal, url: SignInUrl, deadline: Instant, hidden: bool) {
        if let Some(tokens) = self.deps.spec.tokens.clone()
            && !self.sign_in.is_empty()
        {
            let patience = self.deps.auth_timeout;
            let ended = self.sign_in.input_ended.clone();
            let times = (deadline, patience);
            let waiting = wait(tokens, refusal, url, times, ended, hidden);
            self.sign_in.waiting.spawn(waiting);
        }
    }

    /// Answers `initialize` with what the server said in earlier days, so that the
    /// client can go on while somebody signs in.
    async fn answer_from_memory(&mut self) -> Result<(), Gone> {
        let Some(asked) = self.handshake.as_ref().map(|handshake| handshake.version()) else {
            return Ok(());
        };
        let known = self.deps.server.said_to(&self.deps.spec);
        let known = known.and_then(|said| Envelope::parse(said.as_bytes().to_vec().into()).ok());
        let known = known
            .and_then(|reply| InitializeResult::read(reply, TransportKind::StreamableHttp).ok());
        // To another revision it might say something else.
        let Some(known) = known.filter(|known| known.version == asked) else {
            return Ok(());
        };
        let is_it = |held: &mut Held| held.request.method() == Some("initialize");
        for Held { request, .. } in self.sign_in.held.extract_if(.., is_it).collect::<Vec<_>>() {
            let id = request.id().expect("a request has an id");
            self.version = Some(known.version);
            self.answer(None, known.answer(&id)).await?;
        }
        Ok(())
    }
}

/// Asks for a token that is not refused; says where somebody has to sign in for it.
async fn ask(
    tokens: TokenSource,
    refusal: Refusal,
    wanting: Wanting,
    (deadline, patience): (Instant, Duration),
    input_ended: CancellationToken,
) -> Step {
    let waits = wanting.may_sign_in;
    let challenge = Some(refusal.challenge.clone());
    let last_wait = async {
        input_ended.cancelled().await;
        tokio::time::sleep(LAST_WAIT).await;
    };
    let why = tokio::select! {
        biased;
        renewed = tokens.renew(refusal.token.as_ref(), challenge, wanting) => {
            return match renewed {
                // Others may wait for somebody; that is theirs.
                Err(TokenError::LoginRequired { why, .. }) if !waits => {
                    let unasked = Unasked::of(&refusal);
                    Step::Unasked(not_signed_in(&refusal, nobody_is_asked(why), None), unasked)
                }
                renewed => asked(refusal, renewed, deadline),
            };
        }
        () = last_wait => "its authorization server has not answered yet".to_owned(),
        () = tokio::time::sleep_until(deadline) => {
            format!("its authorization server did not answer within {} s", patience.as_secs_f64())
        }
    };
    Step::Failed(not_signed_in(&refusal, why, None))
}

fn asked(refusal: Refusal, renewed: Result<AccessToken, TokenError>, deadline: Instant) -> Step {
    match renewed {
        Ok(_) => Step::Done,
        Err(TokenError::LoginRequired {
            sign_in: Some(pending),
            ..
        }) => Step::Begun(refusal, pending.url, deadline),
        Err(error) => failed(refusal, error),
    }
}

/// Waits for somebody to sign in; `hidden`: it is known that no browser shows where.
async fn wait(
    tokens: TokenSource,
    refusal: Refusal,
    url: SignInUrl,
    (deadline, patience): (Instant, Duration),
    input_ended: CancellationToken,
    hidden: bool,
) -> Step {
    let why = tokio::select! {
        biased;
        signed_in = tokens.signed_in(refusal.token.as_ref()) => match signed_in {
            Ok(_) => return Step::Done,
            Err(error) => return failed(refusal, error),
        },
        () = input_ended.cancelled() => "somebody has to sign in".to_owned(),
        () = is_hidden(&tokens), if !hidden => return Step::Hidden(refusal, url, deadline),
        () = tokio::time::sleep_until(deadline) => {
            format!("somebody has to sign in, and nobody did within {} s", patience.as_secs_f64())
        }
    };
    Step::Failed(not_signed_in(&refusal, why, Some(url)))
}

async fn is_hidden(tokens: &TokenSource) {
    let mut status = tokens.status();
    let hidden = status.wait_for(|status| {
        let pending = status.sign_in.as_ref();
        pending.is_some_and(|pending| pending.shown == Shown::NotOpened)
    });
    if hidden.await.is_err() {
        std::future::pending().await
    }
}

/// Says why nobody was asked to sign in on behalf of a command that is not interactive.
pub(crate) fn nobody_is_asked(why: Option<String>) -> String {
    const SENTENCE: &str =
        "somebody has to sign in, and a command that is not interactive asks nobody";
    match why {
        Some(why) => format!("{SENTENCE} ({why})"),
        None => SENTENCE.to_owned(),
    }
}

fn failed(refusal: Refusal, error: TokenError) -> Step {
    Step::Failed(match error {
        TokenError::NotOffered => UpstreamError::Unauthorized(Box::new(refusal)),
        // The same words for whoever comes after the one who asked.
        TokenError::LoginRequired { why: Some(why), .. } => not_signed_in(&refusal, why, None),
        error => not_signed_in(&refusal, error.to_string(), None),
    })
}

fn not_signed_in(refusal: &Refusal, why: String, url: Option<SignInUrl>) -> UpstreamError {
    UpstreamError::NotSignedIn {
        status: refusal.status,
        why,
        url,
    }
}

/// Names what a request does, to tell what more access was asked for already.
fn operation(request: &Envelope) -> String {
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    let method = request.method().unwrap_or_default();
    let operation = match request.params::<Named>() {
        Some(named) => format!("{method} {}", named.name),
        None => method.to_owned(),
    };
    operation.chars().take(MAX_NAME).collect()
}
