//! One refresh: the stored refresh token for new tokens, which are kept before
//! anybody uses them. Decides nothing about when.
//!
//! Whatever is sent is what the store has under the lock that all daemons of this
//! user respect; room for the answer is taken before it is asked for. Only
//! `invalid_grant` makes a refresh token worthless.

use std::sync::Arc;
use std::time::Duration;

use super::challenge::Challenge;
use super::discovery::{AuthorizationServer, Discovered, DiscoveryError, Known, is_same_issuer};
use super::dpop::{self, Binding};
use super::endpoints::{RefreshRequest, Servers};
use super::grant::Grant;
use super::identity::Identity;
use super::on_its_way::Sent;
use super::registration::{self, Client};
use super::sign_in::Tools;
use super::store::{OnDisk, StoreError, Unsaved};
use super::token::{TokenEndpointError, TokenResponse};
use crate::secret::Secret;

/// How a refresh ended.
#[derive(Debug)]
pub(crate) enum Refreshed {
    /// There are new tokens; `unsaved`: why they are not on the disk.
    New {
        grant: Box<Grant>,
        unsaved: Option<Unsaved>,
    },
    /// Another daemon had renewed them already.
    Adopted(Box<Grant>),
    /// The server has replaced the refresh token and given nothing else that can be
    /// used; `unsaved`: why that is not on the disk.
    Rotated {
        grant: Box<Grant>,
        unsaved: Option<Unsaved>,
        why: String,
    },
    /// Nothing changed; it may work later.
    Failed(String),
    /// The same; the server says when.
    Later(String, Duration),
    /// It needs what the server says when it refuses a request.
    Unasked(String),
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

/// Who is asked.
struct Party {
    servers: Box<dyn Servers>,
    discovered: Discovered,
}

/// What the token endpoint came to.
type Answer = Result<TokenResponse, TokenEndpointError>;

impl RefreshJob {
    /// Does it.
    pub(crate) async fn run(self) -> Refreshed {
        match self.renew().await {
            Ok(ended) | Err(ended) => ended,
        }
    }

    async fn renew(&self) -> Result<Refreshed, Refreshed> {
        let found = self.stored().await?;
        if self.is_newer(&found) {
            return Ok(Refreshed::Adopted(Box::new(found)));
        }
        // Before the lock is taken: they may be slow, and a sign-in that is at its end
        // waits for the lock.
        let party = self.find(&found).await?;
        let lock = self.tools.store.lock(&self.identity.hash()).await;
        let _lock = lock.map_err(|error| Refreshed::Failed(error.to_string()))?;
        let grant = self.stored().await?;
        if self.is_newer(&grant) {
            return Ok(Refreshed::Adopted(Box::new(grant)));
        }
        match self.ask(&party, &grant).await {
            Err(Refreshed::Ended(why)) => self.again_or_end(&party, &grant, why).await,
            ended => ended,
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
            OnDisk::Tokens(grant) => Ok(grant.with_key_of(&self.grant)),
            // What comes next takes its place.
            OnDisk::Damaged => Ok(self.grant.clone()),
            OnDisk::Nothing => Err(Refreshed::Gone),
        }
    }

    fn is_newer(&self, stored: &Grant) -> bool {
        stored.access_token != self.grant.access_token
            && dpop::choice(&self.identity).takes(stored.is_bound)
            && !stored.has_expired((self.tools.now)())
    }

