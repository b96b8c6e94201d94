//! `WWW-Authenticate`: what a server says about why it refused (RFC 9110 section
//! 11, RFC 6750 section 3, RFC 9449 section 7.1, RFC 9728 section 5.1). Pure.
//!
//! Whatever a server sends, reading it ends and gives what could be understood:
//! at worst nothing.

use http::HeaderMap;
use url::Url;

use super::dpop::{self, Wanted};
use super::grant::Grant;
use super::scope::Scope;
use super::text::printable;

/// Bytes read of all the fields together; honest ones have a few hundred.
const MAX_LENGTH: usize = 16 * 1024;

/// What the `Bearer` and `DPoP` challenges of a response say; all empty if there is
/// none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Challenge {
    /// Where the metadata of the protected resource are said to be.
    pub(crate) resource_metadata: Option<Url>,
    /// The scopes that this request needs.
    pub(crate) scope: Option<Scope>,
    /// Why the token was refused.
    pub(crate) error: Option<ChallengeError>,
    /// The same for people, as one harmless line.
    pub(crate) description: Option<String>,
    /// Whether tokens are to be bound to a key.
    pub(crate) bound_tokens: Wanted,
}

/// Why a token was refused (RFC 6750, section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChallengeError {
    /// It is expired, revoked or malformed.
    InvalidToken,
    /// It needs more scopes.
    InsufficientScope,
    /// The proof that came with it is not taken, or needs a nonce (RFC 9449, sections
    /// 7.1 and 9).
    Proof,
    /// Something else.
    Other,
}

impl ChallengeError {
    /// Says whether another token would be refused as well.
    pub(crate) fn is_about_proof(self) -> bool {
        self == Self::Proof
    }
}

impl Challenge {
    /// Reads the fields of a response. `without_secrets` takes what we have sent out of
    /// what the server says, which is shown.
    pub(crate) fn parse(headers: &HeaderMap, without_secrets: impl Fn(&str) -> String) -> Self {
        let mut challenge = Self::default();
        let mut schemes = Schemes::default();
        let mut left = MAX_LENGTH;
        for value in headers.get_all(http::header::WWW_AUTHENTICATE) {
            let text = String::from_utf8_lossy(value.as_bytes());
            if text.len() > left {
                break;
            }
            left -= text.len();
            schemes.current = None;
            for piece in Pieces(&text) {
                match piece {
                    Piece::Scheme(scheme) => schemes.begin(scheme),
                    Piece::Parameter("algs", value) if schemes.current == Some(Scheme::Proof) => {
                        let mut known = value.split(' ');
                        schemes.proof_fits = dpop::takes_ours(&mut known);
                    }
                    Piece::Parameter(name, value) if schemes.current.is_some() => {
                        challenge.take(name, &value, &without_secrets);
                    }
                    Piece::Parameter(..) => {}
                }
            }
        }
        challenge.bound_tokens = schemes.wanted();
        challenge
    }

    /// Returns it as that of a server which has demanded that these tokens be bound:
    /// not every refusal says so again.
    #[must_use]
    pub(crate) fn of_grant(mut self, grant: Option<&Grant>) -> Self {
        let binding = grant.and_then(|grant| grant.binding.as_ref());
        if binding.is_some_and(|binding| binding.demanded) {
            self.bound_tokens = Wanted::Demanded;
        }
        self
    }

    /// Keeps a parameter; of two with one name the first.
    fn take(&mut self, name: &str, value: &str, without_secrets: impl Fn(&str) -> String) {
        match name.to_ascii_lowercase().as_str() {
            "resource_metadata" if self.resource_metadata.is_none() => {
                self.resource_metadata = Url::parse(value).ok();
            }
            "scope" if self.scope.is_none() => self.scope = Scope::parse(value),
            "error" if self.error.is_none() => {
                self.error = Some(match value {
                    "invalid_token" => ChallengeError::InvalidToken,
                    "insufficient_scope" => ChallengeError::InsufficientScope,
                    error if dpop::is_about_proof(error) => ChallengeError::Proof,
                    _ => ChallengeError::Other,
                });
            }
            "error_description" if self.description.is_none() => {
                let said = printable(&without_secrets(value));
                self.description = Some(said).filter(|text| !text.is_empty());
            }
            _ => {}
        }
    }
}

/// The schemes of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Bearer,
    Proof,
}

