//! The process's environment, read once; nothing else in the shim reads it.
//!
//! Knows which variables matter to whom: places, proxies, certificates, and
//! what a daemon started from here may inherit.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use mcp_remote_proto::endpoint;
use mcp_remote_proto::v1::ProxyEnvironment;

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

    /// Returns what a daemon started from here inherits.
    pub(crate) fn for_daemon(&self) -> Vec<(OsString, OsString)> {
        let inherited = |name: &OsStr| {
            let listed = |names: &[&str]| names.iter().any(|kept| same(name, kept));
            name.as_encoded_bytes().starts_with(OURS.as_bytes())
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
        ]);
        let names: Vec<_> = environment.for_daemon();
        let names: Vec<_> = names.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["HOME", "MCP_REMOTE_LOG"]);
    }

    #[test]
    fn relative_folders_of_the_search_path_do_not_count() {
        let path = std::env::join_paths(["/usr/bin", "", "."]).expect("no separator inside");
        let path = path.to_str().expect("ASCII");
        let folders = Environment::of(&[("PATH", path)]).search_path();
        assert_eq!(folders, [PathBuf::from("/usr/bin")]);
    }
}
