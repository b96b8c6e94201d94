//! The daemon as a service of this user: which manager there is, the files that tell
//! it about the daemon, and the commands that steer it.
//!
//! Serves the usual places only: whoever names a state folder or a socket runs the
//! daemon as before. Everything that a manager is told goes through [`Step`].

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use mcp_remote_proto::endpoint::user_id;
use tokio::time::timeout;

use crate::environment::Environment;
use crate::exit::{Exit, ShimError};

mod launchd;
mod systemd;

/// Every file that `service install` writes says so in these words.
pub(crate) const MARK: &str = "Written by `mcp-remote service install`";

/// How long a manager may take to start the daemon, which may have to wait for
/// another one to make place.
const START_TIMEOUT: Duration = Duration::from_secs(40);

/// Which service manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Systemd,
    Launchd,
}

/// This user's service manager, whether it runs or not.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    kind: Kind,
    home: PathBuf,
    /// Whether the environment says where the manager of systemd is.
    says_where: bool,
}

/// What the files say.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The daemon's executable.
    pub(crate) program: PathBuf,
    /// The state folder.
    pub(crate) state: PathBuf,
    /// `MCP_REMOTE_CONFIG_DIR`, if it is set.
    pub(crate) config_dir: Option<PathBuf>,
}

/// A file that tells the manager about the daemon.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UnitFile {
    /// Where the manager looks for it.
    pub(crate) path: PathBuf,
    /// What it says.
    pub(crate) text: String,
}

/// A command to the manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    program: &'static str,
    arguments: Vec<String>,
}

/// How a start went.
#[derive(Debug)]
pub(crate) enum Started {
    /// The daemon runs.
    Yes,
    /// There is no manager to ask, since.
    NoManager(String),
}

/// What the manager says of the service.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// One line a unit.
    pub(crate) lines: Vec<String>,
    /// How that is, for scripts.
    pub(crate) exit: Option<Exit>,
}

impl Step {
    fn new<'a>(program: &'static str, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            program,
            arguments: arguments.into_iter().map(str::to_owned).collect(),
        }
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.program)?;
        for argument in &self.arguments {
            match argument.contains(' ') {
                true => write!(f, " '{argument}'")?,
                false => write!(f, " {argument}")?,
            }
        }
        Ok(())
    }
}

impl Service {
    /// Returns this user's service manager, if it would serve what this command uses.
    pub(crate) fn of(environment: &Environment) -> Option<Self> {
        let kind = if cfg!(target_os = "macos") {
            Kind::Launchd
        } else if cfg!(target_os = "linux") {
            Kind::Systemd
        } else {
            return None;
        };
        let places = environment.places();
        if places.state_dir.is_some() || places.socket.is_some() {
            return None;
        }
        let home = places.home.filter(|home| home.is_absolute())?;
        Some(Self {
            kind,
            home,
            says_where: places.runtime_dir.is_some(),
        })
    }

