//! What servers say about the proofs that they want: their newest nonce, and their
//! clock where ours makes proofs that they refuse. Bounded; only in memory.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};
use url::{Origin, Url};

/// Servers remembered: a grant has two. Past it the oldest is forgotten.
const MAX_SERVERS: usize = 4;

/// Longest nonce that is sent back.
const MAX_NONCE: usize = 1024;

/// Clocks that differ by less are the same: a `Date` has whole seconds, and is as old as
/// the way is long.
const TOLERANCE: Duration = Duration::from_secs(2);

/// Clocks that differ by more are not believed.
const LARGEST_SKEW: Duration = Duration::from_secs(24 * 3600);

/// A nonce of a server: harmless text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Nonce(String);

impl Nonce {
    /// Shows it.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads a `DPoP-Nonce` (RFC 9449, section 8.1).
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get("dpop-nonce")?.to_str().ok()?;
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"\\".contains(&byte);
        let fits = !text.is_empty() && text.len() <= MAX_NONCE && text.bytes().all(plain);
        fits.then(|| Self(text.to_owned()))
    }
}

#[derive(Debug)]
struct Server {
    origin: Origin,
    nonce: Option<Nonce>,
    /// How its clock differs from ours.
    clock: Skew,
}

/// How a clock differs from ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Skew {
    Ahead(Duration),
    Behind(Duration),
}

impl Skew {
    const NONE: Self = Self::Ahead(Duration::ZERO);

    fn between(ours: SystemTime, theirs: SystemTime) -> Self {
        let skew = match theirs.duration_since(ours) {
            Ok(ahead) => Self::Ahead(ahead),
            Err(error) => Self::Behind(error.duration()),
        };
        let (Self::Ahead(by) | Self::Behind(by)) = skew;
        match by > TOLERANCE && by <= LARGEST_SKEW {
            true => skew,
            false => Self::NONE,
        }
    }

    fn apply(self, now: SystemTime) -> SystemTime {
        let applied = match self {
            Self::Ahead(by) => now.checked_add(by),
            Self::Behind(by) => now.checked_sub(by),
        };
        applied.unwrap_or(now)
    }
}

/// What was heard, by server.
#[derive(Debug, Default)]
pub(super) struct Heard(Mutex<Vec<Server>>);

impl Heard {
    /// Returns the nonce to use with a server, and what its clock says.
    pub(super) fn of(&self, url: &Url, now: SystemTime) -> (Option<Nonce>, SystemTime) {
        let origin = url.origin();
        let servers = self.lock();
        match servers.iter().find(|server| server.origin == origin) {
            Some(server) => (server.nonce.clone(), server.clock.apply(now)),
            None => (None, now),
        }
    }

    /// Takes in a nonce of a server.
    pub(super) fn take_nonce(&self, url: &Url, nonce: Nonce) {
        self.note(url, |server| server.nonce = Some(nonce));
    }

    /// Takes in the clock behind an answer; returns whether it was not known to differ
    /// as it does.
    pub(super) fn clock(&self, url: &Url, headers: &HeaderMap, now: SystemTime) -> bool {
        let date = headers.get(header::DATE).and_then(|it| it.to_str().ok());
        let Some(theirs) = date.and_then(|date| httpdate::parse_http_date(date).ok()) else {
            return false;
        };
        self.note(url, |server| {
            // What was assumed may still be near enough.
            let assumed = server.clock.apply(now);
            let is_news = Skew::between(assumed, theirs) != Skew::NONE;
            if is_news {
                server.clock = Skew::between(now, theirs);
            }
            is_news
        })
    }

    fn note<T>(&self, url: &Url, change: impl FnOnce(&mut Server) -> T) -> T {
        let origin = url.origin();
        let mut servers = self.lock();
        let at = servers.iter().position(|server| server.origin == origin);
        let at = at.unwrap_or_else(|| {
            if servers.len() >= MAX_SERVERS {
                servers.remove(0);
            }
            servers.push(Server {
                origin,
                nonce: None,
                clock: Skew::NONE,
            });
            servers.len() - 1
        });
        change(&mut servers[at])
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Server>> {
        self.0
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn said(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).expect("a value"));
        headers
    }

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a URL")
    }

    #[test]
    fn nonces_are_kept_by_origin_and_the_newest_counts() {
        let (heard, now) = (Heard::default(), SystemTime::now());
        let nonce = |at: &str| heard.of(&url(at), now).0.map(|nonce| nonce.0);
        assert_eq!(nonce("https://a/x"), None);
        for (at, text) in [
            ("https://a/x", "1"),
            ("https://b/", "2"),
            ("https://a/y", "3"),
        ] {
            let taken = Nonce::of(&said("dpop-nonce", text)).expect("a nonce");
            heard.take_nonce(&url(at), taken);
        }
        assert_eq!(nonce("https://a/z").as_deref(), Some("3"));
        assert_eq!(nonce("https://b/z").as_deref(), Some("2"));
        assert_eq!(nonce("https://a:8443/"), None);
        for other in 0..100 {
            let at = url(&format!("https://other-{other}/"));
            heard.take_nonce(&at, Nonce("x".into()));
        }
        assert!(heard.lock().len() <= MAX_SERVERS);
    }

    #[test]
    fn nonces_that_are_none_are_not_taken() {
        let long = "x".repeat(MAX_NONCE + 1);
        for bad in ["", "a b", "a\"b", "a\\b", "a\tb", &long] {
            assert_eq!(Nonce::of(&said("dpop-nonce", bad)), None, "{bad}");
        }
    }

    #[test]
    fn clocks_that_differ_are_followed_within_reason() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let at = url("https://a/");
        let check = |seconds: i64, is_news: bool| {
            let heard = Heard::default();
            let by = Duration::from_secs(seconds.unsigned_abs());
            let theirs = if seconds < 0 { now - by } else { now + by };
            let date = said("date", &httpdate::fmt_http_date(theirs));
            assert_eq!(heard.clock(&at, &date, now), is_news, "{seconds}");
            let expected = if is_news { theirs } else { now };
            assert_eq!(heard.of(&at, now).1, expected, "{seconds}");
            assert!(!heard.clock(&at, &date, now), "it is known by now");
        };
        check(0, false);
        check(2, false);
        check(-2, false);
        check(300, true);
        check(-300, true);
        check(24 * 3600, true);
        check(24 * 3600 + 1, false);
        let heard = Heard::default();
        assert!(!heard.clock(&at, &said("date", "tomorrow"), now));
        assert!(!heard.clock(&at, &HeaderMap::new(), now));
    }

    #[test]
    fn a_clock_that_was_put_right_is_followed_back() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let (heard, at) = (Heard::default(), url("https://a/"));
        let date = |time| said("date", &httpdate::fmt_http_date(time));
        assert!(heard.clock(&at, &date(now + Duration::from_secs(60)), now));
        assert!(heard.clock(&at, &date(now), now));
        assert_eq!(heard.of(&at, now).1, now);
    }
}
