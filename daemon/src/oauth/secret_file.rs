//! Files of the user's that hold secrets: keys and tokens that others put there.
//! Read afresh each time, never written. Knows no format.
//!
//! What other users could read or have put there is refused before a byte of it is
//! used; reading takes a bounded time, and a file that hangs one thread.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use super::one_at_a_time::{OneAtATime, Stuck};
use crate::shell::quoted;

/// Longest file that is read, in bytes.
const MAX_FILE: u64 = 64 * 1024;

/// How long a file system may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Those that are being read.
static READING: OneAtATime<PathBuf> = OneAtATime::new();

/// Why a file is not used. One sentence.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretFileError {
    /// The system refuses.
    #[error("{} cannot be read: {}", .0.display(), .1)]
    Io(PathBuf, #[source] io::Error),
    /// It is a folder, a pipe or a device.
    #[error("{} is not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// It belongs to somebody else.
    #[error(
        "{0} belongs to the user with the id {owner}: use a copy of your own, or have root run: chown {us} {1}",
        .path.display(), word(.path)
    )]
    Owner {
        /// Which one.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        us: u32,
    },
    /// Others may do what they must not.
    #[error(
        "{0} is open to other users (mode {mode:03o}): run: chmod {right} {1}",
        .path.display(), word(.path)
    )]
    Open {
        /// Which one.
        path: PathBuf,
        /// How it is.
        mode: u32,
        /// How it should be.
        right: &'static str,
    },
    /// The same of a file that its user cannot change.
    #[error(
        "{0} belongs to root and is open to other users (mode {mode:03o}): use a copy of your own, have root run: chmod {right} {1}, or have it mounted with mode {mounted}",
        .path.display(), word(.path)
    )]
    OpenOfRoot {
        /// Which one.
        path: PathBuf,
        /// How it is.
        mode: u32,
        /// How it should be.
        right: &'static str,
        /// The same for whoever mounts it.
        mounted: &'static str,
    },
    /// It is longer than any key or token.
    #[error("{} is longer than {} KiB: it is no key and no token", .0.display(), MAX_FILE / 1024)]
    TooLong(PathBuf),
    /// Its file system does not answer.
    #[error("{} could not be read within {} s", .0.display(), TIMEOUT.as_secs())]
    Slow(PathBuf),
    /// Nor has it for whoever asked before.
    #[error("{} is still being read by an earlier attempt: its file system does not answer", .0.display())]
    StillRead(PathBuf),
}

/// The path for a shell.
fn word(path: &Path) -> String {
    quoted(&path.to_string_lossy()).into_owned()
}

/// Who besides its owner may have access to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Nobody. Of root's files the group may read: that is how secrets are mounted
    /// for a service.
    OwnerOnly,
    /// Whoever may, but nobody else may write it: short-lived tokens are mounted so.
    AnyReader,
}

/// Reads a file without blocking the caller's thread.
pub(crate) async fn read(
    path: &Path,
    access: Access,
) -> Result<Zeroizing<Vec<u8>>, SecretFileError> {
    let reading = path.to_owned();
    let work = move || read_blocking(&reading, access);
    match READING.run(path.to_owned(), TIMEOUT, work).await {
        Ok(read) => read,
        Err(Stuck::Late) => Err(SecretFileError::Slow(path.to_owned())),
        Err(Stuck::Before) => Err(SecretFileError::StillRead(path.to_owned())),
    }
}

/// Reads a file.
pub(crate) fn read_blocking(
    path: &Path,
    access: Access,
) -> Result<Zeroizing<Vec<u8>>, SecretFileError> {
    let failed = |error| SecretFileError::Io(path.to_owned(), error);
    let file = open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(SecretFileError::NotAFile(path.to_owned()));
    }
    check(path, &metadata, access)?;
    // One allocation, so that no copy is left behind.
    let mut content = Zeroizing::new(Vec::with_capacity(MAX_FILE as usize + 1));
    file.take(MAX_FILE + 1)
        .read_to_end(&mut content)
        .map_err(failed)?;
    if content.len() as u64 > MAX_FILE {
        return Err(SecretFileError::TooLong(path.to_owned()));
    }
    Ok(content)
}

/// Follows links, which is how secrets are mounted; never waits for the other end of
/// a pipe.
#[cfg(unix)]
fn open(path: &Path) -> io::Result<File> {
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt as _;
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
}

#[cfg(unix)]
fn check(path: &Path, metadata: &Metadata, access: Access) -> Result<(), SecretFileError> {
    use std::os::unix::fs::MetadataExt as _;
    let us = mcp_remote_proto::endpoint::user_id();
    judge(path, metadata.uid(), us, metadata.mode() & 0o777, access)
}

/// Says what is wrong with the owner or the mode of a file, and what whoever reads that
/// can do about it.
#[cfg(unix)]
fn judge(
    path: &Path,
    owner: u32,
    us: u32,
    mode: u32,
    access: Access,
) -> Result<(), SecretFileError> {
    let is_roots = owner == 0;
    let path = path.to_owned();
    if !is_roots && owner != us {
        return Err(SecretFileError::Owner { path, owner, us });
    }
    let forbidden = match access {
        Access::OwnerOnly if is_roots => 0o037,
        Access::OwnerOnly => 0o077,
        Access::AnyReader => 0o022,
    };
    if mode & forbidden == 0 {
        return Ok(());
    }
    let open = |right| SecretFileError::Open {
        path: path.clone(),
        mode,
        right,
    };
    let of_root = |right, mounted| SecretFileError::OpenOfRoot {
        path: path.clone(),
        mode,
        right,
        mounted,
    };
    Err(match access {
        Access::OwnerOnly if owner == us => open("600"),
        Access::AnyReader if owner == us => open("go-w"),
        Access::OwnerOnly => of_root("g-wx,o=", "0440"),
        Access::AnyReader => of_root("go-w", "0444"),
    })
}

