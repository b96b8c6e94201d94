//! Who signs people in for the server, as which client, and which tokens there are.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use super::account;
use super::{Asked, Check, Finding, Ready, Report, Tools, Verdict, Way, span};
use crate::oauth::challenge::Challenge;
use crate::oauth::device;
use crate::oauth::discovery::{
    AuthorizationServer, Discovered, DiscoveryError, Known, is_same_issuer,
};
use crate::oauth::dpop;
use crate::oauth::grant::Grant;
use crate::oauth::http::OAuthHttpError;
use crate::oauth::registration::{self, Client};
use crate::oauth::store::Place;
use crate::oauth::survey::{Document, Found, Kept, Survey};
use crate::oauth::text::printable;
use crate::oauth::token_source::AuthState;
use crate::server_url;

/// How long all the documents together may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Names of a list that are shown.
const MAX_NAMES: usize = 20;

/// Looks at everything that a sign-in needs; says whether there is a token.
pub(super) async fn look(way: &Way, tools: &Tools, asked: &Asked, report: &Report) -> Ready {
    use Check::{Issuer, Metadata, Registration, Resource, Tokens};
    if way.spec.headers.authorize() {
        let why = "credentials are given with --header, so nobody signs in";
        let all = [Resource, Metadata, Issuer, Registration, Tokens];
        report.skip(&all, why).await;
        return Ready::NotNeeded;
    }
    if let Some(why) = account::nothing_to_look_for(way) {
        let all = [Resource, Metadata, Issuer, Registration];
        report.skip(&all, why).await;
        return account::look(way, tools, asked, report).await;
    }
    let kept = match tools.authority.kept(&way.identity).await {
        Ok(kept) => Some(kept),
        Err(error) => {
            let finding = Finding::failed(Tokens, error.to_string())
                .advise("mcp-remote doctor looks at the folder of the tokens");
            report.say(finding).await;
            None
        }
    };
    let grant = kept.as_ref().and_then(|kept| kept.stored.grant.as_ref());
    let discovered = match (asked, grant) {
        (Asked::Refused(challenge), _) => survey(way, tools, challenge, grant, report).await,
        (Asked::Served(_), Some(_)) => {
            survey(way, tools, &Challenge::default(), grant, report).await
        }
        (Asked::Served(_) | Asked::Nothing, _) => {
            let why = match asked {
                Asked::Served(_) => "it wants no token",
                _ => "it did not get so far that it could ask for a token",
            };
            let all = [Resource, Metadata, Issuer, Registration];
            report.skip(&all, why).await;
            None
        }
    };
    if let Some(discovered) = &discovered {
        let client = kept.as_ref().and_then(|kept| kept.stored.client.as_ref());
        report
            .say(registration(way, &discovered.server, client))
            .await;
    } else if matches!(asked, Asked::Refused(_)) {
        report
            .skip(&[Registration], "nobody is known to register with")
            .await;
    }
    match kept {
        _ if !way.identity.grant_type.needs_person() => {
            account::look(way, tools, asked, report).await
        }
        Some(kept) => tokens(way, tools, asked, &kept, discovered.as_ref(), report).await,
        None => Ready::Missing,
    }
}

/// Finds the authorization server, and tells of each document.
async fn survey(
    way: &Way,
    tools: &Tools,
    challenge: &Challenge,
    grant: Option<&Grant>,
    report: &Report,
) -> Option<Discovered> {
    let known = Known::of(challenge, grant);
    let surveying = tools.authority.survey(&way.identity, &known);
    let why = match tokio::time::timeout(PATIENCE, surveying).await {
        Ok(Ok(survey)) => return surveyed(way, challenge, survey, report).await,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("it took longer than {} s", PATIENCE.as_secs()),
    };
    let finding = Finding::failed(Check::Issuer, why);
    let advice = "try again, or ask whoever runs the server";
    report.say(finding.advise(advice)).await;
    None
}

