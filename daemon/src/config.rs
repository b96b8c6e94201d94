//! What the daemon runs with: flags, then environment, then the configuration file,
//! then defaults. The only reader of the environment.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use mcp_remote_proto::endpoint::{Environment, Places, PlacesError};

use crate::cli::Flags;
use crate::configuration::Source;
use crate::configuration::document::{DaemonTable, IdleExit, Seconds, TokenStore};
use crate::http::ProxySettings;
use crate::oauth::store::TokenStoreKind;
use crate::secret::Secret;
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
    /// Says whether a service manager started us, and does so again.
    pub(crate) fn is_service(self) -> bool {
        matches!(self, Self::Systemd | Self::Launchd)
    }

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
    /// Whether the environment says so.
    token_store_given: bool,
    /// Whether the gRPC services describe themselves.
    pub(crate) reflection: bool,
    /// The home folder.
    pub(crate) home: Option<PathBuf>,
    /// Whether a flag or the file says when to exit for lack of shims.
    pub(crate) idle_exit_given: bool,
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

    /// Says where the configuration file is. It follows from the home folder alone,
    /// since programs are started with little else in the environment.
    pub(crate) fn source(&self) -> Source {
        let folder = match &self.home {
            Some(home) => home.join(".config").join("mcp-remote"),
            None => self.places.state().to_owned(),
        };
        Source {
            path: folder.join("config.toml"),
            home: self.home.clone(),
            variable: |name| environment(name)?.into_string().ok(),
        }
    }

    /// Takes what neither a flag nor the environment says from the file.
    pub(crate) fn fill(&mut self, flags: &Flags, file: &DaemonTable) {
        // Others are ended by whoever started them.
        let counts = flags.idle_exit.is_none() && self.started_by == StartedBy::Shim;
        if let Some(said) = file.idle_exit.filter(|_| counts) {
            self.idle_exit_given = true;
            self.idle_exit = match said {
                IdleExit::Never => None,
                IdleExit::After(Seconds(time)) => Some(time),
            };
        }
        if let Some(said) = file.token_store.filter(|_| !self.token_store_given) {
            self.token_store = match said {
                TokenStore::File => TokenStoreKind::Files,
                TokenStore::Keyring => TokenStoreKind::Keyring,
            };
        }
        let level = file.log_level.map(|level| level.as_str().to_owned());
        self.log_filter = self.log_filter.take().or(level);
        if let Some(bytes) = file.max_message.filter(|_| flags.max_message.is_none()) {
            self.pool.max_message = bytes.min(mcp_remote_proto::MAX_MESSAGE_LEN);
        }
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
            home: home.clone(),
            state_dir: path("MCP_REMOTE_STATE_DIR"),
            socket: path("MCP_REMOTE_SOCKET"),
            runtime_dir: path("XDG_RUNTIME_DIR"),
        })?;
        let started_by = started_by(flags, variable);
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
            token_store_given: variable("MCP_REMOTE_TOKEN_STORE").is_some(),
            reflection: flags.reflection || variable("MCP_REMOTE_REFLECTION").is_some(),
            home,
            idle_exit_given: flags.idle_exit.is_some(),
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

fn started_by(flags: &Flags, variable: &dyn Fn(&str) -> Option<OsString>) -> StartedBy {
    let is_by_launchd = || {
        let service = variable("XPC_SERVICE_NAME").and_then(|name| name.into_string().ok());
        service.is_some_and(|name| name.contains("mcp-remote"))
    };
    if flags.spawned {
        StartedBy::Shim
    } else if is_by_systemd(variable) {
        StartedBy::Systemd
    } else if is_by_launchd() {
        StartedBy::Launchd
    } else {
        StartedBy::User
    }
}

/// Says whether systemd itself started this process. What runs in a terminal that it
/// started inherits the other variables.
fn is_by_systemd(variable: &dyn Fn(&str) -> Option<OsString>) -> bool {
    match variable("SYSTEMD_EXEC_PID") {
        Some(pid) => pid == *std::process::id().to_string(),
        // Before release 248 nobody said so.
        None => variable("NOTIFY_SOCKET").is_some(),
    }
}

/// Returns the passphrase that a script gives to `tokens move`.
pub(crate) fn passphrase() -> Option<Secret<String>> {
    let passphrase = environment("MCP_REMOTE_PASSPHRASE")?.into_string();
    passphrase.ok().map(Secret::new)
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
        let pid = std::process::id().to_string();
        for (named, started_by) in [(&*pid, StartedBy::Systemd), ("1", StartedBy::User)] {
            let inherited = [
                ("HOME", "/h"),
                ("NOTIFY_SOCKET", "/n"),
                ("INVOCATION_ID", "0"),
                ("SYSTEMD_EXEC_PID", named),
            ];
            let config = config(&Flags::default(), &inherited);
            assert_eq!(config.started_by, started_by);
        }
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
    fn where_tokens_are_kept_is_for_the_environment_to_say_then_for_the_file() {
        let file = DaemonTable {
            token_store: Some(TokenStore::Keyring),
            ..DaemonTable::default()
        };
        let kept = |variables: &[(&str, &str)]| {
            let mut config = config(&Flags::default(), variables);
            config.fill(&Flags::default(), &file);
            config.token_store
        };
        assert_eq!(kept(&[("HOME", "/h")]), TokenStoreKind::Keyring);
        let said = [("HOME", "/h"), ("MCP_REMOTE_TOKEN_STORE", "file")];
        assert_eq!(kept(&said), TokenStoreKind::Files);
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
