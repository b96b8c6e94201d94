//! Logging: where to, how, and what. The names of spans are `relay{server, pid}`
//! and `session{server}`; values are fields. Payloads and secrets are never logged.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Mutex;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::Layered;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry};

pub(crate) mod tail;

pub(crate) use tail::Tail;

/// A log of a spawned daemon past this size is replaced at the next start.
const MAX_LOG_FILE: u64 = 4 * 1024 * 1024;

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs: one object a line.
    Json,
}

impl LogFormat {
    /// Reads the value of `--log-format`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "text" => Some(Self::Text),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// Opens the log of a daemon without a standard error.
///
/// # Errors
/// Whatever opening the file gives.
pub(crate) fn log_file(path: &Path) -> io::Result<File> {
    if std::fs::metadata(path).is_ok_and(|metadata| metadata.len() > MAX_LOG_FILE) {
        std::fs::rename(path, path.with_extension("log.old"))?;
    }
    let mut options = File::options();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// What is between the events and the places that they are written to.
type Filtered = Layered<Tail, Layered<reload::Layer<Targets, Registry>, Registry>>;

/// The log while it runs: its newest lines, and how much goes into it.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    /// The newest lines.
    pub(crate) tail: Tail,
    filter: reload::Handle<Targets, Registry>,
}

impl Log {
    /// Returns the level of our own events.
    pub(crate) fn level(&self) -> LevelFilter {
        let level = |targets: &Targets| {
            let mut targets = targets.iter();
            targets.find_map(|(target, level)| (target == OURS).then_some(level))
        };
        // It fails only where there is no log at all.
        let level = self.filter.with_current(level).ok().flatten();
        level.unwrap_or(LevelFilter::OFF)
    }

    /// Logs our own events from this level on.
    pub(crate) fn set_level(&self, level: LevelFilter) {
        if let Err(error) = self.filter.reload(from_level(level)) {
            tracing::warn!(%error, "the level of the log stays as it is");
        }
    }
}

/// Starts logging, to a file or to standard error.
pub(crate) fn start(format: LogFormat, filter: Option<&str>, file: Option<File>) -> Log {
    let (filter, handle) = reload::Layer::new(targets(filter.unwrap_or("info")));
    let tail = Tail::default();
    let to_file = file.is_some();
    let layer: Box<dyn Layer<Filtered> + Send + Sync> = match (format, file) {
        (LogFormat::Text, Some(file)) => layer()
            .with_ansi(false)
            .with_writer(Mutex::new(file))
            .boxed(),
        (LogFormat::Text, None) => layer().with_ansi(false).with_writer(io::stderr).boxed(),
        (LogFormat::Json, Some(file)) => layer().json().with_writer(Mutex::new(file)).boxed(),
        (LogFormat::Json, None) => layer().json().with_writer(io::stderr).boxed(),
    };
    // A second start in one process can only be a test's.
    let started = Registry::default()
        .with(filter)
        .with(tail.clone())
        .with(layer)
        .try_init();
    drop(started);
    tracing::debug!(to_file, "logging started");
    Log {
        tail,
        filter: handle,
    }
}

fn layer<S>() -> tracing_subscriber::fmt::Layer<S> {
    tracing_subscriber::fmt::layer()
}

/// How the names of our own crates begin.
const OURS: &str = "mcp_remote";

/// Our own events at the wanted level. Those of other crates only as warnings:
/// at lower levels some print headers, and those carry secrets.
fn targets(wanted: &str) -> Targets {
    from_level(wanted.parse().unwrap_or(LevelFilter::INFO))
}

fn from_level(level: LevelFilter) -> Targets {
    Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target(OURS, level)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn other_crates_never_log_below_warnings() {
        let targets = targets("trace");
        assert!(targets.would_enable("mcp_remoted::relay", &Level::TRACE));
        assert!(!targets.would_enable("h2::codec", &Level::INFO));
        assert!(targets.would_enable("h2::codec", &Level::WARN));
        assert!(!super::targets("nonsense").would_enable("mcp_remoted", &Level::DEBUG));
    }
}
