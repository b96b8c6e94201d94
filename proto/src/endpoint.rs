//! Where this user's daemon listens, and how to get there.
//!
//! Pure path rules here; sockets, permissions and peer identity in `unix` and
//! `windows`. The truth stands under HOME, because MCP clients start the shim
//! with little more than HOME, PATH and USER in its environment.

use std::io;
use std::path::{Path, PathBuf};

#[cfg(unix)]
mod stream;
#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub use unix::{
    HangUp, Listener, Stream, UnsafeFolder, connect, is_bound, private_folder, user_id,
};
#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub use windows::{
    HangUp, Listener, Stream, UnsafeFolder, connect, is_bound, private_folder, user_id,
};

/// Longest socket path in bytes: `sun_path` less its final NUL.
#[cfg(target_os = "linux")]
const MAX_SOCKET_PATH: usize = 107;
#[cfg(not(target_os = "linux"))]
const MAX_SOCKET_PATH: usize = 103;

const SOCKET: &str = "daemon.sock";
const FOLDER: &str = "mcp-remote";

/// A place where a daemon may listen: a socket path, on Windows a pipe name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(PathBuf);

impl Endpoint {
    /// Names the place where somebody else has bound a socket.
    pub fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// Returns the socket's path (on Windows the pipe's).
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.display().fmt(f)
    }
}

