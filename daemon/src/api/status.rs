//! What the daemon holds, as `status` shows it: the very values that the code
//! uses, so that status cannot disagree with behaviour.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{SystemTime, UNIX_EPOCH};

use mcp_remote_proto::v1::{self, ServerState, ServerStatus, StatusResponse};

use super::Api;
use super::servers::shown_url;
use crate::configuration::Entry;
use crate::oauth::identity::IdentityHash;
use crate::oauth::token_source::{AuthState, TokenSource};
use crate::server_url::shown;
use crate::session::Server;
use crate::session::server::Facts;
use crate::upstream::{TransportKind, UpstreamError};

/// Returns the state of everything, or of one server.
pub(super) fn now(api: &Api, server: &str) -> StatusResponse {
    let wanted = Wanted::new(server, &names(api));
    let mut servers = all(api);
    servers.retain(|known| wanted.is_row(known));
    StatusResponse {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        uptime_ms: u64::try_from(api.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        started_by: api.config.started_by.as_str().into(),
        socket: api.socket.clone(),
        servers,
        shims: *api.shims.borrow(),
        health: health(api),
    }
}

/// Which servers somebody asks about: one, by name or URL as the URL parser writes
/// it, with or without a final slash, or all.
#[derive(Debug)]
pub(super) struct Wanted {
    /// Empty: all.
    url: String,
    /// The name by which it was asked for.
    name: Option<String>,
    /// What it is called besides.
    names: Vec<String>,
}

/// The names of the configuration and the URLs that they stand for.
pub(super) fn names(api: &Api) -> Vec<(String, String)> {
    let configuration = api.settings.now();
    let servers = configuration.servers.iter();
    let named = servers.filter_map(|(name, entry)| {
        let url = shown_url(entry)?.shown().to_owned();
        Some((name.clone(), url))
    });
    named.collect()
}

impl Wanted {
    /// Reads what was asked for; empty: all.
    pub(super) fn new(server: &str, names: &[(String, String)]) -> Self {
        let named = names.iter().find(|(name, _)| name == server);
        let name = named.map(|(name, _)| name.clone());
        let url = match named {
            Some((_, url)) => url.clone(),
            None => url::Url::parse(server).map_or_else(|_| server.to_owned(), |url| shown(&url)),
        };
        let url = url.trim_end_matches('/').to_owned();
        let same = |other: &str| !url.is_empty() && other.trim_end_matches('/') == url;
        let others = names.iter().filter(|(_, other)| same(other));
        let names = others.map(|(name, _)| name.clone()).collect();
        Self { url, name, names }
    }

    /// Says whether a row of the status is about it: by its name it is that one alone,
    /// by its URL whatever is called.
    fn is_row(&self, row: &ServerStatus) -> bool {
        match &self.name {
            Some(name) => row.names.contains(name),
            None => self.is(&row.url),
        }
    }

    /// Says whether the server that people see so is one of them.
    pub(super) fn is(&self, shown: &str) -> bool {
        self.url.is_empty()
            || shown.trim_end_matches('/') == self.url
            || self.names.iter().any(|name| name == shown)
    }
}

/// One line of the status: a name of the configuration, or a URL that is used as such.
struct Row {
    /// In use or from earlier days; none: not used yet.
    server: Option<Arc<Server>>,
    url: String,
    /// What the configuration says, by its name.
    entry: Option<(String, Entry)>,
    /// The grants that are its own.
    identities: Vec<IdentityHash>,
}

/// Every server that is known, in use or from earlier days or from the configuration.
fn all(api: &Api) -> Vec<ServerStatus> {
    let grants: Vec<TokenSource> = api.authority.sources();
    let rows = rows(api);
    let mut all: Vec<ServerStatus> = rows
        .iter()
        .map(|row| {
            let is_its = |grant: &&TokenSource| {
                let of = |row: &Row| row.identities.contains(grant.hash());
                grant.identity().server.shown() == row.url && (of(row) || !rows.iter().any(of))
            };
            let grants: Vec<_> = grants.iter().filter(is_its).collect();
            let to_be_mended = |grant: &&TokenSource| grant.status().borrow().to_be_mended;
            let is_it = grants.iter().any(to_be_mended);
            let auth = grants.into_iter();
            let auth = auth.filter_map(|grant| status_of(api, grant)).collect();
            let mut status = one(row, auth);
            status.to_be_mended |= is_it;
            // What is switched off need not work.
            status.to_be_mended &= status.state() != ServerState::Disabled;
            status
        })
        .collect();
    all.sort_by(|one, other| (&one.url, &one.names).cmp(&(&other.url, &other.names)));
    all
}

fn rows(api: &Api) -> Vec<Row> {
    let configuration = api.settings.now();
    let named = configuration.servers.iter().filter_map(|(name, entry)| {
        let url = shown_url(entry)?;
        Some(Row {
            server: api.servers.find(&url, name),
            url: url.shown().to_owned(),
            entry: Some((name.clone(), entry.clone())),
            identities: api.identity_of(entry).into_iter().collect(),
        })
    });
    let mut rows: Vec<Row> = named.collect();
    for server in api.servers.all() {
        let same = |row: &&mut Row| {
            row.server
                .as_ref()
                .is_some_and(|other| Arc::ptr_eq(other, &server))
        };
        let used = server.facts().identities;
        if let Some(row) = rows.iter_mut().find(same) {
            row.identities.extend(used);
            continue;
        }
        // What has another name by now, or none, counts until it is left.
        let in_use = server.idle.get() + server.leased.get() + server.shims.get() > 0;
        if server.called.is_empty() || in_use {
            rows.push(Row {
                url: server.shown.clone(),
                server: Some(server),
                entry: None,
                identities: used,
            });
        }
    }
    rows
}

fn health(api: &Api) -> Vec<String> {
    let mut sentences: Vec<String> = api.settings.problem().into_iter().collect();
    sentences.extend(api.settings.warnings());
    let path = api.settings.path().display();
    let troubles = api.settings.now().troubles();
    sentences.extend(troubles.iter().map(|trouble| format!("{path}: {trouble}")));
    if !api.servers.are_kept() {
        sentences
            .push("nothing is kept across restarts, since the storage failed: see the log".into());
    }
    sentences
}

/// Compares but for what changes with time alone.
pub(super) fn differs(a: &StatusResponse, b: &StatusResponse) -> bool {
    a.servers != b.servers || a.shims != b.shims || a.health != b.health
}

fn one(row: &Row, auth: Vec<v1::AuthStatus>) -> ServerStatus {
    let mut status = match &row.server {
        Some(server) => used(server, auth),
        None => ServerStatus {
            url: row.url.clone(),
            state: unused(&auth).into(),
            auth,
            ..ServerStatus::default()
        },
    };
    let Some((name, entry)) = &row.entry else {
        return status;
    };
    status.names.push(name.clone());
    let is_open = status.sessions_idle + status.sessions_leased > 0;
    let usable = entry.is_enabled() && entry.trouble.is_none();
    if !usable && !is_open {
        status.set_state(ServerState::Disabled);
        // What else went wrong with it does not matter any more.
        status.last_error.clear();
    }
    if let Some(trouble) = &entry.trouble {
        status.last_error.clone_from(trouble);
    }
    status
}

fn used(server: &Server, auth: Vec<v1::AuthStatus>) -> ServerStatus {
    let facts = server.facts();
    let percentiles = server.percentiles();
    let state = state(server, &facts, &auth);
    let to_be_mended = needs_nobody(&auth) && has_been_refused(&facts, &auth);
    let next_attempt = facts.next_attempt();
    let next_attempt_unix_ms = next_attempt.map_or(0, |attempt| attempt.at_unix_ms);
    let error = next_attempt.map(|attempt| &attempt.error);
    let error = error.or(facts.last_error.as_ref());
    let last_error = error.map(UpstreamError::to_string).unwrap_or_default();
    ServerStatus {
        url: server.shown.clone(),
        state: state.into(),
        transport: facts
            .spoken
            .map(TransportKind::as_str)
            .unwrap_or_default()
            .into(),
        last_error,
        protocol_version: facts.protocol_version,
        server_name: facts.name,
        server_version: facts.version,
        sessions_idle: server.idle.get(),
        sessions_leased: server.leased.get(),
        shims: server.shims.get(),
        calls: server.calls.load(Relaxed),
        errors: server.errors.load(Relaxed),
        p50_us: percentiles.map(|(p50, _)| p50),
        p99_us: percentiles.map(|(_, p99)| p99),
        last_used_unix_ms: facts.last_used_unix_ms,
        names: Vec::new(),
        next_attempt_unix_ms,
        tools_known: facts.tools_known,
        to_be_mended,
        auth,
    }
}

/// Says how a grant stands; `None`: nobody is signed in, and nobody has to.
fn status_of(api: &Api, source: &TokenSource) -> Option<v1::AuthStatus> {
    let status = source.status().borrow().clone();
    let state = match status.state {
        AuthState::Anonymous => return None,
        AuthState::SignedIn => v1::AuthState::SignedIn,
        AuthState::Expired => v1::AuthState::Expired,
        AuthState::SigningIn => v1::AuthState::SigningIn,
        AuthState::NeedsLogin => v1::AuthState::NeedsLogin,
        AuthState::Failed => v1::AuthState::Failed,
    };
    let identity = source.identity();
    let since_epoch = |time: Option<SystemTime>| {
        let time = time?.duration_since(UNIX_EPOCH).ok()?;
        u64::try_from(time.as_millis()).ok()
    };
    let ms = |time| since_epoch(time).unwrap_or_default();
    let code = status
        .sign_in
        .as_ref()
        .and_then(|pending| pending.url.code());
    let (user_code, verification_uri) = code
        .map(|code| (code.code.clone(), code.page.to_string()))
        .unwrap_or_default();
    Some(v1::AuthStatus {
        state: state.into(),
        issuer: status.issuer.unwrap_or_default(),
        scopes: status
            .scope
            .map(|scope| scope.to_string())
            .unwrap_or_default(),
        expires_at_unix_ms: ms(status.expires_at),
        last_refresh_unix_ms: ms(status.last_refresh),
        next_refresh_unix_ms: ms(status.next_refresh),
        sign_in_url: status
            .sign_in
            .map(|pending| pending.url.as_str().to_owned())
            .unwrap_or_default(),
        identity: source.hash().short().to_owned(),
        last_error: status.trouble.unwrap_or_default(),
        folder: api
            .authority
            .other_folder(source.hash())
            .map(|folder| folder.display().to_string())
            .unwrap_or_default(),
        login: identity.login_command(),
        account: identity.account().unwrap_or_default(),
        user_code,
        verification_uri,
    })
}

/// Says how a server stands of which its grants alone are known.
fn unused(auth: &[v1::AuthStatus]) -> ServerState {
    let needs_somebody = |grant: &v1::AuthStatus| {
        matches!(
            grant.state(),
            v1::AuthState::NeedsLogin | v1::AuthState::SigningIn
        )
    };
    match auth.iter().any(needs_somebody) {
        true => ServerState::NeedsLogin,
        false => ServerState::Idle,
    }
}

/// Says whether it has grants for which nobody signs in, and no others.
fn needs_nobody(auth: &[v1::AuthStatus]) -> bool {
    !auth.is_empty() && auth.iter().all(|grant| !grant.account.is_empty())
}

/// Says whether the server has refused the newest token, and there is no other.
fn has_been_refused(facts: &Facts, auth: &[v1::AuthStatus]) -> bool {
    let has_token = |grant: &v1::AuthStatus| {
        grant.state() == v1::AuthState::SignedIn && grant.last_error.is_empty()
    };
    let error = facts.last_error.as_ref();
    auth.iter().all(has_token) && error.and_then(UpstreamError::http_status) == Some(401)
}

fn state(server: &Server, facts: &Facts, auth: &[v1::AuthStatus]) -> ServerState {
    let sessions = server.idle.get() + server.leased.get();
    if unused(auth) == ServerState::NeedsLogin {
        return ServerState::NeedsLogin;
    }
    let needs_nobody = needs_nobody(auth);
    let has_failed = |grant: &v1::AuthStatus| grant.state() == v1::AuthState::Failed;
    let fails = || auth.iter().any(has_failed) || has_been_refused(facts, auth);
    if facts.next_attempt().is_some() || (needs_nobody && fails()) {
        return ServerState::BackingOff;
    }
    if server.is_connecting() {
        return ServerState::Connecting;
    }
    match &facts.last_error {
        Some(UpstreamError::Unauthorized(_) | UpstreamError::NotSignedIn { .. })
            if !needs_nobody =>
        {
            ServerState::NeedsLogin
        }
        Some(UpstreamError::SessionGone(_) | UpstreamError::SessionLost(_)) if sessions > 0 => {
            ServerState::SessionLost
        }
        // Nobody has it any more, so nothing is amiss.
        Some(UpstreamError::SessionGone(_) | UpstreamError::SessionLost(_)) => ServerState::Idle,
        // One request that takes too long says little about a session that is open.
        Some(UpstreamError::Unreachable(_) | UpstreamError::Busy { .. }) => ServerState::BackingOff,
        Some(_) if sessions == 0 => ServerState::BackingOff,
        _ if sessions > 0 => ServerState::Ready,
        _ => ServerState::Idle,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_asked_about_as_it_is_written_anywhere() {
        for (asked, shown, expected) in [
            ("", "https://h/mcp", true),
            ("https://h/mcp", "https://h/mcp", true),
            ("https://h/mcp/", "https://h/mcp", true),
            ("HTTPS://H:443/mcp?key=x", "https://h/mcp", true),
            ("https://h", "https://h/", true),
            ("https://h/other", "https://h/mcp", false),
            ("nonsense", "https://h/mcp", false),
            ("named", "https://h/mcp", true),
            ("named", "named", true),
            ("https://h/mcp", "named", true),
            ("other", "https://h/mcp", false),
            ("https://h/mcp", "other", false),
        ] {
            let names = [("named", "https://h/mcp"), ("other", "https://o/")];
            let names = names.map(|(name, url)| (name.to_owned(), url.to_owned()));
            let wanted = Wanted::new(asked, &names);
            assert_eq!(wanted.is(shown), expected, "{asked} {shown}");
        }
    }
}
