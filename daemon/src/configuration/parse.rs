//! From the text of a configuration file to a [`Document`], and where in the text
//! something stands. No sentence repeats a value, which may be a secret.

use std::ops::Range;

use toml_edit::{Item, Table};

use super::document::{Document, OF_ONE_SERVER};

/// A text that has been understood.
pub(super) struct Parsed {
    /// What it says.
    pub(super) document: Document,
    tree: toml_edit::Document<String>,
}

/// What is wrong with a configuration, and in which line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    /// From 1; none: nowhere in particular.
    pub(super) line: Option<usize>,
    /// What; completes "FILE:LINE: …".
    pub(super) what: String,
}

/// Understands a text.
///
/// # Errors
/// What is wrong first.
pub(super) fn parse(text: &str) -> Result<Parsed, Wrong> {
    let wrong = |message: &str, span: Option<Range<usize>>| Wrong {
        what: match span.clone().and_then(|span| text.get(span)) {
            Some(key) if message == "duplicate key" => format!("{key} is written twice"),
            _ => plain(message),
        },
        line: span.map(|span| line(text, span.start)),
    };
    let tree = toml_edit::Document::parse(text.to_owned())
        .map_err(|error| wrong(error.message(), error.span()))?;
    let document = toml_edit::de::from_document(tree.clone())
        .map_err(|error| wrong(error.message(), error.span()))?;
    let parsed = Parsed { document, tree };
    for key in OF_ONE_SERVER {
        if parsed.find(&["defaults", key]).is_some() {
            return Err(parsed.wrong(
                &["defaults", key],
                format!("{key} cannot stand in [defaults]: it belongs to one server"),
            ));
        }
    }
    for (key, wrong) in parsed.document.daemon.wrong() {
        if let Some(what) = wrong {
            return Err(parsed.wrong(&["daemon", key], format!("{key} has to be {what}")));
        }
    }
    Ok(parsed)
}

impl Parsed {
    /// Says what is wrong with the value at `path`, or with the table that would
    /// hold it.
    pub(super) fn wrong(&self, path: &[&str], what: impl Into<String>) -> Wrong {
        let known = (1..=path.len()).rev().find_map(|length| {
            let place = self.find(path.get(..length)?)?;
            Some(line(self.tree.raw(), place.start))
        });
        Wrong {
            line: known,
            what: what.into(),
        }
    }

    /// Finds where a key is written.
    fn find(&self, path: &[&str]) -> Option<Range<usize>> {
        let (last, tables) = path.split_last()?;
        let mut table: &Table = self.tree.as_table();
        for name in tables {
            match table.get(name)? {
                Item::Table(inner) => table = inner,
                Item::Value(value) => {
                    // `servers = { a = { … } }` is on one line or nearly so.
                    return value.as_inline_table()?.span();
                }
                _ => return None,
            }
        }
        let (key, item) = table.get_key_value(last)?;
        key.span().or_else(|| item.span())
    }
}

/// The line of a byte, from 1.
fn line(text: &str, at: usize) -> usize {
    let before = text.as_bytes().get(..at).unwrap_or(text.as_bytes());
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

/// Puts the parser's words without the values that it repeats.
fn plain(message: &str) -> String {
    let first = message.lines().next().unwrap_or_default();
    if let Some((key, expected)) = quoted(first, "unknown field ") {
        return match nearest(key, expected) {
            Some(near) => format!("unknown key {key:?} (did you mean {near:?}?)"),
            None => format!("unknown key {key:?}"),
        };
    }
    let value_follows = ["invalid type: ", "invalid value: ", "unknown variant "];
    if value_follows.iter().any(|start| first.starts_with(start)) {
        let expected = first.split_once(", expected ").map(|(_, rest)| rest);
        let expected = expected.unwrap_or("something else").replace('`', "\"");
        let expected = match expected.as_str() {
            "u16" => "a number up to 65535",
            "usize" => "a number",
            "a map" => "a table",
            other => other,
        };
        return format!("the value is not what is expected: {expected}");
    }
    first.replace('`', "'")
}

/// Splits "unknown field `name`, expected …" into the name and the rest.
fn quoted<'a>(message: &'a str, start: &str) -> Option<(&'a str, &'a str)> {
    message
        .strip_prefix(start)?
        .strip_prefix('`')?
        .split_once('`')
}

