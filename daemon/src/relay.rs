//! One shim's connection: from its first message to the end of its stream.
//!
//! Knows no gRPC and no HTTP. Invariants: every request gets exactly one answer;
//! what the shim says reaches only the session that it leases; a session goes
//! back to the pool only if nothing of this shim is left in it.

mod batches;
mod elicitation;
pub(crate) mod fault;
mod in_flight;
mod inbound;
mod keep_alive;
mod leaving;
mod open_lease;
mod questions;
mod refusals;
mod repeats;
mod resuming;
mod roots;
mod shim;
mod sign_in;
mod switching;
mod task_tokens;
mod timeout;
mod tool_filter;
mod unasked;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::jsonrpc::{self, Envelope, Kind, Unusable};
use crate::protocol::ProtocolVersion;
use crate::session::{
    Change, Fate, Handshake, Inbound, InitializeResult, Outbound, OutboundKind, names,
};
use crate::upstream::UpstreamError;
pub(crate) use open_lease::{check, warm};
pub(crate) use shim::{Earlier, NoticeLevel, RelayDeps, Resumed, ShimGone, ToShim};
pub(crate) use sign_in::{AUTH_TIMEOUT, nobody_is_asked};
pub(crate) use tool_filter::ToolFilter;

use batches::{BatchId, Batches};
use in_flight::InFlight;
use keep_alive::KeepAlive;
use leaving::drained;
use open_lease::{News, OpenLease, acquire};
use questions::Questions;
use resuming::adopt;
use roots::Roots;
use shim::Attached;
use sign_in::SignIn;
use switching::Named;
use task_tokens::TaskTokens;

/// Messages from the session that wait for the relay: one, since each may be as
/// long as a message can be. A shim that does not read holds up its own session.
const INBOX: usize = 1;

/// A failure to connect that took this long answers further requests for a while,
/// so that requests behind one another do not wait one by one for a server that
/// does not answer. One that refuses at once is tried again at once.
const SLOW: Duration = Duration::from_secs(1);

/// For how long at most: half of what it took.
const MAX_FAILING: Duration = Duration::from_secs(5);

/// The shim has gone: nothing more can be said.
struct Gone;

/// A request that had gone out.
#[derive(Debug, Clone, Copy)]
struct Sent {
    /// Its id upstream.
    minted: u64,
    /// Whether the server may have executed it.
    maybe_executed: bool,
}

/// One shim's connection.
#[derive(Debug)]
pub(crate) struct Relay {
    deps: RelayDeps,
    out: mpsc::Sender<ToShim>,
    handshake: Option<Arc<Handshake>>,
    /// The client's `notifications/initialized`, until a session has it.
    initialized: Option<Bytes>,
    /// What the shim had from an earlier daemon, until it has a lease of ours.
    earlier: Earlier,
    lease: Option<OpenLease>,
    /// Boxed, since a channel has room for many, whatever its bound.
    inbox: mpsc::Sender<Box<Inbound>>,
    /// What a shared session says to this relay, besides what its POSTs bring.
    news: News,
    /// An id that no request of the session before has reached.
    beyond: u64,
    in_flight: InFlight,
    questions: Questions,
    /// Notifications and responses that the server may not have taken yet.
    said: TaskTracker,
    /// Changes of the session's switches under way, by the id of their request.
    changes: HashMap<u64, Change>,
    /// Requests whose answers name tasks, by their id; only in a shared session.
    named: HashMap<u64, Named>,
    task_tokens: TaskTokens,
    roots: Roots,
    batches: Batches,
    /// The batch whose elements are being read.
    reading: Option<BatchId>,
    /// The negotiated revision.
    version: Option<ProtocolVersion>,
    last_notice: String,
    /// Until when a slow failure to connect stands for what was asked meanwhile.
    failing: Option<(Instant, UpstreamError)>,
    sign_in: SignIn,
    keep_alive: KeepAlive,
    /// Whether the shim had more to say when the daemon stopped: it comes back.
    comes_back: bool,
    /// Whether the client says no more: it cannot be asked anything.
    input_ended: bool,
}

