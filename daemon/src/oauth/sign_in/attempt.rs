//! A sign-in from its page on: somebody answers, the code becomes tokens, and
//! nothing of it is left. Goes on where the last daemon stopped.

use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::{Kept, PATIENCE, PendingSignIn, Progress, SignInError, Tools, unusable};
use crate::oauth::authorization::{self, CallbackError, Code, Pending};
use crate::oauth::browsers::{Shown, SignInUrl};
use crate::oauth::discovery::{Asked, Discovered, Known};
use crate::oauth::endpoints::Servers;
use crate::oauth::grant::Grant;
use crate::oauth::identity::{Identity, IdentityHash};
use crate::oauth::kept_sign_in::KeptSignIn;
use crate::oauth::loopback::Answers;
use crate::oauth::pages::Verdict;
use crate::oauth::registration::{self, Client};
use crate::oauth::store::Unsaved;

/// Where the code goes, and as whom.
pub(super) struct Party {
    pub(super) servers: Box<dyn Servers>,
    pub(super) discovered: Discovered,
    pub(super) client: Client,
}

/// A sign-in whose page is known.
pub(super) struct Attempt<'a> {
    pub(super) tools: &'a Tools,
    pub(super) identity: &'a Identity,
    pub(super) hash: &'a IdentityHash,
    pub(super) sign_in: KeptSignIn,
    /// `None`: the last daemon has asked it.
    pub(super) party: Option<Party>,
    /// Whether a browser is opened unasked.
    pub(super) tab: bool,
    /// Whether it could be done by a code instead.
    pub(super) offers_codes: bool,
}

/// A code, and who waits to hear what became of it.
type Answered = (Code, oneshot::Sender<Verdict>);

impl Attempt<'_> {
    /// Waits for the answer, unless it is there already (`answers`: none), and
    /// turns it into tokens that are kept.
    pub(super) async fn finish(
        mut self,
        answers: Option<Answers>,
        progress: watch::Sender<Progress>,
    ) -> Result<Kept, SignInError> {
        let ended = match answers {
            Some(answers) => self.wait_and_exchange(answers, &progress).await,
            None => {
                progress.send_replace(Progress::Finishing);
                self.exchange(None).await
            }
        };
        if let Err(error) = self.tools.store.remove_sign_in(self.hash).await {
            tracing::warn!(%error, "the files of a sign-in that is over are still there");
        }
        ended
    }

    async fn wait_and_exchange(
        &mut self,
        answers: Answers,
        progress: &watch::Sender<Progress>,
    ) -> Result<Kept, SignInError> {
        let (code, verdict) = self.wait(answers, progress).await?;
        progress.send_replace(Progress::Finishing);
        let kept = self.exchange(Some(code)).await;
        let server = self.identity.server.shown().to_owned();
        let said = match &kept {
            Ok(_) => Verdict::SignedIn {
                server,
                next: self.identity.success_url.clone(),
            },
            Err(error) => Verdict::Failed {
                server,
                login: self.identity.login_command(),
                why: error.to_string(),
            },
        };
        // The browser may have gone.
        drop(verdict.send(said));
        kept
    }

    /// Sends somebody to the page and waits for the answer that counts. A second
    /// answer to the same question means nothing.
    async fn wait(
        &mut self,
        mut answers: Answers,
        progress: &watch::Sender<Progress>,
    ) -> Result<Answered, SignInError> {
        let pending = self.sign_in.pending.clone();
        let url = SignInUrl::new(pending.url.clone());
        let (since, offers_codes) = (self.sign_in.since, self.offers_codes);
        let say = |shown| {
            progress.send_replace(Progress::Pending(PendingSignIn {
                url: url.clone(),
                since,
                shown,
                offers_codes,
            }));
        };
        let shown = match self.sign_in.shown {
            true => Shown::Opened,
            false => Shown::Opening,
        };
        say(shown);
        let (shows, mut changes) = watch::channel(shown);
        let waiting = answered(&pending, self.identity, &mut answers);
        let say_later = |shown| {
            shows.send_replace(shown);
        };
        let browsers = &self.tools.browsers;
        let showing = browsers.show(self.hash, &url, shown, self.tab, say_later);
        let giving_up = tokio::time::sleep(self.patience());
        tokio::pin!(waiting, showing, giving_up);
        loop {
            tokio::select! {
                answered = &mut waiting => return answered,
                () = &mut showing => return Err(SignInError::GivenUp),
                () = &mut giving_up => return Err(SignInError::GivenUp),
                Ok(()) = changes.changed() => {}
            }
            let shown = *changes.borrow_and_update();
            if shown == Shown::Opened && !self.sign_in.shown {
                // No second tab, even if the daemon ends now.
                self.sign_in.shown = true;
                if let Err(error) = self.keep().await {
                    tracing::warn!(%error, "a sign-in under way could not be kept");
                }
            }
            say(shown);
        }
    }

    fn patience(&self) -> Duration {
        PATIENCE.saturating_sub(self.sign_in.age((self.tools.now)()))
    }

    async fn keep(&self) -> Result<(), SignInError> {
        let store = &self.tools.store;
        Ok(store.update_sign_in(self.hash, &self.sign_in).await?)
    }

    /// Turns the code into tokens; `None`: the one that was kept.
    async fn exchange(&mut self, code: Option<Code>) -> Result<Kept, SignInError> {
        let store = &self.tools.store;
        if let Some(code) = &code {
            let before = store.tokens(self.hash).await?.tokens();
            self.sign_in.answered(code.clone(), before.as_ref());
            self.keep().await?;
        }
        let party = match self.party.take() {
            Some(party) => party,
            None => self.find().await?,
        };
        let _lock = store.lock(self.hash).await?;
        // Before the server changes anything.
        let reserved = store.reserve(self.hash).await?;
        let before = store.tokens(self.hash).await?.tokens();
        if let Some(code) = code.filter(|_| self.sign_in.is_over(before.as_ref())) {
            // Renewed meanwhile.
            self.sign_in.answered(code, before.as_ref());
            self.keep().await?;
        }
        let Some(answer) = &self.sign_in.answer else {
            return Err(SignInError::GivenUp);
        };
        let Some(_sent) = self.tools.on_its_way.send() else {
            // The daemon is stopping; the next one goes on with what is kept.
            return std::future::pending().await;
        };
        let pending = &self.sign_in.pending;
        let exchanging = party.servers.exchange(
            &party.discovered.server,
            &party.client,
            pending,
            &answer.code,
        );
        let grant = Grant::new(
            exchanging.await?,
            None,
            party.client.clone(),
            pending.resource.clone(),
            pending.scope.clone(),
            self.identity.use_id_token,
            (self.tools.now)(),
        )
        .bound_to(pending.binding.as_ref())
        .told_of(self.sign_in.resource_metadata.as_ref())
        .stepped_up(self.sign_in.signed_in_at)
        .for_server_of(self.identity);
        // The code is spent: what it gave is used even if it cannot be kept yet.
        let unsaved = reserved.put(&grant).await.err();
        let unsaved = unsaved.map(|error| Unsaved::new(&error, before.as_ref()));
        Ok(Kept { grant, unsaved })
    }

    /// Finds the authorization server that was asked.
    async fn find(&self) -> Result<Party, SignInError> {
        let pending = &self.sign_in.pending;
        let known = Known {
            resource_metadata: self.sign_in.resource_metadata.clone(),
            asked: Some(Asked {
                issuer: pending.issuer.clone(),
                resource: pending.resource.clone(),
            }),
        };
        let client = &self.sign_in.client;
        find(self.tools, self.identity, known, &pending.issuer, client).await
    }
}