async fn surveyed(
    way: &Way,
    challenge: &Challenge,
    survey: Survey,
    report: &Report,
) -> Option<Discovered> {
    let mut settled = None;
    for document in &survey.documents {
        let Some(found) = &document.found else {
            continue;
        };
        let is_metadata = is_metadata(document);
        // All of a server's are asked for at once, and the first one counts.
        if is_metadata && settled.as_ref() == Some(&document.url.origin()) {
            continue;
        }
        let is_named = challenge.resource_metadata.as_ref() == Some(&document.url);
        let finding = match is_metadata {
            true => of_document(Check::Metadata, "issuer", document, found),
            false => of_document(Check::Resource, "resource", document, found),
        };
        if is_metadata && is_found(found, "issuer") {
            settled = Some(document.url.origin());
        }
        let finding = match is_named && !is_found(found, "resource") {
            true => Finding {
                verdict: finding.verdict.max_warning(),
                ..finding
            }
            .advise("the server itself names this document: ask whoever runs it"),
            false => finding,
        };
        report.say(finding.after(document.took)).await;
    }
    let (finding, discovered) = issuer(way, survey.outcome);
    report.say(finding).await;
    discovered
}

impl Verdict {
    /// What is well is at most a warning.
    fn max_warning(self) -> Self {
        match self {
            Self::Ok => Self::Warning,
            other => other,
        }
    }
}

fn is_metadata(document: &Document) -> bool {
    let path = document.url.path();
    ["oauth-authorization-server", "openid-configuration"]
        .iter()
        .any(|name| path.contains(&format!("/.well-known/{name}")))
}

fn is_found(found: &Found, member: &str) -> bool {
    matches!(found, Found::Answer(200, Some(document)) if text(document, member).is_some())
}

fn text<'a>(document: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    document.get(name)?.as_str()
}

/// Says what a document is; `member`: what it has to have.
fn of_document(check: Check, member: &str, document: &Document, found: &Found) -> Finding {
    let url = printable(&server_url::shown(&document.url));
    match found {
        Found::Answer(200, Some(content)) => match text(content, member) {
            Some(_) => Finding::ok(check, format!("{url}: {}", said(content, member))),
            None => {
                let found =
                    format!("{url} answered 200 with a document that has no {member}: not used");
                Finding::warning(check, found)
            }
        },
        Found::Answer(200, None) => {
            let found =
                format!("{url} answered 200 with something that is not a JSON object: not used");
            Finding::warning(check, found)
        }
        Found::Answer(status @ (408 | 429 | 500..), _) => {
            Finding::warning(check, format!("{url} answered {status}"))
                .advise("try again later, or ask whoever runs it")
        }
        Found::Answer(status, _) => {
            Finding::ok(check, format!("{url} answered {status}: there is none"))
        }
        Found::Nothing(OAuthHttpError::Refused(why)) => {
            Finding::failed(check, why).advise("ask whoever runs the server to correct it")
        }
        Found::Nothing(OAuthHttpError::Redirected(why) | OAuthHttpError::Unanswered(why)) => {
            Finding::warning(check, why)
        }
    }
}

fn said(document: &Map<String, Value>, member: &str) -> String {
    let value = printable(text(document, member).unwrap_or_default());
    let servers = document
        .get("authorization_servers")
        .and_then(Value::as_array);
    match servers {
        Some(servers) if member == "resource" => {
            let servers = servers.iter().filter_map(Value::as_str);
            let servers = names(servers);
            format!("the resource {value}; its authorization servers: {servers}")
        }
        _ => format!("the {member} {value}"),
    }
}

/// Shows foreign names, as many as are of use.
fn names<'a>(all: impl Iterator<Item = &'a str>) -> String {
    let mut shown: Vec<String> = all.take(MAX_NAMES + 1).map(printable).collect();
    if shown.len() > MAX_NAMES {
        shown[MAX_NAMES] = "...".into();
    }
    match shown.is_empty() {
        true => "none".into(),
        false => shown.join(" "),
    }
}

