//! The service manager: whether a unit is installed, which program it runs, and
//! whether it does.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use mcp_remote_proto::program;

use crate::launch;

use super::{Context, Finding};

/// How long a program that is asked may take. A manager that cannot be reached
/// would let us wait for ever.
const PATIENCE: Duration = Duration::from_secs(5);

const CHECK: &str = "service";

/// What a program said.
pub(super) struct Said {
    /// Its standard output, shortened.
    pub(super) text: String,
    /// Whether it ended well.
    pub(super) well: bool,
}

/// Runs a program that only tells; `None`: there is none, or it hangs.
pub(super) fn output(program: &OsStr, arguments: &[&str]) -> Option<Said> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let ended = program::run(command, PATIENCE).ok()??;
    Some(Said {
        text: String::from_utf8_lossy(&ended.output).into_owned(),
        well: ended.well,
    })
}

/// Looks at the unit or agent of this user.
pub(super) fn unit(context: &Context) -> Vec<Finding> {
    let Some(file) = files(context).into_iter().find(|file| file.is_file()) else {
        let found = "no unit is installed; the first mcp-remote starts the daemon";
        return vec![Finding::ok(CHECK, found)];
    };
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let mut findings = Vec::new();
    match started(&text, context.home.as_deref()) {
        None => findings.push(Finding::fail(
            CHECK,
            format!("{} names no program", file.display()),
            "run mcp-remote service install",
        )),
        Some(program) => findings.extend(wrong_program(&program, context)),
    }
    findings.push(state(&file, context));
    findings
}

/// Where a unit may be, the one that counts first.
fn files(context: &Context) -> Vec<PathBuf> {
    let below_home = |path: &str| context.home.as_ref().map(|home| home.join(path));
    if cfg!(target_os = "macos") {
        let agent = "Library/LaunchAgents/dev.mcp-remote.mcp-remoted.plist";
        return below_home(agent).into_iter().collect();
    }
    let configured = context.environment.path("XDG_CONFIG_HOME");
    let folders = [
        configured.or_else(|| below_home(".config")),
        below_home(".local/share"),
        Some("/etc".into()),
        Some("/usr/local/lib".into()),
        Some("/usr/lib".into()),
    ];
    let folders = folders.into_iter().flatten();
    folders
        .map(|folder| folder.join("systemd/user/mcp-remoted.service"))
        .collect()
}

/// Finds the program that a unit or agent starts.
fn started(text: &str, home: Option<&Path>) -> Option<PathBuf> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="));
    let named = match line {
        Some(line) => line.trim_start_matches(['-', '@', ':', '+', '!']),
        None => {
            let arguments = text.split("<key>ProgramArguments</key>").nth(1)?;
            arguments.split("<string>").nth(1)?.split('<').next()?
        }
    };
    let named = match named.trim().strip_prefix('"') {
        Some(quoted) => quoted.split('"').next()?,
        None if line.is_some() => named.split_whitespace().next()?,
        None => named,
    };
    let home = home.map(|home| home.display().to_string());
    let named = named.replace("%h", &home.unwrap_or_default());
    (!named.is_empty()).then(|| named.into())
}

fn wrong_program(program: &Path, context: &Context) -> Option<Finding> {
    if !program.is_file() {
        return Some(Finding::fail(
            CHECK,
            format!("the unit starts {}, which is not there", program.display()),
            "install mcp-remoted there, or run mcp-remote service install",
        ));
    }
    let ours = launch::find_program(&context.environment).ok()?;
    let same = |one: &Path, other: &Path| one.canonicalize().ok() == other.canonicalize().ok();
    (!same(program, &ours)).then(|| {
        Finding::warn(
            CHECK,
            format!(
                "the unit starts {}, and mcp-remote would start {}",
                program.display(),
                ours.display()
            ),
            "keep one of the two",
        )
    })
}

fn state(file: &Path, context: &Context) -> Finding {
    let file = file.display();
    let started_by = context.status().map(|status| status.started_by.as_str());
    if matches!(started_by, Some("systemd" | "launchd")) {
        return Finding::ok(CHECK, format!("{file} is installed and runs the daemon"));
    }
    let asked = match cfg!(target_os = "macos") {
        true => launched(),
        false => output(
            "systemctl".as_ref(),
            &["--user", "is-active", "mcp-remoted"],
        ),
    };
    let said = asked.map(|said| (said.text.trim().to_owned(), said.well));
    match said {
        None => Finding::warn(
            CHECK,
            format!("{file} is installed, and the service manager cannot be asked"),
            "",
        ),
        Some((_, true)) => Finding::warn(
            CHECK,
            format!("{file} is active, and another daemon serves this HOME"),
            "run mcp-remote service restart",
        ),
        Some((word, _)) if word == "failed" => Finding::fail(
            CHECK,
            format!("{file} has failed"),
            "run mcp-remote service logs, then mcp-remote service restart",
        ),
        // Without a manager there is no word on standard output.
        Some((word, _)) if word.is_empty() => Finding::warn(
            CHECK,
            format!("{file} is installed, and the service manager does not answer"),
            "",
        ),
        Some((word, _)) => Finding::warn(
            CHECK,
            format!("{file} is installed and {word}"),
            "run mcp-remote service start",
        ),
    }
}

fn launched() -> Option<Said> {
    let target = format!(
        "gui/{}/dev.mcp-remote.mcp-remoted",
        mcp_remote_proto::endpoint::user_id()
    );
    output("launchctl".as_ref(), &["print", &target])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_of_a_unit_and_of_an_agent_is_found() {
        let home = Some(Path::new("/h"));
        for (text, expected) in [
            (
                "[Service]\nExecStart=%h/.local/bin/mcp-remoted\n",
                Some("/h/.local/bin/mcp-remoted"),
            ),
            (
                "ExecStart=-\"/a b/mcp-remoted\" --x\n",
                Some("/a b/mcp-remoted"),
            ),
            (
                "ExecStart=/x/mcp-remoted --reflection\n",
                Some("/x/mcp-remoted"),
            ),
            (
                "<key>ProgramArguments</key>\n<array><string>/u v/mcp-remoted</string></array>",
                Some("/u v/mcp-remoted"),
            ),
            ("[Service]\n", None),
        ] {
            let expected = expected.map(PathBuf::from);
            assert_eq!(started(text, home), expected, "{text}");
        }
    }
}
