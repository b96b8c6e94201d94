//! A sign-in by code (RFC 8628): the person types a code in on any page they like,
//! and the daemon asks until that is done. No listener, no redirect.
//!
//! It is kept before anybody hears of the code, so that the next daemon goes on
//! asking; the tokens are kept before anybody hears of success.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::attempt::{self, Party};
use super::{Kept, PendingSignIn, Progress, SignInError, Tools, Wish, still_good};
use crate::oauth::browsers::Shown;
use crate::oauth::device::{self, DeviceAuthorization, Pace};
use crate::oauth::discovery::{Asked, Discovered, Known};
use crate::oauth::dpop::Binding;
use crate::oauth::endpoints::Servers;
use crate::oauth::grant::Grant;
use crate::oauth::identity::{Identity, IdentityHash};
use crate::oauth::kept_device::KeptDevice;
use crate::oauth::registration::{self, Client};
use crate::oauth::scope::Scope;
use crate::oauth::store::Unsaved;
use crate::oauth::token::TokenEndpointError;
use crate::oauth::token::device::PollError;

/// A code that ends sooner is of no use to a person: the next one would not be either.
const SHORTEST_LIFE: Duration = Duration::from_secs(60);

/// What is asked for, by whom, and what the tokens are to be bound to.
pub(super) type Asking<'a> = (&'a Wish, Option<&'a Scope>, Option<&'a Binding>);

/// Begins one if that is wanted, there is no page, or nobody could see it; `None`: somebody
/// has to visit one. `client`: the one of earlier days, and then the one that is used.
pub(super) async fn begin(
    tools: &Tools,
    identity: &Identity,
    servers: &dyn Servers,
    discovered: &Discovered,
    asked: Asking<'_>,
    client: &mut Option<Client>,
) -> Result<Option<KeptDevice>, SignInError> {
    let is_wanted = identity.by_code;
    let nobody_sees = || tools.browsers.are_missing(&identity.hash());
    let is_needed = || {
        let server = &discovered.server;
        device::is_offered(server) && (device::is_only_way(server) || nobody_sees())
    };
    if !(is_wanted || is_needed()) {
        return Ok(None);
    }
    match begin_and_keep(tools, identity, servers, discovered, asked, client).await {
        Ok(kept) => Ok(Some(kept)),
        Err(error) if is_wanted => Err(error),
        Err(error) => {
            // There is still the page, which can be visited anywhere.
            tracing::info!(%error, "no sign-in by code could be begun");
            Ok(None)
        }
    }
}

async fn begin_and_keep(
    tools: &Tools,
    identity: &Identity,
    servers: &dyn Servers,
    discovered: &Discovered,
    (wish, scope, binding): Asking<'_>,
    client: &mut Option<Client>,
) -> Result<KeptDevice, SignInError> {
    // Before a client is registered for it.
    device::endpoint(&discovered.server).map_err(SignInError::Failed)?;
    let known = still_good(tools, identity, discovered, scope, client.clone());
    let known = known
        .filter(Client::may_use_codes)
        .filter(|client| binding.is_some() || !client.binds_always());
    let register = || async {
        let registered = servers.register_device(identity, discovered, scope).await;
        Ok::<_, SignInError>(registered?)
    };
    let mut used = match &known {
        Some(known) => known.clone(),
        None => register().await?,
    };
    let mut begun = ask(servers, identity, discovered, scope, &used).await;
    let is_unknown = match &begun {
        Err(TokenEndpointError::InvalidClient(_)) => true,
        Err(TokenEndpointError::Refused { error, .. }) => error == "unauthorized_client",
        _ => false,
    };
    let is_ours = registration::given(identity, &discovered.server).is_none();
    if is_unknown && is_ours && known.is_some() {
        used = register().await?;
        begun = ask(servers, identity, discovered, scope, &used).await;
    }
    let kept = KeptDevice {
        begun: begun?,
        since: (tools.now)(),
        issuer: discovered.server.issuer.clone(),
        client: client.insert(used).clone(),
        scope: scope.cloned(),
        resource: discovered.resource.clone(),
        resource_metadata: wish.known.resource_metadata.clone(),
        signed_in_at: wish.signed_in_at,
        binding: binding.cloned(),
    };
    tools.store.put_device(&identity.hash(), &kept).await?;
    Ok(kept)
}