fn issuer(way: &Way, outcome: Result<Discovered, DiscoveryError>) -> (Finding, Option<Discovered>) {
    let check = Check::Issuer;
    let outcome = outcome.and_then(|found| {
        if signs_in_by_page(way, &found.server) {
            found.server.authorization_endpoint.clone()?;
        } else if way.identity.by_code && way.identity.grant_type.needs_person() {
            device::endpoint(&found.server).map_err(DiscoveryError::Refused)?;
        }
        Ok(found)
    });
    let discovered = match outcome {
        Ok(discovered) => discovered,
        Err(DiscoveryError::NoPkce(issuer)) => {
            let found = format!(
                "{issuer} does not announce that it checks PKCE (S256), without which a sign-in can be stolen"
            );
            let advice = "ask who runs it to announce it, or trust it all the same with --allow-missing-pkce";
            return (Finding::failed(check, found).advise(advice), None);
        }
        Err(DiscoveryError::Unanswered(why)) => {
            let advice = "try again later, or ask whoever runs it";
            return (Finding::failed(check, why).advise(advice), None);
        }
        Err(DiscoveryError::Refused(why)) => {
            let advice = "ask whoever runs the server to correct its metadata";
            return (Finding::failed(check, why).advise(advice), None);
        }
    };
    let finding = match discovered.server.is_assumed {
        true if !way.identity.grant_type.needs_person() => {
            let found = "nothing says which authorization server gives its tokens";
            Finding::failed(check, found).advise(way.identity.grant_type.where_nobody_is_named())
        }
        true => {
            let found = format!(
                "nothing says who signs people in for it: {} is taken for it, with the endpoints of revision 2025-03-26 (/authorize, /token, /register)",
                printable(&discovered.server.issuer)
            );
            Finding::warning(check, found)
                .advise("if that fails, give a token with --header 'Authorization: Bearer ...'")
        }
        false => Finding::ok(check, offered(way, &discovered)),
    };
    (finding, Some(discovered))
}

fn signs_in_by_page(way: &Way, server: &AuthorizationServer) -> bool {
    let by_code = way.identity.by_code || device::is_offered(server) && device::is_only_way(server);
    way.identity.grant_type.needs_person() && !by_code
}

fn offered(way: &Way, discovered: &Discovered) -> String {
    let server = &discovered.server;
    let by_page = signs_in_by_page(way, server);
    let way_in = match way.identity.allow_missing_pkce {
        _ if !way.identity.grant_type.needs_person() => "nobody signs in",
        _ if !by_page => "sign-ins by code",
        true => "PKCE is not asked for (--allow-missing-pkce)",
        false => "PKCE S256",
    };
    let registration = match (
        &server.registration_endpoint,
        server.client_id_metadata_document_supported,
    ) {
        (Some(_), true) => "registers clients, or takes their documents",
        (Some(_), false) => "registers clients",
        (None, true) => "takes documents of clients, registers none",
        (None, false) => "registers no clients",
    };
    let grants = match server.grant_types.is_empty() {
        true => "not said".into(),
        false => names(server.grant_types.iter().map(String::as_str)),
    };
    let scopes = discovered.scopes_supported.as_ref();
    let scopes = scopes.or(server.scopes_supported.as_ref());
    let scopes = scopes.map_or_else(|| "not said".into(), |scopes| names(scopes.tokens()));
    let resource = match &discovered.resource {
        Some(resource) => format!("; the resource that is asked for: {}", printable(resource)),
        None => String::new(),
    };
    format!(
        "{}: {way_in}; {registration}; grants: {grants}; scopes: {scopes}{resource}",
        printable(&server.issuer)
    )
}

/// Says as which client the next sign-in would be made.
fn registration(way: &Way, server: &AuthorizationServer, kept: Option<&Client>) -> Finding {
    let check = Check::Registration;
    match registration::given(&way.identity, server) {
        Some(Ok(client)) => {
            let how = match client.client_id.starts_with("https://") {
                true => "described by its document",
                false => "given with --static-oauth-client-info",
            };
            let id = printable(&client.client_id);
            return Finding::ok(check, format!("as the client {id}, {how}"));
        }
        Some(Err(error)) => {
            return Finding::failed(check, error.to_string()).advise("correct that flag");
        }
        None if !way.identity.grant_type.needs_person() => {
            return Finding::ok(
                check,
                "as no client: the token that is shown says whose it is",
            );
        }
        None => {}
    }
    let is_known = |client: &&Client| {
        let known = (*client).clone().known_to(server);
        known.issuer == server.issuer && !known.has_expired(SystemTime::now())
    };
    if let Some(client) = kept.filter(is_known) {
        let id = printable(&client.client_id);
        return Finding::ok(check, format!("as the client {id}, registered earlier"));
    }
    match &server.registration_endpoint {
        Some(endpoint) => {
            let endpoint = printable(&server_url::shown(endpoint));
            let found = format!("a sign-in would register a client at {endpoint}; none was registered now");
            Finding::ok(check, found)
        }
        None => Finding::failed(check, "it does not let programs register themselves").advise(
            "register a client there and give it with --static-oauth-client-info '{\"client_id\":\"...\"}'",
        ),
    }
}

