//! Relays between standard input and output and the daemon, and hides from the
//! client that daemons come and go.
//!
//! Every request gets one answer: the server's, or an error of ours if the
//! daemon was lost. A request is never sent twice, `initialize` excepted.
//! A daemon that crashed or made place is replaced at once, since the client may
//! wait for what its server says; one that was stopped when the client speaks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mcp_remote_proto::MAX_MESSAGE_LEN;
use mcp_remote_proto::v1::relay_response::Frame as Received;
use mcp_remote_proto::v1::{Goodbye, GoodbyeReason, Open, Purpose, RelayRequest, relay_request};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::Status;

use crate::daemon::Daemon;
use crate::exit::{Exit, ShimError};
use crate::json::{self, Fault};
use crate::launch::Launcher;
use crate::leave::Reason;
use crate::notices::Notices;
use crate::sign_in::{self, Browsers};
use crate::stdio::Line;

mod batch;
mod client;
mod comeback;
mod ledger;
pub(crate) mod link;
mod opening;
mod refused;
mod switches;

use client::{Client, End};
use comeback::Comeback;
use ledger::Ledger;
use link::{Event, Link, Requests};
pub(crate) use opening::{Opening, opening, refusal};

/// How many daemons in a row may be lost over the same messages before those
/// get an error: what kills one daemon would kill every next one.
const ATTEMPTS: u32 = 3;

/// Relays until the client has gone. `None`: it never said anything.
///
/// If no daemon can be had at the start, or it refuses what the user asks for, that
/// is said to the user, and the client gets it for an answer.
///
/// # Errors
/// Standard input or output cannot be used.
pub(crate) async fn run(
    opening: Arc<Opening>,
    drain_timeout: Duration,
    launcher: Arc<Launcher>,
    notices: Notices,
) -> Result<Option<Exit>, ShimError> {
    // A task of its own, because the runtime wakes its tasks in order and more
    // cheaply than the future that it blocks on.
    let mut task = JoinSet::new();
    task.spawn(relay(
        Bridge::new(launcher, opening, notices),
        drain_timeout,
    ));
    match task.join_next().await {
        Some(Ok(outcome)) => outcome,
        Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
        None => Ok(Some(Exit::OK)),
    }
}

/// Says why there is no bridge to the server at `url`: to the user at once, to the
/// client for each request.
///
/// # Errors
/// Standard input or output cannot be used.
pub(crate) async fn refuse(
    error: ShimError,
    url: &str,
    drain_timeout: Duration,
    notices: Notices,
) -> Result<Exit, ShimError> {
    notices.error(&error);
    let server = opening::without_secrets(url);
    let mut client = Client::start(drain_timeout)?;
    let mut to_print = VecDeque::new();
    let end = refused::answer(&error, &server, &mut to_print, &mut client).await;
    client.finish(end, to_print).await.exit(error.exit)
}

async fn relay(mut bridge: Bridge, drain_timeout: Duration) -> Result<Option<Exit>, ShimError> {
    let mut client = Client::start(drain_timeout)?;
    let (end, exit) = match converse(&mut bridge, &mut client).await {
        Ok(End::Unused) => return Ok(None),
        Ok(end) => (end, Exit::OK),
        Err(error) => {
            // What only a person can mend was said by the daemon.
            if error.exit != Exit::NEEDS_LOGIN {
                bridge.notices.error(&error);
            }
            bridge.give_up(&error);
            let server = bridge.opening.server();
            let end = refused::answer(&error, server, &mut bridge.to_print, &mut client).await;
            (end, error.exit)
        }
    };
    let end = client
        .finish(end, std::mem::take(&mut bridge.to_print))
        .await;
    if exit == Exit::OK && matches!(end, End::Left(Reason::DrainTimeout)) {
        bridge.say_owed(drain_timeout);
    }
    end.exit(exit).map(Some)
}

/// Relays until the end, or until the daemon refuses or none can be had.
async fn converse(bridge: &mut Bridge, client: &mut Client) -> Result<End, ShimError> {
    loop {
        bridge.prepare(client.input.has_ended());
        if client.input.has_ended() {
            if !bridge.spoken_to {
                return Ok(End::Unused);
            }
            if bridge.is_idle() {
                return Ok(End::Said);
            }
        }
        match next(bridge, client).await {
            Step::Done => {}
            Step::InputEnded => client.begin_drain(),
            // The stream is ending; the link is about to say how.
            Step::RequestsClosed => bridge.requests = None,
            Step::End(end) => return Ok(end),
            Step::Link(event) => bridge.on(event)?,
            Step::ComeBack => bridge.connect(),
        }
    }
}

/// What one turn brought.
enum Step {
    Done,
    InputEnded,
    RequestsClosed,
    End(End),
    Link(Event),
    ComeBack,
}

