//! The soak: what must not grow over many calls and many shims, how many shims
//! one daemon carries, and how fast a lost daemon or session is mended.
//!
//! `bench soak [--calls N] [--lives N] [--shims N] [--session-shims N]
//! [--losses N]`. Everything runs against servers within this process. Built
//! without `--release` it takes the debug binaries, for trying it out.

mod crowd;
mod growth;
mod recovery;
mod report;
mod server;
mod vitals;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::programs::Programs;
use crate::{Failure, say};

/// How much is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    calls: usize,
    lives: usize,
    shims: usize,
    session_shims: usize,
    losses: usize,
}

impl Sizes {
    /// Reads the flags; none if they are not flags of the soak.
    pub(crate) fn parse(arguments: &[&str]) -> Option<Self> {
        let mut sizes = Self {
            calls: 100_000,
            lives: 5_000,
            shims: 1_000,
            session_shims: 200,
            losses: 31,
        };
        for pair in arguments.chunks(2) {
            let [flag, number] = pair else { return None };
            let size = match *flag {
                "--calls" => &mut sizes.calls,
                "--lives" => &mut sizes.lives,
                "--shims" => &mut sizes.shims,
                "--session-shims" => &mut sizes.session_shims,
                "--losses" => &mut sizes.losses,
                _ => return None,
            };
            *size = number.parse().ok()?;
        }
        Some(sizes)
    }
}

/// Runs all of it; returns the report.
pub(crate) fn run(sizes: Sizes) -> Result<String, Failure> {
    let programs = Programs::for_soak()?;
    many_descriptors()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let with_sessions = server::Server::start(&runtime, true)?;
    let without = server::Server::start(&runtime, false)?;
    say("recovering from lost daemons");
    let daemon_losses = recovery::daemons(&programs, &with_sessions, sizes.losses)?;
    say("recovering from lost sessions");
    let session_losses = recovery::sessions(&programs, &with_sessions, sizes.losses)?;
    say("attaching many shims");
    let crowds = [
        crowd::measure(&programs, &without, sizes.shims)?,
        crowd::measure(&programs, &with_sessions, sizes.session_shims)?,
    ];
    say("calling");
    let calls = growth::calls(&programs, &with_sessions, sizes.calls)?;
    say("starting and ending shims");
    let lives = growth::lives(&programs, &with_sessions, &without, sizes.lives)?;
    Ok(report::text(&report::Soak {
        sizes,
        calls,
        lives,
        crowds,
        daemon_losses,
        session_losses,
    }))
}

/// Two pipes a shim, and a server's sockets.
fn many_descriptors() -> Result<(), Failure> {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    Ok(setrlimit(Resource::Nofile, most)?)
}