#[cfg(not(unix))]
fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// The profile folder of a Windows user is closed to others by inheritance.
#[cfg(not(unix))]
fn check(_path: &Path, _metadata: &Metadata, _access: Access) -> Result<(), SecretFileError> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn file(content: &[u8], mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        std::fs::write(&path, content).expect("written");
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&path, mode).expect("set");
        (folder, path)
    }

    #[test]
    fn what_others_may_read_or_write_is_refused_and_says_what_to_run() {
        let refused = |mode: u32, access: Access| {
            let (_folder, path) = file(b"x", mode);
            let read = read_blocking(&path, access);
            read.err().map(|error| error.to_string())
        };
        assert_eq!(refused(0o600, Access::OwnerOnly), None);
        assert_eq!(refused(0o400, Access::OwnerOnly), None);
        let why = refused(0o644, Access::OwnerOnly).expect("refused");
        assert!(why.contains("(mode 644): run: chmod "), "{why}");
        assert!(refused(0o666, Access::OwnerOnly).is_some());
        assert!(refused(0o620, Access::OwnerOnly).is_some());
        assert_eq!(refused(0o644, Access::AnyReader), None);
        assert!(refused(0o664, Access::AnyReader).is_some());
        let why = refused(0o646, Access::AnyReader).expect("refused");
        assert!(why.contains("chmod go-w "), "{why}");
    }

    #[test]
    fn who_cannot_change_a_file_hears_who_can() {
        let path = Path::new("/run/my keys/it's.pem");
        let said = |owner: u32, mode: u32, access: Access| {
            let judged = judge(path, owner, 1000, mode, access);
            judged.err().map(|error| error.to_string())
        };
        let word = r"'/run/my keys/it'\''s.pem'";
        let own = said(1000, 0o640, Access::OwnerOnly).expect("refused");
        assert!(own.ends_with(&format!("(mode 640): run: chmod 600 {word}")));
        assert_eq!(said(0, 0o440, Access::OwnerOnly), None, "a mounted secret");
        let roots = said(0, 0o644, Access::OwnerOnly).expect("refused");
        let advice = format!(
            "belongs to root and is open to other users (mode 644): use a copy of your own, \
             have root run: chmod g-wx,o= {word}, or have it mounted with mode 0440"
        );
        assert!(roots.ends_with(&advice), "{roots}");
        assert_eq!(said(0, 0o444, Access::AnyReader), None);
        let roots = said(0, 0o666, Access::AnyReader).expect("refused");
        assert!(roots.contains(&format!("have root run: chmod go-w {word}")));
        let foreign = said(1001, 0o600, Access::OwnerOnly).expect("refused");
        let advice = format!(
            "belongs to the user with the id 1001: use a copy of your own, or have root run: \
             chown 1000 {word}"
        );
        assert!(foreign.ends_with(&advice), "{foreign}");
        let by_root = judge(path, 0, 0, 0o644, Access::OwnerOnly).expect_err("refused");
        assert!(by_root.to_string().contains("): run: chmod 600 "));
    }

    #[test]
    fn what_is_no_file_or_too_long_is_refused_at_once() {
        let (folder, path) = file(&vec![b'x'; MAX_FILE as usize + 1], 0o600);
        let why = |path: &Path| {
            let error = read_blocking(path, Access::OwnerOnly).expect_err("refused");
            error.to_string()
        };
        assert!(why(&path).contains("longer than 64 KiB"));
        assert!(why(folder.path()).contains("not a regular file"));
        assert!(why(Path::new("/dev/null")).contains("not a regular file"));
        assert!(why(&folder.path().join("none")).contains("cannot be read: No such file"));
        std::fs::write(&path, vec![b'x'; MAX_FILE as usize]).expect("written");
        assert!(read_blocking(&path, Access::OwnerOnly).is_ok());
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).expect("linked");
        assert!(read_blocking(&link, Access::OwnerOnly).is_ok(), "a mount");
    }

    /// No file system that hangs can be had everywhere, so another reader does.
    #[tokio::test]
    async fn a_file_that_hangs_takes_one_thread_and_holds_up_no_other() {
        let (folder, path) = file(b"x", 0o600);
        let other = folder.path().join("other");
        std::fs::copy(&path, &other).expect("copied");
        let (release, released) = std::sync::mpsc::channel::<()>();
        let hangs = move || {
            let _ended = released.recv();
        };
        let limit = Duration::from_millis(50);
        let hung = READING.run(path.clone(), limit, hangs).await;
        assert_eq!(hung, Err(Stuck::Late));
        let why = read(&path, Access::OwnerOnly).await.expect_err("it hangs");
        let why = why.to_string();
        assert!(why.contains("still being read"), "{why}");
        assert!(read(&other, Access::OwnerOnly).await.is_ok());
        drop(release);
        let by = tokio::time::Instant::now() + Duration::from_secs(30);
        while read(&path, Access::OwnerOnly).await.is_err() {
            assert!(tokio::time::Instant::now() < by, "its end goes unnoticed");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_pipe_is_refused_without_waiting_for_its_other_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pipe");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0)
            .expect("made");
        let error = read(&path, Access::OwnerOnly).await.expect_err("refused");
        assert!(error.to_string().contains("not a regular file"), "{error}");
    }
}
