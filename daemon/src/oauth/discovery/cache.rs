//! What was discovered, kept for a while, so that a refresh asks nobody but the
//! token endpoint. Whoever fails with it forgets it.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use super::{Discovered, DiscoveryError, Known, discover};
use crate::oauth::http::OAuthHttp;
use crate::oauth::identity::{Identity, IdentityHash, ResourceChoice};

/// How long metadata are believed. They hardly change, and where they have a
/// failure drops them at once.
const TTL: Duration = Duration::from_secs(60 * 60);

/// Servers remembered. Past it all are looked up anew.
const MAX_ENTRIES: usize = 256;

/// All that the outcome depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    identity: IdentityHash,
    known: Known,
    sends_resource: bool,
    allow_missing_pkce: bool,
}

impl Key {
    fn of(identity: &Identity, known: &Known) -> Self {
        Self {
            identity: identity.hash(),
            known: known.clone(),
            sends_resource: identity.resource != ResourceChoice::Disabled,
            allow_missing_pkce: identity.allow_missing_pkce,
        }
    }
}

/// What was discovered for each identity.
#[derive(Debug, Default)]
pub(crate) struct DiscoveryCache(Mutex<HashMap<Key, (SystemTime, Discovered)>>);

impl DiscoveryCache {
    /// Returns what is known, or discovers it.
    pub(crate) async fn discover(
        &self,
        http: &OAuthHttp,
        identity: &Identity,
        known: &Known,
    ) -> Result<Discovered, DiscoveryError> {
        let key = Key::of(identity, known);
        let now = SystemTime::now();
        let before = self.lock().get(&key).cloned();
        if let Some((since, discovered)) = before
            // A clock that has been set back says nothing.
            && now.duration_since(since).is_ok_and(|age| age < TTL)
        {
            return Ok(discovered);
        }
        let discovered = discover(http, identity, known).await?;
        let mut entries = self.lock();
        if entries.len() >= MAX_ENTRIES {
            entries.clear();
        }
        entries.insert(key, (now, discovered.clone()));
        Ok(discovered)
    }

    /// Forgets what is known for an identity, since something failed with it.
    pub(crate) fn forget(&self, identity: &IdentityHash) {
        self.lock().retain(|key, _| key.identity != *identity);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, (SystemTime, Discovered)>> {
        self.0
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::fake::{Answer, Fake};
    use url::Url;

    #[tokio::test]
    async fn what_is_known_is_not_asked_again_until_it_fails() {
        let fake = Fake::start(|_, _| Answer::html(404)).await;
        let (http, identity) = (fake.http().await, fake.identity("/mcp"));
        let (cache, known) = (DiscoveryCache::default(), Known::default());
        let first = cache.discover(&http, &identity, &known).await;
        let first = first.expect("defaults");
        let asked = fake.asked().len();
        let again = cache.discover(&http, &identity, &known).await;
        assert_eq!((again, fake.asked().len()), (Ok(first), asked));
        let hint = Known {
            resource_metadata: Url::parse(&fake.origin).ok(),
            ..Known::default()
        };
        cache
            .discover(&http, &identity, &hint)
            .await
            .expect("defaults");
        assert!(fake.asked().len() > asked, "another hint leads elsewhere");
        let asked = fake.asked().len();
        cache.forget(&identity.hash());
        cache
            .discover(&http, &identity, &known)
            .await
            .expect("defaults");
        assert!(fake.asked().len() > asked);
    }

    #[tokio::test]
    async fn failures_and_old_entries_are_not_kept() {
        let fake = Fake::start(|_, _| Answer::html(503)).await;
        let (http, identity) = (fake.http().await, fake.identity("/mcp"));
        let (cache, known) = (DiscoveryCache::default(), Known::default());
        let outcome = cache.discover(&http, &identity, &known).await;
        assert!(outcome.is_err() && cache.lock().is_empty());
        let fake = Fake::start(|_, _| Answer::html(404)).await;
        let (http, identity) = (fake.http().await, fake.identity("/mcp"));
        cache
            .discover(&http, &identity, &known)
            .await
            .expect("defaults");
        for old in [SystemTime::now() - TTL, SystemTime::now() + TTL] {
            let asked = fake.asked().len();
            cache
                .lock()
                .values_mut()
                .for_each(|(since, _)| *since = old);
            cache
                .discover(&http, &identity, &known)
                .await
                .expect("defaults");
            assert!(fake.asked().len() > asked);
        }
    }
}
