//! What the npm package has stored: `mcp-remote-v1/` and, before it, one folder a
//! release, `mcp-remote-0.*/`. Only reads; blocks.

use std::cmp::Reverse;
use std::path::Path;

use super::files::{self, Loose};
use super::folders::written;
use super::{CLIENT, Client, Grant, TOKENS};

/// What was found.
pub(super) struct Found {
    /// In which folder.
    pub(super) folder: String,
    /// The tokens.
    pub(super) grant: Option<Grant>,
    /// The client.
    pub(super) client: Option<Client>,
}

/// Looks for an identity under the names that the package gives it; the newest
/// folder with tokens wins, else the newest with a client.
pub(super) fn find(base: &Path, hashes: &[String]) -> Option<Found> {
    let mut without_tokens = None;
    for folder in folders(base) {
        for hash in hashes {
            let path = |name: &str| base.join(&folder).join(format!("{hash}_{name}"));
            let read = |name: &str| files::read(&path(name), Loose::Leave).ok().flatten();
            let client = read(CLIENT).and_then(|content| serde_json::from_slice(&content).ok());
            let client = client.and_then(Client::of_kept);
            let grant =
                read(TOKENS).and_then(|content| Grant::read(&content, written(&path(TOKENS))));
            let found = Found {
                folder: folder.clone(),
                grant,
                client,
            };
            if found.grant.is_some() {
                return Some(found);
            }
            if found.client.is_some() && without_tokens.is_none() {
                without_tokens = Some(found);
            }
        }
    }
    without_tokens
}

/// The package's folders, the newest layout first.
fn folders(base: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(base) else {
        return Vec::new();
    };
    let mut folders: Vec<(Vec<u64>, String)> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter_map(|name| Some((age(&name)?, name)))
        .collect();
    folders.sort_by_key(|(age, _)| Reverse(age.clone()));
    folders.into_iter().map(|(_, name)| name).collect()
}

/// Reads a folder's name as numbers that sort by age; `None`: not the package's.
fn age(name: &str) -> Option<Vec<u64>> {
    let version = name.strip_prefix("mcp-remote-")?;
    if version == "v1" {
        return Some(vec![1]);
    }
    let release = version.split(['-', '+']).next()?;
    let numbers: Option<Vec<u64>> = release.split('.').map(|part| part.parse().ok()).collect();
    numbers.filter(|numbers| numbers.first() == Some(&0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_folder_comes_first_and_ours_is_none() {
        let base = tempfile::tempdir().expect("a folder");
        for name in [
            "mcp-remote-0.1.9",
            "mcp-remote-d1",
            "mcp-remote-0.1.37",
            "mcp-remote-v1",
            "mcp-remote-0.1.37-rc.1",
            "mcp-remote-1.x",
            "other",
        ] {
            std::fs::create_dir(base.path().join(name)).expect("made");
        }
        let found = folders(base.path());
        assert_eq!(found.len(), 4);
        assert_eq!(found[0], "mcp-remote-v1");
        assert_eq!(found[3], "mcp-remote-0.1.9");
    }
}
