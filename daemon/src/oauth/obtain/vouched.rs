//! What a workload and a user of an identity provider have in common: somebody else's
//! word is shown to the server's authorization server (RFC 7523, section 2.1).
//!
//! Such a word is as good as a sign-in: it is sent where nobody can read it, and only
//! to whom it was made for.

use super::client_credentials::{self, Party};
use super::{Errand, ObtainError, client_assertion, pin};
use crate::oauth::discovery::{AuthorizationServer, scopes_to_ask};
use crate::oauth::dpop::Binding;
use crate::oauth::federation;
use crate::oauth::grant::Grant;
use crate::oauth::grant_type::ServiceAccount;
use crate::oauth::registration::{self, AuthMethod, Client};
use crate::oauth::scope::Scope;
use crate::oauth::text::printable;
use crate::oauth::token::{TokenEndpointError, TokenRequest, TokenResponse};
use crate::secret::Secret;

/// `grant_type` (RFC 7523, section 2.1).
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// Where somebody's word is shown, and what for.
pub(super) struct Hearing<'a> {
    errand: &'a Errand,
    account: &'a ServiceAccount,
    party: Party,
    /// As whom; `None`: the word says it.
    pub(super) client: Option<Client>,
    /// With which scope.
    pub(super) scope: Option<Scope>,
    /// What the token is to be bound to.
    binding: Option<Binding>,
    /// Whether the word came twice, since the first proof of our key was not taken.
    came_twice: bool,
}

/// What can go wrong when somebody is asked.
#[derive(Debug)]
pub(super) enum Failed {
    /// Something on this machine.
    Here(ObtainError),
    /// What they answered.
    There(TokenEndpointError),
}

impl<'a> Hearing<'a> {
    /// Finds the server's authorization server.
    pub(super) async fn find(
        errand: &'a Errand,
        account: &'a ServiceAccount,
    ) -> Result<Self, ObtainError> {
        let known = pin::known(errand, account).await?;
        let identity = &errand.identity;
        let party = client_credentials::find(&errand.tools, identity, account, &known).await?;
        let server = &party.discovered.server;
        if server.is_assumed {
            party.servers.forget(identity);
            return Err(client_credentials::nobody_is_named(errand));
        }
        private(server)?;
        let checked = pin::check(errand, account, server, "nothing is shown").await;
        let client = checked.and_then(|()| Ok(registration::given(identity, server).transpose()?));
        let client = client.inspect_err(|_| party.servers.forget(identity))?;
        let before = errand.before.as_ref();
        let already = before.and_then(|before| before.requested_scope.as_ref());
        let scope = scopes_to_ask(identity, &errand.challenge, &party.discovered, already);
        let binding = client_credentials::binding(errand, &party.discovered)?;
        Ok(Self {
            errand,
            account,
            client: client.map(|client| shown(client, account.key.is_some())),
            party,
            scope,
            binding,
            came_twice: false,
        })
    }

    /// Says whether another word may be heard where this one was refused: a proof is
    /// checked before a word counts, but some take each word only once all the same.
    pub(super) fn may_hear_another(&self, failed: &Failed) -> bool {
        let is_refused = matches!(failed, Failed::There(TokenEndpointError::InvalidGrant(_)));
        self.came_twice && is_refused
    }

    /// Returns who hears it.
    pub(super) fn server(&self) -> &AuthorizationServer {
        &self.party.discovered.server
    }

    /// Forgets what is known of the server: next time it may say something else.
    pub(super) fn forget(&self) {
        self.party.servers.forget(&self.errand.identity);
    }

    /// Returns for which resource.
    pub(super) fn resource(&self) -> Option<&str> {
        self.party.discovered.resource.as_deref()
    }

    /// Shows somebody's word, and gets a token for it. The same word again where only the
    /// proof of our key is refused: it was not taken then.
    pub(super) async fn show(
        mut self,
        assertion: &Secret<String>,
    ) -> Result<Grant, (Failed, Self)> {
        let mut answer = self.ask(assertion).await;
        if let Err(Failed::There(TokenEndpointError::Unproven(_))) = &answer {
            // The key has heard what the proof has to say.
            self.came_twice = true;
            answer = self.ask(assertion).await;
        }
        match answer {
            Ok(response) => Ok(self.grant(response)),
            Err(failed) => {
                self.forget();
                Err((failed, self))
            }
        }
    }

    async fn ask(&self, assertion: &Secret<String>) -> Result<TokenResponse, Failed> {
        let server = self.server();
        let client_assertion = match (&self.account.key, &self.client) {
            (Some(key), Some(client)) => {
                let now = (self.errand.tools.now)();
                let signed = client_assertion::sign(key, &client.client_id, server, now).await;
                Some(signed.map_err(|error| Failed::Here(error.into()))?)
            }
            _ => None,
        };
        let request = TokenRequest {
            server,
            client: self.client.as_ref(),
            client_assertion: client_assertion.as_ref(),
            grant_type: JWT_BEARER,
            fields: &[("assertion", assertion)],
            resource: self.resource(),
            scope: self.scope.as_ref(),
            binding: self.binding.as_ref(),
        };
        let answer = self.party.servers.request_token(request).await;
        answer.map_err(Failed::There)
    }

    fn grant(self, response: TokenResponse) -> Grant {
        let issuer = self.server().issuer.clone();
        let resource = self.party.discovered.resource;
        // Nobody: the assertion said it all.
        let client = self.client.unwrap_or_else(|| Client::public(&issuer, ""));
        let now = (self.errand.tools.now)();
        let before = self.errand.before.as_ref();
        let mut grant = Grant::new(response, None, client, resource, self.scope, false, now)
            .bound_to(self.binding.as_ref())
            .told_of(before.and_then(|before| before.resource_metadata.as_ref()))
            .told_of(self.errand.challenge.resource_metadata.as_ref());
        // It is renewed as it was got: whoever vouched is asked whether they still do.
        grant.refresh_token = None;
        grant.signed_in_at = None;
        // What the user gives is kept by the user.
        grant.client = None;
        grant
    }
}

/// A key makes the secret superfluous, which is not shown then.
pub(super) fn shown(client: Client, by_key: bool) -> Client {
    match by_key {
        true => Client {
            client_secret: None,
            auth_method: AuthMethod::None,
            ..client
        },
        false => client,
    }
}

/// Refuses to send somebody's word where others can read it.
pub(super) fn private(server: &AuthorizationServer) -> Result<(), ObtainError> {
    match federation::is_private(&server.token_endpoint) {
        true => Ok(()),
        false => Err(ObtainError::Refused(format!(
            "the token endpoint of {} is not encrypted, so nothing is sent there that vouches for anybody",
            printable(&server.issuer)
        ))),
    }
}

/// Returns `" (text)"` for what a server said, nothing for nothing.
pub(super) fn in_brackets(said: &str) -> String {
    match said {
        "" => String::new(),
        said => format!(" ({said})"),
    }
}
