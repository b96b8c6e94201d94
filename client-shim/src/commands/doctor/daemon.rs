//! The daemon: whether it answers, what it complains of, which release it is.

use std::path::Path;

use mcp_remote_proto::VERSION;
use mcp_remote_proto::v1::ServerState;

use crate::launch;

use super::service::output;
use super::{Context, Finding, Running};

/// Whether it runs, and what it says is wrong.
pub(super) fn running(context: &Context) -> Vec<Finding> {
    let check = "daemon";
    let mut findings = Vec::new();
    if let Some(trouble) = &context.trouble {
        findings.push(Finding::fail(check, trouble, ""));
    }
    let Some(running) = &context.running else {
        if findings.is_empty() {
            let found = "mcp-remoted is not running; the next mcp-remote URL starts it";
            findings.push(Finding::ok(check, found));
        }
        return findings;
    };
    let Some(status) = &running.status else {
        return findings;
    };
    findings.push(Finding::ok(
        check,
        format!(
            "mcp-remoted {} runs (pid {}, started by {}) and answers at {}",
            status.version, status.pid, status.started_by, status.socket
        ),
    ));
    let sentences = status.health.iter();
    findings.extend(sentences.map(|sentence| Finding::warn(check, sentence, "")));
    let needing = status.servers.iter();
    let needing = needing.filter(|server| server.state() == ServerState::NeedsLogin);
    findings.extend(needing.map(|server| {
        let advice = format!("run mcp-remote login {}", server.url);
        Finding::warn("sign-in", format!("{} needs a sign-in", server.url), advice)
    }));
    findings
}

/// Whether the programs fit together.
pub(super) fn versions(context: &Context) -> Vec<Finding> {
    let check = "versions";
    let program = match launch::find_program(&context.environment) {
        Ok(program) => program,
        Err(error) => return vec![Finding::fail(check, error.sentence, "")],
    };
    let installed = release(&program);
    let running = context.running.as_ref();
    let version = running.map(|running| running.version.as_str());
    let mut findings = vec![judged(check, &program, installed.as_deref(), version)];
    let elsewhere = |running: &&Running| {
        let real = running.executable.canonicalize();
        real.is_ok_and(|real| program.canonicalize().is_ok_and(|program| program != real))
    };
    if let Some(running) = running.filter(elsewhere) {
        let found = format!(
            "the daemon that runs is {}, and mcp-remote would start {}",
            running.executable.display(),
            program.display()
        );
        findings.push(Finding::warn(check, found, "keep one of the two"));
    }
    findings
}

fn judged(
    check: &'static str,
    program: &Path,
    installed: Option<&str>,
    running: Option<&str>,
) -> Finding {
    let program = program.display();
    match (installed, running) {
        (None, _) => Finding::fail(
            check,
            format!("{program} does not say its version"),
            "install mcp-remoted again",
        ),
        (Some(installed), _) if installed != VERSION => Finding::warn(
            check,
            format!("this is mcp-remote {VERSION}, and {program} is {installed}"),
            "install both from the same release",
        ),
        (_, Some(running)) if running != VERSION => Finding::warn(
            check,
            format!("this is mcp-remote {VERSION}, and the daemon that runs is {running}"),
            "run mcp-remote stop; the next command starts the one that is installed",
        ),
        _ => Finding::ok(
            check,
            format!("mcp-remote and {program} are both {VERSION}"),
        ),
    }
}

fn release(program: &Path) -> Option<String> {
    let said = output(program.as_os_str(), &["--version"])?;
    let release = said.text.strip_prefix("mcp-remoted ")?.trim();
    Some(release.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn every_mixture_of_releases_is_told() {
        let newer = "999.0.0";
        for (installed, running, verdict) in [
            (Some(VERSION), None, Verdict::Ok),
            (Some(VERSION), Some(VERSION), Verdict::Ok),
            (Some(VERSION), Some(newer), Verdict::Warn),
            (Some(newer), Some(VERSION), Verdict::Warn),
            (None, None, Verdict::Fail),
        ] {
            let finding = judged("versions", Path::new("/p"), installed, running);
            assert_eq!(finding.verdict, verdict, "{finding:?}");
        }
    }
}
