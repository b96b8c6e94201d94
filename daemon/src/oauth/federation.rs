//! Who vouches for us at the server's authorization server: the issuer of a workload
//! token (RFC 7523), or an identity provider (enterprise-managed authorization). Pure;
//! `obtain/` asks them.
//!
//! What is meant for an identity provider is shown to that one alone, and only over
//! TLS.

use std::path::Path;
use std::sync::Arc;

use url::Url;

use super::grant_type::{ClientKey, GrantType, ServiceAccount, one_word};
use super::identity::{ClientChoice, Identity, IdentityHash, ResourceChoice};
use super::text::printable;
use crate::secret::Secret;
use crate::server_url::{self, ServerUrl};

/// A token that another issuer has given this workload: of a Kubernetes service
/// account, or of a CI job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Workload {
    /// Where it is mounted; read each time.
    pub(crate) file: Arc<Path>,
    /// Where it is shown, and as which client, if any.
    pub(crate) account: ServiceAccount,
}

impl Workload {
    /// Returns what tells it from others.
    pub(crate) fn line(&self) -> String {
        format!("workload {}", one_word(&self.file.to_string_lossy()))
    }
}

/// How a user gets tokens whom an identity provider vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Enterprise {
    /// Who vouches.
    pub(crate) provider: IdentityProvider,
    /// As which client the server's authorization server knows us.
    pub(crate) account: ServiceAccount,
}

/// An identity provider, and as whom we come to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdentityProvider {
    /// Its issuer, as the user typed it.
    pub(crate) issuer: ServerUrl,
    /// The client that is registered there.
    pub(crate) client_id: String,
    /// Its secret.
    pub(crate) client_secret: Option<Secret<String>>,
    /// How the secret is shown, if given.
    pub(crate) auth_method: Option<String>,
    /// Its private key, instead of a secret.
    pub(crate) key: Option<ClientKey>,
    /// Where it may be redirected to.
    pub(crate) redirect_uris: Vec<String>,
    /// What shows who the user is.
    pub(crate) subject: Subject,
}

/// How an identity provider vouches for those who sign in there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Vouches {
    /// What tells it, and who we are there, from others.
    pub(crate) line: String,
    /// The key by which our client shows who it is, instead of a secret.
    pub(crate) key: Option<ClientKey>,
}

/// What shows an identity provider who the user is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Somebody signs in there; their ID token shows it.
    SignIn,
    /// Somebody else puts a token of this kind into this file.
    File(Arc<Path>, SubjectKind),
}

/// A kind of token that shows who the user is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SubjectKind {
    /// An ID token.
    IdToken,
    /// A refresh token, which may be replaced when it is used.
    RefreshToken,
}

impl SubjectKind {
    /// Reads its word; nothing stands for an ID token.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        match word {
            "" | "id-token" => Some(Self::IdToken),
            "refresh-token" => Some(Self::RefreshToken),
            _ => None,
        }
    }

    /// Returns its name in token exchanges (RFC 8693, section 3).
    pub(crate) fn as_urn(self) -> &'static str {
        match self {
            Self::IdToken => "urn:ietf:params:oauth:token-type:id_token",
            Self::RefreshToken => "urn:ietf:params:oauth:token-type:refresh_token",
        }
    }

    /// Returns what people call it.
    pub(crate) fn as_words(self) -> &'static str {
        match self {
            Self::IdToken => "ID token",
            Self::RefreshToken => "refresh token",
        }
    }
}

impl IdentityProvider {
    /// Returns its issuer.
    pub(crate) fn name(&self) -> &str {
        self.issuer.url().as_str()
    }

    /// Says whether somebody signs in there.
    pub(crate) fn needs_person(&self) -> bool {
        self.subject == Subject::SignIn
    }

    /// Returns its issuer for people.
    pub(crate) fn shown(&self) -> String {
        printable(self.issuer.shown())
    }

