//! Standard output: one message, one newline, one write. Written at once where
//! that cannot block, else by a thread.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::spawn;

/// Messages waiting for the thread: few, since each may be as long as a message
/// can be.
const MESSAGES: usize = 2;

/// The way to standard output.
pub(crate) struct Output {
    output: File,
    /// Started by the first message that may block.
    thread: Option<Thread>,
}

struct Thread {
    messages: mpsc::Sender<Bytes>,
    /// Messages that it has not written yet: while there are any, nothing may
    /// be written past it.
    waiting: Arc<AtomicUsize>,
    outcome: oneshot::Receiver<io::Result<()>>,
}

impl Output {
    /// Opens standard output.
    ///
    /// # Errors
    /// It is not there.
    pub(crate) fn start() -> io::Result<Self> {
        Ok(Self {
            output: standard_output()?,
            thread: None,
        })
    }

    /// Takes the first message of `queue` and writes it, or waits until the
    /// thread can take it. Cancel safe.
    ///
    /// # Errors
    /// `BrokenPipe` if nobody reads any more; else what writing gave.
    pub(crate) async fn write(&mut self, queue: &mut VecDeque<Bytes>) -> io::Result<()> {
        let Some(first) = queue.front() else {
            return Ok(());
        };
        if self.is_past(first.len() + 1) {
            let result = write_message(&mut self.output, first);
            queue.pop_front();
            return result;
        }
        let thread = match &mut self.thread {
            Some(thread) => thread,
            none => none.insert(Thread::start(self.output.try_clone()?)?),
        };
        let room = thread
            .messages
            .reserve()
            .await
            .map_err(|_| ErrorKind::BrokenPipe)?;
        if let Some(message) = queue.pop_front() {
            thread.waiting.fetch_add(1, Ordering::AcqRel);
            room.send(message);
        }
        Ok(())
    }

    /// Writes what is left and waits until it is written.
    ///
    /// # Errors
    /// As [`Output::write`].
    pub(crate) async fn finish(mut self, mut rest: VecDeque<Bytes>) -> io::Result<()> {
        while !rest.is_empty() {
            self.write(&mut rest).await?;
        }
        match self.thread {
            Some(Thread {
                messages, outcome, ..
            }) => {
                drop(messages);
                outcome.await.unwrap_or(Ok(()))
            }
            None => Ok(()),
        }
    }

    /// Whether so many bytes can be written here and now.
    fn is_past(&self, length: usize) -> bool {
        let idle = self
            .thread
            .as_ref()
            .is_none_or(|thread| thread.waiting.load(Ordering::Acquire) == 0);
        #[cfg(unix)]
        return idle && super::ready::takes(&self.output, length);
        #[cfg(not(unix))]
        return idle && length == 0;
    }
}

impl Thread {
    fn start(output: File) -> io::Result<Self> {
        let (messages, receiver) = mpsc::channel(MESSAGES);
        let (sender, outcome) = oneshot::channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let written = Arc::clone(&waiting);
        spawn("stdout", move || {
            // The other side may be gone already; then nobody asks.
            let _sent = sender.send(write_all(output, receiver, &written));
        })?;
        Ok(Self {
            messages,
            waiting,
            outcome,
        })
    }
}

fn write_all(
    mut output: File,
    mut messages: mpsc::Receiver<Bytes>,
    waiting: &AtomicUsize,
) -> io::Result<()> {
    while let Some(message) = messages.blocking_recv() {
        write_message(&mut output, &message)?;
        waiting.fetch_sub(1, Ordering::AcqRel);
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
