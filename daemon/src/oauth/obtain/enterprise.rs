//! Tokens by way of an identity provider (MCP's extension Enterprise-Managed
//! Authorization): it says in an assertion (ID-JAG) who the user is, which the server's
//! authorization server takes in the place of a sign-in.
//!
//! An assertion is made for one token and shown once, or once more if only the proof of
//! our key is refused; it is kept nowhere. What went wrong says which of the two servers
//! refused.

use std::path::Path;

use super::vouched::{Failed, Hearing, in_brackets, private, shown};
use super::{Errand, ObtainError, client_assertion};
use crate::oauth::discovery::{AuthorizationServer, Known};
use crate::oauth::endpoints::Servers;
use crate::oauth::federation::{Enterprise, IdentityProvider, Subject, SubjectKind};
use crate::oauth::grant::Grant;
use crate::oauth::identity::Identity;
use crate::oauth::registration::{self, Client};
use crate::oauth::secret_file::{self, Access};
use crate::oauth::store::{Replaced, StoreError, Successor};
use crate::oauth::text::printable;
use crate::oauth::token::{ID_JAG, TokenEndpointError, TokenRequest, Vouched, is_jwt};
use crate::oauth::token_source::{AccessToken, TokenError, Wanting};
use crate::secret::Secret;

/// `grant_type` of a token exchange (RFC 8693, section 2.1).
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// Longest token that shows who somebody is, in bytes.
const MAX_SUBJECT: usize = 16 * 1024;

/// Obtains a token.
pub(super) async fn obtain(errand: &Errand, enterprise: &Enterprise) -> Result<Grant, ObtainError> {
    let hearing = Hearing::find(errand, &enterprise.account).await?;
    if hearing.client.is_none() {
        return Err(ObtainError::Here(format!(
            "--identity-provider needs the client that the authorization server {} knows: --static-oauth-client-info, or --client-metadata-url if it takes that",
            printable(&hearing.server().issuer)
        )));
    }
    if hearing.server().takes_id_jags == Some(false) {
        hearing.forget();
        return Err(ObtainError::Refused(format!(
            "the authorization server {} takes no identity provider's word (its metadata list the grant profiles that it takes, and ID-JAG is not among them): ask who runs it, or do without --identity-provider",
            printable(&hearing.server().issuer)
        )));
    }
    let provider = &enterprise.provider;
    let counter = Counter::find(errand, provider).await?;
    let assertion = counter.assertion(&hearing).await?;
    let shown = match hearing.show(&assertion).await {
        Err((failed, hearing)) if hearing.may_hear_another(&failed) => {
            let another = counter.assertion(&hearing).await?;
            hearing.show(&another).await
        }
        shown => shown,
    };
    match shown {
        Ok(grant) => Ok(grant),
        Err((Failed::Here(error), _)) => Err(error),
        Err((Failed::There(error), hearing)) => Err(refused_by(
            hearing.server(),
            &hearing.client,
            provider,
            error,
        )),
    }
}

/// The identity provider, as it is reached.
struct Counter<'a> {
    errand: &'a Errand,
    provider: &'a IdentityProvider,
    /// As whom.
    identity: Identity,
    servers: Box<dyn Servers>,
    server: AuthorizationServer,
    client: Client,
}

impl<'a> Counter<'a> {
    async fn find(errand: &'a Errand, provider: &'a IdentityProvider) -> Result<Self, ObtainError> {
        let identity = provider.identity(&errand.identity);
        let servers = errand.tools.endpoints.connect(&identity).await?;
        let discovered = servers.discover(&identity, &Known::default()).await;
        let server = discovered
            .map_err(|error| ObtainError::from(error).of_provider(provider))?
            .server;
        private(&server)?;
        let client = registration::given(&identity, &server);
        let client = client.expect("an identity provider has a client that was registered")?;
        Ok(Self {
            errand,
            provider,
            identity,
            servers,
            server,
            client: shown(client, provider.key.is_some()),
        })
    }

    /// Returns an assertion that nobody has seen yet.
    async fn assertion(&self, hearing: &Hearing<'_>) -> Result<Secret<String>, ObtainError> {
        match &self.provider.subject {
            Subject::SignIn => self.for_sign_in(hearing).await,
            Subject::File(path, SubjectKind::IdToken) => {
                let kind = SubjectKind::IdToken;
                let token = subject(path, kind).await?;
                let answer = self.ask(hearing, &token, kind).await;
                let whose = || of_file(path, kind);
                answer
                    .map(|vouched| vouched.assertion)
                    .map_err(|failed| self.refused(failed, hearing, &whose()))
            }
            Subject::File(path, SubjectKind::RefreshToken) => self.for_refresh(path, hearing).await,
        }
    }

