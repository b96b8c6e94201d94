//! Tokens of service accounts: the client credentials grant (RFC 6749, section 4.4;
//! MCP's extension OAuth Client Credentials). Pure but for what it asks.
//!
//! The secret is shown to the authorization server that the server's metadata name,
//! or to the token endpoint that the user names, and is stored nowhere.

use url::Url;

use super::{Errand, ObtainError, client_assertion, pin};
use crate::oauth::challenge::Challenge;
use crate::oauth::discovery::{AuthorizationServer, Discovered, Known, scopes_to_ask};
use crate::oauth::dpop::{self, Binding};
use crate::oauth::endpoints::Servers;
use crate::oauth::grant::Grant;
use crate::oauth::grant_type::ServiceAccount;
use crate::oauth::identity::Identity;
use crate::oauth::refresh;
use crate::oauth::registration::{self, AuthMethod, Client};
use crate::oauth::sign_in::Tools;
use crate::oauth::token::{TokenRequest, TokenResponse};
use crate::server_url::ServerUrl;

/// Who is asked.
pub(super) struct Party {
    /// Reaches them.
    pub(super) servers: Box<dyn Servers>,
    /// What they offer.
    pub(super) discovered: Discovered,
}

/// Obtains a token.
pub(super) async fn obtain(
    errand: &Errand,
    account: &ServiceAccount,
) -> Result<Grant, ObtainError> {
    let known = pin::known(errand, account).await?;
    let party = find(&errand.tools, &errand.identity, account, &known).await?;
    let discovered = &party.discovered;
    let server = &discovered.server;
    if server.is_assumed {
        party.servers.forget(&errand.identity);
        return Err(nobody_is_named(errand));
    }
    let checked = pin::check(errand, account, server, "the secret is not shown").await;
    let client = checked.and_then(|()| client(&errand.identity, account, server));
    let client = client.inspect_err(|error| {
        if matches!(error, ObtainError::Refused(_)) {
            party.servers.forget(&errand.identity);
        }
    })?;
    let before = errand.before.as_ref();
    let already = before.and_then(|before| before.requested_scope.as_ref());
    let scope = scopes_to_ask(&errand.identity, &errand.challenge, discovered, already);
    let binding = binding(errand, discovered)?;
    let request = TokenRequest {
        server,
        client: Some(&client),
        client_assertion: None,
        grant_type: "client_credentials",
        fields: &[],
        resource: discovered.resource.as_deref(),
        scope: scope.as_ref(),
        binding: binding.as_ref(),
    };
    let answer = match ask(errand, account, &party, request).await {
        // The key has heard what the proof has to say.
        Err(ObtainError::Unproven(_)) => ask(errand, account, &party, request).await,
        answer => answer,
    };
    // Next time it may be another server.
    let response = answer.inspect_err(|_| party.servers.forget(&errand.identity))?;
    let resource = discovered.resource.clone();
    let now = (errand.tools.now)();
    let mut grant = Grant::new(response, None, client, resource, scope, false, now)
        .bound_to(binding.as_ref())
        .told_of(before.and_then(|before| before.resource_metadata.as_ref()))
        .told_of(errand.challenge.resource_metadata.as_ref());
    // It is renewed as it was got (RFC 6749, section 4.4.3), and belongs to nobody who
    // has signed in.
    grant.refresh_token = None;
    grant.signed_in_at = None;
    // What the user gives is kept by the user.
    grant.client = None;
    Ok(grant)
}

/// Says that nobody is known who gives tokens. Secrets are not shown on a guess.
pub(super) fn nobody_is_named(errand: &Errand) -> ObtainError {
    let to_do = errand.identity.grant_type.where_nobody_is_named();
    let why = format!(
        "nothing says which authorization server gives its tokens, and nothing is shown on a guess: {to_do}"
    );
    match errand.was_asked {
        // The challenge may say it.
        false => ObtainError::Unasked(why),
        true => ObtainError::Refused(why),
    }
}

/// Asks once, with an assertion of its own where a key shows who we are.
async fn ask(
    errand: &Errand,
    account: &ServiceAccount,
    party: &Party,
    request: TokenRequest<'_>,
) -> Result<TokenResponse, ObtainError> {
    let assertion = match (&account.key, request.client) {
        (Some(key), Some(client)) => {
            let (id, now) = (&client.client_id, (errand.tools.now)());
            Some(client_assertion::sign(key, id, request.server, now).await?)
        }
        _ => None,
    };
    let request = TokenRequest {
        client_assertion: assertion.as_ref(),
        ..request
    };
    Ok(party.servers.request_token(request).await?)
}

