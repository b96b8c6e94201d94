//! Other programs of the same name: which one a client really starts.

use std::path::{Path, PathBuf};

use super::{Context, Finding};

const NAME: &str = "mcp-remote";

const CHECK: &str = "programs";

/// Looks where a shell, `npx` and npm would find one.
pub(super) fn others(context: &Context) -> Vec<Finding> {
    let this = std::env::current_exe().and_then(|path| path.canonicalize());
    let Ok(this) = this else {
        return Vec::new();
    };
    let ours = |path: &Path| path.canonicalize().is_ok_and(|path| path == this);
    let mut findings = Vec::new();
    let folders = context.environment.search_path();
    let on_path: Vec<PathBuf> = folders
        .iter()
        .map(|folder| folder.join(NAME))
        .filter(|path| path.is_file())
        .collect();
    match on_path.first() {
        None => findings.push(Finding::warn(
            CHECK,
            format!("{} is not on PATH", this.display()),
            "name it by its whole path in a client's configuration, or put its folder on PATH",
        )),
        Some(first) if ours(first) => {
            let found = format!("{} is the one that is found first", first.display());
            findings.push(Finding::ok(CHECK, found));
        }
        Some(first) => findings.push(Finding::warn(
            CHECK,
            format!("{} comes first on PATH{}", first.display(), which(first)),
            format!("put {} before it", this.parent().unwrap_or(&this).display()),
        )),
    }
    for path in npm(context, &folders) {
        if !ours(&path) {
            findings.push(Finding::warn(
                CHECK,
                format!("{} is what npx {NAME} starts", path.display()),
                "remove it, or name this program in the client's configuration",
            ));
        }
    }
    findings
}

/// Where npm installs for this user, for the machine, and in the home folder.
fn npm(context: &Context, folders: &[PathBuf]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let home = context.home.iter();
    let local = home.map(|home| home.join("node_modules/.bin").join(NAME));
    let prefixes = folders
        .iter()
        .filter(|folder| folder.join("npm").is_file() || folder.join("node").is_file())
        .filter_map(|folder| folder.parent());
    let global = prefixes.map(|prefix| prefix.join("bin").join(NAME));
    for path in local.chain(global) {
        if path.is_file() && !found.contains(&path) {
            found.push(path);
        }
    }
    found
}

fn which(path: &Path) -> &'static str {
    let real = path.canonicalize();
    let npm = |path: PathBuf| {
        path.components()
            .any(|part| part.as_os_str() == "node_modules")
    };
    match real.is_ok_and(npm) {
        true => " and is the npm package",
        false => "",
    }
}
