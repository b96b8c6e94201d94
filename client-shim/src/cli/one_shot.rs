//! The grammar of `call` and `tools`: flags of ours stand before the tool's name,
//! what stands after it is the tool's.

use std::path::PathBuf;

use super::words::{seconds, takes_value, unexpected, usage};
use super::{BridgeArguments, Invocation, Word, Words};
use crate::exit::ShimError;

/// Flags with a value that only these commands have.
pub(super) const VALUED: &[&str] = &["--output", "--save-to"];

/// A tool to call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CallArguments {
    /// At which server.
    pub(crate) server: Box<BridgeArguments>,
    /// Its name.
    pub(crate) tool: String,
    /// What was typed after it.
    pub(crate) words: Vec<String>,
    /// `--json`, as typed.
    pub(crate) json: Option<String>,
    /// `--output json`.
    pub(crate) as_json: bool,
    /// `--save-to`.
    pub(crate) save_to: Option<PathBuf>,
}

/// Which tools to show.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ToolsArguments {
    /// Of which server.
    pub(crate) server: Box<BridgeArguments>,
    /// Only this one, and its arguments.
    pub(crate) tool: Option<String>,
    /// `--json`.
    pub(crate) as_json: bool,
}

/// What these commands take besides what a bridge does.
#[derive(Debug, Default)]
pub(super) struct OneShot {
    /// Whether the command is `call`, in which `--json` has a value.
    pub(super) is_call: bool,
    /// What was typed after the tool's name.
    words: Vec<String>,
    json: Option<String>,
    output: Option<String>,
    save_to: Option<String>,
}

impl OneShot {
    /// Takes what is the tool's off the words, if the command is `call`.
    pub(super) fn split(words: &mut Vec<Word>) -> Self {
        let mut one_shot = Self::default();
        let mut positional = 0;
        let mut at = 0;
        while let Some((_, word)) = words.get(at) {
            at += 1;
            if word.starts_with('-') {
                let valued = takes_next(word) || (one_shot.is_call && word == "--json");
                at += usize::from(valued);
                continue;
            }
            positional += 1;
            match positional {
                1 if word != "call" => return one_shot,
                1 => one_shot.is_call = true,
                2 => {}
                _ => break,
            }
        }
        if positional == 3 {
            let words = words.split_off(at).into_iter();
            one_shot.words = words.map(|(_, word)| word).collect();
            one_shot.take_json();
        }
        one_shot
    }

    /// Takes `--json` from behind the tool's name, where it is typed by habit. Behind
    /// `--`, or with a value that cannot be all arguments, it is the tool's own.
    fn take_json(&mut self) {
        let all = |value: &str| value == "-" || value.starts_with(['{', '@']);
        let before = self.words.iter().position(|word| word == "--");
        let words = &self.words[..before.unwrap_or(self.words.len())];
        let inline = |word: &String| word.strip_prefix("--json=").is_some_and(all);
        if let Some(at) = words.iter().position(inline) {
            let word = self.words.remove(at);
            self.json = word.split_once('=').map(|(_, value)| value.to_owned());
            return;
        }
        let pair = |pair: &[String]| pair[0] == "--json" && all(&pair[1]);
        if let Some(at) = words.windows(2).position(pair) {
            self.words.remove(at);
            self.json = Some(self.words.remove(at));
        }
    }

    /// Takes a flag with its value; the first one wins.
    pub(super) fn valued(&mut self, name: &str, value: String) {
        let place = match name {
            "--json" => &mut self.json,
            "--output" => &mut self.output,
            _ => &mut self.save_to,
        };
        place.get_or_insert(value);
    }

    /// Returns the flags that mean nothing to other commands.
    pub(super) fn given(&self) -> impl Iterator<Item = &'static str> {
        let output = self.output.as_ref().map(|_| "--output");
        let save_to = self.save_to.as_ref().map(|_| "--save-to");
        output.into_iter().chain(save_to)
    }

    fn output_is_json(&self) -> Result<bool, ShimError> {
        match self.output.as_deref() {
            None | Some("text") => Ok(false),
            Some("json") => Ok(true),
            Some(_) => Err(usage(
                "the value of --output is not known (known: text, json)",
            )),
        }
    }
}

fn takes_next(word: &str) -> bool {
    takes_value(word) || VALUED.contains(&word)
}

impl Words {
    /// Returns for how long lists may be answered from memory.
    pub(super) fn cache_lists(&mut self) -> String {
        let text = self.cache_lists.take().unwrap_or_default();
        let known = matches!(text.as_str(), "" | "never" | "certain") || seconds(&text).is_some();
        if known {
            return text;
        }
        let sentence = "the value of --cache-lists is not known, certain is used \
             (known: never, certain, or a number of seconds)";
        self.warnings.push(sentence.to_owned());
        String::new()
    }

    /// Understands `call`.
    pub(super) fn call(&mut self) -> Result<Invocation, ShimError> {
        self.positional.remove(0);
        self.refuse_for("call")?;
        if self.positional.len() < 2 {
            return Err(usage(match self.positional.len() {
                0 => "the server is missing",
                _ => "the tool's name is missing",
            }));
        }
        let (_, tool) = self.positional.remove(1);
        let one_shot = std::mem::take(&mut self.one_shot);
        if one_shot.json.is_some() && one_shot.words.iter().any(|word| word != "--") {
            return Err(usage(
                "--json gives all arguments: nothing may stand beside it",
            ));
        }
        let as_json = one_shot.output_is_json()?;
        Ok(Invocation::Call(Box::new(CallArguments {
            server: self.bridge()?,
            tool,
            words: one_shot.words,
            json: one_shot.json,
            as_json,
            save_to: one_shot.save_to.map(PathBuf::from),
        })))
    }

    /// Understands `tools`.
    pub(super) fn tools(&mut self) -> Result<Invocation, ShimError> {
        self.positional.remove(0);
        self.refuse_for("tools")?;
        let tool = match self.positional.as_slice() {
            [] => return Err(usage("the server is missing")),
            [_] => None,
            [_, _] => self.positional.pop().map(|(_, tool)| tool),
            [_, _, (position, _), ..] => return Err(unexpected("tools", *position)),
        };
        let one_shot = std::mem::take(&mut self.one_shot);
        let as_json = std::mem::take(&mut self.json) || one_shot.output_is_json()?;
        Ok(Invocation::Tools(Box::new(ToolsArguments {
            server: self.bridge()?,
            tool,
            as_json,
        })))
    }

    fn refuse_for(&self, command: &str) -> Result<(), ShimError> {
        let all = self.all.then_some("--all");
        match self.unknown.first().map(String::as_str).or(all) {
            Some(flag) if command == "call" => Err(usage(&format!(
                "the flag {flag} means nothing to mcp-remote call (the tool's own stand after its name)"
            ))),
            Some(flag) => Err(usage(&format!(
                "the flag {flag} means nothing to mcp-remote {command}"
            ))),
            None => Ok(()),
        }
    }
}
