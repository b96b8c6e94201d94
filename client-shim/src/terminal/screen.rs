//! A screen that is drawn again and again in place, and gives the terminal back as
//! it was, however it ends.
//!
//! A frame is one write that overwrites the last one line by line, so that nothing
//! flickers. What is typed meanwhile is neither shown nor left for the shell.

use std::io::{self, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::{Terminal, wrapped};

/// Another screen than the shell's, no cursor, no wrapping.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[H\x1b[2J";

/// The opposite.
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/// The terminal, taken.
pub(crate) struct Screen {
    terminal: Terminal,
    /// How standard input was, if it is a terminal.
    before: Option<Termios>,
    drawn: Option<(String, (usize, usize))>,
}

impl Screen {
    /// Takes the terminal; dropping the screen gives it back.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn take(terminal: Terminal) -> io::Result<Self> {
        let before = tcgetattr(io::stdin()).ok();
        let screen = Self {
            terminal,
            before,
            drawn: None,
        };
        screen.enter()?;
        Ok(screen)
    }

    fn enter(&self) -> io::Result<()> {
        if let Some(before) = &self.before {
            let mut quiet = before.clone();
            quiet
                .local_modes
                .remove(LocalModes::ECHO | LocalModes::ICANON);
            // The picture suffers without it, and nothing else.
            let _changed = tcsetattr(io::stdin(), OptionalActions::Now, &quiet);
        }
        put(ENTER)
    }

    fn leave(&self) {
        // There is nobody left to tell if the terminal has gone.
        drop(put(LEAVE));
        if let Some(before) = &self.before {
            let _restored = tcsetattr(io::stdin(), OptionalActions::Flush, before);
        }
    }

    /// Shows a text, if it or the terminal's size is another than before.
    ///
    /// # Errors
    /// The terminal cannot be written.
    pub(crate) fn draw(&mut self, text: &str) -> io::Result<()> {
        let size = self.terminal.size();
        let unchanged = |(drawn, of): &(String, (usize, usize))| drawn == text && *of == size;
        if self.drawn.as_ref().is_some_and(unchanged) {
            return Ok(());
        }
        self.drawn = Some((text.to_owned(), size));
        put(&frame(text, size))
    }

    /// Gives the terminal back, stops as Ctrl-Z wants, and takes it again when the
    /// shell lets us go on.
    ///
    /// # Errors
    /// The terminal cannot be written.
    pub(crate) fn suspend(&mut self) -> io::Result<()> {
        use rustix::process::{Signal, getpid, kill_process};
        self.leave();
        // We are stopped before this returns, and continued.
        kill_process(getpid(), Signal::STOP)?;
        self.drawn = None;
        self.enter()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.leave();
    }
}

fn put(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()
}

/// Writes a frame: lines that are too long go on in the next one, what does not fit
/// below is left out.
fn frame(text: &str, (columns, rows): (usize, usize)) -> String {
    let lines = text.lines().flat_map(|line| wrapped(line, columns));
    let lines: Vec<String> = lines.take(rows).collect();
    // Without a line end after the last one, which would scroll a full screen.
    format!("\x1b[H{}\x1b[K\x1b[J", lines.join("\x1b[K\r\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_never_scrolls() {
        let text = frame("one\ntwo\nthree\n", (20, 2));
        assert_eq!(text, "\x1b[Hone\x1b[K\r\ntwo\x1b[K\x1b[J");
        assert_eq!(frame("abc", (2, 1)), "\x1b[Hab\x1b[K\x1b[J");
    }
}
