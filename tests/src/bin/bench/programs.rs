//! What is measured: where each program is and how it is started. Knows no
//! time and no protocol.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Failure;
use crate::home::Home;

/// The programs, built and installed.
#[derive(Debug)]
pub(crate) struct Programs {
    /// Our shim.
    pub(crate) shim: PathBuf,
    /// Our daemon.
    pub(crate) daemon: PathBuf,
    /// The direct client.
    pub(crate) direct: PathBuf,
    /// The folder with the npm packages.
    pub(crate) peers: PathBuf,
}

/// How the npm package is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Npm {
    /// `npx -y mcp-remote`, found in the project, so without the network.
    Npx,
    /// `node proxy.js`, which is what npx ends up running.
    Node,
}

impl Programs {
    /// Builds the release binaries, and installs the npm packages if needed.
    pub(crate) fn build() -> Result<Self, Failure> {
        let (root, target) = folders()?;
        let installed = install(&root, &target)?;
        let direct = ["--release", "-p", "mcp-remote-tests", "--bin", "direct"];
        build(&root, &target, &direct)?;
        let peers = root.join("tests/peers");
        succeed(Command::new("sh").arg(peers.join("install.sh")).arg("npm"))?;
        Ok(Self {
            direct: target.join("release/direct"),
            ..Self::within(&installed, peers)
        })
    }

    /// What the soak needs: the release binaries, built, or in a debug build
    /// those beside this executable.
    pub(crate) fn for_soak() -> Result<Self, Failure> {
        if cfg!(debug_assertions) {
            let own = std::env::current_exe()?;
            let folder = own.parent().ok_or("an executable is in a folder")?;
            return Ok(Self::within(folder, PathBuf::new()));
        }
        let (root, target) = folders()?;
        Ok(Self::within(&install(&root, &target)?, PathBuf::new()))
    }

    fn within(folder: &Path, peers: PathBuf) -> Self {
        Self {
            shim: folder.join("mcp-remote"),
            daemon: folder.join("mcp-remoted"),
            direct: folder.join("direct"),
            peers,
        }
    }

    /// Our shim, in a HOME that decides whether it finds a daemon.
    pub(crate) fn shim(&self, home: &Home, url: &str) -> Command {
        let mut command = home.command(&self.shim);
        command.arg(url);
        command
    }

    /// Our shim as a command of a shell.
    pub(crate) fn call(&self, home: &Home, url: &str) -> Command {
        let mut command = home.command(&self.shim);
        command.args(["call", url, "echo", "--message", "hello"]);
        command
    }

    /// The direct client.
    pub(crate) fn direct(&self, home: &Home, mode: &str, url: &str) -> Command {
        let mut command = home.command(&self.direct);
        command.args([mode, url]);
        command
    }

    /// The npm package.
    pub(crate) fn npm(&self, how: Npm, home: &Home, url: &str) -> Command {
        let mut command = match how {
            Npm::Npx => {
                let mut command = home.command("npx");
                command.args(["-y", "mcp-remote"]);
                command
            }
            Npm::Node => {
                let mut command = home.command("node");
                command.arg(self.peers.join("node_modules/mcp-remote/dist/proxy.js"));
                command
            }
        };
        command.arg(url).current_dir(&self.peers);
        command.env("npm_config_update_notifier", "false");
        command
    }
}

/// Returns the search path of this process, for the programs that it starts.
pub(crate) fn search_path() -> OsString {
    std::env::vars_os()
        .find_map(|(name, value)| (name == "PATH").then_some(value))
        .unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into())
}

/// The folder of the sources, and that of what is built.
fn folders() -> Result<(PathBuf, PathBuf), Failure> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()?;
    let own = std::env::current_exe()?;
    let target = own
        .parent()
        .and_then(Path::parent)
        .ok_or("the benchmark has to run from cargo's target folder")?;
    Ok((root, target.to_owned()))
}

/// Builds both programs as they are installed, and puts them side by side; returns
/// where. Apart, since cargo gives crates that are built together the features of both.
fn install(root: &Path, target: &Path) -> Result<PathBuf, Failure> {
    build(root, target, &["--release", "-p", "mcp-remoted"])?;
    build(root, target, &["--profile", "shim", "-p", "mcp-remote"])?;
    let installed = target.join("installed");
    std::fs::create_dir_all(&installed)?;
    for (built, program) in [("shim", "mcp-remote"), ("release", "mcp-remoted")] {
        let new = installed.join(format!(".{program}.new"));
        std::fs::copy(target.join(built).join(program), &new)?;
        std::fs::rename(&new, installed.join(program))?;
    }
    Ok(installed)
}

fn build(root: &Path, target: &Path, what: &[&str]) -> Result<(), Failure> {
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--locked", "--target-dir"]);
    build.arg(target).args(what).current_dir(root);
    succeed(&mut build)
}

fn succeed(command: &mut Command) -> Result<(), Failure> {
    let status = command.stdout(std::io::stderr()).status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{command:?} failed: {status}").into())
    }
}
