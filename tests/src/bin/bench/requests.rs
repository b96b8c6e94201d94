//! What the server sees of one-shots, counted in a pass of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Failure;
use crate::counting::{Counting, Counts};
use crate::everything::{Everything, url};
use crate::home::{Home, wait_until};
use crate::near_table::{UNTIL_WARM, run_call};
use crate::programs::{Npm, Programs};
use crate::stdio::{direct_one_shot, one_shot};

/// How long the GET stream may take to be opened after the handshake.
const STREAM_DEADLINE: Duration = Duration::from_secs(5);

/// Requests by way.
#[derive(Debug)]
pub(crate) struct RequestCounts {
    /// The direct client.
    pub(crate) direct: Counts,
    /// Ours with no daemon running, up to and with the daemon's end.
    pub(crate) cold: Counts,
    /// What a second one-shot adds to that.
    pub(crate) warm: Counts,
    /// A further `mcp-remote call`.
    pub(crate) call: Counts,
    /// The npm package.
    pub(crate) node: Counts,
}

/// Counts all of it.
pub(crate) fn measure(
    programs: &Programs,
    server: &Everything,
    runtime: &tokio::runtime::Runtime,
) -> Result<RequestCounts, Failure> {
    let counting = Counting::start(runtime, server.address)?;
    let url = url("http", counting.address);
    let home = Home::new()?;
    direct_one_shot(&mut programs.direct(&home, "once", &url))?;
    let direct = counting.take();
    let cold = ours(programs, &counting, &url, 1)?;
    let both = ours(programs, &counting, &url, 2)?;
    let call = warm_call(programs, &counting, &url)?;
    one_shot(&mut programs.npm(Npm::Node, &home, &url))?;
    Ok(RequestCounts {
        call,
        direct,
        warm: difference(&both, &cold),
        cold,
        node: counting.take(),
    })
}

/// Everything that `times` one-shots cost, from no daemon to no daemon.
fn ours(
    programs: &Programs,
    counting: &Counting,
    url: &str,
    times: usize,
) -> Result<Counts, Failure> {
    let home = Home::new()?;
    for _ in 0..times {
        one_shot(&mut programs.shim(&home, url))?;
        // Opened beside the call, so that it may come after the shim has gone.
        wait_until("the GET stream", STREAM_DEADLINE, || {
            counting.seen("GET") > 0
        })?;
    }
    home.stop(programs)?;
    Ok(counting.take())
}

/// What a `mcp-remote call` costs that finds everything warm.
fn warm_call(programs: &Programs, counting: &Counting, url: &str) -> Result<Counts, Failure> {
    let home = Home::new()?;
    for _ in 0..UNTIL_WARM {
        run_call(&mut programs.call(&home, url))?;
        wait_until("the GET stream", STREAM_DEADLINE, || {
            counting.seen("GET") > 0
        })?;
    }
    counting.take();
    run_call(&mut programs.call(&home, url))?;
    let counts = counting.take();
    home.stop(programs)?;
    counting.take();
    Ok(counts)
}

fn difference(more: &Counts, less: &Counts) -> Counts {
    let mut counts: BTreeMap<_, _> = more.clone();
    for (kind, count) in &mut counts {
        *count = count.saturating_sub(less.get(kind).copied().unwrap_or(0));
    }
    counts.retain(|_, count| *count > 0);
    counts
}
