//! Files: who may read and write what is ours, and whether their times make sense.
//!
//! Looks only; nothing is made and no mode is changed.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use mcp_remote_proto::endpoint;

use super::{Context, Finding, Verdict};

/// How far ahead of the clock a file's time may be: file servers have their own.
const TOLERANCE: Duration = Duration::from_secs(60);

/// No clock of a machine that this was built for shows less: July 2025.
const LONG_AGO: Duration = Duration::from_secs(1_751_328_000);

/// The state folder, and the folder of the socket with what is in it.
pub(super) fn folders(context: &Context) -> Vec<Finding> {
    let check = "folders";
    let Some(places) = &context.places else {
        return Vec::new();
    };
    let state = places.state();
    let mut findings = Vec::new();
    if !exists(state) {
        let found = format!("{} is not there yet", state.display());
        return vec![Finding::ok(check, found)];
    }
    let mut folders: Vec<&Path> = vec![state];
    let endpoints = places.to_find();
    let sockets = endpoints.iter().map(endpoint::Endpoint::path);
    let sockets: Vec<&Path> = sockets.filter(|socket| exists(socket)).collect();
    for endpoint in &endpoints {
        // One that is not private keeps the daemon from making its socket there.
        let folder = endpoint.path().parent().filter(|folder| exists(folder));
        folders.extend(folder.filter(|folder| !folders.contains(folder)));
    }
    for folder in folders {
        // It is there, so nothing is made by looking.
        if let Err(error) = endpoint::private_folder(folder) {
            findings.push(Finding::fail(check, error.to_string(), ""));
        }
    }
    findings.extend(sockets.iter().filter_map(|socket| private(check, socket)));
    for name in ["lock", "mcp-remoted.log"] {
        findings.extend(private(check, &state.join(name)));
    }
    if findings.is_empty() {
        let found = format!("{} and the socket are private", state.display());
        findings.push(Finding::ok(check, found));
    }
    findings
}

/// The token files.
pub(super) fn tokens(context: &Context) -> Vec<Finding> {
    let check = "tokens";
    let Some(folder) = token_folder(context) else {
        return Vec::new();
    };
    if !exists(&folder) {
        let found = format!(
            "nobody has signed in yet; tokens will be in {}",
            folder.display()
        );
        return vec![Finding::ok(check, found)];
    }
    let mut findings: Vec<Finding> = private(check, &folder).into_iter().collect();
    let files = files_in(&folder);
    findings.extend(files.iter().filter_map(|file| private(check, file)));
    if findings.is_empty() {
        let grants = files.iter().filter(|file| is_grant(file)).count();
        let found = format!("{grants} of them in {}, all private", folder.display());
        findings.push(Finding::ok(check, found));
    }
    findings
}

/// The database.
pub(super) fn store(context: &Context) -> Vec<Finding> {
    let check = "store";
    let Some(places) = &context.places else {
        return Vec::new();
    };
    let damaged = places.state().join("store-v1.damaged");
    let store = places.state().join("store-v1");
    if exists(&damaged) {
        let found = format!(
            "a database that could not be read was moved to {}",
            damaged.display()
        );
        let advice = "counters and warm starts began anew and no sign-in was lost; delete it";
        return vec![Finding::warn(check, found, advice)];
    }
    let found = match exists(&store) {
        true => format!("{} is in use", store.display()),
        false => "there is no database yet".to_owned(),
    };
    vec![Finding::ok(check, found)]
}

/// The configuration file: others could have servers and headers put into it. What
/// is wrong inside, the daemon says.
pub(super) fn configuration(context: &Context) -> Vec<Finding> {
    let check = "config";
    let Some(file) = context.config_file() else {
        return Vec::new();
    };
    if !exists(&file) {
        return vec![Finding::ok(
            check,
            "there is no config.toml, and none is needed",
        )];
    }
    // The daemon alone can read it; what is wrong with the file begins with its path.
    let path = file.display().to_string();
    let health = context
        .status()
        .into_iter()
        .flat_map(|status| &status.health);
    // Who may read it is looked at here.
    let is_wrong = |sentence: &&String| {
        sentence.starts_with(&path) && !sentence.contains("can be read by others")
    };
    let wrong = health.filter(is_wrong);
    let advice = "change the file, then run mcp-remote reload";
    let mut findings: Vec<Finding> = wrong
        .map(|sentence| Finding::fail(check, sentence.as_str(), advice))
        .collect();
    findings.extend(private(check, &file));
    if findings.is_empty() {
        findings.push(Finding::ok(check, format!("{path} is there")));
    }
    findings
}

