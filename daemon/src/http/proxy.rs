//! Which proxy a URL is reached through, by the usual variables. Pure.

use url::Url;

use crate::secret::Secret;

/// Values of the proxy variables; empty: not set.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct ProxySettings {
    /// For http URLs.
    pub(crate) http: String,
    /// For https URLs.
    pub(crate) https: String,
    /// For both, where there is no other.
    pub(crate) all: String,
    /// Hosts that are reached directly.
    pub(crate) no: String,
}

impl std::fmt::Debug for ProxySettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProxySettings")
            .field("no", &self.no)
            .finish_non_exhaustive()
    }
}

impl ProxySettings {
    /// Returns the proxy that applies to a URL, credentials included.
    pub(crate) fn proxy_for(&self, url: &Url) -> Option<Secret<String>> {
        // The matcher takes a star for all names, but not for addresses.
        if self.no.split(',').any(|entry| entry.trim() == "*") {
            return None;
        }
        let matcher = hyper_util::client::proxy::matcher::Matcher::builder()
            .http(self.http.clone())
            .https(self.https.clone())
            .all(self.all.clone())
            .no(self.no.clone())
            .build();
        let intercept = matcher.intercept(&url.as_str().parse().ok()?)?;
        let mut proxy = Url::parse(&intercept.uri().to_string()).ok()?;
        if let Some(credentials) = intercept.basic_auth().and_then(basic_credentials) {
            let (user, password) = credentials.split_once(':').unwrap_or((&credentials, ""));
            let _no_host = proxy.set_username(user);
            let _no_host = proxy.set_password(Some(password));
        } else if let Some((user, password)) = intercept.raw_auth() {
            let _no_host = proxy.set_username(user);
            let _no_host = proxy.set_password(Some(password));
        }
        Some(Secret::new(proxy.into()))
    }
}

/// Returns what a proxy is shown for its URL's credentials.
pub(super) fn authorization(proxy: &Url, target: &Url) -> Option<http::HeaderValue> {
    let matcher = hyper_util::client::proxy::matcher::Matcher::builder()
        .all(proxy.as_str())
        .build();
    let intercept = matcher.intercept(&target.as_str().parse().ok()?)?;
    intercept.basic_auth().cloned()
}

fn basic_credentials(header: &http::HeaderValue) -> Option<String> {
    use base64::Engine as _;
    let encoded = header.to_str().ok()?.strip_prefix("Basic ")?;
    String::from_utf8(base64::prelude::BASE64_STANDARD.decode(encoded).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(http: &str, https: &str, all: &str, no: &str) -> ProxySettings {
        ProxySettings {
            http: http.into(),
            https: https.into(),
            all: all.into(),
            no: no.into(),
        }
    }

    #[test]
    fn the_proxy_of_a_url_follows_the_variables() {
        let check = |settings: ProxySettings, url: &str, expected: Option<&str>| {
            let proxy = settings.proxy_for(&Url::parse(url).expect("valid"));
            assert_eq!(
                proxy.as_ref().map(|proxy| proxy.reveal().as_str()),
                expected,
                "{url}"
            );
        };
        check(settings("", "", "", ""), "https://h/", None);
        check(
            settings("http://p:1", "http://q:2", "", ""),
            "https://h/",
            Some("http://q:2/"),
        );
        check(
            settings("http://p:1", "http://q:2", "", ""),
            "http://h/",
            Some("http://p:1/"),
        );
        check(
            settings("", "", "http://a:3", ""),
            "http://h/",
            Some("http://a:3/"),
        );
        check(
            settings("http://p:1", "http://q:2", "", "h,.example.com"),
            "https://h/",
            None,
        );
        check(
            settings("http://p:1", "http://q:2", "", "h,.example.com"),
            "https://a.example.com/",
            None,
        );
        for no in ["example.com,127.0.0.1", "127.0.0.0/8", "*"] {
            check(
                settings("http://p:1", "", "http://a:3", no),
                "http://127.0.0.1:80/mcp",
                None,
            );
        }
        check(
            settings("", "http://user:pass@q:2", "", ""),
            "https://h/",
            Some("http://user:pass@q:2/"),
        );
    }
}
