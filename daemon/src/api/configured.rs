//! Opening frames and the configuration: the entry that a frame names, or what
//! counts for all, says whatever the command line leaves unsaid.
//!
//! An entry acts as flags would, so that a name and its URL with the same flags are
//! one identity and share sessions and tokens.

use std::time::Duration;

use mcp_remote_proto::v1;

use super::Api;
use super::convert::{self, Opening};
use super::login_command;
use crate::config::Config;
use crate::configuration::document::{self, Seconds, ServerTable, Texts};
use crate::configuration::{Entry, EntryHeader, Settings};
use crate::oauth::grant_type::GrantType;
use crate::oauth::identity::IdentityHash;
use crate::secret::Secret;
use crate::session::Terms;

/// How often the server is pinged with `keep_alive` alone, as with the flag.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// What an opening frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    /// Speaking with the server.
    Use,
    /// Forgetting who is signed in, which goes for one that cannot be used too.
    Forget,
}

impl Api {
    /// Checks an opening frame, and adds what the configuration says.
    ///
    /// # Errors
    /// A sentence about what is wrong; never a secret.
    pub(super) fn opening(&self, mut open: v1::Open, purpose: For) -> Result<Opening, String> {
        let named = !open.name.is_empty();
        let entry = match named {
            true if !open.server_url.is_empty() => {
                return Err("both the name and the URL of a server are given".into());
            }
            true => self.settings.server(&open.name)?,
            false => self.settings.now().defaults.clone(),
        };
        if purpose == For::Use {
            usable(&entry, &open.name, &self.settings)?;
        }
        let says_whose = says_whose(&open);
        let terms = Terms {
            name: named.then(|| open.name.as_str().into()),
            idle_for: entry.table.session_idle.map(|Seconds(time)| time),
            warm: named && entry.is_kept_warm(),
        };
        let login = login_command::of(&open, &self.config);
        fill(&mut open, &entry);
        let mut opening = convert::opening(open, &self.config)?;
        opening.terms = terms;
        opening.identity.login = login.into();
        if !says_whose {
            token_command(&mut opening, &entry)?;
        }
        Ok(opening)
    }

    /// Says which grant an entry is used with, unless a command line says more.
    pub(super) fn identity_of(&self, entry: &Entry) -> Option<IdentityHash> {
        let mut open = v1::Open::default();
        fill(&mut open, entry);
        let mut opening = convert::opening(open, &self.config).ok()?;
        token_command(&mut opening, entry).ok()?;
        (!opening.spec.headers.authorize()).then(|| opening.identity.hash())
    }
}

fn usable(entry: &Entry, name: &str, settings: &Settings) -> Result<(), String> {
    let path = settings.path().display();
    if !entry.is_enabled() {
        return Err(format!(
            "the server {name} is switched off: remove enabled = false in {path}, then run mcp-remote reload"
        ));
    }
    match (&entry.trouble, name) {
        (None, _) => Ok(()),
        (Some(trouble), "") => Err(format!("{path}: [defaults]: {trouble}")),
        (Some(trouble), name) => Err(format!("{path}: {name}: {trouble}")),
    }
}

/// Says whether an entry makes sense, in the words of the command line.
///
/// # Errors
/// A sentence that names the flag and repeats no value.
pub(crate) fn check(entry: &Entry, config: &Config) -> Result<(), String> {
    let proxy = entry.table.proxy.as_deref().unwrap_or("none");
    let schemes = ["http", "https", "socks4", "socks5", "socks5h"];
    let is_proxy = |text| {
        url::Url::parse(text).is_ok_and(|url| schemes.contains(&url.scheme()) && url.has_host())
    };
    if !matches!(proxy, "none" | "environment") && !is_proxy(proxy) {
        return Err(
            "the value of --proxy is neither the URL of a proxy nor \"none\" nor \"environment\""
                .into(),
        );
    }
    let mut open = v1::Open::default();
    fill(&mut open, entry);
    if entry.table.url.is_none() {
        // Any will do to check the rest.
        open.server_url = "https://localhost/".into();
    }
    let mut opening = convert::opening(open, config)?;
    token_command(&mut opening, entry)
}

/// Says whether the command line itself says whose token is sent.
fn says_whose(open: &v1::Open) -> bool {
    let of_auth =
        |auth: &v1::AuthOptions| auth.client_credentials || !auth.bearer_token_file.is_empty();
    open.auth.as_ref().is_some_and(of_auth)
        || open.headers.iter().any(|it| is_credentials(&it.name))
}

fn is_credentials(header: &str) -> bool {
    header.eq_ignore_ascii_case("authorization")
}

