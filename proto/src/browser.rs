//! Opens an authorization URL in the user's browser: from the shim, which has
//! the user's desktop in its environment, or from the daemon on its behalf.
//!
//! The URL comes from a server that nobody trusts. It is checked here once more,
//! whoever checked it before, and handed over as one argument; there is no shell
//! in between.

use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::program;
use crate::v1::Display;

/// How long a program that opens browsers may take to fail. Some stay for as
/// long as the browser is open, which is no failure.
const PATIENCE: Duration = Duration::from_secs(5);

/// Longest URL to hand over; what browsers take is not much longer.
pub const MAX_URL_LEN: usize = 16 * 1024;

/// Programs that find the user's browser.
const OPENERS: &[&str] = if cfg!(target_os = "macos") {
    &["/usr/bin/open"]
} else if cfg!(windows) {
    &["explorer.exe"]
} else {
    &["xdg-open", "wslview"]
};

/// Why no browser shows the URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenError {
    /// The URL could do more than show a page.
    UnsafeUrl,
    /// No program could be started, or all failed.
    NoBrowser,
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::UnsafeUrl => "the URL is not one that a browser may be sent to",
            Self::NoBrowser => "no browser could be started",
        })
    }
}

impl std::error::Error for OpenError {}

/// Whether `url` is plain https, or http on loopback, written in the characters
/// of a URL and nothing else.
pub fn is_safe(url: &str) -> bool {
    // RFC 3986, section 2, without the apostrophe.
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&()*+,;=%".contains(&byte);
    if url.len() > MAX_URL_LEN || !url.bytes().all(allowed) {
        return false;
    }
    let (rest, only_loopback) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (rest, false),
        (None, Some(rest)) => (rest, true),
        (None, None) => return false,
    };
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let (host, port) = match authority
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        Some((host, port)) => (host, port),
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let is_port = |digits: &str| digits.parse::<u16>().is_ok();
    let name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    !host.is_empty()
        && !host.starts_with('-')
        && host.bytes().all(name)
        && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
        && (!only_loopback || is_loopback(host))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host.ends_with(".localhost")
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Shows `url` in a browser on that desktop. Blocks for at most 5 s for each
/// program that is tried: those of BROWSER, then the system's.
///
/// # Errors
/// [`OpenError`].
pub fn open(url: &str, display: &Display) -> Result<(), OpenError> {
    open_by(url, display, |command| command)
}

/// The same, in a unit of systemd's user manager: a browser that a service starts
/// has neither its limits nor its restrictions, and outlives it. Without such a
/// manager it is opened as usual.
///
/// # Errors
/// [`OpenError`].
pub fn open_apart(url: &str, display: &Display) -> Result<(), OpenError> {
    match open_by(url, display, |command| apart(&command)) {
        Err(OpenError::NoBrowser) => open(url, display),
        outcome => outcome,
    }
}

/// Tries the programs that may show `url`, each wrapped as told.
fn open_by(
    url: &str,
    display: &Display,
    wrap: impl Fn(Command) -> Command,
) -> Result<(), OpenError> {
    if !is_safe(url) {
        return Err(OpenError::UnsafeUrl);
    }
    let named = match cfg!(windows) {
        // Paths have colons there, and nobody sets it.
        true => "",
        false => display.browser.as_str(),
    };
    let named = named.split(':').filter_map(|words| command(words, url));
    let known = OPENERS.iter().map(|program| opener(program, url));
    for mut command in named.chain(known) {
        command.envs(variables(display));
        if succeeds(wrap(command)) {
            return Ok(());
        }
    }
    Err(OpenError::NoBrowser)
}

/// Wraps a command into a transient service. It fails if the command does, and ends
/// with it; what the command has started stays.
fn apart(command: &Command) -> Command {
    let mut wrapped = Command::new("systemd-run");
    wrapped.args(["--user", "--wait", "--collect", "--quiet"]);
    // The usual description is the command, with the URL: that would be in the log.
    wrapped.arg("--description=Browser for a sign-in to an MCP server");
    for property in [
        "KillMode=process",
        "StandardOutput=null",
        "StandardError=null",
    ] {
        wrapped.arg(format!("--property={property}"));
    }
    for (name, value) in command.get_envs() {
        let mut variable = OsString::from("--setenv=");
        variable.push(name);
        variable.push("=");
        variable.push(value.unwrap_or_default());
        wrapped.arg(variable);
    }
    wrapped.arg("--").arg(command.get_program());
    for argument in command.get_args() {
        // The manager would put its own variables in.
        wrapped.arg(argument.to_string_lossy().replace('$', "$$"));
    }
    wrapped
}

