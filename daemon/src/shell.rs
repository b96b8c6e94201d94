//! Words as a POSIX shell reads them, for commands that people paste.

use std::borrow::Cow;

/// Writes a word so that a shell takes it as it is: in quotes if it has to.
pub(crate) fn quoted(word: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(&byte);
    match !word.is_empty() && word.bytes().all(is_plain) {
        true => word.into(),
        false => format!("'{}'", word.replace('\'', r"'\''")).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_stays_one_word_and_means_nothing_else() {
        assert_eq!(quoted("/home/you/a-key_1.pem"), "/home/you/a-key_1.pem");
        assert_eq!(quoted("https://h:8443/mcp"), "https://h:8443/mcp");
        assert_eq!(quoted(""), "''");
        for word in [
            "a b", "$(x)", "`x`", "a;b", "a&b", "*", "~/x", "é", "#x", "\\",
        ] {
            assert_eq!(quoted(word), format!("'{word}'"));
        }
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
