//! Files that hold secrets: read only if they are what we would have written,
//! replaced in one step that survives a crash. Knows no format; blocks.
//!
//! A reader sees the old content or the new one, whole, whenever the writer dies.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use zeroize::Zeroizing;

use crate::shell::quoted;

/// Longest file that is read, in bytes: tokens are a few KiB.
const MAX_FILE: u64 = 1024 * 1024;

/// Bytes taken on the disk before a new token is asked for.
const RESERVED: usize = 16 * 1024;

/// What temporary files begin with.
const TEMPORARY: &str = ".new-";

/// Why a file or folder cannot be used. Completes "PATH …".
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// It is a symbolic link, a pipe, a folder.
    #[error("{} is not a regular file: move it away", .0.display())]
    NotAFile(PathBuf),
    /// It is a symbolic link or no folder.
    #[error("{} is not a folder: move it away", .0.display())]
    NotAFolder(PathBuf),
    /// It belongs to somebody else.
    #[error("{} belongs to another user: move it away", .0.display())]
    Owner(PathBuf),
    /// Others can read or write it.
    #[error(
        "{} is open to other users (mode {:o}): if you trust it all the same, run: chmod 600 {}",
        .0.display(), .1, quoted(&.0.to_string_lossy())
    )]
    Open(PathBuf, u32),
    /// It is not what we have written.
    #[error("{} is damaged: mcp-remote logout with the same flags removes it", .0.display())]
    Damaged(PathBuf),
    /// It is longer than any of ours.
    #[error("{} is too long to be ours: move it away", .0.display())]
    TooLong(PathBuf),
    /// The keyring of the operating system fails.
    #[error(
        "the keyring cannot be used: {0}; unlock it, or keep tokens in files: unset MCP_REMOTE_TOKEN_STORE and run: mcp-remote stop"
    )]
    Keyring(String),
    /// The system refuses.
    #[error("{} cannot be used: {}", .0.display(), .1)]
    Io(PathBuf, #[source] io::Error),
}

/// What to do with permissions that let others in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loose {
    /// Tighten them, with a warning.
    Repair,
    /// Leave them: the file is another program's.
    Leave,
    /// Do not read the file: somebody else may have it too.
    Refuse,
}

/// Makes the folders that hold the files: the last one is private, those above
/// it at least not writable by others.
pub(super) fn prepare_folder(folder: &Path) -> Result<(), FileError> {
    let base = folder.parent().unwrap_or(folder);
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| FileError::Io(path, error)
    };
    if !base.exists() {
        create_folders(base).map_err(failed(base))?;
    }
    let writable_by_others = 0o022;
    let metadata = fs::metadata(base).map_err(failed(base))?;
    check_folder(base, &metadata, writable_by_others)?;
    match create_folder(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(FileError::Io(folder.to_owned(), error)),
    }
    let metadata = fs::symlink_metadata(folder).map_err(failed(folder))?;
    check_folder(folder, &metadata, 0o077)
}

#[cfg(unix)]
fn create_folders(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

#[cfg(unix)]
fn create_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().mode(0o700).create(path)
}

#[cfg(unix)]
fn check_folder(path: &Path, metadata: &fs::Metadata, forbidden: u32) -> Result<(), FileError> {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    if !metadata.is_dir() {
        return Err(FileError::NotAFolder(path.to_owned()));
    }
    if metadata.uid() != mcp_remote_proto::endpoint::user_id() {
        return Err(FileError::Owner(path.to_owned()));
    }
    let mode = metadata.mode() & 0o777;
    if mode & forbidden != 0 {
        tracing::warn!(folder = %path.display(), mode = format!("{mode:o}"), "tokens lie in a folder that was open to other users; it no longer is");
        let tight = fs::Permissions::from_mode(mode & !forbidden);
        fs::set_permissions(path, tight).map_err(|error| FileError::Io(path.to_owned(), error))?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn create_folders(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

#[cfg(not(unix))]
fn create_folder(path: &Path) -> io::Result<()> {
    fs::create_dir(path)
}

/// The profile folder of a Windows user is closed to others by inheritance.
#[cfg(not(unix))]
fn check_folder(path: &Path, metadata: &fs::Metadata, _forbidden: u32) -> Result<(), FileError> {
    match metadata.is_dir() {
        true => Ok(()),
        false => Err(FileError::NotAFolder(path.to_owned())),
    }
}

/// Reads a file; `None` if there is none.
pub(crate) fn read(path: &Path, loose: Loose) -> Result<Option<Zeroizing<Vec<u8>>>, FileError> {
    read_up_to(path, loose, MAX_FILE)
}

/// Reads a file of at most this length; `None` if there is none.
pub(crate) fn read_up_to(
    path: &Path,
    loose: Loose,
    limit: u64,
) -> Result<Option<Zeroizing<Vec<u8>>>, FileError> {
    let failed = |error| FileError::Io(path.to_owned(), error);
    let file = match open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(_) if fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.is_file()) => {
            return Err(FileError::NotAFile(path.to_owned()));
        }
        Err(error) => return Err(failed(error)),
    };
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(FileError::NotAFile(path.to_owned()));
    }
    check_file(path, &file, &metadata, loose)?;
    if metadata.len() > limit {
        return Err(FileError::TooLong(path.to_owned()));
    }
    let mut content = Zeroizing::new(Vec::new());
    file.take(limit).read_to_end(&mut content).map_err(failed)?;
    Ok(Some(content))
}

