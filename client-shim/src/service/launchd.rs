//! The daemon as an agent of launchd, in the domain of the user's login.
//!
//! Never run so far: there was no Mac. The agent is that of `launchd/`, with the
//! paths of this user filled in.

use std::path::{Path, PathBuf};

use mcp_remote_proto::endpoint::user_id;

use crate::exit::{Exit, ShimError};

use super::{MARK, Settings, Standing, Step, UnitFile};

const LABEL: &str = "dev.mcp-remote.mcp-remoted";
const TEXT: &str = include_str!("../../../launchd/dev.mcp-remote.mcp-remoted.plist");

/// What stands in the text for this user's paths.
const PROGRAM: &str = "/usr/local/bin/mcp-remoted";
const STATE: &str = "/Users/you/Library/Application Support/mcp-remote";
const NO_VARIABLES: &str = "<dict/>";

pub(super) fn paths(home: &Path) -> Vec<PathBuf> {
    let folder = home.join("Library/LaunchAgents");
    vec![folder.join(format!("{LABEL}.plist"))]
}

pub(super) fn files(home: &Path, settings: &Settings) -> Result<Vec<UnitFile>, ShimError> {
    let variables = match &settings.config_dir {
        Some(folder) => format!(
            "<dict>\n        <key>MCP_REMOTE_CONFIG_DIR</key>\n        <string>{}</string>\n    </dict>",
            escaped(folder)?
        ),
        None => NO_VARIABLES.to_owned(),
    };
    let text = TEXT
        .replace(PROGRAM, &escaped(&settings.program)?)
        .replace(STATE, &escaped(&settings.state)?)
        .replace(NO_VARIABLES, &variables)
        .replacen("<!--\n", &format!("<!--\n  {MARK}.\n"), 1);
    let files = paths(home).into_iter().map(|path| UnitFile {
        path,
        text: text.clone(),
    });
    Ok(files.collect())
}

fn escaped(path: &Path) -> Result<String, ShimError> {
    let text = path
        .to_str()
        .filter(|text| !text.contains(char::is_control));
    let text = text.ok_or_else(|| {
        ShimError::general(format!(
            "{} cannot be written in a property list: use a path of plain text",
            path.display()
        ))
    })?;
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    Ok(text.replace('>', "&gt;"))
}

fn domain() -> String {
    format!("gui/{}", user_id())
}

fn agent() -> String {
    format!("{}/{LABEL}", domain())
}

fn launchctl<const N: usize>(words: [&str; N]) -> Step {
    Step::new("launchctl", words)
}

pub(super) fn reach() -> Step {
    launchctl(["print", &domain()])
}

pub(super) fn install(home: &Path, changed: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    if changed {
        steps.extend(disable());
    }
    steps.push(launchctl(["enable", &agent()]));
    steps.extend(start(home));
    steps
}

pub(super) fn disable() -> Vec<Step> {
    // An agent that is not loaded is an error there, which a shell can overlook.
    let script = r#"launchctl bootout "$1" || ! launchctl print "$1" >/dev/null 2>&1"#;
    vec![Step::new("/bin/sh", ["-c", script, "sh", &agent()])]
}

/// An agent that was stopped by `stop` is not loaded.
pub(super) fn start(home: &Path) -> Vec<Step> {
    let path = paths(home).remove(0).display().to_string();
    // Loading again what is loaded is an error there, which a shell can overlook.
    let script = r#"launchctl print "$1" >/dev/null 2>&1 || launchctl bootstrap "$2" "$3"; exec launchctl kickstart "$1""#;
    let words = ["-c", script, "sh", &agent(), &domain(), &path];
    vec![Step::new("/bin/sh", words)]
}

pub(super) fn stop() -> Vec<Step> {
    disable()
}

pub(super) fn restart() -> Vec<Step> {
    vec![launchctl(["kickstart", "-k", &agent()])]
}

pub(super) fn log(state: &Path, follow: bool) -> Step {
    let log = state.join("mcp-remoted.log").display().to_string();
    let follow = follow.then_some("-F");
    let words = ["-n", "200"].into_iter().chain(follow);
    Step::new("tail", words.chain([log.as_str()]))
}

pub(super) fn show() -> Step {
    launchctl(["print", &agent()])
}

/// Reads what `print` said; none: the agent is not loaded.
pub(super) fn standing(text: Option<&str>) -> Standing {
    let Some(text) = text else {
        return Standing {
            lines: vec![format!("{LABEL}: not loaded")],
            exit: Some(Exit::NOT_RUNNING),
        };
    };
    let get = |name: &str| {
        let mut lines = text.lines();
        lines.find_map(|line| line.trim().strip_prefix(name)?.trim().strip_prefix("= "))
    };
    let state = get("state").unwrap_or("unknown");
    let mut line = format!("{LABEL}: {state}");
    for (name, word) in [
        ("pid", "pid"),
        ("program", "program"),
        ("last exit code", "last exit code"),
    ] {
        if let Some(value) = get(name) {
            line.push_str(&format!(", {word} {value}"));
        }
    }
    Standing {
        lines: vec![line],
        exit: Some(match state {
            "running" => Exit::OK,
            _ => Exit::NOT_RUNNING,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_has_the_paths_of_its_user() {
        let settings = Settings {
            program: "/opt/a&b/mcp-remoted".into(),
            state: "/Users/x/Library/Application Support/mcp-remote".into(),
            config_dir: Some("/c".into()),
        };
        let files = files(Path::new("/Users/x"), &settings).expect("plain text");
        let [file] = files.as_slice() else {
            panic!("one file")
        };
        assert!(file.path.starts_with("/Users/x/Library/LaunchAgents"));
        for part in [
            MARK,
            "<string>/opt/a&amp;b/mcp-remoted</string>",
            "<string>/Users/x/Library/Application Support/mcp-remote/daemon.sock</string>",
            "<key>MCP_REMOTE_CONFIG_DIR</key>",
        ] {
            assert!(file.text.contains(part), "no {part} in {}", file.text);
        }
        assert!(!file.text.contains("/Users/you"));
        assert!(!file.text.contains(PROGRAM));
    }

    #[test]
    fn what_launchctl_prints_is_said_in_a_line() {
        let text = "gui/501/dev = {\n\tprogram = /b/mcp-remoted\n\tstate = running\n\tpid = 7\n}";
        let running = standing(Some(text));
        assert_eq!(running.exit, Some(Exit::OK));
        assert!(running.lines[0].contains("running, pid 7, program /b/mcp-remoted"));
        assert_eq!(standing(None).exit, Some(Exit::NOT_RUNNING));
    }

    #[test]
    fn an_agent_that_changed_is_loaded_anew() {
        let home = Path::new("/Users/x");
        let verbs = |steps: Vec<Step>| {
            steps
                .iter()
                .map(Step::to_string)
                .collect::<Vec<_>>()
                .join("; ")
        };
        assert!(!verbs(install(home, false)).contains("bootout"));
        let changed = verbs(install(home, true));
        let (out, back) = (changed.find("bootout"), changed.find("bootstrap"));
        assert!(out < back, "{changed}");
        assert!(changed.contains("kickstart"), "{changed}");
    }
}
