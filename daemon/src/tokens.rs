//! `mcp-remoted tokens move`: sign-ins leave this machine in an encrypted file, or come
//! to it in one. Runs instead of a daemon, never beside it.
//!
//! Invariant: whenever it dies, each sign-in is in the store or in the file, on the
//! disk. It is removed from one only when it is in the other.

mod bundle;
mod envelope;
mod passphrase;

use std::collections::BTreeSet;
use std::path::Path;

use mcp_remote_proto::{endpoint, names};

use self::bundle::{Bundle, Moved};
use crate::cli::tokens::{Direction, MoveArguments};
use crate::config::Config;
use crate::configuration::Settings;
use crate::http::NetworkOptions;
use crate::instance::{InstanceLock, LockError};
use crate::oauth::grant::Grant;
use crate::oauth::identity::{Identity, IdentityHash};
use crate::oauth::store::files::{self, FileError, Loose};
use crate::oauth::store::{GrantLock, OnDisk, Store};
use crate::oauth::text::printable;
use crate::secret::Secret;
use crate::server_url::ServerUrl;

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

impl Moving<'_> {
    /// Says whether a sign-in is one to move.
    fn is_wanted(&self, hash: &IdentityHash, grant: &Grant) -> bool {
        let Some(server) = &self.server else {
            return true;
        };
        let plain = Identity::new(server.clone(), NetworkOptions::default());
        let is_of = grant.server.as_ref() == Some(&plain.server_digits());
        is_of || hash.as_str() == plain.hash().as_str()
    }

    async fn take_out(&self) -> Result<String, String> {
        let failed = |error: crate::oauth::store::StoreError| error.to_string();
        let (mut moved, mut hashes, mut locks) = (Vec::new(), Vec::new(), Vec::new());
        for hash in self.store.identities().await.map_err(failed)? {
            let locked: GrantLock = self.store.lock(&hash).await.map_err(failed)?;
            let grant = self.store.tokens(&hash).await.map_err(failed)?.tokens();
            let raw = self.store.raw(&hash).await.map_err(failed)?;
            let wanted = grant.is_some_and(|grant| self.is_wanted(&hash, &grant));
            if let Some(one) = raw.and_then(|raw| Moved::of(hash.as_str(), &raw))
                && wanted
            {
                moved.push(one);
                hashes.push(hash);
                locks.push(locked);
            }
        }
        if moved.is_empty() {
            return Err(match &self.server {
                Some(server) => {
                    format!("nobody is signed in to {server} here: there is nothing to move")
                }
                None => "nobody is signed in here: there is nothing to move".into(),
            });
        }
        let issuers = issuers(&moved);
        let closed = envelope::close(&Bundle::new(moved).write(), &self.passphrase);
        files::create(self.file, &closed).map_err(|error| match error {
            FileError::Io(_, error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                there_already(self.file)
            }
            error => error.to_string(),
        })?;
        // It is on the disk: from here on it counts, and what is left here does not.
        for hash in &hashes {
            if let Err(error) = self.store.forget(hash).await {
                return Err(format!(
                    "{} holds the sign-ins, but they could not all be removed here ({error}): remove {hash}_tokens.json under {} yourself before the file is used elsewhere",
                    self.file.display(),
                    self.folder.display(),
                ));
            }
        }
        let (count, file) = (signed_in(hashes.len()), self.file.display());
        Ok(format!(
            "Moved {count} ({issuers}) to {file}; here nobody is signed in with that any more. On the other machine: mcp-remoted tokens move --from FILE\n"
        ))
    }

    async fn take_in(&self, force: bool) -> Result<String, String> {
        let path = self.file.display();
        let closed = files::read_up_to(self.file, Loose::Refuse, MAX_FILE);
        let closed = closed.map_err(|error| error.to_string())?;
        let closed = closed.ok_or_else(|| format!("{path} is not there"))?;
        let content = envelope::open(&closed, &self.passphrase);
        let content = content.map_err(|why| format!("{path} cannot be opened: {why}"))?;
        let bundle = Bundle::read(&content);
        let bundle = bundle.ok_or_else(|| {
            format!(
                "{path} holds something else than sign-ins of this release: nothing was changed"
            )
        })?;
        let (mut wanted, mut left) = (Vec::new(), 0);
        for one in bundle.grants {
            let hash = IdentityHash::parse(self.folder, &one.identity);
            let (Some(hash), Some(grant)) = (hash, one.grant()) else {
                return Err(format!(
                    "{path} names a sign-in as nobody does: nothing was changed"
                ));
            };
            match self.is_wanted(&hash, &grant) {
                true => wanted.push((hash, one, grant)),
                false => left += 1,
            }
        }
        if wanted.is_empty() {
            return Err(format!(
                "{path} has no sign-in of that server: nothing was changed"
            ));
        }
        self.take_over(wanted, force, left).await
    }

    /// Keeps all, or none if one of them would replace another.
    async fn take_over(
        &self,
        wanted: Vec<(IdentityHash, Moved, Grant)>,
        force: bool,
        left: usize,
    ) -> Result<String, String> {
        let failed = |error: crate::oauth::store::StoreError| error.to_string();
        let path = self.file.display();
        let mut locks = Vec::new();
        for (hash, _, grant) in &wanted {
            locks.push(self.store.lock(hash).await.map_err(failed)?);
            let there = self.store.tokens(hash).await.map_err(failed)?;
            let is_other = match &there {
                OnDisk::Nothing | OnDisk::Damaged => false,
                OnDisk::Tokens(known) => known.access_token != grant.access_token,
            };
            if is_other && !force {
                let issuer = printable(grant.issuer.as_deref().unwrap_or_default());
                return Err(format!(
                    "somebody is signed in here already where {path} has a sign-in (at {issuer}): nothing was changed; --force replaces what is here"
                ));
            }
        }
        let moved: Vec<&Moved> = wanted.iter().map(|(_, one, _)| one).collect();
        let issuers = issuers(moved);
        let count = signed_in(wanted.len());
        for (hash, one, _) in &wanted {
            let kept = self.store.put_raw(hash, one.raw()).await;
            kept.map_err(|error| format!("{error}; {path} still has all: try again"))?;
        }
        let spent = match left {
            0 => match files::remove(self.file) {
                Ok(()) => format!("{path} was deleted"),
                Err(error) => format!("{error}: delete it, since it must not be used again"),
            },
            left => format!(
                "{path} still has {left} of other servers, and what was taken over must not be used again from it"
            ),
        };
        Ok(format!("Took over {count} ({issuers}); {spent}.\n"))
    }
}

fn signed_in(count: usize) -> String {
    match count {
        1 => "1 sign-in".into(),
        count => format!("{count} sign-ins"),
    }
}

/// Names who signed people in.
fn issuers<'a>(moved: impl IntoIterator<Item = &'a Moved>) -> String {
    let issuer = |one: &Moved| Some(printable(&one.grant()?.issuer?));
    let issuers: BTreeSet<String> = moved.into_iter().filter_map(issuer).collect();
    let shown: Vec<String> = issuers.into_iter().take(10).collect();
    shown.join(", ")
}