/// Says which tokens there are.
async fn tokens(
    way: &Way,
    tools: &Tools,
    asked: &Asked,
    kept: &Kept,
    discovered: Option<&Discovered>,
    report: &Report,
) -> Ready {
    if let Some(grant) = &kept.stored.grant {
        let finding = of_grant(way, asked, kept, grant, discovered);
        report.say(finding).await;
        return Ready::There(tools.authority.source(way.identity.clone()));
    }
    if matches!(asked, Asked::Nothing) {
        report.say(nobody(way, asked, kept)).await;
        return Ready::Missing;
    }
    // A session may come by one without anybody.
    let source = tools.authority.source(way.identity.clone());
    source.ready().await;
    if source.current().is_none() {
        let finding = nobody(way, asked, kept);
        let signing_in = source.status().borrow().state == AuthState::SigningIn;
        report
            .say(match signing_in {
                true => finding.advise("a sign-in is under way: mcp-remote status has its URL"),
                false => finding,
            })
            .await;
        return Ready::Missing;
    }
    let found = match source.status().borrow().taken_over {
        true => "those of the npm package were taken over",
        false => "there is one",
    };
    report.say(Finding::ok(Check::Tokens, found)).await;
    Ready::There(source)
}

fn nobody(way: &Way, asked: &Asked, kept: &Kept) -> Finding {
    let found = match kept.is_damaged {
        true => "there is a file of tokens that cannot be read, so nobody is signed in",
        false => "nobody is signed in",
    };
    match asked {
        Asked::Refused(_) => Finding::failed(Check::Tokens, found)
            .advise(format!("run {}", way.identity.login_command()))
            .needs_login(),
        Asked::Served(_) => Finding::ok(Check::Tokens, format!("{found}, and nobody has to")),
        Asked::Nothing if kept.is_damaged => Finding::warning(Check::Tokens, found),
        Asked::Nothing => Finding::ok(Check::Tokens, found),
    }
}

fn of_grant(
    way: &Way,
    asked: &Asked,
    kept: &Kept,
    grant: &Grant,
    discovered: Option<&Discovered>,
) -> Finding {
    let check = Check::Tokens;
    let login = format!("run {}", way.identity.login_command());
    let issuer = grant.issuer.as_deref().unwrap_or("somebody unknown");
    let scope = match &grant.scope {
        Some(scope) => format!(" for {}", names(scope.tokens())),
        None => String::new(),
    };
    let now = SystemTime::now();
    let life = life(grant, now);
    let place = place(&kept.place);
    let found = format!("signed in at {}{scope}; {life}; {place}", printable(issuer));
    let other = discovered.filter(|it| !is_same_issuer(&it.server.issuer, issuer));
    if let Some(other) = other.filter(|_| grant.issuer.is_some()) {
        let other = printable(&other.server.issuer);
        return Finding::failed(
            check,
            format!("{found}; now {other} signs people in for it"),
        )
        .advise(login)
        .needs_login();
    }
    if let Some(why) = dpop::excluded(&way.identity, grant) {
        return Finding::failed(check, format!("{found}; {why}"))
            .advise(login)
            .needs_login();
    }
    if grant.has_expired(now) && grant.refresh_token.is_none() {
        return match asked {
            Asked::Served(_) => Finding::warning(check, found).advise(login),
            _ => Finding::failed(check, found).advise(login).needs_login(),
        };
    }
    match kept.place {
        Place::File {
            mode: Some(mode), ..
        } if mode & 0o077 != 0 => {
            let found =
                format!("{found}, which was open to other users and has been closed to them");
            Finding::warning(check, found).advise(format!(
                "if others use this machine: mcp-remote logout, then {login}"
            ))
        }
        _ if grant.has_expired(now) => Finding::warning(check, found),
        _ => Finding::ok(check, found),
    }
}

fn life(grant: &Grant, now: SystemTime) -> String {
    let Some(at) = grant.expires_at else {
        return "nobody said when the token expires".into();
    };
    let renewal = match grant.refresh_token {
        Some(_) => "a session renews it",
        None => "it cannot be renewed",
    };
    match at.duration_since(now) {
        Ok(left) => format!("the token expires in {}, {renewal}", span(left)),
        Err(ago) => format!("the token expired {} ago, {renewal}", span(ago.duration())),
    }
}

fn place(place: &Place) -> String {
    match place {
        Place::Nowhere => "kept in memory only".into(),
        Place::Keyring => "kept in the keyring".into(),
        Place::File { path, mode: None } => format!("kept in {}", path.display()),
        Place::File {
            path,
            mode: Some(mode),
        } => format!("kept in {} (mode {mode:o})", path.display()),
    }
}