/// Returns what the token is to be bound to: the key of the last one, if there is one.
pub(super) fn binding(
    errand: &Errand,
    discovered: &Discovered,
) -> Result<Option<Binding>, ObtainError> {
    let before = errand.before.as_ref();
    let challenge = errand.challenge.clone().of_grant(before);
    let decided = dpop::decide(&errand.identity, &challenge, discovered);
    let decided = decided.map_err(ObtainError::Refused)?;
    let before = before.and_then(|before| before.binding.as_ref());
    Ok(decided.map(|decided| match before {
        Some(before) => Binding {
            key: before.key.clone(),
            ..decided
        },
        None => decided,
    }))
}

/// Makes a token worthless.
pub(super) async fn revoke(
    tools: &Tools,
    identity: &Identity,
    account: &ServiceAccount,
    grant: &Grant,
) -> Result<(), String> {
    let known = Known::of(&Challenge::default(), Some(grant));
    let party = find(tools, identity, account, &known).await;
    let Party {
        servers,
        discovered,
    } = party.map_err(|error| error.to_string())?;
    let server = &discovered.server;
    if !refresh::is_of(grant, server) {
        return Err("its authorization server is another one now".into());
    }
    let client = registration::given(identity, server);
    let client = client.ok_or("its client is not known")?;
    let mut client = client.map_err(|error| error.to_string())?;
    if account.key.is_some() {
        client = by_key(client);
        client.key.clone_from(&account.key);
    }
    match servers.revoke(server, &client, grant).await {
        Ok(true) => Ok(()),
        Ok(false) => Err("its authorization server does not offer that".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// Finds whom to ask.
pub(super) async fn find(
    tools: &Tools,
    identity: &Identity,
    account: &ServiceAccount,
    known: &Known,
) -> Result<Party, ObtainError> {
    if let Some(endpoint) = &account.token_endpoint {
        let servers = tools.endpoints.connect(&at(identity, endpoint)).await?;
        // No metadata say what the server calls itself.
        let derived = identity.server.as_resource().to_owned();
        let discovered = Discovered {
            resource: identity.resource.or(Some(derived)),
            scopes_supported: None,
            bound_tokens: dpop::Wanted::default(),
            server: at_endpoint(identity, endpoint),
        };
        return Ok(Party {
            servers,
            discovered,
        });
    }
    let servers = tools.endpoints.connect(identity).await?;
    let discovered = match servers.discover(identity, known).await {
        Ok(discovered) => discovered,
        Err(error) => {
            servers.forget(identity);
            return Err(error.into());
        }
    };
    Ok(Party {
        servers,
        discovered,
    })
}

/// Returns what is known of a token endpoint that the user names: perhaps whose it is.
fn at_endpoint(identity: &Identity, endpoint: &Url) -> AuthorizationServer {
    let mut server = AuthorizationServer::at_token_endpoint(endpoint);
    if let Some(issuer) = identity.issuer() {
        issuer.clone_into(&mut server.issuer);
    }
    server
}

/// Returns the identity by which a token endpoint is reached that the user names: it
/// leads nowhere else, and no server's metadata lead to it.
fn at(identity: &Identity, endpoint: &Url) -> Identity {
    let mut there = identity.clone();
    if let Ok(server) = ServerUrl::parse(endpoint.as_str(), true) {
        there.network.proxy = there.proxies.proxy_for(endpoint);
        there.server = server;
    }
    there
}

/// A key makes the secret superfluous, which is not shown then.
fn by_key(client: Client) -> Client {
    Client {
        client_secret: None,
        auth_method: AuthMethod::None,
        ..client
    }
}

fn client(
    identity: &Identity,
    account: &ServiceAccount,
    server: &AuthorizationServer,
) -> Result<Client, ObtainError> {
    let missing = |what: &str| ObtainError::Here(format!("--client-credentials needs {what}"));
    let client = registration::given(identity, server);
    let client = client.ok_or_else(|| missing("--static-oauth-client-info"))??;
    match account.key {
        Some(_) => Ok(by_key(client)),
        None if client.client_secret.is_none() => Err(missing(
            "a client_secret in --static-oauth-client-info, or --client-key",
        )),
        None => Ok(client),
    }
}
