//! The command line of `mcp-remoted tokens move`.

use std::path::PathBuf;

use lexopt::prelude::*;

/// What its `--help` prints.
pub(crate) const HELP: &str = "\
Moves sign-ins from one machine to another: out of the tokens here into an
encrypted file, or out of such a file into the tokens here. What is moved is no
longer where it was, since two that renew the same tokens end each other's.

Usage: mcp-remoted tokens move --to FILE [SERVER]
       mcp-remoted tokens move --from FILE [SERVER]

  SERVER                   URL or name of the only server to move (default: all)
  --to FILE                write this file, which must not be there
  --from FILE              read this file, and delete it once all is taken over
  --force                  with --from: replace sign-ins that are there already
  --passphrase-file PATH   the passphrase is the first line of this file
                           (default: MCP_REMOTE_PASSPHRASE, or ask at the terminal)

The daemon must not run: mcp-remote stop. The format is that of age with a
passphrase.
";

/// What to move.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MoveArguments {
    /// Where from or where to.
    pub(crate) direction: Direction,
    /// The file.
    pub(crate) file: PathBuf,
    /// Only this server.
    pub(crate) server: Option<String>,
    /// `--force`.
    pub(crate) force: bool,
    /// `--passphrase-file`.
    pub(crate) passphrase_file: Option<PathBuf>,
}

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Out of the store into a file.
    To,
    /// Out of a file into the store.
    From,
}

/// Reads what follows `tokens`; `None`: its help is asked for.
///
/// # Errors
/// One line that says what is wrong with it.
pub(super) fn parse(parser: &mut lexopt::Parser) -> Result<Option<MoveArguments>, String> {
    let mut arguments = Vec::new();
    let (mut to, mut from, mut passphrase_file) = (None, None, None);
    let mut force = false;
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        match argument {
            Long("help") | Short('h') => return Ok(None),
            Long("to") => file(parser, &mut to)?,
            Long("from") => file(parser, &mut from)?,
            Long("passphrase-file") => file(parser, &mut passphrase_file)?,
            Long("force") => force = true,
            // What a server is called may be secret: it is not repeated.
            Value(word) => arguments.push(word.string().map_err(|_| "an argument is not UTF-8")?),
            other => return Err(other.unexpected().to_string()),
        }
    }
    let mut arguments = arguments.into_iter();
    if arguments.next().as_deref() != Some("move") {
        return Err("only tokens move is known".into());
    }
    let server = arguments.next();
    if arguments.next().is_some() {
        return Err("tokens move takes one server or none".into());
    }
    let (direction, file) = match (to, from) {
        (Some(file), None) => (Direction::To, file),
        (None, Some(file)) => (Direction::From, file),
        _ => return Err("tokens move needs either --to FILE or --from FILE".into()),
    };
    if force && direction == Direction::To {
        return Err("--force means nothing with --to".into());
    }
    Ok(Some(MoveArguments {
        direction,
        file,
        server,
        force,
        passphrase_file,
    }))
}

/// Takes the value of a flag; the first one wins.
fn file(parser: &mut lexopt::Parser, place: &mut Option<PathBuf>) -> Result<(), String> {
    let value = parser.value().map_err(|error| error.to_string())?;
    place.get_or_insert(value.into());
    Ok(())
}
