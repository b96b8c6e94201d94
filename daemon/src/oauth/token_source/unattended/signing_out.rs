//! The end of a grant that needs nobody: its token is revoked and its file deleted. The
//! next request obtains another.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::{Done, Unattended};
use crate::oauth::grant::Grant;
use crate::oauth::grant_type::GrantType;
use crate::oauth::identity::Identity;
use crate::oauth::obtain;
use crate::oauth::sign_in::Tools;
use crate::oauth::store::OnDisk;
use crate::oauth::successor;
use crate::oauth::token_source::LoggedOut;

/// How long it waits for the authorization server.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(8);

impl Unattended {
    /// Forgets the grant, as soon as nothing is being obtained: it would be kept.
    pub(super) fn log_out(&mut self, reply: oneshot::Sender<LoggedOut>) {
        self.log_outs.push(reply);
        self.log_out_if_possible();
    }

    pub(super) fn log_out_if_possible(&mut self) {
        if self.log_outs.is_empty() || self.obtaining.is_some() || self.is_logging_out {
            return;
        }
        self.is_logging_out = true;
        let (tools, identity) = (self.tools.clone(), self.identity.clone());
        let grant = self.in_use.as_ref().map(|in_use| in_use.grant.clone());
        self.tasks
            .spawn(async move { Done::LoggedOut(forget(tools, identity, grant).await) });
    }

    pub(super) fn logged_out(&mut self, logged_out: LoggedOut) {
        self.is_logging_out = false;
        self.before = None;
        self.failure = None;
        self.withdraw();
        self.say_status();
        let mut waiting = std::mem::take(&mut self.log_outs).into_iter();
        if let Some(first) = waiting.next() {
            drop(first.send(logged_out));
        }
        for another in waiting {
            drop(another.send(LoggedOut::default()));
        }
        for waiter in std::mem::take(&mut self.waiters) {
            self.renew(waiter);
        }
    }
}

async fn forget(tools: Tools, identity: Arc<Identity>, grant: Option<Grant>) -> LoggedOut {
    let (store, hash) = (&tools.store, identity.hash());
    if !identity.grant_type.is_stored() {
        // It is others' token.
        return LoggedOut::default();
    }
    let grant = match grant {
        Some(grant) => Some(grant),
        None => store.tokens(&hash).await.ok().and_then(OnDisk::tokens),
    };
    let mut logged_out = LoggedOut {
        was_signed_in: grant.is_some(),
        notes: Vec::new(),
    };
    // Revoked first: without the files nobody could do it any more.
    if let Some(grant) = grant {
        let revoking = obtain::revoke(&tools, &identity, &grant);
        let late = |_| Err("its authorization server did not answer in time".to_owned());
        let revoked = tokio::time::timeout(REVOKE_TIMEOUT, revoking).await;
        let failed = revoked.unwrap_or_else(late).err();
        let said = |why| format!("the token was deleted here but not revoked: {why}");
        logged_out.notes.extend(failed.map(said));
    }
    obtain::forget_pin(&tools, &identity).await;
    if let Err(error) = store.forget(&hash).await {
        logged_out.notes.push(error.to_string());
    }
    if let GrantType::EnterpriseManaged(enterprise) = &identity.grant_type {
        let provider = &enterprise.provider;
        let hash = provider.identity(&identity).hash();
        let ended = successor::end_if_unused(&tools, &hash, Some((&identity, provider))).await;
        logged_out.notes.extend(ended);
    }
    logged_out
}
