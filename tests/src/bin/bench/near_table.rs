//! The first table's figures: one-shots, steady calls and memory against the
//! server on loopback. Everything that is compared runs interleaved, so that a
//! slow moment of the machine meets all alike.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::everything::Everything;
use crate::home::{Home, wait_until};
use crate::memory::{peak_rss, pss, pss_of_tree};
use crate::programs::{Npm, Programs};
use crate::stdio::{Conversation, OneShot, direct_one_shot, one_shot};
use crate::{Failure, Rounds};

/// How many clients run at once where memory is compared.
pub(crate) const CLIENTS: usize = 8;

/// How long the daemon may take to notice that the last shim has gone.
const QUIET_DEADLINE: Duration = Duration::from_secs(10);

/// Everything the first table needs.
#[derive(Debug, Default)]
pub(crate) struct Near {
    /// Starting and reaping `/bin/true`.
    pub(crate) bin_true: Vec<Duration>,
    /// The direct client.
    pub(crate) direct: Row,
    /// Ours with no daemon running, in a HOME that never had one.
    pub(crate) cold: Row,
    /// Ours with a daemon that holds a warm session.
    pub(crate) warm: Row,
    /// The npm package by npx.
    pub(crate) npx: Row,
    /// The npm package by node.
    pub(crate) node: Row,
    /// The direct client on the daemon's HTTP stack, driven by line as ours is.
    pub(crate) lines: Row,
    /// Our calls while a slow one is unanswered.
    pub(crate) beside_slow: Vec<Duration>,
    /// Each `mcp-remote status`, the process's start and end included.
    pub(crate) status: Vec<Duration>,
    /// What ours holds in memory.
    pub(crate) memory: Memory,
}

/// What one way of calling costs.
#[derive(Debug, Default)]
pub(crate) struct Row {
    /// Until `initialize` is answered, and until exit.
    pub(crate) one_shots: Vec<OneShot>,
    /// Each call of a kept session.
    pub(crate) calls: Vec<Duration>,
    /// One client with what it needs, in KiB of PSS.
    pub(crate) one_client: Option<u64>,
    /// Eight clients with what they need, in KiB of PSS.
    pub(crate) clients: Option<u64>,
}

/// KiB.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// PSS of a shim with a session, among others.
    pub(crate) shim: u64,
    /// The most a shim ever had resident, after all the steady calls.
    pub(crate) shim_peak: u64,
    /// PSS of the daemon with that one shim.
    pub(crate) daemon: u64,
    /// PSS of a daemon that served one one-shot and has nobody attached.
    pub(crate) daemon_idle: u64,
    /// PSS of the daemon at the end of everything, with nobody attached.
    pub(crate) daemon_idle_late: u64,
}

/// Measures all of it.
pub(crate) fn measure(
    programs: &Programs,
    server: &Everything,
    rounds: Rounds,
) -> Result<Near, Failure> {
    let mut near = Near::default();
    let home = Home::new()?;
    // The first one warms the page cache for the others, and starts the daemon.
    one_shot(&mut programs.shim(&home, &server.url()))?;
    quiet(programs, &home)?;
    near.memory.daemon_idle = pss(daemon(&home)?)?;
    one_shots(&mut near, programs, server, &home, rounds)?;
    steady(&mut near, programs, server, &home, rounds)?;
    many(&mut near, programs, server, &home)?;
    quiet(programs, &home)?;
    near.memory.daemon_idle_late = pss(daemon(&home)?)?;
    home.stop(programs)?;
    Ok(near)
}

fn one_shots(
    near: &mut Near,
    programs: &Programs,
    server: &Everything,
    home: &Home,
    rounds: Rounds,
) -> Result<(), Failure> {
    let url = server.url();
    let direct = || direct_one_shot(&mut programs.direct(home, "once", &url));
    direct()?;
    for round in 0..rounds.ours {
        near.bin_true.push(spawn_true()?);
        near.direct.one_shots.push(direct()?);
        near.warm
            .one_shots
            .push(one_shot(&mut programs.shim(home, &url))?);
        let fresh = Home::new()?;
        near.cold
            .one_shots
            .push(one_shot(&mut programs.shim(&fresh, &url))?);
        fresh.stop(programs)?;
        near.status.push(ask_status(programs, home)?);
        if falls_due(round, rounds.npm, rounds.ours) {
            for (how, row) in [(Npm::Node, &mut near.node), (Npm::Npx, &mut near.npx)] {
                row.one_shots
                    .push(one_shot(&mut programs.npm(how, home, &url))?);
            }
        }
    }
    Ok(())
}