/// Finds the authorization server that was asked, as this client.
pub(super) async fn find(
    tools: &Tools,
    identity: &Identity,
    known: Known,
    issuer: &str,
    asked_as: &Client,
) -> Result<Party, SignInError> {
    let servers = tools.endpoints.connect(identity).await.map_err(unusable)?;
    let discovered = servers.discover(identity, &known).await?;
    if discovered.server.issuer != issuer {
        let why = "its authorization server is another one than before";
        return Err(SignInError::Failed(why.into()));
    }
    let client = registration::of_tokens(Some(asked_as), identity, &discovered.server)?;
    let client = client.filter(|client| !client.has_expired((tools.now)()));
    let expired = || SignInError::Failed("the secret of its client has ended".into());
    Ok(Party {
        client: client.ok_or_else(expired)?,
        servers,
        discovered,
    })
}

/// Waits for the answer that counts. Cancel safe.
async fn answered(
    pending: &Pending,
    identity: &Identity,
    answers: &mut Answers,
) -> Result<Answered, SignInError> {
    while let Some(answer) = answers.next().await {
        let error = match authorization::check_callback(pending, answer.query.reveal()) {
            Ok(code) => return Ok((code, answer.verdict)),
            Err(error) => error,
        };
        let why = error.to_string();
        let ends = matches!(
            error,
            CallbackError::Denied { .. } | CallbackError::Issuer(_)
        );
        let verdict = match ends {
            true => Verdict::Failed {
                server: identity.server.shown().to_owned(),
                login: identity.login_command(),
                why: why.clone(),
            },
            false => Verdict::StillWaiting { why: why.clone() },
        };
        drop(answer.verdict.send(verdict));
        if ends {
            return Err(SignInError::Denied(why));
        }
    }
    Err(SignInError::GivenUp)
}
