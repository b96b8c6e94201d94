//! What servers give names to, that belongs to one of several members: tasks and
//! elicitations. Pure.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::jsonrpc::Envelope;

/// Names a task among what servers name.
pub(crate) fn task(id: String) -> String {
    format!("task {id}")
}

/// Names an elicitation among what servers name.
pub(crate) fn elicitation(id: String) -> String {
    format!("elicitation {id}")
}

/// Returns a text in `params`.
pub(crate) fn text(message: &Envelope, name: &str) -> Option<String> {
    let mut params: serde_json::Map<String, serde_json::Value> = message.params()?;
    match params.remove(name)? {
        serde_json::Value::String(text) => Some(text),
        _ => None,
    }
}

/// Returns the name of the task that a message belongs to (2025-11-25, Tasks >
/// Associating Task-Related Messages).
pub(crate) fn related_task(message: &Envelope) -> Option<String> {
    #[derive(Deserialize)]
    struct Params {
        #[serde(rename = "_meta")]
        meta: Meta,
    }
    #[derive(Deserialize)]
    struct Meta {
        #[serde(rename = "io.modelcontextprotocol/related-task")]
        related: Related,
    }
    #[derive(Deserialize)]
    struct Related {
        #[serde(rename = "taskId")]
        task_id: String,
    }
    let params: Params = message.params()?;
    Some(task(params.meta.related.task_id))
}

/// Says whether a request wants its answer to be a task.
pub(crate) fn asks_for_task(request: &Envelope) -> bool {
    #[derive(Deserialize)]
    struct Params {
        task: Option<serde::de::IgnoredAny>,
    }
    memchr::memmem::find(request.bytes(), b"\"task\"").is_some()
        && request
            .params::<Params>()
            .is_some_and(|params| params.task.is_some())
}

/// Returns the task that an answer says it made.
pub(crate) fn task_of(answer: &Envelope) -> Option<String> {
    #[derive(Deserialize)]
    struct Answer {
        result: Made,
    }
    #[derive(Deserialize)]
    struct Made {
        task: Task,
    }
    let answer: Answer = serde_json::from_slice(answer.bytes()).ok()?;
    Some(answer.result.task.task_id)
}

#[derive(Deserialize)]
struct Task {
    #[serde(rename = "taskId")]
    task_id: String,
}

/// Returns the elicitations that an error refers to (2025-11-25, Elicitation > URL
/// Elicitation Required Error).
pub(crate) fn elicitations(answer: &Envelope) -> Vec<String> {
    #[derive(Deserialize)]
    struct Answer {
        error: Error,
    }
    #[derive(Deserialize)]
    struct Error {
        data: Data,
    }
    #[derive(Deserialize)]
    struct Data {
        elicitations: Vec<Elicitation>,
    }
    #[derive(Deserialize)]
    struct Elicitation {
        #[serde(rename = "elicitationId")]
        id: Option<String>,
    }
    let answer: Option<Answer> = serde_json::from_slice(answer.bytes()).ok();
    let named = answer.map(|answer| answer.error.data.elicitations);
    let named = named.into_iter().flatten();
    named.filter_map(|elicitation| elicitation.id).collect()
}

/// Returns a list of tasks without those that `foreign` says; `None` if there are
/// none to leave out.
pub(crate) fn without(answer: &Envelope, foreign: impl Fn(String) -> bool) -> Option<Envelope> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        result: Listed<'a>,
    }
    #[derive(Deserialize)]
    struct Listed<'a> {
        #[serde(borrow)]
        tasks: &'a RawValue,
    }
    let text = std::str::from_utf8(answer.bytes()).ok()?;
    let tasks = serde_json::from_str::<Answer<'_>>(text).ok()?.result.tasks;
    let listed: Vec<&RawValue> = serde_json::from_str(tasks.get()).ok()?;
    let is_foreign = |listed: &&&RawValue| {
        let task: Option<Task> = serde_json::from_str(listed.get()).ok();
        task.is_some_and(|task| foreign(task.task_id))
    };
    let kept: Vec<&str> = listed
        .iter()
        .filter(|listed| !is_foreign(listed))
        .map(|listed| listed.get())
        .collect();
    if kept.len() == listed.len() {
        return None;
    }
    let start = tasks.get().as_ptr().addr() - text.as_ptr().addr();
    let place = start..start + tasks.get().len();
    let kept = format!("[{}]", kept.join(","));
    Envelope::parse(answer.spliced(&[(place, &kept)])).ok()
}
