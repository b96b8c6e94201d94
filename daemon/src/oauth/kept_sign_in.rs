//! A sign-in that waits for a person as it is kept, so that it outlives the
//! daemon: `{hash}_code_verifier.txt`, and the rest in `{hash}_sign_in.json`. Pure.
//!
//! Its code is kept before it is given away, with what it will replace: a code
//! whose tokens have been kept is not sent a second time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use url::Url;
use zeroize::Zeroizing;

use super::authorization::{Code, Pending};
use super::dpop::{Binding, ProofKey};
use super::grant::{Grant, milliseconds};
use super::registration::Client;
use super::scope::Scope;
use crate::secret::Secret;

/// A sign-in under way.
#[derive(Debug, Clone)]
pub(crate) struct KeptSignIn {
    /// What was asked, and what has to come back.
    pub(crate) pending: Pending,
    /// As whom. Tokens that are there have their own.
    pub(crate) client: Client,
    /// Since when it waits.
    pub(crate) since: SystemTime,
    /// Whether a browser has shown it.
    pub(crate) shown: bool,
    /// Where the server said that its metadata are.
    pub(crate) resource_metadata: Option<Url>,
    /// When whoever wants more access has signed in; `None`: it is for anybody.
    pub(crate) signed_in_at: Option<u64>,
    /// What came back.
    pub(crate) answer: Option<Answer>,
}

/// A code that is turned into tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The code.
    pub(crate) code: Code,
    /// Stands for the tokens that there were before.
    replaces: String,
}

/// The file. Times are ms since the epoch.
#[derive(Deserialize, Serialize)]
struct File {
    state: Zeroizing<String>,
    url: Zeroizing<String>,
    redirect_uri: String,
    issuer: String,
    iss_expected: bool,
    client: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resource: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resource_metadata: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signed_in_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dpop_key: Option<Zeroizing<String>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    dpop_demanded: bool,
    since: u64,
    shown: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<Zeroizing<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replaces: Option<String>,
}

impl KeptSignIn {
    /// Takes a code that came back while these tokens are kept.
    pub(crate) fn answered(&mut self, code: Code, kept: Option<&Grant>) {
        let replaces = digest(kept);
        self.answer = Some(Answer { code, replaces });
    }

    /// Says whether its tokens have been kept, which are these.
    pub(crate) fn is_over(&self, kept: Option<&Grant>) -> bool {
        let answer = self.answer.as_ref();
        answer.is_some_and(|answer| answer.replaces != digest(kept))
    }

    /// Returns how long it has waited; a clock that was set back says nothing.
    pub(crate) fn age(&self, now: SystemTime) -> Duration {
        now.duration_since(self.since).unwrap_or_default()
    }

    /// Returns the file but for the verifier.
    pub(crate) fn write(&self) -> Zeroizing<Vec<u8>> {
        let text = |secret: &Secret<String>| Zeroizing::new(secret.reveal().clone());
        let pending = &self.pending;
        let file = File {
            state: text(&pending.state),
            url: Zeroizing::new(pending.url.as_str().to_owned()),
            redirect_uri: pending.redirect_uri.clone(),
            issuer: pending.issuer.clone(),
            iss_expected: pending.iss_expected,
            client: self.client.to_keep(),
            scope: pending.scope.as_ref().map(Scope::to_string),
            resource: pending.resource.clone(),
            resource_metadata: self.resource_metadata.as_ref().map(Url::to_string),
            signed_in_at: self.signed_in_at,
            dpop_key: pending.binding.as_ref().map(|it| it.key.to_keep()),
            dpop_demanded: pending.binding.as_ref().is_some_and(|it| it.demanded),
            since: milliseconds(self.since),
            shown: self.shown,
            code: self.answer.as_ref().map(|answer| text(&answer.code.0)),
            replaces: self.answer.as_ref().map(|answer| answer.replaces.clone()),
        };
        Zeroizing::new(serde_json::to_vec_pretty(&file).expect("strings and numbers are JSON"))
    }