/// Has the program that the entry names print the tokens. No frame can name one: whoever
/// can only reach the socket must not have programs started.
fn token_command(opening: &mut Opening, entry: &Entry) -> Result<(), String> {
    let Some(words) = &entry.table.bearer_token_command else {
        return Ok(());
    };
    let identity = &mut opening.identity;
    if !identity.grant_type.needs_person() || opening.spec.headers.authorize() {
        return Err("bearer_token_command stands beside another key that says whose token is sent (client_credentials, bearer_token_file, the header Authorization): keep one of them".into());
    }
    if words.first().is_none_or(String::is_empty) {
        return Err(
            "bearer_token_command has no program: write [\"PROGRAM\", \"ARGUMENT\"]".into(),
        );
    }
    identity.grant_type = GrantType::TokenCommand(Secret::new(words.clone()));
    Ok(())
}

/// Says for each thing that the frame does not what the entry does.
fn fill(open: &mut v1::Open, entry: &Entry) {
    let table = &entry.table;
    if open.server_url.is_empty() {
        open.server_url = table.url.clone().unwrap_or_default();
    }
    options(open.options.get_or_insert_default(), table);
    match table.proxy.as_deref() {
        None | Some("environment") => {}
        Some("none") => {
            open.proxy = Some(v1::ProxyEnvironment {
                no_proxy: "*".into(),
                ..v1::ProxyEnvironment::default()
            });
        }
        Some(proxy) => {
            open.proxy = Some(v1::ProxyEnvironment {
                http_proxy: proxy.into(),
                https_proxy: proxy.into(),
                all_proxy: proxy.into(),
                no_proxy: table.no_proxy.clone().unwrap_or_default(),
            });
        }
    }
    if table.no_browser == Some(true)
        && let Some(display) = &mut open.display
    {
        display.no_browser = true;
        display.may_open_browser = false;
    }
    let says_whose = says_whose(open);
    auth(open.auth.get_or_insert_default(), entry, says_whose);
    headers(open, &entry.headers, says_whose);
    // Whoever runs login can be asked.
    let is_login = open.purpose() == v1::Purpose::Login;
    if table.non_interactive == Some(true)
        && !is_login
        && let Some(display) = &mut open.display
    {
        display.non_interactive = true;
    }
}

fn options(options: &mut v1::Options, table: &document::ServerTable) {
    options.allow_http |= table.allow_http == Some(true);
    if options.transport() == v1::Transport::Unspecified
        && let Some(transport) = table.transport
    {
        options.set_transport(match transport {
            document::Transport::HttpFirst => v1::Transport::HttpFirst,
            document::Transport::SseFirst => v1::Transport::SseFirst,
            document::Transport::HttpOnly => v1::Transport::HttpOnly,
            document::Transport::SseOnly => v1::Transport::SseOnly,
        });
    }
    if options.reuse() == v1::Reuse::Unspecified
        && let Some(reuse) = table.reuse
    {
        options.set_reuse(match reuse {
            document::Reuse::Never => v1::Reuse::Never,
            document::Reuse::Sequential => v1::Reuse::Sequential,
            document::Reuse::Concurrent => v1::Reuse::Concurrent,
        });
    }
    unsaid(&mut options.ca_file, table.ca_file.as_ref());
    connection(options, table);
    if options.cache_lists.is_empty()
        && let Some(cached) = table.cache_lists
    {
        options.cache_lists = cached.text();
    }
    if options.request_timeout_ms == 0
        && !options.no_request_timeout
        && let Some(Seconds(timeout)) = table.request_timeout
    {
        options.request_timeout_ms = milliseconds(timeout);
    }
}

/// What goes over the connection, and how long it may take.
fn connection(options: &mut v1::Options, table: &document::ServerTable) {
    if options.ignore_tools.is_empty()
        && let Some(Texts(patterns)) = &table.ignore_tools
    {
        options.ignore_tools.clone_from(patterns);
    }
    let usual = (table.keep_alive == Some(true)).then_some(Seconds(PING_INTERVAL));
    // What the command line wants to last for ever does.
    let (no_headers, no_body) = (options.no_headers_timeout, options.no_body_timeout);
    let headers = table.headers_timeout.filter(|_| !no_headers);
    let body = table.body_timeout.filter(|_| !no_body);
    for (place, written) in [
        (&mut options.ping_interval_ms, table.ping_interval.or(usual)),
        (&mut options.connect_timeout_ms, table.connect_timeout),
        (&mut options.headers_timeout_ms, headers),
        (&mut options.body_timeout_ms, body),
    ] {
        if *place == 0
            && let Some(Seconds(time)) = written
        {
            *place = milliseconds(time);
        }
    }
    options.ipv4 |= table.ipv4 == Some(true);
    options.disable_cookies |= table.disable_cookies == Some(true);
}

