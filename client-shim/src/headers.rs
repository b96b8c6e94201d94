//! `--header` and `--header-file`: which HTTP headers the server gets.
//!
//! Values are secrets: no message of this module contains one.

use std::io::Read;
use std::path::Path;

use mcp_remote_proto::v1::Header;

use crate::environment::Environment;
use crate::exit::{Exit, ShimError};

/// Longest header file; a larger one is not a header file.
const MAX_FILE_LEN: u64 = 1024 * 1024;

/// Where a header comes from, in the order of the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// `--header 'Name: value'`.
    Argument(String),
    /// `--header-file PATH`.
    File(std::path::PathBuf),
}

/// The headers, and as `Name: value` before variables were expanded.
pub(crate) type Collected = (Vec<Header>, Vec<String>);

/// Collects the headers of every source; `warn` hears what is left out.
///
/// # Errors
/// A file that cannot be read, or a value that would break the request apart.
pub(crate) fn collect(
    sources: &[Source],
    environment: &Environment,
    mut warn: impl FnMut(String),
) -> Result<Collected, ShimError> {
    let mut headers = Vec::new();
    for source in sources {
        match source {
            Source::Argument(text) => {
                let place = "--header";
                headers.extend(header(text, place, environment, &mut warn)?);
            }
            Source::File(path) => {
                let text = read(path, "the header file")?;
                for (number, line) in text.lines().enumerate() {
                    let line = line.trim();
                    if line.is_empty() || line.starts_with('#') {
                        continue;
                    }
                    let place = format!("{}:{}", path.display(), number + 1);
                    headers.extend(header(line, &place, environment, &mut warn)?);
                }
            }
        }
    }
    Ok(headers.into_iter().unzip())
}

/// Reads a small text file that a flag names; errors call it `what`.
///
/// # Errors
/// It cannot be read, or is no such file.
pub(crate) fn read(path: &Path, what: &str) -> Result<String, ShimError> {
    let failed = |why: &dyn std::fmt::Display| {
        ShimError::general(format!("{what} {} cannot be read: {why}", path.display()))
    };
    let file = std::fs::File::open(path).map_err(|error| failed(&error))?;
    let mut text = String::new();
    file.take(MAX_FILE_LEN + 1)
        .read_to_string(&mut text)
        .map_err(|error| failed(&error))?;
    if text.len() as u64 > MAX_FILE_LEN {
        return Err(failed(&"it is larger than 1 MiB"));
    }
    Ok(text.trim_start_matches('\u{feff}').to_owned())
}

/// Reads `Name: value`; `None` if it is not that.
fn header(
    text: &str,
    place: &str,
    environment: &Environment,
    warn: &mut impl FnMut(String),
) -> Result<Option<(Header, String)>, ShimError> {
    let Some((name, value)) = split(text) else {
        warn(format!("{place} is not 'Name: value' and is ignored"));
        return Ok(None);
    };
    let raw = format!("{name}: {}", value.trim_matches([' ', '\t']));
    let value = environment.expand(value, str::to_owned, |variable| {
        warn(format!(
            "{place}: the environment variable {variable} is not set, so ${{{variable}}} is sent as it stands"
        ));
    });
    let value = value.trim_matches([' ', '\t']);
    if value.contains(['\r', '\n', '\0']) {
        return Err(ShimError::new(
            Exit::USAGE,
            format!(
                "{place}: the value of {name} contains a line break or NUL: remove it, or the variable that brings it"
            ),
        ));
    }
    let header = Header {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    Ok(Some((header, raw)))
}

fn split(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.split_once(':')?;
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-_!#$%&'*+.^`|~".contains(&byte);
    (!name.is_empty() && name.bytes().all(valid)).then_some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arguments: &[&str], expected: &[(&str, &str)], warnings: usize) {
        let environment =
            Environment::of(&[("TOKEN", "s3cret"), ("EMPTY", ""), ("CRLF", "a\r\nb")]);
        let sources: Vec<_> = arguments
            .iter()
            .map(|text| Source::Argument((*text).to_owned()))
            .collect();
        let mut warned = Vec::new();
        let (headers, raw) = collect(&sources, &environment, |warning| warned.push(warning))
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
        let headers: Vec<_> = headers
            .iter()
            .map(|header| (header.name.as_str(), header.value.as_str()))
            .collect();
        assert_eq!(headers, expected, "{arguments:?}");
        assert_eq!(raw.len(), expected.len(), "{arguments:?}");
        assert_eq!(warned.len(), warnings, "{arguments:?}: {warned:?}");
    }

    #[test]
    fn names_and_values_are_split_at_the_first_colon() {
        check(&["X-Team: a:b"], &[("X-Team", "a:b")], 0);
        check(&["X-Team:a "], &[("X-Team", "a")], 0);
        check(&["X:"], &[("X", "")], 0);
    }

    #[test]
    fn what_is_not_a_header_is_ignored_with_a_warning() {
        check(&["no colon", ": v", "a b: c", "Ä: x", ""], &[], 5);
    }

    #[test]
    fn variables_are_expanded_and_unset_ones_stay() {
        check(&["A: Bearer ${TOKEN}"], &[("A", "Bearer s3cret")], 0);
        check(&["A: ${NOPE}-${TOKEN}"], &[("A", "${NOPE}-s3cret")], 1);
        check(&["A: x${EMPTY}y$TOKEN"], &[("A", "xy$TOKEN")], 0);
        check(&["A: ${} ${TOKEN"], &[("A", "${} ${TOKEN")], 0);
    }

    #[test]
    fn raw_text_is_as_before_the_expansion() {
        let environment = Environment::of(&[("TEAM", "s3cret")]);
        let sources = [Source::Argument("X-Team:  ${TEAM} ".to_owned())];
        let (_, raw) = collect(&sources, &environment, |_| {}).expect("a header");
        assert_eq!(raw, ["X-Team: ${TEAM}"]);
    }

    #[test]
    fn a_value_that_splits_the_request_is_refused_and_not_repeated() {
        for text in ["A: s3cret\r\nB: c", "A: ${CRLF}", "A: s3cret\0"] {
            let environment = Environment::of(&[("CRLF", "s3cret\r\nb")]);
            let sources = [Source::Argument(text.to_owned())];
            let error = collect(&sources, &environment, |_| {}).expect_err("refused");
            assert_eq!(error.exit, Exit::USAGE);
            assert!(!error.sentence.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn a_missing_file_is_fatal_and_named() {
        let sources = [Source::File("/nonexistent/headers".into())];
        let error = collect(&sources, &Environment::default(), |_| {}).expect_err("fatal");
        assert_eq!(error.exit, Exit::ERROR);
        assert!(error.sentence.contains("/nonexistent/headers"));
    }
}
