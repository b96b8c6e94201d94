//! The command line: a bridge (the npm package's own grammar) or a subcommand.
//!
//! Pure: reads no environment and no file. An unknown flag never stops a
//! bridge, since configurations written for other releases must go on working.
//! A word that is not understood may be a secret: its position is said instead.

use std::ffi::OsString;
use std::iter::Peekable;

use crate::exit::ShimError;
use crate::headers::Source;
use crate::notices::Volume;

mod add;
mod adopt;
mod auth;
mod bridge;
mod completions;
mod connection;
mod described;
mod doctor;
mod federation;
mod logs;
mod man;
mod one_shot;
mod servers;
mod service;
mod status;
pub(crate) mod table;
mod usage;
mod words;

pub(crate) use add::AddArguments;
pub(crate) use adopt::{AdoptArguments, Seat};
pub(crate) use auth::AuthArguments;
pub(crate) use bridge::BridgeArguments;
pub(crate) use completions::Shell;
pub(crate) use connection::ConnectionArguments;
pub(crate) use doctor::DoctorArguments;
pub(crate) use logs::LogsArguments;
pub(crate) use one_shot::{CallArguments, ToolsArguments};
pub(crate) use service::{ServiceArguments, Verb};
pub(crate) use status::StatusArguments;
pub(crate) use usage::{usage as help, usage_of as help_on};
use words::{
    is_switch, is_url, seconds, shown, starts_with_digits, takes_value, unexpected, usage,
};

use one_shot::OneShot;

/// Flags without a value.
const SWITCHES: &[&str] = &[
    "--all",
    "--allow-http",
    "--allow-missing-pkce",
    "--client-credentials",
    "--debug",
    "--device",
    "--device-code",
    "--disable-resource-parameter",
    "--help",
    "--json",
    "--no-browser",
    "--non-interactive",
    "--silent",
    "--use-id-token",
    "--verbose",
    "--version",
    "-h",
];

/// Flags that a value follows, besides those about signing in.
const VALUED: &[&str] = &[
    "--ca-file",
    "--cache-lists",
    "--drain-timeout",
    "--header",
    "--header-file",
    "--request-timeout",
    "--reuse",
    "--transport",
];

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
    /// Check this side, or the way to a server.
    Doctor(DoctorArguments),
    /// Print what a shell needs to complete command lines.
    Completions(Shell),
    /// Print the manual page.
    Man,
    /// Call a tool.
    Call(Box<CallArguments>),
    /// Show which tools there are.
    Tools(Box<ToolsArguments>),
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

/// Understands the arguments after the program's name.
pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> Parsed {
    let arguments: Vec<OsString> = arguments.collect();
    let command = arguments
        .iter()
        .find_map(|word| table::find(word.to_str()?));
    let mut parsed = described::parse(&arguments).unwrap_or_else(|| {
        let mut words = Words::default();
        let invocation = words
            .read(arguments.into_iter())
            .and_then(|()| words.decide());
        Parsed {
            volume: words.volume,
            warnings: words.warnings,
            invocation,
        }
    });
    if let Err(error) = &mut parsed.invocation {
        let name = command.map_or("", |command| command.name);
        let space = if name.is_empty() { "" } else { " " };
        let help = format!("\nmcp-remote {name}{space}--help says how it is meant");
        error.sentence.push_str(&help);
    }
    parsed
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
    cache_lists: Option<String>,
    one_shot: OneShot,
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
        // What is a tool's own is not looked at here.
        self.one_shot = OneShot::split(&mut words);
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
            "--json" if self.one_shot.is_call => {
                let value = inline.or_else(|| words.next().map(|(_, value)| value));
                self.one_shot.valued(name, value.unwrap_or_default());
            }
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
            _ if takes_value(name) || one_shot::VALUED.contains(&name) => {
                match inline.or_else(|| words.next().map(|(_, value)| value)) {
                    Some(value) => self.valued(name, value),
                    None if self.auth.needs(name) => {}
                    None => self
                        .warnings
                        .push(format!("{name} needs a value and is ignored")),
                }
            }
            _ => {
                self.unknown.push(shown(position, name));
                if inline.is_none() {
                    self.skip_value(words);
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
            "--cache-lists" => self.cache_lists = self.cache_lists.take().or(Some(value)),
            "--output" | "--save-to" => self.one_shot.valued(name, value),
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
            let call = table::find("call").filter(|_| self.one_shot.is_call);
            return Ok(call.map_or(Invocation::Help, Invocation::HelpOn));
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
            [(_, "call"), ..] => self.call(),
            [(_, "tools"), ..] => self.tools(),
            [(_, "doctor"), ..] => self.doctor(),
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
}

#[cfg(test)]
mod tests;