/// A script's question: what does the daemon hold?
fn ask_status(programs: &Programs, home: &Home) -> Result<Duration, Failure> {
    let mut command = home.command(&programs.shim);
    command.args(["status", "--json"]).stdin(Stdio::null());
    let start = Instant::now();
    let output = command.output()?;
    let took = start.elapsed();
    match output.status.success() {
        true => Ok(took),
        false => Err(format!("status ended with {}", output.status).into()),
    }
}

fn steady(
    near: &mut Near,
    programs: &Programs,
    server: &Everything,
    home: &Home,
    rounds: Rounds,
) -> Result<(), Failure> {
    let url = server.url();
    let mut direct = Conversation::start(&mut programs.direct(home, "batches", &url))?;
    let mut lines = Conversation::start(&mut programs.direct(home, "lines", &url))?;
    let mut shim = Conversation::start(&mut programs.shim(home, &url))?;
    let mut node = Conversation::start(&mut programs.npm(Npm::Node, home, &url))?;
    let mut npx = Conversation::start(&mut programs.npm(Npm::Npx, home, &url))?;
    for conversation in [&mut lines, &mut shim, &mut node, &mut npx] {
        conversation.initialize()?;
        // The first call after the handshake waits for it; that is no steady call.
        conversation.echo()?;
    }
    for _ in 0..rounds.blocks {
        near.direct.calls.extend(batch(&mut direct, rounds.calls)?);
        for (conversation, row) in [
            (&mut lines, &mut near.lines),
            (&mut shim, &mut near.warm),
            (&mut node, &mut near.node),
            (&mut npx, &mut near.npx),
        ] {
            for _ in 0..rounds.calls {
                row.calls.push(conversation.echo()?);
            }
        }
        near.beside_slow.push(shim.echo_beside_a_slow_call()?);
    }
    near.memory.shim_peak = peak_rss(shim.pid())?;
    near.memory.shim = pss(shim.pid())?;
    near.memory.daemon = pss(daemon(home)?)?;
    near.direct.one_client = Some(pss(direct.pid())?);
    near.lines.one_client = Some(pss(lines.pid())?);
    near.warm.one_client = Some(near.memory.shim + near.memory.daemon);
    near.node.one_client = Some(pss(node.pid())?);
    near.npx.one_client = Some(pss_of_tree(npx.pid())?);
    for conversation in [direct, lines, shim, node, npx] {
        conversation.end()?;
    }
    Ok(())
}

/// Eight clients at once, of each kind in turn.
fn many(
    near: &mut Near,
    programs: &Programs,
    server: &Everything,
    home: &Home,
) -> Result<(), Failure> {
    let url = server.url();
    let ours = together(|| programs.shim(home, &url), || home.daemon())?;
    near.warm.clients = Some(ours);
    for (how, row) in [(Npm::Node, &mut near.node), (Npm::Npx, &mut near.npx)] {
        row.clients = Some(together(|| programs.npm(how, home, &url), || None)?);
    }
    Ok(())
}

/// Runs eight clients at once; returns their PSS and that of what they share.
fn together(
    command: impl Fn() -> Command,
    shared: impl Fn() -> Option<u32>,
) -> Result<u64, Failure> {
    let mut all = Vec::new();
    for _ in 0..CLIENTS {
        let mut one = Conversation::start(&mut command())?;
        one.initialize()?;
        one.echo()?;
        all.push(one);
    }
    let mut sum = shared().map_or(Ok(0), pss)?;
    for one in &all {
        sum += pss_of_tree(one.pid())?;
    }
    all.into_iter().try_for_each(Conversation::end)?;
    Ok(sum)
}

fn batch(direct: &mut Conversation, calls: usize) -> Result<Vec<Duration>, Failure> {
    direct.send_line(&calls.to_string())?;
    let line = String::from_utf8(direct.line()?)?;
    let times = line
        .split_whitespace()
        .map(|word| Ok(Duration::from_nanos(word.parse()?)));
    times.collect()
}

fn spawn_true() -> Result<Duration, Failure> {
    let start = Instant::now();
    Command::new("/bin/true").stdin(Stdio::null()).status()?;
    Ok(start.elapsed())
}

fn daemon(home: &Home) -> Result<u32, Failure> {
    home.daemon().ok_or_else(|| "no daemon runs".into())
}

/// Waits until no shim is attached to the daemon any more.
pub(crate) fn quiet(programs: &Programs, home: &Home) -> Result<(), Failure> {
    wait_until("the daemon to be quiet", QUIET_DEADLINE, || {
        let mut command = home.command(&programs.shim);
        command.args(["status", "--json"]).stderr(Stdio::null());
        command.output().is_ok_and(|output| {
            serde_json::from_slice::<serde_json::Value>(&output.stdout)
                .is_ok_and(|status| status["shims"] == 0)
        })
    })
}

/// Spreads `some` evenly over `all` rounds.
fn falls_due(round: usize, some: usize, all: usize) -> bool {
    (round + 1) * some / all > round * some / all
}
