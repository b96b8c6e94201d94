//! Relays between standard input and output and the daemon, and hides from the
//! client that daemons come and go.
//!
//! Every request gets one answer: the server's, or an error of ours if the
//! daemon was lost. A request is never sent twice, `initialize` excepted.
//! A lost daemon is replaced when the client speaks again, not before.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mcp_remote_proto::MAX_MESSAGE_LEN;
use mcp_remote_proto::v1::relay_response::Frame as Received;
use mcp_remote_proto::v1::{Goodbye, Open, Purpose, RelayRequest, relay_request};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::Status;

use crate::daemon::Daemon;
use crate::exit::{Exit, ShimError};
use crate::json::{self, Fault};
use crate::launch::Launcher;
use crate::leave::{Leave, Reason};
use crate::notices::Notices;
use crate::stdio::{Input, Line, Output};

mod batch;
mod ledger;
pub(crate) mod link;
mod opening;

use ledger::Ledger;
use link::{Event, Link, Requests};
pub(crate) use opening::{Opening, opening, refusal};

/// How many daemons in a row may be lost over the same messages before those
/// get an error: what kills one daemon would kill every next one.
const ATTEMPTS: u32 = 3;

/// Relays until the client has gone.
///
/// # Errors
/// No daemon could be had at the start, or it refuses what the user asks for.
pub(crate) async fn run(
    opening: Opening,
    drain_timeout: Duration,
    launcher: Launcher,
    notices: Notices,
) -> Result<Exit, ShimError> {
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
        None => Ok(Exit::OK),
    }
}

async fn relay(mut bridge: Bridge, drain_timeout: Duration) -> Result<Exit, ShimError> {
    let unusable =
        |error| ShimError::general(format!("standard input or output cannot be used: {error}"));
    let mut input = Input::start().map_err(unusable)?;
    let mut output = Output::start().map_err(unusable)?;
    let mut leave = Leave::new().map_err(unusable)?;
    let ending = loop {
        bridge.prepare(input.has_ended());
        if input.has_ended() && bridge.is_idle() {
            break Ok(Exit::OK);
        }
        match next(&mut bridge, &mut input, &mut leave, &mut output).await {
            Step::Done => {}
            Step::InputEnded => leave.begin_drain(drain_timeout),
            // The stream is ending; the link is about to say how.
            Step::RequestsClosed => bridge.requests = None,
            Step::OutputFailed(error) => {
                return written(Err(error)).map_err(unusable).map(|()| Exit::OK);
            }
            Step::Leave(reason) => return Ok(bridge.exit(reason, drain_timeout)),
            Step::Link(event) => {
                if let Err(error) = bridge.on(event) {
                    break Err(error);
                }
            }
        }
    };
    let to_print = std::mem::take(&mut bridge.to_print);
    tokio::select! {
        biased;
        reason = leave.reason() => Ok(bridge.exit(reason, drain_timeout)),
        result = output.finish(to_print) => written(result).map_err(unusable).and(ending),
    }
}

/// A reader of standard output who has gone is no error.
fn written(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// What one turn brought.
enum Step {
    Done,
    InputEnded,
    RequestsClosed,
    OutputFailed(io::Error),
    Leave(Reason),
    Link(Event),
}

/// Waits for the one thing that can go on, in the order of urgency. What goes
/// out comes before what comes in, so that a slow side slows the other down; the
/// daemon comes before the client, so that nothing is sent to one that is gone.
async fn next(
    bridge: &mut Bridge,
    input: &mut Input,
    leave: &mut Leave,
    output: &mut Output,
) -> Step {
    let Bridge {
        link,
        requests,
        to_send,
        to_print,
        ledger,
        ..
    } = bridge;
    let may_read = !input.has_ended();
    // A daemon that died before the client spoke must be seen dead before anything
    // is sent to it.
    let may_send = !to_send.is_empty() && requests.is_some() && link.takes_messages();
    tokio::select! {
        biased;
        reason = leave.reason() => Step::Leave(reason),
        result = output.write(to_print), if !to_print.is_empty() => match result {
            Ok(()) => Step::Done,
            Err(error) => Step::OutputFailed(error),
        },
        event = link.event(), if to_print.is_empty() => Step::Link(event),
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
    }
}

async fn reserve(requests: Option<&Requests>) -> Option<mpsc::Permit<'_, RelayRequest>> {
    requests?.reserve().await.ok()
}

struct Bridge {
    launcher: Arc<Launcher>,
    opening: Opening,
    notices: Notices,
    ledger: Ledger,
    link: Link,
    /// The way to the daemon; dropping it half-closes the stream.
    requests: Option<Requests>,
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
}

impl Bridge {
    /// Begins to look for a daemon at once, before the client speaks.
    fn new(launcher: Launcher, opening: Opening, notices: Notices) -> Self {
        let launcher = Arc::new(launcher);
        Self {
            link: Link::connect(&launcher),
            launcher,
            opening,
            notices,
            ledger: Ledger::default(),
            requests: None,
            to_send: VecDeque::new(),
            to_print: VecDeque::new(),
            goodbye: None,
            relayed: false,
            in_vain: 0,
        }
    }

    /// Connects if there is something to say, half-closes if there is no more.
    fn prepare(&mut self, input_ended: bool) {
        if self.to_send.is_empty() {
            if input_ended {
                self.requests = None;
            }
        } else if self.link.is_down() {
            self.link = Link::connect(&self.launcher);
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
    }

    fn receive(&mut self, frame: Received) {
        match frame {
            Received::Message(message) => {
                self.in_vain = 0;
                self.ledger.received(&message);
                self.to_print.push_back(message);
            }
            Received::Notice(notice) => self.opening.notice(self.notices, &notice),
            Received::Server(server) => self.notices.debug(self.opening.connected(&server)),
            Received::Goodbye(goodbye) => {
                self.notices.debug(&goodbye.text);
                // What is not sent yet waits for the next daemon.
                self.requests = None;
                self.goodbye = Some(goodbye);
            }
        }
    }

    /// The stream has ended: answers what it leaves open.
    fn end(&mut self, result: Result<(), Status>) -> Result<(), ShimError> {
        self.requests = None;
        if let Err(status) = &result {
            refusal(status)?;
        }
        let cause = match (&self.goodbye, &result) {
            (Some(goodbye), _) if !goodbye.text.is_empty() => goodbye.text.clone(),
            (_, Err(status)) => describe(status),
            _ => "mcp-remoted ended the relay".to_owned(),
        };
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
            self.fail(&id, &sentence, &cause, true);
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
        for message in std::mem::take(&mut self.to_send) {
            for id in ledger::request_ids(&message) {
                self.fail(&id, &error.sentence, &error.sentence, false);
            }
        }
    }

    fn fail(&mut self, id: &[u8], sentence: &str, cause: &str, maybe_executed: bool) {
        self.to_print.push_back(json::fault(
            id,
            Fault {
                sentence,
                cause,
                maybe_executed,
                server: self.opening.server(),
            },
        ));
    }

    fn exit(&self, reason: Reason, drain_timeout: Duration) -> Exit {
        match reason {
            Reason::Signal(exit) => exit,
            Reason::OutputClosed | Reason::ParentGone => Exit::OK,
            Reason::DrainTimeout => {
                let (owed, seconds) = (self.ledger.owed(), drain_timeout.as_secs_f64());
                self.notices.info(format_args!(
                    "{owed} of the requests to {} had no answer {seconds} s after the end of the input: allow more with --drain-timeout",
                    self.opening.server(),
                ));
                Exit::OK
            }
        }
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
