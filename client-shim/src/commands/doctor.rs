//! `mcp-remote doctor`: looks at everything on this side that a bridge depends on,
//! and says for each thing whether it is well, what was found, and what to do.
//!
//! Starts no daemon and changes nothing. A check is a function in [`LOCAL`]; the way to
//! a server is walked by the daemon ([`walk`]), which is started if need be.

use std::path::PathBuf;
use std::time::SystemTime;

use mcp_remote_proto::endpoint::Places;
use mcp_remote_proto::v1::{ServerState, StatusResponse};

use crate::environment::Environment;
use crate::exit::{Exit, ShimError};
use crate::json::{self, Object};
use crate::launch::{Found, Launcher};
use crate::notices::Notices;
use crate::terminal::{Paint, Terminal, painted, plain};

use super::{print, status};

mod daemon;
mod installations;
mod permissions;
mod service;
mod surroundings;
mod way;

pub(crate) use way::walk;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and may not always.
    Warn,
    /// It does not work, or is not safe.
    Fail,
}

/// What a check found.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    /// What was looked at, a word of the JSON.
    check: &'static str,
    verdict: Verdict,
    /// What was found.
    found: String,
    /// What to do; empty: nothing.
    advice: String,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self {
            check,
            verdict: Verdict::Ok,
            found: found.into(),
            advice: String::new(),
        }
    }

    fn warn(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            check,
            verdict: Verdict::Warn,
            found: found.into(),
            advice: advice.into(),
        }
    }

    fn fail(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Fail,
            ..Self::warn(check, found, advice)
        }
    }
}

/// What the checks look at.
struct Context {
    environment: Environment,
    home: Option<PathBuf>,
    places: Option<Places>,
    /// The daemon, if one runs: what it says of itself, and its status.
    running: Option<Running>,
    /// Why there is none that can be used, if that is not as it should be.
    trouble: Option<String>,
    now: SystemTime,
}

/// A daemon that answers.
struct Running {
    version: String,
    executable: PathBuf,
    status: Option<StatusResponse>,
}

/// One thing to look at.
type Check = fn(&Context) -> Vec<Finding>;

/// What is looked at without any server, in this order.
const LOCAL: &[Check] = &[
    daemon::running,
    daemon::versions,
    permissions::folders,
    permissions::tokens,
    permissions::store,
    permissions::configuration,
    permissions::clock,
    service::unit,
    installations::others,
    surroundings::proxies,
    surroundings::open_files,
];

/// Prints what there is to say.
///
/// # Errors
/// Standard output cannot be written.
pub(crate) async fn run(
    json: bool,
    terminal: Option<Terminal>,
    environment: Environment,
    notices: Notices,
) -> Result<Exit, ShimError> {
    let context = look(environment, notices).await;
    let findings: Vec<Finding> = LOCAL.iter().flat_map(|check| check(&context)).collect();
    let needs_login = context.needs_login();
    match json {
        true => print(&document(&findings))?,
        false => print(&lines(&findings, terminal))?,
    };
    let failed = |finding: &Finding| finding.verdict == Verdict::Fail;
    Ok(match findings.iter().any(failed) {
        true => Exit::ERROR,
        false if needs_login => Exit::NEEDS_LOGIN,
        false => Exit::OK,
    })
}

async fn look(environment: Environment, notices: Notices) -> Context {
    let mut context = Context {
        home: environment.path("HOME").filter(|home| home.is_absolute()),
        places: Places::new(&environment.places()).ok(),
        environment: environment.clone(),
        running: None,
        trouble: None,
        now: SystemTime::now(),
    };
    let launcher = match Launcher::new(environment, notices) {
        Ok(launcher) => launcher,
        Err(error) => {
            context.trouble = Some(error.sentence);
            return context;
        }
    };
    match launcher.look().await {
        Found::Daemon(found) => {
            let asked = status::ask(&found, None).await;
            context.trouble = asked.as_ref().err().map(|error| error.sentence.clone());
            context.running = Some(Running {
                version: found.hello.version.clone(),
                executable: PathBuf::from(&found.hello.executable),
                status: asked.ok(),
            });
        }
        Found::Silent(error) => context.trouble = Some(error.sentence),
        Found::Nothing => {}
    }
    context
}

impl Context {
    fn status(&self) -> Option<&StatusResponse> {
        self.running.as_ref()?.status.as_ref()
    }

    /// Where the configuration is, whether it is there or not.
    fn config_file(&self) -> Option<PathBuf> {
        let home = self.home.as_ref()?;
        Some(home.join(".config/mcp-remote/config.toml"))
    }

    fn needs_login(&self) -> bool {
        self.status().is_some_and(|status| {
            let mut servers = status.servers.iter();
            servers.any(|server| server.state() == ServerState::NeedsLogin)
        })
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "ok",
        Verdict::Warn => "warn",
        Verdict::Fail => "fail",
    }
}

fn lines(findings: &[Finding], terminal: Option<Terminal>) -> String {
    let names = findings.iter().map(|finding| finding.check.len());
    let width = names.max().unwrap_or_default();
    let lines = findings.iter().map(|finding| {
        let paint = match finding.verdict {
            Verdict::Ok => Paint::Good,
            Verdict::Warn => Paint::Fair,
            Verdict::Fail => Paint::Bad,
        };
        let verdict = painted(terminal, paint, &format!("{:4}", word(finding.verdict)));
        let check = format!("{:width$}", finding.check);
        line(&verdict, &check, &finding.found, &finding.advice)
    });
    lines.collect()
}

/// Writes what was found as a line; its texts may be foreign.
fn line(verdict: &str, check: &str, found: &str, advice: &str) -> String {
    let advice = match advice.is_empty() {
        true => String::new(),
        false => format!(": {}", plain(advice)),
    };
    format!("{verdict}  {check}  {}{advice}\n", plain(found))
}

fn document(findings: &[Finding]) -> String {
    let checks = findings.iter().map(|finding| {
        Object::new()
            .string("check", finding.check)
            .string("verdict", word(finding.verdict))
            .string("found", &finding.found)
            .string("advice", &finding.advice)
            .end()
    });
    let failed = findings
        .iter()
        .any(|finding| finding.verdict == Verdict::Fail);
    let document = Object::new()
        .raw("ok", if failed { "false" } else { "true" })
        .raw("checks", &json::array(checks));
    document.end() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_lines_or_a_document() {
        let findings = [
            Finding::ok("daemon", "it runs"),
            Finding::fail("permissions", "/x is open", "run chmod 700 '/x'"),
        ];
        assert_eq!(
            lines(&findings, None),
            "ok    daemon       it runs\n\
             fail  permissions  /x is open: run chmod 700 '/x'\n"
        );
        assert_eq!(
            document(&findings),
            "{\"ok\":false,\"checks\":[{\"check\":\"daemon\",\"verdict\":\"ok\",\
             \"found\":\"it runs\",\"advice\":\"\"},{\"check\":\"permissions\",\
             \"verdict\":\"fail\",\"found\":\"/x is open\",\"advice\":\"run chmod 700 '/x'\"}]}\n"
        );
    }
}
