//! Tools that the user has hidden (`--ignore-tool`): they are not listed, and
//! calls of them are answered here, in the npm package's words. Pure.
//!
//! What stays of a list stays byte for byte.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::jsonrpc::{self, Envelope};

/// JSON-RPC's "internal error", which the npm package answers with.
const NOT_AVAILABLE: i64 = -32603;

/// JSON-RPC's "invalid params".
const INVALID_PARAMS: i64 = -32602;

/// Which tools a client does not see.
#[derive(Debug, Clone, Default)]
pub(crate) struct ToolFilter(Option<Arc<[Pattern]>>);

/// A name in lower case, split where anything may stand.
#[derive(Debug)]
struct Pattern(Vec<String>);

impl Pattern {
    fn matches(&self, name: &str) -> bool {
        let (first, rest) = match self.0.as_slice() {
            [] => return false,
            [whole] => return name == whole,
            [first, rest @ ..] => (first, rest),
        };
        let Some(mut name) = name.strip_prefix(first.as_str()) else {
            return false;
        };
        let Some((last, between)) = rest.split_last() else {
            return true;
        };
        for part in between {
            match name.find(part.as_str()) {
                Some(at) => name = &name[at + part.len()..],
                None => return false,
            }
        }
        name.ends_with(last.as_str())
    }
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    result: Page<'a>,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    tools: Vec<&'a RawValue>,
}

/// A tool, or a call of one.
#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

impl ToolFilter {
    /// Hides what one of these patterns matches; `*` stands for anything, case
    /// does not count.
    pub(crate) fn new(patterns: &[String]) -> Self {
        let pattern = |pattern: &String| {
            let parts = pattern.to_lowercase();
            Pattern(parts.split('*').map(str::to_owned).collect())
        };
        Self((!patterns.is_empty()).then(|| patterns.iter().map(pattern).collect()))
    }

    /// Answers a call of a hidden tool; `None`: it is none.
    pub(crate) fn refusal(&self, request: &Envelope) -> Option<Bytes> {
        let patterns = self.0.as_ref()?;
        if request.method() != Some("tools/call") {
            return None;
        }
        let id = request.id();
        // A call that is read in two ways must not slip through.
        let Some(Named { name }) = request.params::<Named<'_>>() else {
            let sentence = "mcp-remote: tools/call has no readable name";
            let error = jsonrpc::error_response(id.as_ref(), INVALID_PARAMS, sentence, None);
            return Some(error);
        };
        hides(patterns, &name).then(|| {
            let sentence = format!("Tool \"{name}\" is not available");
            jsonrpc::error_response(id.as_ref(), NOT_AVAILABLE, &sentence, None)
        })
    }

    /// Returns the answer to `tools/list` without what is hidden.
    pub(crate) fn listed(&self, answer: Bytes) -> Bytes {
        match &self.0 {
            Some(patterns) => without(patterns, &answer).unwrap_or(answer),
            None => answer,
        }
    }
}

fn hides(patterns: &[Pattern], name: &str) -> bool {
    let name = name.to_lowercase();
    patterns.iter().any(|pattern| pattern.matches(&name))
}

