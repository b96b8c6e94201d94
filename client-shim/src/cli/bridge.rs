//! The flags of a bridge, as far as they are its own: what is not understood is a
//! warning, and the usual value counts.

use std::path::PathBuf;
use std::time::Duration;

use mcp_remote_proto::names;
use mcp_remote_proto::v1::{Reuse, Transport};

use super::words::{is_url, seconds, starts_with_digits, usage};
use super::{AuthArguments, ConnectionArguments, Word, Words};
use crate::exit::ShimError;
use crate::headers::Source;

const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

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
    /// `--cache-lists`; empty: as usual.
    pub(crate) cache_lists: String,
}

impl Words {
    /// Takes what was given as that of a bridge.
    ///
    /// # Errors
    /// No server is named.
    pub(super) fn bridge(&mut self) -> Result<Box<BridgeArguments>, ShimError> {
        if let Some(flag) = self.auth.incomplete {
            return Err(usage(&format!("{flag} needs a value")));
        }
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
        self.unknown
            .extend(self.one_shot.given().map(str::to_owned));
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
        let cache_lists = self.cache_lists();
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
            cache_lists,
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
