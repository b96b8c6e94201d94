//! Keyed digests of session keys, to compare them across daemons without storing
//! what is secret in them. Every member counts; two releases agree on how.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

use crate::http::{NetworkOptions, Timeouts};
use crate::oauth::identity::IdentityHash;
use crate::oauth::token_source::TokenSource;
use crate::session::{Reuse, ServerSpec, SessionKey, TransportChoice};
use crate::storage::InstallSecret;

/// Makes digests.
#[derive(Debug)]
pub(super) struct Digests(hmac::Key);

impl Digests {
    /// Keys them with this installation's secret.
    pub(super) fn new(secret: &InstallSecret) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.reveal()))
    }

    /// Returns the digest of the way to a server.
    pub(super) fn of_spec(&self, spec: &ServerSpec) -> String {
        let ServerSpec {
            url,
            transport,
            headers,
            network,
            tokens,
            cookies,
        } = spec;
        let NetworkOptions {
            ca_file,
            ssl_cert_file,
            proxy,
            timeouts,
            ipv4,
        } = network;
        let Timeouts {
            connect,
            headers: head,
            body,
        } = timeouts;
        let transport = match transport {
            TransportChoice::HttpFirst => "http-first",
            TransportChoice::SseFirst => "sse-first",
            TransportChoice::HttpOnly => "http-only",
            TransportChoice::SseOnly => "sse-only",
        };
        let mut digest = Digest::new(&self.0);
        digest.add(url.url().as_str().as_bytes());
        digest.add(transport.as_bytes());
        digest.add(path(ca_file));
        digest.add(path(ssl_cert_file));
        let proxy = proxy.as_ref().map_or("", |proxy| proxy.reveal());
        digest.add(proxy.as_bytes());
        let identity = tokens.as_ref().map(TokenSource::hash);
        digest.add(identity.map_or("", IdentityHash::as_str).as_bytes());
        let folder = identity.map(|identity| identity.folder().as_os_str());
        digest.add(folder.map_or(&[], |folder| folder.as_encoded_bytes()));
        for (name, value) in headers.reveal() {
            digest.add(name.as_bytes());
            digest.add(value);
        }
        // What is as usual adds nothing: releases before knew nothing of it. No
        // header has such a name.
        for (name, timeout) in [("=connect", connect), ("=headers", head), ("=body", body)] {
            if let Some(timeout) = timeout {
                digest.add(name.as_bytes());
                digest.add(&timeout.as_nanos().to_le_bytes());
            }
        }
        for (name, given) in [("=ipv4", *ipv4), ("=no-cookies", !*cookies)] {
            if given {
                digest.add(name.as_bytes());
                digest.add(&[]);
            }
        }
        digest.finish()
    }

    /// Returns the digest of a session's key, given that of the way to its server.
    pub(super) fn of_key(&self, spec: &str, key: &SessionKey) -> String {
        let SessionKey {
            spec: _,
            version,
            capabilities,
            client_name,
            reuse,
            signed_in_at,
        } = key;
        let reuse = match reuse {
            Reuse::Never => "never",
            Reuse::Sequential => "sequential",
            Reuse::Concurrent => "concurrent",
        };
        let mut digest = Digest::new(&self.0);
        for part in [spec, version.as_str(), capabilities, client_name, reuse] {
            digest.add(part.as_bytes());
        }
        let signed_in_at = signed_in_at.map(u64::to_le_bytes);
        digest.add(signed_in_at.as_ref().map_or(&[], |at| at));
        digest.finish()
    }
}

/// No path is empty.
fn path(file: &Option<PathBuf>) -> &[u8] {
    let path = file.as_ref().map(|file| file.as_os_str());
    path.map_or(&[], |path| path.as_encoded_bytes())
}

/// A digest of parts, each with its length, so that none can pass for another.
struct Digest(hmac::Context);

impl Digest {
    fn new(key: &hmac::Key) -> Self {
        Self(hmac::Context::with_key(key))
    }

    fn add(&mut self, part: &[u8]) {
        self.0.update(&(part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    fn finish(self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.sign())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::protocol::ProtocolVersion;
    use crate::secret::Secret;
    use crate::server_url::ServerUrl;
    use crate::upstream::UserHeaders;

    fn key(url: &str, headers: &[(&str, &str)]) -> SessionKey {
        let spec = ServerSpec {
            url: ServerUrl::parse(url, false).expect("valid"),
            transport: TransportChoice::default(),
            headers: UserHeaders::parse(headers.iter().copied())
                .expect("valid")
                .0,
            network: NetworkOptions::default(),
            tokens: None,
            cookies: true,
        };
        SessionKey {
            spec: Arc::new(spec),
            version: ProtocolVersion::LATEST,
            capabilities: "{}".into(),
            client_name: "c".into(),
            reuse: Reuse::default(),
            signed_in_at: None,
        }
    }

    fn digest(secret: u8, key: &SessionKey) -> String {
        let digests = Digests::new(&Secret::new([secret; 32]));
        digests.of_key(&digests.of_spec(&key.spec), key)
    }

    #[test]
    fn every_member_and_the_secret_count() {
        let plain = key("https://h/mcp", &[]);
        let with = |change: &dyn Fn(&mut SessionKey)| {
            let mut changed = plain.clone();
            change(&mut changed);
            changed
        };
        let spec =
            |change: &dyn Fn(&mut ServerSpec)| with(&|key| change(Arc::make_mut(&mut key.spec)));
        let keys = [
            plain.clone(),
            key("https://h/mcp?k=1", &[]),
            key("https://h/mcp", &[("a", "bc")]),
            key("https://h/mcp", &[("ab", "c")]),
            key("https://h/mcp", &[("a", "b"), ("a", "c")]),
            key("https://h/mcp", &[("a", "c"), ("a", "b")]),
            spec(&|spec| spec.transport = TransportChoice::HttpOnly),
            spec(&|spec| spec.network.ca_file = Some("/x".into())),
            spec(&|spec| spec.network.ssl_cert_file = Some("/x".into())),
            spec(&|spec| spec.network.proxy = Some(Secret::new("http://p".into()))),
            spec(&|spec| spec.network.timeouts.connect = Some(Duration::from_secs(1))),
            spec(&|spec| spec.network.timeouts.headers = Some(Duration::from_secs(1))),
            spec(&|spec| spec.network.timeouts.body = Some(Duration::from_secs(1))),
            spec(&|spec| spec.network.timeouts.body = Some(Duration::from_secs(2))),
            spec(&|spec| spec.network.ipv4 = true),
            spec(&|spec| spec.cookies = false),
            with(&|key| key.version = ProtocolVersion::V2025_03_26),
            with(&|key| key.capabilities = r#"{"roots":{}}"#.into()),
            with(&|key| key.client_name = "d".into()),
            with(&|key| key.reuse = Reuse::Never),
            with(&|key| key.signed_in_at = Some(0)),
            with(&|key| key.signed_in_at = Some(1)),
        ];
        let digests = keys.iter().map(|key| digest(1, key));
        let mut digests: Vec<String> = digests.chain([digest(2, &plain)]).collect();
        digests.sort();
        digests.dedup();
        assert_eq!(digests.len(), keys.len() + 1);
        assert_eq!(digest(1, &plain), digest(1, &plain.clone()));
    }
}
