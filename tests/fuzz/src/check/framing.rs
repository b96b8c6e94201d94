//! The framing of stdio.

use super::{cut, memory, settings};
use crate::framing::{Framer, Line};
use crate::members::Members;

/// The limit is the first byte, the cuts follow from the second.
pub fn check(input: &[u8]) {
    let Some(([limit, seed], stream)) = settings(input) else {
        return;
    };
    let limit = 1 + usize::from(limit);
    let expected = simple(stream, limit);
    for chunks in [vec![stream], cut(stream, 0), cut(stream, seed)] {
        let mut framer = Framer::new(limit);
        let mut lines: Vec<Line> = Vec::new();
        for chunk in chunks {
            lines.extend(framer.push(chunk));
        }
        lines.extend(framer.end());
        assert_eq!(lines, expected);
    }
    if seed % 64 == 1 {
        let mut framer = Framer::new(limit);
        // The scan for an id holds up to 1 KiB of it, twice while it copies.
        memory::stays_below(4 * limit + 8192, stream, |stream| {
            framer.push(stream);
        });
    }
}

fn simple(stream: &[u8], limit: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    for line in stream.split(|byte| *byte == b'\n') {
        if line.len() > limit {
            let id = Members::of(line).request_id().map(<[u8]>::to_vec);
            lines.push(Line::Oversized(id));
            continue;
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !line.trim_ascii().is_empty() {
            lines.push(Line::Message(line.to_vec().into()));
        }
    }
    lines
}
