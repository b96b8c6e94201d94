//! `mcp-remote service VERB`: what to do with the daemon as a service.

use crate::exit::ShimError;

use super::described::Given;
use super::{Invocation, usage};

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

/// Makes something of what was given.
pub(super) fn read(given: Given) -> Result<Invocation, ShimError> {
    let (dry_run, follow) = (given.has("--dry-run"), given.has("--follow"));
    let named = given.arguments.first();
    let verb = VERBS
        .iter()
        .find(|(name, _)| named.is_some_and(|named| named == name));
    // The table has the same words, and needs one.
    let (_, verb) = *verb.ok_or_else(|| usage("mcp-remote service needs a verb"))?;
    if dry_run && matches!(verb, Verb::Status | Verb::Logs) {
        return Err(unwanted("--dry-run"));
    }
    if follow && verb != Verb::Logs {
        return Err(unwanted("--follow"));
    }
    Ok(Invocation::Service(ServiceArguments {
        verb,
        dry_run,
        follow,
    }))
}

fn unwanted(flag: &str) -> ShimError {
    usage(&format!(
        "the flag {flag} means nothing to this mcp-remote service command"
    ))
}

#[cfg(test)]
mod tests {
    use super::super::{parse, table};
    use super::*;

    fn check(words: &[&str]) -> Result<Invocation, ShimError> {
        let line = ["service"].iter().chain(words);
        parse(line.map(Into::into)).invocation
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
        let help = table::find("service").map(Invocation::HelpOn);
        assert_eq!(check(&["install", "--help"]).ok(), help);
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