    /// Shows the ID token of whoever has signed in at the provider. One that it takes no
    /// more is renewed once.
    async fn for_sign_in(&self, hearing: &Hearing<'_>) -> Result<Secret<String>, ObtainError> {
        const WHOSE: &str = "the ID token of the sign-in";
        let source = self.errand.tools.provider.as_ref();
        let source = source.expect("whoever vouches for those who sign in has a grant");
        source.ready().await;
        let mut rejected: Option<AccessToken> = None;
        loop {
            let wanting: Wanting = self.errand.wanting.clone();
            let token = source.renew(rejected.as_ref(), None, wanting);
            let token = token.await.map_err(|error| self.no_sign_in(error))?;
            let text = Secret::new(token.text().unwrap_or_default().to_owned());
            let answer = self.ask(hearing, &text, SubjectKind::IdToken).await;
            match answer {
                Ok(vouched) => {
                    token.accept();
                    return Ok(vouched.assertion);
                }
                Err(Failed::There(error)) if is_about_subject(&error) && rejected.is_none() => {
                    rejected = Some(token);
                }
                Err(failed) => return Err(self.refused(failed, hearing, WHOSE)),
            }
        }
    }

    fn no_sign_in(&self, error: TokenError) -> ObtainError {
        let provider = self.provider.shown();
        match error {
            TokenError::LoginRequired { sign_in, why } => ObtainError::SignIn {
                sign_in: sign_in.map(Box::new),
                why: why.map(|why| format!("the identity provider {provider}: {why}")),
            },
            TokenError::NotOffered => ObtainError::Refused(format!(
                "the identity provider {provider} offers no sign-in"
            )),
            TokenError::Rejected(why) => {
                ObtainError::Refused(format!("the identity provider {provider}: {why}"))
            }
            TokenError::Transient(why) => {
                ObtainError::Transient(format!("the identity provider {provider}: {why}"))
            }
        }
    }

    /// Shows a refresh token, which the answer may replace: one at a time among all
    /// that share it, and what replaces it is kept before anything else is done.
    async fn for_refresh(
        &self,
        path: &Path,
        hearing: &Hearing<'_>,
    ) -> Result<Secret<String>, ObtainError> {
        let kind = SubjectKind::RefreshToken;
        let (store, hash) = (&self.errand.tools.store, self.identity.hash());
        let kept = |error: StoreError| ObtainError::Here(error.to_string());
        let _lock = store.lock(&hash).await.map_err(kept)?;
        let given = subject(path, kind).await?;
        let replaced = match store.subject(&hash, &given).await.map_err(kept)? {
            Replaced::Not => None,
            Replaced::By(token) => Some(token),
            Replaced::Elsewhere => {
                return Err(ObtainError::Here(format!(
                    "what replaced the refresh token of {} was moved to another machine: put another one there",
                    printable(&path.to_string_lossy())
                )));
            }
        };
        let room = store.reserve_subject(&hash).await.map_err(kept)?;
        let Some(_sent) = self.errand.tools.on_its_way.send() else {
            return Err(ObtainError::Transient("the daemon is stopping".into()));
        };
        let token = replaced.as_ref().unwrap_or(&given);
        let answer = self.ask(hearing, token, kind).await;
        let next = match &answer {
            Ok(vouched) => vouched.refresh_token.as_ref(),
            Err(Failed::There(TokenEndpointError::Spoiled { refresh_token, .. })) => {
                Some(refresh_token)
            }
            Err(_) => None,
        };
        if let Some(next) = next.filter(|next| *next != token)
            && let Err(error) = room.put(&given, &self.successor(path, next)).await
        {
            return Err(ObtainError::Here(format!(
                "the identity provider {} has replaced the refresh token, and the new one could not be kept: {error}; put another one into {}",
                self.provider.shown(),
                printable(&path.to_string_lossy())
            )));
        }
        let whose = || of_file(path, kind);
        answer
            .map(|vouched| vouched.assertion)
            .map_err(|failed| self.refused(failed, hearing, &whose()))
    }

    fn successor(&self, path: &Path, refresh_token: &Secret<String>) -> Successor {
        Successor {
            refresh_token: refresh_token.clone(),
            file: Some(printable(&path.to_string_lossy())),
            client: Some(self.client.clone()),
        }
    }

    async fn ask(
        &self,
        hearing: &Hearing<'_>,
        token: &Secret<String>,
        kind: SubjectKind,
    ) -> Result<Vouched, Failed> {
        let client_assertion = match &self.provider.key {
            Some(key) => {
                let (id, now) = (&self.client.client_id, (self.errand.tools.now)());
                let signed = client_assertion::sign(key, id, &self.server, now).await;
                Some(signed.map_err(|error| Failed::Here(error.into()))?)
            }
            None => None,
        };
        let word = |text: &str| Secret::new(text.to_owned());
        let (wanted, kind) = (word(ID_JAG), word(kind.as_urn()));
        let audience = word(&hearing.server().issuer);
        let request = TokenRequest {
            server: &self.server,
            client: Some(&self.client),
            client_assertion: client_assertion.as_ref(),
            grant_type: TOKEN_EXCHANGE,
            fields: &[
                ("requested_token_type", &wanted),
                ("audience", &audience),
                ("subject_token", token),
                ("subject_token_type", &kind),
            ],
            resource: hearing.resource(),
            scope: hearing.scope.as_ref(),
            binding: None,
        };
        let answer = self.servers.vouch(request).await;
        if answer.is_err() {
            self.servers.forget(&self.identity);
        }
        answer.map_err(Failed::There)
    }