/// Returns the answer without the tools that are hidden; `None`: there are none.
fn without(patterns: &[Pattern], answer: &Bytes) -> Option<Bytes> {
    let Answer { result } = serde_json::from_slice(answer).ok()?;
    let is_hidden = |tool: &RawValue| {
        serde_json::from_str::<Named<'_>>(tool.get()).is_ok_and(|tool| hides(patterns, &tool.name))
    };
    let tools = result.tools.iter().copied();
    let stay = tools.filter(|tool| !is_hidden(tool)).map(RawValue::get);
    let stay: Vec<&str> = stay.collect();
    if stay.len() == result.tools.len() {
        return None;
    }
    let place = |tool: &RawValue| tool.get().as_ptr().addr() - answer.as_ptr().addr();
    let (first, last) = (result.tools.first()?, result.tools.last()?);
    let end = place(last) + last.get().len();
    let stay = stay.join(",");
    let parts = [&answer[..place(first)], stay.as_bytes(), &answer[end..]];
    Some(parts.concat().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(patterns: &[&str]) -> ToolFilter {
        let patterns: Vec<String> = patterns.iter().map(|text| (*text).to_owned()).collect();
        ToolFilter::new(&patterns)
    }

    fn call(params: &str) -> Envelope {
        let text =
            format!(r#"{{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{params}}}"#);
        Envelope::parse(text.into()).expect("valid")
    }

    #[test]
    fn patterns_match_as_a_whole_and_in_any_case() {
        for (pattern, name, hidden) in [
            ("delete", "delete", true),
            ("delete", "deleteAll", false),
            ("DELETE*", "deleteAll", true),
            ("delete*", "Delete", true),
            ("delete*", "undelete", false),
            ("*delete*", "x_DELETE_y", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "a1b2c3", false),
            ("a*a", "a", false),
            ("ab*ba", "aba", false),
            ("*", "anything", true),
            ("**", "", true),
            ("", "", true),
            ("", "a", false),
            ("a.c", "abc", false),
            ("[a]", "a", false),
            ("ä*", "Äpfel", true),
        ] {
            let request = call(&serde_json::json!({ "name": name }).to_string());
            let refused = filter(&[pattern]).refusal(&request).is_some();
            assert_eq!(refused, hidden, "{pattern:?} {name:?}");
        }
    }

    #[test]
    fn a_hidden_tool_is_refused_in_the_npm_packages_words() {
        let refusal = filter(&["no", "d*"]).refusal(&call(r#"{"name":"d\u0065l\"x"}"#));
        assert_eq!(
            refusal.expect("it is hidden"),
            r#"{"jsonrpc":"2.0","id":"a","error":{"code":-32603,"message":"Tool \"del\"x\" is not available"}}"#
                .replace(r#"del"x\"#, r#"del\"x\"#)
        );
        assert!(
            ToolFilter::default()
                .refusal(&call(r#"{"name":"d"}"#))
                .is_none()
        );
        assert!(filter(&["d"]).refusal(&call(r#"{"name":"e"}"#)).is_none());
        let list =
            Envelope::parse(r#"{"id":1,"method":"tools/list","params":{"name":"d"}}"#.into());
        assert!(filter(&["d"]).refusal(&list.expect("valid")).is_none());
    }

    #[test]
    fn a_call_that_can_be_read_in_two_ways_is_refused() {
        for params in [r#"{"name":"a","name":"d"}"#, r#"{"name":1}"#, "{}"] {
            let refusal = filter(&["d"]).refusal(&call(params)).expect(params);
            assert!(refusal.windows(6).any(|text| text == b"-32602"), "{params}");
        }
    }

    #[test]
    fn what_stays_of_a_list_stays_as_it_is() {
        let list = |tools: &str| {
            Bytes::from(format!(
                r#"{{ "result" : {{"x":1e2,"tools" : [{tools}],"nextCursor":"c"}},"id":1}}"#
            ))
        };
        let (keep, more) = (
            r#"{"n":9007199254740993, "name":"k\u0065ep"}"#,
            r#"{"name" : "more"}"#,
        );
        let hide = r#"{"name":"hide","inputSchema":{"tools":[]}}"#;
        let of = |tools: &[&str]| list(&tools.join(" , "));
        let filter = filter(&["HIDE"]);
        assert_eq!(filter.listed(of(&[keep, more])), of(&[keep, more]));
        assert_eq!(filter.listed(of(&[hide, keep])), of(&[keep]));
        assert_eq!(filter.listed(of(&[keep, hide])), of(&[keep]));
        assert_eq!(filter.listed(of(&[hide, hide])), of(&[]));
        assert_eq!(
            filter.listed(of(&[keep, hide, more])),
            list(&[keep, more].join(","))
        );
        for other in [
            r#"{"id":1,"error":{"tools":["hide"]}}"#,
            r#"{"id":1,"result":{"tools":1}}"#,
        ] {
            assert_eq!(filter.listed(other.into()), other);
        }
    }
}
