//! Standard input and output: newline-framed messages, one reader, one writer.
//!
//! Each has a thread of its own, since either may block for ever and signals
//! have to be served meanwhile. A message goes out whole, with its newline, in
//! one write.

use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, Read, Write};

use bytes::Bytes;
use mcp_remote_proto::MAX_MESSAGE_LEN;
use tokio::sync::{mpsc, oneshot};

mod framing;

use framing::Framer;
pub(crate) use framing::Line;

/// Bytes read at once. Small, because all of it becomes resident memory.
const CHUNK: usize = 16 * 1024;

/// Chunks waiting to be relayed: one, since its last line may be as long as a
/// message can be. A client that writes faster than that waits.
const CHUNKS: usize = 1;

/// Messages waiting to be written: few, since each may be as long as a message
/// can be.
const MESSAGES: usize = 2;

/// More than enough for either thread; the default would be 2 MiB.
const STACK: usize = 128 * 1024;

/// Reads standard input until its end, which closes the channel.
///
/// # Errors
/// The thread cannot be started.
pub(crate) fn read_messages() -> io::Result<mpsc::Receiver<Vec<Line>>> {
    let (sender, receiver) = mpsc::channel(CHUNKS);
    spawn("stdin", move || read(&sender))?;
    Ok(receiver)
}

fn read(sender: &mpsc::Sender<Vec<Line>>) {
    let mut input = io::stdin().lock();
    let mut framer = Framer::new(MAX_MESSAGE_LEN);
    let mut chunk = vec![0; CHUNK];
    loop {
        let (lines, end) = match input.read(&mut chunk) {
            Ok(0) => (framer.end(), true),
            Ok(length) => (framer.push(&chunk[..length]), false),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            // A terminal that was hung up, for instance: no more will come.
            Err(_) => (framer.end(), true),
        };
        if !lines.is_empty() && sender.blocking_send(lines).is_err() || end {
            return;
        }
    }
}

/// The way to standard output.
pub(crate) struct Output {
    messages: mpsc::Sender<Bytes>,
    outcome: oneshot::Receiver<io::Result<()>>,
}

impl Output {
    /// Starts the writer.
    ///
    /// # Errors
    /// Standard output is not there, or the thread cannot be started.
    pub(crate) fn start() -> io::Result<Self> {
        let (messages, receiver) = mpsc::channel(MESSAGES);
        let (sender, outcome) = oneshot::channel();
        let output = standard_output()?;
        spawn("stdout", move || {
            // The other side may be gone already; then nobody asks.
            let _sent = sender.send(write(output, receiver));
        })?;
        Ok(Self { messages, outcome })
    }

    /// Waits for room for one message; `None`: the writer has ended. Cancel safe.
    pub(crate) async fn room(&self) -> Option<mpsc::Permit<'_, Bytes>> {
        self.messages.reserve().await.ok()
    }

    /// Writes what is left and waits until it is written.
    ///
    /// # Errors
    /// What writing gave; a reader who has gone is no error.
    pub(crate) async fn finish(self, rest: impl IntoIterator<Item = Bytes>) -> io::Result<()> {
        for message in rest {
            let Some(room) = self.room().await else {
                break;
            };
            room.send(message);
        }
        drop(self.messages);
        self.outcome.await.unwrap_or(Ok(()))
    }
}

fn write(mut output: File, mut messages: mpsc::Receiver<Bytes>) -> io::Result<()> {
    while let Some(message) = messages.blocking_recv() {
        match write_message(&mut output, &message) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            result => result?,
        }
    }
    Ok(())
}

fn write_message(output: &mut impl Write, message: &[u8]) -> io::Result<()> {
    let mut slices = [IoSlice::new(message), IoSlice::new(b"\n")];
    let mut rest = slices.as_mut_slice();
    while !rest.is_empty() {
        match output.write_vectored(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut rest, written),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let builder = std::thread::Builder::new().name(name.to_owned());
    builder.stack_size(STACK).spawn(work).map(drop)
}

/// Standard output without the buffer that the standard library puts before it.
#[cfg(unix)]
pub(crate) fn standard_output() -> io::Result<File> {
    use std::os::fd::AsFd;
    let owned = io::stdout().as_fd().try_clone_to_owned()?;
    Ok(owned.into())
}

/// Standard output without the buffer that the standard library puts before it.
#[cfg(windows)]
pub(crate) fn standard_output() -> io::Result<File> {
    use std::os::windows::io::AsHandle;
    let owned = io::stdout().as_handle().try_clone_to_owned()?;
    Ok(owned.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes at most three bytes at a time.
    struct Narrow(Vec<u8>);

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(3);
            self.0.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_message_is_whole_whatever_one_write_takes() {
        let mut output = Narrow(Vec::new());
        write_message(&mut output, b"{\"a\":1}").expect("written");
        write_message(&mut output, b"").expect("written");
        assert_eq!(output.0, b"{\"a\":1}\n\n");
    }
}
