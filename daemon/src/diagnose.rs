//! Walks the way to a server step by step, with the parts that sessions use, and says
//! of each step what it found and what to do. Knows no gRPC.
//!
//! Signs nobody in, registers nothing, opens no browser; sessions that it begins it
//! ends. Every step ends by itself, and what it says has no secret in it.

mod account;
mod handshake;
mod network;
mod sign_in;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::http::HttpClients;
use crate::oauth::Authority;
use crate::oauth::challenge::Challenge;
use crate::oauth::identity::Identity;
use crate::oauth::token_source::TokenSource;
use crate::session::{ServerSpec, Servers};
use crate::upstream::printable;

/// Longest text of a finding, in characters.
const MAX_TEXT: usize = 1000;

/// How a step came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and may not always.
    Warning,
    /// It does not work.
    Failed,
    /// Not looked at.
    Skipped,
}

/// What is looked at: a word that programs rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    /// The user's headers.
    Headers,
    /// Which proxy is used, and why.
    Proxy,
    /// The addresses of its name.
    Dns,
    /// Connections to them.
    Tcp,
    /// Its certificate.
    Tls,
    /// Which transport it speaks.
    Transport,
    /// A document about the resource (RFC 9728).
    Resource,
    /// A document about the authorization server (RFC 8414, OpenID Connect).
    Metadata,
    /// What the authorization server offers.
    Issuer,
    /// As which client a sign-in would be made.
    Registration,
    /// The token endpoint that the user names.
    Endpoint,
    /// The tokens that there are.
    Tokens,
    /// A handshake.
    Initialize,
}

impl Check {
    /// Returns its word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Headers => "headers",
            Self::Proxy => "proxy",
            Self::Dns => "dns",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Transport => "transport",
            Self::Resource => "resource",
            Self::Metadata => "metadata",
            Self::Issuer => "issuer",
            Self::Registration => "registration",
            Self::Endpoint => "endpoint",
            Self::Tokens => "tokens",
            Self::Initialize => "initialize",
        }
    }
}

/// What a step found.
#[derive(Debug)]
pub(crate) struct Finding {
    /// What was looked at.
    pub(crate) check: Check,
    /// How it came out.
    pub(crate) verdict: Verdict,
    /// What was found.
    pub(crate) found: String,
    /// What to do; empty: nothing.
    pub(crate) advice: String,
    /// What failed is only that somebody has to sign in.
    pub(crate) needs_login: bool,
    /// How long it took; zero: nobody was asked.
    pub(crate) took: Duration,
}

impl Finding {
    fn new(check: Check, verdict: Verdict, found: impl Into<String>) -> Self {
        Self {
            check,
            verdict,
            found: found.into(),
            advice: String::new(),
            needs_login: false,
            took: Duration::ZERO,
        }
    }

    fn ok(check: Check, found: impl Into<String>) -> Self {
        Self::new(check, Verdict::Ok, found)
    }

    fn warning(check: Check, found: impl Into<String>) -> Self {
        Self::new(check, Verdict::Warning, found)
    }

    fn failed(check: Check, found: impl Into<String>) -> Self {
        Self::new(check, Verdict::Failed, found)
    }

    fn skipped(check: Check, found: impl Into<String>) -> Self {
        Self::new(check, Verdict::Skipped, found)
    }

    fn advise(self, advice: impl Into<String>) -> Self {
        let advice = advice.into();
        Self { advice, ..self }
    }

    fn after(self, took: Duration) -> Self {
        Self { took, ..self }
    }

    fn needs_login(self) -> Self {
        Self {
            needs_login: true,
            ..self
        }
    }
}

/// Who set the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProxySource {
    /// The environment of the command.
    Command,
    /// That of the daemon.
    Daemon,
    /// The configuration file.
    File,
}

/// The way to walk.
#[derive(Debug)]
pub(crate) struct Way {
    /// How the server is reached, without tokens.
    pub(crate) spec: ServerSpec,
    /// By which name of the configuration; none: by URL.
    pub(crate) name: Option<Arc<str>>,
    /// Who would sign in.
    pub(crate) identity: Identity,
    /// Who set the proxy, if there is one.
    pub(crate) proxy_source: ProxySource,
    /// Sentences about headers that are left out.
    pub(crate) warnings: Vec<String>,
}

/// What it is walked with.
#[derive(Debug)]
pub(crate) struct Tools {
    /// The HTTP clients.
    pub(crate) clients: Arc<HttpClients>,
    /// The servers.
    pub(crate) servers: Arc<Servers>,
    /// The grants.
    pub(crate) authority: Authority,
    /// Largest message from a server, in bytes.
    pub(crate) max_message: usize,
}

/// Who hears what is found. One that has gone hears nothing.
struct Report(mpsc::Sender<Finding>);

impl Report {
    async fn say(&self, finding: Finding) {
        let finding = Finding {
            found: printable(&finding.found, MAX_TEXT),
            advice: printable(&finding.advice, MAX_TEXT),
            ..finding
        };
        drop(self.0.send(finding).await);
    }

    async fn skip(&self, checks: &[Check], why: &str) {
        for check in checks {
            self.say(Finding::skipped(*check, why)).await;
        }
    }
}

/// What a server answered to whoever has no token.
enum Asked {
    /// It was not asked, or it does not speak MCP.
    Nothing,
    /// It serves anybody, or whoever has the user's headers.
    Served(Served),
    /// It wants a token.
    Refused(Box<Challenge>),
}

/// A handshake that worked.
struct Served {
    text: String,
    took: Duration,
}

/// Walks the way from here to the server and tells `findings` of each step.
pub(crate) async fn walk(way: Way, tools: Tools, findings: mpsc::Sender<Finding>) {
    let report = Report(findings);
    for warning in &way.warnings {
        let finding = Finding::warning(Check::Headers, warning);
        report.say(finding).await;
    }
    let asked = match network::walk(&way, &tools, &report).await {
        true => handshake::without_token(&way, &tools, &report).await,
        false => {
            let why = "it cannot be reached";
            report.skip(&[Check::Transport], why).await;
            Asked::Nothing
        }
    };
    let ready = sign_in::look(&way, &tools, &asked, &report).await;
    handshake::as_session(&way, &tools, &asked, ready, &report).await;
}

/// How a token stands.
enum Ready {
    /// Nobody needs one.
    NotNeeded,
    /// There is none.
    Missing,
    /// The same, and nothing is sent without.
    Needed,
    /// There is one, or it can be had without anybody: from here.
    There(TokenSource),
}

/// Says how long something took.
fn in_milliseconds(took: Duration) -> String {
    format!("{:.1} ms", took.as_secs_f64() * 1000.0)
}

/// Says a time that people wait for.
fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (1, ..) => "1 day".to_owned(),
        (days, ..) => format!("{days} days"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_as_people_do() {
        let check = |seconds, expected: &str| {
            assert_eq!(span(Duration::from_secs(seconds)), expected);
        };
        check(59, "59 s");
        check(60, "1 min");
        check(3 * 3600 + 125, "3 h 2 min");
        check(86_400 + 5, "1 day");
        check(10 * 86_400, "10 days");
        assert_eq!(in_milliseconds(Duration::from_micros(1250)), "1.2 ms");
    }
}
