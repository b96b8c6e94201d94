//! Names the top-level members of a JSON object while its bytes stream by.
//!
//! For the shim, which has to know which requests are unanswered, and for
//! messages too large to be held. Memory is bounded whatever the input; nothing
//! is validated beyond what finding the members needs, so malformed input gives
//! an arbitrary (but harmless) answer.

/// Longest `id` that is kept, in bytes of JSON text. A longer one is not found.
const MAX_ID_LEN: usize = 1024;

/// Longest `method` that is kept. A longer one counts as present and is cut.
const MAX_METHOD_LEN: usize = 128;

/// What the scan found at the top level of a JSON-RPC message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    /// The text of `id`, quotes included, if it is a string or a number.
    pub id: Option<Vec<u8>>,
    /// The text of `method` between its quotes, escapes not decoded.
    pub method: Option<Vec<u8>>,
    /// Whether `result` or `error` is present.
    pub answers: bool,
    /// Whether `error` is present.
    pub fails: bool,
}

impl Members {
    /// Scans a whole message.
    pub fn of(message: &[u8]) -> Self {
        let mut scanner = Scanner::default();
        scanner.push(message);
        scanner.finish()
    }

    /// Returns the id if the message is a request.
    pub fn request_id(&self) -> Option<&[u8]> {
        self.method.as_ref().and(self.id.as_deref())
    }

    /// Returns the id if the message is a response.
    pub fn response_id(&self) -> Option<&[u8]> {
        match self.method {
            None if self.answers => self.id.as_deref(),
            _ => None,
        }
    }
}

/// Scans a message that arrives in pieces.
#[derive(Debug, Default)]
pub struct Scanner {
    members: Members,
    place: Place,
    depth: u32,
    escaped: bool,
    text: Vec<u8>,
    member: Member,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before the opening brace.
    #[default]
    Start,
    /// Between members, where a key may begin.
    Between,
    /// Within a key.
    Key,
    /// Between a key and its value.
    Colon,
    /// Within a string value of the top level.
    String,
    /// Within a number, `true`, `false` or `null` of the top level.
    Scalar,
    /// Within a nested object or array.
    Nested,
    /// Within a string of a nested object or array.
    NestedString,
    /// After the closing brace, or in something that is not an object.
    End,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Member {
    Id,
    Method,
    #[default]
    Other,
}

impl Scanner {
    /// Takes the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        let mut rest = piece;
        while let Some((&byte, after)) = rest.split_first() {
            if matches!(self.place, Place::String | Place::NestedString | Place::Key) {
                rest = self.in_string(rest);
                continue;
            }
            rest = after;
            self.step(byte);
        }
    }

    /// Says what was found.
    pub fn finish(self) -> Members {
        self.members
    }

