//! What this command inherits: proxies and limits.

use super::{Context, Finding};

/// The variables that name proxies. Their values may hold passwords.
const PROXIES: &[&str] = &[
    "https_proxy",
    "HTTPS_PROXY",
    "http_proxy",
    "HTTP_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "SSL_CERT_FILE",
];

/// Sessions need a few files each, and there are up to 256.
#[cfg(unix)]
const ENOUGH_FILES: u64 = 1024;

/// Which proxies count.
pub(super) fn proxies(context: &Context) -> Vec<Finding> {
    let is_set = |name: &&&str| {
        let value = context.environment.text(name);
        value.is_some_and(|value| !value.is_empty())
    };
    let set: Vec<&str> = PROXIES.iter().filter(is_set).copied().collect();
    let found = match set.is_empty() {
        true => "none is set here, so the daemon's own settings count".to_owned(),
        false => format!(
            "{} of this environment {} for commands started from it",
            set.join(", "),
            if set.len() == 1 { "counts" } else { "count" }
        ),
    };
    vec![Finding::ok("proxy", found)]
}

/// How many files a daemon may open: it raises its limit as far as it may.
#[cfg(unix)]
pub(super) fn open_files(_: &Context) -> Vec<Finding> {
    use rustix::process::{Resource, getrlimit};
    let limit = getrlimit(Resource::Nofile).maximum;
    let check = "open files";
    vec![match limit {
        Some(limit) if limit < ENOUGH_FILES => Finding::warn(
            check,
            format!("a daemon may open {limit} files"),
            format!("raise the hard limit to {ENOUGH_FILES} or more (ulimit -Hn)"),
        ),
        Some(limit) => Finding::ok(check, format!("a daemon may open {limit} files")),
        None => Finding::ok(check, "a daemon may open as many files as it likes"),
    }]
}

/// There is no such limit.
#[cfg(not(unix))]
pub(super) fn open_files(_: &Context) -> Vec<Finding> {
    Vec::new()
}
