//! `mcp-remote service VERB`: what to do with the daemon as a service.

use std::ffi::OsString;

use crate::exit::ShimError;
use crate::notices::Volume;

use super::{Invocation, Parsed, shown, usage};

/// What to do with the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Write the units, enable and start them.
    Install,
    /// Undo that.
    Uninstall,
    /// Start it.
    Start,
    /// Stop it until it is used again.
    Stop,
    /// Have the manager start it anew.
    Restart,
    /// Say how it stands.
    Status,
    /// Show its log.
    Logs,
}

/// The verbs, as typed.
const VERBS: &[(&str, Verb)] = &[
    ("install", Verb::Install),
    ("uninstall", Verb::Uninstall),
    ("start", Verb::Start),
    ("stop", Verb::Stop),
    ("restart", Verb::Restart),
    ("status", Verb::Status),
    ("logs", Verb::Logs),
];

/// What to do with the service, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ServiceArguments {
    /// What.
    pub(crate) verb: Verb,
    /// `--dry-run`: say what would be done.
    pub(crate) dry_run: bool,
    /// `--follow`: go on with what the log gets.
    pub(crate) follow: bool,
}

/// Understands what follows the word `service`.
pub(super) fn parse(arguments: impl Iterator<Item = OsString>) -> Parsed {
    let words: Vec<String> = arguments
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let has = |flags: &[&str]| words.iter().any(|word| flags.contains(&word.as_str()));
    let volume = Volume {
        silent: has(&["--silent"]),
        debug: has(&["--debug", "--verbose"]),
    };
    let invocation = if has(&["--help", "-h"]) {
        Ok(Invocation::Help)
    } else {
        read(&words).map(Invocation::Service)
    };
    Parsed {
        volume,
        warnings: Vec::new(),
        invocation,
    }
}

fn read(words: &[String]) -> Result<ServiceArguments, ShimError> {
    let (mut verb, mut dry_run, mut follow) = (None, false, false);
    for (position, word) in (2..).zip(words) {
        match word.as_str() {
            "--dry-run" => dry_run = true,
            "--follow" | "-f" => follow = true,
            "--silent" | "--debug" | "--verbose" => {}
            flag if flag.starts_with('-') => {
                let flag = shown(position, flag);
                return Err(unwanted(&flag));
            }
            word if verb.is_none() => {
                let known = VERBS.iter().find(|(name, _)| *name == word);
                verb = Some(known.ok_or_else(unknown)?.1);
            }
            _ => {
                return Err(usage(&format!(
                    "the argument in position {position} means nothing to mcp-remote service"
                )));
            }
        }
    }
    let verb = verb.ok_or_else(unknown)?;
    if dry_run && matches!(verb, Verb::Status | Verb::Logs) {
        return Err(unwanted("--dry-run"));
    }
    if follow && verb != Verb::Logs {
        return Err(unwanted("--follow"));
    }
    Ok(ServiceArguments {
        verb,
        dry_run,
        follow,
    })
}

fn unwanted(flag: &str) -> ShimError {
    usage(&format!(
        "the flag {flag} means nothing to this mcp-remote service command"
    ))
}

fn unknown() -> ShimError {
    let verbs: Vec<&str> = VERBS.iter().map(|(name, _)| *name).collect();
    usage(&format!(
        "mcp-remote service needs one of {}",
        verbs.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: &[&str]) -> Result<Invocation, ShimError> {
        parse(words.iter().map(Into::into)).invocation
    }

    #[test]
    fn verbs_and_their_flags_are_read() {
        for (name, verb) in VERBS {
            let expected = ServiceArguments {
                verb: *verb,
                dry_run: false,
                follow: false,
            };
            assert_eq!(check(&[name]), Ok(Invocation::Service(expected)));
        }
        let dry = check(&["--dry-run", "install"]);
        let following = check(&["logs", "-f"]);
        for (parsed, dry_run, follow) in [(dry, true, false), (following, false, true)] {
            match parsed {
                Ok(Invocation::Service(read)) => {
                    assert_eq!((read.dry_run, read.follow), (dry_run, follow));
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(check(&["install", "--help"]), Ok(Invocation::Help));
    }

    #[test]
    fn anything_else_is_refused() {
        for words in [
            &[][..],
            &["nonsense"],
            &["install", "now"],
            &["install", "-f"],
            &["logs", "--dry-run"],
            &["status", "--json=1"],
        ] {
            let error = check(words).expect_err("it makes no sense");
            assert_eq!(error.exit, crate::exit::Exit::USAGE, "{words:?}");
        }
    }
}
