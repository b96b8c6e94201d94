//! Foreign text for people: one harmless, short line. Pure.

use crate::secret::Secret;

/// Longest foreign text that is shown, in characters.
const MAX_SHOWN: usize = 200;

/// Returns foreign text as one short line that does nothing to a terminal.
pub(crate) fn printable(text: &str) -> String {
    // Writing directions can make a line read as something that it is not.
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let harmless = |c: char| if c.is_control() || turns(c) { ' ' } else { c };
    let line: String = text.trim().chars().take(MAX_SHOWN).map(harmless).collect();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns foreign text as [`printable`] does, and without these secrets, which
/// the other side may have put into it.
pub(crate) fn printable_without<'a>(
    text: &str,
    secrets: impl IntoIterator<Item = &'a Secret<String>>,
) -> String {
    let mut text = text.to_owned();
    for secret in secrets {
        if !secret.reveal().is_empty() {
            text = text.replace(secret.reveal().as_str(), "[redacted]");
        }
    }
    printable(&text)
}

/// Returns `": text"` for an explanation, nothing for none.
pub(super) fn after_colon(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!(": {text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_becomes_one_harmless_line() {
        let check = |text: &str, expected: &str| assert_eq!(printable(text), expected);
        check(" a\u{1b}[31m\r\nb\u{7}\u{9b}c\u{202e}d ", "a [31m b c d");
        check("<b>&amp;</b>", "<b>&amp;</b>");
        assert_eq!(printable(&"x".repeat(1000)).len(), MAX_SHOWN);
    }

    #[test]
    fn secrets_that_come_back_are_not_shown() {
        let secret = Secret::new("s3cret-code".to_owned());
        let empty = Secret::new(String::new());
        assert_eq!(
            printable_without("bad code s3cret-code!", [&secret, &empty]),
            "bad code [redacted]!"
        );
    }
}