fn auth(auth: &mut v1::AuthOptions, entry: &Entry, says_whose: bool) {
    let table = &entry.table;
    if !says_whose {
        account(auth, table);
    }
    // As which client, and for which resource, is said as a whole.
    if auth.static_client_info.is_empty() && auth.client_metadata_url.is_empty() {
        auth.static_client_info
            .clone_from(entry.client_info.reveal());
        unsaid(
            &mut auth.client_metadata_url,
            table.client_metadata_url.as_ref(),
        );
    }
    if auth.resource.is_empty() && !auth.disable_resource {
        unsaid(&mut auth.resource, table.resource.as_ref());
        auth.disable_resource = table.disable_resource_parameter == Some(true);
    }
    unsaid(
        &mut auth.static_client_metadata,
        Some(entry.client_metadata.reveal()),
    );
    for (name, value) in table.authorize_params.iter().flatten() {
        if !auth.authorize_params.iter().any(|said| said.name == *name) {
            auth.authorize_params.push(v1::AuthorizeParam {
                name: name.clone(),
                value: value.clone(),
            });
        }
    }
    if auth.callback_port == 0 {
        auth.callback_port = table.callback_port.unwrap_or_default().into();
    }
    unsaid(&mut auth.callback_host, table.callback_host.as_ref());
    unsaid(&mut auth.callback_path, table.callback_path.as_ref());
    unsaid(&mut auth.success_url, table.auth_success_url.as_ref());
    if auth.timeout_s == 0
        && let Some(Seconds(timeout)) = table.auth_timeout
    {
        let seconds = timeout.as_secs_f64().ceil();
        // Saturates.
        auth.timeout_s = seconds as u32;
    }
    auth.use_id_token |= table.use_id_token == Some(true);
    auth.allow_missing_pkce |= table.allow_missing_pkce == Some(true);
    auth.device_code |= table.device_code == Some(true);
    if auth.dpop() == v1::Dpop::Unspecified
        && let Some(dpop) = table.dpop
    {
        auth.set_dpop(match dpop {
            document::Dpop::Auto => v1::Dpop::Auto,
            document::Dpop::Always => v1::Dpop::Always,
            document::Dpop::Never => v1::Dpop::Never,
        });
    }
    federation(auth, entry);
}

fn account(auth: &mut v1::AuthOptions, table: &ServerTable) {
    auth.client_credentials = table.client_credentials == Some(true);
    for (place, written) in [
        (&mut auth.token_endpoint, &table.token_endpoint),
        (&mut auth.client_key, &table.client_key),
        (&mut auth.client_key_id, &table.client_key_id),
        (
            &mut auth.client_assertion_audience,
            &table.client_assertion_audience,
        ),
        (&mut auth.bearer_token_file, &table.bearer_token_file),
    ] {
        unsaid(place, written.as_ref());
    }
}

/// What belongs to an identity provider is shown to no other one.
fn federation(auth: &mut v1::AuthOptions, entry: &Entry) {
    let table = &entry.table;
    unsaid(
        &mut auth.workload_token_file,
        table.workload_token_file.as_ref(),
    );
    if !auth.identity_provider.is_empty() {
        return;
    }
    unsaid(
        &mut auth.identity_provider,
        table.identity_provider.as_ref(),
    );
    unsaid(
        &mut auth.identity_provider_client,
        Some(entry.identity_provider_client.reveal()),
    );
    unsaid(
        &mut auth.identity_provider_key,
        table.identity_provider_key.as_ref(),
    );
    unsaid(
        &mut auth.subject_token_file,
        table.subject_token_file.as_ref(),
    );
    let kind = table
        .subject_token_type
        .map(|kind| kind.as_str().to_owned());
    unsaid(&mut auth.subject_token_type, kind.as_ref());
}

/// A header of the command line stands for all of its name, and a flag that says whose
/// token is sent for the header that would.
fn headers(open: &mut v1::Open, entry: &[EntryHeader], says_whose: bool) {
    let said = std::mem::take(&mut open.headers);
    let auth = open.auth.get_or_insert_default();
    for header in entry {
        let is_said = |given: &v1::Header| given.name.eq_ignore_ascii_case(&header.name);
        if said.iter().any(is_said) || (says_whose && is_credentials(&header.name)) {
            continue;
        }
        auth.raw_headers.push(header.raw.reveal().clone());
        open.headers.push(v1::Header {
            name: header.name.clone(),
            value: header.value.reveal().clone(),
        });
    }
    open.headers.extend(said);
}

/// Says it if it is not said yet.
fn unsaid(place: &mut String, value: Option<&String>) {
    if place.is_empty()
        && let Some(value) = value
    {
        place.clone_from(value);
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
