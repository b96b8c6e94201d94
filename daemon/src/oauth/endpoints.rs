//! The OAuth servers of an identity, as grants see them: over HTTP, or a script
//! in tests. Decides nothing.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::authorization::{Code, Pending};
use super::device::DeviceAuthorization;
use super::discovery::cache::DiscoveryCache;
use super::discovery::{self, AuthorizationServer, Discovered, DiscoveryError, Known};
use super::dpop::Binding;
use super::grant::Grant;
use super::http::OAuthHttp;
use super::identity::Identity;
use super::kept_device::KeptDevice;
use super::names::Names;
use super::registration::{self, Client, RegistrationError};
use super::scope::Scope;
use super::token::device::PollError;
use super::token::{self, TokenEndpointError, TokenKind, TokenRequest, TokenResponse, Vouched};
use crate::http::{HttpClients, HttpError};
use crate::secret::Secret;

/// What a refresh is asked with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RefreshRequest<'a> {
    /// Where.
    pub(crate) server: &'a AuthorizationServer,
    /// As whom.
    pub(crate) client: &'a Client,
    /// Who gave the grant.
    pub(crate) issuer: &'a str,
    /// What for.
    pub(crate) refresh_token: &'a Secret<String>,
    /// For which resource.
    pub(crate) resource: Option<&'a str>,
    /// With which scope; `None`: the one granted.
    pub(crate) scope: Option<&'a Scope>,
    /// What it is bound to.
    pub(crate) binding: Option<&'a Binding>,
}

/// Reaches the servers of an identity.
pub(crate) trait Endpoints: std::fmt::Debug + Send + Sync {
    /// Prepares to; sends nothing yet.
    fn connect<'a>(
        &'a self,
        identity: &'a Identity,
    ) -> BoxFuture<'a, Result<Box<dyn Servers>, HttpError>>;
}

/// The servers of an identity; each method is the function of the same name.
pub(crate) trait Servers: Send + Sync {
    /// Forgets what is known of the authorization server.
    fn forget(&self, identity: &Identity);

    /// Finds the authorization server, or knows it from before.
    fn discover<'a>(
        &'a self,
        identity: &'a Identity,
        known: &'a Known,
    ) -> BoxFuture<'a, Result<Discovered, DiscoveryError>>;

    /// Asks the authorization server of this name what it offers.
    fn of_issuer<'a>(
        &'a self,
        issuer: &'a str,
    ) -> BoxFuture<'a, Result<AuthorizationServer, DiscoveryError>>;

    /// Returns the client to sign in as.
    fn register<'a>(
        &'a self,
        identity: &'a Identity,
        discovered: &'a Discovered,
        redirect_uris: &'a [String],
        scope: Option<&'a Scope>,
    ) -> BoxFuture<'a, Result<Client, RegistrationError>>;

    /// Returns the client to sign in as by a code.
    fn register_device<'a>(
        &'a self,
        identity: &'a Identity,
        discovered: &'a Discovered,
        scope: Option<&'a Scope>,
    ) -> BoxFuture<'a, Result<Client, RegistrationError>>;

    /// Begins a sign-in by code.
    fn begin_device<'a>(
        &'a self,
        server: &'a AuthorizationServer,
        client: &'a Client,
        parameters: &'a [(&'a str, &'a str)],
    ) -> BoxFuture<'a, Result<DeviceAuthorization, TokenEndpointError>>;

    /// Asks for its tokens.
    fn poll_device<'a>(
        &'a self,
        server: &'a AuthorizationServer,
        client: &'a Client,
        kept: &'a KeptDevice,
    ) -> BoxFuture<'a, Result<TokenResponse, PollError>>;

    /// Turns a code into tokens.
    fn exchange<'a>(
        &'a self,
        server: &'a AuthorizationServer,
        client: &'a Client,
        pending: &'a Pending,
        code: &'a Code,
    ) -> BoxFuture<'a, Result<TokenResponse, TokenEndpointError>>;

    /// Turns a refresh token into tokens.
    fn refresh<'a>(
        &'a self,
        request: RefreshRequest<'a>,
    ) -> BoxFuture<'a, Result<TokenResponse, TokenEndpointError>>;

    /// Asks for a token without a person.
    fn request_token<'a>(
        &'a self,
        request: TokenRequest<'a>,
    ) -> BoxFuture<'a, Result<TokenResponse, TokenEndpointError>>;

    /// Asks an identity provider to vouch for somebody.
    fn vouch<'a>(
        &'a self,
        request: TokenRequest<'a>,
    ) -> BoxFuture<'a, Result<Vouched, TokenEndpointError>>;

    /// Makes a refresh token worthless; false where that is not offered.
    fn revoke_refresh_token<'a>(
        &'a self,
        server: &'a AuthorizationServer,
        client: &'a Client,
        token: &'a Secret<String>,
    ) -> BoxFuture<'a, Result<bool, TokenEndpointError>>;

    /// Makes a grant's tokens worthless; false where that is not offered.
    fn revoke<'a>(
        &'a self,
        server: &'a AuthorizationServer,
        client: &'a Client,
        grant: &'a Grant,
    ) -> BoxFuture<'a, Result<bool, TokenEndpointError>>;
}

