//! How the tokens of an identity are come by: from a person who signs in, or without
//! anybody (RFC 6749, section 1.3, and tokens that others have got). Pure; `obtain.rs`
//! does it.
//!
//! Whatever tells one account from another is part of the identity: nobody gets the
//! tokens or the sessions of another account.

use std::path::Path;
use std::sync::Arc;

use url::Url;

use super::federation::{Enterprise, Workload};
use super::identity::{ClientChoice, Identity};
use super::jose::KeyFile;
use super::text::printable;
use crate::secret::Secret;

/// How tokens are come by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum GrantType {
    /// Somebody signs in; their refresh token gets the next ones.
    #[default]
    AuthorizationCode,
    /// A service account asks for itself (RFC 6749, section 4.4).
    ClientCredentials(ServiceAccount),
    /// The token that another issuer gave this workload vouches for it (RFC 7523, section
    /// 2.1).
    Workload(Workload),
    /// An identity provider vouches for the user.
    EnterpriseManaged(Box<Enterprise>),
    /// Somebody else puts them into this file.
    TokenFile(Arc<Path>),
    /// This program prints them; its words may be secret.
    TokenCommand(Secret<Vec<String>>),
}

/// What is said of a service account besides its client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ServiceAccount {
    /// Where it asks; `None`: where the server's metadata lead.
    pub(crate) token_endpoint: Option<Url>,
    /// The key by which it shows who it is; `None`: its secret does.
    pub(crate) key: Option<ClientKey>,
}

/// The key of a client (`private_key_jwt`; RFC 7523, section 2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClientKey {
    /// Where it is.
    pub(crate) file: KeyFile,
    /// What the authorization server calls it; `None`: as the file says.
    pub(crate) id: Option<String>,
    /// For whom it says who it is.
    pub(crate) audience: Audience,
}

/// For whom an assertion is meant (`aud`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Audience {
    /// The authorization server's issuer. Where only its token endpoint is known, that.
    #[default]
    Issuer,
    /// The token endpoint.
    TokenEndpoint,
    /// This one.
    Given(String),
}

impl GrantType {
    /// Says whether somebody has to sign in for the first token.
    pub(crate) fn needs_person(&self) -> bool {
        matches!(self, Self::AuthorizationCode)
    }

    /// Says whether tokens are kept for the next daemon: not where somebody else
    /// keeps them.
    pub(crate) fn is_stored(&self) -> bool {
        !self.is_given()
    }

    /// Returns where they are asked for, if the user names the place.
    pub(crate) fn token_endpoint(&self) -> Option<&Url> {
        match self {
            Self::ClientCredentials(account) => account.token_endpoint.as_ref(),
            Self::Workload(workload) => workload.account.token_endpoint.as_ref(),
            _ => None,
        }
    }

    /// Says what to do where nothing says which authorization server gives them.
    pub(crate) fn where_nobody_is_named(&self) -> &'static str {
        match self {
            // It vouches for the issuer that the server names.
            Self::EnterpriseManaged(_) => "ask whoever runs the server to publish its metadata",
            _ => "name the place with --token-endpoint",
        }
    }

    /// Says whether somebody else has got them.
    pub(crate) fn is_given(&self) -> bool {
        matches!(self, Self::TokenFile(_) | Self::TokenCommand(_))
    }
}

impl Identity {
    /// Returns whose tokens are sent, in words that follow "the token from"; `None`:
    /// those of whoever has signed in.
    pub(crate) fn account(&self) -> Option<String> {
        match &self.grant_type {
            GrantType::AuthorizationCode => None,
            GrantType::ClientCredentials(_) => Some(format!(
                "service account {}",
                printable(self.client_id().unwrap_or_default())
            )),
            GrantType::Workload(workload) => Some(format!(
                "workload token file {}",
                printable(&workload.file.to_string_lossy())
            )),
            GrantType::EnterpriseManaged(enterprise) => {
                Some(format!("identity provider {}", enterprise.provider.shown()))
            }
            GrantType::TokenFile(path) => {
                Some(format!("token file {}", printable(&path.to_string_lossy())))
            }
            GrantType::TokenCommand(words) => {
                // The other words may be secret.
                let program = words.reveal().first().map(Path::new);
                let name = program.and_then(Path::file_name).unwrap_or_default();
                Some(format!(
                    "token command {}",
                    printable(&name.to_string_lossy())
                ))
            }
        }
    }

