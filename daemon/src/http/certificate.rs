//! What a certificate says of who signed it and how long it counts: for people.
//! Whether it may be trusted is decided elsewhere.
//!
//! Reads as much DER (X.690) as stands before the end of the validity (RFC 5280,
//! section 4.1); whatever the bytes are, reading them ends.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What stands in a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// Who signed it: its common name, else its organisation. Foreign text.
    pub(crate) issuer: String,
    /// When it ends.
    pub(crate) not_after: SystemTime,
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0]`, which holds the version; it may be absent.
const VERSION: u8 = 0xa0;
/// `id-at-commonName` and `id-at-organizationName` (RFC 5280, appendix A.1).
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ORGANISATION: &[u8] = &[0x55, 0x04, 0x0a];

impl Certificate {
    /// Reads one; `None` if it is none.
    pub(crate) fn read(der: &[u8]) -> Option<Self> {
        let mut whole = Der(der);
        let mut certificate = Der(whole.tagged(SEQUENCE)?);
        let mut body = Der(certificate.tagged(SEQUENCE)?);
        let (tag, _) = body.next()?;
        if tag == VERSION {
            body.next()?;
        }
        // Past the serial number, which has been taken.
        body.tagged(SEQUENCE)?;
        let issuer = body.tagged(SEQUENCE)?;
        let mut validity = Der(body.tagged(SEQUENCE)?);
        validity.next()?;
        let (tag, not_after) = validity.next()?;
        Some(Self {
            issuer: named(issuer, COMMON_NAME).or_else(|| named(issuer, ORGANISATION))?,
            not_after: time(tag, not_after)?,
        })
    }
}

/// Elements that follow each other.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// Takes the next element: its tag and content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, rest) = self.0.split_first()?;
        let (first, mut rest) = rest.split_first()?;
        let mut length = usize::from(*first);
        if length >= 0x80 {
            let bytes = length - 0x80;
            // More would be longer than anything that a handshake carries.
            if bytes == 0 || bytes > 3 {
                return None;
            }
            let (digits, behind) = rest.split_at_checked(bytes)?;
            length = digits
                .iter()
                .fold(0, |length, digit| length << 8 | usize::from(*digit));
            rest = behind;
        }
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, content))
    }

    /// Takes the next element if it has this tag.
    fn tagged(&mut self, wanted: u8) -> Option<&'a [u8]> {
        let (tag, content) = self.next()?;
        (tag == wanted).then_some(content)
    }
}

/// Returns the part of a name that is of this kind.
fn named(name: &[u8], kind: &[u8]) -> Option<String> {
    let mut sets = Der(name);
    while let Some(set) = sets.tagged(SET) {
        let mut pairs = Der(set);
        while let Some(pair) = pairs.tagged(SEQUENCE) {
            let mut pair = Der(pair);
            if pair.tagged(OBJECT)? == kind {
                let (_, text) = pair.next()?;
                return Some(String::from_utf8_lossy(text).into_owned());
            }
        }
    }
    None
}

/// Reads `YYMMDDhhmmssZ` or, with four digits of the year, the other kind.
fn time(tag: u8, text: &[u8]) -> Option<SystemTime> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: i64 = year.parse().ok()?;
            // RFC 5280, section 4.1.2.5.1.
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let two = |at: usize| rest.get(at..at + 2)?.parse::<i64>().ok();
    let (month, day) = (two(0)?, two(2)?);
    let (hour, minute, second) = (two(4)?, two(6)?, two(8)?);
    if !(1..=12).contains(&month) || rest.len() != 10 {
        return None;
    }
    let seconds = ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    let seconds = u64::try_from(seconds).unwrap_or_default();
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Days since 1970-01-01 (Gregorian): years begin in March, so that the leap day is
/// their last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = match month {
        1 | 2 => (year - 1, month + 9),
        month => (year, month - 3),
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    use super::*;

    fn authority() -> CertificateDer<'static> {
        let pem = include_bytes!("../session/connections/ca.pem");
        CertificateDer::from_pem_slice(pem).expect("it is a certificate")
    }

    #[test]
    fn a_certificate_says_who_signed_it_and_when_it_ends() {
        let read = Certificate::read(&authority()).expect("it is one");
        assert!(!read.issuer.is_empty());
        assert!(read.not_after > UNIX_EPOCH);
    }

    #[test]
    fn whatever_the_bytes_are_reading_them_ends() {
        let whole = authority();
        for end in 0..whole.len() {
            let _nothing = Certificate::read(&whole[..end]);
        }
        for at in 0..whole.len().min(200) {
            for byte in [0, 0x7f, 0x80, 0x84, 0xff] {
                let mut damaged = whole.to_vec();
                damaged[at] = byte;
                let _anything = Certificate::read(&damaged);
            }
        }
    }

    #[test]
    fn times_are_read_as_they_are_written() {
        let check = |tag, text: &str, expected: Option<u64>| {
            let read = time(tag, text.as_bytes());
            let expected = expected.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(read, expected, "{text}");
        };
        check(UTC_TIME, "700101000000Z", Some(0));
        check(UTC_TIME, "000229000000Z", Some(951_782_400));
        check(UTC_TIME, "491231235959Z", Some(2_524_607_999));
        check(GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000));
        check(GENERALIZED_TIME, "20261123080000Z", Some(1_795_420_800));
        check(UTC_TIME, "261323080000Z", None);
        check(UTC_TIME, "2611230800Z", None);
        check(UTC_TIME, "26112308000é", None);
        check(SET, "700101000000Z", None);
    }
}
