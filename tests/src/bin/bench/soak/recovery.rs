//! How long it takes until a call is answered again after the daemon was killed,
//! and after the server forgot the session; the server's own time taken off.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::server::Server;
use crate::Failure;
use crate::home::{Home, lives};
use crate::programs::Programs;
use crate::stdio::Conversation;

/// How often a call may be refused before that is a failure.
const REFUSALS: usize = 5;

/// One kind of loss, many times.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    /// From the loss to the next answer.
    pub(crate) times: Vec<Duration>,
    /// The same calls without a loss.
    pub(crate) undisturbed: Vec<Duration>,
    /// Calls that were answered with an error meanwhile.
    pub(crate) errors: usize,
}

/// Kills the daemon under an idle shim, and calls.
pub(crate) fn daemons(
    programs: &Programs,
    server: &Server,
    losses: usize,
) -> Result<Losses, Failure> {
    each(programs, server, losses, |home| {
        let pid = home.daemon().ok_or("no daemon runs")?;
        let known = i32::try_from(pid).ok().and_then(Pid::from_raw);
        kill_process(known.ok_or("a pid is positive")?, Signal::KILL)?;
        // Its sockets are open until it is gone; a call before that was sent.
        while lives(pid) {
            std::thread::yield_now();
        }
        Ok(())
    })
}

/// Lets the server forget the session, and calls.
pub(crate) fn sessions(
    programs: &Programs,
    server: &Server,
    losses: usize,
) -> Result<Losses, Failure> {
    each(programs, server, losses, |_| {
        server.forget_sessions();
        Ok(())
    })
}

fn each(
    programs: &Programs,
    server: &Server,
    losses: usize,
    lose: impl Fn(&Home) -> Result<(), Failure>,
) -> Result<Losses, Failure> {
    let home = Home::new()?;
    let mut shim = Conversation::start(&mut programs.shim(&home, &server.url()))?;
    shim.initialize()?;
    let mut found = Losses::default();
    for _ in 0..losses {
        shim.echo()?;
        found.undisturbed.push(timed(server, || drop(shim.echo())));
        let mut outcome = Ok(());
        let mut errors = 0;
        found.times.push(timed(server, || {
            outcome = lose(&home);
            while outcome.is_ok() && shim.echo().is_err() {
                errors += 1;
                if errors > REFUSALS {
                    outcome = Err("calls are refused for ever".into());
                }
            }
        }));
        outcome?;
        found.errors += errors;
    }
    shim.end()?;
    home.stop(programs)?;
    Ok(found)
}

fn timed(server: &Server, act: impl FnOnce()) -> Duration {
    let busy = server.busy();
    let start = Instant::now();
    act();
    start.elapsed().saturating_sub(server.busy() - busy)
}
