//! The URL that a browser is sent to: checked, and rebuilt from its parts. Pure.
//!
//! It comes from a server and goes to a program that opens things, so what
//! leaves here is https (or http on this machine) with a plain host, and no
//! character that a shell, a desktop file or a terminal would take as its own.

use url::Url;

use crate::server_url;

/// Longest URL that is opened, in bytes.
const MAX_URL: usize = 8 * 1024;

/// Why a URL is not opened. Completes "the sign-in page ...".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AuthorizeUrlError {
    /// Not https.
    #[error("is not an https URL")]
    Scheme,
    /// http, and not on this machine.
    #[error("is not encrypted: only https is opened")]
    Insecure,
    /// No host, or one that no name server knows.
    #[error("has no usable host name")]
    Host,
    /// A user name or password.
    #[error("has credentials in it")]
    Credentials,
    /// Over the limit.
    #[error("is longer than {MAX_URL} bytes")]
    TooLong,
}

/// Checks a URL and rebuilds it.
pub(crate) fn rebuild(url: &Url) -> Result<Url, AuthorizeUrlError> {
    if url.as_str().len() > MAX_URL {
        return Err(AuthorizeUrlError::TooLong);
    }
    match url.scheme() {
        "https" => {}
        "http" if server_url::is_loopback(url) => {}
        "http" => return Err(AuthorizeUrlError::Insecure),
        _ => return Err(AuthorizeUrlError::Scheme),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(AuthorizeUrlError::Credentials);
    }
    if !has_plain_host(url) {
        return Err(AuthorizeUrlError::Host);
    }
    let mut text = url.origin().ascii_serialization();
    encode(url.path(), &mut text);
    if let Some(query) = url.query() {
        text.push('?');
        encode(query, &mut text);
    }
    let rebuilt = Url::parse(&text).map_err(|_| AuthorizeUrlError::Host)?;
    if rebuilt.as_str().len() > MAX_URL {
        return Err(AuthorizeUrlError::TooLong);
    }
    Ok(rebuilt)
}

/// Says whether the host is an address or a name of letters, digits, hyphens,
/// underscores and dots; URLs allow more.
pub(crate) fn has_plain_host(url: &Url) -> bool {
    let plain = |name: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        !name.is_empty() && !name.starts_with('-') && name.bytes().all(fits)
    };
    match url.host() {
        Some(url::Host::Domain(name)) => plain(name),
        Some(_) => true,
        None => false,
    }
}

/// Percent-encodes all but what a path or query needs as it is; what is encoded
/// stays so.
fn encode(part: &str, into: &mut String) {
    use std::fmt::Write as _;
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/?:@&=+,%".contains(&byte) {
            into.push(byte.into());
        } else {
            write!(into, "%{byte:02X}").expect("a String takes everything");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, AuthorizeUrlError>) {
        let url = Url::parse(text).expect("a URL of some kind");
        let rebuilt = rebuild(&url);
        assert_eq!(
            rebuilt.as_ref().map(Url::as_str).map_err(Clone::clone),
            expected,
            "{text}"
        );
    }

    #[test]
    fn honest_urls_pass_unchanged() {
        for text in [
            "https://as.example.com/authorize?response_type=code&scope=a+b&resource=https%3A%2F%2Fh%2Fmcp",
            "https://as.example.com:8443/t/1/~x?a=1,2&b=x@y:z",
            "http://localhost:8080/authorize?x=1",
            "http://127.0.0.1/a",
            "http://[::1]:9/a",
            "https://xn--bcher-kva.example/",
        ] {
            check(text, Ok(text));
        }
        check(
            "https://b\u{fc}cher.example",
            Ok("https://xn--bcher-kva.example/"),
        );
        check("https://h/a#fragment", Ok("https://h/a"));
    }

    #[test]
    fn hostile_urls_are_refused_or_made_harmless() {
        use AuthorizeUrlError::*;
        check("javascript:alert(1)", Err(Scheme));
        check("data:text/html,x", Err(Scheme));
        check("vbscript:x", Err(Scheme));
        check("file:///etc/passwd", Err(Scheme));
        check("a:$(touch PWN)?response_type=code", Err(Scheme));
        check("calculator:/x", Err(Scheme));
        check("http://example.com/a", Err(Insecure));
        check("http://169.254.169.254/a", Err(Insecure));
        check("https://user:pa$(id)ss@h/a", Err(Credentials));
        check("https://user@h/a", Err(Credentials));
        check("https://h$(id)/a", Err(Host));
        check("https://h;x/a", Err(Host));
        check("https://-h/a", Err(Host));
        check(
            "https://h/%24%28x%29;`x`?x=$(x)&y='\"|calc",
            Ok("https://h/%24%28x%29%3B%60x%60?x=%24%28x%29&y=%27%22%7Ccalc"),
        );
        check(
            "https://h/a b\u{1b}[31m\u{7f}\u{e9}",
            Ok("https://h/a%20b%1B%5B31m%7F%C3%A9"),
        );
        check(
            "https://h/a?x={1}^!*\\",
            Ok("https://h/a?x=%7B1%7D%5E%21%2A%5C"),
        );
        check(
            &format!("https://h/{}", "a".repeat(2_000_000)),
            Err(TooLong),
        );
        check(
            &format!("https://h/{}", "$".repeat(MAX_URL / 2)),
            Err(TooLong),
        );
        for text in [
            "-h",
            "--version",
            "\\\\host\\share\\x",
            "http://127.0.0.1:1$(touch PWN)/a",
        ] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }
}
