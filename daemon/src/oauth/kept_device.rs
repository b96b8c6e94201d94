//! A sign-in by code as it is kept while somebody has to type the code in, so that
//! it outlives the daemon: `{hash}_device_code.json`. Pure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::Url;
use zeroize::Zeroizing;

use super::browsers::SignInUrl;
use super::device::DeviceAuthorization;
use super::dpop::{Binding, ProofKey};
use super::grant::{Grant, milliseconds};
use super::registration::Client;
use super::scope::Scope;
use super::sign_in::PATIENCE;
use crate::secret::Secret;

/// A sign-in by code under way.
#[derive(Debug, Clone)]
pub(crate) struct KeptDevice {
    /// What the server said.
    pub(crate) begun: DeviceAuthorization,
    /// Since when it waits.
    pub(crate) since: SystemTime,
    /// Who was asked.
    pub(crate) issuer: String,
    /// As whom. Tokens that are there have their own.
    pub(crate) client: Client,
    /// What was asked for.
    pub(crate) scope: Option<Scope>,
    /// The `resource` that was sent.
    pub(crate) resource: Option<String>,
    /// Where the server said that its metadata are.
    pub(crate) resource_metadata: Option<Url>,
    /// When whoever wants more access has signed in; `None`: it is for anybody.
    pub(crate) signed_in_at: Option<u64>,
    /// What the tokens are to be bound to.
    pub(crate) binding: Option<Binding>,
}

/// The file. Times are ms since the epoch, and ms.
#[derive(Deserialize, Serialize)]
struct File {
    device_code: Zeroizing<String>,
    user_code: Zeroizing<String>,
    verification_uri: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verification_uri_complete: Option<Zeroizing<String>>,
    interval: u64,
    life: u64,
    since: u64,
    issuer: String,
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
}

impl KeptDevice {
    /// Returns what a person is shown.
    pub(crate) fn page(&self) -> SignInUrl {
        let begun = &self.begun;
        SignInUrl::by_code(&begun.page, begun.complete.as_ref(), &begun.user_code)
    }

    /// Returns how long the code still lives. A clock that was set back says nothing.
    pub(crate) fn left(&self, now: SystemTime) -> Duration {
        let age = now.duration_since(self.since).unwrap_or_default();
        self.begun.life.saturating_sub(age)
    }

    /// Says whether its tokens have been kept, which are these.
    pub(crate) fn is_over(&self, kept: Option<&Grant>) -> bool {
        let since = milliseconds(self.since);
        kept.and_then(|grant| grant.signed_in_at) >= Some(since)
    }

    /// Returns the file.
    pub(crate) fn write(&self) -> Zeroizing<Vec<u8>> {
        let begun = &self.begun;
        let of = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let file = File {
            device_code: Zeroizing::new(begun.device_code.reveal().clone()),
            user_code: Zeroizing::new(begun.user_code.clone()),
            verification_uri: begun.page.as_str().to_owned(),
            verification_uri_complete: begun
                .complete
                .as_ref()
                .map(|url| Zeroizing::new(url.as_str().to_owned())),
            interval: of(begun.interval),
            life: of(begun.life),
            since: milliseconds(self.since),
            issuer: self.issuer.clone(),
            client: self.client.to_keep(),
            scope: self.scope.as_ref().map(Scope::to_string),
            resource: self.resource.clone(),
            resource_metadata: self.resource_metadata.as_ref().map(Url::to_string),
            signed_in_at: self.signed_in_at,
            dpop_key: self.binding.as_ref().map(|it| it.key.to_keep()),
            dpop_demanded: self.binding.as_ref().is_some_and(|it| it.demanded),
        };
        Zeroizing::new(serde_json::to_vec_pretty(&file).expect("strings and numbers are JSON"))
    }

    /// Reads it; `None` if it makes no sense.
    pub(crate) fn read(content: &[u8]) -> Option<Self> {
        let file: File = serde_json::from_slice(content).ok()?;
        let complete = file.verification_uri_complete;
        let complete = complete.map(|url| Url::parse(&url)).transpose().ok()?;
        let demanded = file.dpop_demanded;
        let key = file.dpop_key.map(|kept| ProofKey::of_kept(&kept).ok_or(()));
        let binding = key.transpose().ok()?.map(|key| Binding { key, demanded });
        Some(Self {
            begun: DeviceAuthorization {
                device_code: Secret::new(file.device_code.to_string()),
                user_code: file.user_code.to_string(),
                page: Url::parse(&file.verification_uri).ok()?,
                complete,
                interval: Duration::from_millis(file.interval).clamp(SHORTEST, PATIENCE),
                life: Duration::from_millis(file.life).min(PATIENCE),
            },
            since: UNIX_EPOCH.checked_add(Duration::from_millis(file.since))?,
            issuer: file.issuer,
            client: Client::of_kept(file.client)?,
            scope: file.scope.as_deref().and_then(Scope::parse),
            resource: file.resource,
            resource_metadata: file.resource_metadata.and_then(|url| Url::parse(&url).ok()),
            signed_in_at: file.signed_in_at,
            binding,
        })
    }
}

/// Whatever a file says.
const SHORTEST: Duration = Duration::from_secs(1);

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::oauth::kept_sign_in::tests::client;

    pub(crate) fn kept() -> KeptDevice {
        let url = |text: &str| Url::parse(text).expect("a URL");
        KeptDevice {
            begun: DeviceAuthorization {
                device_code: Secret::new("hidden1".into()),
                user_code: "WDJB-MJHT".into(),
                page: url("https://as.example/device"),
                complete: Some(url("https://as.example/device?c=WDJB-MJHT")),
                interval: Duration::from_secs(5),
                life: Duration::from_secs(600),
            },
            since: UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
            issuer: "https://as.example".into(),
            client: client("c"),
            scope: Scope::parse("read write"),
            resource: Some("https://h/mcp".into()),
            resource_metadata: Url::parse("https://h/metadata").ok(),
            signed_in_at: Some(7),
            binding: Some(Binding {
                key: ProofKey::generate(),
                demanded: true,
            }),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let one = kept();
        let read = KeptDevice::read(&one.write()).expect("readable");
        assert_eq!(read.begun, one.begun);
        assert_eq!((read.since, &read.issuer), (one.since, &one.issuer));
        assert_eq!((&read.scope, &read.resource), (&one.scope, &one.resource));
        assert_eq!(read.resource_metadata, one.resource_metadata);
        assert_eq!(read.binding, one.binding);
        assert_eq!(
            (read.client, read.signed_in_at),
            (one.client.clone(), Some(7))
        );
        let content = one.write();
        assert!(KeptDevice::read(&content[..content.len() / 2]).is_none());
        assert!(KeptDevice::read(b"{}").is_none());
        assert!(!format!("{one:?}").contains("hidden"));
    }

    #[test]
    fn a_code_lives_as_long_as_the_server_said() {
        let one = kept();
        let minute = Duration::from_secs(60);
        assert_eq!(one.left(one.since + minute), 9 * minute);
        assert_eq!(one.left(one.since + 60 * minute), Duration::ZERO);
        assert_eq!(one.left(one.since - minute), 10 * minute);
    }
}
