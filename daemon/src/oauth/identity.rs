//! What the user gave: everything that decides which grant is used and how it is
//! asked for. Pure.
//!
//! Equal hashes use the same files, so the text that is hashed never changes.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use md5::Md5;
use serde_json::Map;
use sha2::{Digest as _, Sha256};
use url::Url;

use super::dpop;
use super::federation::Vouches;
use super::grant_type::{ClientKey, GrantType};
use super::loopback::DEFAULT_PORT;
use super::scope::Scope;
use crate::http::{NetworkOptions, ProxySettings};
use crate::secret::Secret;
use crate::server_url::ServerUrl;
use crate::shell::quoted;

/// Where the redirect of a sign-in leads if nothing else is asked for.
pub(crate) const DEFAULT_CALLBACK_PATH: &str = "/oauth/callback";

/// Which value of `resource` (RFC 8707) is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum ResourceChoice {
    /// What the protected resource metadata say, byte for byte; at a token endpoint that
    /// the user names, the server's URL.
    #[default]
    Derived,
    /// This one.
    Given(String),
    /// None.
    Disabled,
}

impl ResourceChoice {
    /// Returns what is sent; `derived`: what the server is called.
    pub(crate) fn or(&self, derived: Option<String>) -> Option<String> {
        match self {
            Self::Derived => derived,
            Self::Given(resource) => Some(resource.clone()),
            Self::Disabled => None,
        }
    }
}

/// As which client we sign in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum ClientChoice {
    /// One that we register.
    #[default]
    Dynamic,
    /// One that the user registered. It is stored with the tokens that it got, for those
    /// who do not name it.
    PreRegistered {
        /// Its id.
        client_id: String,
        /// Its secret.
        client_secret: Option<Secret<String>>,
        /// `token_endpoint_auth_method`, if given.
        auth_method: Option<String>,
        /// The redirect URIs it was registered with; empty: not said.
        redirect_uris: Vec<String>,
        /// Who knows it: nobody else is shown it; `None`: whoever the server names.
        issuer: Option<String>,
    },
    /// One that is described by a document at this URL, which is its id.
    MetadataUrl(Url),
}

/// How the redirect comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CallbackOptions {
    /// The host in the redirect URI.
    pub(crate) host: String,
    /// Its path.
    pub(crate) path: String,
    /// Its port, strictly; `None`: the usual one or the next free one.
    pub(crate) port: Option<u16>,
}

impl Default for CallbackOptions {
    fn default() -> Self {
        // Windows resolves localhost to ::1 first, which browsers try in vain
        // where IPv6 is switched off.
        let host = if cfg!(windows) {
            "127.0.0.1"
        } else {
            "localhost"
        };
        Self {
            host: host.into(),
            path: DEFAULT_CALLBACK_PATH.into(),
            port: None,
        }
    }
}

/// Who signs in where, and how.
#[derive(Clone, PartialEq)]
pub(crate) struct Identity {
    /// The folder of its files. Who keeps them elsewhere is somebody else.
    pub(crate) folder: Arc<Path>,
    /// The MCP server.
    pub(crate) server: ServerUrl,
    /// Its URL as the user typed it: the npm package's files are named after it.
    pub(crate) server_as_typed: String,
    /// Over which network.
    pub(crate) network: NetworkOptions,
    /// The proxies of its other servers, which need not be that of the MCP server.
    pub(crate) proxies: ProxySettings,
    /// Which `resource` is sent.
    pub(crate) resource: ResourceChoice,
    /// Further parameters of the authorization request.
    pub(crate) authorize_params: Vec<(String, String)>,
    /// As which client.
    pub(crate) client: ClientChoice,
    /// How tokens are come by.
    pub(crate) grant_type: GrantType,
    /// What a registration says besides what we say.
    pub(crate) client_metadata: Map<String, serde_json::Value>,
    /// How the redirect comes back.
    pub(crate) callback: CallbackOptions,
    /// Where the browser goes after a sign-in, instead of to our page.
    pub(crate) success_url: Option<Url>,
    /// Whether the ID token is what the server wants to see.
    pub(crate) use_id_token: bool,
    /// The user's headers, `Name: value`, before `${VAR}` was expanded.
    pub(crate) raw_headers: Vec<String>,
    /// Whether a server that does not announce PKCE is trusted to do it.
    pub(crate) allow_missing_pkce: bool,
    /// The scopes that the client metadata pin.
    pub(crate) scope: Option<Scope>,
    /// Whether people sign in by a code. Who did so is the same person as by a page.
    pub(crate) by_code: bool,
    /// Whether tokens are bound to a key.
    pub(crate) dpop: dpop::Choice,
    /// Where the server is no MCP server but an identity provider, which vouches elsewhere
    /// for those who sign in there: how.
    pub(crate) vouches: Option<Vouches>,
    /// The command that signs in as it, without secrets; empty: nothing was given but
    /// the server.
    pub(crate) login: Arc<str>,
}

