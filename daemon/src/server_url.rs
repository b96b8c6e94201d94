//! The URL of an MCP server: checked once, shown without what may be secret.

use url::{Host, Url};

/// A server's URL that may be connected to.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct ServerUrl {
    url: Url,
    shown: String,
}

/// Why a text is no server URL. Completes "the server URL …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ServerUrlError {
    #[error("the server URL is not valid ({0}): give a full https:// URL")]
    Invalid(url::ParseError),
    #[error("the server URL must begin with https:// (or http:// for this machine), not {0}://")]
    Scheme(String),
    #[error(
        "{0} is not on this machine and http is not encrypted: use https://, or allow it with --allow-http"
    )]
    Insecure(String),
}

impl ServerUrl {
    /// Parses and checks a URL: https, or http on loopback, or http if allowed.
    pub(crate) fn parse(text: &str, allow_http: bool) -> Result<Self, ServerUrlError> {
        let mut url = Url::parse(text.trim()).map_err(ServerUrlError::Invalid)?;
        match url.scheme() {
            "https" => {}
            "http" if allow_http || is_loopback(&url) => {}
            "http" => {
                return Err(ServerUrlError::Insecure(
                    url.host_str().unwrap_or_default().to_owned(),
                ));
            }
            other => return Err(ServerUrlError::Scheme(other.to_owned())),
        }
        url.set_fragment(None);
        let shown = shown(&url);
        Ok(Self { url, shown })
    }

    /// Returns the whole URL, for connecting.
    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// Returns what names it as a resource (RFC 8707, section 2; MCP, Canonical Server
    /// URI): no slash for no path, and nothing that may be secret.
    pub(crate) fn as_resource(&self) -> &str {
        match self.url.path() {
            "/" => self.shown.trim_end_matches('/'),
            _ => &self.shown,
        }
    }

    /// Returns it without credentials, query and fragment, for people.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }
}

impl std::fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown)
    }
}

impl std::fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown)
    }
}

/// Returns a URL as people may see it: no credentials, query or fragment.
pub(crate) fn shown(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_query(None);
    shown.set_fragment(None);
    // Both fail only for URLs without a host, which have no credentials.
    let _no_host = shown.set_username("");
    let _no_host = shown.set_password(None);
    shown.into()
}

/// Says whether a URL names this machine: `localhost` or a loopback address.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => is_localhost(name),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Says whether a name means this machine wherever it is asked (RFC 6761).
pub(crate) fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_and_loopback_http_pass() {
        let check = |text: &str, allow_http, expected: Option<&str>| {
            let parsed = ServerUrl::parse(text, allow_http).ok();
            assert_eq!(parsed.as_ref().map(ServerUrl::shown), expected, "{text}");
        };
        check(
            "https://mcp.example.com/v1/sse",
            false,
            Some("https://mcp.example.com/v1/sse"),
        );
        check(
            "http://localhost:3000/mcp",
            false,
            Some("http://localhost:3000/mcp"),
        );
        check("http://127.0.0.9/mcp", false, Some("http://127.0.0.9/mcp"));
        check("http://[::1]:80/mcp", false, Some("http://[::1]/mcp"));
        check("http://mcp.example.com/", false, None);
        check(
            "http://mcp.example.com/",
            true,
            Some("http://mcp.example.com/"),
        );
        check("http://localhost.evil.example/", false, None);
        check("file:///etc/passwd", true, None);
        check("javascript:alert(1)", true, None);
        check("mcp.example.com", true, None);
    }

    #[test]
    fn what_may_be_secret_is_not_shown() {
        let parsed = ServerUrl::parse("https://user:pass@h/p?key=s3cret#f", false).expect("valid");
        assert_eq!(parsed.shown(), "https://h/p");
        assert_eq!(format!("{parsed:?}"), "https://h/p");
        assert_eq!(parsed.url().query(), Some("key=s3cret"));
    }

    #[test]
    fn a_resource_is_named_without_what_may_be_secret() {
        let check = |text: &str, expected: &str| {
            let parsed = ServerUrl::parse(text, true).expect("valid");
            assert_eq!(parsed.as_resource(), expected, "{text}");
        };
        check(
            "https://MCP.example.com:443/mcp",
            "https://mcp.example.com/mcp",
        );
        check("https://u:p@h:8443/mcp?key=s3cret#f", "https://h:8443/mcp");
        check("https://h/mcp/", "https://h/mcp/");
        check("https://h", "https://h");
        check("http://127.0.0.1:3001/?key=s3cret", "http://127.0.0.1:3001");
    }

    #[test]
    fn names_of_this_machine_are_known() {
        let check = |text: &str, expected| {
            assert_eq!(is_loopback(&Url::parse(text).expect("valid")), expected);
        };
        check("http://localhost:1/", true);
        check("http://LOCALHOST./", true);
        check("http://a.localhost/", true);
        check("http://127.0.0.1/", true);
        check("http://2130706433/", true);
        check("http://0x7f.1/", true);
        check("http://[::1]/", true);
        check("http://localhost.example.com/", false);
        check("http://0/", false);
    }
}
