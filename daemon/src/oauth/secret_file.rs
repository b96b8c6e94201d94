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
    #[error("{} belongs to another user: it has to be yours", .0.display())]
    Owner(PathBuf),
    /// Others may do what they must not.
    #[error("{0} is open to other users (mode {mode:03o}): run: chmod {right} {0}", .path.display())]
    Open {
        /// Which one.
        path: PathBuf,
        /// How it is.
        mode: u32,
        /// How it should be.
        right: &'static str,
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
    let is_roots = metadata.uid() == 0;
    if !is_roots && metadata.uid() != mcp_remote_proto::endpoint::user_id() {
        return Err(SecretFileError::Owner(path.to_owned()));
    }
    let (forbidden, right) = match access {
        Access::OwnerOnly if is_roots => (0o037, "o=,g-wx"),
        Access::OwnerOnly => (0o077, "600"),
        Access::AnyReader => (0o022, "go-w"),
    };
    let mode = metadata.mode() & 0o777;
    if mode & forbidden == 0 {
        return Ok(());
    }
    let path = path.to_owned();
    Err(SecretFileError::Open { path, mode, right })
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
