//! The configuration file as it is written: every key that there is, and what may
//! stand behind it. Knows nothing of what the keys do.
//!
//! An unknown key or a value of another type is an error; where it stands is found
//! out by `parse.rs`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

/// The whole file.
#[derive(Clone, Default, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Document {
    /// `[daemon]`.
    pub(crate) daemon: DaemonTable,
    /// `[defaults]`.
    pub(crate) defaults: ServerTable,
    /// `[servers.NAME]`.
    pub(crate) servers: BTreeMap<String, ServerTable>,
}

/// What the daemon runs with.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DaemonTable {
    /// When it exits for lack of shims.
    pub(crate) idle_exit: Option<IdleExit>,
    /// What it logs.
    pub(crate) log_level: Option<LogLevel>,
    /// Largest message, in bytes.
    pub(crate) max_message: Option<usize>,
    /// Where tokens are kept.
    pub(crate) token_store: Option<TokenStore>,
}

/// One server, or what counts for all. A key is `None` where it is not written.
#[derive(Clone, Default, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ServerTable {
    pub(crate) url: Option<String>,
    pub(crate) enabled: Option<bool>,
    pub(crate) warm: Option<bool>,
    pub(crate) headers: Option<BTreeMap<String, Texts>>,
    pub(crate) header_file: Option<Texts>,
    pub(crate) transport: Option<Transport>,
    pub(crate) reuse: Option<Reuse>,
    pub(crate) session_idle: Option<Seconds>,
    pub(crate) cache_lists: Option<CacheLists>,
    pub(crate) ignore_tools: Option<Texts>,
    pub(crate) allow_http: Option<bool>,
    pub(crate) ca_file: Option<String>,
    pub(crate) proxy: Option<String>,
    pub(crate) no_proxy: Option<String>,
    pub(crate) request_timeout: Option<Seconds>,
    pub(crate) connect_timeout: Option<Seconds>,
    pub(crate) headers_timeout: Option<Seconds>,
    pub(crate) body_timeout: Option<Seconds>,
    pub(crate) keep_alive: Option<bool>,
    pub(crate) ping_interval: Option<Seconds>,
    pub(crate) ipv4: Option<bool>,
    pub(crate) disable_cookies: Option<bool>,
    pub(crate) auth_timeout: Option<Seconds>,
    pub(crate) callback_port: Option<u16>,
    pub(crate) callback_host: Option<String>,
    pub(crate) callback_path: Option<String>,
    pub(crate) auth_success_url: Option<String>,
    pub(crate) no_browser: Option<bool>,
    pub(crate) device_code: Option<bool>,
    pub(crate) non_interactive: Option<bool>,
    pub(crate) static_oauth_client_info: Option<Json>,
    pub(crate) static_oauth_client_metadata: Option<Json>,
    pub(crate) client_metadata_url: Option<String>,
    pub(crate) resource: Option<String>,
    pub(crate) disable_resource_parameter: Option<bool>,
    pub(crate) authorize_params: Option<BTreeMap<String, String>>,
    pub(crate) scope: Option<String>,
    pub(crate) use_id_token: Option<bool>,
    pub(crate) allow_missing_pkce: Option<bool>,
    pub(crate) client_credentials: Option<bool>,
    pub(crate) token_endpoint: Option<String>,
    pub(crate) client_key: Option<String>,
    pub(crate) client_key_id: Option<String>,
    pub(crate) client_assertion_audience: Option<String>,
    pub(crate) bearer_token_file: Option<String>,
    pub(crate) bearer_token_command: Option<Vec<String>>,
    pub(crate) dpop: Option<Dpop>,
    pub(crate) workload_token_file: Option<String>,
    pub(crate) identity_provider: Option<String>,
    pub(crate) identity_provider_client: Option<Json>,
    pub(crate) identity_provider_key: Option<String>,
    pub(crate) subject_token_file: Option<String>,
    pub(crate) subject_token_type: Option<SubjectTokenType>,
}

/// A daemon that exits earlier is gone before whoever started it has come.
pub(crate) const LEAST_IDLE_EXIT: Duration = Duration::from_secs(1);

/// With less, hardly a server could say who it is.
pub(crate) const LEAST_MESSAGE: usize = 1000;

