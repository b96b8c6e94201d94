//! Which certificates a client was built with, to know when others would be: so that
//! reading them again disturbs nobody whose have not changed.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};

/// Where a client's certificates came from, as it was then.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Trust {
    files: Vec<(PathBuf, Option<Stamp>)>,
    /// Digest of the system's certificates, if they count.
    system: Option<Vec<u8>>,
}

/// What changes when a file does.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    len: u64,
    is_file: bool,
    #[cfg(unix)]
    place: (u64, u64),
}

impl Trust {
    /// Notes a file, before it is read.
    pub(super) fn note_file(&mut self, path: &Path) {
        self.files.push((path.to_owned(), stamp(path)));
    }

    /// Notes the system's certificates.
    pub(super) fn note_system(&mut self, certificates: &[CertificateDer<'_>]) {
        self.system = Some(digest(certificates));
    }

    /// Says whether it counts what the system trusts.
    pub(super) fn is_the_systems(&self) -> bool {
        self.system.is_some()
    }

    /// Says whether a client would be built with the same now, given what the system
    /// trusts.
    pub(super) fn still_holds(&self, system: Option<&[CertificateDer<'_>]>) -> bool {
        let mut files = self.files.iter();
        files.all(|(path, noted)| stamp(path) == *noted)
            && (self.system.is_none() || self.system == system.map(digest))
    }
}

fn digest(certificates: &[CertificateDer<'_>]) -> Vec<u8> {
    let mut each: Vec<_> = certificates.iter().map(Sha256::digest).collect();
    // Their order says nothing.
    each.sort();
    let all = each.into_iter().fold(Sha256::new(), Sha256::chain_update);
    all.finalize().to_vec()
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some(Stamp {
        modified: metadata.modified().ok(),
        len: metadata.len(),
        is_file: metadata.is_file(),
        #[cfg(unix)]
        place: place(&metadata),
    })
}

#[cfg(unix)]
fn place(metadata: &std::fs::Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt as _;
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_holds_until_a_file_or_the_system_changes() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, "one").expect("it can be written");
        let (one, other) = (CertificateDer::from(vec![1]), CertificateDer::from(vec![2]));
        let both = [one.clone(), other.clone()];
        let mut trust = Trust::default();
        trust.note_file(&file);
        trust.note_system(&both);
        assert!(trust.still_holds(Some(&both)));
        assert!(trust.still_holds(Some(&[other.clone(), one.clone()])));
        assert!(!trust.still_holds(Some(&[one])));
        std::fs::write(&file, "other").expect("it can be written");
        assert!(!trust.still_holds(Some(&both)));
        std::fs::remove_file(&file).expect("it can be removed");
        assert!(!trust.still_holds(Some(&both)));
    }
}
