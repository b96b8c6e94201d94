//! What an identity provider gave in the place of a refresh token that the user keeps
//! in a file: `{hash}_subject.json`. The file stays as it is; what replaced its token
//! counts until the file holds another one.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::files::{self, Replacement};
use super::{Folders, IdentityHash, SUBJECT, SUBJECT_IN_KEYRING, Store, StoreError, blocking};
use crate::oauth::registration::Client;
use crate::secret::Secret;

/// The file.
#[derive(Deserialize, Serialize)]
struct Kept {
    /// SHA-256 of the token that the user's file held.
    of: String,
    /// `None`: it has left this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refresh_token: Option<Zeroizing<String>>,
    /// The user's file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    /// As which client it is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client: Option<Map<String, Value>>,
}

/// What has become of the token of a user's file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Replaced {
    /// Nothing.
    Not,
    /// This one is shown in its place.
    By(Secret<String>),
    /// What replaced it is on another machine. To show it again might end that one.
    Elsewhere,
}

/// A refresh token that replaced the one of a user's file, and what else is known.
#[derive(Debug)]
pub(crate) struct Successor {
    /// It.
    pub(crate) refresh_token: Secret<String>,
    /// The user's file.
    pub(crate) file: Option<String>,
    /// As which client it is shown, and to whom.
    pub(crate) client: Option<Client>,
}

impl Successor {
    /// Reads what stands in its file; `None`: there is none in it.
    pub(crate) fn read(content: &[u8]) -> Option<Self> {
        let kept: Kept = serde_json::from_slice(content).ok()?;
        Some(Self {
            refresh_token: Secret::new(kept.refresh_token?.to_string()),
            file: kept.file,
            client: kept.client.and_then(Client::of_kept),
        })
    }

    fn write(&self, of: String) -> Zeroizing<Vec<u8>> {
        let kept = Kept {
            of,
            refresh_token: Some(Zeroizing::new(self.refresh_token.reveal().clone())),
            file: self.file.clone(),
            client: self.client.as_ref().map(Client::to_keep),
        };
        kept.write()
    }
}

impl Kept {
    fn write(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(serde_json::to_vec_pretty(self).expect("strings are JSON"))
    }
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
        successor: &Successor,
    ) -> Result<(), StoreError> {
        let content = successor.write(digest(given));
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
    ) -> Result<Replaced, StoreError> {
        let content = self.raw_subject(hash).await?;
        let kept = content.and_then(|content| serde_json::from_slice::<Kept>(&content).ok());
        Ok(match kept.filter(|kept| kept.of == digest(given)) {
            None => Replaced::Not,
            Some(Kept {
                refresh_token: Some(token),
                ..
            }) => Replaced::By(Secret::new(token.to_string())),
            Some(_) => Replaced::Elsewhere,
        })
    }

    /// Returns what has replaced the token of a user's file, whatever that holds now.
    pub(crate) async fn successor(
        &self,
        hash: &IdentityHash,
    ) -> Result<Option<Successor>, StoreError> {
        let content = self.raw_subject(hash).await?;
        Ok(content.and_then(|content| Successor::read(&content)))
    }

    /// Returns what stands in the file of a successor.
    pub(crate) async fn raw_subject(
        &self,
        hash: &IdentityHash,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let (folders, hash) = (self.0.clone(), hash.clone());
        blocking(move || folders.secret(&hash, SUBJECT)).await
    }

    /// Keeps what stood in such a file elsewhere.
    pub(crate) async fn put_raw_subject(
        &self,
        hash: &IdentityHash,
        content: Zeroizing<Vec<u8>>,
    ) -> Result<(), StoreError> {
        self.put(hash, SUBJECT, content).await
    }

    /// Says whether there are tokens of a server that were given on this provider's word.
    pub(crate) async fn is_vouched_by(&self, hash: &IdentityHash) -> Result<bool, StoreError> {
        for identity in self.identities().await? {
            let grant = self.tokens(&identity).await?.tokens();
            let provider = grant.and_then(|grant| grant.provider);
            if provider.is_some_and(|provider| provider == hash.as_str()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Deletes it.
    pub(crate) async fn remove_subject(&self, hash: &IdentityHash) -> Result<(), StoreError> {
        self.remove(hash, &[SUBJECT]).await
    }

    /// Notes in its place that it has left this machine.
    pub(crate) async fn send_subject_away(&self, hash: &IdentityHash) -> Result<(), StoreError> {
        let content = self.raw_subject(hash).await?;
        let kept = content.and_then(|content| serde_json::from_slice::<Kept>(&content).ok());
        let Some(kept) = kept else {
            return self.remove_subject(hash).await;
        };
        let note = Kept {
            of: kept.of,
            refresh_token: None,
            file: kept.file,
            client: None,
        };
        self.put(hash, SUBJECT, note.write()).await
    }

    /// Returns the identity providers where the token of a user's file was replaced.
    pub(crate) async fn subjects(&self) -> Result<Vec<IdentityHash>, StoreError> {
        self.listed(SUBJECT, SUBJECT_IN_KEYRING).await
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
            let kept = store.subject(&hash, &secret(given)).await;
            kept.expect("readable")
        };
        assert_eq!(kept("first").await, Replaced::Not);
        let client = serde_json::json!({ "client_id": "c", "issuer": "https://idp.example" });
        let successor = Successor {
            refresh_token: secret("second"),
            file: Some("/the/file".into()),
            client: Client::of_kept(client.as_object().expect("an object").clone()),
        };
        let room = store.reserve_subject(&hash).await.expect("room");
        room.put(&secret("first"), &successor).await.expect("kept");
        assert_eq!(kept("first").await, Replaced::By(secret("second")));
        assert_eq!(kept("another").await, Replaced::Not);
        assert_eq!(store.subjects().await.expect("readable").len(), 1);
        let there = store.successor(&hash).await.expect("readable");
        let there = there.expect("there");
        assert_eq!(
            (there.file, there.client),
            (successor.file, successor.client)
        );
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
        store.send_subject_away(&hash).await.expect("noted");
        assert_eq!(kept("first").await, Replaced::Elsewhere);
        assert_eq!(kept("another").await, Replaced::Not);
        let text = std::fs::read_to_string(&path).expect("there");
        assert!(!text.contains("second"), "{text}");
        assert!(store.successor(&hash).await.expect("readable").is_none());
        // As earlier releases wrote it.
        let text = text.replacen('{', r#"{"refresh_token": "third","#, 1);
        std::fs::write(&path, text).expect("written");
        assert_eq!(kept("first").await, Replaced::By(secret("third")));
        std::fs::write(&path, "{").expect("damaged");
        assert_eq!(kept("first").await, Replaced::Not);
        store.remove_subject(&hash).await.expect("removed");
        assert!(!path.exists());
    }
}
