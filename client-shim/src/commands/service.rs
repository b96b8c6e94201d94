//! `mcp-remote service`: the daemon as a unit of systemd or an agent of launchd.
//!
//! Files are written before the manager hears of them and put back as they were if
//! it does not take them. A file without our mark is never touched.

use std::path::{Path, PathBuf};

use mcp_remote_proto::endpoint::PlacesError;

use crate::cli::{ServiceArguments, Verb};
use crate::environment::Environment;
use crate::exit::{Exit, ShimError};
use crate::launch::{Found, Launcher};
use crate::notices::Notices;
use crate::service::{Service, Settings, Step};

use super::print;

mod files;

use files::Written;

/// Where the token files are, if not where they usually are.
const CONFIG_DIR: &str = "MCP_REMOTE_CONFIG_DIR";

/// What a command about the service needs.
struct Work<'a> {
    service: Service,
    launcher: &'a Launcher,
    notices: Notices,
    dry_run: bool,
}

/// Does what was asked for.
///
/// # Errors
/// There is no manager, it refuses, or a file cannot be written.
pub(crate) async fn run(
    arguments: ServiceArguments,
    environment: &Environment,
    launcher: &Launcher,
    notices: Notices,
) -> Result<Exit, ShimError> {
    let Some(service) = Service::of(environment) else {
        return Err(none(environment));
    };
    let work = Work {
        service,
        launcher,
        notices,
        dry_run: arguments.dry_run,
    };
    match arguments.verb {
        Verb::Install => work.install(environment).await,
        Verb::Uninstall => work.uninstall(),
        Verb::Start => work.steer(work.service.start_steps(), "runs").await,
        Verb::Restart => work.steer(work.service.restart_steps(), "runs").await,
        Verb::Stop => work.steer(work.service.stop_steps(), "has stopped").await,
        Verb::Status => work.status(),
        Verb::Logs => work.logs(arguments.follow),
    }
}

fn none(environment: &Environment) -> ShimError {
    let places = environment.places();
    let named = if places.socket.is_some() {
        "MCP_REMOTE_SOCKET"
    } else if places.state_dir.is_some() {
        "MCP_REMOTE_STATE_DIR"
    } else if cfg!(any(target_os = "linux", target_os = "macos")) {
        return ShimError::general("HOME is not set to an absolute path: set it and try again");
    } else {
        return ShimError::general(
            "there are services on Linux and macOS only: here mcp-remote starts its daemon by itself",
        );
    };
    ShimError::general(format!(
        "a service has the usual places, and {named} names others: unset it, or run mcp-remoted yourself"
    ))
}

