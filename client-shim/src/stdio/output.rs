//! Standard output: one message, one newline, one write. Written at once where
//! that cannot block, else by a thread.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Buf, Bytes};
use tokio::sync::{mpsc, oneshot};

use super::spawn;

/// Messages waiting for the thread: one, since it may be as long as a message can
/// be.
const MESSAGES: usize = 1;

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
    /// thread can take it. If there is none, waits for a failure of what was taken
    /// before, for ever without one. Cancel safe.
    ///
    /// # Errors
    /// `BrokenPipe` if nobody reads any more; else what writing gave.
    pub(crate) async fn write(&mut self, queue: &mut VecDeque<Bytes>) -> io::Result<()> {
        let Some(first) = queue.front_mut() else {
            return match &mut self.thread {
                Some(thread) => Err(thread.failed().await),
                None => std::future::pending().await,
            };
        };
        if self.is_past(first.len() + 1) {
            let result = write_message(&mut self.output, first);
            if !is_full(&result) {
                queue.pop_front();
                return result;
            }
            // The thread writes what is left of it.
        }
        let thread = match &mut self.thread {
            Some(thread) => thread,
            none => none.insert(Thread::start(self.output.try_clone()?)?),
        };
        let Ok(room) = thread.messages.reserve().await else {
            return Err(thread.failed().await);
        };
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

    /// Waits until it has given up. Cancel safe.
    async fn failed(&mut self) -> io::Error {
        match (&mut self.outcome).await {
            Ok(Err(error)) => error,
            // It ends in order only after its messages have been dropped.
            Ok(Ok(())) | Err(_) => ErrorKind::BrokenPipe.into(),
        }
    }
}

fn write_all(
    mut output: File,
    mut messages: mpsc::Receiver<Bytes>,
    waiting: &AtomicUsize,
) -> io::Result<()> {
    while let Some(mut message) = messages.blocking_recv() {
        loop {
            let result = write_message(&mut output, &mut message);
            if !is_full(&result) {
                break result?;
            }
            #[cfg(unix)]
            super::ready::wait_until_writable(&output)?;
        }
        waiting.fetch_sub(1, Ordering::AcqRel);
    }
    Ok(())
}

/// Whether whoever gave us the output made it non-blocking, and it takes no more
/// now.
fn is_full(result: &io::Result<()>) -> bool {
    cfg!(unix) && matches!(result, Err(error) if error.kind() == ErrorKind::WouldBlock)
}

/// Writes `message` and its newline. After an error, `message` is what was not
/// written; the newline never was.
fn write_message(output: &mut impl Write, message: &mut Bytes) -> io::Result<()> {
    loop {
        match output.write_vectored(&[IoSlice::new(message), IoSlice::new(b"\n")]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) if written > message.len() => return Ok(()),
            Ok(written) => message.advance(written),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
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

    /// Takes at most three bytes at a time, and then none once.
    #[derive(Default)]
    struct Narrow {
        taken: Vec<u8>,
        full: bool,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.full = !self.full;
            if !self.full {
                return Err(ErrorKind::WouldBlock.into());
            }
            let taken = bytes.len().min(3);
            self.taken.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_message_is_whole_whatever_one_write_takes() {
        let mut output = Narrow::default();
        for message in ["{\"a\":1}", "123", ""] {
            let mut message = Bytes::from_static(message.as_bytes());
            while is_full(&write_message(&mut output, &mut message)) {}
        }
        assert_eq!(output.taken, b"{\"a\":1}\n123\n\n");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_pipe_that_does_not_block_gets_everything() {
        use std::io::{BufRead, BufReader};
        let (reader, writer) = std::io::pipe().expect("a pipe");
        rustix::io::ioctl_fionbio(&writer, true).expect("it does not block");
        let mut output = Output {
            output: File::from(std::os::fd::OwnedFd::from(writer)),
            thread: None,
        };
        let reading = std::thread::spawn(move || {
            let lines = BufReader::new(reader).lines();
            lines.map(|line| line.expect("text").len()).collect()
        });
        let message = |length| Bytes::from(vec![b'x'; length]);
        let mut queue: VecDeque<Bytes> = (0..500).map(|_| message(4000)).collect();
        queue.push_back(message(1 << 20));
        while !queue.is_empty() {
            output.write(&mut queue).await.expect("written");
        }
        output.finish(queue).await.expect("written");
        let lengths: Vec<usize> = reading.join().expect("read to the end");
        assert_eq!(lengths, [&[4000; 500][..], &[1 << 20]].concat());
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_reader_who_goes_is_noticed_without_another_message() {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let mut output = Output {
            output: File::from(std::os::fd::OwnedFd::from(writer)),
            thread: None,
        };
        let mut queue = VecDeque::from([Bytes::from(vec![b'x'; 1 << 20])]);
        output.write(&mut queue).await.expect("the thread takes it");
        drop(reader);
        let error = output.write(&mut queue).await.expect_err("nobody reads");
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    }
}
