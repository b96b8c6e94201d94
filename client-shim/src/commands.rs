//! The subcommands, one file each. Standard output is theirs.

use std::io::{ErrorKind, Write};
use std::time::Duration;

use mcp_remote_proto::calls::Call;
use tonic::Code;

use crate::daemon::Daemon;
use crate::exit::{Exit, ShimError};

pub(crate) mod add;
#[cfg(unix)]
pub(crate) mod adopt;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod list;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod logs;
pub(crate) mod man;
pub(crate) mod one_shot;
pub(crate) mod reload;
pub(crate) mod remove;
pub(crate) mod service;
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

/// A daemon reads and writes a file for it.
const PATIENCE: Duration = Duration::from_secs(15);

/// Waits for what a daemon answers to a call about its configuration.
///
/// # Errors
/// Its own sentence, or that it does not know the call.
async fn answered<C: Call>(daemon: &Daemon, question: C) -> Result<C::Answer, ShimError> {
    match tokio::time::timeout(PATIENCE, daemon.ask(question)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(status)) if status.code() == Code::Unimplemented => Err(ShimError::new(
            Exit::VERSION_MISMATCH,
            format!("{daemon} has no configuration: run mcp-remote stop, then try again"),
        )),
        Ok(Err(status)) => Err(ShimError::general(status.message())),
        Err(_) => Err(ShimError::general(format!(
            "{daemon} does not answer: end that process and try again"
        ))),
    }
}
