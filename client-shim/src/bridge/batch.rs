//! The messages of one line: one, or in revision 2025-03-26 an array of them; and
//! single values in one.
//!
//! Pure. Only cuts at top-level commas; what is not JSON gives arbitrary, but
//! harmless, pieces.

use mcp_remote_proto::members::Members;

/// Returns the messages of a line.
pub(super) fn messages(line: &[u8]) -> Vec<&[u8]> {
    match line.trim_ascii_start().strip_prefix(b"[") {
        Some(rest) => elements(rest),
        None => vec![line],
    }
}

/// Cuts what follows an opening bracket.
fn elements(array: &[u8]) -> Vec<&[u8]> {
    let mut elements = Vec::new();
    let mut start = 0;
    let mut depth = 0_usize;
    let (mut in_string, mut escaped) = (false, false);
    for (at, byte) in array.iter().enumerate() {
        if in_string {
            in_string = escaped || *byte != b'"';
            escaped = !escaped && *byte == b'\\';
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => depth += 1,
            b',' | b']' if depth == 0 => {
                elements.push(&array[start..at]);
                start = at + 1;
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    elements
}

/// Returns the value of the first key with this name, quotes included, if it is a
/// string or a number that can be an id. Within a string of the message the quotes
/// of the key would be escaped.
pub(super) fn value_of(key: &[u8], message: &[u8]) -> Option<Vec<u8>> {
    let mut starts = message
        .windows(key.len())
        .enumerate()
        .filter(|(_, bytes)| *bytes == key)
        .map(|(at, _)| &message[at + key.len()..]);
    // What no colon follows is a value.
    let value = starts.find(|rest| rest.trim_ascii_start().starts_with(b":"))?;
    // The same rules as for any other id.
    Members::of(&[b"{\"id\"", value].concat()).id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: &[&str]) {
        let messages: Vec<_> = messages(line.as_bytes())
            .into_iter()
            .map(|message| std::str::from_utf8(message).expect("UTF-8"))
            .collect();
        assert_eq!(messages, expected, "{line}");
    }

    #[test]
    fn a_line_is_one_message_or_an_array() {
        check(r#"{"id":1}"#, &[r#"{"id":1}"#]);
        check("not json", &["not json"]);
        check(r#" [{"id":1},{"id":2}]"#, &[r#"{"id":1}"#, r#"{"id":2}"#]);
        check("[]", &[""]);
    }

    #[test]
    fn commas_and_brackets_inside_do_not_cut() {
        check(
            r#"[{"a":[1,{"b":2}],"c":"]},\"\\"},{"d":"\\\","}]"#,
            &[r#"{"a":[1,{"b":2}],"c":"]},\"\\"}"#, r#"{"d":"\\\","}"#],
        );
        check(r#"[{"id":1},{"id":2"#, &[r#"{"id":1}"#]);
    }
}
