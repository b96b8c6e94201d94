//! The process's environment, read once; nothing else in the shim reads it.
//!
//! Knows which variables matter to whom: places, proxies, certificates, the
//! desktop, and what a daemon started from here may inherit.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use mcp_remote_proto::endpoint;
use mcp_remote_proto::v1::{Display, ProxyEnvironment};

use crate::exit::ShimError;

/// What a daemon keeps of the environment of the shim that starts it. It
/// outlives that shim, so nothing that belongs to one client only.
const KEPT: &[&str] = &[
    "HOME",
    "PATH",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "XDG_RUNTIME_DIR",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "DBUS_SESSION_BUS_ADDRESS",
    "RUST_BACKTRACE",
];

/// The same, for Windows alone.
const KEPT_ON_WINDOWS: &[&str] = &[
    "SystemRoot",
    "USERPROFILE",
    "LOCALAPPDATA",
    "APPDATA",
    "TEMP",
    "TMP",
];

const OURS: &str = "MCP_REMOTE_";

/// Where the token files of this user, or of this client, are. Each shim says it for
/// itself.
const AUTH_FOLDER: &str = "MCP_REMOTE_CONFIG_DIR";

/// A copy of the environment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment(Vec<(OsString, OsString)>);

impl Environment {
    /// Copies the environment of this process.
    pub(crate) fn read() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// Makes an environment of these variables.
    #[cfg(test)]
    pub(crate) fn of(variables: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| (name.into(), value.into());
        Self(variables.iter().map(owned).collect())
    }

    /// Returns a variable that is set, even to nothing.
    fn get(&self, name: &str) -> Option<&OsStr> {
        let mut variables = self.0.iter();
        variables
            .find(|(key, _)| same(key, name))
            .map(|(_, value)| value.as_os_str())
    }

    /// Returns a variable that is set, even to nothing, to text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.to_str()
    }

    /// Returns a variable that is set to something, as a path.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        let value = self.get(name).filter(|value| !value.is_empty());
        value.map(PathBuf::from)
    }

    /// Returns the folders of `PATH`. Relative ones are left out: what they
    /// hold depends on where the client happens to stand.
    pub(crate) fn search_path(&self) -> Vec<PathBuf> {
        let path = self.get("PATH").unwrap_or_default();
        std::env::split_paths(path)
            .filter(|folder| folder.is_absolute())
            .collect()
    }

    /// Returns what says where the daemon's places are.
    pub(crate) fn places(&self) -> endpoint::Environment {
        let home = self.path("HOME");
        endpoint::Environment {
            home: match home {
                None if cfg!(windows) => self.path("USERPROFILE"),
                home => home,
            },
            state_dir: self.path("MCP_REMOTE_STATE_DIR"),
            socket: self.path("MCP_REMOTE_SOCKET"),
            runtime_dir: self.path("XDG_RUNTIME_DIR"),
        }
    }

    /// Returns the folder of the token files, made absolute as the npm package does;
    /// empty: the usual one.
    ///
    /// # Errors
    /// It cannot be said to the daemon.
    pub(crate) fn auth_folder(&self) -> Result<String, ShimError> {
        match self.path(AUTH_FOLDER) {
            Some(path) => absolute(&path, AUTH_FOLDER),
            None => Ok(String::new()),
        }
    }

    /// Returns the proxy settings, if there are any. `HTTP_PROXY` does not
    /// count in a CGI program, where a request's `Proxy` header would set it.
    pub(crate) fn proxy(&self) -> Option<ProxyEnvironment> {
        let first = |names: &[&str]| {
            let mut values = names.iter().filter_map(|name| self.text(name));
            values.find(|value| !value.is_empty()).map(str::to_owned)
        };
        let http: &[&str] = match self.get("REQUEST_METHOD") {
            Some(_) => &["http_proxy"],
            None => &["http_proxy", "HTTP_PROXY"],
        };
        let values = [
            first(http),
            first(&["https_proxy", "HTTPS_PROXY"]),
            first(&["all_proxy", "ALL_PROXY"]),
            first(&["no_proxy", "NO_PROXY"]),
        ];
        if values.iter().all(Option::is_none) {
            return None;
        }
        let [http_proxy, https_proxy, all_proxy, no_proxy] = values.map(Option::unwrap_or_default);
        Some(ProxyEnvironment {
            http_proxy,
            https_proxy,
            all_proxy,
            no_proxy,
        })
    }

    /// Returns what there is of a desktop. `no_browser`: the user wants none.
    pub(crate) fn display(&self, interactive: bool, no_browser: bool) -> Display {
        let text = |name| self.text(name).unwrap_or_default().to_owned();
        let is_set = |name| self.get(name).is_some_and(|value| !value.is_empty());
        // Over SSH the desktop is another machine's, unless somebody arranged for
        // a browser (as editors with remote windows do).
        let remote = is_set("SSH_CONNECTION") || is_set("SSH_TTY");
        let desktop = cfg!(any(windows, target_os = "macos"))
            || is_set("DISPLAY")
            || is_set("WAYLAND_DISPLAY");
        Display {
            display: text("DISPLAY"),
            wayland_display: text("WAYLAND_DISPLAY"),
            xauthority: text("XAUTHORITY"),
            dbus_session_bus_address: text("DBUS_SESSION_BUS_ADDRESS"),
            browser: text("BROWSER"),
            xdg_runtime_dir: text("XDG_RUNTIME_DIR"),
            interactive,
            may_open_browser: !no_browser && (is_set("BROWSER") || (desktop && !remote)),
            no_browser,
            stderr_columns: 0,
            non_interactive: false,
        }
    }

    /// Says whether this is the build of a machine that nobody sits at.
    pub(crate) fn is_ci(&self) -> bool {
        let value = self.text("CI").unwrap_or_default();
        value == "1" || value.eq_ignore_ascii_case("true")
    }

    /// Replaces each `${NAME}` in `text` by that variable, written as `quote`
    /// does. One that is not set stays, and `unset` hears its name.
    pub(crate) fn expand(
        &self,
        text: &str,
        quote: impl Fn(&str) -> String,
        mut unset: impl FnMut(&str),
    ) -> String {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            expanded.push_str(before);
            match after.split_once('}') {
                Some((name, after)) if !name.is_empty() => {
                    match self.text(name) {
                        Some(value) => expanded.push_str(&quote(value)),
                        None => {
                            unset(name);
                            expanded.push_str("${");
                            expanded.push_str(name);
                            expanded.push('}');
                        }
                    }
                    rest = after;
                }
                _ => {
                    expanded.push_str("${");
                    rest = after;
                }
            }
        }
        expanded.push_str(rest);
        expanded
    }

    /// Returns what a daemon started from here inherits.
    pub(crate) fn for_daemon(&self) -> Vec<(OsString, OsString)> {
        let inherited = |name: &OsStr| {
            let listed = |names: &[&str]| names.iter().any(|kept| same(name, kept));
            let ours = name.as_encoded_bytes().starts_with(OURS.as_bytes());
            (ours && !same(name, AUTH_FOLDER))
                || listed(KEPT)
                || (cfg!(windows) && listed(KEPT_ON_WINDOWS))
        };
        let variables = self.0.iter();
        variables
            .filter(|(name, _)| inherited(name))
            .cloned()
            .collect()
    }
}