impl Identity {
    /// Returns the identity of a server without any option.
    pub(crate) fn new(server: ServerUrl, network: NetworkOptions) -> Self {
        Self {
            folder: Path::new("").into(),
            server_as_typed: server.url().as_str().to_owned(),
            server,
            network,
            proxies: ProxySettings::default(),
            resource: ResourceChoice::default(),
            authorize_params: Vec::new(),
            client: ClientChoice::default(),
            grant_type: GrantType::default(),
            client_metadata: Map::new(),
            callback: CallbackOptions::default(),
            success_url: None,
            use_id_token: false,
            raw_headers: Vec::new(),
            allow_missing_pkce: false,
            scope: None,
            by_code: false,
            dpop: dpop::Choice::default(),
            vouches: None,
            login: "".into(),
        }
    }

    /// Returns what it is known by.
    pub(crate) fn hash(&self) -> IdentityHash {
        let mut text = self.server.url().as_str().to_owned();
        let mut add = |name: &str, value: &str| {
            text.push('\n');
            text.push_str(name);
            text.push('=');
            text.push_str(value);
        };
        if let ResourceChoice::Given(resource) = &self.resource {
            add("resource", resource);
        }
        let mut params: Vec<_> = self.authorize_params.iter().collect();
        params.sort();
        for (name, value) in params {
            add("authorize-param", &format!("{name}={value}"));
        }
        let mut headers: Vec<_> = self.raw_headers.iter().collect();
        headers.sort();
        for header in headers {
            add("header", header);
        }
        if let ClientChoice::MetadataUrl(url) = &self.client {
            add("client-metadata-url", url.as_str());
        }
        for (name, value) in self.account_lines() {
            add(name, &value);
        }
        IdentityHash {
            folder: self.folder.clone(),
            digits: hex(&Sha256::digest(text)).into(),
        }
    }

    /// Returns the key by which the client of its sign-ins shows who it is, instead of a
    /// secret.
    pub(crate) fn client_key(&self) -> Option<&ClientKey> {
        self.vouches.as_ref()?.key.as_ref()
    }

    /// Stands for the MCP server in files: SHA-256 of its URL, which may be secret.
    pub(crate) fn server_digits(&self) -> String {
        hex(&Sha256::digest(self.server.url().as_str()))
    }

    /// Returns the command that signs in as this identity and no other.
    pub(crate) fn login_command(&self) -> String {
        match &*self.login {
            "" => format!("mcp-remote login {}", quoted(self.server.shown())),
            login => login.to_owned(),
        }
    }

    /// Returns where the redirect comes back to, if the user's client has to be
    /// registered with that and nobody has said that it is.
    pub(crate) fn assumed_redirect_uri(&self) -> Option<String> {
        let CallbackOptions { host, path, port } = &self.callback;
        match &self.client {
            ClientChoice::PreRegistered { redirect_uris, .. }
                if redirect_uris.is_empty() && port.is_none() =>
            {
                Some(format!("http://{host}:{DEFAULT_PORT}{path}"))
            }
            _ => None,
        }
    }

    /// Returns the authorization server that alone may see the user's client, if they
    /// name it.
    pub(crate) fn issuer(&self) -> Option<&str> {
        match &self.client {
            ClientChoice::PreRegistered { issuer, .. } => issuer.as_deref(),
            ClientChoice::Dynamic | ClientChoice::MetadataUrl(_) => None,
        }
    }

    /// Returns the port at which the npm package has the redirect come back.
    pub(crate) fn npm_port(&self) -> u16 {
        let hashes = self.npm_hashes();
        let start = hashes.first().and_then(|hash| hash.get(..4));
        let start = start.and_then(|start| u16::from_str_radix(start, 16).ok());
        3335 + start.unwrap_or_default() % 45816
    }

    /// Returns what the npm package names this identity's files after; more than
    /// one where its users type the same server in different ways.
    pub(crate) fn npm_hashes(&self) -> Vec<String> {
        let url = self.server.url().as_str();
        let mut urls = vec![self.server_as_typed.trim(), url];
        if self.server.url().path() == "/" {
            urls.push(url.trim_end_matches('/'));
        }
        urls.dedup();
        let mut rest = Vec::new();
        if let ResourceChoice::Given(resource) = &self.resource {
            rest.push(resource.clone());
        }
        rest.extend(sorted_json(self.authorize_params.iter().cloned()));
        let header = |text: &String| {
            let (name, value) = text.split_once(':')?;
            Some((name.to_owned(), value.trim_start().to_owned()))
        };
        rest.extend(sorted_json(self.raw_headers.iter().filter_map(header)));
        if let ClientChoice::MetadataUrl(url) = &self.client {
            rest.push(url.as_str().to_owned());
        }
        let hash = |url: &&str| {
            let parts = std::iter::once(*url).chain(rest.iter().map(String::as_str));
            hex(&Md5::digest(parts.collect::<Vec<_>>().join("|")))
        };
        urls.iter().map(hash).collect()
    }
}

