//! Makes an older daemon give way to the release that is installed now.
//!
//! Never the reverse: a newer daemon is used or refused, not replaced. A daemon is
//! asked only if a newer one will certainly follow, once in the life of a shim and
//! once in ten seconds by all shims together, so that no two releases can fight.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use mcp_remote_proto::release::Release;
use mcp_remote_proto::v1::HandoverRequest;
use mcp_remote_proto::{API_VERSION, VERSION};
use tokio::time::{Instant, sleep, timeout};

use crate::daemon::Daemon;
use crate::exit::ShimError;

use super::{Found, Launcher, PATIENCE, gone, mismatch, not_started, start};

/// Touched by whoever asks a daemon to make place.
const FILE: &str = "handover";

/// How long no other shim asks then.
const COOLDOWN: Duration = Duration::from_secs(10);

/// How long a daemon may take to say whether it makes place.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a service manager may take to start the successor; then it is started
/// as any other.
const SERVICE_PATIENCE: Duration = Duration::from_secs(5);

/// Between two looks for it.
const SERVICE_INTERVAL: Duration = Duration::from_millis(20);

/// Why the older daemon stays.
enum Stays {
    /// Another shim has just tried.
    Cooling,
    /// A sentence for the user.
    Because(String),
}

/// Says whether a daemon is of an older release or contract than this shim.
pub(super) fn is_older(daemon: &Daemon) -> bool {
    daemon.hello.api_version < API_VERSION
        || (daemon.hello.api_version == API_VERSION
            && Release::read(&daemon.hello.version) < Release::read(VERSION))
}

/// Says whether a daemon is of a newer release than this shim.
pub(super) fn is_newer(daemon: &Daemon) -> bool {
    Release::read(&daemon.hello.version) > Release::read(VERSION)
}

impl Launcher {
    /// Replaces an older daemon. One that stays is used if it understands us.
    ///
    /// # Errors
    /// It stays and does not understand us; or it went and no other can be had.
    pub(super) async fn succeed(&self, daemon: Daemon) -> Result<Daemon, ShimError> {
        if self.asked.swap(true, Ordering::Relaxed) {
            return Ok(daemon);
        }
        let Ok(turn) = timeout(PATIENCE, self.start_lock()).await else {
            return self.go_on(
                daemon,
                Stays::Because("another mcp-remote is stuck".to_owned()),
            );
        };
        let _turn = turn?;
        // Another shim may have done it meanwhile.
        let daemon = match self.find().await {
            Found::Daemon(daemon) if is_older(&daemon) => daemon,
            Found::Daemon(daemon) => return Ok(daemon),
            Found::Nothing => return self.start_locked().await,
            Found::Silent(error) => return Err(error),
        };
        if let Err(stays) = self.ask(&daemon).await {
            return self.go_on(daemon, stays);
        }
        let by_service = is_service(&daemon);
        let pid = daemon.hello.pid;
        if !gone(daemon, PATIENCE).await {
            return Err(not_started(format!(
                "the older one (pid {pid}) was asked to make place and is still running: end that process"
            )));
        }
        // One that is installed is asked for below.
        if by_service
            && !self.is_service()
            && let Some(successor) = self.await_service().await
        {
            return Ok(successor);
        }
        self.start_locked().await
    }

    /// Asks a daemon to make place, if that makes sense now.
    async fn ask(&self, daemon: &Daemon) -> Result<(), Stays> {
        let file = self.places.state().join(FILE);
        if is_fresh(&file) {
            return Err(Stays::Cooling);
        }
        let program = if is_service(daemon) {
            PathBuf::from(&daemon.hello.executable)
        } else {
            start::find_program(&self.environment)
                .map_err(|error| Stays::Because(error.sentence))?
        };
        let name = program.display().to_string();
        if start::release_of(program).await <= Some(Release::read(&daemon.hello.version)) {
            return Err(Stays::Because(format!(
                "{name} is not newer either: update it"
            )));
        }
        // Without it the next shim may ask once more, that is all.
        drop(std::fs::write(&file, VERSION));
        self.notices
            .debug(format_args!("asking {daemon} to make place"));
        let request = HandoverRequest {
            version: VERSION.to_owned(),
        };
        let answer = timeout(ANSWER_TIMEOUT, daemon.ask(request)).await;
        match answer {
            Ok(Ok(answer)) if answer.accepted => Ok(()),
            Ok(Ok(answer)) => Err(Stays::Because(answer.reason)),
            Ok(Err(status)) => Err(Stays::Because(status.message().to_owned())),
            Err(_) => Err(Stays::Because("it does not answer".to_owned())),
        }
    }

    /// Goes on with a daemon that stays.
    fn go_on(&self, daemon: Daemon, stays: Stays) -> Result<Daemon, ShimError> {
        let understood = daemon.hello.api_version == API_VERSION;
        match stays {
            Stays::Cooling if understood => {}
            Stays::Cooling => return Err(mismatch(&daemon, "it was asked to make place just now")),
            Stays::Because(reason) if understood => self.notices.info(format_args!(
                "mcp-remote {VERSION} goes on with the older mcp-remoted {} (pid {}), which does not make place: {reason}",
                daemon.hello.version, daemon.hello.pid,
            )),
            Stays::Because(reason) => return Err(mismatch(&daemon, &reason)),
        }
        Ok(daemon)
    }

    /// Waits for the daemon that the service manager starts.
    async fn await_service(&self) -> Option<Daemon> {
        let deadline = Instant::now() + SERVICE_PATIENCE;
        while Instant::now() < deadline {
            if let Found::Daemon(daemon) = self.find().await {
                return Some(daemon);
            }
            sleep(SERVICE_INTERVAL).await;
        }
        None
    }
}

/// Says whether a service manager starts a daemon again that makes place.
fn is_service(daemon: &Daemon) -> bool {
    matches!(daemon.hello.started_by.as_str(), "systemd" | "launchd")
}

/// Says whether somebody has asked just now, by the clock that all shims have. A
/// time to come tells nothing.
fn is_fresh(file: &Path) -> bool {
    let touched = std::fs::metadata(file).and_then(|metadata| metadata.modified());
    let age = touched.ok().and_then(|touched| touched.elapsed().ok());
    age.is_some_and(|age| age < COOLDOWN)
}
