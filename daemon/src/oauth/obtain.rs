//! One token without anybody: asks whoever gives it, by the identity's grant type.
//! Decides nothing about when; whoever asks keeps and publishes it.
//!
//! What is obtained from a server is kept for the next daemon, and what another daemon
//! of this user has obtained meanwhile is used.

mod client_credentials;
mod enterprise;
mod files;
mod given;
mod pin;
mod token_command;
mod vouched;
mod workload;

use std::sync::Arc;
use std::time::Duration;

use super::challenge::Challenge;
use super::client_assertion;
use super::discovery::DiscoveryError;
use super::dpop;
use super::grant::Grant;
use super::grant_type::GrantType;
use super::identity::Identity;
use super::jose::KeyFileError;
use super::registration::RegistrationError;
use super::sign_in::{PendingSignIn, Tools};
use super::store::StoreError;
use super::token::TokenEndpointError;
use super::token_source::Wanting;
use crate::http::HttpError;

pub(crate) use self::files::Shown;
pub(crate) use self::pin::forget as forget_pin;

/// What a token is obtained with.
#[derive(Debug, Clone)]
pub(crate) struct Errand {
    /// With what.
    pub(crate) tools: Tools,
    /// For whom.
    pub(crate) identity: Arc<Identity>,
    /// What the server said last when it refused.
    pub(crate) challenge: Challenge,
    /// Whether it has refused, however little it said.
    pub(crate) was_asked: bool,
    /// The token in use, or the last one.
    pub(crate) before: Option<Grant>,
    /// On whose behalf: somebody may have to sign in at an identity provider.
    pub(crate) wanting: Wanting,
    /// What was refused a moment ago, and is not shown again so soon.
    pub(crate) refused: Option<Shown>,
}

/// A token.
#[derive(Debug)]
pub(crate) struct Obtained {
    /// It.
    pub(crate) grant: Grant,
    /// Whether it was given just now, and not found in the store.
    pub(crate) is_new: bool,
}

/// Why there is none. One sentence each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ObtainError {
    /// It may work later.
    #[error("{0}")]
    Transient(String),
    /// The same; the server says when.
    #[error("{0}")]
    Later(String, Duration),
    /// Somebody has to change something on this machine.
    #[error("{0}")]
    Here(String),
    /// A server says no.
    #[error("{0}")]
    Refused(String),
    /// A server says no to what these files hold.
    #[error("{0}")]
    RefusedFile(String, Shown),
    /// They still hold it, so nobody was asked.
    #[error("the files that were refused are still the same")]
    Unchanged,
    /// Asked again at once, with whatever works once made anew, it may give one.
    #[error("{0}")]
    Unproven(String),
    /// Somebody has to sign in with whoever vouches for them.
    #[error("somebody has to sign in{}", .why.as_deref().map(|why| format!(": {why}")).unwrap_or_default())]
    SignIn {
        /// The sign-in under way; `None`: nothing is.
        sign_in: Option<Box<PendingSignIn>>,
        /// What went wrong before.
        why: Option<String>,
    },
    /// It needs what the MCP server says when it refuses a request.
    #[error("{0}")]
    Unasked(String),
}

impl ObtainError {
    /// Says whether it stays until somebody has changed something.
    pub(crate) fn stays(&self) -> bool {
        matches!(
            self,
            Self::Here(_) | Self::Refused(_) | Self::RefusedFile(..)
        )
    }
}

impl From<HttpError> for ObtainError {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::Setup(why) => Self::Here(why),
            error => Self::Transient(error.to_string()),
        }
    }
}

impl From<DiscoveryError> for ObtainError {
    fn from(error: DiscoveryError) -> Self {
        match error {
            DiscoveryError::Unanswered(why) => Self::Transient(why),
            error => Self::Refused(error.to_string()),
        }
    }
}

impl From<RegistrationError> for ObtainError {
    fn from(error: RegistrationError) -> Self {
        match error {
            RegistrationError::Unanswered(why) => Self::Transient(why),
            error @ RegistrationError::Elsewhere { .. } => Self::Refused(error.to_string()),
            error => Self::Here(error.to_string()),
        }
    }
}

impl From<KeyFileError> for ObtainError {
    fn from(error: KeyFileError) -> Self {
        Self::Here(error.to_string())
    }
}

