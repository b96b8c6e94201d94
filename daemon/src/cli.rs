//! The daemon's command line.

use std::time::Duration;

use lexopt::prelude::*;

use self::tokens::MoveArguments;
use crate::configuration::document::{LEAST_IDLE_EXIT, LEAST_MESSAGE};
use crate::telemetry::LogFormat;

pub(crate) mod tokens;

/// What the daemon is asked to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Invocation {
    /// Serve.
    Serve(Flags),
    /// Move sign-ins and exit.
    MoveTokens(MoveArguments),
    /// Print a text and exit.
    Print(String),
}

/// The flags, as given.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    /// `--log-format`.
    pub(crate) log_format: Option<LogFormat>,
    /// `--spawned`: a shim started us and reads our report.
    pub(crate) spawned: bool,
    /// `--idle-exit`.
    pub(crate) idle_exit: Option<Duration>,
    /// `--session-idle`.
    pub(crate) session_idle: Option<Duration>,
    /// `--max-message`.
    pub(crate) max_message: Option<usize>,
    /// `--reflection`.
    pub(crate) reflection: bool,
}

const HELP: &str = "\
mcp-remoted keeps sessions to remote MCP servers warm for mcp-remote.
It runs in the foreground; mcp-remote starts it when it is needed.

Usage: mcp-remoted [flags]
       mcp-remoted tokens move --to FILE | --from FILE   (--help says more)

  --log-format text|json   how to log to standard error (default: text)
  --idle-exit SECONDS      exit after this long without a shim (default: never)
  --session-idle SECONDS   keep an unused session this long (default: 600)
  --max-message BYTES      largest MCP message (default: 33554432)
  --reflection             describe the gRPC services to whoever asks (grpcurl)
  --spawned                started by mcp-remote: detach, log to the state
                           folder, report on standard output, exit when idle
  --help, --version

Environment: MCP_REMOTE_LOG (error, warn, info, debug, trace),
MCP_REMOTE_STATE_DIR, MCP_REMOTE_SOCKET, MCP_REMOTE_REFLECTION.
";

/// Reads the command line.
///
/// # Errors
/// One line that says what is wrong with it.
pub(crate) fn parse(
    arguments: impl IntoIterator<Item = std::ffi::OsString>,
) -> Result<Invocation, String> {
    let mut flags = Flags::default();
    let mut parser = lexopt::Parser::from_iter(arguments);
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        match argument {
            Value(word) if word == "tokens" && flags == Flags::default() => {
                return Ok(match tokens::parse(&mut parser)? {
                    Some(arguments) => Invocation::MoveTokens(arguments),
                    None => Invocation::Print(tokens::HELP.into()),
                });
            }
            Long("help") | Short('h') => return Ok(Invocation::Print(HELP.into())),
            Long("version") => {
                return Ok(Invocation::Print(format!(
                    "mcp-remoted {}\n",
                    env!("CARGO_PKG_VERSION")
                )));
            }
            Long("reflection") => flags.reflection = true,
            Long("spawned") => flags.spawned = true,
            Long("log-format") => {
                flags.log_format = Some(value(&mut parser, "text or json", LogFormat::parse)?)
            }
            Long("idle-exit") => {
                let long = |text: &str| seconds(text).filter(|time| *time >= LEAST_IDLE_EXIT);
                let expected = "a number of seconds, at least 1";
                flags.idle_exit = Some(value(&mut parser, expected, long)?)
            }
            Long("session-idle") => {
                flags.session_idle = Some(value(&mut parser, "a number of seconds", seconds)?)
            }
            Long("max-message") => {
                flags.max_message = Some(value(
                    &mut parser,
                    "a number of bytes from 1000 to 33554432",
                    bytes,
                )?)
            }
            other => return Err(other.unexpected().to_string()),
        }
    }
    Ok(Invocation::Serve(flags))
}

fn value<T>(
    parser: &mut lexopt::Parser,
    expected: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<T, String> {
    let value = parser.value().map_err(|error| error.to_string())?;
    let text = value.to_string_lossy();
    read(&text).ok_or_else(|| format!("{text:?} is not {expected}"))
}

/// More than the contract's limit would end relays in the middle of a message.
fn bytes(text: &str) -> Option<usize> {
    text.parse()
        .ok()
        .filter(|bytes| (LEAST_MESSAGE..=mcp_remote_proto::MAX_MESSAGE_LEN).contains(bytes))
}

fn seconds(text: &str) -> Option<Duration> {
    let seconds: f64 = text.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arguments: &[&str]) -> Result<Invocation, String> {
        parse(["mcp-remoted"].iter().chain(arguments).map(Into::into))
    }

    #[test]
    fn flags_are_read() {
        let expected = Flags {
            spawned: true,
            idle_exit: Some(Duration::from_millis(1500)),
            log_format: Some(LogFormat::Json),
            ..Flags::default()
        };
        assert_eq!(
            check(&["--spawned", "--idle-exit=1.5", "--log-format", "json"]),
            Ok(Invocation::Serve(expected))
        );
        assert!(matches!(check(&["--version"]), Ok(Invocation::Print(_))));
    }

    #[test]
    fn tokens_are_moved_one_way() {
        let Ok(Invocation::MoveTokens(arguments)) =
            check(&["tokens", "move", "https://h/", "--from", "f", "--force"])
        else {
            panic!("it makes sense");
        };
        assert_eq!(arguments.direction, tokens::Direction::From);
        assert_eq!(arguments.server.as_deref(), Some("https://h/"));
        assert!(arguments.force && arguments.passphrase_file.is_none());
        let help = check(&["tokens", "--help"]);
        assert_eq!(help, Ok(Invocation::Print(tokens::HELP.into())));
        for nonsense in [
            &["tokens"][..],
            &["tokens", "copy", "--to", "f"],
            &["tokens", "move"],
            &["tokens", "move", "--to", "f", "--from", "f"],
            &["tokens", "move", "--to", "f", "--force"],
            &["tokens", "move", "--to", "f", "a", "b"],
            &["--spawned", "tokens", "move", "--to", "f"],
        ] {
            assert!(check(nonsense).is_err(), "{nonsense:?}");
        }
    }

    #[test]
    fn nonsense_is_named() {
        for (arguments, named) in [
            (vec!["--nonsense"], "nonsense"),
            (vec!["--idle-exit", "soon"], "soon"),
            (vec!["--idle-exit", "-1"], "-1"),
            (vec!["--idle-exit", "0"], "at least 1"),
            (vec!["--max-message", "0"], "from 1000"),
            (vec!["extra"], "extra"),
        ] {
            let error = check(&arguments).expect_err("is wrong");
            assert!(error.contains(named), "{error}");
        }
    }
}
