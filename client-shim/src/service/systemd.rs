//! The daemon as two units of systemd's user manager.
//!
//! Units are those of `systemd/`, with the program's path filled in. What
//! `systemctl --user edit` adds lies in other files and stays.

use std::path::{Path, PathBuf};

use crate::exit::{Exit, ShimError};

use super::{MARK, Settings, Standing, Step, UnitFile};

const SERVICE: &str = "mcp-remoted.service";
const SOCKET: &str = "mcp-remoted.socket";
const SERVICE_TEXT: &str = include_str!("../../../systemd/mcp-remoted.service");
const SOCKET_TEXT: &str = include_str!("../../../systemd/mcp-remoted.socket");

/// The line of the unit that says what to run.
const EXEC_START: &str = "ExecStart=%h/.local/bin/mcp-remoted\n";

pub(super) fn paths(home: &Path) -> Vec<PathBuf> {
    [SERVICE, SOCKET].map(|unit| folder(home).join(unit)).into()
}

pub(super) fn links(home: &Path) -> Vec<PathBuf> {
    let wanted = [("default.target", SERVICE), ("sockets.target", SOCKET)];
    let link = |(target, unit)| folder(home).join(format!("{target}.wants")).join(unit);
    wanted.map(link).into()
}

/// Not by `XDG_CONFIG_HOME`: the manager may not have the one of this terminal.
fn folder(home: &Path) -> PathBuf {
    home.join(".config/systemd/user")
}

pub(super) fn files(home: &Path, settings: &Settings) -> Result<Vec<UnitFile>, ShimError> {
    let mut lines = format!("ExecStart={}\n", word(&settings.program)?);
    if let Some(folder) = &settings.config_dir {
        let variable = PathBuf::from("MCP_REMOTE_CONFIG_DIR=");
        let mut variable = variable.into_os_string();
        variable.push(folder);
        let variable = quoted(Path::new(&variable))?;
        lines.push_str(&format!("Environment={variable}\n"));
    }
    let service = SERVICE_TEXT.replace(EXEC_START, &lines);
    let texts = [service, SOCKET_TEXT.to_owned()];
    let files = paths(home).into_iter().zip(texts);
    Ok(files
        .map(|(path, text)| UnitFile {
            path,
            text: format!("# {MARK}.\n{text}"),
        })
        .collect())
}

/// Writes the path of a program as the first word of a command line.
fn word(path: &Path) -> Result<String, ShimError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._+-@".contains(&byte);
    match path.to_str() {
        Some(text) if text.bytes().all(plain) => Ok(text.to_owned()),
        _ => quoted(path),
    }
}

fn quoted(path: &Path) -> Result<String, ShimError> {
    let text = path
        .to_str()
        .filter(|text| !text.contains(char::is_control));
    let text = text.ok_or_else(|| {
        ShimError::general(format!(
            "{} cannot be written in a unit: use a path of plain text",
            path.display()
        ))
    })?;
    let text = text.replace('\\', r"\\").replace('"', "\\\"");
    Ok(format!("\"{}\"", text.replace('%', "%%")))
}

fn systemctl<'a>(words: impl IntoIterator<Item = &'a str>) -> Step {
    Step::new("systemctl", ["--user"].into_iter().chain(words))
}

pub(super) fn reach() -> Step {
    systemctl(["show", "--property=Version"])
}

pub(super) fn install(changed: bool) -> Vec<Step> {
    let verb = if changed { "restart" } else { "start" };
    vec![
        systemctl(["daemon-reload"]),
        systemctl(["enable", SOCKET, SERVICE]),
        forgive(),
        systemctl([verb, SOCKET, SERVICE]),
    ]
}

pub(super) fn disable() -> Vec<Step> {
    vec![systemctl(["disable", "--now", SOCKET, SERVICE])]
}

pub(super) fn forget() -> Vec<Step> {
    vec![systemctl(["daemon-reload"]), forgive()]
}

/// Also units that have not failed: the limit of starts is counted anew.
pub(super) fn forgive() -> Step {
    // A unit that is not loaded has nothing to forgive, which is an error there.
    systemctl(["reset-failed", "mcp-remoted.*"])
}

pub(super) fn start() -> Vec<Step> {
    vec![systemctl(["start", SOCKET, SERVICE])]
}

pub(super) fn stop() -> Vec<Step> {
    vec![systemctl(["stop", SOCKET, SERVICE])]
}

/// The socket stays, and whoever connects meanwhile waits in it.
pub(super) fn restart() -> Vec<Step> {
    vec![forgive(), systemctl(["restart", SERVICE])]
}

pub(super) fn log(follow: bool) -> Step {
    let follow = follow.then_some("--follow");
    let words = ["--user", "--unit", SERVICE, "--lines=200", "--no-pager"];
    Step::new("journalctl", words.into_iter().chain(follow))
}