/// Asks for a code; the user's parameters take the place of ours.
async fn ask(
    servers: &dyn Servers,
    identity: &Identity,
    discovered: &Discovered,
    scope: Option<&Scope>,
    client: &Client,
) -> Result<DeviceAuthorization, TokenEndpointError> {
    let scope = scope.map(Scope::to_string);
    let ours = [
        ("scope", scope.as_deref()),
        ("resource", discovered.resource.as_deref()),
    ];
    let given = &identity.authorize_params;
    let is_given = |name: &str| given.iter().any(|(given, _)| given == name);
    let mut parameters: Vec<(&str, &str)> = ours
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .filter(|(name, _)| !is_given(name))
        .collect();
    parameters.extend(
        given
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str())),
    );
    servers
        .begin_device(&discovered.server, client, &parameters)
        .await
}

/// A sign-in whose code is known.
pub(super) struct ByDevice<'a> {
    pub(super) tools: &'a Tools,
    pub(super) identity: &'a Identity,
    pub(super) hash: &'a IdentityHash,
    pub(super) kept: KeptDevice,
    /// `None`: the last daemon has asked it.
    pub(super) party: Option<Party>,
    /// Whether the page is shown unasked to somebody who comes with a browser.
    pub(super) tab: bool,
}

impl ByDevice<'_> {
    /// Waits until the code has been typed in, and keeps the tokens.
    pub(super) async fn finish(
        mut self,
        progress: watch::Sender<Progress>,
    ) -> Result<Kept, SignInError> {
        let ended = self.wait(&progress).await;
        if let Err(error) = self.tools.store.remove_sign_in(self.hash).await {
            tracing::warn!(%error, "the files of a sign-in that is over are still there");
        }
        ended
    }

    async fn wait(&mut self, progress: &watch::Sender<Progress>) -> Result<Kept, SignInError> {
        let (url, since) = (self.kept.page(), self.kept.since);
        let say = |shown| {
            progress.send_replace(Progress::Pending(PendingSignIn {
                url: url.clone(),
                since,
                shown,
                offers_codes: false,
            }));
        };
        let (shows, mut changes) = watch::channel(Shown::Opening);
        let say_later = |shown| {
            shows.send_replace(shown);
        };
        // The last daemon may have spent the code: nobody is sent there before the
        // server has said that it still waits.
        let (waits, mut is_good) = watch::channel(self.party.is_some());
        let (browsers, hash, tab) = (self.tools.browsers.clone(), self.hash, self.tab);
        let showing = browsers.show(hash, &url, Shown::Opening, tab, say_later);
        let polling = self.poll(progress, &waits);
        tokio::pin!(showing, polling);
        loop {
            let is_ending = matches!(*progress.borrow(), Progress::Finishing);
            if *is_good.borrow_and_update() && !is_ending {
                say(*changes.borrow_and_update());
            }
            tokio::select! {
                biased;
                ended = &mut polling => return ended,
                () = &mut showing => return Err(SignInError::GivenUp),
                Ok(()) = changes.changed() => {}
                Ok(()) = is_good.changed() => {}
            }
        }
    }

    /// Asks for the tokens until there are some or there will be none. Once tokens
    /// may be on their way nobody gives up: they are there once only.
    async fn poll(
        &mut self,
        progress: &watch::Sender<Progress>,
        waits: &watch::Sender<bool>,
    ) -> Result<Kept, SignInError> {
        let mut pace = Pace::new(self.kept.begun.interval);
        let until = Instant::now() + self.kept.left((self.tools.now)());
        let mut trouble = None;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.expired(trouble));
            }
            // At the very end once more.
            tokio::time::sleep(pace.pause().min(left)).await;
            match self.ask_for_tokens(progress).await? {
                Ok(kept) => return Ok(kept),
                Err(PollError::Pending) => {
                    pace.pending();
                    trouble = None;
                }
                Err(PollError::SlowDown) => pace.slow_down(),
                Err(PollError::Unanswered(why, not_before)) => {
                    tracing::debug!(%why, "the code could not be asked about; this is tried again");
                    pace.unanswered(not_before);
                    trouble = Some(why);
                }
                Err(PollError::Expired) => return Err(self.expired(None)),
                Err(PollError::Denied(said)) => {
                    return Err(SignInError::Denied(PollError::Denied(said).to_string()));
                }
                Err(PollError::Ended(error)) => return Err(error.into()),
            }
            waits.send_if_modified(|waits| !std::mem::replace(waits, true));
        }
    }

    /// Asks once. The outer error is ours.
    async fn ask_for_tokens(
        &mut self,
        progress: &watch::Sender<Progress>,
    ) -> Result<Result<Kept, PollError>, SignInError> {
        let party = match self.party.take() {
            Some(party) => party,
            None => match self.find().await {
                Ok(party) => party,
                Err(SignInError::Transient(why)) => {
                    return Ok(Err(PollError::Unanswered(why, None)));
                }
                Err(error) => return Err(error),
            },
        };
        let store = &self.tools.store;
        let _lock = store.lock(self.hash).await?;
        // Before the server gives anything.
        let reserved = store.reserve(self.hash).await?;
        let Some(_sent) = self.tools.on_its_way.send() else {
            // The daemon is stopping; the next one goes on asking.
            return std::future::pending().await;
        };
        let server = &party.discovered.server;
        let polled = party
            .servers
            .poll_device(server, &party.client, &self.kept)
            .await;
        let client = party.client.clone();
        self.party = Some(party);
        let response = match polled {
            Ok(response) => response,
            Err(error) => return Ok(Err(error)),
        };
        progress.send_replace(Progress::Finishing);
        let before = store
            .tokens(self.hash)
            .await
            .ok()
            .and_then(|it| it.tokens());
        let kept = &self.kept;
        let (resource, scope) = (kept.resource.clone(), kept.scope.clone());
        let (use_id_token, now) = (self.identity.use_id_token, (self.tools.now)());
        let grant = Grant::new(response, None, client, resource, scope, use_id_token, now)
            .bound_to(kept.binding.as_ref())
            .told_of(kept.resource_metadata.as_ref())
            .stepped_up(kept.signed_in_at)
            .for_server_of(self.identity);
        // The code is spent: what it gave is used even if it cannot be kept yet.
        let unsaved = reserved.put(&grant).await.err();
        let unsaved = unsaved.map(|error| Unsaved::new(&error, before.as_ref()));
        Ok(Ok(Kept { grant, unsaved }))
    }

    async fn find(&self) -> Result<Party, SignInError> {
        let kept = &self.kept;
        let known = Known {
            resource_metadata: kept.resource_metadata.clone(),
            asked: Some(Asked {
                issuer: kept.issuer.clone(),
                resource: kept.resource.clone(),
            }),
        };
        attempt::find(self.tools, self.identity, known, &kept.issuer, &kept.client).await
    }

    /// Says that nobody typed the code in; `trouble`: why that cannot be known.
    fn expired(&self, trouble: Option<String>) -> SignInError {
        let age = (self.tools.now)().duration_since(self.kept.since);
        let age = age.unwrap_or_default();
        if let Some(why) = trouble {
            let sentence =
                format!("the code has ended, and whether it was entered is not known: {why}");
            return SignInError::Expired(sentence);
        }
        if age < SHORTEST_LIFE {
            let seconds = age.as_secs();
            let sentence =
                format!("the code of its authorization server ended after {seconds} s already");
            return SignInError::Failed(sentence);
        }
        let minutes = age.as_secs() / 60;
        SignInError::Expired(format!("nobody entered the code within {minutes} minutes"))
    }
}
