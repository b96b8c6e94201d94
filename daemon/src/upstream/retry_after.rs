//! `Retry-After` (RFC 9110, section 10.2.3): seconds or a date. Pure.

use std::time::{Duration, SystemTime};

/// Returns how long the server asks to wait, counted from `now`; a date that has
/// passed asks for no wait. `None` for what is neither seconds nor a date.
pub(crate) fn read(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // Only a number too large for the type is not read: for ever.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_read_and_nonsense_is_not() {
        // Sun, 06 Nov 1994 08:49:37 GMT
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let check = |value: &str, expected: Option<u64>| {
            assert_eq!(
                read(value, now),
                expected.map(Duration::from_secs),
                "{value:?}"
            );
        };
        check("0", Some(0));
        check(" 120 ", Some(120));
        check("99999999999999999999999999", Some(u64::MAX));
        check("Sun, 06 Nov 1994 08:50:07 GMT", Some(30));
        check("Sunday, 06-Nov-94 08:50:07 GMT", Some(30));
        check("Sun Nov  6 08:50:07 1994", Some(30));
        check("Sun, 06 Nov 1994 08:00:00 GMT", Some(0));
        for nonsense in [
            "",
            "-5",
            "+5",
            "1.5",
            "soon",
            "Sun, 99 Nov 1994 08:50:07 GMT",
        ] {
            check(nonsense, None);
        }
    }
}
