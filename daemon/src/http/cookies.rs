//! The cookies of one session with a server, which load balancers send a session's
//! requests back to the same machine by.
//!
//! They live as long as the jar and are never written down or shown. All requests
//! of a session go to one origin, so no cookie ever reaches another one.

use std::sync::{Arc, Mutex, MutexGuard};

use cookie_store::CookieStore;
use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue};
use url::Url;

/// Cookies kept; what a server sets beyond them is not.
const MAX_COOKIES: usize = 50;

/// Longest cookie kept with its attributes, in bytes (RFC 6265, section 6.1).
const MAX_LEN: usize = 4096;

/// Cheap to clone; clones hold the same cookies.
#[derive(Clone, Default)]
pub(crate) struct CookieJar(Arc<Mutex<Jar>>);

#[derive(Default)]
struct Jar {
    /// Most servers set none.
    store: Option<CookieStore>,
    /// Nothing is kept any more.
    closed: bool,
}

impl CookieJar {
    /// Returns what goes along with a request; nothing if the user's own headers
    /// have cookies.
    pub(super) fn header(&self, url: &Url, headers: &HeaderMap) -> Option<HeaderValue> {
        let jar = self.lock();
        let store = jar.store.as_ref()?;
        if headers.contains_key(COOKIE) {
            return None;
        }
        let mut text = String::new();
        for (name, value) in store.get_request_values(url) {
            let separator = if text.is_empty() { "" } else { "; " };
            text.extend([separator, name, "=", value]);
        }
        let mut value = HeaderValue::from_str(&text)
            .ok()
            .filter(|_| !text.is_empty())?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Takes the cookies of a response in.
    pub(super) fn take(&self, url: &Url, headers: &HeaderMap) {
        if !headers.contains_key(SET_COOKIE) {
            return;
        }
        let mut jar = self.lock();
        if jar.closed {
            return;
        }
        let store = jar.store.get_or_insert_default();
        let texts = headers.get_all(SET_COOKIE).iter();
        for text in texts.filter_map(|value| value.to_str().ok()) {
            let is_new = store.iter_any().count() < MAX_COOKIES;
            if text.len() <= MAX_LEN && (is_new || replaces(store, text)) {
                // One that is not for this URL is not taken.
                let _kept = store.parse(text, url);
            }
        }
    }

    /// Forgets everything for good.
    pub(crate) fn close(&self) {
        *self.lock() = Jar {
            store: None,
            closed: true,
        };
    }

    /// Returns the values, so that they can be taken out of texts.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let jar = self.lock();
        let cookies = jar.store.iter().flat_map(CookieStore::iter_any);
        cookies.map(|cookie| cookie.value().to_owned()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Jar> {
        self.0
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

fn replaces(store: &CookieStore, text: &str) -> bool {
    let name = text.split(['=', ';']).next().unwrap_or_default().trim();
    store.iter_any().any(|cookie| cookie.name() == name)
}

impl std::fmt::Debug for CookieJar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CookieJar([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://h.example/api/mcp";

    fn url(text: &str) -> Url {
        Url::parse(text).expect("valid")
    }

    fn set(jar: &CookieJar, cookies: &[&str]) {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(SET_COOKIE, cookie.parse().expect("valid"));
        }
        jar.take(&url(URL), &headers);
    }

    fn sent(jar: &CookieJar, to: &str) -> Vec<String> {
        let Some(header) = jar.header(&url(to), &HeaderMap::new()) else {
            return Vec::new();
        };
        let text = header.to_str().expect("visible");
        let mut cookies: Vec<String> = text.split("; ").map(str::to_owned).collect();
        cookies.sort();
        cookies
    }

    #[test]
    fn what_is_set_comes_back_where_it_belongs() {
        let jar = CookieJar::default();
        assert!(sent(&jar, URL).is_empty());
        set(
            &jar,
            &["lb=1; Path=/; HttpOnly", "here=2", "s=3; Secure; Path=/"],
        );
        assert_eq!(sent(&jar, URL), ["here=2", "lb=1", "s=3"]);
        assert_eq!(sent(&jar, "https://h.example/other"), ["lb=1", "s=3"]);
        assert!(sent(&jar, "https://other.example/api/mcp").is_empty());
        assert!(sent(&jar, "https://sub.h.example/api/mcp").is_empty());
        set(&jar, &["lb=4; Path=/", "s=; Max-Age=0; Path=/"]);
        assert_eq!(sent(&jar, URL), ["here=2", "lb=4"]);
        set(&jar, &["here=; Expires=Thu, 01-Jan-1970 00:00:00 GMT"]);
        assert_eq!(sent(&jar, URL), ["lb=4"]);
    }

    #[test]
    fn cookies_for_others_are_not_taken() {
        let jar = CookieJar::default();
        set(
            &jar,
            &["a=1; Domain=example.com", "b=2; Domain=evil.example"],
        );
        assert!(sent(&jar, URL).is_empty());
    }

    #[test]
    fn the_users_own_cookies_stand_alone() {
        let jar = CookieJar::default();
        set(&jar, &["a=1"]);
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::from_static("mine=2"));
        assert!(jar.header(&url(URL), &headers).is_none());
    }

    #[test]
    fn a_jar_holds_no_more_than_it_should() {
        let jar = CookieJar::default();
        let long = format!("long={}", "x".repeat(MAX_LEN));
        set(&jar, &[&long]);
        for number in 0..2 * MAX_COOKIES {
            set(&jar, &[&format!("c{number}=1")]);
        }
        assert_eq!(sent(&jar, URL).len(), MAX_COOKIES);
        set(&jar, &["c0=2"]);
        assert!(sent(&jar, URL).contains(&"c0=2".to_owned()));
        jar.close();
        set(&jar, &["late=1"]);
        assert!(sent(&jar, URL).is_empty());
    }

    #[test]
    fn nothing_of_it_is_shown() {
        let jar = CookieJar::default();
        set(&jar, &["a=s3cret"]);
        assert!(!format!("{jar:?}").contains("s3cret"));
        let header = jar.header(&url(URL), &HeaderMap::new()).expect("one");
        assert!(!format!("{header:?}").contains("s3cret"));
        assert_eq!(jar.secrets(), ["s3cret"]);
    }
}