    /// `invalid_grant`: somebody who does not know our lock may have renewed it
    /// meanwhile. Otherwise the refresh token goes, and the access token with it
    /// if it is of no more use.
    async fn again_or_end(
        &self,
        party: &Party,
        sent: &Grant,
        why: String,
    ) -> Result<Refreshed, Refreshed> {
        if let Ok(now) = self.stored().await
            && now.refresh_token != sent.refresh_token
        {
            return self.ask(party, &now).await;
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
        Ok(Refreshed::Ended(why))
    }

    async fn ask(&self, party: &Party, grant: &Grant) -> Result<Refreshed, Refreshed> {
        let Some(refresh_token) = &grant.refresh_token else {
            return Ok(Refreshed::Ended("there is no refresh token".into()));
        };
        let server = &party.discovered.server;
        if !is_of(grant, server) {
            return Err(Refreshed::Failed(
                "its tokens were replaced meanwhile".into(),
            ));
        }
        let client = self.client(server, grant)?;
        let binding = dpop::of_refresh(&self.identity, &self.challenge, server, &client, grant);
        let binding = binding.map_err(Refreshed::Refused)?;
        // Before the server changes anything.
        let reserved = self.tools.store.reserve(&self.identity.hash()).await;
        let reserved = reserved.map_err(|error| Refreshed::Failed(error.to_string()))?;
        let unsaved = |error: StoreError| match &self.unsaved {
            Some(unsaved) => unsaved.again(&error),
            None => Unsaved::new(&error, Some(grant)),
        };
        let whose = (refresh_token, binding.as_ref());
        let (_sent, answer) = self.exchange(party, &client, grant, whose).await?;
        match answer {
            Ok(response) => {
                let new = self.renewed(response, grant, client, party);
                let new = new.bound_to(binding.as_ref());
                // The old tokens are worthless by now, so the new ones are used even if
                // they cannot be kept yet.
                let unsaved = reserved.put(&new).await.err().map(unsaved);
                Ok(Refreshed::New {
                    grant: Box::new(new),
                    unsaved,
                })
            }
            Err(TokenEndpointError::Spoiled { why, refresh_token }) => {
                let grant = Grant {
                    refresh_token: Some(refresh_token),
                    // It may be bound to this key now.
                    binding: binding.or_else(|| grant.binding.clone()),
                    ..grant.clone()
                };
                let unsaved = reserved.put(&grant).await.err().map(unsaved);
                Ok(Refreshed::Rotated {
                    grant: Box::new(grant),
                    unsaved,
                    why,
                })
            }
            Err(error) => {
                party.servers.forget(&self.identity);
                Err(self.failed(server, &error).await)
            }
        }
    }

    fn renewed(
        &self,
        response: TokenResponse,
        grant: &Grant,
        client: Client,
        party: &Party,
    ) -> Grant {
        Grant::new(
            response,
            Some(grant),
            client,
            party.discovered.resource.clone(),
            grant.requested_scope.clone(),
            self.identity.use_id_token,
            (self.tools.now)(),
        )
        .told_of(self.challenge.resource_metadata.as_ref())
        .for_server_of(&self.identity)
    }

    /// Finds the authorization server that gave the grant: nobody else gets it.
    async fn find(&self, grant: &Grant) -> Result<Party, Refreshed> {
        let servers = self.tools.endpoints.connect(&self.identity).await;
        let servers = servers.map_err(|error| Refreshed::Failed(error.to_string()))?;
        // Without a challenge its hint may be what is missing.
        let refused = |why| match self.rejected {
            true => Refreshed::Refused(why),
            false => Refreshed::Unasked(why),
        };
        let known = Known::of(&self.challenge, Some(grant));
        let discovered = servers.discover(&self.identity, &known).await;
        let discovered = discovered.map_err(|error| match error {
            DiscoveryError::Unanswered(why) => Refreshed::Failed(why),
            error => refused(error.to_string()),
        })?;
        if !is_of(grant, &discovered.server) {
            servers.forget(&self.identity);
            let why = "its authorization server is another one than before";
            return Err(refused(why.into()));
        }
        Ok(Party {
            servers,
            discovered,
        })
    }

    /// Returns the client that got the tokens: nobody else may show them.
    fn client(&self, server: &AuthorizationServer, grant: &Grant) -> Result<Client, Refreshed> {
        let kept = grant.client.as_ref();
        registration::of_tokens(kept, &self.identity, server)
            .map_err(|error| Refreshed::Refused(error.to_string()))?
            .filter(|client| !client.has_expired((self.tools.now)()))
            .ok_or_else(|| Refreshed::Refused("its client has to be registered anew".into()))
    }

    /// Sends the refresh token. What may have spent it counts as sent until what came
    /// of it is kept.
    async fn exchange(
        &self,
        party: &Party,
        client: &Client,
        grant: &Grant,
        (refresh_token, binding): (&Secret<String>, Option<&Binding>),
    ) -> Result<(Sent, Answer), Refreshed> {
        let discovered = &party.discovered;
        let send = || {
            let sent = self.tools.on_its_way.send();
            sent.ok_or_else(|| Refreshed::Failed("the daemon is stopping".into()))
        };
        let request = RefreshRequest {
            server: &discovered.server,
            client,
            issuer: &discovered.server.issuer,
            refresh_token,
            resource: discovered.resource.as_deref(),
            scope: None,
            binding,
        };
        let sent = send()?;
        let answer = party.servers.refresh(request).await;
        let wants_scope = |error: &str| matches!(error, "invalid_request" | "invalid_scope");
        if let Err(TokenEndpointError::Refused { error, .. }) = &answer
            && wants_scope(error)
            && grant.requested_scope.is_some()
        {
            // Entra refuses a refresh that does not repeat its scope.
            let scope = grant.requested_scope.as_ref();
            drop(sent);
            let sent = send()?;
            let answer = party.servers.refresh(RefreshRequest { scope, ..request });
            return Ok((sent, answer.await));
        }
        Ok((sent, answer))
    }

    async fn failed(&self, server: &AuthorizationServer, error: &TokenEndpointError) -> Refreshed {
        let why = error.to_string();
        match error {
            TokenEndpointError::InvalidGrant(_) => Refreshed::Ended(why),
            TokenEndpointError::InvalidClient(_) => {
                if registration::given(&self.identity, server).is_some() {
                    return Refreshed::Refused(why);
                }
                drop(self.tools.store.remove_client(&self.identity.hash()).await);
                Refreshed::ClientUnknown(why)
            }
            TokenEndpointError::Refused { .. } => Refreshed::Refused(why),
            TokenEndpointError::Later(_, after) => Refreshed::Later(why, *after),
            TokenEndpointError::Transient(_)
            | TokenEndpointError::Unusable(_)
            | TokenEndpointError::Unproven(_)
            | TokenEndpointError::Spoiled { .. } => Refreshed::Failed(why),
        }
    }
}

/// Says whether a server gave a grant, as far as is known.
pub(crate) fn is_of(grant: &Grant, server: &AuthorizationServer) -> bool {
    let issuer = grant.issuer.as_ref();
    issuer.is_none_or(|issuer| is_same_issuer(issuer, &server.issuer))
}

/// Says when tokens are renewed unasked: late enough to be worth it, early enough
/// to try again, and not for all grants at once.
pub(crate) fn part_of_life() -> f64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    // Keyed at random, which is all that is wanted.
    let random = std::hash::RandomState::new().build_hasher().finish();
    0.75 + 0.05 * f64::from(u8::try_from(random & 0xff).expect("eight bits")) / 255.0
}
