//! The calls about the configuration file: read it again, change it, show it.

use mcp_remote_proto::v1::{
    AddServerRequest, AddServerResponse, ConfiguredServer, ListServersResponse, ReloadResponse,
    RemoveServerResponse, Setting,
};

use super::Api;
use crate::configuration::document::{
    CacheLists, Dpop, Reuse, Seconds, ServerTable, Texts, Transport,
};
use crate::configuration::{self, Change, Entry, Settings};
use crate::server_url::ServerUrl;
use crate::session::Outdated;

impl Api {
    /// Reads again what was read from files, and forgets what was concluded. Of the
    /// sessions only those of servers whose entries have changed end.
    ///
    /// # Errors
    /// Why the configuration cannot be used, in one sentence; the one before stays.
    pub(crate) async fn reload(&self) -> Result<ReloadResponse, String> {
        self.connections.renew_changed().await;
        self.servers.forget_transports();
        let change = blocking(&self.settings, Settings::reload).await?;
        let response = ReloadResponse {
            changed: change.names.iter().cloned().collect(),
            notes: change.notes.clone(),
        };
        self.end_outdated(change).await;
        tracing::info!("reloaded");
        Ok(response)
    }

    /// Writes a server into the file.
    ///
    /// # Errors
    /// Why not, in one sentence.
    pub(super) async fn add_server(
        &self,
        request: AddServerRequest,
    ) -> Result<AddServerResponse, String> {
        let AddServerRequest {
            name,
            url,
            settings,
            replace,
        } = request;
        let settings: Vec<_> = settings
            .into_iter()
            .map(|Setting { flag, value }| configuration::Setting { flag, value })
            .collect();
        let adding = move |known: &Settings| known.add(&name, url.trim(), &settings, replace);
        let (change, replaced) = blocking(&self.settings, adding).await?;
        let notes = change.notes.clone();
        self.end_outdated(change).await;
        Ok(AddServerResponse {
            file: self.settings.path().display().to_string(),
            replaced,
            notes,
        })
    }

    /// Takes a server out of the file.
    ///
    /// # Errors
    /// Why not, in one sentence.
    pub(super) async fn remove_server(&self, name: String) -> Result<RemoveServerResponse, String> {
        let change = blocking(&self.settings, move |known| known.remove(&name)).await?;
        let notes = change.notes.clone();
        self.end_outdated(change).await;
        Ok(RemoveServerResponse {
            file: self.settings.path().display().to_string(),
            notes,
        })
    }

    /// Shows the servers in force.
    pub(super) fn list_servers(&self) -> ListServersResponse {
        let servers = &self.settings.now().servers;
        ListServersResponse {
            file: self.settings.path().display().to_string(),
            problem: self.settings.problem().unwrap_or_default(),
            servers: servers
                .iter()
                .map(|(name, entry)| configured(name, entry))
                .collect(),
        }
    }

    async fn end_outdated(&self, change: Change) {
        let outdated = Outdated {
            names: change.names,
            urls: change.defaults,
        };
        if outdated != Outdated::default() {
            self.pool.end_outdated(outdated).await;
        }
    }
}

async fn blocking<T: Send + 'static>(
    settings: &Settings,
    work: impl FnOnce(&Settings) -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let settings = settings.clone();
    tokio::task::spawn_blocking(move || work(&settings))
        .await
        .unwrap_or_else(|_| Err("the daemon is stopping".into()))
}

/// Returns the URL of an entry as people may see it.
pub(super) fn shown_url(entry: &Entry) -> Option<ServerUrl> {
    // It was checked when the file was read.
    ServerUrl::parse(entry.table.url.as_deref()?, true).ok()
}

fn configured(name: &str, entry: &Entry) -> ConfiguredServer {
    let url = shown_url(entry);
    let mut headers: Vec<String> = Vec::new();
    for header in &entry.headers {
        if !headers.contains(&header.name) {
            headers.push(header.name.clone());
        }
    }
    ConfiguredServer {
        name: name.to_owned(),
        url: url.map(|url| url.shown().to_owned()).unwrap_or_default(),
        enabled: entry.is_enabled(),
        warm: entry.is_kept_warm(),
        headers,
        settings: settings(&entry.table),
        problem: entry.trouble.clone().unwrap_or_default(),
    }
}

/// Returns a URL without what may be secret in it.
fn shown_text(text: &str) -> String {
    match url::Url::parse(text) {
        Ok(url) => crate::server_url::shown(&url),
        Err(_) => text.to_owned(),
    }
}