/// Those that were offered.
#[derive(Debug, Default)]
struct Schemes {
    current: Option<Scheme>,
    bearer: bool,
    proof: bool,
    /// By an algorithm of ours, as far as is said.
    proof_fits: bool,
}

impl Schemes {
    fn begin(&mut self, scheme: &str) {
        self.current = None;
        if scheme.eq_ignore_ascii_case("bearer") {
            self.current = Some(Scheme::Bearer);
            self.bearer = true;
        } else if scheme.eq_ignore_ascii_case(dpop::SCHEME) {
            self.current = Some(Scheme::Proof);
            self.proof = true;
            self.proof_fits = true;
        }
    }

    fn wanted(&self) -> Wanted {
        match (self.proof, self.bearer) {
            (true, false) => Wanted::Demanded,
            (true, true) if self.proof_fits => Wanted::Taken,
            _ => Wanted::Unsaid,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Scheme(&'a str),
    Parameter(&'a str, String),
}

/// What is left of a field. Commas between challenges and between parameters
/// look alike, so what follows a word decides what it is: `=` makes it a
/// parameter, anything else a scheme.
struct Pieces<'a>(&'a str);

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        loop {
            self.skip(|c| c == ',' || c == ' ' || c == '\t');
            let word = self.take_while(is_token);
            if word.is_empty() {
                // Not a word: something unreadable, to the next comma.
                self.0.chars().next()?;
                self.skip(|c| c != ',');
                continue;
            }
            let behind = self.0.trim_start_matches([' ', '\t']);
            let Some(value) = behind.strip_prefix('=') else {
                self.skip_token68();
                return Some(Piece::Scheme(word));
            };
            self.0 = value.trim_start_matches([' ', '\t']);
            if let Some(value) = self.value() {
                return Some(Piece::Parameter(word, value));
            }
        }
    }
}

impl<'a> Pieces<'a> {
    fn skip(&mut self, matching: impl Fn(char) -> bool) {
        self.0 = self.0.trim_start_matches(matching);
    }

    fn take_while(&mut self, matching: impl Fn(char) -> bool) -> &'a str {
        let rest = self.0.trim_start_matches(matching);
        let taken = &self.0[..self.0.len() - rest.len()];
        self.0 = rest;
        taken
    }

    /// Skips credentials such as those of `Negotiate YII=`, which are one word
    /// that fills the challenge.
    fn skip_token68(&mut self) {
        let word = self.0.trim_start_matches(' ');
        if word.len() == self.0.len() {
            return;
        }
        let rest = word
            .trim_start_matches(|c: char| c.is_ascii_alphanumeric() || "-._~+/".contains(c))
            .trim_start_matches('=')
            .trim_start_matches([' ', '\t']);
        if rest.is_empty() || rest.starts_with(',') {
            self.0 = rest;
        }
    }

    /// Takes a value: quoted, or up to the next comma or space, since URLs come
    /// without quotation marks as well. `None`: the quotation has no end.
    fn value(&mut self) -> Option<String> {
        let Some(quoted) = self.0.strip_prefix('"') else {
            let value = self.take_while(|c| !matches!(c, ',' | ' ' | '\t'));
            return Some(value.to_owned());
        };
        let mut value = String::new();
        let mut characters = quoted.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.0 = &quoted[at + 1..];
                    return Some(value);
                }
                '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
                other => value.push(other),
            }
        }
        self.0 = "";
        None
    }
}