/// Makes a path absolute: the daemon stands in another folder than the user.
///
/// # Errors
/// The path is not text; `what` it was given with is named.
pub(crate) fn absolute(path: &Path, what: &str) -> Result<String, ShimError> {
    let path = std::path::absolute(path)
        .map_err(|error| ShimError::general(format!("{what} {}: {error}", path.display())))?;
    path.into_os_string()
        .into_string()
        .map_err(|path| ShimError::general(format!("{what} {} is not UTF-8", path.display())))
}

/// Compares names; Windows does not tell `Path` from `PATH`.
fn same(name: &OsStr, other: &str) -> bool {
    name == other || (cfg!(windows) && name.eq_ignore_ascii_case(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_prefer_lower_case_and_are_absent_when_unset() {
        assert_eq!(Environment::of(&[("https_proxy", "")]).proxy(), None);
        let proxy = Environment::of(&[
            ("HTTPS_PROXY", "http://upper"),
            ("https_proxy", "http://lower"),
            ("NO_PROXY", "localhost"),
        ])
        .proxy();
        let expected = ProxyEnvironment {
            https_proxy: "http://lower".into(),
            no_proxy: "localhost".into(),
            ..ProxyEnvironment::default()
        };
        assert_eq!(proxy, Some(expected));
    }

    #[test]
    fn a_cgi_request_cannot_set_the_proxy() {
        let cgi = [("HTTP_PROXY", "http://evil"), ("REQUEST_METHOD", "GET")];
        assert_eq!(Environment::of(&cgi).proxy(), None);
        assert!(Environment::of(&cgi[..1]).proxy().is_some());
    }

    #[test]
    fn a_daemon_inherits_only_what_is_listed() {
        let environment = Environment::of(&[
            ("HOME", "/h"),
            ("LD_PRELOAD", "/evil.so"),
            ("https_proxy", "http://p"),
            ("API_TOKEN", "secret"),
            ("MCP_REMOTE_LOG", "debug"),
            ("MCP_REMOTE_CONFIG_DIR", "/mine"),
        ]);
        let names: Vec<_> = environment.for_daemon();
        let names: Vec<_> = names.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["HOME", "MCP_REMOTE_LOG"]);
    }

    #[test]
    fn a_browser_is_opened_where_its_user_sees_it() {
        let may = |variables: &[(&str, &str)]| {
            Environment::of(variables)
                .display(false, false)
                .may_open_browser
        };
        let desktop = cfg!(any(windows, target_os = "macos"));
        assert_eq!(may(&[]), desktop);
        assert!(may(&[("DISPLAY", ":0")]));
        assert!(may(&[("WAYLAND_DISPLAY", "wayland-0")]));
        assert!(!may(&[("DISPLAY", ":10"), ("SSH_CONNECTION", "a 1 b 2")]));
        assert!(may(&[("BROWSER", "/helper"), ("SSH_TTY", "/dev/pts/1")]));
        assert_eq!(may(&[("BROWSER", "")]), desktop);
        let environment = Environment::of(&[("DISPLAY", ":0")]);
        assert!(!environment.display(false, true).may_open_browser);
    }

    #[test]
    fn relative_folders_of_the_search_path_do_not_count() {
        let path = std::env::join_paths(["/usr/bin", "", "."]).expect("no separator inside");
        let path = path.to_str().expect("ASCII");
        let folders = Environment::of(&[("PATH", path)]).search_path();
        assert_eq!(folders, [PathBuf::from("/usr/bin")]);
    }
}
