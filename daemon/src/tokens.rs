//! `mcp-remoted tokens move`: sign-ins leave this machine in an encrypted file, or come
//! to it in one. Runs instead of a daemon, never beside it.
//!
//! Invariant: whenever it dies, each sign-in is in the store or in the file, on the
//! disk. It is removed from one only when it is in the other.

mod bundle;
mod choice;
mod envelope;
mod passphrase;
mod taking_in;
mod taking_out;

use std::collections::BTreeSet;
use std::path::Path;

use mcp_remote_proto::{endpoint, names};

use self::bundle::{Moved, MovedSuccessor};
use crate::cli::tokens::{Direction, MoveArguments};
use crate::config::Config;
use crate::configuration::Settings;
use crate::instance::{InstanceLock, LockError};
use crate::oauth::store::{Store, Successor};
use crate::oauth::text::printable;
use crate::secret::Secret;
use crate::server_url::ServerUrl;

#[cfg(all(test, unix))]
mod tests;

/// Longest file that is read, in bytes.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// Moves; returns what to tell.
///
/// # Errors
/// Why nothing, or not everything, was moved: one sentence without secrets.
pub(crate) fn run(arguments: &MoveArguments, config: &Config) -> Result<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| format!("no threads: {error}"))?;
    // Before anybody types a passphrase in vain.
    drop(exclusive(config)?);
    let server = arguments.server.as_deref();
    let server = server.map(|server| find(server, config)).transpose()?;
    let is_new = arguments.direction == Direction::To;
    if is_new && std::fs::symlink_metadata(&arguments.file).is_ok() {
        return Err(there_already(&arguments.file));
    }
    let passphrase = passphrase::find(arguments.passphrase_file.as_deref(), is_new)?;
    let _lock = exclusive(config)?;
    let moving = Moving {
        store: Store::new(config.auth_folder.clone(), config.token_store),
        folder: &config.auth_folder,
        file: &arguments.file,
        server,
        passphrase,
    };
    runtime.block_on(async {
        match arguments.direction {
            Direction::To => moving.take_out().await,
            Direction::From => moving.take_in(arguments.force).await,
        }
    })
}

/// Makes sure that no daemon renews the tokens meanwhile.
fn exclusive(config: &Config) -> Result<InstanceLock, String> {
    let state = config.places.state();
    endpoint::private_folder(state).map_err(|error| error.to_string())?;
    InstanceLock::take(&state.join("lock")).map_err(|error| match error {
        LockError::Held(pid) => {
            let pid = pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
            format!("mcp-remoted{pid} runs and may renew tokens: run mcp-remote stop first (mcp-remote service stop if it is a service)")
        }
        LockError::Io(error) => format!("the lock in {} failed: {error}", state.display()),
    })
}

/// Finds a server by its URL or its name.
fn find(typed: &str, config: &Config) -> Result<ServerUrl, String> {
    let url = match names::check(typed) {
        Ok(()) => {
            let settings = Settings::read(config.source(), Box::new(|_| Ok(())));
            let entry = settings.server(typed)?;
            entry.table.url.unwrap_or_default()
        }
        Err(_) => typed.to_owned(),
    };
    ServerUrl::parse(&url, true).map_err(|error| error.to_string())
}

fn there_already(file: &Path) -> String {
    format!(
        "{} is there already: name another file, or remove it",
        file.display()
    )
}

/// What is moved, and between what.
struct Moving<'a> {
    store: Store,
    folder: &'a Path,
    file: &'a Path,
    server: Option<ServerUrl>,
    passphrase: Secret<String>,
}

fn signed_in(count: usize) -> String {
    match count {
        1 => "1 sign-in".into(),
        count => format!("{count} sign-ins"),
    }
}

/// Names who signed people in.
fn issuers<'a>(
    moved: impl IntoIterator<Item = &'a Moved>,
    successors: impl IntoIterator<Item = &'a MovedSuccessor>,
) -> String {
    let moved = moved.into_iter().filter_map(|one| one.grant()?.issuer);
    let successors = successors
        .into_iter()
        .filter_map(|one| Some(one.successor()?.client?.issuer));
    let issuers = moved.chain(successors).map(|issuer| printable(&issuer));
    let issuers: BTreeSet<String> = issuers.collect();
    let shown: Vec<String> = issuers.into_iter().take(10).collect();
    shown.join(", ")
}

/// Names the user's file whose token was replaced.
fn shown_file(successor: Option<&Successor>) -> String {
    let file = successor.and_then(|successor| successor.file.as_deref());
    file.map_or_else(|| "the --subject-token-file".to_owned(), printable)
}
