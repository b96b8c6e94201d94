//! What others have stored meanwhile: looked at before anybody is asked to sign in,
//! since another daemon may have done it, or a file may be back that was away.

use super::{Actor, Done, Origin, Work};
use crate::oauth::dpop;
use crate::oauth::grant::Grant;
use crate::oauth::store::{OnDisk, StoreError};
use crate::oauth::token_source::brakes::Lack;
use crate::oauth::token_source::{AccessToken, Request, TokenError};

/// What was found, and who waits for it.
#[derive(Debug)]
pub(super) struct Looked {
    requests: Vec<Request>,
    lack: Option<Lack>,
    on_disk: Result<OnDisk, StoreError>,
}

impl Actor {
    pub(super) fn look_first(&mut self, requests: Vec<Request>, lack: Option<Lack>) {
        if self.signing_in.is_some() {
            return self.ask_somebody_now(requests, lack);
        }
        let (store, hash) = (self.tools.store.clone(), self.identity.hash());
        self.tasks.spawn(async move {
            let on_disk = store.tokens(&hash).await;
            Done::Looked(Box::new(Looked {
                requests,
                lack,
                on_disk,
            }))
        });
    }

    pub(super) fn looked(&mut self, looked: Looked) {
        let Looked {
            requests,
            lack,
            on_disk,
        } = looked;
        let found = match on_disk {
            Ok(on_disk) => on_disk.tokens().filter(|grant| self.is_news(grant)),
            Err(error) => return self.cannot_look(requests, &error),
        };
        let Some(grant) = found else {
            return self.ask_somebody_now(requests, lack);
        };
        self.waiters.extend(requests);
        if matches!(self.work, Work::Idle) {
            tracing::info!("tokens were found that are not ours");
            self.unsaved = None;
            self.take_up(grant);
        }
    }

    /// Says whether tokens are others than those that were tried.
    fn is_news(&self, found: &Grant) -> bool {
        let is_it = |known: &Option<Grant>| {
            let known = known.as_ref();
            known.is_some_and(|known| known.access_token == found.access_token)
        };
        let is_right = dpop::choice(&self.identity).takes(found.is_bound);
        let lives = is_right && !found.has_expired((self.tools.now)());
        let is_usable = found.refresh_token.is_some() || lives;
        is_usable && !is_it(&self.grant) && !is_it(&self.ended)
    }

    /// Nobody could be signed in either: what a sign-in gives could not be stored.
    fn cannot_look(&mut self, requests: Vec<Request>, error: &StoreError) {
        let why = error.to_string();
        tracing::warn!(%error, "the tokens could not be read again");
        for request in requests {
            drop(request.reply.send(Err(TokenError::Transient(why.clone()))));
        }
        self.trouble = Some(why);
    }

    /// Begins to use tokens of the store: as they are, or renewed if the server would
    /// refuse them.
    pub(super) fn take_up(&mut self, grant: Grant) {
        let token = AccessToken::new(0, &grant, self.identity.use_id_token);
        let token = token.as_ref().map(AccessToken::header);
        let mut rejected = self.waiters.iter().filter_map(|it| it.rejected.as_ref());
        let was_rejected = rejected.any(|rejected| Some(rejected.header()) == token);
        if grant.has_expired((self.tools.now)()) || (was_rejected && grant.refresh_token.is_some())
        {
            self.grant = Some(grant);
            return self.refresh(was_rejected);
        }
        self.publish(grant, Origin::Stored);
    }
}
