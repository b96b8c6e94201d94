//! Logging: where to, how, and what. The names of spans are `relay{server, pid}`
//! and `session{server}`; values are fields. Payloads and secrets are never logged.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Mutex;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry};

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

/// Starts logging, to a file or to standard error.
pub(crate) fn start(format: LogFormat, filter: Option<&str>, file: Option<File>) {
    let filter = targets(filter.unwrap_or("info"));
    let to_file = file.is_some();
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match (format, file) {
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
        .with(layer.with_filter(filter))
        .try_init();
    drop(started);
    tracing::debug!(to_file, "logging started");
}

fn layer<S>() -> tracing_subscriber::fmt::Layer<S> {
    tracing_subscriber::fmt::layer()
}

/// Our own events at the wanted level. Those of other crates only as warnings:
/// at lower levels some print headers, and those carry secrets.
fn targets(wanted: &str) -> Targets {
    let level = wanted.parse::<LevelFilter>().unwrap_or(LevelFilter::INFO);
    Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target("mcp_remote", level)
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
