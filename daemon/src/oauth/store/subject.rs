//! What an identity provider gave in the place of a refresh token that the user keeps
//! in a file: `{hash}_subject.json`. The file stays as it is; what replaced its token
//! counts until the file holds another one.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::files::{self, Replacement};
use super::{Folders, IdentityHash, Store, StoreError, blocking};
use crate::secret::Secret;

const SUBJECT: &str = "subject.json";

/// The file.
#[derive(Deserialize, Serialize)]
struct Kept {
    /// SHA-256 of the token that the user's file held.
    of: String,
    refresh_token: Zeroizing<String>,
}

/// Room for a refresh token, taken before the one before it is spent.
#[derive(Debug)]
pub(crate) struct ReservedSubject {
    /// `None`: in the keyring.
    room: Option<Replacement>,
    folders: Arc<Folders>,
    hash: IdentityHash,
}

impl ReservedSubject {
    /// Keeps what replaces `given`, the token of the user's file, from now on.
    pub(crate) async fn put(
        self,
        given: &Secret<String>,
        refresh_token: &Secret<String>,
    ) -> Result<(), StoreError> {
        let kept = Kept {
            of: digest(given),
            refresh_token: Zeroizing::new(refresh_token.reveal().clone()),
        };
        let content = serde_json::to_vec_pretty(&kept).expect("strings are JSON");
        let content = Zeroizing::new(content);
        blocking(move || match self.room {
            Some(room) => room.commit(&content),
            None => self.folders.put(&self.hash, SUBJECT, &content),
        })
        .await
    }
}

impl Store {
    /// Returns what has replaced `given`, the token of the user's file, if anything.
    pub(crate) async fn subject(
        &self,
        hash: &IdentityHash,
        given: &Secret<String>,
    ) -> Result<Option<Secret<String>>, StoreError> {
        let (folders, hash) = (self.0.clone(), hash.clone());
        let content = blocking(move || folders.secret(&hash, SUBJECT)).await?;
        let kept = content.and_then(|content| serde_json::from_slice::<Kept>(&content).ok());
        let kept = kept.filter(|kept| kept.of == digest(given));
        Ok(kept.map(|kept| Secret::new(kept.refresh_token.to_string())))
    }

    /// Takes room for what replaces it.
    pub(crate) async fn reserve_subject(
        &self,
        hash: &IdentityHash,
    ) -> Result<ReservedSubject, StoreError> {
        let (folders, hash) = (self.0.clone(), hash.clone());
        blocking(move || {
            files::prepare_folder(&folders.ours)?;
            let room = match folders.keyring {
                Some(_) => None,
                None => Some(Replacement::prepare(&folders.path(&hash, SUBJECT))?),
            };
            Ok(ReservedSubject {
                room,
                folders,
                hash,
            })
        })
        .await
    }
}

fn digest(token: &Secret<String>) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(token.reveal()) {
        write!(text, "{byte:02x}").expect("a String takes everything");
    }
    text
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::oauth::fake::identity;
    use crate::oauth::store::TokenStoreKind;

    #[tokio::test]
    async fn what_replaced_a_token_counts_until_the_file_holds_another() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::new(folder.path().to_owned(), TokenStoreKind::Files);
        let hash = identity("https://idp.example/").hash();
        let secret = |text: &str| Secret::new(text.to_owned());
        let kept = async |given: &str| {
            store
                .subject(&hash, &secret(given))
                .await
                .expect("readable")
        };
        assert_eq!(kept("first").await, None);
        let room = store.reserve_subject(&hash).await.expect("room");
        room.put(&secret("first"), &secret("second"))
            .await
            .expect("kept");
        assert_eq!(kept("first").await, Some(secret("second")));
        assert_eq!(kept("another").await, None);
        let path = folder
            .path()
            .join(format!("mcp-remote-d1/{hash}_{SUBJECT}"));
        let text = std::fs::read_to_string(&path).expect("there");
        assert!(text.contains("second") && !text.contains("first"), "{text}");
        let mode = std::fs::metadata(&path)
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(&path, "{").expect("damaged");
        assert_eq!(kept("first").await, None);
    }
}