    /// Reads both files; `None` if they make no sense, or not together.
    pub(crate) fn read(content: &[u8], verifier: &[u8]) -> Option<Self> {
        let file: File = serde_json::from_slice(content).ok()?;
        let verifier = Zeroizing::new(str::from_utf8(verifier).ok()?.trim().to_owned());
        let url = Url::parse(&file.url).ok()?;
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
        let client = Client::of_kept(file.client)?;
        let has = |name: &str, value: &str| {
            let mut pairs = url.query_pairs();
            pairs.any(|(found, its)| found == name && its == value)
        };
        // Written one after the other: a daemon may have died in between.
        if !has("code_challenge", &challenge) || !has("client_id", &client.client_id) {
            return None;
        }
        let secret = |text: &Zeroizing<String>| Secret::new(text.to_string());
        let demanded = file.dpop_demanded;
        let key = file.dpop_key.map(|kept| ProofKey::of_kept(&kept).ok_or(()));
        let binding = key.transpose().ok()?.map(|key| Binding { key, demanded });
        let answer = file.code.as_ref().zip(file.replaces);
        Some(Self {
            pending: Pending {
                state: secret(&file.state),
                verifier: secret(&verifier),
                redirect_uri: file.redirect_uri,
                issuer: file.issuer,
                iss_expected: file.iss_expected,
                scope: file.scope.as_deref().and_then(Scope::parse),
                resource: file.resource,
                binding,
                url,
            },
            client,
            since: UNIX_EPOCH.checked_add(Duration::from_millis(file.since))?,
            shown: file.shown,
            signed_in_at: file.signed_in_at,
            resource_metadata: file.resource_metadata.and_then(|url| Url::parse(&url).ok()),
            answer: answer.map(|(code, replaces)| Answer {
                code: Code(secret(code)),
                replaces,
            }),
        })
    }
}

/// Stands for tokens without giving them away; empty: there are none.
fn digest(grant: Option<&Grant>) -> String {
    let digest = |grant: &Grant| {
        URL_SAFE_NO_PAD.encode(Sha256::digest(grant.access_token.reveal().as_bytes()))
    };
    grant.map(digest).unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn grant(access_token: &str) -> Grant {
        let text = serde_json::json!({ "access_token": access_token });
        Grant::read(text.to_string().as_bytes(), None).expect("a token")
    }

    pub(crate) fn client(id: &str) -> Client {
        let document = serde_json::json!({ "client_id": id, "issuer": "https://as.example" });
        Client::of_kept(document.as_object().expect("an object").clone()).expect("a client")
    }

    pub(crate) fn kept(verifier: &str) -> KeptSignIn {
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
        let url = format!("https://as.example/a?client_id=c&code_challenge={challenge}&state=s");
        KeptSignIn {
            pending: Pending {
                state: Secret::new("s".into()),
                verifier: Secret::new(verifier.into()),
                url: Url::parse(&url).expect("a URL"),
                redirect_uri: "http://localhost:5598/oauth/callback".into(),
                issuer: "https://as.example".into(),
                iss_expected: true,
                scope: Scope::parse("read write"),
                resource: Some("https://h/mcp".into()),
                binding: Some(Binding {
                    key: ProofKey::generate(),
                    demanded: true,
                }),
            },
            client: client("c"),
            since: UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
            shown: true,
            resource_metadata: Url::parse("https://h/metadata").ok(),
            signed_in_at: Some(7),
            answer: None,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut one = kept("verifier");
        for answered in [false, true] {
            if answered {
                one.answered(Code(Secret::new("code".into())), Some(&grant("a")));
            }
            let read = KeptSignIn::read(&one.write(), b"verifier\n").expect("readable");
            assert_eq!(read.pending.state, one.pending.state);
            assert_eq!(read.pending.verifier, one.pending.verifier);
            assert_eq!(read.pending.url, one.pending.url);
            assert_eq!(read.pending.scope, one.pending.scope);
            assert_eq!(read.pending.binding, one.pending.binding);
            assert_eq!((read.since, read.shown), (one.since, true));
            assert_eq!(read.answer, one.answer);
            assert_eq!(read.client, one.client);
        }
    }

    #[test]
    fn files_that_do_not_belong_together_are_not_used() {
        let content = kept("one").write();
        assert!(KeptSignIn::read(&content, b"other").is_none());
        assert!(KeptSignIn::read(&content[..content.len() / 2], b"one").is_none());
        assert!(KeptSignIn::read(b"{}", b"one").is_none());
        let mut of_another = kept("one");
        of_another.client = client("d");
        assert!(KeptSignIn::read(&of_another.write(), b"one").is_none());
        assert!(KeptSignIn::read(&content, b"\xff").is_none());
    }

    #[test]
    fn a_code_whose_tokens_are_kept_is_not_sent_again() {
        let mut one = kept("verifier");
        assert!(!one.is_over(None) && !one.is_over(Some(&grant("a"))));
        one.answered(Code(Secret::new("code".into())), None);
        assert!(!one.is_over(None) && one.is_over(Some(&grant("a"))));
        one.answered(Code(Secret::new("code".into())), Some(&grant("a")));
        assert!(!one.is_over(Some(&grant("a"))) && one.is_over(Some(&grant("b"))));
    }

    #[test]
    fn nothing_secret_is_shown() {
        let mut one = kept("hidden1");
        one.answered(Code(Secret::new("hidden2".into())), Some(&grant("hidden3")));
        let text = String::from_utf8(one.write().to_vec()).expect("UTF-8");
        assert!(
            !text.contains("hidden1") && !text.contains("hidden3"),
            "{text}"
        );
        assert!(!format!("{one:?}").contains("hidden"));
    }
}
