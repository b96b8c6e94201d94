//! Standard input as lines: read where it is found ready, else by a thread.

use std::io::{self, ErrorKind, Read};

use mcp_remote_proto::MAX_MESSAGE_LEN;
use tokio::sync::mpsc;

use super::framing::{Framer, Line};
#[cfg(unix)]
use super::ready::ReadyInput;
use super::spawn;

/// Bytes read at once. Small, because all of it becomes resident memory.
pub(super) const CHUNK: usize = 16 * 1024;

/// Chunks waiting to be relayed: one, since its last line may be as long as a
/// message can be. A client that writes faster than that waits.
const CHUNKS: usize = 1;

/// Standard input.
pub(crate) struct Input {
    source: Source,
    ended: bool,
}

enum Source {
    #[cfg(unix)]
    Ready(ReadyInput),
    Thread(mpsc::Receiver<Vec<Line>>),
}

impl Input {
    /// Begins to read.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn start() -> io::Result<Self> {
        #[cfg(unix)]
        if let Some(ready) = ReadyInput::new() {
            return Ok(Self {
                source: Source::Ready(ready),
                ended: false,
            });
        }
        let (sender, receiver) = mpsc::channel(CHUNKS);
        spawn("stdin", move || read(&sender))?;
        Ok(Self {
            source: Source::Thread(receiver),
            ended: false,
        })
    }

    /// Whether the end has been reached.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Waits for the next lines; none at the end. Cancel safe.
    pub(crate) async fn lines(&mut self) -> Vec<Line> {
        let lines = match &mut self.source {
            #[cfg(unix)]
            Source::Ready(input) => input.lines().await,
            Source::Thread(receiver) => receiver.recv().await,
        };
        self.ended = lines.is_none();
        lines.unwrap_or_default()
    }
}

fn read(sender: &mpsc::Sender<Vec<Line>>) {
    let mut input = io::stdin().lock();
    let mut reader = Reader::default();
    while let Some(lines) = reader.read(&mut input) {
        if !lines.is_empty() && sender.blocking_send(lines).is_err() {
            return;
        }
    }
}

/// Reads chunks and cuts them into lines.
pub(super) struct Reader {
    framer: Framer,
    chunk: Vec<u8>,
    ended: bool,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            framer: Framer::new(MAX_MESSAGE_LEN),
            chunk: vec![0; CHUNK],
            ended: false,
        }
    }
}

impl Reader {
    /// Reads once; returns the lines that are whole then, `None` after the end.
    pub(super) fn read(&mut self, input: &mut impl Read) -> Option<Vec<Line>> {
        if self.ended {
            return None;
        }
        match input.read(&mut self.chunk) {
            Ok(length) if length > 0 => Some(self.framer.push(&self.chunk[..length])),
            Err(error) if error.kind() == ErrorKind::Interrupted => Some(Vec::new()),
            // Or a terminal that was hung up, for instance: no more will come.
            Ok(_) | Err(_) => {
                self.ended = true;
                Some(self.framer.end())
            }
        }
    }
}
