//! One shim's connection: from its first message to the end of its stream.
//!
//! Knows no gRPC and no HTTP. Invariants: every request gets exactly one answer;
//! what the shim says reaches only the session that it leases; a session goes
//! back to the pool only if nothing of this shim is left in it.

pub(crate) mod fault;
mod in_flight;
mod inbound;
mod open_lease;
mod shim;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{Stream, StreamExt as _};
use mcp_remote_proto::members::Members;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::jsonrpc::{self, Envelope, Kind, ParseError, RequestId, Unusable};
use crate::session::{Fate, Handshake, Inbound, InitializeResult, Outbound, OutboundKind};
use crate::upstream::UpstreamError;
pub(crate) use open_lease::check;
pub(crate) use shim::{NoticeLevel, RelayDeps, Resumed, ShimGone, ToShim};

use in_flight::InFlight;
use open_lease::{OpenLease, acquire};
use shim::Attached;

/// Messages from the session that wait for the relay: one, since each may be as
/// long as a message can be. A shim that does not read holds up its own session.
const INBOX: usize = 1;

/// Requests of the server that a client may leave unanswered before the oldest
/// are forgotten.
const MAX_OWED: usize = 1024;

/// How long answers are still waited for once the daemon stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the last notifications may take before their session is given up.
const SAID_TIMEOUT: Duration = Duration::from_secs(1);

/// A failure to connect that took this long answers further requests for a while,
/// so that requests behind one another do not wait one by one for a server that
/// does not answer. One that refuses at once is tried again at once.
const SLOW: Duration = Duration::from_secs(1);

/// For how long at most: half of what it took.
const MAX_FAILING: Duration = Duration::from_secs(5);

/// The shim has gone: nothing more can be said.
struct Gone;

/// One shim's connection.
#[derive(Debug)]
pub(crate) struct Relay {
    deps: RelayDeps,
    out: mpsc::Sender<ToShim>,
    handshake: Option<Arc<Handshake>>,
    /// The client's `notifications/initialized`, until a session has it.
    initialized: Option<Bytes>,
    lease: Option<OpenLease>,
    inbox: mpsc::Sender<Inbound>,
    in_flight: InFlight,
    /// Requests of the server that the client has not answered.
    owed: HashSet<RequestId>,
    /// Notifications and responses that the server may not have taken yet.
    said: TaskTracker,
    last_notice: String,
    /// Until when a slow failure to connect stands for what was asked meanwhile.
    failing: Option<(Instant, UpstreamError)>,
}

impl Relay {
    /// Relays until the shim has gone or everything owed to it is delivered.
    pub(crate) async fn run(
        deps: RelayDeps,
        resumed: Option<Resumed>,
        mut downstream: impl Stream<Item = Result<Bytes, ShimGone>> + Unpin,
        out: mpsc::Sender<ToShim>,
    ) {
        let _attached = Attached::new(deps.server.clone());
        let (inbox, mut inbound) = mpsc::channel(INBOX);
        let (handshake, initialized) = match resumed {
            Some(resumed) => (Some(Arc::new(resumed.initialize)), resumed.initialized),
            None => (None, None),
        };
        let mut relay = Self {
            deps,
            out,
            handshake,
            initialized,
            lease: None,
            inbox,
            in_flight: InFlight::default(),
            owed: HashSet::new(),
            said: TaskTracker::new(),
            last_notice: String::new(),
            failing: None,
        };
        let stop = relay.deps.stop.clone();
        tokio::select! {
            // The error says that the shim has gone, which ends the relay too.
            _gone = relay.relay(&mut downstream, &mut inbound) => {}
            () = drained(&stop) => {}
        }
        relay.leave(inbound).await;
    }

    async fn relay(
        &mut self,
        downstream: &mut (impl Stream<Item = Result<Bytes, ShimGone>> + Unpin),
        inbound: &mut mpsc::Receiver<Inbound>,
    ) -> Result<(), Gone> {
        let stop = self.deps.stop.clone();
        let out = self.out.clone();
        let (mut reading, mut told) = (true, false);
        for warning in std::mem::take(&mut self.deps.warnings) {
            self.tell(ToShim::Notice(NoticeLevel::Info, warning))
                .await?;
        }
        loop {
            if self.in_flight.is_empty() && !reading {
                return Ok(());
            }
            tokio::select! {
                biased;
                // Always some: the relay holds a sender.
                Some(inbound) = inbound.recv() => self.on_inbound(inbound).await?,
                message = downstream.next(), if reading => match message {
                    Some(Ok(message)) => self.on_message(message).await?,
                    Some(Err(ShimGone)) => return Err(Gone),
                    None => reading = false,
                },
                () = out.closed() => return Err(Gone),
                // The shim says no more then; what it has said is still served.
                () = stop.cancelled(), if !told => {
                    told = true;
                    self.tell(ToShim::Goodbye).await?;
                }
            }
        }
    }