impl Work<'_> {
    async fn install(&self, environment: &Environment) -> Result<Exit, ShimError> {
        let config_dir = environment.path(CONFIG_DIR);
        if config_dir.as_ref().is_some_and(|path| !path.is_absolute()) {
            // A manager starts the daemon in another folder than this one.
            let sentence = PlacesError::Relative(CONFIG_DIR).to_string();
            return Err(ShimError::new(Exit::USAGE, sentence));
        }
        let program = self.launcher.daemon_program()?;
        if may_go_away(&program) {
            self.notices.info(format_args!(
                "{} is in a folder for builds, packages or temporary files and may go away: better install mcp-remoted elsewhere, for instance in ~/.local/bin, and run this again",
                program.display()
            ));
        }
        let files = self.service.files(&Settings {
            program,
            state: self.launcher.state().to_owned(),
            config_dir,
        })?;
        if self.dry_run {
            let mut text = String::new();
            for file in &files {
                text.push_str(&format!(
                    "would write {}:\n{}\n",
                    file.path.display(),
                    file.text
                ));
            }
            text.push_str(&would_run(&self.service.install_steps(false)));
            return print(&text);
        }
        self.service.reach()?;
        // A service of launchd has its socket in there, and makes no folders.
        let _turn = self.launcher.start_lock().await?;
        let written = files::write(&files)?;
        if let Err(why) = self.take(&self.service.install_steps(written.replaced())) {
            let restored = if written.is_first() {
                "everything is"
            } else {
                "its files are"
            };
            self.undo(written);
            return Err(ShimError::general(format!(
                "the {} could not be installed: {why}; {restored} as before",
                self.service.name()
            )));
        }
        let mut text = written.report();
        text.push_str(&self.running().await);
        print(&text)
    }

    /// Puts the files back, and has the manager forget what it heard. A service that
    /// was there before is not taken down.
    fn undo(&self, written: Written) {
        if written.is_first() {
            let _disabled = self.take(&self.service.disable_steps());
        }
        let replaced = written.replaced();
        written.undo();
        let _forgot = self.take(&self.service.forget_steps());
        if replaced {
            // It may have been stopped for files that were not good.
            let _started = self.take(&self.service.start_steps());
        }
    }

    fn uninstall(&self) -> Result<Exit, ShimError> {
        let paths: Vec<PathBuf> = self.service.paths();
        let ours = files::ours(&paths)?;
        if ours.is_empty() {
            return print("the service is not installed: there is nothing to undo\n");
        }
        let (before, after) = (self.service.disable_steps(), self.service.forget_steps());
        if self.dry_run {
            let mut text = would_run(&before);
            for path in &ours {
                text.push_str(&format!("would remove {}\n", path.display()));
            }
            text.push_str(&would_run(&after));
            return print(&text);
        }
        let mut text = String::new();
        match self.service.reach() {
            Ok(()) => self.take(&before).map_err(|why| {
                ShimError::general(format!(
                    "the {} stays installed: {why}",
                    self.service.name()
                ))
            })?,
            Err(error) => {
                self.notices
                    .info(format_args!("{error}; only files are removed"));
                for link in self.service.links() {
                    if files::remove_link(&link, &ours) {
                        text.push_str(&format!("removed {}\n", link.display()));
                    }
                }
            }
        }
        for path in &ours {
            files::remove(path)?;
            text.push_str(&format!("removed {}\n", path.display()));
        }
        // Without a manager there is nobody who would have to forget.
        let _forgot = self.take(&after);
        text.push_str("the next mcp-remote starts its daemon by itself\n");
        print(&text)
    }

    /// Starts, stops or restarts; `state`: what the daemon does then.
    async fn steer(&self, steps: Vec<Step>, state: &str) -> Result<Exit, ShimError> {
        self.must_be_installed()?;
        if self.dry_run {
            return print(&would_run(&steps));
        }
        if let Err(why) = self.take(&steps) {
            self.service.reach()?;
            return Err(ShimError::general(format!(
                "{why} (mcp-remote service status and mcp-remote service logs say more)"
            )));
        }
        match state {
            "runs" => print(&self.running().await),
            _ => print("mcp-remoted has stopped; the next mcp-remote starts the service again\n"),
        }
    }

    fn status(&self) -> Result<Exit, ShimError> {
        self.must_be_installed()?;
        let standing = self.service.standing()?;
        let mut text = String::new();
        for line in standing.lines {
            text.push_str(&line);
            text.push('\n');
        }
        for path in self.service.paths() {
            let by_hand = if files::is_ours(&path) {
                ""
            } else {
                " (not written by mcp-remote)"
            };
            text.push_str(&format!("{}{by_hand}\n", path.display()));
        }
        print(&text)?;
        Ok(standing.exit.unwrap_or(Exit::NOT_RUNNING))
    }

    /// Shows the log as the program that keeps it does.
    fn logs(&self, follow: bool) -> Result<Exit, ShimError> {
        self.must_be_installed()?;
        let step = self.service.log_step(self.launcher.state(), follow);
        let status = self.service.command(&step).status().map_err(|error| {
            ShimError::general(format!(
                "{step} cannot be run ({error}): the log is not shown"
            ))
        })?;
        Ok(if status.success() {
            Exit::OK
        } else {
            Exit::ERROR
        })
    }

    fn must_be_installed(&self) -> Result<(), ShimError> {
        if self.service.is_installed() {
            return Ok(());
        }
        Err(ShimError::new(
            Exit::NOT_RUNNING,
            "the service is not installed: run mcp-remote service install",
        ))
    }

    /// Has the manager do all this, until it refuses.
    fn take(&self, steps: &[Step]) -> Result<(), String> {
        steps.iter().try_for_each(|step| {
            self.notices.debug(format_args!("running {step}"));
            self.service.run(step)
        })
    }

    /// Says which daemon answers now.
    async fn running(&self) -> String {
        match self.launcher.find().await {
            Found::Daemon(daemon) => format!("{daemon} runs\n"),
            _ => "the service has been started, and its daemon does not answer yet: see mcp-remote service status\n".to_owned(),
        }
    }
}

fn would_run(steps: &[Step]) -> String {
    let lines = steps.iter().map(|step| format!("would run {step}\n"));
    lines.collect()
}

/// Whether a program stands where things are thrown away.
fn may_go_away(program: &Path) -> bool {
    let in_cache = |folder: &Path| folder.join("CACHEDIR.TAG").is_file();
    program.ancestors().skip(1).any(in_cache)
        || program.starts_with(std::env::temp_dir())
        || program
            .components()
            .any(|part| part.as_os_str() == "node_modules")
}
