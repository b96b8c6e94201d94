//! The text that the benchmark prints: the machine, two tables, sizes, targets.
//! Markdown, so that it can be pasted.

use std::time::Duration;

use crate::counting::Counts;
use crate::far::ROUND_TRIP;
use crate::far_table::FarTable;
use crate::near_table::{CLIENTS, Near, Row};
use crate::programs::Programs;
use crate::protected::Protected;
use crate::requests::RequestCounts;
use crate::statistics::{median, milliseconds, percentile};
use crate::stdio::OneShot;
use crate::targets::{self, Target, exit, file_size, initialize_times, listed, mebibytes};

/// The whole report.
pub(crate) fn text(
    programs: &Programs,
    near: &Near,
    protected: &Protected,
    counts: &RequestCounts,
    far: &FarTable,
) -> String {
    let mut text = format!("\n{}\n\n", machine());
    text += &format!(
        "On loopback (medians; steady: one call after the other; one-shots: {} ours and direct, {} npm)\n\n",
        near.warm.one_shots.len(),
        near.npx.one_shots.len(),
    );
    text += &table(&near_rows(near, counts));
    text += &format!(
        "\nOver TLS with {} ms of round trip ({} ours and direct, {} npm)\n\n",
        ROUND_TRIP.as_millis(),
        far.warm.len(),
        far.node.len(),
    );
    text += &table(&far_rows(far));
    text += "\n";
    text += &details(programs, near, protected, counts);
    text += "\n";
    text += &judgement(&targets::judge(programs, near, protected, counts, far));
    text
}

fn near_rows(near: &Near, counts: &RequestCounts) -> Vec<Vec<String>> {
    let head = [
        "",
        "initialize ms",
        "one-shot ms",
        "x direct",
        "steady calls/s",
        "p50 ms",
        "p99 ms",
        "PSS MiB",
        "8 clients MiB",
        "requests a one-shot",
    ];
    let direct = exit(&near.direct.one_shots);
    let row = |name: &str, row: &Row, requests: Option<&Counts>| {
        let mut cells = vec![name.to_owned()];
        cells.extend(one_shot_cells(&row.one_shots, direct));
        cells.extend(steady_cells(&row.calls));
        cells.push(
            row.one_client
                .map_or_else(none, |size| format!("{:.1}", mebibytes(size))),
        );
        cells.push(
            row.clients
                .map_or_else(none, |size| format!("{:.1}", mebibytes(size))),
        );
        cells.push(requests.map_or_else(none, |counts| counts.values().sum::<usize>().to_string()));
        cells
    };
    vec![
        head.map(str::to_owned).to_vec(),
        row(
            "direct client (new process; steady: kept alive, no pipes)",
            &near.direct,
            Some(&counts.direct),
        ),
        row(
            "direct client over pipes, on the daemon's HTTP stack",
            &near.lines,
            None,
        ),
        row("mcp-remote, no daemon yet", &near.cold, Some(&counts.cold)),
        row("mcp-remote, warm", &near.warm, Some(&counts.warm)),
        row("npx mcp-remote (npm)", &near.npx, Some(&counts.node)),
        row("node mcp-remote (npm)", &near.node, Some(&counts.node)),
    ]
}

fn far_rows(far: &FarTable) -> Vec<Vec<String>> {
    let direct = exit(&far.direct);
    let row = |name: &str, one_shots: &[OneShot]| {
        let mut cells = vec![name.to_owned()];
        cells.extend(one_shot_cells(one_shots, direct));
        cells
    };
    vec![
        ["", "initialize ms", "one-shot ms", "x direct"]
            .map(str::to_owned)
            .to_vec(),
        row("direct client (new process)", &far.direct),
        row("mcp-remote, no daemon yet", &far.cold),
        row("mcp-remote, warm", &far.warm),
        row("node mcp-remote (npm)", &far.node),
    ]
}

fn one_shot_cells(one_shots: &[OneShot], direct: f64) -> [String; 3] {
    if one_shots.is_empty() {
        return [none(), none(), none()];
    }
    let initialize = milliseconds(median(&initialize_times(one_shots)));
    let exit = exit(one_shots);
    [
        format!("{initialize:.1}"),
        format!("{exit:.1}"),
        format!("{:.2}", exit / direct),
    ]
}

fn steady_cells(calls: &[Duration]) -> [String; 3] {
    if calls.is_empty() {
        return [none(), none(), none()];
    }
    let total: Duration = calls.iter().sum();
    [
        format!("{:.0}", calls.len() as f64 / total.as_secs_f64()),
        format!("{:.2}", milliseconds(median(calls))),
        format!("{:.2}", milliseconds(percentile(calls, 99))),
    ]
}

fn none() -> String {
    "-".to_owned()
}

fn details(
    programs: &Programs,
    near: &Near,
    protected: &Protected,
    counts: &RequestCounts,
) -> String {
    let memory = &near.memory;
    let lines = [
        format!(
            "/bin/true, start to exit: {:.2} ms",
            milliseconds(median(&near.bin_true))
        ),
        format!(
            "stripped: mcp-remote {:.2} MiB, mcp-remoted {:.2} MiB",
            file_size(&programs.shim),
            file_size(&programs.daemon)
        ),
        format!(
            "PSS: shim {:.2} MiB (peak RSS {:.2} MiB), daemon with it {:.2} MiB, idle after one call {:.2} MiB, idle at the end {:.2} MiB, with {CLIENTS} shims {:.2} MiB in all",
            mebibytes(memory.shim),
            mebibytes(memory.shim_peak),
            mebibytes(memory.daemon),
            mebibytes(memory.daemon_idle),
            mebibytes(memory.daemon_idle_late),
            mebibytes(near.warm.clients.unwrap_or(0)),
        ),
        format!("the server saw, direct: {}", listed(&counts.direct)),
        format!(
            "the server saw, cold to the daemon's end: {}",
            listed(&counts.cold)
        ),
        format!("the server saw, warm: {}", listed(&counts.warm)),
        format!(
            "mcp-remote call, warm, start to exit: {:.2} ms",
            milliseconds(median(&near.call))
        ),
        format!("the server saw, npm: {}", listed(&counts.node)),
        format!(
            "warm one-shots, signed in, where nobody has to, and with DPoP ({} each, in turn): {:.2} ms, {:.2} ms, {:.2} ms",
            protected.guarded.len(),
            exit(&protected.guarded),
            exit(&protected.open),
            exit(&protected.bound),
        ),
    ];
    lines.map(|line| format!("- {line}\n")).concat()
}

fn judgement(targets: &[Target]) -> String {
    let mut rows = vec![["must reach", "measured", ""].map(str::to_owned).to_vec()];
    for target in targets {
        let verdict = if target.kept { "ok" } else { "MISSED" };
        rows.push(vec![
            target.promise.to_owned(),
            target.figure.clone(),
            verdict.to_owned(),
        ]);
    }
    table(&rows)
}

/// A Markdown table; the first row is its head.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            text += &format!("| {cell:<width$} ");
        }
        text += "|\n";
        if index == 0 {
            for width in &widths {
                text += &format!("|{}", "-".repeat(width + 2));
            }
            text += "|\n";
        }
    }
    text
}

/// Cores, processor and kernel of this machine.
pub(crate) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    let processor = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| {
            Some(
                line.strip_prefix("model name")?
                    .split_once(':')?
                    .1
                    .trim()
                    .to_owned(),
            )
        })
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let kernel = read("/proc/sys/kernel/osrelease");
    format!(
        "{cores} cores, {processor}, {} {}",
        std::env::consts::OS,
        kernel.trim()
    )
}