/// Waits for the one thing that can go on, in the order of urgency. What goes
/// out comes before what comes in, so that a slow side slows the other down; the
/// daemon comes before the client, so that nothing is sent to one that is gone.
async fn next(bridge: &mut Bridge, client: &mut Client) -> Step {
    let Client {
        input,
        output,
        leave,
        ..
    } = client;
    let Bridge {
        link,
        requests,
        to_send,
        to_print,
        ledger,
        spoken_to,
        comeback,
        ..
    } = bridge;
    let may_come_back = link.is_down() && !input.has_ended();
    let may_read = !input.has_ended();
    let may_receive = to_print.is_empty();
    // A daemon that died before the client spoke must be seen dead before anything
    // is sent to it.
    let may_send = !to_send.is_empty() && requests.is_some() && link.takes_messages();
    tokio::select! {
        biased;
        reason = leave.reason() => Step::End(End::Left(reason)),
        result = output.write(to_print) => match result {
            Ok(()) => Step::Done,
            Err(error) => Step::End(End::OutputFailed(error)),
        },
        event = link.event(), if may_receive => Step::Link(event),
        room = reserve(requests.as_ref()), if may_send => {
            let Some(room) = room else {
                return Step::RequestsClosed;
            };
            if let Some(message) = to_send.pop_front() {
                ledger.sent(&message);
                room.send(link::request(relay_request::Frame::Message(message)));
            }
            Step::Done
        }
        lines = input.lines(), if may_read && to_send.is_empty() => {
            *spoken_to |= !lines.is_empty();
            for line in lines {
                match line {
                    Line::Message(message) => to_send.push_back(message),
                    Line::Oversized(id) => {
                        to_print.push_back(json::oversized(id.as_deref(), MAX_MESSAGE_LEN));
                    }
                }
            }
            if input.has_ended() {
                return Step::InputEnded;
            }
            Step::Done
        }
        () = comeback.due(), if may_come_back => Step::ComeBack,
    }
}

async fn reserve(requests: Option<&Requests>) -> Option<mpsc::Permit<'_, RelayRequest>> {
    requests?.reserve().await.ok()
}

struct Bridge {
    launcher: Arc<Launcher>,
    opening: Arc<Opening>,
    notices: Notices,
    ledger: Ledger,
    link: Link,
    /// The way to the daemon; dropping it half-closes the stream.
    requests: Option<Requests>,
    /// Whether it was dropped because the client has nothing more to say.
    half_closed: bool,
    /// Whether the client has said anything.
    spoken_to: bool,
    /// From the client, not sent yet.
    to_send: VecDeque<Bytes>,
    /// For the client, not written yet.
    to_print: VecDeque<Bytes>,
    /// What the daemon said before it ended the stream.
    goodbye: Option<Goodbye>,
    /// Whether a stream was ever open: before that, failure ends the process.
    relayed: bool,
    /// Daemons lost since the last message from one.
    in_vain: u32,
    /// Browsers being opened.
    browsers: Browsers,
    /// When a lost daemon is replaced for a client that is silent.
    comeback: Comeback,
}

impl Bridge {
    /// Begins to look for a daemon at once, before the client speaks.
    fn new(launcher: Arc<Launcher>, opening: Arc<Opening>, notices: Notices) -> Self {
        Self {
            link: Link::connect(&launcher),
            launcher,
            opening,
            notices,
            ledger: Ledger::default(),
            requests: None,
            half_closed: false,
            spoken_to: false,
            to_send: VecDeque::new(),
            to_print: VecDeque::new(),
            goodbye: None,
            relayed: false,
            in_vain: 0,
            browsers: Browsers::default(),
            comeback: Comeback::default(),
        }
    }

    fn connect(&mut self) {
        self.comeback.settle();
        self.link = Link::connect(&self.launcher);
    }

    /// Connects if there is something to say, half-closes if there is no more.
    fn prepare(&mut self, input_ended: bool) {
        if self.to_send.is_empty() {
            if input_ended {
                self.half_closed |= self.requests.take().is_some();
            }
        } else if self.link.is_down() {
            self.connect();
        }
    }

    fn is_idle(&self) -> bool {
        self.link.is_down() && self.to_send.is_empty() && self.to_print.is_empty()
    }

    fn on(&mut self, event: Event) -> Result<(), ShimError> {
        match event {
            Event::Found(daemon) => self.open(*daemon),
            Event::Opened(requests) => {
                self.requests = Some(requests);
                self.relayed = true;
                self.comeback.opened(Instant::now());
            }
            // Nobody has asked for anything.
            Event::Failed(error) if self.relayed && self.to_send.is_empty() => {
                self.notices.debug(&error.sentence);
                self.comeback.plan(Instant::now());
            }
            Event::Failed(error) if self.relayed => self.fail_waiting(&error),
            Event::Failed(error) => return Err(error),
            Event::Frame(frame) => self.receive(frame),
            Event::Ended(result) => self.end(result)?,
        }
        Ok(())
    }

    fn open(&mut self, daemon: Daemon) {
        let resumed = self.ledger.resume(self.to_send.front());
        let open = Open {
            resumed,
            ..self.opening.open(Purpose::Bridge)
        };
        self.link = Link::open(daemon, open);
        self.goodbye = None;
        self.half_closed = false;
    }

