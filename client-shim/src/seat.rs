//! The names by which this program is started: its own, `npx` in the folder that
//! `adopt --npx` makes, and that of the npm package's second program.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::environment::Environment;
use crate::exit::{Exit, ShimError};

/// Flags of `npx` that change nothing about what it runs.
const NPX_FLAGS: &[&str] = &[
    "-y",
    "--yes",
    "-q",
    "--quiet",
    "--offline",
    "--prefer-offline",
    "--prefer-online",
];

/// The npm package's name, which may be followed by `@` and a version.
const PACKAGE: &str = "mcp-remote";

/// The npm package's program that signs in.
const CLIENT: &str = "mcp-remote-client";

/// What the program was started for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Called {
    /// This, with these arguments.
    Ours(Vec<OsString>),
    /// Something that another `npx` has to run, with these.
    Npx(Vec<OsString>),
}

impl Called {
    /// Tells it from the whole command line.
    pub(crate) fn of(command_line: impl Iterator<Item = OsString>) -> Self {
        let mut command_line = command_line;
        let program = command_line.next().unwrap_or_default();
        let arguments: Vec<OsString> = command_line.collect();
        match Path::new(&program).file_name().and_then(OsStr::to_str) {
            Some("npx") => match of_npx(&arguments) {
                Some(at) => Self::Ours(arguments.into_iter().skip(at + 1).collect()),
                None => Self::Npx(arguments),
            },
            Some(CLIENT) => Self::Ours(
                [OsString::from("login")]
                    .into_iter()
                    .chain(arguments)
                    .collect(),
            ),
            _ => Self::Ours(arguments),
        }
    }
}

/// Returns where our package stands, if it is what `npx` shall run.
fn of_npx(arguments: &[OsString]) -> Option<usize> {
    let mut words = arguments.iter().map(|word| word.to_str()).enumerate();
    let (at, word) = words.find(|(_, word)| !word.is_some_and(|word| NPX_FLAGS.contains(&word)))?;
    let (at, word) = match word {
        Some("--") => (at + 1, arguments.get(at + 1)?.to_str()),
        word => (at, word),
    };
    let rest = word?.strip_prefix(PACKAGE)?;
    (rest.is_empty() || rest.starts_with('@')).then_some(at)
}

/// Becomes the next `npx` on `PATH` that is not this program.
///
/// # Errors
/// There is none, or it cannot be started; else this does not return.
#[cfg(unix)]
pub(crate) fn become_npx(
    arguments: &[OsString],
    environment: &Environment,
) -> Result<Exit, ShimError> {
    use std::os::unix::process::CommandExt;
    let real = |path: &Path| path.canonicalize().ok();
    let this = std::env::current_exe().ok().and_then(|path| real(&path));
    let folders = environment.search_path().into_iter();
    let mut others = folders
        .map(|folder| folder.join("npx"))
        .filter(|npx| npx.is_file() && real(npx) != this);
    let Some(npx) = others.next() else {
        return Err(ShimError::general(
            "this npx only knows mcp-remote, and there is no other on PATH: install Node.js, or run mcp-remote adopt --npx --undo",
        ));
    };
    let error = std::process::Command::new(&npx).args(arguments).exec();
    Err(ShimError::general(format!(
        "{} cannot be started: {error}",
        npx.display()
    )))
}

/// `adopt` makes no such place here.
#[cfg(not(unix))]
pub(crate) fn become_npx(_: &[OsString], _: &Environment) -> Result<Exit, ShimError> {
    Err(ShimError::general(
        "this program is not npx: give it its own name",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(line: &[&str]) -> Called {
        Called::of(line.iter().map(OsString::from))
    }

    fn ours(arguments: &[&str]) -> Called {
        Called::Ours(arguments.iter().map(OsString::from).collect())
    }

    #[test]
    fn by_its_own_name_every_word_is_an_argument() {
        for name in ["mcp-remote", "/x/mcp-remote", "anything", ""] {
            assert_eq!(
                called(&[name, "-y", "mcp-remote"]),
                ours(&["-y", "mcp-remote"])
            );
        }
        assert_eq!(called(&[]), ours(&[]));
        assert_eq!(
            called(&["/x/mcp-remote-client", "u"]),
            ours(&["login", "u"])
        );
    }

    #[test]
    fn npx_runs_our_package_and_nothing_else() {
        for line in [
            &["npx", "mcp-remote", "u", "--debug"][..],
            &["/x/npx", "-y", "mcp-remote", "u", "--debug"],
            &["npx", "--yes", "-q", "mcp-remote@latest", "u", "--debug"],
            &["npx", "-y", "--", "mcp-remote@0.1.2", "u", "--debug"],
        ] {
            assert_eq!(called(line), ours(&["u", "--debug"]), "{line:?}");
        }
        for line in [
            &["npx"][..],
            &["npx", "-y"],
            &["npx", "--"],
            &["npx", "-y", "other", "mcp-remote"],
            &["npx", "mcp-remote-other", "u"],
            &["npx", "-p", "mcp-remote", "mcp-remote-client", "u"],
            &["npx", "--package=x", "mcp-remote", "u"],
            &["npx", "-c", "mcp-remote u"],
        ] {
            let rest = line[1..].iter().map(OsString::from).collect();
            assert_eq!(called(line), Called::Npx(rest), "{line:?}");
        }
    }
}
