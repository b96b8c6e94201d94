//! The tools of a session that may be called twice, by their own account: those
//! whose annotations in the server's list say `readOnlyHint` or `idempotentHint`.
//!
//! Only what the newest list says counts; a tool that is not listed, or on a page
//! that was not asked for, may not.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use serde::Deserialize;
use serde_json::value::RawValue;

/// Tools remembered; further ones may not be called twice.
const MAX_TOOLS: usize = 1000;

/// Longest name remembered, in bytes.
const MAX_NAME: usize = 256;

/// The names of the tools that may be called twice.
#[derive(Debug, Clone, Default)]
pub(crate) struct ListedTools {
    names: Arc<Mutex<HashSet<Box<str>>>>,
    /// How many were on the pages of the list that is being read.
    count: Arc<AtomicU32>,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    result: Page<'a>,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    tools: Vec<Tool<'a>>,
}

#[derive(Deserialize)]
struct Tool<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    annotations: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Annotations<'a> {
    #[serde(borrow, default, rename = "readOnlyHint")]
    read_only: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "idempotentHint")]
    idempotent: Option<&'a RawValue>,
}

impl ListedTools {
    /// Reads the answer to `tools/list`; `anew`: it is the first page.
    pub(crate) fn note(&self, answer: &[u8], anew: bool) {
        let mut names = self.lock();
        if anew {
            names.clear();
        }
        let hints = |hint: &[u8]| memchr::memmem::find(answer, hint).is_some();
        if names.is_empty() && !hints(b"readOnlyHint") && !hints(b"idempotentHint") {
            return;
        }
        let Ok(Answer { result }) = serde_json::from_slice(answer) else {
            return names.clear();
        };
        for tool in result.tools {
            if !may_be_repeated(&tool) {
                names.remove(tool.name.as_ref());
            } else if names.len() < MAX_TOOLS && tool.name.len() <= MAX_NAME {
                names.insert(tool.name.into());
            }
        }
    }

    /// Counts the tools in the answer to `tools/list`, likewise; returns how many
    /// there are once all pages have been read.
    pub(crate) fn count(&self, answer: &[u8], anew: bool) -> Option<u32> {
        #[derive(Deserialize)]
        struct Answer<'a> {
            #[serde(borrow)]
            result: Counted<'a>,
        }
        #[derive(Deserialize)]
        struct Counted<'a> {
            tools: Vec<serde::de::IgnoredAny>,
            #[serde(borrow, default, rename = "nextCursor")]
            next: Option<&'a RawValue>,
        }
        let Answer { result } = serde_json::from_slice(answer).ok()?;
        let on_page = u32::try_from(result.tools.len()).ok()?;
        let before = if anew {
            0
        } else {
            self.count.load(Ordering::Relaxed)
        };
        let count = before.saturating_add(on_page);
        self.count.store(count, Ordering::Relaxed);
        result.next.is_none().then_some(count)
    }

    /// Says whether the tool may be called twice.
    pub(crate) fn may_repeat(&self, name: &str) -> bool {
        self.lock().contains(name)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<Box<str>>> {
        self.names
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

fn may_be_repeated(tool: &Tool<'_>) -> bool {
    let Some(text) = tool.annotations else {
        return false;
    };
    let is_true = |hint: Option<&RawValue>| hint.is_some_and(|hint| hint.get() == "true");
    serde_json::from_str::<Annotations<'_>>(text.get())
        .is_ok_and(|hints| is_true(hints.read_only) || is_true(hints.idempotent))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(tools: &str) -> Vec<u8> {
        format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[{tools}]}}}}"#).into()
    }

    #[test]
    fn only_a_true_hint_in_the_newest_list_counts() {
        let listed = ListedTools::default();
        let first = r#"{"name":"r\u0065ad","annotations":{"title":"t","readOnlyHint":true}},
            {"name":"put","annotations":{"idempotentHint":true,"destructiveHint":true}},
            {"name":"no","annotations":{"readOnlyHint":false}},
            {"name":"text","annotations":{"readOnlyHint":"true"}},
            {"name":"odd","annotations":null},{"name":"bare"}"#;
        listed.note(&page(first), true);
        assert!(listed.may_repeat("read") && listed.may_repeat("put"));
        for name in ["no", "text", "odd", "bare", "unknown"] {
            assert!(!listed.may_repeat(name), "{name}");
        }
        listed.note(
            &page(r#"{"name":"more","annotations":{"readOnlyHint":true}}"#),
            false,
        );
        assert!(listed.may_repeat("read") && listed.may_repeat("more"));
        listed.note(&page(r#"{"name":"more"}"#), false);
        assert!(listed.may_repeat("read") && !listed.may_repeat("more"));
        listed.note(&page(r#"{"name":"put"}"#), true);
        assert!(!listed.may_repeat("read") && !listed.may_repeat("put"));
    }

    #[test]
    fn what_is_no_list_names_none() {
        let listed = ListedTools::default();
        listed.note(
            &page(r#"{"name":"a","annotations":{"readOnlyHint":true}}"#),
            true,
        );
        listed.note(
            br#"{"id":1,"error":{"code":1,"message":"readOnlyHint"}}"#,
            true,
        );
        assert!(!listed.may_repeat("a"));
    }
}