    async fn on_message(&mut self, message: Bytes) -> Result<(), Gone> {
        if message.len() > self.deps.max_message {
            return self.refuse_oversized(&message).await;
        }
        for envelope in Envelope::parse_all(message) {
            let envelope = match envelope {
                Ok(envelope) => envelope,
                Err(unusable) => {
                    self.refuse(&unusable).await?;
                    continue;
                }
            };
            match envelope.kind() {
                Kind::Request if envelope.method() == Some("initialize") => {
                    self.on_initialize(envelope).await?
                }
                Kind::Request => self.on_request(envelope).await?,
                Kind::Notification => self.on_notification(envelope).await,
                Kind::Response => self.on_response(envelope).await,
            }
        }
        Ok(())
    }

    async fn refuse(&mut self, unusable: &Unusable) -> Result<(), Gone> {
        let code = match unusable.error {
            ParseError::NotJson(_) => -32700,
            ParseError::Invalid(_) => -32600,
        };
        let sentence = format!("mcp-remote: {}", unusable.error);
        // What is not JSON has no id (JSON-RPC 2.0, section 5).
        let id = match unusable.error {
            ParseError::NotJson(_) => None,
            ParseError::Invalid(_) => unusable.request_id(),
        };
        self.say(jsonrpc::error_response(id.as_ref(), code, &sentence, None))
            .await
    }

    async fn refuse_oversized(&mut self, message: &[u8]) -> Result<(), Gone> {
        let id = Members::of(message).request_id().and_then(RequestId::found);
        let sentence = format!(
            "mcp-remote: the message has {} bytes and the limit is {}",
            message.len(),
            self.deps.max_message
        );
        self.say(jsonrpc::error_response(
            id.as_ref(),
            -32600,
            &sentence,
            None,
        ))
        .await
    }

    /// Answers from the session's stored result; a session that has to be opened
    /// for it says the same message to the server.
    async fn on_initialize(&mut self, envelope: Envelope) -> Result<(), Gone> {
        let id = envelope.id().expect("a request has an id");
        let Some(handshake) = Handshake::of_client(envelope) else {
            let answer = jsonrpc::error_response(
                Some(&id),
                -32602,
                "mcp-remote: initialize has no protocolVersion",
                None,
            );
            return self.say(answer).await;
        };
        let handshake = Arc::new(handshake);
        let changed = self.handshake.as_ref().is_none_or(|known| {
            known.key(self.deps.spec.clone()) != handshake.key(self.deps.spec.clone())
        });
        // A request that came before `initialize` was made in the daemon's name.
        // While it is under way its session stays, whoever the client is.
        if changed && self.in_flight.is_empty() {
            self.give_back();
            self.handshake = Some(handshake);
        }
        match self.leased().await? {
            Ok(result) => self.say(result.answer(&id)).await,
            Err(error) => self.fault(&id, &error, false).await,
        }
    }

    async fn on_request(&mut self, envelope: Envelope) -> Result<(), Gone> {
        let id = envelope.id().expect("a request has an id");
        if self.lease.is_none() && envelope.method() == Some("ping") {
            return self
                .say(format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}"#, id.as_json()).into())
                .await;
        }
        if let Err(error) = self.leased().await? {
            self.deps.server.unanswered();
            return self.fault(&id, &error, false).await;
        }
        if changes_session(envelope.method()) {
            self.spoil();
        }
        let Some(lease) = &self.lease else {
            return Ok(());
        };
        let minted = lease.session().next_id();
        let (message, fate) = self.in_flight.begin(minted, &envelope);
        let outbound = Outbound {
            message,
            kind: OutboundKind::Request(minted),
            replies: self.inbox.clone(),
            fate,
            after: None,
            resent: false,
        };
        if let Err(error) = lease.session().send(outbound).await {
            // The session has ended for good: the next request gets another.
            self.spoil();
            self.lease = None;
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
            return;
        }
        let (message, after) = match envelope.method() {
            Some("notifications/cancelled") => match self.in_flight.cancel(&envelope) {
                Some((message, sent)) => (message, Some(sent)),
                // Answered meanwhile, or never asked.
                None => return,
            },
            _ => (envelope.bytes().clone(), None),
        };
        self.send(message, OutboundKind::Notification, after).await;
    }

    async fn on_response(&mut self, envelope: Envelope) {
        if let Some(id) = envelope.id()
            && self.owed.remove(&id)
        {
            self.send(envelope.bytes().clone(), OutboundKind::Response, None)
                .await;
        }
    }

