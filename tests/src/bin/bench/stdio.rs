//! One MCP conversation with a program over its standard input and output, and
//! how long its parts took. Blocking, so that nothing stands between the
//! program and the clock; every wait has a deadline.

use std::io::{ErrorKind, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Deserialize;

use crate::Failure;

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}"#;
const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

const ECHO: &str = r#"{"name":"echo","arguments":{"message":"hello"}}"#;
const RESULT: &[u8] = b"\"result\"";

/// How long any single answer, and the exit, may take.
const DEADLINE: Timespec = Timespec {
    tv_sec: 60,
    tv_nsec: 0,
};

/// How long a one-shot took, from just before the process was started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OneShot {
    /// Until the answer to `initialize` was read.
    pub(crate) initialize: Duration,
    /// Until the process had exited.
    pub(crate) exit: Duration,
}

/// A program that speaks MCP, running.
#[derive(Debug)]
pub(crate) struct Conversation {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    unread: Vec<u8>,
    next_id: u64,
}

impl Conversation {
    /// Starts the program.
    pub(crate) fn start(command: &mut Command) -> Result<Self, Failure> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().ok_or("no stdout")?;
        Ok(Self {
            child,
            stdin,
            stdout,
            unread: Vec::new(),
            next_id: 0,
        })
    }

    /// The program's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The whole handshake.
    pub(crate) fn initialize(&mut self) -> Result<(), Failure> {
        self.send_initialize()?;
        self.take_initialize()
    }

    /// The first half of the handshake.
    pub(crate) fn send_initialize(&mut self) -> Result<(), Failure> {
        self.send(&format!("{INITIALIZE}\n"))
    }

    /// The second half of the handshake.
    pub(crate) fn take_initialize(&mut self) -> Result<(), Failure> {
        let answer = self.answer_to(0)?;
        if !answer.windows(RESULT.len()).any(|text| text == RESULT) {
            return Err(String::from_utf8_lossy(&answer).trim_end().into());
        }
        self.next_id = 1;
        self.send(&format!("{INITIALIZED}\n"))
    }

    /// Sends a call of `echo`; returns its id.
    pub(crate) fn send_echo(&mut self) -> Result<u64, Failure> {
        let (id, line) = self.call(ECHO);
        self.send(&line)?;
        Ok(id)
    }

    /// Takes the answers to these calls of `echo`, in whatever order they come.
    pub(crate) fn take_echoes(&mut self, ids: &[u64]) -> Result<(), Failure> {
        let mut missing: Vec<u64> = ids.to_vec();
        while !missing.is_empty() {
            let line = self.line()?;
            let message: Message = serde_json::from_slice(&line)?;
            if message.method.is_some() {
                continue;
            }
            let place = missing.iter().position(|id| Some(*id) == message.id);
            missing.swap_remove(place.ok_or("an answer that nobody waits for")?);
            require_echo(&line)?;
        }
        Ok(())
    }

    /// Sends a call of `slow`, a tool of the soak's server.
    pub(crate) fn send_slow(&mut self) -> Result<(), Failure> {
        let (_, line) = self.call(r#"{"name":"slow"}"#);
        self.send(&line)
    }

    /// One call of `echo`, from writing it to having read its answer.
    pub(crate) fn echo(&mut self) -> Result<Duration, Failure> {
        let (id, line) = self.call(ECHO);
        let start = Instant::now();
        self.send(&line)?;
        let answer = self.answer_to(id)?;
        let time = start.elapsed();
        require_echo(&answer)?;
        Ok(time)
    }

    /// The same while a call that takes the server a second is unanswered.
    pub(crate) fn echo_beside_a_slow_call(&mut self) -> Result<Duration, Failure> {
        let (slow, line) = self.call(
            r#"{"name":"trigger-long-running-operation","arguments":{"duration":1,"steps":1}}"#,
        );
        self.send(&line)?;
        let time = self.echo()?;
        self.answer_to(slow)?;
        Ok(time)
    }

    /// Writes a line of input to a program that is no MCP server.
    pub(crate) fn send_line(&mut self, line: &str) -> Result<(), Failure> {
        self.send(&format!("{line}\n"))
    }

    /// Reads the next line of output.
    pub(crate) fn line(&mut self) -> Result<Vec<u8>, Failure> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let rest = self.unread.split_off(end + 1);
                return Ok(std::mem::replace(&mut self.unread, rest));
            }
            if !self.read()? {
                return Err("the program ended without an answer".into());
            }
        }
    }

    /// Closes its input, and waits until it has exited.
    pub(crate) fn end(mut self) -> Result<(), Failure> {
        self.stdin = None;
        while self.read()? {}
        let status = self.child.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("the program ended with {status}").into())
        }
    }

    fn call(&mut self, params: &str) -> (u64, String) {
        let id = self.next_id;
        self.next_id += 1;
        (
            id,
            format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/call\",\"params\":{params}}}\n"
            ),
        )
    }

    fn send(&mut self, text: &str) -> Result<(), Failure> {
        let stdin = self.stdin.as_mut().ok_or("the input is closed")?;
        Ok(stdin.write_all(text.as_bytes())?)
    }

    fn answer_to(&mut self, id: u64) -> Result<Vec<u8>, Failure> {
        loop {
            let line = self.line()?;
            let message: Message = serde_json::from_slice(&line)?;
            if message.method.is_none() && message.id == Some(id) {
                return Ok(line);
            }
        }
    }

    /// Reads some output; false at its end.
    fn read(&mut self) -> Result<bool, Failure> {
        let mut ready = [PollFd::new(&self.stdout, PollFlags::IN)];
        if poll(&mut ready, Some(&DEADLINE))? == 0 {
            return Err(format!("no answer within {} s", DEADLINE.tv_sec).into());
        }
        let mut chunk = [0; 64 * 1024];
        match self.stdout.read(&mut chunk) {
            Ok(length) => {
                self.unread.extend_from_slice(&chunk[..length]);
                Ok(length > 0)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        // Only left to do when a measurement failed halfway.
        if matches!(self.child.try_wait(), Ok(None)) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// A stdio server: start, handshake, one call, end of input, exit.
pub(crate) fn one_shot(command: &mut Command) -> Result<OneShot, Failure> {
    let start = Instant::now();
    let mut conversation = Conversation::start(command)?;
    conversation.send(&format!("{INITIALIZE}\n"))?;
    conversation.answer_to(0)?;
    let initialize = start.elapsed();
    conversation.next_id = 1;
    let (id, call) = conversation.call(ECHO);
    conversation.send(&format!("{INITIALIZED}\n{call}"))?;
    let answer = conversation.answer_to(id)?;
    conversation.end()?;
    let exit = start.elapsed();
    require_echo(&answer)?;
    Ok(OneShot { initialize, exit })
}

/// The direct client, which does the same by itself.
pub(crate) fn direct_one_shot(command: &mut Command) -> Result<OneShot, Failure> {
    let start = Instant::now();
    let mut conversation = Conversation::start(command)?;
    conversation.line()?;
    let initialize = start.elapsed();
    let answer = conversation.line()?;
    conversation.end()?;
    let exit = start.elapsed();
    require_echo(&answer)?;
    Ok(OneShot { initialize, exit })
}

/// What a reader needs of a message to know which answer it is.
#[derive(Deserialize)]
struct Message {
    id: Option<u64>,
    #[serde(default)]
    method: Option<serde::de::IgnoredAny>,
}

fn require_echo(answer: &[u8]) -> Result<(), Failure> {
    let text = String::from_utf8_lossy(answer);
    if text.contains("Echo: hello") {
        Ok(())
    } else {
        Err(format!("echo answered {}", text.trim_end()).into())
    }
}
