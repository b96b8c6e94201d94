//! Sign-ins leave this machine: they are in the file, on the disk, before anything is
//! removed from the store.

use std::collections::BTreeSet;

use super::bundle::{Bundle, Moved, MovedSuccessor};
use super::choice::{Choice, Goes};
use super::{MAX_FILE, Moving, envelope, issuers, shown_file, signed_in, there_already};
use crate::oauth::grant::Grant;
use crate::oauth::identity::IdentityHash;
use crate::oauth::store::files::{self, FileError, Loose};
use crate::oauth::store::{GrantLock, OnDisk, StoreError};
use crate::oauth::text::printable;

/// What there is of an identity. Nobody else renews it meanwhile.
struct Here {
    hash: IdentityHash,
    grant: Option<(Grant, Moved)>,
    successor: Option<MovedSuccessor>,
    _lock: GrantLock,
}

/// What leaves.
#[derive(Default)]
struct Leaving {
    grants: Vec<Moved>,
    successors: Vec<MovedSuccessor>,
    hashes: Vec<IdentityHash>,
    locks: Vec<GrantLock>,
    /// What to tell besides, a sentence each.
    notes: Vec<String>,
}

fn failed(error: StoreError) -> String {
    error.to_string()
}

impl Moving<'_> {
    pub(super) async fn take_out(&self) -> Result<String, String> {
        let (here, damaged) = self.look().await?;
        if here.is_empty() && self.store.leaves_out_keyring().await.map_err(failed)? {
            return Err("nobody is signed in here with tokens in files, but somebody is with tokens in the keyring: set MCP_REMOTE_TOKEN_STORE=keyring for this command".into());
        }
        let leaving = self.choose(here, damaged)?;
        let (count, issuers) = (
            signed_in(leaving.grants.len() + leaving.successors.len()),
            issuers(&leaving.grants, &leaving.successors),
        );
        self.write(&Bundle::new(leaving.grants, leaving.successors))?;
        // It is on the disk: from here on it counts, and what is left here does not.
        for hash in &leaving.hashes {
            self.remove(hash).await.map_err(|error| {
                format!(
                    "{} holds the sign-ins, but they could not all be removed here ({error}): remove what begins with {hash} under {} yourself before the file is used elsewhere",
                    self.file.display(),
                    self.folder.display(),
                )
            })?;
        }
        drop(leaving.locks);
        let mut said = format!(
            "Moved {count} ({issuers}) to {}; here nobody is signed in with that any more. On the other machine: mcp-remoted tokens move --from FILE\n",
            self.file.display()
        );
        for note in leaving.notes {
            said += &note;
            said.push('\n');
        }
        Ok(said)
    }

    /// Reads everything, and names what cannot be read.
    async fn look(&self) -> Result<(Vec<Here>, Vec<String>), String> {
        let mut hashes = BTreeSet::from_iter(self.store.identities().await.map_err(failed)?);
        hashes.extend(self.store.subjects().await.map_err(failed)?);
        let (mut here, mut damaged) = (Vec::new(), Vec::new());
        for hash in hashes {
            let lock = self.store.lock(&hash).await.map_err(failed)?;
            let tokens = self.store.tokens(&hash).await.map_err(failed)?;
            if matches!(tokens, OnDisk::Damaged) {
                damaged.push(format!("{hash}_tokens.json"));
            }
            let raw = self.store.raw(&hash).await.map_err(failed)?;
            let moved = raw.and_then(|raw| Moved::of(hash.as_str(), &raw));
            let subject = self.store.raw_subject(&hash).await.map_err(failed)?;
            here.push(Here {
                grant: tokens.tokens().zip(moved),
                successor: subject.and_then(|raw| MovedSuccessor::of(hash.as_str(), &raw)),
                hash,
                _lock: lock,
            });
        }
        Ok((here, damaged))
    }

    fn choose(&self, here: Vec<Here>, damaged: Vec<String>) -> Result<Leaving, String> {
        let grants = here
            .iter()
            .filter_map(|one| Some((&one.hash, &one.grant.as_ref()?.0)));
        let choice = Choice::new(self.server.as_ref(), grants);
        let mut leaving = Leaving::default();
        for one in here {
            let mut leaves = false;
            if let Some((grant, moved)) = one.grant {
                match choice.of_grant(&one.hash, &grant) {
                    Goes::Yes => {
                        leaving.grants.push(moved);
                        leaves = true;
                    }
                    Goes::Shared => leaving.notes.push(self.stays(&grant)),
                    Goes::No => {}
                }
            }
            if let Some(moved) = one.successor {
                let file = shown_file(moved.successor().as_ref());
                match choice.of_provider(&one.hash) {
                    Goes::Yes => {
                        leaving.notes.push(format!("What replaced the refresh token in {file} goes along: have that file on the other machine, too, as it is."));
                        leaving.successors.push(moved);
                        leaves = true;
                    }
                    Goes::Shared => leaving.notes.push(format!("What replaced the refresh token in {file} stays here, since other servers use it: the other machine needs another one in that file.")),
                    Goes::No => {}
                }
            }
            if leaves {
                leaving.hashes.push(one.hash);
                leaving.locks.push(one._lock);
            }
        }
        let damaged = damaged.join(", ");
        if leaving.hashes.is_empty() {
            let damaged = match damaged.as_str() {
                "" => String::new(),
                names => format!(" (damaged: {names})"),
            };
            return Err(match &self.server {
                Some(server) => format!(
                    "nobody is signed in to {server} here{damaged}: there is nothing to move"
                ),
                None => format!("nobody is signed in here{damaged}: there is nothing to move"),
            });
        }
        if !damaged.is_empty() {
            leaving.notes.push(format!(
                "What is damaged stays here, and somebody has to sign in again for it: {damaged}."
            ));
        }
        Ok(leaving)
    }

    /// Says what to do about a sign-in that others need.
    fn stays(&self, grant: &Grant) -> String {
        let issuer = printable(grant.issuer.as_deref().unwrap_or_default());
        let server = self.server.as_ref().map(ToString::to_string);
        format!(
            "The sign-in at the identity provider {issuer} stays here, since other servers use it: sign in on the other machine, too, with mcp-remote login {} (and the flags that it has here).",
            server.unwrap_or_default()
        )
    }

    /// Writes the file and looks whether it is there.
    fn write(&self, bundle: &Bundle) -> Result<(), String> {
        let closed = envelope::close(&bundle.write(), &self.passphrase);
        files::create(self.file, &closed).map_err(|error| match error {
            FileError::Io(_, error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                there_already(self.file)
            }
            error => error.to_string(),
        })?;
        let back = files::read_up_to(self.file, Loose::Refuse, MAX_FILE);
        let why = match back {
            Ok(Some(back)) if *back == closed => return Ok(()),
            Ok(_) => "it is not what was written".to_owned(),
            Err(error) => error.to_string(),
        };
        // It is of no use, and nothing was removed here.
        drop(files::remove(self.file));
        Err(format!(
            "{} cannot be read back ({why}): nothing was moved, name another file",
            self.file.display()
        ))
    }

    async fn remove(&self, hash: &IdentityHash) -> Result<(), StoreError> {
        self.store.forget(hash).await?;
        self.store.send_subject_away(hash).await
    }
}
