//! The benchmark: our shim and daemon against a direct client and against the
//! npm package, on one machine, interleaved in one run.
//!
//! `cargo run --release -p mcp-remote-tests --bin bench [-- --quick]`. Builds
//! what it measures, starts and ends what it needs, prints two tables and every
//! target with its figure; `-- soak` is a run of its own. Linux only: memory is read from /proc.

mod counting;
mod everything;
mod far;
mod far_table;
mod home;
mod memory;
mod near_table;
mod programs;
mod protected;
mod proxy;
mod report;
mod requests;
mod soak;
mod statistics;
mod stdio;
mod targets;

use std::io::Write;
use std::process::ExitCode;

use everything::Everything;
use programs::Programs;

/// What went wrong; there is nothing to do about it but to print it.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How often everything is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rounds {
    /// One-shots of ours and of the direct client.
    pub(crate) ours: usize,
    /// One-shots of the npm package, each way.
    pub(crate) npm: usize,
    /// One-shots of ours and of the direct client over the far link.
    pub(crate) far: usize,
    /// One-shots of the npm package over the far link.
    pub(crate) far_npm: usize,
    /// Blocks of steady calls.
    pub(crate) blocks: usize,
    /// Steady calls in a block.
    pub(crate) calls: usize,
    /// One-shots to a server that wants a token, and as many to one that does not.
    pub(crate) protected: usize,
}

const FULL: Rounds = Rounds {
    ours: 31,
    npm: 7,
    far: 15,
    far_npm: 3,
    blocks: 10,
    calls: 100,
    protected: 201,
};

const QUICK: Rounds = Rounds {
    ours: 5,
    npm: 1,
    far: 3,
    far_npm: 1,
    blocks: 2,
    calls: 50,
    protected: 21,
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let report = match &arguments[..] {
        [] => run(FULL),
        ["--quick"] => run(QUICK),
        ["soak", flags @ ..] => match soak::Sizes::parse(flags) {
            Some(sizes) => soak::run(sizes),
            None => return usage(),
        },
        _ => return usage(),
    };
    match report {
        Ok(text) => {
            drop(std::io::stdout().write_all(text.as_bytes()));
            ExitCode::SUCCESS
        }
        Err(failure) => {
            say(&format!("bench: {failure}"));
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    say(
        "usage: bench [--quick]\n       bench soak [--calls N] [--lives N] [--shims N] [--session-shims N] [--losses N]",
    );
    ExitCode::from(2)
}

fn run(rounds: Rounds) -> Result<String, Failure> {
    say("building the release binaries");
    let programs = Programs::build()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let server = Everything::start(&programs.peers)?;
    say("measuring on loopback");
    let near = near_table::measure(&programs, &server, rounds)?;
    say("measuring after a sign-in");
    let protected = protected::measure(&programs, rounds)?;
    say("counting requests");
    let counts = requests::measure(&programs, &server, &runtime)?;
    say("measuring over 80 ms and TLS");
    let far = far_table::measure(&programs, &server, &runtime, rounds)?;
    Ok(report::text(&programs, &near, &protected, &counts, &far))
}

/// Tells the person in front of it where the run is.
fn say(text: &str) {
    drop(writeln!(std::io::stderr(), "{text}"));
}
