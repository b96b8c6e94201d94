//! The terminal that somebody looks at: how wide it is, whether it has colours, and
//! what text may do to it.
//!
//! Text of servers, daemons and files goes through [`plain`] before it is printed:
//! it must not move the cursor, change colours or turn the writing round.

use crate::environment::Environment;

#[cfg(unix)]
pub(crate) mod screen;

/// Columns where the terminal does not say.
const USUAL_COLUMNS: usize = 80;

/// A terminal on standard output.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terminal {
    colours: bool,
    is_dumb: bool,
}

/// What a text says by its colour, besides by its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    /// Nothing.
    Plain,
    /// As it should be.
    Good,
    /// It mends itself, or may need a look.
    Fair,
    /// Somebody has to act.
    Bad,
    /// Less important.
    Dim,
}

impl Terminal {
    /// Returns the terminal on standard output; `None`: it is none.
    pub(crate) fn of_standard_output(environment: &Environment) -> Option<Self> {
        std::io::IsTerminal::is_terminal(&std::io::stdout()).then(|| Self {
            colours: has_colours(environment),
            is_dumb: is_dumb(environment),
        })
    }

    /// Says whether a picture can be drawn on it: a dumb one shows the codes themselves.
    pub(crate) fn can_draw(self) -> bool {
        !self.is_dumb
    }

    /// Returns its columns and rows now.
    pub(crate) fn size(self) -> (usize, usize) {
        size(&std::io::stdout()).unwrap_or((USUAL_COLUMNS, 24))
    }
}

/// Paints text, if there is a terminal that shows colours.
pub(crate) fn painted(terminal: Option<Terminal>, paint: Paint, text: &str) -> String {
    let code = match paint {
        _ if !terminal.is_some_and(|terminal| terminal.colours) => return text.to_owned(),
        Paint::Plain => return text.to_owned(),
        Paint::Good => "32",
        Paint::Fair => "33",
        Paint::Bad => "31",
        Paint::Dim => "2",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// See no-color.org.
fn has_colours(environment: &Environment) -> bool {
    let no_color = environment.text("NO_COLOR");
    no_color.is_none_or(str::is_empty) && !is_dumb(environment)
}

fn is_dumb(environment: &Environment) -> bool {
    environment.text("TERM") == Some("dumb")
}

/// Returns the columns of the terminal that standard error is; 0: it is none, or shows
/// text alone.
pub(crate) fn columns_of_standard_error(environment: &Environment) -> u32 {
    let is_dumb = environment.text("TERM").is_some_and(|term| term == "dumb");
    if is_dumb || !std::io::IsTerminal::is_terminal(&std::io::stderr()) {
        return 0;
    }
    let columns = size(&std::io::stderr()).map_or(USUAL_COLUMNS, |(columns, _)| columns);
    u32::try_from(columns).unwrap_or(u32::MAX)
}

#[cfg(unix)]
fn size(terminal: &impl std::os::fd::AsFd) -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(terminal).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then(|| (size.ws_col.into(), size.ws_row.into()))
}

#[cfg(not(unix))]
fn size<T>(_: &T) -> Option<(usize, usize)> {
    None
}

/// Breaks a line into parts of at most so many visible characters, between words if
/// it can. Colours are ours, and always switched off again in the same line.
pub(crate) fn wrapped(line: &str, columns: usize) -> Vec<String> {
    let mut parts = Vec::new();
    let mut part = String::new();
    let mut column = 0;
    // Where the last word of this part begins: its byte and its column.
    let mut word = None;
    let mut in_code = false;
    for character in line.chars() {
        let starts = character == '\x1b';
        let visible = !in_code && !starts;
        if visible && column == columns {
            let (at, before) = match word.take() {
                _ if character == ' ' => (part.len(), column),
                Some(place) => place,
                None => (part.len(), column),
            };
            let rest = part.split_off(at);
            parts.push(part.trim_end().to_owned());
            (part, column) = (rest, column - before);
        }
        // A space at a break is not needed.
        if visible && character == ' ' && column == 0 && !parts.is_empty() {
            continue;
        }
        part.push(character);
        column += usize::from(visible);
        if visible && character == ' ' && !part.trim_start().is_empty() {
            word = Some((part.len(), column));
        }
        in_code = starts || (in_code && !character.is_ascii_alphabetic());
    }
    parts.push(part);
    parts
}

/// Foreign text on one line of a terminal.
pub(crate) fn plain(text: &str) -> String {
    let harmless = |character| {
        if is_harmful(character) {
            ' '
        } else {
            character
        }
    };
    text.chars().map(harmless).collect()
}

/// Controls, and what turns the direction of writing or is not seen at all.
fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_go_on_below_and_colours_take_no_room() {
        for (line, columns, expected) in [
            ("abcdef", 4, &["abcd", "ef"][..]),
            ("\x1b[31mabcd\x1b[0m", 4, &["\x1b[31mabcd\x1b[0m"]),
            ("", 4, &[""]),
            ("one two three", 8, &["one two", "three"]),
            ("one two three", 7, &["one two", "three"]),
            ("one  two", 4, &["one", "two"]),
            ("a bcdefgh", 4, &["a", "bcde", "fgh"]),
            ("    indented", 8, &["    inde", "nted"]),
            (
                "x \x1b[31mab cd\x1b[0m e",
                5,
                &["x \x1b[31mab", "cd\x1b[0m e"],
            ),
        ] {
            assert_eq!(wrapped(line, columns), expected, "{line:?}");
        }
    }

    #[test]
    fn foreign_text_cannot_drive_a_terminal() {
        for (text, expected) in [
            ("a\u{1b}[31mb", "a [31mb"),
            ("a\r\nb\tc", "a  b c"),
            ("\u{9b}2J", " 2J"),
            ("user\u{202e}gpj.exe", "user gpj.exe"),
            ("é 漢", "é 漢"),
        ] {
            assert_eq!(plain(text), expected);
        }
    }

    #[test]
    fn colours_are_the_users_choice() {
        for (variables, expected) in [
            (&[][..], true),
            (&[("NO_COLOR", "1")], false),
            (&[("NO_COLOR", "")], true),
            (&[("TERM", "dumb")], false),
            (&[("TERM", "xterm")], true),
        ] {
            assert_eq!(has_colours(&Environment::of(variables)), expected);
        }
        let terminal = Some(Terminal {
            colours: true,
            is_dumb: false,
        });
        assert_eq!(painted(terminal, Paint::Bad, "x"), "\u{1b}[31mx\u{1b}[0m");
        assert_eq!(painted(terminal, Paint::Plain, "x"), "x");
        assert_eq!(painted(None, Paint::Bad, "x"), "x");
    }
}
