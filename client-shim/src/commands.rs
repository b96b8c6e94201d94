//! The subcommands, one file each. Standard output is theirs.

use std::io::{ErrorKind, Write};

use crate::exit::{Exit, ShimError};

pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod logs;
pub(crate) mod man;
pub(crate) mod status;
pub(crate) mod stop;

/// Prints what a subcommand was asked for.
///
/// # Errors
/// Standard output cannot be written; a reader who has gone is no error.
pub(crate) fn print(text: &str) -> Result<Exit, ShimError> {
    let mut output = std::io::stdout().lock();
    match output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush())
    {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(ShimError::general(format!(
            "standard output cannot be written: {error}"
        ))),
        _ => Ok(Exit::OK),
    }
}
