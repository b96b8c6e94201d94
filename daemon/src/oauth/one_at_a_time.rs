//! Work that may block its thread for ever, as on a file system that does not answer:
//! at most one thread for each thing, however often it is tried. Knows no files.
//!
//! Who comes while another is at work begins after it, and not at all once that has
//! taken too long.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// Why work was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stuck {
    /// It takes too long. Its thread is still at it.
    Late,
    /// It was not begun: the one before still is.
    Before,
}

/// Things that are worked on, each by one thread.
#[derive(Debug)]
pub(crate) struct OneAtATime<K> {
    /// A semaphore lives as long as somebody works or waits; closed: too long.
    busy: Mutex<BTreeMap<K, Weak<Semaphore>>>,
}

impl<K: Ord> OneAtATime<K> {
    /// Nothing is worked on.
    pub(crate) const fn new() -> Self {
        Self {
            busy: Mutex::new(BTreeMap::new()),
        }
    }

    /// Works on a thing without blocking the caller's thread; waits no longer than this.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        thing: K,
        limit: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Stuck> {
        let by = Instant::now() + limit;
        let turns = self.turns(thing);
        let turn = match timeout_at(by, turns.clone().acquire_owned()).await {
            Ok(Ok(turn)) => turn,
            Ok(Err(_)) | Err(_) => {
                turns.close();
                return Err(Stuck::Before);
            }
        };
        let working = tokio::task::spawn_blocking(move || {
            let _turn: OwnedSemaphorePermit = turn;
            work()
        });
        match timeout_at(by, working).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(_)) | Err(_) => {
                turns.close();
                Err(Stuck::Late)
            }
        }
    }

    fn turns(&self, thing: K) -> Arc<Semaphore> {
        let busy = self.busy.lock();
        let mut busy = busy.expect("nothing panics while it holds the lock");
        busy.retain(|_, turns| turns.strong_count() > 0);
        if let Some(turns) = busy.get(&thing).and_then(Weak::upgrade) {
            return turns;
        }
        let turns = Arc::new(Semaphore::new(1));
        busy.insert(thing, Arc::downgrade(&turns));
        turns
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const SOON: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn what_hangs_is_not_begun_again_until_it_has_ended() {
        let files = OneAtATime::new();
        let (release, released) = mpsc::channel::<()>();
        let hangs = move || {
            let _ended = released.recv();
        };
        assert_eq!(files.run("hung", SOON, hangs).await, Err(Stuck::Late));
        for _ in 0..3 {
            let begun = Instant::now();
            let tried = files.run("hung", LONG, || ()).await;
            assert_eq!(tried, Err(Stuck::Before));
            assert!(begun.elapsed() < LONG / 2, "it is told at once");
        }
        assert_eq!(files.run("other", LONG, || 7).await, Ok(7));
        release.send(()).expect("it waits for that");
        let by = Instant::now() + LONG;
        while files.run("hung", LONG, || ()).await.is_err() {
            assert!(Instant::now() < by, "its end goes unnoticed");
            tokio::task::yield_now().await;
        }
        let busy = files.busy.lock().expect("nothing panics");
        assert!(busy.len() <= 1, "nothing is kept of what has ended");
    }

    #[tokio::test]
    async fn who_comes_meanwhile_begins_after_it() {
        let files = OneAtATime::new();
        let (release, released) = mpsc::channel::<()>();
        let order = Arc::new(Mutex::new(Vec::new()));
        let note = |name| {
            let order = order.clone();
            move || order.lock().expect("nothing panics").push(name)
        };
        let (first, second) = (note("first"), note("second"));
        let first = files.run("a", LONG, move || {
            let _released = released.recv();
            first();
        });
        let second = files.run("a", LONG, second);
        let releasing = async { release.send(()).expect("it waits for that") };
        let (first, second, ()) = tokio::join!(first, second, releasing);
        assert_eq!((first, second), (Ok(()), Ok(())));
        assert_eq!(*order.lock().expect("nothing panics"), ["first", "second"]);
    }

    #[tokio::test]
    async fn who_waited_in_vain_spares_the_next_the_wait() {
        let files = OneAtATime::new();
        let (release, released) = mpsc::channel::<()>();
        let mut first = Box::pin(files.run("a", LONG, move || {
            let _ended = released.recv();
        }));
        assert!(futures_util::poll!(&mut first).is_pending());
        // Whoever wanted it has gone; its thread has not.
        drop(first);
        assert_eq!(files.run("a", SOON, || ()).await, Err(Stuck::Before));
        assert_eq!(files.run("a", LONG, || ()).await, Err(Stuck::Before));
        drop(release);
    }
}