/// Never follows a link, never waits for the other end of a pipe.
#[cfg(unix)]
fn open(path: &Path) -> io::Result<File> {
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt as _;
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
}

#[cfg(unix)]
fn check_file(
    path: &Path,
    file: &File,
    metadata: &fs::Metadata,
    loose: Loose,
) -> Result<(), FileError> {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    if metadata.uid() != mcp_remote_proto::endpoint::user_id() {
        return Err(FileError::Owner(path.to_owned()));
    }
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 && loose == Loose::Refuse {
        return Err(FileError::Open(path.to_owned(), mode));
    }
    if mode & 0o077 != 0 && loose == Loose::Repair {
        tracing::warn!(file = %path.display(), mode = format!("{mode:o}"), "a file of tokens was open to other users; it no longer is");
        file.set_permissions(fs::Permissions::from_mode(0o600))
            .map_err(|error| FileError::Io(path.to_owned(), error))?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn open(path: &Path) -> io::Result<File> {
    if fs::symlink_metadata(path)?.file_type().is_symlink() {
        return Err(io::Error::other("it is a link"));
    }
    File::open(path)
}

#[cfg(not(unix))]
fn check_file(
    _path: &Path,
    _file: &File,
    _metadata: &fs::Metadata,
    _loose: Loose,
) -> Result<(), FileError> {
    Ok(())
}

/// A step of replacing a file, for tests that stop after each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The new file is there, with room on the disk.
    Reserved,
    /// It has its content.
    Written,
    /// The content is on the disk.
    Synced,
    /// It has replaced the old one.
    Renamed,
}

/// A file that will replace another: the room is taken, nothing is replaced yet.
/// Dropping it leaves the old file as it was.
#[derive(Debug)]
pub(crate) struct Replacement {
    target: PathBuf,
    temporary: PathBuf,
    file: File,
}

impl Replacement {
    /// Takes room for a file that will replace `target`.
    pub(crate) fn prepare(target: &Path) -> Result<Self, FileError> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let temporary =
            target.with_file_name(format!("{TEMPORARY}{}-{count}-{name}", std::process::id()));
        let failed = |error| FileError::Io(target.to_owned(), error);
        if fs::symlink_metadata(target).is_ok_and(|metadata| metadata.is_dir()) {
            return Err(FileError::NotAFile(target.to_owned()));
        }
        // Left behind by a process that had our number.
        drop(fs::remove_file(&temporary));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&temporary).map_err(failed)?;
        let mut prepared = Self {
            target: target.to_owned(),
            temporary,
            file,
        };
        prepared
            .file
            .write_all(&[b' '; RESERVED])
            .and_then(|()| prepared.file.sync_all())
            .map_err(failed)?;
        Ok(prepared)
    }

    /// Puts the content in place of the old file, for good.
    pub(crate) fn commit(self, content: &[u8]) -> Result<(), FileError> {
        self.commit_stepwise(content, &mut |_| Ok(()))
    }

    fn commit_stepwise(
        mut self,
        content: &[u8],
        after: &mut dyn FnMut(Step) -> io::Result<()>,
    ) -> Result<(), FileError> {
        let replaced = self.replace(content, after);
        replaced.map_err(|error| FileError::Io(self.target.clone(), error))
    }

    fn replace(
        &mut self,
        content: &[u8],
        after: &mut dyn FnMut(Step) -> io::Result<()>,
    ) -> io::Result<()> {
        after(Step::Reserved)?;
        self.file.rewind()?;
        self.file.write_all(content)?;
        self.file.set_len(content.len() as u64)?;
        after(Step::Written)?;
        self.file.sync_all()?;
        after(Step::Synced)?;
        fs::rename(&self.temporary, &self.target)?;
        after(Step::Renamed)?;
        sync_folder(&self.target)
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        // After the rename there is none.
        drop(fs::remove_file(&self.temporary));
    }
}

/// Writes a file that must not be there yet, for good. What fails leaves none.
pub(crate) fn create(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let failed = |error| FileError::Io(path.to_owned(), error);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(failed)?;
    let written = file
        .write_all(content)
        .and_then(|()| file.sync_all())
        .and_then(|()| sync_folder(path));
    if written.is_err() {
        drop(fs::remove_file(path));
    }
    written.map_err(failed)
}

/// Deletes a file, for good; it may be absent.
pub(crate) fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path).and_then(|()| sync_folder(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FileError::Io(path.to_owned(), error))
        }
        _ => Ok(()),
    }
}

fn sync_folder(file: &Path) -> io::Result<()> {
    #[cfg(unix)]
    if let Some(folder) = file.parent() {
        let here = folder.as_os_str().is_empty();
        return File::open(if here { Path::new(".") } else { folder })?.sync_all();
    }
    #[cfg(not(unix))]
    let _ = file;
    Ok(())
}

/// Deletes what a process that was killed left behind: its temporary files,
/// and others whose names end so, once they are this old.
pub(super) fn sweep(folder: &Path, also: &[&str], older_than: std::time::Duration) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let age = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .ok()
            .and_then(|modified| modified.elapsed().ok());
        let ours = name.starts_with(TEMPORARY) || also.iter().any(|end| name.ends_with(end));
        if ours && age.is_some_and(|age| age > older_than) {
            // The next start tries again.
            drop(fs::remove_file(entry.path()));
        }
    }
}

#[cfg(all(test, unix))]
mod tests;
