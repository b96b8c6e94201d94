//! A sign-in by code (RFC 8628): the answer that begins one, cleaned, and how often
//! the daemon asks whether somebody has typed the code in. Pure.
//!
//! What the server says goes to a person's eyes and to a clock, so nothing of it is
//! believed beyond what is sensible: pages are checked and rebuilt like those of
//! other sign-ins, codes are short and plain, times have limits.

use std::time::Duration;

use serde_json::{Map, Value};
use url::Url;

use super::authorize_url;
use super::discovery::{AuthorizationServer, DiscoveryError};
use super::sign_in::PATIENCE;
use super::text::printable;
use crate::secret::Secret;

/// The grant by its registered name.
pub(crate) const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// How often to ask if the server does not say (RFC 8628, section 3.2).
const USUAL_INTERVAL: Duration = Duration::from_secs(5);

/// Nobody is asked more often, whatever they say.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// Nor more seldom, unless they say `slow_down`: a person waits.
const LONGEST_INTERVAL: Duration = Duration::from_secs(60);

/// By how much `slow_down` lengthens the interval (section 3.5).
const SLOW_DOWN: Duration = Duration::from_secs(5);

/// The longest pause that `slow_down`s and outages lead to.
const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);

/// How long a code lives if the server says nothing that can be believed.
const USUAL_LIFE: Duration = Duration::from_secs(10 * 60);

/// Longest code that a person is asked to type, in characters.
const MAX_USER_CODE: usize = 64;

/// Longest code of ours, in bytes.
const MAX_DEVICE_CODE: usize = 16 * 1024;

/// A sign-in that waits until somebody types a code in.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct DeviceAuthorization {
    /// What the tokens are asked for with.
    pub(crate) device_code: Secret<String>,
    /// What the person types in; plain and short.
    pub(crate) user_code: String,
    /// Where: checked and rebuilt.
    pub(crate) page: Url,
    /// The page with the code in it, likewise.
    pub(crate) complete: Option<Url>,
    /// How often to ask.
    pub(crate) interval: Duration,
    /// For how long; not longer than a person is waited for.
    pub(crate) life: Duration,
}

/// Whoever has the codes can finish or spoil the sign-in.
impl std::fmt::Debug for DeviceAuthorization {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeviceAuthorization")
            .field("interval", &self.interval)
            .field("life", &self.life)
            .finish_non_exhaustive()
    }
}

/// Says whether an authorization server offers sign-ins by code.
pub(crate) fn is_offered(server: &AuthorizationServer) -> bool {
    let grants = &server.grant_types;
    let is_listed = grants.is_empty() || grants.iter().any(|grant| grant == GRANT_TYPE);
    server.device_authorization_endpoint.is_some() && is_listed
}

/// Says whether nobody can sign in there by a page. One that does not announce PKCE is for
/// the user to judge.
pub(crate) fn is_only_way(server: &AuthorizationServer) -> bool {
    let page = server.authorization_endpoint.as_ref();
    matches!(page, Err(error) if !matches!(error, DiscoveryError::NoPkce(_)))
}

/// Returns where sign-ins by code begin.
///
/// # Errors
/// There are none. One sentence.
pub(crate) fn endpoint(server: &AuthorizationServer) -> Result<&Url, String> {
    server.device_authorization_endpoint.as_ref().ok_or_else(|| {
        let issuer = printable(&server.issuer);
        format!("the authorization server {issuer} offers no sign-in by code: leave --device-code out")
    })
}

