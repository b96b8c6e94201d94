//! What processes hold in memory, from /proc. PSS: each page shared by n
//! processes counts one n-th, so that a sum over processes is true.

use std::collections::HashMap;

use crate::Failure;

/// Returns the proportional set size of one process, in KiB.
pub(crate) fn pss(pid: u32) -> Result<u64, Failure> {
    field(&format!("/proc/{pid}/smaps_rollup"), "Pss:")
}

/// Returns the resident memory of one process, in KiB.
pub(crate) fn rss(pid: u32) -> Result<u64, Failure> {
    field(&format!("/proc/{pid}/status"), "VmRSS:")
}

/// Returns the most resident memory a process has had, in KiB.
pub(crate) fn peak_rss(pid: u32) -> Result<u64, Failure> {
    field(&format!("/proc/{pid}/status"), "VmHWM:")
}

/// Returns the sum of the PSS of a process and all its descendants, in KiB.
pub(crate) fn pss_of_tree(root: u32) -> Result<u64, Failure> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in std::fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        // A process that has gone meanwhile is nobody's child.
        if let Ok(parent) = field(&format!("/proc/{pid}/status"), "PPid:") {
            children
                .entry(u32::try_from(parent)?)
                .or_default()
                .push(pid);
        }
    }
    let mut sum = 0;
    let mut waiting = vec![root];
    while let Some(pid) = waiting.pop() {
        sum += pss(pid)?;
        waiting.extend(children.remove(&pid).unwrap_or_default());
    }
    Ok(sum)
}

fn field(file: &str, name: &str) -> Result<u64, Failure> {
    let text = std::fs::read_to_string(file)?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next())
        .ok_or_else(|| format!("{file} has no {name}"))?;
    Ok(value.parse()?)
}