impl DaemonTable {
    /// Says of keys that cannot be anything what they have to be, where they are not.
    pub(super) fn wrong(&self) -> [(&'static str, Option<String>); 3] {
        let exits_at_once = matches!(
            self.idle_exit,
            Some(IdleExit::After(Seconds(time))) if time < LEAST_IDLE_EXIT
        );
        let nowhere = self.token_store == Some(TokenStore::Keyring) && !cfg!(feature = "keyring");
        let is_small = self.max_message.is_some_and(|bytes| bytes < LEAST_MESSAGE);
        [
            (
                "idle_exit",
                exits_at_once.then(|| "\"never\" or at least 1 (second)".to_owned()),
            ),
            (
                "max_message",
                is_small.then(|| format!("at least {LEAST_MESSAGE} (bytes)")),
            ),
            (
                "token_store",
                nowhere.then(|| {
                    "\"file\": this mcp-remoted was built without a keyring (cargo build --features keyring)".to_owned()
                }),
            ),
        ]
    }
}

/// Keys that belong to one server: `[defaults]` would give them to every server
/// there is, by name or by URL.
pub(super) const OF_ONE_SERVER: &[&str] = &[
    "url",
    "enabled",
    "headers",
    "header_file",
    "resource",
    "static_oauth_client_info",
    "client_credentials",
    "token_endpoint",
    "client_key",
    "client_key_id",
    "client_assertion_audience",
    "bearer_token_file",
    "bearer_token_command",
    "workload_token_file",
];

impl ServerTable {
    /// Takes from `defaults` what is not written here.
    #[expect(
        clippy::too_many_lines,
        reason = "a line a key, and none can be forgotten"
    )]
    pub(super) fn over(self, defaults: &Self) -> Self {
        let defaults = defaults.clone();
        // How to sign in as a client is said once, in one way or the other.
        let client = self.static_oauth_client_info.is_some() || self.client_metadata_url.is_some();
        // Clients and tokens are shown to the identity provider that they are written with.
        let provider = self.identity_provider.is_some();
        let resource = self.resource.is_some() || self.disable_resource_parameter.is_some();
        let may_ping = self.keep_alive != Some(false);
        Self {
            url: self.url,
            enabled: self.enabled,
            warm: self.warm.or(defaults.warm),
            headers: self.headers,
            header_file: self.header_file,
            transport: self.transport.or(defaults.transport),
            reuse: self.reuse.or(defaults.reuse),
            session_idle: self.session_idle.or(defaults.session_idle),
            cache_lists: self.cache_lists.or(defaults.cache_lists),
            ignore_tools: self.ignore_tools.or(defaults.ignore_tools),
            allow_http: self.allow_http.or(defaults.allow_http),
            ca_file: self.ca_file.or(defaults.ca_file),
            proxy: self.proxy.or(defaults.proxy),
            no_proxy: self.no_proxy.or(defaults.no_proxy),
            request_timeout: self.request_timeout.or(defaults.request_timeout),
            connect_timeout: self.connect_timeout.or(defaults.connect_timeout),
            headers_timeout: self.headers_timeout.or(defaults.headers_timeout),
            body_timeout: self.body_timeout.or(defaults.body_timeout),
            keep_alive: self.keep_alive.or(defaults.keep_alive),
            ping_interval: self
                .ping_interval
                .or(defaults.ping_interval.filter(|_| may_ping)),
            ipv4: self.ipv4.or(defaults.ipv4),
            disable_cookies: self.disable_cookies.or(defaults.disable_cookies),
            auth_timeout: self.auth_timeout.or(defaults.auth_timeout),
            callback_port: self.callback_port.or(defaults.callback_port),
            callback_host: self.callback_host.or(defaults.callback_host),
            callback_path: self.callback_path.or(defaults.callback_path),
            auth_success_url: self.auth_success_url.or(defaults.auth_success_url),
            no_browser: self.no_browser.or(defaults.no_browser),
            device_code: self.device_code.or(defaults.device_code),
            non_interactive: self.non_interactive.or(defaults.non_interactive),
            static_oauth_client_info: self.static_oauth_client_info,
            static_oauth_client_metadata: self
                .static_oauth_client_metadata
                .or(defaults.static_oauth_client_metadata),
            client_metadata_url: self
                .client_metadata_url
                .or(defaults.client_metadata_url.filter(|_| !client)),
            resource: self.resource,
            disable_resource_parameter: self
                .disable_resource_parameter
                .or(defaults.disable_resource_parameter.filter(|_| !resource)),
            authorize_params: self.authorize_params.or(defaults.authorize_params),
            scope: self.scope.or(defaults.scope),
            use_id_token: self.use_id_token.or(defaults.use_id_token),
            allow_missing_pkce: self.allow_missing_pkce.or(defaults.allow_missing_pkce),
            client_credentials: self.client_credentials,
            token_endpoint: self.token_endpoint,
            client_key: self.client_key,
            client_key_id: self.client_key_id,
            client_assertion_audience: self.client_assertion_audience,
            bearer_token_file: self.bearer_token_file,
            bearer_token_command: self.bearer_token_command,
            dpop: self.dpop.or(defaults.dpop),
            workload_token_file: self.workload_token_file,
            identity_provider: self.identity_provider.or(defaults.identity_provider),
            identity_provider_client: self
                .identity_provider_client
                .or(defaults.identity_provider_client.filter(|_| !provider)),
            identity_provider_key: self
                .identity_provider_key
                .or(defaults.identity_provider_key.filter(|_| !provider)),
            subject_token_file: self
                .subject_token_file
                .or(defaults.subject_token_file.filter(|_| !provider)),
            subject_token_type: self
                .subject_token_type
                .or(defaults.subject_token_type.filter(|_| !provider)),
        }
    }
}

