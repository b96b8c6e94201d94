//! Makes and removes the link, and the folders that it stands in. Whatever else
//! is there stays as it is.

use std::io::{self, ErrorKind};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::record::{self, Link, Record};
use crate::cli::Seat;
use crate::exit::ShimError;

/// What making the link came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    /// It was not there.
    New,
    /// It was ours, and led elsewhere.
    Moved,
    /// It was ours, as it should be.
    Before,
    /// It is as it should be, and not ours.
    ByOthers,
}

/// Makes `path` lead to `program`. Its folders are below `below`.
///
/// # Errors
/// Something else is there, or it cannot be made; then nothing was.
pub(super) fn make(
    seat: Seat,
    below: &Path,
    path: &Path,
    program: &Path,
    record: &mut Record,
) -> Result<Made, ShimError> {
    let shown = path.display();
    for part in [path, program] {
        if !record::can_hold(part) {
            let sentence = "adopt cannot use a path with a tab or a line break in it";
            return Err(ShimError::general(sentence));
        }
    }
    let missing = missing_folders(seat, below, path)?;
    let ours = record.target(path).map(Path::to_owned);
    let made = match std::fs::read_link(path) {
        Ok(target) if target == program && ours.is_some() => return Ok(Made::Before),
        Ok(target) if target == program => return Ok(Made::ByOthers),
        Ok(target) if Some(&target) == ours.as_ref() => Made::Moved,
        Ok(target) => {
            return Err(ShimError::general(format!(
                "{shown} leads to {}, and adopt has not made it: remove it first{}",
                target.display(),
                advice(seat)
            )));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Made::New,
        // It is there, and no link.
        Err(error) if error.kind() == ErrorKind::InvalidInput => {
            return Err(ShimError::general(format!(
                "{shown} is there already, and adopt has not made it: remove it first{}",
                advice(seat)
            )));
        }
        Err(error) => return Err(cannot(seat, path, &error)),
    };
    let link = Link {
        seat,
        path: path.to_owned(),
        target: program.to_owned(),
    };
    record.add(link, &missing)?;
    let placed = missing
        .iter()
        .try_for_each(std::fs::create_dir)
        .and_then(|()| place(made, path, program));
    if let Err(error) = placed {
        // An older link of ours stays, and stays ours.
        match ours {
            Some(target) => {
                let path = path.to_owned();
                record.add(Link { seat, path, target }, &[])?;
            }
            None => clear(record.forget(path)?),
        }
        return Err(cannot(seat, path, &error));
    }
    Ok(made)
}

fn place(made: Made, path: &Path, program: &Path) -> io::Result<()> {
    if made == Made::New {
        return symlink(program, path);
    }
    // Nobody who runs it meanwhile finds nothing.
    let new = path.with_extension("adopt-new");
    symlink(program, &new)?;
    std::fs::rename(&new, path)
}

/// Removes a link of ours and the folders made for it. False: it is something
/// else by now, and stays.
///
/// # Errors
/// It cannot be removed.
pub(super) fn remove(link: &Link, record: &mut Record) -> Result<bool, ShimError> {
    let is_ours = std::fs::read_link(&link.path).is_ok_and(|target| target == link.target);
    if is_ours {
        std::fs::remove_file(&link.path).map_err(|error| {
            ShimError::general(format!(
                "{} cannot be removed: {error}",
                link.path.display()
            ))
        })?;
    }
    let is_gone = is_ours || std::fs::symlink_metadata(&link.path).is_err();
    clear(record.forget(&link.path)?);
    Ok(is_gone)
}

/// Removes folders that are empty.
fn clear(folders: Vec<PathBuf>) {
    for folder in folders {
        // Somebody else uses it by now.
        drop(std::fs::remove_dir(folder));
    }
}

/// Returns the folders that have to be made, the outermost first.
fn missing_folders(seat: Seat, below: &Path, path: &Path) -> Result<Vec<PathBuf>, ShimError> {
    let folders = path.ancestors().skip(1);
    let folders: Vec<&Path> = folders.take_while(|folder| *folder != below).collect();
    let is_missing = |folder: &&&Path| std::fs::symlink_metadata(folder).is_err();
    let missing: Vec<&Path> = folders.iter().take_while(is_missing).copied().collect();
    let there = folders.get(missing.len()).copied().unwrap_or(below);
    let (real, limit) = match (there.canonicalize(), below.canonicalize()) {
        (Ok(real), Ok(limit)) => (real, limit),
        (Err(error), _) | (_, Err(error)) => return Err(cannot(seat, there, &error)),
    };
    if !real.starts_with(&limit) {
        return Err(ShimError::general(format!(
            "{} leads out of {}, where adopt makes nothing: remove that link first",
            there.display(),
            below.display()
        )));
    }
    Ok(missing
        .iter()
        .rev()
        .map(|folder| (*folder).to_owned())
        .collect())
}

fn advice(seat: Seat) -> &'static str {
    match seat {
        Seat::Global => " (npm uninstall -g mcp-remote, if it is the npm package)",
        Seat::Home | Seat::Npx => "",
    }
}

fn cannot(seat: Seat, path: &Path, error: &io::Error) -> ShimError {
    let is_refused = error.kind() == ErrorKind::PermissionDenied;
    let advice = match seat {
        Seat::Global if is_refused => ": use adopt without --global, or adopt --npx",
        _ => "",
    };
    ShimError::general(format!(
        "{} cannot be made: {error}{advice}",
        path.display()
    ))
}
