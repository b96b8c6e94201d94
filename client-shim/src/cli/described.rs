//! Parses the commands that have no flags of a bridge, by the table alone. Unlike
//! with a bridge, what is not understood is an error: nobody's configuration
//! depends on it.

use std::ffi::OsString;

use crate::exit::ShimError;
use crate::notices::Volume;

use super::table::{self, Command, Values};
use super::{
    Invocation, Parsed, adopt, completions, logs, man, servers, service, shown, status, unexpected,
    usage,
};

/// Who makes something of what was given.
type Reader = fn(Given) -> Result<Invocation, ShimError>;

/// The commands that are parsed here.
const READERS: &[(&str, Reader)] = &[
    ("status", status::read),
    ("logs", logs::read),
    ("completions", completions::read),
    ("man", man::read),
    ("service", service::read),
    ("remove", servers::remove),
    ("list", servers::list),
    ("reload", servers::reload),
    ("adopt", adopt::read),
];

/// Their names, for comparing them with the table.
#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    READERS.iter().map(|(name, _)| *name)
}

/// What stands on the command line of a command.
#[derive(Debug)]
pub(super) struct Given {
    flags: Vec<(&'static str, String)>,
    /// The words that are no flags.
    pub(super) arguments: Vec<String>,
}

impl Given {
    /// Says whether a flag is there, by its first name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// Returns the value of a flag, by its first name; the first one wins.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let mut flags = self.flags.iter();
        flags
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Understands the command line if it is one of those commands, or asks for the
/// help of any.
pub(super) fn parse(arguments: &[OsString]) -> Option<Parsed> {
    let words: Option<Vec<&str>> = arguments.iter().map(|word| word.to_str()).collect();
    let words = words?;
    let at = words.iter().position(|word| !word.starts_with('-'))?;
    // Before the command stands nothing that could have it as its value.
    if !words[..at].iter().all(|word| super::is_switch(word)) {
        return None;
    }
    // What stands behind a tool's name is the tool's, `--help` too.
    let command = table::find(words[at]).filter(|command| command.name != "call")?;
    let has = |name: &str| words.contains(&name);
    let reader = READERS.iter().find(|(name, _)| *name == command.name);
    let invocation = match reader {
        _ if has("--help") || has("-h") => Ok(Invocation::HelpOn(command)),
        _ if has("--version") => Ok(Invocation::Version),
        Some((_, reader)) => read(command, at, &words).and_then(reader),
        None => return None,
    };
    Some(Parsed {
        volume: Volume {
            silent: has("--silent"),
            debug: has("--debug") || has("--verbose"),
        },
        warnings: Vec::new(),
        invocation,
    })
}

fn read(command: &'static Command, at: usize, words: &[&str]) -> Result<Given, ShimError> {
    let mut given = Given {
        flags: Vec::new(),
        arguments: Vec::new(),
    };
    let mut rest = (1..).zip(words.iter().copied());
    while let Some((position, word)) = rest.next() {
        if position == at + 1 {
            continue;
        }
        if !word.starts_with('-') {
            let Some(argument) = command.arguments.get(given.arguments.len()) else {
                return Err(unexpected(command.name, position));
            };
            check(argument.name, argument.values, word)?;
            given.arguments.push(word.to_owned());
            continue;
        }
        let (name, inline) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        let Some(flag) = command.flag(name) else {
            return Err(usage(&format!(
                "the flag {} means nothing to mcp-remote {}",
                shown(position, name),
                command.name
            )));
        };
        let value = match (flag.value, inline) {
            (None, None) => "",
            (None, Some(_)) => return Err(usage(&format!("{name} takes no value"))),
            (Some((_, values)), inline) => {
                let value = inline.or_else(|| rest.next().map(|(_, value)| value));
                let value = value.ok_or_else(|| usage(&format!("{name} needs a value")))?;
                check(name, values, value)?;
                value
            }
        };
        given.flags.push((flag.names[0], value.to_owned()));
    }
    let missing = command.arguments.get(given.arguments.len());
    match missing.filter(|argument| argument.needed) {
        Some(argument) => Err(usage(&format!(
            "mcp-remote {} needs {}{}",
            command.name,
            argument.name,
            known(argument.values)
        ))),
        None => Ok(given),
    }
}

fn check(name: &str, values: Values, value: &str) -> Result<(), ShimError> {
    match values {
        Values::OneOf(words) if !words.contains(&value) => Err(usage(&format!(
            "the value of {name} is not known{}",
            known(values)
        ))),
        _ => Ok(()),
    }
}

fn known(values: Values) -> String {
    match values {
        Values::OneOf(words) => format!(" (known: {})", words.join(", ")),
        Values::Any | Values::File | Values::Server => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;
    use crate::exit::Exit;

    fn invocation(line: &[&str]) -> Result<Invocation, ShimError> {
        parse(line.iter().map(OsString::from)).invocation
    }

    #[test]
    fn flags_stand_anywhere_and_take_their_value_either_way() {
        for line in [
            &["logs", "-f", "https://h", "--level", "warn"][..],
            &["--debug", "logs", "--level=warn", "--follow", "https://h"],
        ] {
            let Ok(Invocation::Logs(arguments)) = invocation(line) else {
                panic!("{line:?}");
            };
            assert!(arguments.follow, "{line:?}");
            assert_eq!(arguments.server, "https://h");
        }
    }

    #[test]
    fn what_is_not_understood_is_said_without_repeating_it() {
        for (line, sentence) in [
            (&["status", "--jsn"][..], "the flag --jsn means nothing"),
            (&["status", "-S3cret"], "the flag in position 2 means"),
            (&["status", "a", "s3cret"], "the argument in position 3"),
            (&["status", "--json=s3cret"], "--json takes no value"),
            (&["logs", "--level"], "--level needs a value"),
            (
                &["logs", "--level", "s3cret"],
                "the value of --level is not",
            ),
            (
                &["completions"],
                "mcp-remote completions needs SHELL (known: bash",
            ),
            (&["completions", "csh"], "the value of SHELL is not known"),
            (&["doctor", "--watch"], "the flag --watch means nothing"),
        ] {
            let error = invocation(line).expect_err("a usage error");
            assert_eq!(error.exit, Exit::USAGE, "{line:?}");
            assert!(error.sentence.starts_with(sentence), "{}", error.sentence);
            assert!(!error.sentence.contains("s3cret"), "{}", error.sentence);
        }
    }

    #[test]
    fn every_command_has_its_own_help() {
        for command in table::COMMANDS {
            if command.name.is_empty() {
                continue;
            }
            let line = [command.name, "--help"];
            assert_eq!(invocation(&line), Ok(Invocation::HelpOn(command)));
        }
    }
}
