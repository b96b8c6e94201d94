//! The text that the soak prints: what was looked at, and every target.

use super::Sizes;
use super::crowd::{CALLS, Crowd};
use super::recovery::Losses;
use super::vitals::Vitals;
use crate::report::{machine, table};
use crate::statistics::{median, milliseconds, percentile};
use crate::targets::mebibytes;

/// How much more than before is no growth: a page here and there, an idle
/// connection more or less.
const SLACK_KIB: u64 = 1024;
const SLACK_DESCRIPTORS: usize = 4;

/// Everything that was found.
#[derive(Debug)]
pub(crate) struct Soak {
    /// How much was done.
    pub(crate) sizes: Sizes,
    /// Over calls.
    pub(crate) calls: Vec<Vitals>,
    /// Over the lives of shims.
    pub(crate) lives: Vec<Vitals>,
    /// Without and with sessions.
    pub(crate) crowds: [Crowd; 2],
    /// Killed daemons.
    pub(crate) daemon_losses: Losses,
    /// Forgotten sessions.
    pub(crate) session_losses: Losses,
}

/// The whole report.
pub(crate) fn text(soak: &Soak) -> String {
    let Sizes { calls, lives, .. } = soak.sizes;
    let mut text = format!(
        "\n{}\n\nEvery server here is within the benchmark (answers in JSON; with sessions, each has a GET stream).\n\n",
        machine()
    );
    text += &table(&vitals_rows(&[
        (
            format!("{calls} calls, one shim, 20 at a time"),
            &soak.calls,
        ),
        (
            format!("{lives} shims, one in ten killed in a call"),
            &soak.lives,
        ),
    ]));
    text += "\n";
    text += &table(&crowd_rows(&soak.crowds));
    text += "\n";
    text += &table(&loss_rows(soak));
    text += "\n";
    text += &table(&targets(soak));
    text
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

fn vitals_rows(parts: &[(String, &Vec<Vitals>)]) -> Vec<Vec<String>> {
    let mut rows = vec![row([
        "the daemon over",
        "",
        "PSS MiB",
        "RSS MiB",
        "descriptors",
        "threads",
        "shims",
        "sessions",
    ])];
    for (name, looks) in parts {
        for look in *looks {
            rows.push(vec![
                name.clone(),
                look.when.clone(),
                format!("{:.2}", mebibytes(look.pss)),
                format!("{:.2}", mebibytes(look.rss)),
                look.descriptors.to_string(),
                look.threads.to_string(),
                look.shims.to_string(),
                look.sessions.to_string(),
            ]);
        }
    }
    rows
}

fn crowd_rows(crowds: &[Crowd]) -> Vec<Vec<String>> {
    let mut rows = vec![row([
        "at once, 10 calls each",
        "failed",
        "seconds",
        "initialize",
        "daemon PSS MiB",
        "descriptors",
        "threads",
        "first error",
    ])];
    for crowd in crowds {
        let kept = if crowd.keeps_sessions {
            "with"
        } else {
            "without"
        };
        rows.push(vec![
            format!("{} shims, a server {kept} sessions", crowd.shims),
            crowd.failed.to_string(),
            format!("{:.1}", crowd.duration.as_secs_f64()),
            crowd.initialized.to_string(),
            format!("{:.2}", mebibytes(crowd.peak.pss)),
            crowd.peak.descriptors.to_string(),
            crowd.peak.threads.to_string(),
            crowd.first_error.clone().unwrap_or_default(),
        ]);
    }
    rows
}

fn loss_rows(soak: &Soak) -> Vec<Vec<String>> {
    let mut rows = vec![row([
        "until a call is answered, less the server's time",
        "times",
        "median ms",
        "p90 ms",
        "errors",
        "undisturbed ms",
    ])];
    for (name, losses) in [
        ("daemon killed (-9) under an idle shim", &soak.daemon_losses),
        (
            "session forgotten by the server (404)",
            &soak.session_losses,
        ),
    ] {
        rows.push(vec![
            name.to_owned(),
            losses.times.len().to_string(),
            format!("{:.1}", milliseconds(median(&losses.times))),
            format!("{:.1}", milliseconds(percentile(&losses.times, 90))),
            losses.errors.to_string(),
            format!("{:.2}", milliseconds(median(&losses.undisturbed))),
        ]);
    }
    rows
}

fn targets(soak: &Soak) -> Vec<Vec<String>> {
    let mut rows = vec![row(["must reach", "measured", ""])];
    let mut target = |promise: String, figure: String, kept: bool| {
        let verdict = if kept { "ok" } else { "MISSED" };
        rows.push(vec![promise, figure, verdict.to_owned()]);
    };
    let session = milliseconds(median(&soak.session_losses.times));
    target(
        "a lost session is initialized again within 20 ms".to_owned(),
        format!("{session:.1} ms"),
        session <= 20.0 && soak.session_losses.errors == 0,
    );
    let daemon = milliseconds(median(&soak.daemon_losses.times));
    target(
        "daemon kill -9 to next answered call within 100 ms".to_owned(),
        format!("{daemon:.1} ms"),
        daemon <= 100.0,
    );
    for crowd in &soak.crowds {
        let (shims, failed, peak) = (crowd.shims, crowd.failed, mebibytes(crowd.peak.pss));
        let kept = if crowd.keeps_sessions {
            "with"
        } else {
            "without"
        };
        target(
            format!(
                "{shims} shims at once, {CALLS} calls each, {kept} sessions: no error, PSS at most 80 MiB"
            ),
            format!("{failed} failed, {peak:.1} MiB"),
            failed == 0 && peak <= 80.0,
        );
    }
    for (name, looks) in [("calls", &soak.calls), ("shims", &soak.lives)] {
        if let [_, early, .., late] = &looks[..] {
            target(
                format!("no growth over {name} (25 % to end)"),
                format!(
                    "{:+.2} MiB, {:+} descriptors, {:+} threads, {:+} sessions",
                    mebibytes(late.pss) - mebibytes(early.pss),
                    difference(late.descriptors, early.descriptors),
                    difference(late.threads, early.threads),
                    late.sessions.cast_signed() - early.sessions.cast_signed(),
                ),
                late.pss <= early.pss + SLACK_KIB
                    && late.descriptors <= early.descriptors + SLACK_DESCRIPTORS
                    && late.threads <= early.threads
                    && late.sessions <= early.sessions + 1,
            );
        }
    }
    rows
}

fn difference(late: usize, early: usize) -> isize {
    late.cast_signed() - early.cast_signed()
}