    /// Returns the identity by which it is reached and, where somebody signs in there,
    /// whose grant its ID tokens are. All servers that it vouches at share it.
    pub(crate) fn identity(&self, of: &Identity) -> Identity {
        let mut network = of.network.clone();
        network.proxy = of.proxies.proxy_for(self.issuer.url());
        Identity {
            folder: of.folder.clone(),
            proxies: of.proxies.clone(),
            resource: ResourceChoice::Disabled,
            client: ClientChoice::PreRegistered {
                client_id: self.client_id.clone(),
                client_secret: self.client_secret.clone(),
                auth_method: self.auth_method.clone(),
                redirect_uris: self.redirect_uris.clone(),
                issuer: Some(self.name().to_owned()),
            },
            callback: of.callback.clone(),
            success_url: of.success_url.clone(),
            use_id_token: true,
            allow_missing_pkce: of.allow_missing_pkce,
            by_code: of.by_code,
            vouches: Some(Vouches {
                line: self.line(),
                key: self.key.clone(),
            }),
            login: of.login_command().into(),
            ..Identity::new(self.issuer.clone(), network)
        }
    }

    /// Returns what tells it, and who we are there, from others.
    pub(crate) fn line(&self) -> String {
        let subject = match &self.subject {
            Subject::SignIn => "sign_in".to_owned(),
            Subject::File(path, kind) => {
                format!("{} {}", kind.as_urn(), one_word(&path.to_string_lossy()))
            }
        };
        let client_id = one_word(&self.client_id);
        format!("enterprise {} {client_id} {subject}", self.name())
    }
}

impl Identity {
    /// Returns what names the files of who vouches for this user, if somebody does.
    pub(crate) fn provider_hash(&self) -> Option<IdentityHash> {
        match &self.grant_type {
            GrantType::EnterpriseManaged(enterprise) => {
                Some(enterprise.provider.identity(self).hash())
            }
            _ => None,
        }
    }

    /// Returns the identity of who vouches for whoever has signed in there, if somebody
    /// does.
    pub(crate) fn identity_provider(&self) -> Option<Self> {
        match &self.grant_type {
            GrantType::EnterpriseManaged(enterprise) if enterprise.provider.needs_person() => {
                Some(enterprise.provider.identity(self))
            }
            _ => None,
        }
    }
}

/// Says whether a token that stands for a person may be sent there.
pub(crate) fn is_private(url: &Url) -> bool {
    url.scheme() == "https" || server_url::is_loopback(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::fake::identity;
    use crate::oauth::grant_type::Audience;
    use crate::oauth::jose::KeyFile;

    #[test]
    fn whoever_signs_in_at_a_provider_does_so_for_the_server() {
        let key = ClientKey {
            file: KeyFile::new("/key.pem".into()),
            id: None,
            audience: Audience::Issuer,
        };
        let provider = IdentityProvider {
            issuer: ServerUrl::parse("https://idp", false).expect("valid"),
            client_id: "app".into(),
            client_secret: None,
            auth_method: None,
            key: Some(key.clone()),
            redirect_uris: Vec::new(),
            subject: Subject::SignIn,
        };
        let of = Identity {
            by_code: true,
            grant_type: GrantType::EnterpriseManaged(Box::new(Enterprise {
                provider: provider.clone(),
                account: ServiceAccount::default(),
            })),
            ..identity("https://h/mcp")
        };
        let there = of.identity_provider().expect("somebody signs in there");
        assert_eq!(there.login_command(), of.login_command());
        assert!(there.by_code, "as the server's user asks for it");
        assert_eq!(there.client_key(), Some(&key));
        // How a client shows who it is, and by which means somebody signs in, does not
        // tell one grant from another.
        let without = IdentityProvider {
            key: None,
            ..provider
        };
        assert_eq!(
            there.hash(),
            without.identity(&identity("https://other/")).hash()
        );
    }
}
