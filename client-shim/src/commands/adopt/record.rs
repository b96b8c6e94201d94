//! What adopt has made, in the file `adopted` of the state folder: a line for
//! each link and folder, written before it is made. A link that is being moved has
//! a line for either end, so that it is ours whenever that is interrupted.

use std::io::{ErrorKind, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::cli::Seat;
use crate::exit::ShimError;

const FILE: &str = "adopted";

/// A link that adopt has made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    /// For which seat.
    pub(super) seat: Seat,
    /// Where it stands.
    pub(super) path: PathBuf,
    /// Where it leads.
    pub(super) target: PathBuf,
}

/// What adopt has made.
#[derive(Debug)]
pub(super) struct Record {
    file: PathBuf,
    links: Vec<Link>,
    /// In the order in which they were made.
    folders: Vec<PathBuf>,
}

impl Record {
    /// Reads it; there may be none.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn read(state: &Path) -> Result<Self, ShimError> {
        let file = state.join(FILE);
        let text = match std::fs::read(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                return Err(ShimError::general(format!(
                    "what adopt has made before cannot be read from {}: {error}",
                    file.display()
                )));
            }
        };
        let mut record = Self {
            file,
            links: Vec::new(),
            folders: Vec::new(),
        };
        for line in text.split(|byte| *byte == b'\n') {
            record.take(line);
        }
        Ok(record)
    }

    /// A line that is not understood is of another release, and left out.
    fn take(&mut self, line: &[u8]) {
        let path = |bytes: &[u8]| PathBuf::from(std::ffi::OsString::from_vec(bytes.to_vec()));
        let parts: Vec<&[u8]> = line.split(|byte| *byte == b'\t').collect();
        match parts.as_slice() {
            [b"folder", folder] => self.folders.push(path(folder)),
            [seat, link, target] => self.links.extend(named(seat).map(|seat| Link {
                seat,
                path: path(link),
                target: path(target),
            })),
            _ => {}
        }
    }

    /// Returns where the links of a seat, or of all, stand.
    pub(super) fn paths(&self, seat: Option<Seat>) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        for link in &self.links {
            if seat.is_none_or(|seat| link.seat == seat) && !paths.contains(&link.path) {
                paths.push(link.path.clone());
            }
        }
        paths
    }

    /// Whether adopt made a link there that leads to `target`, or was about to.
    pub(super) fn made(&self, path: &Path, target: &Path) -> bool {
        let mut links = self.links.iter();
        links.any(|link| link.path == path && link.target == target)
    }

    /// Notes what is about to be made, beside what was made there before.
    ///
    /// # Errors
    /// It cannot be written down.
    pub(super) fn add(&mut self, link: Link, folders: &[PathBuf]) -> Result<(), ShimError> {
        if !self.links.contains(&link) {
            self.links.push(link);
        }
        let new = folders.iter().filter(|new| !self.folders.contains(new));
        let new: Vec<PathBuf> = new.cloned().collect();
        self.folders.extend(new);
        self.write()
    }

    /// Notes that the link there leads to `target` and nowhere else.
    ///
    /// # Errors
    /// It cannot be written down.
    pub(super) fn settle(&mut self, path: &Path, target: &Path) -> Result<(), ShimError> {
        let before = self.links.len();
        let stays = |link: &Link| link.path != path || link.target == target;
        self.links.retain(stays);
        match self.links.len() == before {
            true => Ok(()),
            false => self.write(),
        }
    }

    /// Forgets a link, and the folders that no other link of ours stands in.
    /// Returns those, the deepest first.
    ///
    /// # Errors
    /// It cannot be written down.
    pub(super) fn forget(&mut self, path: &Path) -> Result<Vec<PathBuf>, ShimError> {
        self.links.retain(|link| link.path != path);
        let is_used =
            |folder: &PathBuf| self.links.iter().any(|link| link.path.starts_with(folder));
        let (used, mut unused): (Vec<_>, Vec<_>) =
            self.folders.drain(..).partition(|folder| is_used(folder));
        self.folders = used;
        self.write()?;
        // Whatever stands in a folder comes after it.
        unused.sort_unstable();
        unused.reverse();
        Ok(unused)
    }

    fn write(&self) -> Result<(), ShimError> {
        let written = match self.links.is_empty() {
            true => match std::fs::remove_file(&self.file) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
            false => self.replace(),
        };
        written.map_err(|error| {
            ShimError::general(format!(
                "what adopt makes cannot be written down in {}: {error}",
                self.file.display()
            ))
        })
    }

    fn replace(&self) -> std::io::Result<()> {
        let mut text = Vec::new();
        let mut line = |parts: &[&[u8]]| {
            text.extend(parts.join(b"\t".as_slice()));
            text.push(b'\n');
        };
        for Link { seat, path, target } in &self.links {
            let (path, target) = (path.as_os_str(), target.as_os_str());
            line(&[name(*seat), path.as_bytes(), target.as_bytes()]);
        }
        for folder in &self.folders {
            line(&[b"folder", folder.as_os_str().as_bytes()]);
        }
        let new = self.file.with_extension("new");
        let mut options = std::fs::File::options();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&new, &self.file)
    }
}

/// Says whether a path can stand in the record.
pub(super) fn can_hold(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    !bytes.iter().any(|byte| matches!(byte, b'\t' | b'\n'))
}

fn name(seat: Seat) -> &'static [u8] {
    match seat {
        Seat::Home => b"home",
        Seat::Global => b"global",
        Seat::Npx => b"npx",
    }
}

fn named(text: &[u8]) -> Option<Seat> {
    let seats = [Seat::Home, Seat::Global, Seat::Npx];
    seats.into_iter().find(|seat| name(*seat) == text)
}
