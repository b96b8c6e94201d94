//! The command line: a bridge (the npm package's own grammar) or a subcommand.
//!
//! Pure: reads no environment and no file. An unknown flag never stops a
//! bridge, since configurations written for other releases must go on working.
//! A word that is not understood may be a secret: its position is said instead.

use std::ffi::OsString;
use std::iter::Peekable;
use std::path::PathBuf;
use std::time::Duration;

use mcp_remote_proto::v1::{Reuse, Transport};

use crate::exit::{Exit, ShimError};
use crate::headers::Source;
use crate::notices::Volume;

mod auth;
mod completions;
mod described;
mod doctor;
mod logs;
mod man;
mod status;
pub(crate) mod table;
mod usage;

pub(crate) use auth::AuthArguments;
pub(crate) use completions::Shell;
pub(crate) use logs::LogsArguments;
pub(crate) use status::StatusArguments;
pub(crate) use usage::{usage as help, usage_of as help_on};

/// Flags of the npm package that this release does not have, and whether a
/// value follows them.
const NOT_SUPPORTED: &[(&str, bool)] = &[
    ("--body-timeout", true),
    ("--client-credentials", false),
    ("--connect-timeout", true),
    ("--device-code", false),
    ("--disable-cookies", false),
    ("--headers-timeout", true),
    ("--ignore-tool", true),
    ("--ipv4", false),
    ("--keep-alive", false),
    ("--ping-interval", true),
    ("--protocol", true),
    ("--token-endpoint", true),
];

/// Flags without a value.
const SWITCHES: &[&str] = &[
    "--all",
    "--allow-http",
    "--allow-missing-pkce",
    "--debug",
    "--disable-resource-parameter",
    "--enable-proxy",
    "--help",
    "--json",
    "--no-browser",
    "--silent",
    "--use-id-token",
    "--verbose",
    "--version",
    "-h",
];

/// Flags that a value follows, besides those about signing in.
const VALUED: &[&str] = &[
    "--ca-file",
    "--drain-timeout",
    "--header",
    "--header-file",
    "--request-timeout",
    "--reuse",
    "--transport",
];

const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// The command line, understood.
#[derive(Debug)]
pub(crate) struct Parsed {
    /// How loud to be, also about the rest.
    pub(crate) volume: Volume,
    /// What was ignored, one sentence each.
    pub(crate) warnings: Vec<String>,
    /// What to do.
    pub(crate) invocation: Result<Invocation, ShimError>,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Invocation {
    /// Print the usage.
    Help,
    /// Print the usage of one command.
    HelpOn(&'static table::Command),
    /// Print the version.
    Version,
    /// Relay, or check a server if standard input is a terminal.
    Bridge(Box<BridgeArguments>),
    /// Sign in, if that is needed.
    Login(Box<BridgeArguments>),
    /// Forget who is signed in.
    Logout {
        /// Whom to forget; `None`: everybody.
        server: Option<Box<BridgeArguments>>,
        /// Every grant of that server, or of all.
        all: bool,
    },
    /// Say what the daemon holds.
    Status(StatusArguments),
    /// Show what the daemon logs.
    Logs(LogsArguments),
    /// Check this side.
    Doctor {
        /// For programs.
        json: bool,
    },
    /// Print what a shell needs to complete command lines.
    Completions(Shell),
    /// Print the manual page.
    Man,
    /// End the daemon.
    Stop,
}

/// Whom to relay to, and how.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BridgeArguments {
    /// As typed.
    pub(crate) url: String,
    /// In the order of the command line.
    pub(crate) headers: Vec<Source>,
    /// `--transport`.
    pub(crate) transport: Transport,
    /// `--reuse`.
    pub(crate) reuse: Reuse,
    /// `--allow-http`.
    pub(crate) allow_http: bool,
    /// `--debug`.
    pub(crate) debug: bool,
    /// `--ca-file`, as typed.
    pub(crate) ca_file: Option<PathBuf>,
    /// `--drain-timeout`.
    pub(crate) drain_timeout: Duration,
    /// How to sign in.
    pub(crate) auth: AuthArguments,
    /// `--request-timeout`; none: never.
    pub(crate) request_timeout: Option<Duration>,
}

/// Understands the arguments after the program's name.
pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> Parsed {
    let arguments: Vec<OsString> = arguments.collect();
    if let Some(parsed) = described::parse(&arguments) {
        return parsed;
    }
    let mut words = Words::default();
    let invocation = words
        .read(arguments.into_iter())
        .and_then(|()| words.decide());
    Parsed {
        volume: words.volume,
        warnings: words.warnings,
        invocation,
    }
}

/// The arguments, sorted by kind.
#[derive(Default)]
struct Words {
    volume: Volume,
    warnings: Vec<String>,
    help: bool,
    version: bool,
    json: bool,
    all: bool,
    allow_http: bool,
    auth: AuthArguments,
    positional: Vec<Word>,
    headers: Vec<Source>,
    transport: Option<String>,
    reuse: Option<String>,
    ca_file: Option<String>,
    drain_timeout: Option<String>,
    request_timeout: Option<String>,
    /// Flags that no bridge and no subcommand has, as they can be shown.
    unknown: Vec<String>,
}

/// An argument and its position, from 1.
type Word = (usize, String);

/// The arguments that follow.
type Rest = Peekable<std::vec::IntoIter<Word>>;

impl Words {
    fn read(&mut self, arguments: impl Iterator<Item = OsString>) -> Result<(), ShimError> {
        let mut words = Vec::new();
        let mut broken = None;
        for (position, argument) in (1..).zip(arguments) {
            match argument.into_string() {
                Ok(word) => words.push((position, word)),
                Err(_) => broken = broken.or(Some(position)),
            }
        }
        let has = |flag: &str| words.iter().any(|(_, word)| word == flag);
        // These win wherever they stand, also over whatever is wrong.
        self.help = has("--help") || has("-h");
        self.version = has("--version");
        self.volume = Volume {
            silent: has("--silent"),
            debug: has("--debug") || has("--verbose"),
        };
        if let Some(position) = broken.filter(|_| !self.help && !self.version) {
            return Err(usage(&format!(
                "the argument in position {position} is not UTF-8"
            )));
        }
        let mut words = words.into_iter().peekable();
        while let Some((position, word)) = words.next() {
            if word.starts_with('-') {
                self.flag(position, &word, &mut words);
            } else {
                self.positional.push((position, word));
            }
        }
        Ok(())
    }