impl From<TokenEndpointError> for ObtainError {
    fn from(error: TokenEndpointError) -> Self {
        match error {
            TokenEndpointError::Transient(why) => Self::Transient(why),
            TokenEndpointError::Later(why, after) => Self::Later(why, after),
            TokenEndpointError::Unproven(why) => Self::Unproven(why),
            // RFC 8707, section 2.
            TokenEndpointError::Refused {
                error: ref code, ..
            } if code == "invalid_target" => Self::Refused(format!(
                "{error}; name the resource that it knows with --resource, or none with --disable-resource-parameter"
            )),
            error => Self::Refused(error.to_string()),
        }
    }
}

impl Errand {
    /// Does it.
    pub(crate) async fn run(mut self) -> Result<Obtained, ObtainError> {
        let is_new = true;
        if !self.identity.grant_type.is_stored() {
            let grant = self.ask().await?;
            return Ok(Obtained { grant, is_new });
        }
        let (store, hash) = (self.tools.store.clone(), self.identity.hash());
        // Nobody who runs where nothing can be written goes without tokens.
        let unlocked = |error| tracing::warn!(%error, "tokens cannot be kept");
        let _lock = store.lock(&hash).await.map_err(unlocked).ok();
        // Unread, nobody knows to whom the account was shown before.
        let unread = |error: StoreError| ObtainError::Here(error.to_string());
        let found = store.tokens(&hash).await.map_err(unread)?.tokens();
        if let Some(grant) = found.as_ref().filter(|found| self.is_of_use(found)) {
            let (grant, is_new) = (grant.clone(), false);
            return Ok(Obtained { grant, is_new });
        }
        // It says who gave it.
        self.before = self.before.or(found);
        let grant = self.ask().await?.for_server_of(&self.identity);
        if let Err(error) = store.put_grant(&hash, &grant).await {
            tracing::warn!(%error, "a new token could not be stored; it is used all the same");
        }
        pin::keep(&self.tools, &self.identity, &grant).await;
        Ok(Obtained { grant, is_new })
    }

    /// Asks whoever gives tokens, unless they have just refused all that there is to
    /// show.
    async fn ask(&self) -> Result<Grant, ObtainError> {
        let shown = Shown::of(&self.identity.grant_type).await;
        if shown.is_some() && shown == self.refused {
            return Err(ObtainError::Unchanged);
        }
        match (self.ask_now().await, shown) {
            (Err(ObtainError::Refused(why)), Some(shown)) => {
                Err(ObtainError::RefusedFile(why, shown))
            }
            (answer, _) => answer,
        }
    }

    /// Does so: a function for each grant type.
    async fn ask_now(&self) -> Result<Grant, ObtainError> {
        match &self.identity.grant_type {
            GrantType::AuthorizationCode => {
                Err(ObtainError::Here("somebody has to sign in".into()))
            }
            GrantType::ClientCredentials(account) => {
                client_credentials::obtain(self, account).await
            }
            GrantType::Workload(workload) => workload::obtain(self, workload).await,
            GrantType::EnterpriseManaged(enterprise) => enterprise::obtain(self, enterprise).await,
            GrantType::TokenFile(path) => given::from_file(path, self.tools.now).await,
            GrantType::TokenCommand(words) => token_command::run(words, self.tools.now).await,
        }
    }

    /// Says whether what the store has is of use: another daemon may have got it.
    fn is_of_use(&self, found: &Grant) -> bool {
        let before = self.before.as_ref();
        let is_old = before.is_some_and(|before| before.access_token == found.access_token);
        let is_right = dpop::choice(&self.identity).takes(found.is_bound);
        !is_old && is_right && !found.has_expired((self.tools.now)())
    }
}

/// Makes a token worthless at the server that gave it.
pub(crate) async fn revoke(
    tools: &Tools,
    identity: &Identity,
    grant: &Grant,
) -> Result<(), String> {
    match &identity.grant_type {
        GrantType::ClientCredentials(account) => {
            client_credentials::revoke(tools, identity, account, grant).await
        }
        GrantType::EnterpriseManaged(enterprise) => {
            client_credentials::revoke(tools, identity, &enterprise.account, grant).await
        }
        // A workload may be no client, and its tokens end soon.
        GrantType::Workload(_)
        | GrantType::AuthorizationCode
        | GrantType::TokenFile(_)
        | GrantType::TokenCommand(_) => Ok(()),
    }
}