    /// Says why the provider does not vouch, and what to do.
    fn refused(&self, failed: Failed, hearing: &Hearing<'_>, whose: &str) -> ObtainError {
        let error = match failed {
            Failed::Here(error) => return error,
            Failed::There(error) => error,
        };
        let provider = self.provider.shown();
        let there = printable(&hearing.server().issuer);
        let refused =
            |why: String| ObtainError::Refused(format!("the identity provider {provider} {why}"));
        match error {
            TokenEndpointError::InvalidGrant(said) => refused(format!(
                "does not accept {whose}{}: {}",
                in_brackets(&said),
                match self.provider.subject {
                    Subject::SignIn => "sign in again",
                    Subject::File(..) => "put a new one there",
                }
            )),
            TokenEndpointError::InvalidClient(said) => refused(format!(
                "does not accept the client {}{}: check --identity-provider-client",
                printable(&self.client.client_id),
                in_brackets(&said)
            )),
            TokenEndpointError::Refused {
                error, description, ..
            } => refused(match error.as_str() {
                "invalid_request" => format!(
                    "does not accept {whose} (invalid_request{}), or lacks something: check --subject-token-type",
                    after(&description)
                ),
                "unsupported_grant_type" => {
                    "offers no token exchange (RFC 8693), without which it cannot vouch for anybody: ask who runs it".into()
                }
                error => format!(
                    "does not vouch for this user at {there} ({error}{}): ask who runs it to allow that",
                    after(&description)
                ),
            }),
            TokenEndpointError::Unusable(why) | TokenEndpointError::Spoiled { why, .. } => {
                ObtainError::Refused(why)
            }
            error => ObtainError::from(error).of_provider(self.provider),
        }
    }
}

impl ObtainError {
    /// Says that it is about the identity provider.
    fn of_provider(self, provider: &IdentityProvider) -> Self {
        let say = |why: String| format!("the identity provider {}: {why}", provider.shown());
        match self {
            Self::Transient(why) => Self::Transient(say(why)),
            Self::Later(why, after) => Self::Later(say(why), after),
            Self::Refused(why) => Self::Refused(say(why)),
            error => error,
        }
    }
}

/// Says whether a refusal may be about the token that was shown.
fn is_about_subject(error: &TokenEndpointError) -> bool {
    match error {
        TokenEndpointError::InvalidGrant(_) => true,
        TokenEndpointError::Refused { error, .. } => error == "invalid_request",
        _ => false,
    }
}

/// Says why the server's authorization server does not take the provider's word.
fn refused_by(
    server: &AuthorizationServer,
    client: &Option<Client>,
    provider: &IdentityProvider,
    error: TokenEndpointError,
) -> ObtainError {
    let (issuer, provider) = (printable(&server.issuer), provider.shown());
    ObtainError::Refused(match error {
        TokenEndpointError::InvalidGrant(said) => format!(
            "the authorization server {issuer} does not accept what the identity provider {provider} says of this user{}: who runs it has to trust that provider, and the clocks of both have to be right",
            in_brackets(&said)
        ),
        TokenEndpointError::InvalidClient(said) => format!(
            "the authorization server {issuer} does not accept the client {}{}: check --static-oauth-client-info",
            client
                .as_ref()
                .map(|client| printable(&client.client_id))
                .unwrap_or_default(),
            in_brackets(&said)
        ),
        TokenEndpointError::Refused { error, .. } if error == "unsupported_grant_type" => format!(
            "the authorization server {issuer} takes no identity provider's word (it does not offer the JWT bearer grant): ask who runs it, or do without --identity-provider"
        ),
        error => return error.into(),
    })
}

fn of_file(path: &Path, kind: SubjectKind) -> String {
    let path = printable(&path.to_string_lossy());
    format!("the {} of {path}", kind.as_words())
}

/// Returns `": text"` for what a server said, nothing for nothing.
fn after(said: &str) -> String {
    match said {
        "" => String::new(),
        said => format!(": {said}"),
    }
}

/// Reads what shows who the user is, as it is now.
async fn subject(path: &Path, kind: SubjectKind) -> Result<Secret<String>, ObtainError> {
    let content = secret_file::read(path, Access::OwnerOnly).await;
    let content = content.map_err(|error| {
        ObtainError::Here(format!(
            "what is shown to the identity provider cannot be used: {error}"
        ))
    })?;
    let text = std::str::from_utf8(content.trim_ascii()).unwrap_or_default();
    let is_one = match kind {
        SubjectKind::IdToken => is_jwt(text),
        SubjectKind::RefreshToken => text.bytes().all(|byte| byte.is_ascii_graphic()),
    };
    match is_one && !text.is_empty() && text.len() <= MAX_SUBJECT {
        true => Ok(Secret::new(text.to_owned())),
        false => Err(ObtainError::Here(format!(
            "{} holds no {}: one token and nothing else has to be in it",
            printable(&path.to_string_lossy()),
            kind.as_words()
        ))),
    }
}
