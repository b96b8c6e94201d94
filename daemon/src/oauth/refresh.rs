//! One refresh: the stored refresh token for new tokens, which are kept before
//! anybody uses them. Decides nothing about when.
//!
//! Whatever is sent is what the store has under the lock that all daemons of this
//! user respect; room for the answer is taken before it is asked for. Only
//! `invalid_grant` makes a refresh token worthless.

use std::sync::Arc;

use super::challenge::Challenge;
use super::discovery::{Discovered, DiscoveryError};
use super::endpoints::{RefreshRequest, Servers};
use super::grant::Grant;
use super::identity::Identity;
use super::registration::{self, Client};
use super::sign_in::Tools;
use super::store::{OnDisk, Unsaved};
use super::token::{TokenEndpointError, TokenResponse};
use crate::secret::Secret;

/// How a refresh ended.
#[derive(Debug)]
pub(crate) enum Refreshed {
    /// There are new tokens; `unsaved`: why they are not on the disk.
    New {
        grant: Grant,
        unsaved: Option<Unsaved>,
    },
    /// Another daemon had renewed them already.
    Adopted(Grant),
    /// Nothing changed; it may work later.
    Failed(String),
    /// The server refuses in a way that does not say the grant is gone.
    Refused(String),
    /// It does not know our client, which has to be registered anew.
    ClientUnknown(String),
    /// The grant cannot be renewed any more; the access token may still live.
    Ended(String),
    /// The files are gone: somebody has signed out.
    Gone,
}

/// What is refreshed.
#[derive(Debug, Clone)]
pub(crate) struct RefreshJob {
    /// With what.
    pub(crate) tools: Tools,
    /// Whose grant it is.
    pub(crate) identity: Arc<Identity>,
    /// The tokens in use.
    pub(crate) grant: Grant,
    /// Why they are newer than the store's, if they are.
    pub(crate) unsaved: Option<Unsaved>,
    /// What the server said last when it refused.
    pub(crate) challenge: Challenge,
    /// Whether it has refused just now.
    pub(crate) rejected: bool,
}

impl RefreshJob {
    /// Does it.
    pub(crate) async fn run(self) -> Refreshed {
        let hash = self.identity.hash();
        let _lock = match self.tools.store.lock(&hash).await {
            Ok(lock) => lock,
            Err(error) => return Refreshed::Failed(error.to_string()),
        };
        let grant = match self.stored().await {
            Ok(grant) if grant.access_token == self.grant.access_token => grant,
            Ok(grant) if !grant.has_expired((self.tools.now)()) => {
                return Refreshed::Adopted(grant);
            }
            Ok(grant) => grant,
            Err(ended) => return ended,
        };
        match self.ask(&grant).await {
            Err(Refreshed::Ended(why)) => self.again_or_end(&grant, why).await,
            Ok(ended) | Err(ended) => ended,
        }
    }

    async fn stored(&self) -> Result<Grant, Refreshed> {
        let on_disk = self.tools.store.tokens(&self.identity.hash()).await;
        let on_disk = on_disk.map_err(|error| Refreshed::Failed(error.to_string()))?;
        if let Some(unsaved) = &self.unsaved
            && unsaved.is_newer_than(&on_disk)
        {
            return Ok(self.grant.clone());
        }
        match on_disk {
            OnDisk::Tokens(grant) => Ok(*grant),
            // What comes next takes its place.
            OnDisk::Damaged => Ok(self.grant.clone()),
            OnDisk::Nothing => Err(Refreshed::Gone),
        }
    }

    /// `invalid_grant`: somebody who does not know our lock may have renewed it
    /// meanwhile. Otherwise the refresh token goes, and the access token with it
    /// if it is of no more use.
    async fn again_or_end(&self, sent: &Grant, why: String) -> Refreshed {
        if let Ok(now) = self.stored().await
            && now.refresh_token != sent.refresh_token
        {
            return match self.ask(&now).await {
                Ok(ended) | Err(ended) => ended,
            };
        }
        let hash = self.identity.hash();
        let rest = Grant {
            refresh_token: None,
            ..sent.clone()
        };
        let kept = match self.rejected || sent.has_expired((self.tools.now)()) {
            true => self.tools.store.remove_grant(&hash).await,
            false => self.tools.store.put_grant(&hash, &rest).await,
        };
        if let Err(error) = kept {
            tracing::warn!(%error, "a refresh token that is worthless is still stored");
        }
        Refreshed::Ended(why)
    }

