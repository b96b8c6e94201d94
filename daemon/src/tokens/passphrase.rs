//! Where a passphrase comes from: a file, the environment, or a person at the
//! terminal, who sees nothing of it.

use std::path::Path;

use crate::config;
use crate::oauth::store::files::{self, Loose};
use crate::secret::Secret;

/// Shorter ones are guessed.
const SHORTEST: usize = 8;

/// Finds the passphrase; `is_new`: nobody has checked how it is typed, and it protects
/// something from now on.
///
/// # Errors
/// One sentence.
pub(super) fn find(file: Option<&Path>, is_new: bool) -> Result<Secret<String>, String> {
    let passphrase = match (file, config::passphrase()) {
        (Some(file), _) => of_file(file)?,
        (None, Some(passphrase)) => passphrase,
        (None, None) => ask(is_new)?,
    };
    let length = passphrase.reveal().chars().count();
    match is_new && length < SHORTEST {
        true => Err(format!(
            "the passphrase has {length} characters: give one with at least {SHORTEST}"
        )),
        false => Ok(passphrase),
    }
}

fn of_file(path: &Path) -> Result<Secret<String>, String> {
    let content = files::read(path, Loose::Refuse).map_err(|error| error.to_string())?;
    let content = content.ok_or_else(|| format!("{} is not there", path.display()))?;
    let text = std::str::from_utf8(&content).ok();
    let line = text.and_then(|text| text.lines().next());
    let line = line.filter(|line| !line.is_empty());
    let line = line.ok_or_else(|| format!("{} has no passphrase in it", path.display()))?;
    Ok(Secret::new(line.to_owned()))
}

fn ask(is_new: bool) -> Result<Secret<String>, String> {
    let first = terminal::ask("Passphrase: ")?;
    if is_new && first != terminal::ask("The same again: ")? {
        return Err("the two passphrases are not the same: try again".into());
    }
    Ok(first)
}

#[cfg(unix)]
mod terminal {
    use std::fs::File;
    use std::io::{Read as _, Write as _};

    use rustix::termios::{
        LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
    };
    use zeroize::Zeroize as _;

    use crate::secret::Secret;

    /// Longest passphrase, in bytes.
    const MAX: usize = 1024;

    /// A terminal that shows nothing of what is typed, until it is dropped.
    struct Quiet<'a> {
        terminal: &'a File,
        usual: Termios,
    }

    impl Drop for Quiet<'_> {
        fn drop(&mut self) {
            // There is nobody to tell if the terminal has gone.
            let _gone = tcsetattr(self.terminal, OptionalActions::Flush, &self.usual);
        }
    }

    /// Asks the person at the terminal.
    pub(super) fn ask(question: &str) -> Result<Secret<String>, String> {
        let terminal = File::options().read(true).write(true).open("/dev/tty");
        let terminal = terminal.map_err(|_| {
            "there is no terminal to ask for the passphrase on: give it with --passphrase-file PATH or MCP_REMOTE_PASSPHRASE".to_owned()
        })?;
        let failed = |error: std::io::Error| format!("the terminal cannot be used: {error}");
        let usual = tcgetattr(&terminal).map_err(|error| failed(error.into()))?;
        let mut quiet = usual.clone();
        // Byte by byte, Ctrl-C too: whatever ends this gives the terminal back.
        quiet.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&terminal, OptionalActions::Flush, &quiet)
            .map_err(|error| failed(error.into()))?;
        let _quiet = Quiet {
            terminal: &terminal,
            usual,
        };
        (&terminal).write_all(question.as_bytes()).map_err(failed)?;
        let line = line(&terminal);
        (&terminal).write_all(b"\n").map_err(failed)?;
        line
    }

    fn line(mut terminal: &File) -> Result<Secret<String>, String> {
        let mut typed = Vec::with_capacity(MAX);
        let mut byte = [0];
        let line = loop {
            let read = terminal.read(&mut byte).unwrap_or_default();
            match byte[0] {
                _ if read == 0 => break None,
                // Ctrl-C and Ctrl-D.
                3 | 4 => break None,
                b'\n' | b'\r' => break String::from_utf8(typed.clone()).ok(),
                // Backspace, by either name, takes a whole character.
                8 | 127 => while typed.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
                // Ctrl-U.
                21 => typed.clear(),
                byte if typed.len() < MAX => typed.push(byte),
                _ => break None,
            }
        };
        typed.zeroize();
        line.map(Secret::new)
            .ok_or_else(|| "no passphrase was given".into())
    }
}

#[cfg(not(unix))]
mod terminal {
    use crate::secret::Secret;

    /// Nobody can be asked here.
    pub(super) fn ask(_question: &str) -> Result<Secret<String>, String> {
        Err("give the passphrase with --passphrase-file PATH or MCP_REMOTE_PASSPHRASE".into())
    }
}
