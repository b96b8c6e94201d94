//! A shim with pipes: an MCP client's view of `mcp-remote`.
//!
//! Sends lines, reads lines, and knows the few messages that every conversation
//! begins with. Standard output must carry JSON lines and nothing else.

use std::io::Write;
use std::process::{ChildStdin, Command};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::monitor::{Monitor, PATIENCE};
use crate::process::{Captured, Program, capture, peak_memory};

/// The `initialize` request of a client, with id 0.
pub const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"tests","version":"1"}}}"#;

/// The notification that follows it.
pub const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// Writes a `tools/call` request; `arguments` is JSON.
pub fn call_line(id: impl std::fmt::Display, tool: &str, arguments: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}}}}}"#
    )
}

/// Writes a whole conversation: handshake and one `echo` with id 1.
pub fn conversation(message: &str) -> String {
    let call = call_line(1, "echo", &format!(r#"{{"message":"{message}"}}"#));
    format!("{INITIALIZE}\n{INITIALIZED}\n{call}\n")
}

/// Returns the text of a tool's result.
///
/// # Panics
/// If the response carries none.
pub fn text_of(response: &Value) -> String {
    let text = response
        .pointer("/result/content/0/text")
        .and_then(Value::as_str);
    text.unwrap_or_else(|| panic!("no text in {response}"))
        .to_owned()
}

/// A running `mcp-remote`.
#[derive(Debug)]
pub struct TestShim {
    program: Program,
    stdin: Option<ChildStdin>,
    stdout: Option<Arc<Monitor<Captured>>>,
    last_id: u64,
}

impl TestShim {
    /// Starts a prepared command. Standard streams that are not pipes are left
    /// to the caller.
    pub fn start(command: &mut Command) -> Self {
        let (program, stdin, stdout) = Program::start(command);
        Self {
            program,
            stdin,
            stdout: stdout.map(capture),
            last_id: 0,
        }
    }

    /// Sends a message.
    pub fn send(&mut self, line: &str) {
        self.send_raw(format!("{line}\n").as_bytes());
    }

    /// Sends bytes; a shim that does not read any more is no error here.
    ///
    /// # Panics
    /// If standard input was closed.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("standard input is open");
        drop(stdin.write_all(bytes));
    }

    /// Ends standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Returns the next line of standard output.
    ///
    /// # Panics
    /// If none comes.
    pub fn line(&self) -> String {
        self.line_within(PATIENCE).unwrap_or_else(|| {
            let stderr = self.stderr();
            panic!("no line on standard output; standard error: {stderr}")
        })
    }

    /// Returns the next line of standard output if one comes within `limit`.
    ///
    /// # Panics
    /// If standard output is not captured, or not UTF-8.
    pub fn line_within(&self, limit: Duration) -> Option<String> {
        let stdout = self.stdout.as_ref().expect("standard output is captured");
        let line = stdout.poll(limit, |captured| {
            let end = captured.bytes.iter().position(|byte| *byte == b'\n');
            match end {
                Some(end) => Some(Some(captured.bytes.drain(..=end).collect::<Vec<u8>>())),
                None => captured.ended.then_some(None),
            }
        });
        let line = String::from_utf8(line??).expect("standard output is UTF-8");
        Some(line.trim_end_matches('\n').to_owned())
    }

    /// Returns the next message of standard output.
    ///
    /// # Panics
    /// If none comes, or it is not JSON.
    pub fn message(&self) -> Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line:?}"))
    }

    /// Returns everything left on standard output, to its end.
    ///
    /// # Panics
    /// If it does not end.
    pub fn rest(&self) -> String {
        let stdout = self.stdout.as_ref().expect("standard output is captured");
        stdout.expect("the end of standard output", |captured| {
            let text = || String::from_utf8_lossy(&captured.bytes).into_owned();
            captured.ended.then(text)
        })
    }

    /// Says `initialize` and `notifications/initialized`; returns the answer.
    pub fn handshake(&mut self) -> Value {
        self.handshake_with(INITIALIZE)
    }

    /// The same with another `initialize`.
    pub fn handshake_with(&mut self, initialize: &str) -> Value {
        self.send(initialize);
        let answer = self.message();
        self.send(INITIALIZED);
        answer
    }

    /// Calls a tool; returns the response. Nothing else may come before it.
    ///
    /// # Panics
    /// If something else comes.
    pub fn call(&mut self, tool: &str, arguments: &str) -> Value {
        let id = self.begin_call(tool, arguments);
        let response = self.message();
        assert_eq!(response["id"], id, "the answer to {tool}: {response}");
        response
    }

    /// Calls a tool; returns the id.
    pub fn begin_call(&mut self, tool: &str, arguments: &str) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        self.send(&call_line(id, tool, arguments));
        id
    }

    /// Calls `echo` and checks its answer.
    ///
    /// # Panics
    /// If the answer is another.
    pub fn echo(&mut self, message: &str) {
        let response = self.call("echo", &format!(r#"{{"message":"{message}"}}"#));
        assert_eq!(text_of(&response), message);
    }

    /// Waits for its end; returns the exit code.
    pub fn wait(&self) -> i32 {
        self.program.wait()
    }

    /// Waits for its end for at most `limit`.
    pub fn wait_for(&self, limit: Duration) -> Option<i32> {
        self.program.wait_for(limit)
    }

    /// Ends standard input, checks that nothing more is said, and waits.
    ///
    /// # Panics
    /// If something was still said.
    pub fn finish(mut self) -> i32 {
        self.close_stdin();
        let code = self.wait();
        assert_eq!(self.rest(), "", "nothing more was expected");
        code
    }

    /// Says whether it still runs.
    pub fn runs(&self) -> bool {
        self.program.runs()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        self.program.signal(signal);
    }

    /// Returns its process id.
    pub fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// Returns standard error so far, all of it if the shim ended.
    pub fn stderr(&self) -> String {
        self.program.stderr()
    }

    /// Waits until standard error contains `text`.
    pub fn wait_for_stderr(&self, text: &str) {
        self.program.wait_for_stderr(text);
    }

    /// Returns the largest resident size that it ever had, in bytes.
    pub fn peak_memory(&self) -> u64 {
        peak_memory(self.pid())
    }
}
