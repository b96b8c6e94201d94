//! `mcp-remote doctor URL`: the daemon walks the way to the server, here its findings
//! are shown as they come. Ctrl-C ends it.

use mcp_remote_proto::calls::Answers;
use mcp_remote_proto::v1::{DiagnoseRequest, DiagnoseResponse, Purpose, Verdict};
use tonic::{Code, Status};

use super::line;
use crate::bridge::Opening;
use crate::commands::print;
use crate::daemon::Daemon;
use crate::exit::{Exit, ShimError};
use crate::json::{self, Object};
use crate::launch::{Launcher, PATIENCE};
use crate::terminal::{Paint, Terminal, painted, plain};

/// More than a few daemons are not stopping.
const ATTEMPTS: usize = 3;

/// Wide enough for every check that there is.
const WIDTH: usize = 12;

/// Shows what the daemon finds on the way to a server.
///
/// # Errors
/// No daemon can be had, it does not walk, or standard output cannot be written.
pub(crate) async fn walk(
    opening: &Opening,
    as_json: bool,
    terminal: Option<Terminal>,
    launcher: &Launcher,
) -> Result<Exit, ShimError> {
    let (daemon, mut findings) = begun(opening, launcher).await?;
    let mut all = Vec::new();
    loop {
        let next = findings.message().await;
        let Some(finding) = next.map_err(|status| refused(&daemon, &status))? else {
            break;
        };
        if !as_json {
            print(&shown(&finding, terminal))?;
        }
        all.push(finding);
    }
    if !all.iter().any(|finding| finding.check == "initialize") {
        return Err(ShimError::general(format!(
            "{daemon} stopped before it had looked at everything: try again"
        )));
    }
    let exit = exit(&all);
    if as_json {
        print(&document(opening.server(), &all, exit == Exit::OK))?;
    }
    Ok(exit)
}

/// Asks a daemon. One that is stopping makes place for the next.
async fn begun(
    opening: &Opening,
    launcher: &Launcher,
) -> Result<(Daemon, Answers<DiagnoseResponse>), ShimError> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let mut daemon = launcher.connect().await?;
        let request = DiagnoseRequest {
            open: Some(opening.open(Purpose::Check)),
        };
        match daemon.follow(request).await {
            Ok(findings) => return Ok((daemon, findings)),
            Err(status) if status.code() == Code::Unavailable && attempts < ATTEMPTS => {
                // Only once it has hung up can the next be found.
                let _late = tokio::time::timeout(PATIENCE, daemon.hung_up()).await;
            }
            Err(status) => return Err(refused(&daemon, &status)),
        }
    }
}

fn refused(daemon: &Daemon, status: &Status) -> ShimError {
    match status.code() {
        Code::Unimplemented => ShimError::new(
            Exit::VERSION_MISMATCH,
            format!("{daemon} cannot look at a server: run mcp-remote stop, then try again"),
        ),
        Code::FailedPrecondition => ShimError::new(Exit::VERSION_MISMATCH, status.message()),
        _ => ShimError::general(plain(status.message())),
    }
}

fn exit(findings: &[DiagnoseResponse]) -> Exit {
    let failed = |needs_login: bool| {
        let mut failed = findings.iter();
        failed.any(|it| it.verdict() == Verdict::Failed && it.needs_login == needs_login)
    };
    match (failed(false), failed(true)) {
        (true, _) => Exit::ERROR,
        (false, true) => Exit::NEEDS_LOGIN,
        (false, false) => Exit::OK,
    }
}

fn word(verdict: Verdict) -> (&'static str, Paint) {
    match verdict {
        Verdict::Ok => ("ok", Paint::Good),
        Verdict::Warning => ("warn", Paint::Fair),
        Verdict::Failed => ("fail", Paint::Bad),
        Verdict::Skipped | Verdict::Unspecified => ("skip", Paint::Dim),
    }
}

fn shown(finding: &DiagnoseResponse, terminal: Option<Terminal>) -> String {
    let (word, paint) = word(finding.verdict());
    let verdict = painted(terminal, paint, &format!("{word:4}"));
    let check = format!("{:WIDTH$}", plain(&finding.check));
    line(&verdict, &check, &finding.found, &finding.advice)
}

fn document(server: &str, findings: &[DiagnoseResponse], ok: bool) -> String {
    let truth = |is: bool| if is { "true" } else { "false" };
    let checks = findings.iter().map(|finding| {
        Object::new()
            .string("check", &finding.check)
            .string("verdict", word(finding.verdict()).0)
            .string("found", &finding.found)
            .string("advice", &finding.advice)
            .raw("needs_login", truth(finding.needs_login))
            .number("took_us", finding.took_us)
            .end()
    });
    let document = Object::new()
        .raw("ok", truth(ok))
        .string("server", server)
        .raw("checks", &json::array(checks));
    document.end() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(verdict: Verdict, needs_login: bool) -> DiagnoseResponse {
        DiagnoseResponse {
            check: "tokens".to_owned(),
            verdict: verdict.into(),
            found: "nobody\u{1b}[2J".to_owned(),
            advice: "run it".to_owned(),
            needs_login,
            took_us: 7,
        }
    }

    #[test]
    fn the_exit_code_says_what_is_wrong() {
        use Verdict::{Failed, Ok, Skipped, Warning};
        let check = |findings: &[DiagnoseResponse], expected: Exit| {
            assert_eq!(exit(findings), expected);
        };
        let well = [Ok, Warning, Skipped].map(|verdict| finding(verdict, false));
        check(&well, Exit::OK);
        check(&[finding(Failed, true)], Exit::NEEDS_LOGIN);
        check(
            &[finding(Failed, true), finding(Failed, false)],
            Exit::ERROR,
        );
    }

    #[test]
    fn findings_are_lines_or_a_document() {
        let failed = finding(Verdict::Failed, true);
        assert_eq!(
            shown(&failed, None),
            "fail  tokens        nobody [2J: run it\n"
        );
        assert_eq!(
            document("https://h/", &[failed], false),
            "{\"ok\":false,\"server\":\"https://h/\",\"checks\":[{\"check\":\"tokens\",\
             \"verdict\":\"fail\",\"found\":\"nobody\\u001b[2J\",\"advice\":\"run it\",\
             \"needs_login\":true,\"took_us\":7}]}\n"
        );
    }
}