/// Returns the key that was probably meant, of those in backticks.
fn nearest<'a>(typed: &str, expected: &'a str) -> Option<&'a str> {
    let known = expected.split('`').skip(1).step_by(2);
    let near = known.map(|known| (distance(typed, known), known)).min()?;
    (near.0 <= 2).then_some(near.1)
}

/// The Levenshtein distance.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.bytes().enumerate() {
            let changed = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn what_is_wrong_is_said_with_its_line_and_without_values() {
        for (text, line, what) in [
            (
                "[servers.a]\nurl = \"x\"\n[servers.a]\n",
                3,
                "a is written twice",
            ),
            ("[servers.a]\nurl = 1\nurl = 2\n", 3, "url is written twice"),
            (
                "[servers.a]\nulr = \"s3cret\"\n",
                2,
                "unknown key \"ulr\" (did you mean \"url\"?)",
            ),
            ("[sevrers.a]\n", 1, "did you mean \"servers\"?"),
            ("\n[servers.a]\ns3cr3t = 1\n", 3, "unknown key \"s3cr3t\""),
            ("[servers.a]\nwarm = \"s3cret\"\n", 2, "expected: a boolean"),
            ("[servers.a]\ntransport = \"s3cret\"\n", 2, "\"http-first\""),
            (
                "[servers.a]\nheaders = { A = \"s3cret\", B = 5 }\n",
                2,
                "a string or a list of strings",
            ),
            (
                "[servers.a]\ncallback_port = 70000\n",
                2,
                "a number up to 65535",
            ),
            (
                "[servers.a]\nrequest_timeout = -1\n",
                2,
                "a number of seconds",
            ),
            (
                "[servers.a]\ncache_lists = \"s3cret\"\n",
                2,
                "\"never\" or \"certain\" or a number of seconds",
            ),
            ("servers = \"s3cret\"\n", 1, "a table"),
            (
                "[daemon]\nlog_level = \"info\"\nidle_exit = 0\n",
                3,
                "idle_exit has to be \"never\" or at least 1",
            ),
            (
                "[daemon]\nmax_message = 10\n",
                2,
                "max_message has to be at least 1000",
            ),
            (
                "[servers.a]\nurl = s3cret\n",
                2,
                "string values must be quoted",
            ),
            ("[servers.a\n", 1, "unclosed table"),
            (
                "# \n[defaults]\nheaders = { A = \"s3cret\" }\n",
                3,
                "headers cannot stand in [defaults]",
            ),
        ] {
            let Err(wrong) = parse(text) else {
                panic!("{text:?} was understood");
            };
            assert_eq!(wrong.line, Some(line), "{text:?}: {wrong:?}");
            assert!(wrong.what.contains(what), "{text:?}: {wrong:?}");
            assert!(!wrong.what.contains("s3cret"), "{wrong:?}");
            assert!(!wrong.what.contains('\n'), "{wrong:?}");
        }
    }

    #[test]
    fn a_keyring_is_for_builds_that_have_one() {
        let parsed = parse("[daemon]\n\ntoken_store = \"keyring\"\n");
        assert_eq!(parsed.is_ok(), cfg!(feature = "keyring"));
        if let Err(wrong) = parsed {
            assert_eq!(wrong.line, Some(3));
            assert!(wrong.what.contains("without a keyring"), "{wrong:?}");
        }
    }

    #[test]
    fn every_place_has_a_line() {
        let text = "# a comment\n[servers.a]\nurl = \"u\"\n\n[servers.a.headers]\nX = \"1\"\n";
        let parsed = parse(text).unwrap_or_else(|wrong| panic!("{wrong:?}"));
        for (path, line) in [
            (&["servers", "a"][..], 2),
            (&["servers", "a", "url"], 3),
            (&["servers", "a", "headers"], 5),
            (&["servers", "a", "headers", "X"], 6),
            (&["servers", "a", "proxy"], 2),
        ] {
            assert_eq!(parsed.wrong(path, "").line, Some(line), "{path:?}");
        }
    }
}
