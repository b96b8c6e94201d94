//! How a program is started: on a thread of its own, since that takes as long as the
//! file system takes to read it, and one that hangs takes one thread.
//!
//! Until it has been read it still is this daemon, with all that is open here, the lock
//! too; so it is ended when nobody waits for it any more.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::Running;
use crate::oauth::one_at_a_time::{OneAtATime, Stuck};
use crate::secret::Secret;

/// Programs that are being started.
static STARTING: OneAtATime<String> = OneAtATime::new();

/// Starts a program.
///
/// # Errors
/// Why not. Completes "the token command ...".
pub(super) async fn start(words: &Secret<Vec<String>>, limit: Duration) -> Result<Running, String> {
    let program = words.reveal().first().cloned().unwrap_or_default();
    let (words, waited_for) = (words.clone(), WaitedFor::default());
    let at_work = waited_for.thread.clone();
    let work = move || {
        *lock(&at_work) = Thread::current();
        let started = Running::start(words.reveal());
        *lock(&at_work) = None;
        started
    };
    match STARTING.run(program, limit, work).await {
        Ok(started) => started,
        Err(Stuck::Late) => Err(format!("could not be started within {} s", limit.as_secs())),
        Err(Stuck::Before) => Err("is still being started by an earlier attempt".into()),
    }
}

/// Dropped, it ends what is still being started.
#[derive(Default)]
struct WaitedFor {
    /// `None`: nothing is.
    thread: Arc<Mutex<Option<Thread>>>,
}

impl Drop for WaitedFor {
    fn drop(&mut self) {
        if let Some(thread) = &*lock(&self.thread) {
            thread.end_what_is_not_read_yet();
        }
    }
}

fn lock(thread: &Mutex<Option<Thread>>) -> MutexGuard<'_, Option<Thread>> {
    thread
        .lock()
        .expect("nothing panics while it holds the lock")
}

/// A thread that starts a program, as Linux shows it. Others need no such care: there it
/// is the system that reads a program, before there is a process.
struct Thread(PathBuf);

impl Thread {
    fn current() -> Option<Self> {
        let link = std::fs::read_link("/proc/thread-self").ok()?;
        Some(Self(Path::new("/proc").join(link)))
    }

    /// What was read runs by another name.
    fn end_what_is_not_read_yet(&self) {
        let children = std::fs::read_to_string(self.0.join("children"));
        #[cfg(unix)]
        for child in children.unwrap_or_default().split_whitespace() {
            let name = |process: &str| std::fs::read_link(format!("/proc/{process}/exe")).ok();
            if name(child).is_some_and(|its| name("self") == Some(its))
                && let Some(id) = child.parse().ok().and_then(rustix::process::Pid::from_raw)
            {
                // It may have begun or ended by now.
                let _gone = rustix::process::kill_process(id, rustix::process::Signal::KILL);
            }
        }
    }
}
