//! What the daemon runs with: flags, then environment, then defaults. The only
//! reader of the environment.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use mcp_remote_proto::endpoint::{Environment, Places, PlacesError};

use crate::cli::Flags;
use crate::http::ProxySettings;
use crate::oauth::store::TokenStoreKind;
use crate::session::pool::PoolConfig;
use crate::telemetry::LogFormat;

/// How long a daemon that a shim started stays without one.
const SPAWNED_IDLE_EXIT: Duration = Duration::from_secs(15 * 60);

/// Who started the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StartedBy {
    /// A shim, which reads our report.
    Shim,
    /// systemd.
    Systemd,
    /// launchd.
    Launchd,
    /// Somebody at a terminal, or a test.
    User,
}

impl StartedBy {
    /// Returns the word in `HelloResponse.started_by`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Shim => "shim",
            Self::Systemd => "systemd",
            Self::Launchd => "launchd",
            Self::User => "user",
        }
    }
}

/// Why a daemon cannot be configured. One sentence.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// There is no place for its files.
    #[error(transparent)]
    Places(#[from] PlacesError),
    /// Tokens are to be kept where nobody can keep them.
    #[error("MCP_REMOTE_TOKEN_STORE is {0:?}, but has to be file or keyring")]
    TokenStore(String),
}

/// Everything that is decided before the daemon starts.
#[derive(Debug)]
pub(crate) struct Config {
    /// Where things are.
    pub(crate) places: Places,
    /// Who started us.
    pub(crate) started_by: StartedBy,
    /// How to log.
    pub(crate) log_format: LogFormat,
    /// What to log; `None`: the default.
    pub(crate) log_filter: Option<String>,
    /// When to exit for lack of shims.
    pub(crate) idle_exit: Option<Duration>,
    /// Limits of the pool.
    pub(crate) pool: PoolConfig,
    /// The proxies of shims that send none.
    pub(crate) proxy: ProxySettings,
    /// The trust store of shims that send none.
    pub(crate) ssl_cert_file: Option<PathBuf>,
    /// Where the folder of token files is; the npm package's lie beside it.
    pub(crate) auth_folder: PathBuf,
    /// Whether tokens are in files at all.
    pub(crate) token_store: TokenStoreKind,
    /// Whether the gRPC services describe themselves.
    pub(crate) reflection: bool,
}

impl Config {
    /// Merges flags and the process's environment.
    ///
    /// # Errors
    /// [`ConfigError`] if there is no place for the state folder, or what is said makes
    /// no sense.
    pub(crate) fn new(flags: &Flags) -> Result<Self, ConfigError> {
        Self::with(flags, &environment)
    }

    fn with(
        flags: &Flags,
        variable: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ConfigError> {
        let path = |name| variable(name).map(PathBuf::from);
        let text = |name| variable(name).and_then(|value| value.into_string().ok());
        let home = path(if cfg!(windows) { "USERPROFILE" } else { "HOME" });
        let auth_folder = match (path("MCP_REMOTE_CONFIG_DIR"), &home) {
            (Some(folder), _) if folder.is_absolute() => folder,
            (Some(_), _) => return Err(PlacesError::Relative("MCP_REMOTE_CONFIG_DIR").into()),
            (None, Some(home)) => home.join(".mcp-auth"),
            // Without a home the state folder was named, which is private too.
            (None, None) => path("MCP_REMOTE_STATE_DIR")
                .unwrap_or_default()
                .join("auth"),
        };
        let places = Places::new(&Environment {
            home,
            state_dir: path("MCP_REMOTE_STATE_DIR"),
            socket: path("MCP_REMOTE_SOCKET"),
            runtime_dir: path("XDG_RUNTIME_DIR"),
        })?;
        let started_by = if flags.spawned {
            StartedBy::Shim
        } else if variable("INVOCATION_ID").is_some() || variable("NOTIFY_SOCKET").is_some() {
            StartedBy::Systemd
        } else if text("XPC_SERVICE_NAME").is_some_and(|name| name.contains("mcp-remote")) {
            StartedBy::Launchd
        } else {
            StartedBy::User
        };
        let either = |lower, upper| text(lower).or_else(|| text(upper)).unwrap_or_default();
        let defaults = PoolConfig::default();
        Ok(Self {
            places,
            started_by,
            log_format: flags.log_format.unwrap_or_default(),
            log_filter: text("MCP_REMOTE_LOG"),
            idle_exit: flags
                .idle_exit
                .or((started_by == StartedBy::Shim).then_some(SPAWNED_IDLE_EXIT)),
            pool: PoolConfig {
                idle_for: flags.session_idle.unwrap_or(defaults.idle_for),
                max_message: flags.max_message.unwrap_or(defaults.max_message),
                ..defaults
            },
            proxy: ProxySettings {
                http: either("http_proxy", "HTTP_PROXY"),
                https: either("https_proxy", "HTTPS_PROXY"),
                all: either("all_proxy", "ALL_PROXY"),
                no: either("no_proxy", "NO_PROXY"),
            },
            ssl_cert_file: path("SSL_CERT_FILE"),
            auth_folder,
            token_store: token_store(text("MCP_REMOTE_TOKEN_STORE"))?,
            reflection: flags.reflection || variable("MCP_REMOTE_REFLECTION").is_some(),
        })
    }
}

/// Nobody's tokens go elsewhere than they want because of a slip.
fn token_store(said: Option<String>) -> Result<TokenStoreKind, ConfigError> {
    let Some(said) = said else {
        return Ok(TokenStoreKind::default());
    };
    TokenStoreKind::parse(&said).ok_or(ConfigError::TokenStore(said))
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the reader of the environment"
)]
fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn config(flags: &Flags, variables: &[(&str, &str)]) -> Config {
        let lookup = |name: &str| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| OsString::from(value))
        };
        Config::with(flags, &lookup).expect("HOME is given")
    }

    #[test]
    fn a_daemon_started_by_a_shim_exits_when_idle_and_others_stay() {
        let spawned = Flags {
            spawned: true,
            ..Flags::default()
        };
        assert_eq!(
            config(&spawned, &[("HOME", "/h")]).idle_exit,
            Some(SPAWNED_IDLE_EXIT)
        );
        let service = config(
            &Flags::default(),
            &[("HOME", "/h"), ("NOTIFY_SOCKET", "/n")],
        );
        assert_eq!(
            (service.started_by, service.idle_exit),
            (StartedBy::Systemd, None)
        );
        let flagged = Flags {
            idle_exit: Some(Duration::from_secs(1)),
            ..Flags::default()
        };
        assert_eq!(
            config(&flagged, &[("HOME", "/h")]).idle_exit,
            Some(Duration::from_secs(1))
        );
    }

    #[test]
    fn tokens_lie_where_the_npm_package_has_them() {
        let folder = |variables: &[(&str, &str)]| config(&Flags::default(), variables).auth_folder;
        assert_eq!(folder(&[("HOME", "/h")]), PathBuf::from("/h/.mcp-auth"));
        let named = [("HOME", "/h"), ("MCP_REMOTE_CONFIG_DIR", "/c")];
        assert_eq!(folder(&named), PathBuf::from("/c"));
    }

    #[test]
    fn lower_case_proxy_variables_win() {
        let config = config(
            &Flags::default(),
            &[
                ("HOME", "/h"),
                ("https_proxy", "http://a"),
                ("HTTPS_PROXY", "http://b"),
                ("NO_PROXY", "x"),
            ],
        );
        assert_eq!(
            (config.proxy.https.as_str(), config.proxy.no.as_str()),
            ("http://a", "x")
        );
    }
}