    fn receive(&mut self, frame: Received) {
        match frame {
            Received::Message(message) => {
                self.in_vain = 0;
                self.comeback.works();
                self.ledger.received(&message);
                self.to_print.push_back(message);
            }
            Received::Notice(notice) => self.opening.notice(self.notices, &notice),
            Received::Server(server) => {
                self.notices.debug(self.opening.connected(&server));
                self.notices.debug(Opening::established(&server));
                self.ledger.leased(server.lease);
            }
            Received::Goodbye(goodbye) => {
                self.notices.debug(&goodbye.text);
                // What is not sent yet waits for the next daemon.
                self.requests = None;
                self.goodbye = Some(goodbye);
            }
            Received::SignIn(sign_in) => sign_in::say(self.notices, &sign_in),
            Received::OpenBrowser(asked) => {
                if let Some(requests) = &self.requests {
                    self.browsers.open(asked, self.opening.display(), requests);
                }
            }
            // Only one-shot commands get these.
            Received::Output(_) | Received::Finished(_) => {}
        }
    }

    /// The stream has ended: answers what it leaves open.
    fn end(&mut self, result: Result<(), Status>) -> Result<(), ShimError> {
        self.requests = None;
        let is_last = |goodbye: &&Goodbye| goodbye.reason() == GoodbyeReason::SignInNeeded;
        if let Some(goodbye) = self.goodbye.as_ref().filter(is_last) {
            return Err(ShimError::new(Exit::NEEDS_LOGIN, &goodbye.text));
        }
        if let Err(status) = &result {
            refusal(status)?;
        } else if self.half_closed && self.goodbye.is_none() {
            // In order. What seems open was answered without its id.
            self.ledger.close();
            return Ok(());
        }
        let cause = match (&self.goodbye, &result) {
            (Some(goodbye), _) if !goodbye.text.is_empty() => goodbye.text.clone(),
            (_, Err(status)) => describe(status),
            _ => "mcp-remoted ended the relay".to_owned(),
        };
        let stopped = |goodbye: &Goodbye| goodbye.reason() != GoodbyeReason::Handover;
        if self.ledger.is_established() && !self.goodbye.as_ref().is_some_and(stopped) {
            self.comeback.plan(Instant::now());
        }
        let lost = self.ledger.lost();
        if !lost.failed.is_empty() || !lost.again.is_empty() {
            self.notices
                .debug(format_args!("lost mcp-remoted: {cause}"));
        }
        let sentence = format!(
            "mcp-remoted went away before {} answered: check whether the call took effect, then try again",
            self.opening.server()
        );
        for id in lost.failed {
            let fault = Fault {
                sentence: &sentence,
                cause: &cause,
                maybe_executed: true,
                server: self.opening.server(),
            };
            self.to_print.push_back(json::fault(&id, fault));
        }
        for message in lost.again.into_iter().rev() {
            self.to_send.push_front(message);
        }
        if !self.to_send.is_empty() {
            self.in_vain += 1;
        }
        if self.in_vain >= ATTEMPTS {
            self.in_vain = 0;
            let sentence = format!(
                "mcp-remoted went away {ATTEMPTS} times ({cause}): see why in {}",
                self.launcher.log_file().display()
            );
            self.fail_waiting(&ShimError::general(sentence));
        }
        Ok(())
    }

    /// Answers what waits for a daemon that cannot be had. The next line tries
    /// again.
    fn fail_waiting(&mut self, error: &ShimError) {
        self.notices.error(error);
        self.answer_waiting(error);
    }

    fn answer_waiting(&mut self, error: &ShimError) {
        for message in std::mem::take(&mut self.to_send) {
            for id in ledger::request_ids(&message) {
                let answer = json::fault(&id, refused::not_executed(error, self.opening.server()));
                self.to_print.push_back(answer);
            }
        }
    }

    /// Answers everything: no daemon carries out any of it.
    fn give_up(&mut self, error: &ShimError) {
        for id in self.ledger.close() {
            let answer = json::fault(&id, refused::not_executed(error, self.opening.server()));
            self.to_print.push_back(answer);
        }
        self.answer_waiting(error);
    }

    fn say_owed(&self, drain_timeout: Duration) {
        let owed = self.ledger.owed();
        let (seconds, fraction) = (drain_timeout.as_secs(), drain_timeout.subsec_millis());
        let seconds = format!("{seconds}.{fraction:03}");
        let seconds = seconds.trim_end_matches('0').trim_end_matches('.');
        self.notices.info(format_args!(
            "{owed} of the requests to {} had no answer {seconds} s after the end of the input: allow more with --drain-timeout",
            self.opening.server(),
        ));
    }
}

/// Says what a stream's status means to a person: the daemon's own sentence, if
/// it was the daemon that ended the stream.
pub(crate) fn describe(status: &Status) -> String {
    let made_here = std::error::Error::source(status).is_some();
    if made_here || status.message().is_empty() {
        "the connection to mcp-remoted was lost".to_owned()
    } else {
        status.message().to_owned()
    }
}
