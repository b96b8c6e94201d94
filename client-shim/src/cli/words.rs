//! What a word of the command line looks like, and what is said of one that makes no
//! sense. A word that is not understood may be a secret: its position is said instead.

use std::time::Duration;

use super::{SWITCHES, VALUED, auth, connection};
use crate::exit::{Exit, ShimError};

/// Reads a number of seconds: digits, and a fraction behind a point.
pub(super) fn seconds(text: &str) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let whole = match whole {
        "" => 0,
        digits => digits.parse().ok()?,
    };
    // So far to nanoseconds; what is finer does not count.
    let nanos = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    Some(Duration::new(whole, nanos))
}

/// Says whether the flag has no value.
pub(super) fn is_switch(name: &str) -> bool {
    SWITCHES.contains(&name) || connection::SWITCHES.contains(&name)
}

/// Says whether a value follows the flag.
pub(super) fn takes_value(name: &str) -> bool {
    [VALUED, auth::VALUED, connection::VALUED]
        .iter()
        .any(|flags| flags.contains(&name))
}

/// Only a callback port does.
pub(super) fn starts_with_digits(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_digit())
}

/// Says whether a word is meant to be a URL.
pub(super) fn is_url(word: &str) -> bool {
    word.contains("://")
}

/// A flag's name, if it looks like one.
pub(super) fn shown(position: usize, name: &str) -> String {
    let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.starts_with("--") && name.len() <= 40 && name.bytes().all(letters) {
        name.to_owned()
    } else {
        format!("in position {position}")
    }
}

/// Complains about a word that a command does not take.
pub(super) fn unexpected(command: &str, position: usize) -> ShimError {
    usage(&format!(
        "the argument in position {position} means nothing to mcp-remote {command}"
    ))
}

/// Complains. [`super::parse`] adds where it is said how it is meant.
pub(super) fn usage(sentence: &str) -> ShimError {
    ShimError::new(Exit::USAGE, sentence)
}
