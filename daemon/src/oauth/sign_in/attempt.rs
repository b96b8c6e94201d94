//! A sign-in from its page on: somebody answers, the code becomes tokens, and
//! nothing of it is left. Goes on where the last daemon stopped.

use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::{
    Kept, PATIENCE, PendingSignIn, Progress, SignInError, Tools, has_expired, is_registered_by_us,
    of_issuer, unusable,
};
use crate::oauth::authorization::{self, CallbackError, Code, Pending};
use crate::oauth::browsers::{Shown, SignInUrl};
use crate::oauth::challenge::Challenge;
use crate::oauth::discovery::Discovered;
use crate::oauth::endpoints::Servers;
use crate::oauth::grant::Grant;
use crate::oauth::identity::{Identity, IdentityHash};
use crate::oauth::kept_sign_in::KeptSignIn;
use crate::oauth::loopback::Answers;
use crate::oauth::pages::Verdict;
use crate::oauth::registration::Client;
use crate::oauth::store::ClientDocument;

/// Where the code goes, and as whom.
pub(super) struct Party {
    pub(super) servers: Box<dyn Servers>,
    pub(super) discovered: Discovered,
    pub(super) client: Client,
}

/// Who that is.
pub(super) enum Counterpart {
    /// It has just been asked.
    Known(Box<Party>),
    /// It was asked by the last daemon, as this client if we registered it.
    ToBeFound(Option<Client>),
}

/// A sign-in whose page is known.
pub(super) struct Attempt<'a> {
    pub(super) tools: &'a Tools,
    pub(super) identity: &'a Identity,
    pub(super) hash: &'a IdentityHash,
    pub(super) sign_in: KeptSignIn,
    pub(super) counterpart: Counterpart,
    /// The client, if it is kept no sooner than its tokens.
    pub(super) to_keep: Option<ClientDocument>,
    /// Whether a browser is opened unasked.
    pub(super) tab: bool,
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
        let since = self.sign_in.since;
        let say = |shown| {
            let url = url.clone();
            progress.send_replace(Progress::Pending(PendingSignIn { url, since, shown }));
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
        let _lock = store.lock(self.hash).await?;
        // Before the server changes anything.
        let reserved = store.reserve(self.hash).await?;
        if let Some(code) = code {
            let before = store.grant(self.hash).await?;
            self.sign_in.answered(code, before.as_ref());
            self.keep().await?;
        }
        let Some(answer) = &self.sign_in.answer else {
            return Err(SignInError::GivenUp);
        };
        let found;
        let party = match &self.counterpart {
            Counterpart::Known(party) => &**party,
            Counterpart::ToBeFound(client) => {
                found = self.find(client.clone()).await?;
                &found
            }
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
            &pending.issuer,
            pending.scope.clone(),
            self.identity.use_id_token,
            (self.tools.now)(),
        )
        .told_of(self.sign_in.resource_metadata.as_ref());
        if let Some(document) = &self.to_keep {
            store.put_client(self.hash, document).await?;
        }
        // The code is spent: what it gave is used even if it cannot be kept yet.
        let unsaved = reserved.put(&grant).await.err();
        if let Some(error) = &unsaved {
            tracing::error!(%error, "new tokens could not be stored: they would be lost if the daemon ended now");
        }
        let unsaved = unsaved.map(|error| error.to_string());
        Ok(Kept { grant, unsaved })
    }

    /// Finds the authorization server that was asked, and the client that it was
    /// asked as.
    async fn find(&self, client: Option<Client>) -> Result<Party, SignInError> {
        let identity = self.identity;
        let servers = self.tools.endpoints.connect(identity).await;
        let servers = servers.map_err(unusable)?;
        let challenge = Challenge {
            resource_metadata: self.sign_in.resource_metadata.clone(),
            ..Challenge::default()
        };
        let discovered = servers.discover(identity, &challenge).await?;
        let issuer = &discovered.server.issuer;
        if *issuer != self.sign_in.pending.issuer {
            let why = "its authorization server is another one than before";
            return Err(SignInError::Failed(why.into()));
        }
        let client = match is_registered_by_us(identity, &discovered.server) {
            true => client.map(|client| of_issuer(client, issuer)),
            // Sends nothing: the client is known.
            false => Some(servers.register(identity, &discovered, &[], None).await?),
        };
        let asked = self.sign_in.client_id();
        let client = client.filter(|client| Some(&client.client_id) == asked.as_ref());
        let client = client.filter(|client| !has_expired(client, (self.tools.now)()));
        let unknown = || SignInError::Failed("its client is another one than before".into());
        Ok(Party {
            client: client.ok_or_else(unknown)?,
            servers,
            discovered,
        })
    }
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
