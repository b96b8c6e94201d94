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
    for part in [path, program] {
        if !record::can_hold(part) {
            let sentence = "adopt cannot use a path with a tab or a line break in it";
            return Err(ShimError::general(sentence));
        }
    }
    let missing = missing_folders(seat, below, path)?;
    let before = std::fs::read_link(path);
    let made = what_to_make(seat, path, program, before.as_deref(), record)?;
    match made {
        Made::Before => {
            record.settle(path, program)?;
            return Ok(made);
        }
        Made::ByOthers => return Ok(made),
        Made::New | Made::Moved => remove_new(path)?,
    }
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
        match before {
            Ok(target) => record.settle(path, &target)?,
            Err(_) => clear(record.forget(path)?),
        }
        return Err(cannot(seat, path, &error));
    }
    record.settle(path, program)?;
    Ok(made)
}

/// Says what making the link comes to, when `before` was found at `path`.
fn what_to_make(
    seat: Seat,
    path: &Path,
    program: &Path,
    before: Result<&Path, &io::Error>,
    record: &Record,
) -> Result<Made, ShimError> {
    let in_the_way = |is: String| {
        ShimError::general(format!(
            "{} {is}, and adopt has not made it: remove it first{}",
            path.display(),
            advice(seat)
        ))
    };
    match before {
        Ok(target) if target == program && record.made(path, target) => Ok(Made::Before),
        Ok(target) if target == program => Ok(Made::ByOthers),
        Ok(target) if record.made(path, target) => Ok(Made::Moved),
        Ok(target) => Err(in_the_way(format!("leads to {}", target.display()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Made::New),
        // It is there, and no link.
        Err(error) if error.kind() == ErrorKind::InvalidInput => {
            Err(in_the_way("is there already".into()))
        }
        Err(error) => Err(cannot(seat, path, error)),
    }
}

fn place(made: Made, path: &Path, program: &Path) -> io::Result<()> {
    if made == Made::New {
        return symlink(program, path);
    }
    // Nobody who runs it meanwhile finds nothing.
    let new = new_of(path);
    symlink(program, &new)?;
    std::fs::rename(&new, path)
}

/// Where a link is made that takes the place of another.
fn new_of(path: &Path) -> PathBuf {
    path.with_extension("adopt-new")
}

/// Removes a link that an adopt which was interrupted has not put in place.
fn remove_new(path: &Path) -> Result<(), ShimError> {
    let new = new_of(path);
    match std::fs::symlink_metadata(&new) {
        Ok(found) if found.is_symlink() => remove_file(&new),
        Ok(_) => Err(ShimError::general(format!(
            "{} is in the way, and adopt has not made it: remove it first",
            new.display()
        ))),
        Err(_) => Ok(()),
    }
}

fn remove_file(path: &Path) -> Result<(), ShimError> {
    std::fs::remove_file(path).map_err(|error| {
        ShimError::general(format!("{} cannot be removed: {error}", path.display()))
    })
}

/// Removes a link of ours and the folders made for it. False: it is something
/// else by now, and stays.
///
/// # Errors
/// It cannot be removed.
pub(super) fn remove(path: &Path, record: &mut Record) -> Result<bool, ShimError> {
    remove_new(path)?;
    let is_ours = std::fs::read_link(path).is_ok_and(|target| record.made(path, &target));
    if is_ours {
        remove_file(path)?;
    }
    let is_gone = is_ours || std::fs::symlink_metadata(path).is_err();
    clear(record.forget(path)?);
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
