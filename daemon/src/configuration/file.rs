//! Reads the configuration file and those that it names. Blocks.
//!
//! What stands in it decides where tokens and headers go, so it is read only if
//! nobody but this user (or root) can have written it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::shell::quoted;

/// Longest file that is read, in bytes.
const MAX_LEN: u64 = 1024 * 1024;

/// Reads the configuration file; `None` if there is none. A link is followed: many
/// keep such files elsewhere.
///
/// # Errors
/// Completes "FILE …".
pub(super) fn read(path: &Path) -> Result<Option<String>, String> {
    let file = match open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot be read: {error}")),
    };
    check_writers(&file, path)?;
    content(file).map(Some)
}

/// Reads a file that the configuration names; errors call it `what`.
///
/// # Errors
/// One sentence.
pub(super) fn read_named(path: &Path, what: &str) -> Result<String, String> {
    let read = open(path).map_err(|error| format!("cannot be read: {error}"));
    let text = read.and_then(content);
    text.map_err(|why| format!("{what} {} {why}", path.display()))
}

/// Looks whether a file that the configuration names can be read later; errors call
/// it `what`.
///
/// # Errors
/// One sentence.
pub(super) fn check(path: &Path, what: &str) -> Result<(), String> {
    let metadata = open(path).and_then(|file| file.metadata());
    match metadata {
        Ok(metadata) if metadata.is_file() => Ok(()),
        Ok(_) => Err(format!("{what} {} is not a regular file", path.display())),
        Err(error) => Err(format!("{what} {} cannot be read: {error}", path.display())),
    }
}

/// Returns the path that a text in the configuration means: below `home` with `~/`,
/// else seen from the folder of the configuration file.
pub(super) fn path(text: &str, home: Option<&Path>, folder: &Path) -> PathBuf {
    match (text.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => folder.join(text),
    }
}

fn content(file: File) -> Result<String, String> {
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("is not a regular file".into());
    }
    let mut text = String::new();
    let read = file.take(MAX_LEN + 1).read_to_string(&mut text);
    read.map_err(|error| format!("cannot be read: {error}"))?;
    if text.len() as u64 > MAX_LEN {
        return Err("is larger than 1 MiB".into());
    }
    if text.starts_with('\u{feff}') {
        text.remove(0);
    }
    Ok(text)
}

/// Never waits for the other end of a pipe.
#[cfg(unix)]
fn open(path: &Path) -> io::Result<File> {
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt as _;
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
}

#[cfg(not(unix))]
fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

#[cfg(unix)]
fn check_writers(file: &File, path: &Path) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    let us = mcp_remote_proto::endpoint::user_id();
    match (metadata.uid(), metadata.mode() & 0o022) {
        (owner, _) if owner != 0 && owner != us => {
            Err("belongs to another user: it is not read".into())
        }
        (_, 0) => Ok(()),
        (owner, _) => Err(format!(
            "can be written by others: {}",
            by_owner(owner, "go-w", path)
        )),
    }
}

/// Says who changes the mode of a file: its owner can, and root.
#[cfg(unix)]
fn by_owner(owner: u32, mode: &str, path: &Path) -> String {
    let who = match owner == mcp_remote_proto::endpoint::user_id() {
        true => "run",
        false => "have root run",
    };
    format!("{who} chmod {mode} {}", quoted(&path.to_string_lossy()))
}

/// The profile folder of a Windows user is closed to others by inheritance.
#[cfg(not(unix))]
fn check_writers(_file: &File, _path: &Path) -> Result<(), String> {
    Ok(())
}

/// Says how the file is closed to others who can read it; `None`: nobody can. Who may read
/// one of root's by its group is root's choice.
#[cfg(unix)]
pub(super) fn closed_to_readers_by(path: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::metadata(path).ok()?;
    let (owner, mode) = (metadata.uid(), metadata.mode());
    match owner == mcp_remote_proto::endpoint::user_id() {
        true => (mode & 0o044 != 0).then(|| by_owner(owner, "600", path)),
        false => (mode & 0o004 != 0).then(|| by_owner(owner, "o=", path)),
    }
}

#[cfg(not(unix))]
pub(super) fn closed_to_readers_by(_path: &Path) -> Option<String> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn only_what_nobody_else_can_write_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("config.toml");
        assert_eq!(read(&file), Ok(None));
        std::fs::write(&file, "\u{feff}# x").expect("it can be written");
        let mode = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode));
        for (bits, readable) in [(0o600, true), (0o644, true), (0o664, false), (0o602, false)] {
            mode(bits).expect("it is ours");
            let text = read(&file);
            assert_eq!(text.is_ok(), readable, "{bits:o}: {text:?}");
        }
        mode(0o600).expect("it is ours");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&file, &link).expect("a link");
        assert_eq!(read(&link), Ok(Some("# x".into())));
        assert!(read(folder.path()).is_err());
    }

    #[test]
    fn paths_are_seen_from_home_or_from_the_file() {
        let path = |text| path(text, Some(Path::new("/h")), Path::new("/h/.config/x"));
        assert_eq!(path("~/a"), Path::new("/h/a"));
        assert_eq!(path("a/b"), Path::new("/h/.config/x/a/b"));
        assert_eq!(path("/a"), Path::new("/a"));
    }
}
