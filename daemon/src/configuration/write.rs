//! Replaces the configuration file in one step that survives a crash, by the rules
//! of the token store: no link is followed, nothing of another user's is touched,
//! nobody else can read what is written. Blocks.

use std::path::Path;

use super::file;
use crate::oauth::store::files::{self, Loose, Replacement};

/// Reads the file that is about to be replaced; empty if there is none.
///
/// # Errors
/// One sentence.
pub(super) fn read(path: &Path) -> Result<String, String> {
    let is_link = |metadata: std::fs::Metadata| metadata.file_type().is_symlink();
    if std::fs::symlink_metadata(path).is_ok_and(is_link) {
        return Err(format!(
            "{} is a link: change the file that it leads to yourself, then run mcp-remote reload",
            path.display()
        ));
    }
    // What others can write is not taken for this user's own by writing it anew.
    file::read(path).map_err(|why| format!("{} {why}", path.display()))?;
    let content = files::read(path, Loose::Leave).map_err(|error| error.to_string())?;
    let Some(content) = content else {
        return Ok(String::new());
    };
    let text = str::from_utf8(&content);
    text.map(str::to_owned)
        .map_err(|_| format!("{} is not UTF-8", path.display()))
}

/// Puts `text` in its place, for good.
///
/// # Errors
/// One sentence; the file is as it was then.
pub(super) fn replace(path: &Path, text: &str) -> Result<(), String> {
    if let Some(folder) = path.parent() {
        make_folder(folder).map_err(|why| format!("{} {why}", folder.display()))?;
    }
    Replacement::prepare(path)
        .and_then(|replacement| replacement.commit(text.as_bytes()))
        .map_err(|error| error.to_string())
}

/// Makes the folder, private; one that is there has to be this user's alone to write.
#[cfg(unix)]
fn make_folder(folder: &Path) -> Result<(), String> {
    use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
    let failed = |error: std::io::Error| format!("cannot be used: {error}");
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(failed)?;
    let metadata = std::fs::metadata(folder).map_err(failed)?;
    if metadata.uid() != mcp_remote_proto::endpoint::user_id() {
        return Err("belongs to another user: move it away".into());
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(format!(
            "can be written by others: run chmod go-w {}",
            crate::shell::quoted(&folder.to_string_lossy())
        ));
    }
    Ok(())
}

#[cfg(not(unix))]
fn make_folder(folder: &Path) -> Result<(), String> {
    std::fs::create_dir_all(folder).map_err(|error| format!("cannot be used: {error}"))
}