    /// What people call it.
    pub(crate) fn name(&self) -> &'static str {
        match self.kind {
            Kind::Systemd => "systemd user unit",
            Kind::Launchd => "launchd agent",
        }
    }

    /// Where its files are. The first stands for all.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        match self.kind {
            Kind::Systemd => systemd::paths(&self.home),
            Kind::Launchd => launchd::paths(&self.home),
        }
    }

    /// Whether it is installed, by us or by hand.
    pub(crate) fn is_installed(&self) -> bool {
        self.paths().first().is_some_and(|path| path.is_file())
    }

    /// Returns its files.
    ///
    /// # Errors
    /// A path cannot be written in them.
    pub(crate) fn files(&self, settings: &Settings) -> Result<Vec<UnitFile>, ShimError> {
        match self.kind {
            Kind::Systemd => systemd::files(&self.home, settings),
            Kind::Launchd => launchd::files(&self.home, settings),
        }
    }

    /// What makes it read its files and start the daemon at every login and now.
    /// `changed`: what it may have read before.
    pub(crate) fn install_steps(&self, changed: bool) -> Vec<Step> {
        match self.kind {
            Kind::Systemd => systemd::install(changed),
            Kind::Launchd => launchd::install(&self.home, changed),
        }
    }

    /// What makes it stop the daemon and not start it again, before its files go.
    pub(crate) fn disable_steps(&self) -> Vec<Step> {
        match self.kind {
            Kind::Systemd => systemd::disable(),
            Kind::Launchd => launchd::disable(),
        }
    }

    /// What makes it forget, after its files went.
    pub(crate) fn forget_steps(&self) -> Vec<Step> {
        match self.kind {
            Kind::Systemd => systemd::forget(),
            Kind::Launchd => Vec::new(),
        }
    }

    /// Links that the manager makes beside its files when they are enabled.
    pub(crate) fn links(&self) -> Vec<PathBuf> {
        match self.kind {
            Kind::Systemd => systemd::links(&self.home),
            Kind::Launchd => Vec::new(),
        }
    }

    /// What starts the daemon.
    pub(crate) fn start_steps(&self) -> Vec<Step> {
        match self.kind {
            Kind::Systemd => systemd::start(),
            Kind::Launchd => launchd::start(&self.home),
        }
    }

    /// What stops it.
    pub(crate) fn stop_steps(&self) -> Vec<Step> {
        match self.kind {
            Kind::Systemd => systemd::stop(),
            Kind::Launchd => launchd::stop(),
        }
    }

    /// What starts it anew.
    pub(crate) fn restart_steps(&self) -> Vec<Step> {
        match self.kind {
            Kind::Systemd => systemd::restart(),
            Kind::Launchd => launchd::restart(),
        }
    }

    /// What shows its log.
    pub(crate) fn log_step(&self, state: &Path, follow: bool) -> Step {
        match self.kind {
            Kind::Systemd => systemd::log(follow),
            Kind::Launchd => launchd::log(state, follow),
        }
    }

    /// Asks the manager how the service stands.
    ///
    /// # Errors
    /// The manager does not answer.
    pub(crate) fn standing(&self) -> Result<Standing, ShimError> {
        let step = match self.kind {
            Kind::Systemd => systemd::show(),
            Kind::Launchd => launchd::show(),
        };
        let output = self.command(&step).stderr(Stdio::null()).output();
        let output = output.map_err(|error| self.no_manager(&cannot_run(&step, &error)))?;
        let text = String::from_utf8_lossy(&output.stdout);
        match self.kind {
            Kind::Systemd if !output.status.success() => {
                Err(self.no_manager(&format!("{step} failed")))
            }
            Kind::Systemd => Ok(systemd::standing(&text)),
            Kind::Launchd => Ok(launchd::standing(output.status.success().then_some(&text))),
        }
    }

    /// Whether there is a manager that takes orders.
    ///
    /// # Errors
    /// Why there is none, one sentence with what to do.
    pub(crate) fn reach(&self) -> Result<(), ShimError> {
        let step = match self.kind {
            Kind::Systemd => systemd::reach(),
            Kind::Launchd => launchd::reach(),
        };
        self.run(&step).map_err(|why| self.no_manager(&why))
    }

    /// Starts the daemon, waiting until it is ready.
    ///
    /// # Errors
    /// The manager cannot start it.
    pub(crate) async fn start(&self) -> Result<Started, ShimError> {
        let service = self.clone();
        let starting = tokio::task::spawn_blocking(move || service.start_here());
        match timeout(START_TIMEOUT, starting).await {
            Ok(Ok(started)) => started,
            Ok(Err(error)) => Err(self.not_started(&error.to_string())),
            Err(_) => Err(self.not_started("it takes too long")),
        }
    }

    fn start_here(&self) -> Result<Started, ShimError> {
        for step in self.start_steps() {
            if let Err(why) = self.run(&step) {
                return match self.reach() {
                    Ok(()) => Err(self.not_started(&why)),
                    Err(_) => Ok(Started::NoManager(why)),
                };
            }
        }
        Ok(Started::Yes)
    }

    /// Forgets that the daemon ended often: those were no crashes.
    pub(crate) fn forgive(&self) {
        if self.kind == Kind::Systemd && self.is_installed() {
            // It matters only if it ends often.
            let _forgiven = self.run(&systemd::forgive());
        }
    }

    /// Runs a command to its end; says why it failed.
    pub(crate) fn run(&self, step: &Step) -> Result<(), String> {
        let output = self.command(step).stdout(Stdio::null()).output();
        let output = output.map_err(|error| cannot_run(step, &error))?;
        if output.status.success() {
            return Ok(());
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        // What comes after the first line is advice for experts.
        let line = errors.lines().find(|line| !line.trim().is_empty());
        let line = line.map_or("it gave no reason", str::trim);
        let clean: String = line.chars().filter(|char| !char.is_control()).collect();
        Err(format!("{step} failed: {}", clean.trim_end_matches('.')))
    }

    /// Prepares a command: the manager is found also from a short environment.
    pub(crate) fn command(&self, step: &Step) -> Command {
        let mut command = Command::new(step.program);
        command.args(&step.arguments).stdin(Stdio::null());
        command.env("LC_ALL", "C");
        if self.kind == Kind::Systemd && !self.says_where {
            command.env("XDG_RUNTIME_DIR", format!("/run/user/{}", user_id()));
        }
        command
    }

    fn no_manager(&self, why: &str) -> ShimError {
        let advice = match self.kind {
            Kind::Systemd => {
                "log in as this user (not by su or sudo), or do without: mcp-remote starts its daemon by itself"
            }
            Kind::Launchd => "log in at the screen as this user",
        };
        ShimError::general(format!(
            "no service manager runs for this user ({why}): {advice}"
        ))
    }

    fn not_started(&self, why: &str) -> ShimError {
        ShimError::new(
            Exit::NOT_RUNNING,
            format!(
                "the {} mcp-remoted could not be started ({why}): mcp-remote service status and mcp-remote service logs say more",
                self.name()
            ),
        )
    }
}

fn cannot_run(step: &Step, error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => format!("there is no {}", step.program),
        _ => format!("{} cannot be run: {error}", step.program),
    }
}