/// Reads an entry of BROWSER: words, with the URL for `%s` or at the end.
fn command(words: &str, url: &str) -> Option<Command> {
    let mut words = words.split_whitespace();
    let mut command = Command::new(words.next()?);
    let mut given = false;
    for word in words {
        given |= word.contains("%s");
        command.arg(word.replace("%s", url));
    }
    if !given {
        command.arg(url);
    }
    Some(command)
}

#[cfg(not(windows))]
fn opener(program: &str, url: &str) -> Command {
    let mut command = Command::new(program);
    command.arg(url);
    command
}

/// Explorer reads its command line itself, where a comma would end the URL.
#[cfg(windows)]
fn opener(program: &str, url: &str) -> Command {
    use std::os::windows::process::CommandExt;
    let mut command = Command::new(program);
    command.raw_arg(format!("\"{url}\""));
    command
}

fn variables(display: &Display) -> Vec<(&'static str, OsString)> {
    let known = [
        ("DISPLAY", &display.display),
        ("WAYLAND_DISPLAY", &display.wayland_display),
        ("XAUTHORITY", &display.xauthority),
        (
            "DBUS_SESSION_BUS_ADDRESS",
            &display.dbus_session_bus_address,
        ),
        ("BROWSER", &display.browser),
        ("XDG_RUNTIME_DIR", &display.xdg_runtime_dir),
    ];
    known
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name, value.into()))
        .collect()
}

fn succeeds(mut command: Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir(if cfg!(windows) { "\\" } else { "/" });
    // Interrupting the shim at a terminal leaves the browser alone.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    match program::run(command, PATIENCE) {
        Ok(Some(ended)) => ended.well || cfg!(windows),
        // It stays until the browser is closed.
        Ok(None) => true,
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_web_pages_are_shown() {
        for url in [
            "https://auth.example.com/authorize?client_id=a&scope=x%20y",
            "https://auth.example.com:8443",
            "https://[2001:db8::1]/a",
            "http://127.0.0.1:5598/x",
            "http://[::1]:1/",
            "http://localhost/",
            "http://a_b.localhost/",
        ] {
            assert!(is_safe(url), "{url}");
        }
        let long = format!("https://h/{}", "a".repeat(MAX_URL_LEN));
        for url in [
            "",
            "-h",
            "--version",
            "javascript:alert(1)",
            "file:///etc/passwd",
            "a:$(touch PWN)?response_type=code",
            "calculator:/x",
            "\\\\host\\share\\x",
            "HTTPS://h/",
            "https://",
            "https:///path",
            "https://user@h/",
            "https://user:pa$(id)ss@h/a",
            "https://h:99999/",
            "https://h:1$(x)/",
            "https://-h/",
            "https://h/`x`",
            "https://h/'",
            "https://h/\"|calc",
            "https://h/ x",
            "https://h/\n",
            "https://hé/",
            "https://h/<x>",
            "https://h/^x",
            "http://example.com/",
            "http://127.0.0.1.example.com/",
            "http://127.0.0.1:1$(touch PWN)/a",
            "http://0/",
            long.as_str(),
        ] {
            assert!(!is_safe(url), "{url}");
            assert_eq!(open(url, &Display::default()), Err(OpenError::UnsafeUrl));
        }
    }

    #[test]
    fn what_browser_names_gets_the_url_as_one_word() {
        let words = |entry| {
            let command = command(entry, "https://h/?a=b&c=$(d)")?;
            let words = std::iter::once(command.get_program()).chain(command.get_args());
            Some(
                words
                    .map(|word| word.to_string_lossy().into_owned())
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(
            words("firefox").expect("one"),
            ["firefox", "https://h/?a=b&c=$(d)"]
        );
        assert_eq!(
            words("x -new %s -y").expect("one"),
            ["x", "-new", "https://h/?a=b&c=$(d)", "-y"]
        );
        assert_eq!(words(" "), None);
    }

    #[test]
    fn a_browser_of_a_service_gets_a_unit_of_its_own() {
        let mut opener = Command::new("xdg-open");
        opener.arg("https://h/?a=$b%20").env("DISPLAY", ":0");
        let wrapped = apart(&opener);
        assert_eq!(wrapped.get_program(), "systemd-run");
        let words = wrapped.get_args().map(|word| word.to_string_lossy());
        let words: Vec<_> = words.collect();
        for option in ["--user", "--collect", "--setenv=DISPLAY=:0"] {
            assert!(words.iter().any(|word| word == option), "{words:?}");
        }
        let end = words.len() - 3;
        assert_eq!(words[end..], ["--", "xdg-open", "https://h/?a=$$b%20"]);
        assert!(!words[..end].iter().any(|word| word.contains("https")));
    }

    #[cfg(unix)]
    #[test]
    fn programs_are_tried_until_one_succeeds() {
        let display = |browser: &str| Display {
            browser: browser.to_owned(),
            ..Display::default()
        };
        assert_eq!(
            open("https://h/", &display("/nonexistent:false:true")),
            Ok(())
        );
    }
}