/// Reads the answer that begins a sign-in; `check`: whether a URL may be led to.
///
/// # Errors
/// What is wrong with it. Completes "the authorization server ...".
pub(crate) fn read(
    document: &Map<String, Value>,
    check: impl Fn(&Url) -> Result<(), String>,
) -> Result<DeviceAuthorization, String> {
    let text = |name: &str| document.get(name).and_then(Value::as_str);
    let device_code = text("device_code").filter(|code| !code.is_empty());
    let device_code = device_code.filter(|code| code.len() <= MAX_DEVICE_CODE);
    let device_code = device_code.ok_or("answered without a usable device_code")?;
    let user_code = text("user_code")
        .map(str::trim)
        .filter(|code| can_type(code));
    let user_code = user_code.ok_or("gave a code that nobody can type in")?;
    let usable = |text: &str| {
        let url = Url::parse(text).map_err(|_| "it is not a URL".to_owned())?;
        let rebuilt = authorize_url::rebuild(&url).map_err(|why| format!("it {why}"))?;
        check(&url).map(|()| rebuilt)
    };
    // Google's name for it is of an early draft.
    let page = text("verification_uri").or_else(|| text("verification_url"));
    let page = page.ok_or("answered without a verification_uri")?;
    let page =
        usable(page).map_err(|why| format!("gave a verification_uri that is not opened: {why}"))?;
    // The person can do without it.
    let complete = text("verification_uri_complete").and_then(|text| usable(text).ok());
    let interval = document.get("interval").and_then(seconds);
    let life = document.get("expires_in").and_then(seconds);
    Ok(DeviceAuthorization {
        device_code: Secret::new(device_code.to_owned()),
        user_code: user_code.to_owned(),
        page,
        complete,
        interval: interval
            .unwrap_or(USUAL_INTERVAL)
            .clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL),
        life: life
            .filter(|life| !life.is_zero())
            .unwrap_or(USUAL_LIFE)
            .min(PATIENCE),
    })
}

/// Letters, digits and what stands between them: nothing that a terminal or a reader
/// would take for something else.
fn can_type(code: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    !code.is_empty() && code.len() <= MAX_USER_CODE && code.bytes().all(plain)
}

/// Reads seconds, as a number or in a string; too many are as many as there can be.
fn seconds(value: &Value) -> Option<Duration> {
    let seconds = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    let is_one = !seconds.is_nan() && seconds >= 0.0;
    is_one.then(|| Duration::try_from_secs_f64(seconds.floor()).unwrap_or(PATIENCE))
}

/// How long to wait before the server is asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    interval: Duration,
    pause: Duration,
}

impl Pace {
    /// Begins as the server wants it.
    pub(crate) fn new(interval: Duration) -> Self {
        Self {
            interval,
            pause: interval,
        }
    }

    /// Returns how long to wait now.
    pub(crate) fn pause(self) -> Duration {
        self.pause
    }

    /// The code has not been typed in yet.
    pub(crate) fn pending(&mut self) {
        self.pause = self.interval;
    }

    /// It was asked too often: for good (section 3.5).
    pub(crate) fn slow_down(&mut self) {
        self.interval = (self.interval + SLOW_DOWN).min(LONGEST_PAUSE);
        self.pause = self.interval;
    }

