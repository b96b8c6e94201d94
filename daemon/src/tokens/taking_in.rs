//! Sign-ins come to this machine: all that are wanted are stored before the file goes.

use std::collections::BTreeSet;

use super::bundle::{Bundle, Moved, MovedSuccessor};
use super::choice::{Choice, Goes};
use super::{MAX_FILE, Moving, envelope, issuers, shown_file, signed_in};
use crate::oauth::grant::Grant;
use crate::oauth::identity::IdentityHash;
use crate::oauth::store::files::{self, Loose};
use crate::oauth::store::{OnDisk, StoreError, Successor};
use crate::oauth::text::printable;

/// What comes, and what it is.
#[derive(Default)]
struct Coming {
    grants: Vec<(IdentityHash, Moved, Grant)>,
    successors: Vec<(IdentityHash, MovedSuccessor, Successor)>,
    /// How many stay in the file.
    left: usize,
}

fn failed(error: StoreError) -> String {
    error.to_string()
}

impl Moving<'_> {
    pub(super) async fn take_in(&self, force: bool) -> Result<String, String> {
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
        let all = self
            .parse(bundle)
            .ok_or_else(|| format!("{path} names a sign-in as nobody does: nothing was changed"))?;
        let coming = self.wanted(all, force).await?;
        if coming.grants.is_empty() && coming.successors.is_empty() {
            return Err(format!(
                "{path} has no sign-in of that server: nothing was changed"
            ));
        }
        self.take_over(coming, force).await
    }

    fn parse(&self, bundle: Bundle) -> Option<Coming> {
        let hash = |digits: &str| IdentityHash::parse(self.folder, digits);
        let grants = bundle.grants.into_iter().map(|one| {
            let grant = one.grant()?;
            Some((hash(&one.identity)?, one, grant))
        });
        let successors = bundle.successors.into_iter().map(|one| {
            let successor = one.successor()?;
            Some((hash(&one.identity)?, one, successor))
        });
        Some(Coming {
            grants: grants.collect::<Option<_>>()?,
            successors: successors.collect::<Option<_>>()?,
            left: 0,
        })
    }

    /// What this server shares with others comes with the first of them, and is as it is
    /// here from then on.
    async fn wanted(&self, all: Coming, force: bool) -> Result<Coming, String> {
        let grants = all.grants.iter().map(|(hash, _, grant)| (hash, grant));
        let choice = Choice::new(self.server.as_ref(), grants);
        let mut coming = Coming::default();
        for one in all.grants {
            let is_here = self.store.tokens(&one.0).await.map_err(failed)?;
            let is_here = is_here.tokens().is_some() && !force;
            match choice.of_grant(&one.0, &one.2) {
                Goes::Shared if is_here => {}
                Goes::Yes | Goes::Shared => coming.grants.push(one),
                Goes::No => coming.left += 1,
            }
        }
        for one in all.successors {
            let is_here = self.store.successor(&one.0).await.map_err(failed)?;
            let is_here = is_here.is_some() && !force;
            match choice.of_provider(&one.0) {
                Goes::Shared if is_here => {}
                Goes::Yes | Goes::Shared => coming.successors.push(one),
                Goes::No => coming.left += 1,
            }
        }
        Ok(coming)
    }

    /// Keeps all, or none if one of them would replace another.
    async fn take_over(&self, coming: Coming, force: bool) -> Result<String, String> {
        let path = self.file.display();
        let hashes = coming.grants.iter().map(|(hash, ..)| hash);
        let hashes = hashes.chain(coming.successors.iter().map(|(hash, ..)| hash));
        let mut locks = Vec::new();
        for hash in hashes.collect::<BTreeSet<_>>() {
            locks.push(self.store.lock(hash).await.map_err(failed)?);
        }
        if !force {
            self.replaces_nothing(&coming).await?;
        }
        let kept = |error: StoreError| format!("{error}; {path} still has all: try again");
        for (hash, one, _) in &coming.successors {
            let stored = self.store.put_raw_subject(hash, one.raw()).await;
            stored.map_err(kept)?;
        }
        for (hash, one, _) in &coming.grants {
            let stored = self.store.put_raw(hash, one.raw()).await;
            stored.map_err(kept)?;
        }
        let spent = match coming.left {
            0 => match files::remove(self.file) {
                Ok(()) => format!("{path} was deleted"),
                Err(error) => format!("{error}: delete it, since it must not be used again"),
            },
            left => format!(
                "{path} still has {left} of other servers, and what was taken over must not be used again from it"
            ),
        };
        let count = signed_in(coming.grants.len() + coming.successors.len());
        let issuers = issuers(
            coming.grants.iter().map(|(_, one, _)| one),
            coming.successors.iter().map(|(_, one, _)| one),
        );
        let mut said = format!("Took over {count} ({issuers}); {spent}.\n");
        for (_, _, successor) in &coming.successors {
            let file = shown_file(Some(successor));
            said += &format!(
                "What replaced the refresh token in {file} is used here from now on: have that file here as it was there.\n"
            );
        }
        Ok(said)
    }

    async fn replaces_nothing(&self, coming: &Coming) -> Result<(), String> {
        let path = self.file.display();
        let refused = |issuer: &str| {
            let issuer = printable(issuer);
            Err(format!(
                "somebody is signed in here already where {path} has a sign-in (at {issuer}): nothing was changed; --force replaces what is here"
            ))
        };
        for (hash, _, grant) in &coming.grants {
            if let OnDisk::Tokens(known) = self.store.tokens(hash).await.map_err(failed)?
                && known.access_token != grant.access_token
            {
                return refused(grant.issuer.as_deref().unwrap_or_default());
            }
        }
        for (hash, _, successor) in &coming.successors {
            if let Some(known) = self.store.successor(hash).await.map_err(failed)?
                && known.refresh_token != successor.refresh_token
            {
                let client = successor.client.as_ref();
                return refused(client.map_or("", |client| &client.issuer));
            }
        }
        Ok(())
    }
}
