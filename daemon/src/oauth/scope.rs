//! Scopes: an ordered set of RFC 6749 scope tokens. Pure.
//!
//! Only well-formed tokens get in (section 3.3), so that a scope can be written
//! into a URL, a form or a page as it is.

use std::fmt;

/// Tokens kept of one scope; the rest of a longer list is left out, as it
/// would make an authorization URL that no server takes.
const MAX_TOKENS: usize = 256;

/// Longest token that is kept, in bytes.
const MAX_TOKEN: usize = 512;

/// One scope token or more, each once, in the order they came.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Scope(Vec<String>);

impl Scope {
    /// Reads a space-separated list; `None` if nothing usable is in it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::from_tokens(text.split_ascii_whitespace())
    }

    /// Collects tokens; `None` if none of them is usable.
    pub(crate) fn from_tokens<'a>(tokens: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut scope = Self(Vec::new());
        for token in tokens {
            scope.add(token);
        }
        (!scope.0.is_empty()).then_some(scope)
    }

    /// Returns this one and what only the other has, behind it.
    #[must_use]
    pub(crate) fn union(&self, other: &Self) -> Self {
        let mut union = self.clone();
        for token in other.tokens() {
            union.add(token);
        }
        union
    }

    /// Says whether a token is in it.
    pub(crate) fn contains(&self, token: &str) -> bool {
        self.0.iter().any(|ours| ours == token)
    }

    /// Returns the tokens in order.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    fn add(&mut self, token: &str) {
        if self.0.len() < MAX_TOKENS && is_token(token) && !self.contains(token) {
            self.0.push(token.to_owned());
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

fn is_token(text: &str) -> bool {
    let fits = |byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    !text.is_empty() && text.len() <= MAX_TOKEN && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_well_formed_tokens_get_in_each_once() {
        let check = |text: &str, expected: Option<&str>| {
            let scope = Scope::parse(text).map(|scope| scope.to_string());
            assert_eq!(scope.as_deref(), expected, "{text:?}");
        };
        check("read write", Some("read write"));
        check("  read\twrite  read ", Some("read write"));
        check("", None);
        check("   ", None);
        check("read \"quoted\" wr\\ite caf\u{e9}", Some("read"));
        check(
            "urn:a:b https://h/s?x=1#y",
            Some("urn:a:b https://h/s?x=1#y"),
        );
        check("\u{1b}[31m read\u{0}", None);
        check(&"x".repeat(MAX_TOKEN + 1), None);
        let many: Vec<String> = (0..1000).map(|number| format!("s{number}")).collect();
        let scope = Scope::parse(&many.join(" ")).expect("usable");
        assert_eq!(scope.tokens().count(), MAX_TOKENS);
    }

    #[test]
    fn a_union_keeps_the_order_and_repeats_nothing() {
        let scope = |text| Scope::parse(text).expect("usable");
        let union = scope("b a").union(&scope("a c"));
        assert_eq!(union.to_string(), "b a c");
        assert!(union.contains("a") && !union.contains("A"));
    }
}