impl Relay {
    /// Relays until the shim has gone or everything owed to it is delivered. The
    /// future is large while a shim is attached, so what happens seldom is boxed.
    pub(crate) fn run(
        deps: RelayDeps,
        resumed: Option<Resumed>,
        mut downstream: impl Stream<Item = Result<Bytes, ShimGone>> + Unpin,
        out: mpsc::Sender<ToShim>,
    ) -> impl Future<Output = ()> {
        let attached = Attached::new(deps.server.clone());
        let stop = deps.stop.clone();
        let (mut relay, mut inbound) = Self::new(deps, resumed, out);
        async move {
            tokio::select! {
                // The error says that the shim has gone, which ends the relay too.
                _gone = relay.relay(&mut downstream, &mut inbound) => {}
                // One that was busy has not heard that the daemon stops.
                () = drained(&stop) => drop(relay.out.try_send(ToShim::Goodbye)),
            }
            drop(attached);
            Box::pin(relay.leave(inbound)).await;
        }
    }

    fn new(
        deps: RelayDeps,
        resumed: Option<Resumed>,
        out: mpsc::Sender<ToShim>,
    ) -> (Self, mpsc::Receiver<Box<Inbound>>) {
        let batches = Batches::new(deps.max_message);
        let questions = Questions::new(resumed.is_some());
        let (inbox, inbound) = mpsc::channel(INBOX);
        let (handshake, initialized, earlier) = match resumed {
            Some(Resumed {
                initialize,
                initialized,
                earlier,
            }) => (Some(Arc::new(initialize)), initialized, earlier),
            None => (None, None, Earlier::default()),
        };
        let relay = Self {
            deps,
            out,
            handshake,
            initialized,
            earlier,
            lease: None,
            inbox,
            news: None,
            beyond: 0,
            in_flight: InFlight::default(),
            questions,
            said: TaskTracker::new(),
            changes: HashMap::new(),
            named: HashMap::new(),
            task_tokens: TaskTokens::default(),
            roots: Roots::default(),
            batches,
            reading: None,
            version: None,
            last_notice: String::new(),
            failing: None,
            sign_in: SignIn::default(),
            keep_alive: KeepAlive::default(),
            comes_back: false,
            input_ended: false,
        };
        (relay, inbound)
    }

    async fn relay(
        &mut self,
        downstream: &mut (impl Stream<Item = Result<Bytes, ShimGone>> + Unpin),
        inbound: &mut mpsc::Receiver<Box<Inbound>>,
    ) -> Result<(), Gone> {
        let stop = self.deps.stop.clone();
        let out = self.out.clone();
        let (mut reading, mut told) = (true, false);
        let comes_back = self.handshake.is_some();
        for warning in std::mem::take(&mut self.deps.warnings) {
            self.tell(ToShim::Notice(NoticeLevel::Info, warning))
                .await?;
        }
        if comes_back && let Err(error) = self.leased().await? {
            // The client has not asked for anything: its next message tries again.
            tracing::debug!(%error, "the session of a shim that comes back waits");
        }
        loop {
            if self.in_flight.is_empty() && self.sign_in.is_empty() {
                if let Some(sentence) = self.needs_person() {
                    return self.tell(ToShim::SignInNeeded(sentence)).await;
                }
                if !reading {
                    return Ok(());
                }
            }
            let (timeout, ping) = (self.next_timeout(), self.next_ping());
            tokio::select! {
                biased;
                // Always some: the relay holds a sender.
                Some(inbound) = inbound.recv() => self.on_inbound(*inbound).await?,
                news = open_lease::news(&mut self.news) => match news {
                    Some(news) => self.on_inbound(Arc::unwrap_or_clone(news)).await?,
                    // The session did not wait for a client that does not read.
                    None => return Err(Gone),
                },
                message = downstream.next(), if reading => match message {
                    Some(Ok(message)) => self.on_message(message).await?,
                    Some(Err(ShimGone)) => return Err(Gone),
                    None => {
                        reading = false;
                        self.sign_in.wait_no_more();
                        self.end_input().await;
                    }
                },
                step = self.sign_in.next() => self.on_sign_in(step).await?,
                () = out.closed() => return Err(Gone),
                () = timeout => Box::pin(self.give_up_silent()).await?,
                () = ping => self.ping().await,
                // The shim says no more then; what it has said is still served.
                () = stop.cancelled(), if !told => {
                    told = true;
                    self.comes_back = reading;
                    self.sign_in.wait_no_more();
                    self.tell(ToShim::Goodbye).await?;
                }
            }
        }
    }