    async fn send(&self, message: Bytes, kind: OutboundKind, after: Option<CancellationToken>) {
        if let Some(lease) = &self.lease {
            let outbound = Outbound {
                message,
                kind,
                replies: self.inbox.clone(),
                fate: Fate {
                    _under_way: Some(self.said.token()),
                    ..Fate::default()
                },
                after,
                resent: false,
            };
            // A session that is being closed needs no more notifications.
            drop(lease.session().send(outbound).await);
        }
    }

    /// Makes sure of an open session. The outer error: the shim has gone.
    async fn leased(&mut self) -> Result<Result<Arc<InitializeResult>, UpstreamError>, Gone> {
        if let Some(lease) = &self.lease {
            // A lost session is opened again by the next message, in its actor.
            return Ok(Ok(lease.result().clone()));
        }
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
            acquired = acquire(&self.deps, &handshake) => acquired,
            () = self.out.closed() => return Err(Gone),
            () = drained(&self.deps.stop) => Err(UpstreamError::Here("the daemon is stopping".into())),
        };
        let lease = match acquired {
            Ok(lease) => lease,
            Err(error) => {
                if began.elapsed() >= SLOW {
                    let stands = (began.elapsed() / 2).min(MAX_FAILING);
                    self.failing = Some((Instant::now() + stands, error.clone()));
                }
                return Ok(Err(error));
            }
        };
        lease.session().attach(self.inbox.clone());
        if let Some(notification) = self.initialized.take() {
            lease.session().initialized(notification).await;
        }
        let result = lease.result().clone();
        let server = ToShim::Server(result.clone(), lease.is_warm());
        self.last_notice.clear();
        self.lease = Some(lease);
        self.out.send(server).await.map_err(|_| Gone)?;
        Ok(Ok(result))
    }

    async fn fault(
        &mut self,
        id: &RequestId,
        error: &UpstreamError,
        sent: bool,
    ) -> Result<(), Gone> {
        let server = &self.deps.server.shown;
        let notice = fault::sentence(server, error);
        let answer = fault::response(id, server, error, sent);
        if !matches!(error, UpstreamError::JsonRpc { .. }) && self.last_notice != notice {
            self.last_notice.clone_from(&notice);
            tracing::warn!("{notice}");
            self.out
                .send(ToShim::Notice(NoticeLevel::Error, notice))
                .await
                .map_err(|_| Gone)?;
        }
        self.say(answer).await
    }

    async fn tell(&self, what: ToShim) -> Result<(), Gone> {
        self.out.send(what).await.map_err(|_| Gone)
    }

    async fn say(&self, message: Bytes) -> Result<(), Gone> {
        self.tell(ToShim::Message(jsonrpc::on_one_line(message)))
            .await
    }

    fn spoil(&mut self) {
        if let Some(lease) = &mut self.lease {
            lease.spoil();
        }
    }

    /// Gives the session back; it is clean only if nothing of this client is
    /// left in it.
    fn give_back(&mut self) {
        if !self.in_flight.is_clean() || !self.owed.is_empty() || !self.said.is_empty() {
            self.spoil();
        }
        self.owed.clear();
        self.lease = None;
    }

    /// Cancels what nobody waits for any more (a disconnect is not a cancellation:
    /// 2025-11-25, Cancellation), then gives the session back.
    async fn leave(mut self, mut inbound: mpsc::Receiver<Inbound>) {
        // A request of the server that was not passed on will not be answered.
        while let Ok(left) = inbound.try_recv() {
            if matches!(&left, Inbound::Message(envelope) if envelope.kind() == Kind::Request) {
                self.spoil();
            }
        }
        for minted in self.in_flight.all() {
            let sent = self.in_flight.abandon(minted);
            let reason = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{minted},"reason":"the client has gone"}}}}"#
            );
            self.send(reason.into(), OutboundKind::Notification, sent)
                .await;
        }
        // What is still under way would come in the middle of what the next client
        // says. The shim need not wait for it.
        self.out = mpsc::channel(1).0;
        if self.in_flight.is_clean() && self.owed.is_empty() {
            self.said.close();
            tokio::select! {
                () = self.said.wait() => {}
                () = tokio::time::sleep(SAID_TIMEOUT) => {}
                () = self.deps.stop.cancelled() => {}
            }
        }
        self.give_back();
    }
}

/// Requests that change the session for whoever has it next (mcp-requirements,
/// Multiplexing): the session ends with the lease.
fn changes_session(method: Option<&str>) -> bool {
    matches!(
        method,
        Some("logging/setLevel" | "resources/subscribe" | "resources/unsubscribe")
    )
}

async fn drained(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(DRAIN_TIMEOUT).await;
}