    /// Returns the lines of the text that is hashed (see [`Identity::hash`]) which tell
    /// this account from others.
    pub(super) fn account_lines(&self) -> Vec<(&'static str, String)> {
        let grant = match &self.grant_type {
            GrantType::AuthorizationCode => match &self.vouches {
                Some(vouches) => format!("identity_provider {}", vouches.line),
                None => return Vec::new(),
            },
            GrantType::Workload(workload) => {
                return self.lines_of(&workload.account, &workload.line());
            }
            GrantType::EnterpriseManaged(enterprise) => {
                return self.lines_of(&enterprise.account, &enterprise.provider.line());
            }
            GrantType::ClientCredentials(account) => {
                return self.lines_of(account, "client_credentials");
            }
            GrantType::TokenFile(path) => format!("token_file {}", path.display()),
            GrantType::TokenCommand(words) => {
                let words = serde_json::to_string(words.reveal()).expect("strings are JSON");
                format!("token_command {words}")
            }
        };
        vec![("grant", grant)]
    }

    /// Returns the lines of an account that a server gives tokens to.
    fn lines_of(&self, account: &ServiceAccount, grant: &str) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        if let Some(endpoint) = &account.token_endpoint {
            lines.push(("token-endpoint", endpoint.as_str().to_owned()));
        }
        let mut grant = grant.to_owned();
        let scope = self.scope.as_ref().map(ToString::to_string);
        if let Some(client_id) = self.client_id() {
            grant.push(' ');
            // Else part of it could pass for scopes.
            grant.push_str(&one_word(client_id));
        }
        if let Some(scope) = &scope {
            grant.push(' ');
            grant.push_str(scope);
        }
        lines.push(("grant", grant));
        lines
    }

    /// Returns the id of the client that the user registered.
    pub(super) fn client_id(&self) -> Option<&str> {
        match &self.client {
            ClientChoice::PreRegistered { client_id, .. } => Some(client_id),
            ClientChoice::Dynamic | ClientChoice::MetadataUrl(_) => None,
        }
    }
}

/// Writes a part of a line so that it cannot pass for several.
pub(super) fn one_word(part: &str) -> String {
    part.replace('%', "%25").replace(' ', "%20")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::fake::identity;
    use crate::oauth::scope::Scope;

    fn service(client_id: &str) -> Identity {
        Identity {
            grant_type: GrantType::ClientCredentials(ServiceAccount::default()),
            client: ClientChoice::PreRegistered {
                client_id: client_id.into(),
                client_secret: Some(Secret::new("hidden".into())),
                auth_method: None,
                redirect_uris: Vec::new(),
                issuer: None,
            },
            ..identity("https://h/mcp")
        }
    }

    fn given(grant_type: GrantType) -> Identity {
        Identity {
            grant_type,
            ..identity("https://h/mcp")
        }
    }

    #[test]
    fn accounts_have_grants_of_their_own() {
        let endpoint = Url::parse("https://as/token").ok();
        let elsewhere = GrantType::ClientCredentials(ServiceAccount {
            token_endpoint: endpoint,
            key: None,
        });
        let command = |words: &[&str]| {
            let words = words.iter().map(|word| (*word).to_owned()).collect();
            given(GrantType::TokenCommand(Secret::new(words)))
        };
        let identities = [
            identity("https://h/mcp"),
            service("a"),
            service("b"),
            Identity {
                scope: Scope::parse("read"),
                ..service("a")
            },
            service("a read"),
            service("a%20read"),
            Identity {
                grant_type: elsewhere,
                ..service("a")
            },
            given(GrantType::TokenFile(Path::new("/a").into())),
            given(GrantType::TokenFile(Path::new("/b").into())),
            command(&["/a"]),
            command(&["/a", "b c"]),
            command(&["/a", "b", "c"]),
        ];
        let hashes: std::collections::BTreeSet<_> = identities.iter().map(Identity::hash).collect();
        assert_eq!(hashes.len(), identities.len());
    }

    #[test]
    fn accounts_are_named_without_what_may_be_secret() {
        let words = vec!["/usr/bin/vault".to_owned(), "s3cret".to_owned()];
        let command = given(GrantType::TokenCommand(Secret::new(words)));
        assert_eq!(command.account().as_deref(), Some("token command vault"));
        assert!(!format!("{:?}", command.grant_type).contains("s3cret"));
        let bot = service("ci-bot\u{1b}");
        assert_eq!(bot.account().as_deref(), Some("service account ci-bot"));
        assert_eq!(identity("https://h/mcp").account(), None);
    }
}