/// The parts of the environment that say where things are. Whoever owns the
/// process's environment fills it in; an empty variable counts as unset.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// `MCP_REMOTE_STATE_DIR`: replaces the state folder.
    pub state_dir: Option<PathBuf>,
    /// `MCP_REMOTE_SOCKET`: the only place to look and to listen.
    pub socket: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`.
    pub runtime_dir: Option<PathBuf>,
}

/// The places of one user's daemon.
#[derive(Debug, Clone)]
pub struct Places {
    state: PathBuf,
    explicit: Option<Endpoint>,
    runtime: Vec<PathBuf>,
}

/// The environment does not say where things are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlacesError {
    /// Neither `HOME` nor `MCP_REMOTE_STATE_DIR` is set to an absolute path.
    NoHome,
    /// This variable names a path that depends on where a program stands.
    Relative(&'static str),
}

impl std::fmt::Display for PlacesError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoHome => f.write_str("HOME is not set to an absolute path, so there is no place to find the daemon: set HOME or MCP_REMOTE_STATE_DIR"),
            Self::Relative(variable) => write!(f, "{variable} is set to a relative path: set it to an absolute one, or not at all"),
        }
    }
}

impl std::error::Error for PlacesError {}

impl Places {
    /// Derives the places from the environment.
    ///
    /// # Errors
    /// [`PlacesError`] if there is nothing to derive them from, or one of our own
    /// variables is not an absolute path: ignoring it would lead elsewhere.
    pub fn new(environment: &Environment) -> Result<Self, PlacesError> {
        let absolute = |path: &Option<PathBuf>| path.clone().filter(|path| path.is_absolute());
        let state_dir = named("MCP_REMOTE_STATE_DIR", &environment.state_dir)?;
        let socket = named("MCP_REMOTE_SOCKET", &environment.socket)?;
        let state = match (state_dir, absolute(&environment.home)) {
            (Some(state), _) => state,
            (None, Some(home)) if cfg!(target_os = "macos") => {
                home.join("Library/Application Support").join(FOLDER)
            }
            (None, Some(home)) if cfg!(windows) => home.join("AppData/Local").join(FOLDER),
            (None, Some(home)) => home.join(".local/state").join(FOLDER),
            (None, None) => return Err(PlacesError::NoHome),
        };
        let mut runtime: Vec<PathBuf> = absolute(&environment.runtime_dir).into_iter().collect();
        if cfg!(target_os = "linux") {
            let by_uid = PathBuf::from(format!("/run/user/{}", user_id()));
            if !runtime.contains(&by_uid) {
                runtime.push(by_uid);
            }
        }
        Ok(Self {
            state,
            explicit: socket.map(Endpoint),
            runtime,
        })
    }

    /// Returns the state folder: instance lock, endpoint file, database, log.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Returns the endpoint that `MCP_REMOTE_SOCKET` names.
    pub fn explicit(&self) -> Option<&Endpoint> {
        self.explicit.as_ref()
    }

    /// Returns the file that names the live endpoint.
    pub fn endpoint_file(&self) -> PathBuf {
        self.state.join("endpoint")
    }

    /// Returns the endpoint that this user's daemon is known to use: the one that
    /// `MCP_REMOTE_SOCKET` names, else the one in the endpoint file.
    pub fn named(&self) -> Option<Endpoint> {
        self.explicit.clone().or_else(|| self.read_endpoint_file())
    }

    /// Returns where a shim looks, in this order.
    pub fn to_find(&self) -> Vec<Endpoint> {
        if let Some(explicit) = &self.explicit {
            return vec![explicit.clone()];
        }
        let mut endpoints: Vec<Endpoint> = Vec::new();
        for endpoint in self.named().into_iter().chain(self.usual()) {
            if !endpoints.contains(&endpoint) {
                endpoints.push(endpoint);
            }
        }
        endpoints
    }

    /// Returns where a daemon tries to listen, in this order: the first whose
    /// folder exists (or can be made), whose path fits, and which no daemon of
    /// another HOME holds.
    pub fn to_listen(&self) -> Vec<Endpoint> {
        if let Some(explicit) = &self.explicit {
            return vec![explicit.clone()];
        }
        let mut endpoints = self.usual();
        endpoints.push(self.short());
        endpoints
    }

    /// Names the live endpoint for later shims, atomically.
    ///
    /// # Errors
    /// Whatever writing or renaming gives.
    pub fn write_endpoint_file(&self, endpoint: &Endpoint) -> io::Result<()> {
        let file = self.endpoint_file();
        let temporary = file.with_extension(format!("{}.tmp", std::process::id()));
        std::fs::write(&temporary, endpoint.0.as_os_str().as_encoded_bytes())?;
        std::fs::rename(&temporary, &file)
    }

    fn read_endpoint_file(&self) -> Option<Endpoint> {
        let text = std::fs::read_to_string(self.endpoint_file()).ok()?;
        let path = PathBuf::from(text.trim_end_matches('\n'));
        (cfg!(windows) || path.is_absolute()).then_some(Endpoint(path))
    }

    fn usual(&self) -> Vec<Endpoint> {
        if cfg!(windows) {
            return vec![Endpoint(PathBuf::from(format!(
                r"\\.\pipe\mcp-remote-{:016x}",
                self.fingerprint()
            )))];
        }
        let folders = self.runtime.iter().map(|folder| folder.join(FOLDER));
        folders
            .chain([self.state.clone()])
            .map(|folder| folder.join(SOCKET))
            .filter(|path| path.as_os_str().len() <= MAX_SOCKET_PATH)
            .map(Endpoint)
            .collect()
    }

    /// A path that fits whatever HOME is; found through the endpoint file.
    fn short(&self) -> Endpoint {
        let folder = format!("/tmp/{FOLDER}-{}", user_id());
        Endpoint(Path::new(&folder).join(format!("{:016x}.sock", self.fingerprint())))
    }

    /// FNV-1a over the state folder's path: tells two HOMEs apart, no more.
    fn fingerprint(&self) -> u64 {
        let bytes = self.state.as_os_str().as_encoded_bytes();
        bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
    }
}

/// Takes the value of one of our own variables.
fn named(variable: &'static str, path: &Option<PathBuf>) -> Result<Option<PathBuf>, PlacesError> {
    match path {
        Some(path) if !path.is_absolute() => Err(PlacesError::Relative(variable)),
        path => Ok(path.clone()),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn places(home: &str, runtime_dir: Option<&str>) -> Places {
        let environment = Environment {
            home: Some(home.into()),
            runtime_dir: runtime_dir.map(PathBuf::from),
            ..Environment::default()
        };
        Places::new(&environment).expect("home is absolute")
    }

    fn paths(endpoints: &[Endpoint]) -> Vec<String> {
        endpoints.iter().map(Endpoint::to_string).collect()
    }

    #[test]
    fn places_follow_home_and_the_runtime_folder() {
        let uid = user_id();
        let found = paths(&places("/nonexistent/home", Some("/xdg")).to_find());
        assert_eq!(found[0], "/xdg/mcp-remote/daemon.sock");
        #[cfg(target_os = "linux")]
        assert_eq!(found[1], format!("/run/user/{uid}/mcp-remote/daemon.sock"));
        assert_eq!(
            paths(&places("/h", None).to_listen())
                .last()
                .map(|path| path.starts_with(&format!("/tmp/mcp-remote-{uid}/"))),
            Some(true)
        );
        #[cfg(target_os = "linux")]
        assert_eq!(
            found[2],
            "/nonexistent/home/.local/state/mcp-remote/daemon.sock"
        );
    }

    #[test]
    fn a_path_that_does_not_fit_is_not_a_candidate() {
        let long = format!("/{}", "h".repeat(120));
        let listen = places(&long, None).to_listen();
        assert!(
            listen
                .iter()
                .all(|endpoint| endpoint.path().as_os_str().len() <= MAX_SOCKET_PATH)
        );
        assert!(listen.last().is_some_and(|endpoint| {
            endpoint
                .path()
                .starts_with(format!("/tmp/mcp-remote-{}", user_id()))
        }));
    }

    #[test]
    fn an_explicit_socket_stands_alone() {
        let environment = Environment {
            home: Some("/h".into()),
            socket: Some("/s/x.sock".into()),
            ..Environment::default()
        };
        let places = Places::new(&environment).expect("home is absolute");
        assert_eq!(paths(&places.to_find()), ["/s/x.sock"]);
        assert_eq!(paths(&places.to_listen()), ["/s/x.sock"]);
    }

    #[test]
    fn a_relative_home_is_no_home() {
        let environment = Environment {
            home: Some("h".into()),
            ..Environment::default()
        };
        assert_eq!(Places::new(&environment).err(), Some(PlacesError::NoHome));
    }

    #[test]
    fn a_relative_path_in_our_own_variables_is_said() {
        let base = Environment {
            home: Some("/h".into()),
            ..Environment::default()
        };
        let socket = Environment {
            socket: Some("x.sock".into()),
            ..base.clone()
        };
        let state_dir = Environment {
            state_dir: Some("./state".into()),
            ..base
        };
        for (environment, variable) in [
            (socket, "MCP_REMOTE_SOCKET"),
            (state_dir, "MCP_REMOTE_STATE_DIR"),
        ] {
            assert_eq!(
                Places::new(&environment).err(),
                Some(PlacesError::Relative(variable))
            );
        }
    }
}