    /// It did not answer, or not before this time: twice as long from time to time.
    pub(crate) fn unanswered(&mut self, not_before: Option<Duration>) {
        let longer = (self.pause * 2).max(not_before.unwrap_or_default());
        self.pause = longer.min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(patch: Value) -> Result<DeviceAuthorization, String> {
        let mut document = json!({
            "device_code": "s3cret-d",
            "user_code": "WDJB-MJHT",
            "verification_uri": "https://as.example/device",
            "verification_uri_complete": "https://as.example/device?user_code=WDJB-MJHT",
            "expires_in": 900,
            "interval": 5,
        });
        for (name, value) in patch.as_object().expect("an object") {
            document[name] = value.clone();
        }
        read(document.as_object().expect("an object"), |_| Ok(()))
    }

    #[test]
    fn an_honest_answer_is_read() {
        let begun = answer(json!({})).expect("usable");
        assert_eq!(begun.device_code.reveal(), "s3cret-d");
        assert_eq!(begun.user_code, "WDJB-MJHT");
        assert_eq!(begun.page.as_str(), "https://as.example/device");
        let complete = begun.complete.as_ref().map(Url::as_str);
        let expected = "https://as.example/device?user_code=WDJB-MJHT";
        assert_eq!(complete, Some(expected));
        assert_eq!(begun.interval, Duration::from_secs(5));
        assert_eq!(begun.life, Duration::from_secs(900));
        let shown = format!("{begun:?}");
        assert!(
            !shown.contains("s3cret") && !shown.contains("WDJB"),
            "{shown}"
        );
    }

    #[test]
    fn times_are_kept_within_limits() {
        let check = |interval: Value, expires_in: Value, expected: (u64, u64)| {
            let patch = json!({ "interval": interval, "expires_in": expires_in });
            let begun = answer(patch.clone()).expect("usable");
            let found = (begun.interval.as_secs(), begun.life.as_secs());
            assert_eq!(found, expected, "{patch}");
        };
        check(json!(0), json!(0), (1, 600));
        check(json!(-1), json!(-1), (5, 600));
        check(json!(null), json!(null), (5, 600));
        check(json!("x"), json!([]), (5, 600));
        check(json!("7"), json!("60"), (7, 60));
        check(json!(1_000_000_000), json!(1_000_000_000), (60, 1800));
        check(json!(1e300), json!(1e300), (60, 1800));
        check(json!("NaN"), json!("inf"), (5, 1800));
        check(json!(0.5), json!(0.5), (1, 600));
    }

    #[test]
    fn hostile_answers_are_refused_and_not_repeated() {
        let long = "X".repeat(65);
        let huge = "X".repeat(2_000_000);
        for (name, value) in [
            ("device_code", json!("")),
            ("device_code", json!(huge)),
            ("user_code", json!("")),
            ("user_code", json!(long)),
            ("user_code", json!(huge)),
            ("user_code", json!("a\u{1b}[31mb")),
            ("user_code", json!("a\u{202e}b")),
            ("user_code", json!("a\nb")),
            ("user_code", json!(7)),
            ("verification_uri", json!("javascript:alert(1)")),
            ("verification_uri", json!("file:///etc/passwd")),
            ("verification_uri", json!("http://example.com/device")),
            ("verification_uri", json!("https://user:pa$(id)ss@h/a")),
            ("verification_uri", json!("https://h$(id)/a")),
            ("verification_uri", json!("-h")),
            ("verification_uri", json!(format!("https://h/{huge}"))),
            ("verification_uri", json!(null)),
        ] {
            let error = answer(json!({ name: value })).expect_err("refused");
            assert!(error.len() < 200 && !error.contains("XXX"), "{error}");
        }
    }

    #[test]
    fn what_only_saves_typing_may_be_missing() {
        for complete in ["javascript:alert(1)", "http://h/", "-h", ""] {
            let begun = answer(json!({ "verification_uri_complete": complete }));
            assert_eq!(begun.expect("usable").complete, None);
        }
        let strange = answer(json!({ "verification_uri": "https://h/a b$(id)" }));
        let strange = strange.expect("made harmless").page;
        assert_eq!(strange.as_str(), "https://h/a%20b%24%28id%29");
    }

    #[test]
    fn the_pace_follows_the_server_and_its_outages() {
        let seconds = |pace: Pace| pace.pause().as_secs();
        let mut pace = Pace::new(Duration::from_secs(5));
        assert_eq!(seconds(pace), 5);
        pace.slow_down();
        assert_eq!(seconds(pace), 10);
        pace.pending();
        assert_eq!(seconds(pace), 10, "for good");
        pace.unanswered(None);
        pace.unanswered(None);
        assert_eq!(seconds(pace), 40);
        pace.pending();
        assert_eq!(seconds(pace), 10, "an outage ends");
        pace.unanswered(Some(Duration::from_secs(120)));
        assert_eq!(seconds(pace), 120);
        for _ in 0..100 {
            pace.slow_down();
            pace.unanswered(Some(Duration::MAX));
        }
        assert_eq!(seconds(pace), LONGEST_PAUSE.as_secs());
    }
}
