//! How many messages of one session are under way to its server.
//!
//! Over HTTP/1.1 each has a connection, some 30 KiB, until it is answered. A server
//! that answers at once needs few of them, so a burst of messages goes out as
//! answers come in. Invariant: no message waits for a server that does not answer.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

/// Messages that go out without a look at the others.
const AT_ONCE: usize = 64;

/// How long the server may answer nothing while a message waits for its turn.
const SILENCE: Duration = Duration::from_millis(50);

/// How often that is looked at, however many answers come: 250 ms in all.
const LOOKS: usize = 5;

/// The turns of the messages of one session.
#[derive(Debug)]
pub(super) struct Turns {
    free: Semaphore,
    answers: AtomicUsize,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            free: Semaphore::new(AT_ONCE),
            answers: AtomicUsize::new(0),
        }
    }
}

impl Turns {
    /// Waits until a message may go out; it is under way while the result is kept.
    /// `None`: it goes out beside the others. Cancel safe.
    pub(super) async fn take(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(turn) = self.free.try_acquire() {
            return Some(turn);
        }
        let mut turn = std::pin::pin!(self.free.acquire());
        for _ in 0..LOOKS {
            let before = self.answers.load(Ordering::Relaxed);
            match tokio::time::timeout(SILENCE, turn.as_mut()).await {
                Ok(turn) => return turn.ok(),
                Err(_) if self.answers.load(Ordering::Relaxed) == before => return None,
                Err(_) => {}
            }
        }
        None
    }

    /// Notes that the server has answered a message.
    pub(super) fn answered(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use futures_util::poll;

    use super::*;

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        runtime.expect("a runtime").block_on(test);
    }

    async fn all_taken(turns: &Turns) -> Vec<Option<SemaphorePermit<'_>>> {
        join_all((0..AT_ONCE).map(|_| turns.take())).await
    }

    #[test]
    fn a_message_waits_for_one_of_many_to_be_answered() {
        run(async {
            let turns = Turns::default();
            let mut taken = all_taken(&turns).await;
            assert!(taken.iter().all(Option::is_some));
            let mut waiting = std::pin::pin!(turns.take());
            assert!(poll!(waiting.as_mut()).is_pending());
            turns.answered();
            drop(taken.pop());
            assert!(waiting.await.is_some());
        });
    }

    #[test]
    fn a_message_does_not_wait_for_a_server_that_is_silent() {
        run(async {
            let turns = Turns::default();
            let _taken = all_taken(&turns).await;
            assert!(turns.take().await.is_none());
        });
    }

    #[test]
    fn a_message_does_not_wait_for_ever_for_a_server_that_answers_others() {
        run(async {
            let turns = Turns::default();
            let _taken = all_taken(&turns).await;
            let answering = async {
                loop {
                    turns.answered();
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                turn = turns.take() => assert!(turn.is_none()),
                () = answering => {}
            }
        });
    }
}
