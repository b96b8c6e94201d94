//! Files for what cannot be printed. Their names are made of what a server says,
//! stay in the folder, and never are those of files that are there.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::exit::ShimError;

/// Longest part of a name that comes from a server.
const MAX_NAME: usize = 80;

/// Names that are tried.
const MAX_NUMBER: u32 = 10_000;

/// What files of a kind are called.
const EXTENSIONS: &[(&str, &str)] = &[
    ("application/gzip", "gz"),
    ("application/json", "json"),
    ("application/pdf", "pdf"),
    ("application/zip", "zip"),
    ("audio/flac", "flac"),
    ("audio/mp4", "m4a"),
    ("audio/mpeg", "mp3"),
    ("audio/ogg", "ogg"),
    ("audio/wav", "wav"),
    ("audio/wave", "wav"),
    ("audio/webm", "webm"),
    ("audio/x-wav", "wav"),
    ("image/bmp", "bmp"),
    ("image/gif", "gif"),
    ("image/jpeg", "jpg"),
    ("image/png", "png"),
    ("image/svg+xml", "svg"),
    ("image/tiff", "tiff"),
    ("image/webp", "webp"),
    ("text/csv", "csv"),
    ("text/html", "html"),
    ("text/markdown", "md"),
    ("text/plain", "txt"),
    ("video/mp4", "mp4"),
];

/// Writes a new file; returns where.
///
/// # Errors
/// It cannot be written.
pub(super) fn save(
    folder: &Path,
    name: &str,
    mime_type: &str,
    content: &[u8],
) -> Result<PathBuf, ShimError> {
    let (stem, extension) = names(name, mime_type);
    let failed = |path: &Path, error| {
        ShimError::general(format!("{} cannot be written: {error}", path.display()))
    };
    for number in 1..=MAX_NUMBER {
        let name = match number {
            1 => format!("{stem}.{extension}"),
            number => format!("{stem}-{number}.{extension}"),
        };
        let path = folder.join(name);
        let mut file = match OpenOptions::new().write(true).create_new(true).open(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
            opened => opened.map_err(|error| failed(&path, error))?,
        };
        file.write_all(content)
            .map_err(|error| failed(&path, error))?;
        return Ok(path);
    }
    Err(ShimError::general(format!(
        "{} has too many files called {stem}: remove some, or use --save-to",
        folder.display()
    )))
}

/// Returns a name without its extension, and that.
fn names(name: &str, mime_type: &str) -> (String, String) {
    let mime_type = mime_type.split(';').next().unwrap_or_default().trim();
    let mut known = EXTENSIONS.iter();
    let known = known.find(|(kind, _)| kind.eq_ignore_ascii_case(mime_type));
    let safe = |text: &str| -> String {
        let letters = text.chars().map(|letter| match letter {
            letter if letter.is_ascii_alphanumeric() || "-_.".contains(letter) => letter,
            _ => '_',
        });
        letters.take(MAX_NAME).collect()
    };
    let name = safe(name);
    let (stem, own) = match name.rsplit_once('.') {
        Some((stem, own)) if !own.is_empty() && own.len() <= 8 => (stem, Some(own)),
        _ => (name.as_str(), None),
    };
    // A name that begins with a dot is hidden, one that begins with a dash a flag.
    let stem = stem.trim_matches(['.', '-']);
    let stem = if stem.is_empty() { "file" } else { stem };
    let extension = own.or(known.map(|(_, extension)| *extension));
    (stem.to_owned(), extension.unwrap_or("bin").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_the_folder() {
        for (name, mime_type, expected) in [
            ("image", "image/png", "image.png"),
            ("image", "IMAGE/JPEG; q=1", "image.jpg"),
            ("a.tar.gz", "", "a.tar.gz"),
            ("../../etc/passwd", "text/plain", "_.._etc_passwd.txt"),
            (".bashrc", "", "file.bashrc"),
            ("-rf", "", "rf.bin"),
            ("", "image/unknown", "file.bin"),
            ("a\n\u{1b}é", "", "a___.bin"),
            ("..", "", "file.bin"),
        ] {
            let (stem, extension) = names(name, mime_type);
            assert_eq!(format!("{stem}.{extension}"), expected, "{name:?}");
        }
        assert!(names(&"x".repeat(1000), "").0.len() <= MAX_NAME);
    }
}