    async fn on_message(&mut self, message: Bytes) -> Result<(), Gone> {
        if message.len() > self.deps.max_message {
            return Box::pin(self.refuse_oversized(&message)).await;
        }
        let is_array = message.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
        if is_array {
            return Box::pin(self.on_array(message)).await;
        }
        self.on_parsed(Envelope::parse_all(message)).await
    }

    async fn on_parsed(&mut self, parsed: Vec<Result<Envelope, Unusable>>) -> Result<(), Gone> {
        for envelope in parsed {
            let envelope = match envelope {
                Ok(envelope) => envelope,
                Err(unusable) => {
                    self.refuse(&unusable).await?;
                    continue;
                }
            };
            match envelope.kind() {
                Kind::Request if envelope.method() == Some("initialize") => {
                    Box::pin(self.on_initialize(envelope)).await?
                }
                Kind::Request => self.on_request(envelope).await?,
                Kind::Notification => self.on_notification(envelope).await,
                Kind::Response => self.on_response(envelope).await,
            }
        }
        Ok(())
    }

    /// Answers from the session's stored result; a session that has to be opened
    /// for it says the same message to the server.
    async fn on_initialize(&mut self, envelope: Envelope) -> Result<(), Gone> {
        let id = envelope.id().expect("a request has an id");
        let Some(handshake) = Handshake::of_client(envelope.clone()) else {
            let answer = jsonrpc::error_response(
                Some(&id),
                -32602,
                "mcp-remote: initialize has no protocolVersion",
                None,
            );
            return self.answer(None, answer).await;
        };
        let handshake = Arc::new(handshake);
        let key = |of: &Handshake| of.key(self.deps.spec.clone(), self.deps.reuse);
        let changed = self
            .handshake
            .as_ref()
            .is_none_or(|known| key(known) != key(&handshake));
        // A request that came before `initialize` was made in the daemon's name.
        // While it is under way its session stays, whoever the client is.
        if changed && self.in_flight.is_empty() {
            self.give_back().await;
            self.handshake = Some(handshake);
        }
        if let Some(handshake) = &self.handshake {
            self.deps.server.spoken_to(handshake);
        }
        match self.leased().await? {
            Ok(result) => self.answer(None, result.answer(&id)).await,
            Err(error) => self.not_leased(envelope, &id, error).await,
        }
    }

    async fn on_request(&mut self, envelope: Envelope) -> Result<(), Gone> {
        let id = envelope.id().expect("a request has an id");
        if let Some(refusal) = self.deps.tools.refusal(&envelope) {
            return self.answer(None, refusal).await;
        }
        if self.lease.is_none() && envelope.method() == Some("ping") {
            return self.answer(None, id.empty_result()).await;
        }
        if self.lease.is_none() && self.sign_in.is_waiting() {
            return self.hold_too(envelope, &id).await;
        }
        if let Err(error) = self.leased().await? {
            return self.not_leased(envelope, &id, error).await;
        }
        let Some(lease) = &mut self.lease else {
            return Ok(());
        };
        if !lease.is_shared() && names::asks_for_task(&envelope) {
            // The task outlives the lease, and the next would see it.
            lease.spoil();
        }
        let minted = lease.session().next_id();
        let after = self.tell_of_roots().await;
        let (message, fate) = self.in_flight.begin(minted, &envelope);
        let list = self.list_asked(&envelope, minted);
        if self.sign_in.round() > 0 {
            self.in_flight.note_round(minted, self.sign_in.round());
        }
        let mut outbound = Outbound {
            fate,
            after,
            list,
            ..Outbound::new(message, OutboundKind::Request(minted), self.replies())
        };
        if let Some(batch) = self.reading {
            self.batches.expect(batch, minted);
        }
        if let Some(lease) = self.lease.as_ref().filter(|lease| lease.is_shared()) {
            lease.membership().own(minted);
            if self.is_foreign(minted, &envelope) {
                return self.refuse_foreign(minted).await;
            }
        }
        if let Some(change) = Change::of(&envelope) {
            match Box::pin(self.switch(minted, change, outbound)).await? {
                Some(as_it_is) => outbound = as_it_is,
                None => return Ok(()),
            }
        }
        let Some(lease) = &self.lease else {
            return Ok(());
        };
        if let Err(error) = lease.session().send(outbound).await {
            // The session has ended for good: the next request gets another.
            self.spoil();
            self.forget();
            self.ended(minted, Some(error)).await?;
        }
        Ok(())
    }

