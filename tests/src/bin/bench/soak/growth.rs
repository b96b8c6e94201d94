//! What must stay as it is: the daemon over many calls of one shim, and over the
//! lives of many shims, one in ten of which is killed in the middle of a call.

use super::server::Server;
use super::vitals::Vitals;
use crate::Failure;
use crate::home::Home;
use crate::near_table::quiet;
use crate::programs::Programs;
use crate::stdio::{Conversation, one_shot};

/// Calls that are unanswered at the same time.
const IN_FLIGHT: usize = 20;

/// What is done before the first look, since what is used once is kept.
const WARM_UP: usize = 40;

const QUARTERS: [&str; 4] = ["25 %", "50 %", "75 %", "end"];

/// Looks at the daemon over this many calls.
pub(crate) fn calls(
    programs: &Programs,
    server: &Server,
    calls: usize,
) -> Result<Vec<Vitals>, Failure> {
    let home = Home::new()?;
    let mut shim = Conversation::start(&mut programs.shim(&home, &server.url()))?;
    shim.initialize()?;
    let batches = calls / QUARTERS.len() / IN_FLIGHT;
    let some = |shim: &mut Conversation, batches: usize| -> Result<(), Failure> {
        for _ in 0..batches {
            let ids: Result<Vec<u64>, Failure> = (0..IN_FLIGHT).map(|_| shim.send_echo()).collect();
            shim.take_echoes(&ids?)?;
        }
        Ok(())
    };
    some(&mut shim, WARM_UP)?;
    let mut looks = vec![Vitals::take("start", programs, &home)?];
    for when in QUARTERS {
        some(&mut shim, batches)?;
        looks.push(Vitals::take(when, programs, &home)?);
    }
    shim.end()?;
    home.stop(programs)?;
    Ok(looks)
}

/// Looks at the daemon over the lives of this many shims, by turns of a server
/// that keeps sessions and of one that does not.
pub(crate) fn lives(
    programs: &Programs,
    with_sessions: &Server,
    without: &Server,
    lives: usize,
) -> Result<Vec<Vitals>, Failure> {
    let home = Home::new()?;
    let some = |count: usize| -> Result<(), Failure> {
        for number in 0..count {
            let server = if number % 4 == 3 {
                without
            } else {
                with_sessions
            };
            let mut shim = programs.shim(&home, &server.url());
            if number % 10 == 9 {
                let mut killed = Conversation::start(&mut shim)?;
                killed.initialize()?;
                killed.send_slow()?;
                // Dropped here, which is kill -9.
            } else {
                one_shot(&mut shim)?;
            }
        }
        quiet(programs, &home)
    };
    some(WARM_UP)?;
    let mut looks = vec![Vitals::take("start", programs, &home)?];
    for when in QUARTERS {
        some(lives / QUARTERS.len())?;
        looks.push(Vitals::take(when, programs, &home)?);
    }
    home.stop(programs)?;
    Ok(looks)
}
