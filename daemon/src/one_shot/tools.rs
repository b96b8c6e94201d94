//! The list of a server's tools, page by page.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Exit, Finished, Peer, Said, describe};

/// Pages read at most: a server that goes on for ever is not waited for.
const MAX_PAGES: usize = 1000;

/// What the first page is asked for with.
const FIRST_PAGE: &str = "{}";

/// Names that a sentence says at most.
const MAX_NAMES: usize = 20;

/// One tool, as the server sent it.
#[derive(Debug, Clone)]
pub(super) struct Tool {
    pub(super) name: String,
    pub(super) text: Box<RawValue>,
}

#[derive(Deserialize)]
struct Page {
    tools: Vec<Box<RawValue>>,
    #[serde(default, rename = "nextCursor")]
    next: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

impl Tool {
    fn read(text: Box<RawValue>) -> Option<Self> {
        let Named { name } = serde_json::from_str(text.get()).ok()?;
        Some(Self { name, text })
    }

    /// Returns what it says of itself, decoded.
    pub(super) fn value(&self) -> Value {
        serde_json::from_str(self.text.get()).unwrap_or_default()
    }

    /// Returns the schema of its arguments.
    pub(super) fn schema(&self) -> Value {
        self.value()["inputSchema"].take()
    }
}

impl Peer {
    /// Shows the tools, or one.
    pub(super) async fn tools(
        &mut self,
        name: Option<String>,
        as_json: bool,
    ) -> Result<Finished, Finished> {
        let Some(name) = name else {
            let tools = self.list(None).await?;
            if as_json {
                let all: Vec<&str> = tools.iter().map(|tool| tool.text.get()).collect();
                let json = format!(r#"{{"tools":[{}]}}"#, all.join(","));
                self.show(Said::Json(json.into())).await;
                return Ok(Finished::done());
            }
            if tools.is_empty() {
                let sentence = format!("{} has no tools", self.server);
                return Ok(Finished::new(Exit::Done, sentence));
            }
            for tool in tools {
                let about = describe::short(&tool.value());
                self.show(Said::Tool(tool.name, about)).await;
            }
            return Ok(Finished::done());
        };
        let tool = self.tool(&name).await?;
        let said = match as_json {
            true => Said::Json(Bytes::copy_from_slice(tool.text.get().as_bytes())),
            false => Said::Text(describe::whole(&tool.value())),
        };
        self.show(said).await;
        Ok(Finished::done())
    }

    /// Finds one tool.
    pub(super) async fn tool(&mut self, name: &str) -> Result<Tool, Finished> {
        let mut tools = self.list(Some(name)).await?;
        if let Some(last) = tools.pop_if(|last| last.name == name) {
            return Ok(last);
        }
        let known = names(tools.iter().map(|tool| tool.name.as_str()));
        let server = &self.server;
        let sentence = match known.is_empty() {
            true => format!("{server} has no tools"),
            false => format!("{server} has no tool {name:?}; it has {known}"),
        };
        Err(Finished::new(Exit::Usage, sentence))
    }

    /// Reads the list, to this tool if it is wanted alone.
    async fn list(&mut self, wanted: Option<&str>) -> Result<Vec<Tool>, Finished> {
        let mut tools = Vec::new();
        let mut params = FIRST_PAGE.to_owned();
        let mut again = false;
        for _ in 0..MAX_PAGES {
            let answer = self.ask("tools/list", &params).await?;
            if answer.is_error() && params != FIRST_PAGE && !again {
                // The page that led to this one may have been of an older list.
                again = true;
                tools.clear();
                FIRST_PAGE.clone_into(&mut params);
                continue;
            }
            let result = self.result(&answer)?;
            let Ok(page) = serde_json::from_str::<Page>(result.get()) else {
                let sentence = format!("{} gave a list without tools", self.server);
                return Err(Finished::new(Exit::Failed, sentence));
            };
            for tool in page.tools.into_iter().filter_map(Tool::read) {
                let found = wanted == Some(tool.name.as_str());
                tools.push(tool);
                if found {
                    return Ok(tools);
                }
            }
            let Some(next) = page.next.filter(|next| next.get() != "null") else {
                return Ok(tools);
            };
            let next = format!(r#"{{"cursor":{}}}"#, next.get());
            if next == params {
                break;
            }
            params = next;
        }
        let sentence = format!("the list of the tools of {} has no end", self.server);
        Err(Finished::new(Exit::Failed, sentence))
    }
}

/// Writes names for a sentence.
pub(super) fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let all: Vec<&str> = names.collect();
    let shown = all[..all.len().min(MAX_NAMES)].join(", ");
    match all.len().checked_sub(MAX_NAMES) {
        Some(more) if more > 0 => format!("{shown} and {more} more"),
        _ => shown,
    }
}
