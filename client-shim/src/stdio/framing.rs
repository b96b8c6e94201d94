//! Cuts a byte stream into lines of bounded length.
//!
//! Pure. A line over the limit is not held: it is scanned for its id while its
//! bytes go by, so that its sender gets an answer.

use bytes::Bytes;
use mcp_remote_proto::members::Scanner;

/// One line of input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    /// A message without its line end; not empty.
    Message(Bytes),
    /// A message longer than the limit, and its id if it is a request with one.
    Oversized(Option<Vec<u8>>),
}

/// Collects lines from pieces.
pub(crate) struct Framer {
    limit: usize,
    partial: Vec<u8>,
    oversized: Option<Scanner>,
}

impl Framer {
    /// Cuts into lines of at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            partial: Vec::new(),
            oversized: None,
        }
    }

    /// Takes the next piece; returns the lines that end in it.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            match part.strip_suffix(b"\n") {
                Some(last) if self.partial.is_empty() && self.oversized.is_none() => {
                    lines.extend(self.whole(last));
                }
                Some(last) => {
                    self.append(last);
                    lines.extend(self.end());
                }
                None => self.append(part),
            }
        }
        lines
    }

    /// Returns the line that has no line end, at the end of the input.
    pub(crate) fn end(&mut self) -> Vec<Line> {
        let partial = std::mem::take(&mut self.partial);
        let line = match self.oversized.take() {
            Some(scanner) => {
                let members = scanner.finish();
                Some(Line::Oversized(members.request_id().map(<[u8]>::to_vec)))
            }
            None => trimmed(&partial).map(|length| {
                let mut message = partial;
                message.truncate(length);
                Line::Message(message.into())
            }),
        };
        line.into_iter().collect()
    }

    /// Handles a line that is in one piece: the usual case, one copy.
    fn whole(&mut self, line: &[u8]) -> Option<Line> {
        if line.len() > self.limit {
            self.append(line);
            return self.end().pop();
        }
        let length = trimmed(line)?;
        Some(Line::Message(Bytes::copy_from_slice(&line[..length])))
    }

    fn append(&mut self, part: &[u8]) {
        if let Some(scanner) = &mut self.oversized {
            scanner.push(part);
        } else if self.partial.len() + part.len() > self.limit {
            let mut scanner = Scanner::default();
            scanner.push(&std::mem::take(&mut self.partial));
            scanner.push(part);
            self.oversized = Some(scanner);
        } else {
            self.partial.extend_from_slice(part);
        }
    }
}

/// Returns the length without a final carriage return; `None`: a blank line.
fn trimmed(line: &[u8]) -> Option<usize> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    (!line.trim_ascii().is_empty()).then_some(line.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Line {
        Line::Message(Bytes::copy_from_slice(text.as_bytes()))
    }

    fn check(input: &str, expected: &[Line]) {
        for size in [1, 2, 3, 7, input.len().max(1)] {
            let mut framer = Framer::new(40);
            let mut lines = Vec::new();
            for piece in input.as_bytes().chunks(size) {
                lines.extend(framer.push(piece));
            }
            lines.extend(framer.end());
            assert_eq!(lines, expected, "{input:?} in pieces of {size}");
        }
    }

    #[test]
    fn lines_end_with_newline_or_the_input() {
        check("{\"a\":1}\nxyz\n", &[message("{\"a\":1}"), message("xyz")]);
        check("a\nb", &[message("a"), message("b")]);
        check("", &[]);
    }

    #[test]
    fn blank_lines_are_ignored_and_carriage_returns_dropped() {
        check("\n\r\n \t \na\r\n\n", &[message("a")]);
        check(" a \r\n", &[message(" a ")]);
    }

    #[test]
    fn a_line_over_the_limit_leaves_only_its_id() {
        let long = "x".repeat(60);
        let before = format!("{{\"id\":7,\"method\":\"m\",\"params\":\"{long}\"}}\nnext\n");
        check(
            &before,
            &[Line::Oversized(Some(b"7".into())), message("next")],
        );
        let after = format!("{{\"params\":\"{long}\",\"id\":\"a\",\"method\":\"m\"}}");
        check(&after, &[Line::Oversized(Some(b"\"a\"".into()))]);
        let answer = format!("{{\"result\":\"{long}\",\"id\":7}}\n");
        check(&answer, &[Line::Oversized(None)]);
    }

    #[test]
    fn a_line_of_exactly_the_limit_passes() {
        let line = "y".repeat(40);
        check(&format!("{line}\n"), &[message(&line)]);
        check(&format!("{line}z\n"), &[Line::Oversized(None)]);
        check(&format!("{line}\r\n"), &[Line::Oversized(None)]);
        check(&format!("{}\n", " ".repeat(41)), &[Line::Oversized(None)]);
    }
}