/// The real ones.
#[derive(Debug)]
pub(crate) struct OverHttp {
    clients: Arc<HttpClients>,
    names: Names,
    known: Arc<DiscoveryCache>,
}

impl OverHttp {
    /// Reaches them with these clients, which look these names up.
    pub(crate) fn new(clients: Arc<HttpClients>, names: Names) -> Self {
        Self {
            clients,
            names,
            known: Arc::default(),
        }
    }
}

struct Connection {
    http: OAuthHttp,
    known: Arc<DiscoveryCache>,
}

impl Endpoints for OverHttp {
    fn connect<'a>(
        &'a self,
        identity: &'a Identity,
    ) -> BoxFuture<'a, Result<Box<dyn Servers>, HttpError>> {
        async {
            let http = OAuthHttp::new(&self.clients, &self.names, identity).await?;
            let known = self.known.clone();
            Ok(Box::new(Connection { http, known }) as Box<dyn Servers>)
        }
        .boxed()
    }
}

impl Servers for Connection {
    fn forget(&self, identity: &Identity) {
        self.known.forget(&identity.hash());
    }

    fn discover<'a>(
        &'a self,
        identity: &'a Identity,
        known: &'a Known,
    ) -> BoxFuture<'a, Result<Discovered, DiscoveryError>> {
        self.known.discover(&self.http, identity, known).boxed()
    }

    fn of_issuer<'a>(
        &'a self,
        issuer: &'a str,
    ) -> BoxFuture<'a, Result<AuthorizationServer, DiscoveryError>> {
        discovery::of_issuer(&self.http, issuer).boxed()
    }

    fn register<'a>(
        &'a self,
        identity: &'a Identity,
        discovered: &'a Discovered,
        redirect_uris: &'a [String],
        scope: Option<&'a Scope>,
    ) -> BoxFuture<'a, Result<Client, RegistrationError>> {
        registration::register(&self.http, identity, discovered, redirect_uris, scope).boxed()
    }

    fn register_device<'a>(
        &'a self,
        identity: &'a Identity,
        discovered: &'a Discovered,
        scope: Option<&'a Scope>,
    ) -> BoxFuture<'a, Result<Client, RegistrationError>> {
        registration::register_device(&self.http, identity, discovered, scope).boxed()
    }

    fn begin_device<'a>(
        &'a self,
        server: &'a AuthorizationServer,
        client: &'a Client,
        parameters: &'a [(&'a str, &'a str)],
    ) -> BoxFuture<'a, Result<DeviceAuthorization, TokenEndpointError>> {
        token::device::begin(&self.http, server, client, parameters).boxed()
    }

    fn poll_device<'a>(
        &'a self,
        server: &'a AuthorizationServer,
        client: &'a Client,
        kept: &'a KeptDevice,
    ) -> BoxFuture<'a, Result<TokenResponse, PollError>> {
        let (issuer, code) = (&kept.issuer, &kept.begun.device_code);
        let (resource, binding) = (kept.resource.as_deref(), kept.binding.as_ref());
        token::device::poll(&self.http, server, client, issuer, code, resource, binding).boxed()
    }

    fn exchange<'a>(
        &'a self,
        server: &'a AuthorizationServer,
        client: &'a Client,
        pending: &'a Pending,
        code: &'a Code,
    ) -> BoxFuture<'a, Result<TokenResponse, TokenEndpointError>> {
        token::exchange(&self.http, server, client, pending, code).boxed()
    }

    fn refresh<'a>(
        &'a self,
        request: RefreshRequest<'a>,
    ) -> BoxFuture<'a, Result<TokenResponse, TokenEndpointError>> {
        token::refresh(&self.http, request).boxed()
    }

    fn request_token<'a>(
        &'a self,
        request: TokenRequest<'a>,
    ) -> BoxFuture<'a, Result<TokenResponse, TokenEndpointError>> {
        token::request(&self.http, request).boxed()
    }

    fn vouch<'a>(
        &'a self,
        request: TokenRequest<'a>,
    ) -> BoxFuture<'a, Result<Vouched, TokenEndpointError>> {
        token::vouch(&self.http, request).boxed()
    }

    fn revoke_refresh_token<'a>(
        &'a self,
        server: &'a AuthorizationServer,
        client: &'a Client,
        token: &'a Secret<String>,
    ) -> BoxFuture<'a, Result<bool, TokenEndpointError>> {
        token::revoke(&self.http, server, client, token, TokenKind::Refresh).boxed()
    }

    fn revoke<'a>(
        &'a self,
        server: &'a AuthorizationServer,
        client: &'a Client,
        grant: &'a Grant,
    ) -> BoxFuture<'a, Result<bool, TokenEndpointError>> {
        async {
            // The refresh token first: without it nothing new can be had.
            if let Some(token) = &grant.refresh_token
                && !token::revoke(&self.http, server, client, token, TokenKind::Refresh).await?
            {
                return Ok(false);
            }
            let access = &grant.access_token;
            let revoked =
                token::revoke(&self.http, server, client, access, TokenKind::Access).await?;
            // One that cannot be revoked soon ends by itself.
            Ok(revoked || grant.refresh_token.is_some())
        }
        .boxed()
    }
}
