//! The command line: a bridge (the npm package's own grammar) or a subcommand.
//!
//! Pure: reads no environment and no file. An unknown flag never stops a
//! bridge, since configurations written for other releases must go on working.
//! A word that is not understood may be a secret: its position is said instead.

use std::ffi::OsString;
use std::iter::Peekable;
use std::path::PathBuf;
use std::time::Duration;

use mcp_remote_proto::names;
use mcp_remote_proto::v1::{Reuse, Transport};

use crate::exit::ShimError;
use crate::headers::Source;
use crate::notices::Volume;

mod add;
mod adopt;
mod auth;
mod completions;
mod connection;
mod described;
mod doctor;
mod logs;
mod man;
mod servers;
mod service;
mod status;
pub(crate) mod table;
mod usage;
mod words;

pub(crate) use add::AddArguments;
pub(crate) use adopt::{AdoptArguments, Seat};
pub(crate) use auth::AuthArguments;
pub(crate) use completions::Shell;
pub(crate) use connection::ConnectionArguments;
pub(crate) use logs::LogsArguments;
pub(crate) use service::{ServiceArguments, Verb};
pub(crate) use status::StatusArguments;
pub(crate) use usage::{usage as help, usage_of as help_on};
use words::{
    is_switch, is_url, seconds, shown, starts_with_digits, takes_value, unexpected, usage,
};

/// Flags of the npm package that this release does not have, and whether a
/// value follows them.
const NOT_SUPPORTED: &[(&str, bool)] = &[
    ("--client-credentials", false),
    ("--device-code", false),
    ("--token-endpoint", true),
];

/// Flags without a value.
const SWITCHES: &[&str] = &[
    "--all",
    "--allow-http",
    "--allow-missing-pkce",
    "--debug",
    "--disable-resource-parameter",
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
    /// Steer the daemon as a service.
    Service(ServiceArguments),
    /// Write a server into the configuration.
    Add(Box<AddArguments>),
    /// Take the server of this name out of it.
    Remove(String),
    /// Say which servers it has.
    List {
        /// For programs.
        json: bool,
    },
    /// Have the daemon read its files again.
    Reload,
    /// Take the npm package's place.
    Adopt(AdoptArguments),
}

/// Whom to relay to, and how.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BridgeArguments {
    /// The server's URL or name, as typed.
    pub(crate) url: String,
    /// In the order of the command line.
    pub(crate) headers: Vec<Source>,
    /// `--transport`; unspecified: as the configuration says.
    pub(crate) transport: Transport,
    /// `--reuse`, likewise.
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
    /// About the connection and what goes over it.
    pub(crate) connection: ConnectionArguments,
    /// `--request-timeout`; none: as the configuration says, zero: never.
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
    connection: ConnectionArguments,
    positional: Vec<Word>,
    headers: Vec<Source>,
    transport: Option<String>,
    reuse: Option<String>,
    ca_file: Option<String>,
    drain_timeout: Option<String>,
    request_timeout: Option<String>,
    /// What follows `add`.
    add: Option<Vec<Word>>,
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
        self.add = add::find(&words);
        if let Some(position) = broken.filter(|_| !self.help && !self.version) {
            return Err(usage(&format!(
                "the argument in position {position} is not UTF-8"
            )));
        }
        if self.add.is_some() {
            // Its flags are not understood here but kept.
            return Ok(());
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
            _ if is_switch(name) => match inline {
                // `--allow-http=false` must not mean the opposite.
                Some(_) => self
                    .warnings
                    .push(format!("{name} takes no value and is ignored")),
                None if self.auth.switch(name) || self.connection.switch(name) => {}
                None => {
                    self.all |= name == "--all";
                    self.allow_http |= name == "--allow-http";
                    self.json |= name == "--json";
                }
            },
            _ if takes_value(name) => {
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
            _ if connection::VALUED.contains(&name) => {
                self.warnings
                    .extend(self.connection.valued(name, value).err());
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
        if let Some(words) = self.add.take() {
            return add::parse(words).map(|arguments| Invocation::Add(Box::new(arguments)));
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
        let named = |(_, word): &Word| names::check(word).is_ok();
        let url = words.iter().position(|(_, word)| is_url(word));
        let Some(at) = url.or_else(|| words.first().filter(|word| named(word)).map(|_| 0)) else {
            return Err(match words.first() {
                Some((position, _)) => usage(&format!(
                    "the argument in position {position} is neither a server's URL or name nor a command"
                )),
                None => usage("the server's URL or name is missing"),
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
            connection: std::mem::take(&mut self.connection),
            request_timeout,
        }))
    }

    fn transport(&mut self) -> Transport {
        match self.transport.as_deref() {
            None => Transport::Unspecified,
            Some("http-first") => Transport::HttpFirst,
            Some("sse-first") => Transport::SseFirst,
            Some("http-only") => Transport::HttpOnly,
            Some("sse-only") => Transport::SseOnly,
            Some(_) => {
                let sentence = "the value of --transport is not known and is ignored \
                     (known: http-first, sse-first, http-only, sse-only)";
                self.warnings.push(sentence.to_owned());
                Transport::Unspecified
            }
        }
    }

    fn reuse(&mut self) -> Reuse {
        match self.reuse.as_deref() {
            None => Reuse::Unspecified,
            Some("sequential") => Reuse::Sequential,
            Some("never") => Reuse::Never,
            Some("concurrent") => Reuse::Concurrent,
            Some(_) => {
                let sentence = "the value of --reuse is not known and is ignored \
                     (known: never, sequential, concurrent)";
                self.warnings.push(sentence.to_owned());
                Reuse::Unspecified
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

    fn request_timeout(&mut self) -> Option<Duration> {
        let text = self.request_timeout.as_deref()?;
        let timeout = seconds(text);
        if timeout.is_none() {
            let sentence =
                "the value of --request-timeout is not a number of seconds and is ignored";
            self.warnings.push(sentence.to_owned());
        }
        timeout
    }
}

#[cfg(test)]
mod tests;