    fn flag(&mut self, position: usize, word: &str, words: &mut Rest) {
        let (name, inline) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word, None),
        };
        match name {
            _ if SWITCHES.contains(&name) => match inline {
                // `--allow-http=false` must not mean the opposite.
                Some(_) => self
                    .warnings
                    .push(format!("{name} takes no value and is ignored")),
                None if name == "--enable-proxy" => self.warnings.push(format!(
                    "{name} is not needed and ignored: the proxy environment always counts"
                )),
                None if self.auth.switch(name) => {}
                None => {
                    self.all |= name == "--all";
                    self.allow_http |= name == "--allow-http";
                    self.json |= name == "--json";
                }
            },
            _ if VALUED.contains(&name) || auth::VALUED.contains(&name) => {
                match inline.or_else(|| words.next().map(|(_, value)| value)) {
                    Some(value) => self.valued(name, value),
                    None => self
                        .warnings
                        .push(format!("{name} needs a value and is ignored")),
                }
            }
            _ => {
                let known = NOT_SUPPORTED.iter().find(|(flag, _)| *flag == name);
                if let Some((flag, valued)) = known {
                    let sentence = format!("{flag} is not supported by this release and ignored");
                    self.warnings.push(sentence);
                    if *valued && inline.is_none() {
                        words.next();
                    }
                } else {
                    self.unknown.push(shown(position, name));
                    if inline.is_none() {
                        self.skip_value(words);
                    }
                }
            }
        }
    }

    /// Takes what looks like the value of an unknown flag along. The server's URL
    /// is never that: most flags have no value.
    fn skip_value(&self, words: &mut Rest) {
        let has_url = self.positional.iter().any(|(_, word)| is_url(word));
        words.next_if(|(_, word)| !word.starts_with("--") && (has_url || !is_url(word)));
    }

    /// Takes a flag with its value; of most the first one wins.
    fn valued(&mut self, name: &str, value: String) {
        match name {
            "--header" => self.headers.push(Source::Argument(value)),
            "--header-file" => self.headers.push(Source::File(value.into())),
            "--transport" => self.transport = self.transport.take().or(Some(value)),
            "--reuse" => self.reuse = self.reuse.take().or(Some(value)),
            "--ca-file" => self.ca_file = self.ca_file.take().or(Some(value)),
            "--drain-timeout" => self.drain_timeout = self.drain_timeout.take().or(Some(value)),
            "--request-timeout" => {
                self.request_timeout = self.request_timeout.take().or(Some(value));
            }
            _ => self.warnings.extend(self.auth.valued(name, value).err()),
        }
    }

    fn decide(&mut self) -> Result<Invocation, ShimError> {
        if self.help {
            return Ok(Invocation::Help);
        }
        if self.version {
            return Ok(Invocation::Version);
        }
        let words: Vec<(usize, &str)> = self
            .positional
            .iter()
            .map(|(position, word)| (*position, word.as_str()))
            .collect();
        match words.as_slice() {
            [(_, "stop")] => {
                self.refuse_unknown("stop")?;
                Ok(Invocation::Stop)
            }
            [(_, "stop"), (position, _), ..] => Err(unexpected("stop", *position)),
            [(_, "login"), ..] => {
                self.positional.remove(0);
                Ok(Invocation::Login(self.bridge()?))
            }
            [(_, "logout"), rest @ ..] => {
                let everybody = self.all && rest.is_empty();
                self.positional.remove(0);
                let all = std::mem::take(&mut self.all);
                let server = match everybody {
                    true => None,
                    false => Some(self.bridge()?),
                };
                Ok(Invocation::Logout { server, all })
            }
            _ => Ok(Invocation::Bridge(self.bridge()?)),
        }
    }

    fn refuse_unknown(&self, command: &str) -> Result<(), ShimError> {
        let json = self.json.then_some("--json");
        let all = self.all.then_some("--all");
        match self.unknown.first().map(String::as_str).or(json).or(all) {
            Some(flag) => Err(usage(&format!(
                "the flag {flag} means nothing to mcp-remote {command}"
            ))),
            None => Ok(()),
        }
    }

    fn bridge(&mut self) -> Result<Box<BridgeArguments>, ShimError> {
        let mut words = std::mem::take(&mut self.positional);
        let Some(at) = words.iter().position(|(_, word)| is_url(word)) else {
            return Err(match words.first() {
                Some((position, _)) => usage(&format!(
                    "the argument in position {position} is neither a server URL nor a command"
                )),
                None => usage("the server URL is missing"),
            });
        };
        let (_, url) = words.remove(at);
        for (given, flag) in [(self.json, "--json"), (self.all, "--all")] {
            if given {
                self.unknown.push(flag.to_owned());
            }
        }
        for flag in std::mem::take(&mut self.unknown) {
            let sentence = format!("unknown flag {flag} is ignored");
            self.warnings.push(sentence);
        }
        for (position, word) in words {
            let word = word.as_str();
            if starts_with_digits(word) {
                self.warnings.extend(self.auth.port(word).err());
                continue;
            }
            self.warnings.push(if is_url(word) {
                format!("the server URL in position {position} is ignored: only the first counts")
            } else {
                format!("the argument in position {position} is not a flag and is ignored")
            });
        }
        let (transport, drain_timeout) = (self.transport(), self.drain_timeout());
        let request_timeout = self.request_timeout();
        let reuse = self.reuse();
        Ok(Box::new(BridgeArguments {
            url,
            headers: std::mem::take(&mut self.headers),
            transport,
            reuse,
            allow_http: self.allow_http,
            debug: self.volume.debug,
            ca_file: self.ca_file.take().map(PathBuf::from),
            drain_timeout,
            auth: std::mem::take(&mut self.auth),
            request_timeout,
        }))
    }

    fn transport(&mut self) -> Transport {
        match self.transport.as_deref() {
            None | Some("http-first") => Transport::HttpFirst,
            Some("sse-first") => Transport::SseFirst,
            Some("http-only") => Transport::HttpOnly,
            Some("sse-only") => Transport::SseOnly,
            Some(_) => {
                let sentence = "the value of --transport is not known, http-first is used \
                     (known: http-first, sse-first, http-only, sse-only)";
                self.warnings.push(sentence.to_owned());
                Transport::HttpFirst
            }
        }
    }

    fn reuse(&mut self) -> Reuse {
        match self.reuse.as_deref() {
            None | Some("sequential") => Reuse::Sequential,
            Some("never") => Reuse::Never,
            Some("concurrent") => Reuse::Concurrent,
            Some(_) => {
                let sentence = "the value of --reuse is not known, sequential is used \
                     (known: never, sequential, concurrent)";
                self.warnings.push(sentence.to_owned());
                Reuse::Sequential
            }
        }
    }

    fn drain_timeout(&mut self) -> Duration {
        let Some(text) = self.drain_timeout.as_deref() else {
            return DRAIN_TIMEOUT;
        };
        seconds(text).unwrap_or_else(|| {
            let sentence = "the value of --drain-timeout is not a number of seconds, 30 is used";
            self.warnings.push(sentence.to_owned());
            DRAIN_TIMEOUT
        })
    }

    /// Zero is no timeout.
    fn request_timeout(&mut self) -> Option<Duration> {
        let text = self.request_timeout.as_deref()?;
        let timeout = seconds(text);
        if timeout.is_none() {
            let sentence =
                "the value of --request-timeout is not a number of seconds, none is used";
            self.warnings.push(sentence.to_owned());
        }
        timeout.filter(|timeout| !timeout.is_zero())
    }
}

fn seconds(text: &str) -> Option<Duration> {
    let seconds = text.parse::<f64>().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Only a callback port does.
fn starts_with_digits(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_digit())
}

fn is_url(word: &str) -> bool {
    word.contains("://")
}

/// A flag's name, if it looks like one.
fn shown(position: usize, name: &str) -> String {
    let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.starts_with("--") && name.len() <= 40 && name.bytes().all(letters) {
        name.to_owned()
    } else {
        format!("in position {position}")
    }
}

fn unexpected(command: &str, position: usize) -> ShimError {
    usage(&format!(
        "the argument in position {position} means nothing to mcp-remote {command}"
    ))
}

fn usage(sentence: &str) -> ShimError {
    ShimError::new(Exit::USAGE, format!("{sentence}\n{}", help().trim_end()))
}

#[cfg(test)]
mod tests;