    async fn ask(&self, grant: &Grant) -> Result<Refreshed, Refreshed> {
        let Some(refresh_token) = &grant.refresh_token else {
            return Ok(Refreshed::Ended("there is no refresh token".into()));
        };
        let hash = self.identity.hash();
        // Before the server changes anything.
        let reserved = self.tools.store.reserve(&hash).await;
        let reserved = reserved.map_err(|error| Refreshed::Failed(error.to_string()))?;
        let servers = self.tools.endpoints.connect(&self.identity).await;
        let servers = servers.map_err(|error| Refreshed::Failed(error.to_string()))?;
        let discovered = self.discover(&*servers, grant).await?;
        let client = self.client(&discovered, grant)?;
        let response = self
            .exchange(&*servers, &discovered, &client, grant, refresh_token)
            .await?;
        let new = Grant::new(
            response,
            Some(grant),
            client,
            grant.requested_scope.clone(),
            self.identity.use_id_token,
            (self.tools.now)(),
        )
        .told_of(self.challenge.resource_metadata.as_ref());
        // The old tokens are worthless by now, so the new ones are used even if
        // they cannot be kept yet.
        let unsaved = reserved.put(&new).await.err();
        let unsaved = unsaved.map(|error| match &self.unsaved {
            Some(unsaved) => unsaved.again(&error),
            None => Unsaved::new(&error, Some(grant)),
        });
        Ok(Refreshed::New {
            grant: new,
            unsaved,
        })
    }

    /// Finds the authorization server that gave the grant: nobody else gets it.
    async fn discover(
        &self,
        servers: &dyn Servers,
        grant: &Grant,
    ) -> Result<Discovered, Refreshed> {
        let challenge = grant.hinted(&self.challenge);
        let discovered = match servers.discover(&self.identity, &challenge).await {
            Ok(discovered) => discovered,
            // Without a challenge its hint may be what is missing.
            Err(DiscoveryError::Unanswered(why)) => return Err(Refreshed::Failed(why)),
            Err(error) if !self.rejected => return Err(Refreshed::Failed(error.to_string())),
            Err(error) => return Err(Refreshed::Refused(error.to_string())),
        };
        let issuer = &discovered.server.issuer;
        if grant.issuer.as_ref().is_none_or(|given| given == issuer) {
            return Ok(discovered);
        }
        servers.forget(&self.identity);
        let why = "its authorization server is another one than before".to_owned();
        Err(match self.rejected {
            true => Refreshed::Refused(why),
            false => Refreshed::Failed(why),
        })
    }

    /// Returns the client that got the tokens: nobody else may show them.
    fn client(&self, discovered: &Discovered, grant: &Grant) -> Result<Client, Refreshed> {
        let kept = grant.client.as_ref();
        registration::of_tokens(kept, &self.identity, &discovered.server)
            .map_err(|error| Refreshed::Refused(error.to_string()))?
            .filter(|client| !client.has_expired((self.tools.now)()))
            .ok_or_else(|| Refreshed::Refused("its client has to be registered anew".into()))
    }

    async fn exchange(
        &self,
        servers: &dyn Servers,
        discovered: &Discovered,
        client: &Client,
        grant: &Grant,
        refresh_token: &Secret<String>,
    ) -> Result<TokenResponse, Refreshed> {
        let request = RefreshRequest {
            server: &discovered.server,
            client,
            issuer: &discovered.server.issuer,
            refresh_token,
            resource: discovered.resource.as_deref(),
            scope: None,
        };
        let mut answer = servers.refresh(request).await;
        let wants_scope = |error: &str| matches!(error, "invalid_request" | "invalid_scope");
        if let Err(TokenEndpointError::Refused { error, .. }) = &answer
            && wants_scope(error)
            && grant.requested_scope.is_some()
        {
            // Entra refuses a refresh that does not repeat its scope.
            let scope = grant.requested_scope.as_ref();
            answer = servers.refresh(RefreshRequest { scope, ..request }).await;
        }
        let error = match answer {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        servers.forget(&self.identity);
        let why = error.to_string();
        Err(match error {
            TokenEndpointError::InvalidGrant(_) => Refreshed::Ended(why),
            TokenEndpointError::InvalidClient(_) => {
                if registration::given(&self.identity, &discovered.server).is_some() {
                    return Err(Refreshed::Refused(why));
                }
                drop(self.tools.store.remove_client(&self.identity.hash()).await);
                Refreshed::ClientUnknown(why)
            }
            TokenEndpointError::Refused { .. } => Refreshed::Refused(why),
            TokenEndpointError::Transient(_) | TokenEndpointError::Unusable(_) => {
                Refreshed::Failed(why)
            }
        })
    }
}

/// Says when tokens are renewed unasked: late enough to be worth it, early enough
/// to try again, and not for all grants at once.
pub(crate) fn part_of_life() -> f64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    // Keyed at random, which is all that is wanted.
    let random = std::hash::RandomState::new().build_hasher().finish();
    0.75 + 0.05 * f64::from(u8::try_from(random & 0xff).expect("eight bits")) / 255.0
}