fn is_token(character: char) -> bool {
    character.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(character)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn parse(fields: &[&[u8]]) -> Challenge {
        let mut headers = HeaderMap::new();
        for field in fields {
            let value = HeaderValue::from_bytes(field).expect("a field value");
            headers.append(http::header::WWW_AUTHENTICATE, value);
        }
        Challenge::parse(&headers, str::to_owned)
    }

    fn check(field: &str, metadata: Option<&str>, scope: Option<&str>) {
        let challenge = parse(&[field.as_bytes()]);
        assert_eq!(
            challenge.resource_metadata.as_ref().map(Url::as_str),
            metadata,
            "{field}"
        );
        let found = challenge.scope.map(|scope| scope.to_string());
        assert_eq!(found.as_deref(), scope, "{field}");
    }

    const HINT: &str = "https://h/.well-known/oauth-protected-resource/mcp";

    #[test]
    fn bearer_challenges_are_found_among_others() {
        let quoted = format!("resource_metadata=\"{HINT}\"");
        check(&format!("Bearer {quoted}"), Some(HINT), None);
        check(
            &format!("bearer realm=\"a, b\", {quoted}, scope=\"a b\""),
            Some(HINT),
            Some("a b"),
        );
        check(
            &format!("Basic realm=\"x\", Bearer {quoted}"),
            Some(HINT),
            None,
        );
        check(
            &format!("Negotiate YII==, Bearer {quoted}"),
            Some(HINT),
            None,
        );
        check(&format!("Negotiate, Bearer {quoted}"), Some(HINT), None);
        check(
            &format!("Bearer {quoted}, Basic scope=\"x\""),
            Some(HINT),
            None,
        );
        check(&format!("Basic {quoted}, scope=x"), None, None);
        check(
            &format!("Bearer resource_metadata={HINT}, scope=a"),
            Some(HINT),
            Some("a"),
        );
        check(
            "Bearer error=invalid_token scope=\"a\"\t, , realm=x",
            None,
            Some("a"),
        );
        check("BEARER SCOPE = \"a\\\"b c\"", None, Some("c"));
    }

    #[test]
    fn hostile_fields_give_what_can_be_understood() {
        for field in [
            "",
            ",",
            ",,,,",
            "=",
            "\"",
            "Bearer",
            "Bearer ",
            "Bearer =",
            "Bearer scope",
            "Bearer scope=",
            "Bearer scope=\"",
            "Bearer scope=\"a",
            "Bearer scope=\"a\\",
            "Bearer resource_metadata=\"not a url\"",
            "Bearer resource_metadata=\"/relative\"",
            "((((,Bearer",
            "Bearer \u{fffd}=x",
        ] {
            check(field, None, None);
        }
        check("(bad), Bearer scope=a", None, Some("a"));
        check("Bearer scope=a, scope=b", None, Some("a"));
        check(&format!("Bearer scope={}", "x".repeat(20_000)), None, None);
        let many = "Bearer scope=\"x\",".repeat(900);
        check(&many, None, Some("x"));
        let bytes: &[u8] = b"Bearer error_description=\"\xff\xfe\", scope=\"a\"";
        assert!(parse(&[bytes]).scope.is_some());
    }

    #[test]
    fn challenges_say_whether_tokens_are_to_be_bound() {
        let check = |fields: &[&[u8]], expected: Wanted| {
            assert_eq!(parse(fields).bound_tokens, expected, "{fields:?}");
        };
        check(&[b"Bearer realm=x"], Wanted::Unsaid);
        check(&[b"Basic realm=x"], Wanted::Unsaid);
        check(&[b"DPoP algs=\"ES256 PS256\""], Wanted::Demanded);
        check(&[b"dpop"], Wanted::Demanded);
        // What it is to be proved with otherwise, the server will say.
        check(&[b"DPoP algs=\"RS256\""], Wanted::Demanded);
        check(&[b"Bearer, DPoP algs=\"PS256 ES256\""], Wanted::Taken);
        check(&[b"DPoP algs=ES256", b"Bearer realm=x"], Wanted::Taken);
        check(&[b"Bearer, DPoP algs=\"RS256\""], Wanted::Unsaid);
        check(&[b"DPoP algs=\"", b"Bearer"], Wanted::Taken);
        let challenge = parse(&[b"DPoP algs=\"ES256\", error=use_dpop_nonce, scope=\"a\""]);
        assert_eq!(challenge.error, Some(ChallengeError::Proof));
        assert_eq!(challenge.scope, Scope::parse("a"));
        let challenge = parse(&[b"Bearer, DPoP error=\"invalid_token\", algs=ES256"]);
        assert_eq!(challenge.error, Some(ChallengeError::InvalidToken));
    }

    #[test]
    fn several_fields_are_one_list_and_errors_are_told_apart() {
        let challenge = parse(&[
            b"Basic realm=x",
            b"Bearer error=\"insufficient_scope\", scope=\"w\"",
            b"DPoP error=\"invalid_token\"",
        ]);
        assert_eq!(challenge.error, Some(ChallengeError::InsufficientScope));
        assert_eq!(challenge.scope, Scope::parse("w"));
        let challenge = parse(&[b"Bearer error=invalid_token, error_description=\"a<b>\\\\ \tc\""]);
        assert_eq!(challenge.error, Some(ChallengeError::InvalidToken));
        assert_eq!(challenge.description.as_deref(), Some("a<b>\\ c"));
        assert_eq!(
            parse(&[b"Bearer error=nope"]).error,
            Some(ChallengeError::Other)
        );
        assert_eq!(parse(&[]), Challenge::default());
    }
}
