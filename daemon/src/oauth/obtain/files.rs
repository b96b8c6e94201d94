//! What the user's files hold that a server is shown, or by which a request is signed:
//! once that is refused, only another content is worth a new attempt. Keeps no content.

use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::oauth::federation::Subject;
use crate::oauth::grant_type::{ClientKey, GrantType};
use crate::oauth::secret_file::{self, Access};

/// Stands for the content of these files at one time. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Shown([u8; 32]);

/// It is made of secrets.
impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shown([redacted])")
    }
}

impl Shown {
    /// Reads them; `None`: there are none.
    pub(super) async fn of(grant_type: &GrantType) -> Option<Self> {
        let files = files(grant_type);
        if files.is_empty() {
            return None;
        }
        let mut digest = Sha256::new();
        for file in files {
            // Whoever uses it says what is wrong with it.
            if let Ok(content) = secret_file::read(file, Access::AnyReader).await {
                digest.update(Sha256::digest(&*content));
            }
            digest.update(b".");
        }
        Some(Self(digest.finalize().into()))
    }
}

fn files(grant_type: &GrantType) -> Vec<&Path> {
    let files = match grant_type {
        GrantType::ClientCredentials(account) => [of_key(&account.key), None, None],
        GrantType::Workload(workload) => {
            [Some(&*workload.file), of_key(&workload.account.key), None]
        }
        GrantType::EnterpriseManaged(enterprise) => {
            let provider = &enterprise.provider;
            let subject = match &provider.subject {
                Subject::File(path, _) => Some(&**path),
                Subject::SignIn => None,
            };
            [
                subject,
                of_key(&provider.key),
                of_key(&enterprise.account.key),
            ]
        }
        // What these give is refused by the MCP server.
        GrantType::TokenFile(_) | GrantType::TokenCommand(_) | GrantType::AuthorizationCode => {
            [None; 3]
        }
    };
    files.into_iter().flatten().collect()
}

fn of_key(key: &Option<ClientKey>) -> Option<&Path> {
    key.as_ref().map(|key| key.file.path())
}