/// Which transports may be used, and which comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Transport {
    HttpFirst,
    SseFirst,
    HttpOnly,
    SseOnly,
}

/// Who may have a session besides the shim that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reuse {
    Never,
    Sequential,
    Concurrent,
}

/// When tokens are bound to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Dpop {
    Auto,
    Always,
    Never,
}

/// What is shown to an identity provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SubjectTokenType {
    IdToken,
    RefreshToken,
}

impl SubjectTokenType {
    /// Returns the word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::IdToken => "id-token",
            Self::RefreshToken => "refresh-token",
        }
    }
}

/// Where tokens are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TokenStore {
    File,
    Keyring,
}

/// What is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// Returns the word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// A text, or several.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Texts(pub(crate) Vec<String>);

/// A number of seconds, parts of one included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seconds(pub(crate) Duration);

/// `"never"`, or a number of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IdleExit {
    Never,
    After(Seconds),
}

/// When lists of tools and the like are answered from memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CacheLists {
    /// Never.
    Never,
    /// While they are certain to be what the server would say.
    Certain,
    /// For so long, certain or not.
    For(Seconds),
}

impl Seconds {
    /// Writes the number.
    pub(crate) fn text(self) -> String {
        self.0.as_secs_f64().to_string()
    }
}

impl CacheLists {
    /// Writes it as on a command line.
    pub(crate) fn text(self) -> String {
        match self {
            Self::Never => "never".to_owned(),
            Self::Certain => "certain".to_owned(),
            Self::For(time) => time.text(),
        }
    }
}

/// A JSON object: written as a table, as a text, or in a file (`@PATH`).
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Json(pub(crate) String);

/// Reads what is one text or a list of texts.
impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Texts;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string or a list of strings")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Texts, E> {
                Ok(Texts(vec![text.to_owned()]))
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut list: A,
            ) -> Result<Texts, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(Texts(texts))
            }
        }
        from.deserialize_any(Reader)
    }
}

/// What a number with words beside it may be.
struct NumberOr {
    words: &'static [&'static str],
}

/// One of the words, or a number.
enum Word {
    Is(usize),
    Number(Seconds),
}

impl Visitor<'_> for NumberOr {
    type Value = Word;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for word in self.words {
            write!(f, "\"{word}\" or ")?;
        }
        f.write_str("a number of seconds")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Word, E> {
        let found = self.words.iter().position(|word| *word == text);
        found.map(Word::Is).ok_or_else(|| {
            // The text may be anything.
            E::invalid_value(serde::de::Unexpected::Other("another text"), &self)
        })
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Word, E> {
        let seconds = u64::try_from(number).map(Duration::from_secs);
        seconds
            .map(|seconds| Word::Number(Seconds(seconds)))
            .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(number), &self))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Word, E> {
        Duration::try_from_secs_f64(number)
            .map(|seconds| Word::Number(Seconds(seconds)))
            .map_err(|_| E::invalid_value(serde::de::Unexpected::Float(number), &self))
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match from.deserialize_any(NumberOr { words: &[] })? {
            Word::Number(seconds) => Ok(seconds),
            Word::Is(_) => Err(D::Error::custom("there are no words here")),
        }
    }
}

impl<'de> Deserialize<'de> for IdleExit {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(
            match from.deserialize_any(NumberOr { words: &["never"] })? {
                Word::Is(_) => Self::Never,
                Word::Number(seconds) => Self::After(seconds),
            },
        )
    }
}

impl<'de> Deserialize<'de> for CacheLists {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let words = &["never", "certain"];
        Ok(match from.deserialize_any(NumberOr { words })? {
            Word::Is(0) => Self::Never,
            Word::Is(_) => Self::Certain,
            Word::Number(seconds) => Self::For(seconds),
        })
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Json;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a table, a string of JSON or \"@FILE\"")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Json, E> {
                Ok(Json(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Json, A::Error> {
                let value = serde_json::Map::deserialize(MapAccessDeserializer::new(table))?;
                Ok(Json(serde_json::Value::from(value).to_string()))
            }
        }
        from.deserialize_any(Reader)
    }
}
