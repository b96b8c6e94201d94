//! Foreign text on a terminal, where it must not do anything, or in a pipe, where
//! it passes as it is.

use std::fmt::Write;
use std::io::IsTerminal;

/// Columns of a terminal that does not say.
const COLUMNS: usize = 80;

/// Widest column of names.
const MAX_NAME: usize = 40;

/// Where text goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Screen {
    /// Of a terminal.
    columns: Option<usize>,
}

impl Screen {
    /// Looks at standard output.
    pub(super) fn of_stdout() -> Self {
        let stdout = std::io::stdout();
        let columns = stdout.is_terminal().then(columns);
        Self { columns }
    }

    /// Looks at standard error.
    pub(super) fn of_stderr() -> Self {
        let columns = std::io::stderr().is_terminal().then_some(COLUMNS);
        Self { columns }
    }

    /// Returns text with a line break at its end.
    pub(super) fn text(self, text: &[u8]) -> Vec<u8> {
        let mut shown = match self.columns {
            Some(_) => {
                let kept = |letter: char| matches!(letter, '\n' | '\t') || is_harmless(letter);
                let text = String::from_utf8_lossy(text).replace("\r\n", "\n");
                let harmless = text
                    .chars()
                    .map(|letter| if kept(letter) { letter } else { '\u{fffd}' });
                harmless.collect::<String>().into_bytes()
            }
            None => text.to_owned(),
        };
        if shown.last() != Some(&b'\n') {
            shown.push(b'\n');
        }
        shown
    }

    /// Lists names and what they mean, a line each.
    pub(super) fn list(self, rows: &[(String, String)]) -> String {
        let names = rows.iter().map(|(name, _)| name.chars().count());
        let width = names.max().unwrap_or_default().min(MAX_NAME);
        let mut text = String::new();
        for (name, about) in rows {
            let (name, about) = (plain(name), plain(about));
            let line = format!("{name:width$}  {about}");
            let line = line.trim_end();
            match self.columns {
                Some(columns) if line.chars().count() > columns => {
                    let cut: String = line.chars().take(columns.saturating_sub(3)).collect();
                    writeln!(text, "{}...", cut.trim_end())
                }
                _ => writeln!(text, "{line}"),
            }
            .expect("writing to a string cannot fail");
        }
        text
    }
}

/// Text on one line of a terminal.
pub(super) fn plain(text: &str) -> String {
    let harmless = |letter| if is_harmless(letter) { letter } else { ' ' };
    text.chars().map(harmless).collect()
}

/// Controls move the cursor, or the direction of what follows.
fn is_harmless(letter: char) -> bool {
    let turns = matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !letter.is_control() && !turns
}

#[cfg(unix)]
fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stdout());
    let columns = size.map_or(0, |size| usize::from(size.ws_col));
    if columns == 0 { COLUMNS } else { columns }
}

#[cfg(not(unix))]
fn columns() -> usize {
    COLUMNS
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMINAL: Screen = Screen { columns: Some(20) };
    const PIPE: Screen = Screen { columns: None };

    #[test]
    fn a_terminal_obeys_nothing_and_a_pipe_gets_everything() {
        let text = b"a\x1b[2J\tb\r\nc\xff\xc2\x9b\xe2\x80\xaed";
        let shown = TERMINAL.text(text);
        let expected = "a\u{fffd}[2J\tb\nc\u{fffd}\u{fffd}\u{fffd}d\n";
        assert_eq!(String::from_utf8_lossy(&shown), expected);
        assert_eq!(PIPE.text(text), [&text[..], b"\n"].concat());
        assert_eq!(PIPE.text(b"a\n"), b"a\n");
    }

    #[test]
    fn tools_are_listed_a_line_each() {
        let rows = [
            ("echo".to_owned(), "says\nwhat it hears".to_owned()),
            ("a\u{1b}".to_owned(), String::new()),
        ];
        assert_eq!(PIPE.list(&rows), "echo  says what it hears\na\n");
        assert_eq!(TERMINAL.list(&rows), "echo  says what i...\na\n");
        assert_eq!(PIPE.list(&[]), "");
    }
}