/// Returns every setting that is not a secret, as in the file.
fn settings(table: &ServerTable) -> Vec<Setting> {
    let all = connection(table).into_iter().chain(sign_in(table));
    let written = all.filter_map(|(key, value)| {
        Some(Setting {
            flag: key.to_owned(),
            value: value?,
        })
    });
    written.collect()
}

/// A key and its value, if it is written.
type Key = (&'static str, Option<String>);

fn switch(value: Option<bool>) -> Option<String> {
    value.map(|value| value.to_string())
}

fn seconds(value: Option<Seconds>) -> Option<String> {
    value.map(Seconds::text)
}

fn connection(table: &ServerTable) -> Vec<Key> {
    let texts = |value: &Option<Texts>| value.as_ref().map(|Texts(texts)| texts.join(","));
    let transport = table.transport.map(|transport| match transport {
        Transport::HttpFirst => "http-first",
        Transport::SseFirst => "sse-first",
        Transport::HttpOnly => "http-only",
        Transport::SseOnly => "sse-only",
    });
    let reuse = table.reuse.map(|reuse| match reuse {
        Reuse::Never => "never",
        Reuse::Sequential => "sequential",
        Reuse::Concurrent => "concurrent",
    });
    let cache_lists = table.cache_lists.map(CacheLists::text);
    // Credentials of a proxy are nobody's business.
    let proxy = table.proxy.as_deref().map(shown_text);
    vec![
        ("header_file", texts(&table.header_file)),
        ("transport", transport.map(str::to_owned)),
        ("reuse", reuse.map(str::to_owned)),
        ("session_idle", seconds(table.session_idle)),
        ("cache_lists", cache_lists),
        ("ignore_tools", texts(&table.ignore_tools)),
        ("allow_http", switch(table.allow_http)),
        ("ca_file", table.ca_file.clone()),
        ("proxy", proxy),
        ("no_proxy", table.no_proxy.clone()),
        ("request_timeout", seconds(table.request_timeout)),
        ("connect_timeout", seconds(table.connect_timeout)),
        ("headers_timeout", seconds(table.headers_timeout)),
        ("body_timeout", seconds(table.body_timeout)),
        ("keep_alive", switch(table.keep_alive)),
        ("ping_interval", seconds(table.ping_interval)),
        ("ipv4", switch(table.ipv4)),
        ("disable_cookies", switch(table.disable_cookies)),
    ]
}

fn sign_in(table: &ServerTable) -> Vec<Key> {
    let dpop = table.dpop.map(|dpop| match dpop {
        Dpop::Auto => "auto",
        Dpop::Always => "always",
        Dpop::Never => "never",
    });
    let params = table.authorize_params.as_ref();
    let params = params.map(|params| params.keys().cloned().collect::<Vec<_>>().join(","));
    let endpoint = table.token_endpoint.as_deref().map(shown_text);
    // What follows the program may be secret.
    let words = table.bearer_token_command.as_ref();
    let command = words.and_then(|words| words.first().cloned());
    let subject = table.subject_token_type.map(|kind| kind.as_str());
    let port = table.callback_port.map(|port| port.to_string());
    vec![
        ("auth_timeout", seconds(table.auth_timeout)),
        ("callback_port", port),
        ("callback_host", table.callback_host.clone()),
        ("callback_path", table.callback_path.clone()),
        ("auth_success_url", table.auth_success_url.clone()),
        ("no_browser", switch(table.no_browser)),
        ("device_code", switch(table.device_code)),
        ("non_interactive", switch(table.non_interactive)),
        ("client_metadata_url", table.client_metadata_url.clone()),
        ("resource", table.resource.clone()),
        (
            "disable_resource_parameter",
            switch(table.disable_resource_parameter),
        ),
        ("authorize_params", params),
        ("scope", table.scope.clone()),
        ("use_id_token", switch(table.use_id_token)),
        ("allow_missing_pkce", switch(table.allow_missing_pkce)),
        ("client_credentials", switch(table.client_credentials)),
        ("token_endpoint", endpoint),
        ("client_key", table.client_key.clone()),
        ("client_key_id", table.client_key_id.clone()),
        (
            "client_assertion_audience",
            table.client_assertion_audience.clone(),
        ),
        ("bearer_token_file", table.bearer_token_file.clone()),
        ("bearer_token_command", command),
        ("dpop", dpop.map(str::to_owned)),
        ("workload_token_file", table.workload_token_file.clone()),
        ("identity_provider", table.identity_provider.clone()),
        ("identity_provider_key", table.identity_provider_key.clone()),
        ("subject_token_file", table.subject_token_file.clone()),
        ("subject_token_type", subject.map(str::to_owned)),
    ]
}