pub(super) fn show() -> Step {
    let properties = "--property=Id,LoadState,UnitFileState,ActiveState,SubState,MainPID,Result,NRestarts,ExecStart";
    systemctl(["show", properties, SOCKET, SERVICE])
}

/// Reads what `show` printed: a paragraph a unit, a property a line.
pub(super) fn standing(text: &str) -> Standing {
    let mut standing = Standing::default();
    for unit in text.split("\n\n").filter(|unit| !unit.trim().is_empty()) {
        let get = |name: &str| {
            let mut lines = unit.lines();
            lines
                .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
                .unwrap_or_default()
        };
        let (active, sub) = (get("ActiveState"), get("SubState"));
        let mut line = format!("{:<20} {}, {active} ({sub})", get("Id"), enabled(&get));
        if get("Id") == SERVICE {
            if get("MainPID") != "0" {
                line.push_str(&format!(", pid {}", get("MainPID")));
            }
            if get("NRestarts") != "0" {
                line.push_str(&format!(", restarts {}", get("NRestarts")));
            }
            let program = get("ExecStart").split("path=").nth(1);
            if let Some((program, _)) = program.and_then(|rest| rest.split_once(" ;")) {
                line.push_str(&format!(", {program}"));
            }
            standing.exit = Some(exit(active, sub));
            if active == "failed" {
                let crashes = get("NRestarts") != "0";
                line.push_str(&format!(": {}", failure(get("Result"), crashes)));
            }
        }
        standing.lines.push(line);
    }
    standing
}

fn enabled<'a>(get: &impl Fn(&str) -> &'a str) -> &'a str {
    match (get("LoadState"), get("UnitFileState")) {
        ("loaded", "") => "loaded",
        ("loaded", state) => state,
        (load, _) => load,
    }
}

fn exit(active: &str, sub: &str) -> Exit {
    match (active, sub) {
        ("active" | "reloading", _) => Exit::OK,
        ("activating", _) => Exit::RETRYING,
        ("failed", _) => Exit::ERROR,
        _ => Exit::NOT_RUNNING,
    }
}

/// Says why it stays down; `crashes`: it has been restarted after others.
fn failure(result: &str, crashes: bool) -> String {
    let what = match result {
        _ if crashes => "crash-loop, it is not started any more",
        result => &format!("its last run ended by {result}"),
    };
    format!("{what}; see mcp-remote service logs, then mcp-remote service restart")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(program: &str, config_dir: Option<&str>) -> Result<String, ShimError> {
        let settings = Settings {
            program: program.into(),
            state: "/h/.local/state/mcp-remote".into(),
            config_dir: config_dir.map(PathBuf::from),
        };
        let files = files(Path::new("/h"), &settings)?;
        assert_eq!(files.len(), 2);
        assert!(files.iter().all(|file| file.text.contains(MARK)));
        Ok(files.into_iter().next().expect("two").text)
    }

    #[test]
    fn the_unit_names_the_program_where_it_is() {
        for (program, line) in [
            ("/opt/x/mcp-remoted", "ExecStart=/opt/x/mcp-remoted\n"),
            ("/a b/100%/\"x\\", "ExecStart=\"/a b/100%%/\\\"x\\\\\"\n"),
        ] {
            let text = service(program, None).expect("it can be written");
            assert!(text.contains(line), "{text}");
            assert_eq!(text.matches("ExecStart=").count(), 1);
        }
        let text = service("/d", Some("/c d")).expect("it can be written");
        let line = "Environment=\"MCP_REMOTE_CONFIG_DIR=/c d\"\n";
        assert!(text.contains(line), "{text}");
        assert!(service("/a\nExecStartPre=/bin/evil", None).is_err());
    }

    #[test]
    fn what_systemctl_shows_is_said_in_a_line_a_unit() {
        let unit = |id, active, sub, result| {
            format!(
                "Id={id}\nLoadState=loaded\nUnitFileState=enabled\nActiveState={active}\nSubState={sub}\nMainPID=7\nResult={result}\nNRestarts=2\nExecStart={{ path=/b/mcp-remoted ; argv[]=/b/mcp-remoted ; }}\n"
            )
        };
        let text = |active, sub, result| {
            let socket = unit(SOCKET, "active", "listening", "success");
            format!("{socket}\n{}", unit(SERVICE, active, sub, result))
        };
        let running = standing(&text("active", "running", "success"));
        assert_eq!(running.exit, Some(Exit::OK));
        let lines = running.lines.join("\n");
        for part in [
            "active (listening)",
            "pid 7",
            "restarts 2",
            "/b/mcp-remoted",
        ] {
            assert!(lines.contains(part), "no {part:?} in {lines}");
        }
        let crashing = standing(&text("activating", "auto-restart", "exit-code"));
        assert_eq!(crashing.exit, Some(Exit::RETRYING));
        let failed = standing(&text("failed", "failed", "start-limit-hit"));
        assert_eq!(failed.exit, Some(Exit::ERROR));
        assert!(failed.lines[1].contains("crash-loop"), "{failed:?}");
    }
}