/// Headers and parameters may be secret.
impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("server", &self.server)
            .field("hash", &self.hash())
            .finish_non_exhaustive()
    }
}

/// As `JSON.stringify` writes an object whose keys are sorted; nothing if there
/// are none.
fn sorted_json(members: impl Iterator<Item = (String, String)>) -> Option<String> {
    let sorted: std::collections::BTreeMap<String, String> = members.collect();
    (!sorted.is_empty()).then(|| serde_json::to_string(&sorted).expect("strings are JSON"))
}

/// Stands for an identity: names its files (SHA-256 in lower-case hexadecimal), and
/// the folder that they are in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct IdentityHash {
    digits: Arc<str>,
    folder: Arc<Path>,
}

impl IdentityHash {
    /// Reads digits from the name of a file under this folder.
    pub(crate) fn parse(folder: &Path, text: &str) -> Option<Self> {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (text.len() == 64 && text.bytes().all(digit)).then(|| Self {
            digits: text.into(),
            folder: folder.into(),
        })
    }

    /// Returns the digits.
    pub(crate) fn as_str(&self) -> &str {
        &self.digits
    }

    /// Returns the folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the first digits, enough for people to tell them apart.
    pub(crate) fn short(&self) -> &str {
        &self.digits[..12]
    }
}

impl std::fmt::Display for IdentityHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.digits)
    }
}

fn hex(digest: &[u8]) -> String {
    let mut text = String::with_capacity(digest.len() * 2);
    for byte in digest {
        write!(text, "{byte:02x}").expect("a String takes everything");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(url: &str) -> Identity {
        let server = ServerUrl::parse(url, true).expect("valid");
        Identity::new(server, NetworkOptions::default())
    }

    #[test]
    fn the_hash_is_the_documented_one() {
        let mut identity = identity("https://mcp.example.com/v1/sse");
        assert_eq!(
            identity.hash().as_str(),
            "9a1b5bc8a6a6643a39c51737cff33bd96f4ba262671d9a0ab5ae7c4de9e6414d"
        );
        identity.resource = ResourceChoice::Given("https://api.example.com/".into());
        identity.raw_headers = vec!["X-Team: ${TEAM}".into()];
        assert_eq!(
            identity.hash().as_str(),
            "a631b0d43e0b4d36bc8ec5d655a4d63d4db1c8233430477985db527f005d7b90"
        );
    }

    #[test]
    fn the_order_in_which_options_are_given_does_not_matter() {
        let (mut one, mut other) = (identity("https://h/"), identity("https://h/"));
        one.raw_headers = vec!["A: 1".into(), "B: 2".into()];
        other.raw_headers = vec!["B: 2".into(), "A: 1".into()];
        one.authorize_params = vec![("a".into(), "1".into()), ("b".into(), "2".into())];
        other.authorize_params = vec![("b".into(), "2".into()), ("a".into(), "1".into())];
        assert_eq!(one.hash(), other.hash());
        other.raw_headers.pop();
        assert_ne!(one.hash(), other.hash());
    }

    #[test]
    fn files_of_the_same_name_in_another_folder_are_somebody_elses() {
        let (here, mut elsewhere) = (identity("https://h/"), identity("https://h/"));
        elsewhere.folder = Path::new("/elsewhere").into();
        assert_eq!(here.hash().as_str(), elsewhere.hash().as_str());
        assert_ne!(here.hash(), elsewhere.hash());
    }

    #[test]
    fn the_npm_packages_port_is_found() {
        assert_eq!(identity("http://127.0.0.1:39222/mcp").npm_port(), 13901);
    }

    #[test]
    fn the_npm_packages_hash_is_found() {
        let mut plain = identity("http://127.0.0.1:39222/mcp");
        assert!(plain.npm_hashes()[0].starts_with("dc3eed99"));
        plain.raw_headers = vec!["X-B: 2".into(), "X-A:1".into()];
        let parts = r#"http://127.0.0.1:39222/mcp|{"X-A":"1","X-B":"2"}"#;
        assert_eq!(plain.npm_hashes(), [hex(&Md5::digest(parts))]);
        let typed = identity("https://mcp.example.com");
        let expected = hex(&Md5::digest("https://mcp.example.com"));
        assert!(typed.npm_hashes().contains(&expected));
    }

    #[test]
    fn what_is_secret_is_not_shown() {
        let mut identity = identity("https://user:pass@h/?k=s3cret");
        identity.client = ClientChoice::PreRegistered {
            client_id: "id".into(),
            client_secret: Some(Secret::new("hunter2".into())),
            auth_method: None,
            redirect_uris: Vec::new(),
            issuer: None,
        };
        identity.raw_headers = vec!["Authorization: hunter3".into()];
        let shown = format!("{:?} {identity:?}", identity.client);
        for secret in ["hunter2", "hunter3", "s3cret", "pass"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