    fn step(&mut self, byte: u8) {
        match self.place {
            Place::Start => match byte {
                b'{' => self.place = Place::Between,
                b' ' | b'\t' | b'\r' | b'\n' => {}
                _ => self.place = Place::End,
            },
            Place::Between => match byte {
                b'"' => self.begin(Place::Key),
                b'}' => self.place = Place::End,
                _ => {}
            },
            Place::Colon => self.value(byte),
            Place::Scalar => match byte {
                b',' | b'}' | b' ' | b'\t' | b'\r' | b'\n' => {
                    self.end_scalar();
                    self.place = if byte == b'}' {
                        Place::End
                    } else {
                        Place::Between
                    };
                }
                _ => self.keep(byte),
            },
            Place::Nested => match byte {
                b'"' => self.place = Place::NestedString,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        self.place = Place::Between;
                    }
                }
                _ => {}
            },
            Place::Key | Place::String | Place::NestedString | Place::End => {}
        }
    }

    fn value(&mut self, byte: u8) {
        match byte {
            b':' | b' ' | b'\t' | b'\r' | b'\n' => {}
            b'"' => self.begin(Place::String),
            b'{' | b'[' => {
                self.depth = 1;
                self.place = Place::Nested;
            }
            _ => {
                self.begin(Place::Scalar);
                self.keep(byte);
            }
        }
    }

    /// Consumes the part of a string that is in `piece`; returns the rest.
    fn in_string<'a>(&mut self, piece: &'a [u8]) -> &'a [u8] {
        for (at, &byte) in piece.iter().enumerate() {
            if self.escaped {
                self.escaped = false;
            } else if byte == b'\\' {
                self.escaped = true;
            } else if byte == b'"' {
                self.end_string();
                return &piece[at + 1..];
            }
            if self.place != Place::NestedString {
                self.keep(byte);
            }
        }
        &[]
    }

    fn begin(&mut self, place: Place) {
        self.text.clear();
        self.place = place;
    }

    fn keep(&mut self, byte: u8) {
        if (self.place == Place::Key || self.member != Member::Other)
            && self.text.len() <= MAX_ID_LEN
        {
            self.text.push(byte);
        }
    }

    fn end_string(&mut self) {
        match self.place {
            Place::Key => {
                self.member = match self.text.as_slice() {
                    b"id" => Member::Id,
                    b"method" => Member::Method,
                    name @ (b"result" | b"error") => {
                        self.members.answers = true;
                        self.members.fails |= name == b"error";
                        Member::Other
                    }
                    _ => Member::Other,
                };
                self.place = Place::Colon;
            }
            Place::NestedString => self.place = Place::Nested,
            _ => {
                match self.member {
                    Member::Id if self.text.len() + 2 <= MAX_ID_LEN => {
                        let quoted = [b"\"", self.text.as_slice(), b"\""].concat();
                        self.members.id = Some(quoted);
                    }
                    Member::Method => {
                        self.text.truncate(MAX_METHOD_LEN);
                        self.members.method = Some(self.text.clone());
                    }
                    _ => {}
                }
                self.place = Place::Between;
            }
        }
    }

    fn end_scalar(&mut self) {
        let number = self
            .text
            .first()
            .is_some_and(|first| first.is_ascii_digit() || *first == b'-');
        if self.member == Member::Id && number && self.text.len() <= MAX_ID_LEN {
            self.members.id = Some(self.text.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(message: &str, id: Option<&str>, method: Option<&str>, answers: bool) {
        let expected = Members {
            id: id.map(|id| id.as_bytes().to_vec()),
            method: method.map(|method| method.as_bytes().to_vec()),
            answers,
            fails: message.starts_with(r#"{"error""#),
        };
        assert_eq!(Members::of(message.as_bytes()), expected, "{message}");
        let mut scanner = Scanner::default();
        for byte in message.bytes() {
            scanner.push(&[byte]);
        }
        assert_eq!(scanner.finish(), expected, "byte by byte: {message}");
    }

    #[test]
    fn top_level_members_are_found_wherever_they_stand() {
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#,
            Some("1"),
            Some("tools/call"),
            false,
        );
        check(
            r#" { "method" : "x" , "id" : "a\"b" } "#,
            Some(r#""a\"b""#),
            Some("x"),
            false,
        );
        check(
            r#"{"result":{"id":5,"a":[{"id":"no"}]},"id":-9007199254740993}"#,
            Some("-9007199254740993"),
            None,
            true,
        );
        check(r#"{"error":{"code":1},"id":null}"#, None, None, true);
        check(
            r#"{"params":{"method":"no","s":"}]{["},"method":"m"}"#,
            None,
            Some("m"),
            false,
        );
        check(r#"{"id":"1"}"#, Some(r#""1""#), None, false);
        check(r#"{"x":true,"id":7}"#, Some("7"), None, false);
    }

    #[test]
    fn what_is_not_an_object_has_no_members() {
        for message in ["", "[]", "[{\"id\":1}]", "\"id\"", "12", "}{\"id\":1}"] {
            check(message, None, None, false);
        }
    }

    #[test]
    fn an_id_without_end_is_not_kept() {
        let mut scanner = Scanner::default();
        scanner.push(b"{\"id\":\"");
        for _ in 0..1024 {
            scanner.push(&[b'x'; 1024]);
        }
        assert!(scanner.text.capacity() <= 4 * MAX_ID_LEN);
        assert_eq!(scanner.finish().id, None);
    }
}