/// The wall clock, by which tokens expire, against the times of our files.
pub(super) fn clock(context: &Context) -> Vec<Finding> {
    let check = "clock";
    let advice = "set the clock: tokens expire by it";
    let now = context.now.duration_since(UNIX_EPOCH).unwrap_or_default();
    if now < LONG_AGO {
        let found = "the clock shows a time before this program was written";
        return vec![Finding::fail(check, found, advice)];
    }
    let mut files = token_folder(context).map_or_else(Vec::new, |folder| files_in(&folder));
    if let Some(places) = &context.places {
        files.extend(["lock", "endpoint", "mcp-remoted.log"].map(|name| places.state().join(name)));
    }
    let ahead = files.into_iter().filter_map(|file| {
        let written = std::fs::metadata(&file).ok()?.modified().ok()?;
        let ahead = written.duration_since(context.now).ok()?;
        (ahead > TOLERANCE).then_some((ahead, file))
    });
    if let Some((ahead, file)) = ahead.max() {
        let found = format!(
            "{} was written {} s in the future, so the clock was set back",
            file.display(),
            ahead.as_secs()
        );
        return vec![Finding::warn(check, found, advice)];
    }
    let refreshed = context
        .status()
        .into_iter()
        .flat_map(|status| &status.servers);
    let mut refreshed = refreshed.flat_map(|server| &server.auth);
    let limit = now + TOLERANCE;
    if refreshed.any(|grant| u128::from(grant.last_refresh_unix_ms) > limit.as_millis()) {
        let found = "a token was refreshed in the future, so the clock was set back";
        return vec![Finding::warn(check, found, advice)];
    }
    vec![Finding::ok(
        check,
        "it agrees with the times of files and tokens",
    )]
}

fn token_folder(context: &Context) -> Option<PathBuf> {
    let named = context.environment.path("MCP_REMOTE_CONFIG_DIR");
    let folder = named.or_else(|| Some(context.home.as_ref()?.join(".mcp-auth")))?;
    Some(folder.join("mcp-remote-d1"))
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort_unstable();
    files
}

fn is_grant(file: &Path) -> bool {
    let name = file.file_name().map(|name| name.to_string_lossy());
    name.is_some_and(|name| name.ends_with("_tokens.json"))
}

fn exists(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

/// Says what is wrong with who may use a file; `None`: nothing, or no file.
fn private(check: &'static str, path: &Path) -> Option<Finding> {
    let metadata = std::fs::symlink_metadata(path).ok()?;
    let shown = path.display();
    if metadata.is_symlink() {
        let found = format!("{shown} is a symbolic link");
        return Some(Finding::fail(check, found, "put the file itself there"));
    }
    let (verdict, what, advice) = open_to_others(&metadata)?;
    Some(Finding {
        check,
        verdict,
        found: format!("{shown} {what}"),
        advice: advice.replace("{}", &shown.to_string().replace('\'', r"'\''")),
    })
}

#[cfg(unix)]
fn open_to_others(metadata: &Metadata) -> Option<(Verdict, &'static str, &'static str)> {
    use std::os::unix::fs::MetadataExt as _;
    if metadata.uid() != endpoint::user_id() {
        return Some((Verdict::Fail, "belongs to another user", "move it away"));
    }
    if metadata.mode() & 0o077 == 0 {
        return None;
    }
    let advice = match metadata.is_dir() {
        true => "run chmod 700 '{}'",
        false => "run chmod 600 '{}'",
    };
    Some((Verdict::Fail, "is open to other users", advice))
}

#[cfg(not(unix))]
fn open_to_others(_: &Metadata) -> Option<(Verdict, &'static str, &'static str)> {
    None
}
