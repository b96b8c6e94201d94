//! The files of the service: written whole or not at all, put back, removed. Those
//! that others wrote are refused.

use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use crate::exit::ShimError;
use crate::service::{MARK, UnitFile};

/// What was written, and what was there before.
#[derive(Debug, Default)]
pub(super) struct Written(Vec<Change>);

#[derive(Debug)]
struct Change {
    path: PathBuf,
    /// None: there was no such file.
    before: Option<String>,
    changed: bool,
}

impl Written {
    /// Whether there was something else before.
    pub(super) fn replaced(&self) -> bool {
        let replaced = |change: &Change| change.changed && change.before.is_some();
        self.0.iter().any(replaced)
    }

    /// Whether there was nothing before.
    pub(super) fn is_first(&self) -> bool {
        self.0.iter().all(|change| change.before.is_none())
    }

    /// Says what was done.
    pub(super) fn report(&self) -> String {
        let line = |change: &Change| {
            let done = if change.changed {
                "wrote"
            } else {
                "unchanged:"
            };
            format!("{done} {}\n", change.path.display())
        };
        self.0.iter().map(line).collect()
    }

    /// Makes the files what they were. What cannot be put back stays: it is said
    /// already what went wrong first.
    pub(super) fn undo(self) {
        for change in self.0.into_iter().rev().filter(|change| change.changed) {
            let _put_back = match change.before {
                Some(text) => replace(&change.path, &text),
                None => std::fs::remove_file(&change.path),
            };
        }
    }
}

/// Writes the files, all or none.
///
/// # Errors
/// One is not ours, or cannot be written.
pub(super) fn write(files: &[UnitFile]) -> Result<Written, ShimError> {
    let mut written = Written::default();
    for file in files {
        match write_one(file) {
            Ok(change) => written.0.push(change),
            Err(error) => {
                written.undo();
                return Err(error);
            }
        }
    }
    Ok(written)
}

fn write_one(file: &UnitFile) -> Result<Change, ShimError> {
    let path = file.path.clone();
    let before = read(&path)?;
    let changed = before.as_ref() != Some(&file.text);
    if changed {
        let folder = path.parent().unwrap_or(&path);
        std::fs::create_dir_all(folder)
            .and_then(|()| replace(&path, &file.text))
            .map_err(|error| {
                let path = path.display();
                ShimError::general(format!(
                    "{path} cannot be written ({error}): nothing was changed"
                ))
            })?;
    }
    Ok(Change {
        path,
        before,
        changed,
    })
}

/// Reads a file of ours; none: there is nothing.
fn read(path: &Path) -> Result<Option<String>, ShimError> {
    let is_link = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
    match std::fs::read_to_string(path) {
        Ok(text) if !is_link && text.contains(MARK) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound && !is_link => Ok(None),
        Err(error) if !is_link && error.kind() != ErrorKind::InvalidData => {
            Err(ShimError::general(format!(
                "{} cannot be read ({error}): nothing was changed",
                path.display()
            )))
        }
        _ => Err(ShimError::general(format!(
            "{} was not written by mcp-remote: move it away and try again",
            path.display()
        ))),
    }
}

/// Puts a text in place at once, so that nobody reads half of it.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension(format!("{}.new", std::process::id()));
    let written = std::fs::File::create_new(&new).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    let placed = written.and_then(|()| std::fs::rename(&new, path));
    if placed.is_err() {
        // It may not have been made.
        let _removed = std::fs::remove_file(&new);
    }
    placed
}

/// Whether this is a file that we wrote.
pub(super) fn is_ours(path: &Path) -> bool {
    matches!(read(path), Ok(Some(_)))
}

/// Returns those that are there.
///
/// # Errors
/// One of them is not ours.
pub(super) fn ours(paths: &[PathBuf]) -> Result<Vec<PathBuf>, ShimError> {
    let mut found = Vec::new();
    for path in paths {
        if read(path)?.is_some() {
            found.push(path.clone());
        }
    }
    Ok(found)
}

/// Removes a file.
///
/// # Errors
/// It cannot be removed.
pub(super) fn remove(path: &Path) -> Result<(), ShimError> {
    std::fs::remove_file(path).map_err(|error| {
        ShimError::general(format!("{} cannot be removed: {error}", path.display()))
    })
}

/// Removes a link to one of our files; any other stays.
pub(super) fn remove_link(link: &Path, ours: &[PathBuf]) -> bool {
    let target = std::fs::read_link(link);
    target.is_ok_and(|target| ours.contains(&target)) && std::fs::remove_file(link).is_ok()
}