    async fn on_notification(&mut self, envelope: Envelope) {
        if envelope.method() == Some("notifications/initialized") {
            let notification = envelope.bytes().clone();
            match &self.lease {
                Some(lease) => lease.session().initialized(notification.clone()).await,
                None => self.initialized = Some(notification),
            }
            drop(self.tell_of_roots().await);
            // A shim that has gone is seen elsewhere.
            drop(self.offer_page().await);
            return;
        }
        let (message, after) = match envelope.method() {
            Some("notifications/cancelled") if self.drop_held(&envelope).await => return,
            Some("notifications/cancelled") => match self.cancel(&envelope).await {
                Some((message, sent)) => (message, Some(sent)),
                // Answered meanwhile, or never asked.
                None => return,
            },
            // One member's folders are not those of all.
            Some("notifications/roots/list_changed") if self.is_one_of_several() => return,
            _ => (envelope.bytes().clone(), None),
        };
        self.send(message, OutboundKind::Notification, after).await;
    }

    async fn send(&self, message: Bytes, kind: OutboundKind, after: Option<CancellationToken>) {
        if let Some(lease) = &self.lease {
            let outbound = Outbound {
                fate: Fate {
                    _under_way: Some(self.said.token()),
                    ..Fate::default()
                },
                after,
                ..Outbound::new(message, kind, self.replies())
            };
            // A session that is being closed needs no more notifications.
            drop(lease.session().send(outbound).await);
        }
    }

    /// Makes sure of an open session. The outer error: the shim has gone.
    async fn leased(&mut self) -> Result<Result<Arc<InitializeResult>, UpstreamError>, Gone> {
        if let Some(lease) = &self.lease {
            let is_idle = self.in_flight.is_empty() && self.questions.is_empty();
            if !(is_idle && lease.membership().is_to_leave()) {
                // A lost session is opened again by the next message, in its actor.
                return Ok(Ok(lease.result().clone()));
            }
            // What still comes from there must not be taken for what comes from here.
            self.beyond = lease.session().next_id();
            (self.lease, self.news) = (None, None);
        }
        Box::pin(self.lease()).await
    }

    async fn lease(&mut self) -> Result<Result<Arc<InitializeResult>, UpstreamError>, Gone> {
        let handshake = self
            .handshake
            .get_or_insert_with(|| Arc::new(Handshake::of_daemon()))
            .clone();
        if let Some((until, error)) = &self.failing
            && Instant::now() < *until
        {
            return Ok(Err(error.clone()));
        }
        let began = Instant::now();
        let acquired = tokio::select! {
            acquired = acquire(&self.deps, &handshake, self.earlier.lease.clone(), self.inbox.clone()) => acquired,
            () = self.out.closed() => return Err(Gone),
            () = drained(&self.deps.stop) => Err(UpstreamError::Here("the daemon is stopping".into())),
        };
        let (lease, news) = match acquired {
            Ok(acquired) => acquired,
            Err(error) => {
                if began.elapsed() >= SLOW {
                    let stands = (began.elapsed() / 2).min(MAX_FAILING);
                    self.failing = Some((Instant::now() + stands, error.clone()));
                }
                return Ok(Err(error));
            }
        };
        let to_say = adopt(&lease, std::mem::take(&mut self.earlier));
        if let Some(notification) = self.initialized.take() {
            lease.session().initialized(notification).await;
        }
        lease.session().mint_beyond(self.beyond);
        let result = lease.result().clone();
        self.version = Some(result.version);
        let token = lease.session().lease().clone();
        let server = ToShim::Server(result.clone(), lease.is_warm(), token);
        self.last_notice.clear();
        self.keep_alive.begin(self.deps.ping_interval);
        self.lease = Some(lease);
        self.news = news;
        self.look_at_roots();
        self.join().await;
        self.say_again(to_say).await?;
        self.out.send(server).await.map_err(|_| Gone)?;
        Ok(Ok(result))
    }

    async fn tell(&self, what: ToShim) -> Result<(), Gone> {
        self.out.send(what).await.map_err(|_| Gone)
    }

    async fn say(&self, message: Bytes) -> Result<(), Gone> {
        self.tell(ToShim::Message(jsonrpc::on_one_line(message)))
            .await
    }
}
