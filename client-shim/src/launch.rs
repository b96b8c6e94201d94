//! Finds this user's daemon, or starts one and waits until it is ready.
//!
//! Decides which daemon may be used: one of this HOME, of the same API version; an
//! older release is asked to make place first.
//! Never starts a second one: whoever starts holds `start.lock`, and the daemon
//! itself holds `lock`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mcp_remote_proto::endpoint::{self, Endpoint, Places, PlacesError};
use mcp_remote_proto::{API_VERSION, VERSION};
use tokio::time::{Instant, sleep, timeout};

use crate::daemon::{Daemon, DialError};
use crate::environment::Environment;
use crate::exit::{Exit, ShimError};
use crate::notices::Notices;
use crate::service::{Service, Started};

#[cfg(unix)]
mod descriptors;
mod handover;
mod lock;
mod start;

#[cfg(unix)]
pub(crate) use descriptors::keep_from_children;
use start::Report;
pub(crate) use start::find_program;

/// How long to wait for a daemon that holds the lock and does not answer: one
/// that is stopping drains for 5 s, ends its sessions, waits 25 s at worst for tokens
/// that it has asked for, and saves; this is past the sum.
pub(crate) const PATIENCE: Duration = Duration::from_secs(45);

/// Between two looks at such a daemon.
const INTERVAL: Duration = Duration::from_millis(50);

/// Finds and starts daemons.
pub(crate) struct Launcher {
    places: Places,
    environment: Environment,
    notices: Notices,
    /// The manager that may run the daemon as a service.
    service: Option<Service>,
    /// Whether an older daemon was asked to make place: once in a life.
    asked: AtomicBool,
    /// Whether a daemon was met already: what is said of the first one is said once.
    met: AtomicBool,
}

/// What a look around shows.
pub(crate) enum Found {
    /// This user's daemon.
    Daemon(Daemon),
    /// None.
    Nothing,
    /// One that does not say anything.
    Silent(ShimError),
}

impl Launcher {
    /// Derives the places from the environment.
    ///
    /// # Errors
    /// Nothing says where this user's files are.
    pub(crate) fn new(environment: Environment, notices: Notices) -> Result<Self, ShimError> {
        let places = Places::new(&environment.places()).map_err(|error| {
            let exit = match error {
                PlacesError::NoHome => Exit::NOT_RUNNING,
                PlacesError::Relative(_) => Exit::USAGE,
            };
            ShimError::new(exit, error.to_string())
        })?;
        Ok(Self {
            places,
            service: Service::of(&environment),
            environment,
            notices,
            asked: AtomicBool::new(false),
            met: AtomicBool::new(false),
        })
    }

    /// Where a daemon that a shim started says more.
    pub(crate) fn log_file(&self) -> PathBuf {
        self.places.state().join("mcp-remoted.log")
    }

    /// This user's state folder.
    pub(crate) fn state(&self) -> &Path {
        self.places.state()
    }

    /// Where the daemon's program is, for a service.
    ///
    /// # Errors
    /// It is nowhere.
    pub(crate) fn daemon_program(&self) -> Result<PathBuf, ShimError> {
        start::lasting_program(&self.environment)
    }

    /// Tells the service manager that the daemon's end was no crash.
    pub(crate) fn forgive(&self) {
        self.service.iter().for_each(Service::forgive);
    }

    /// Looks for a daemon that runs. The socket of a service would start one.
    pub(crate) async fn look(&self) -> Found {
        if self.is_service() && lock::is_free(&self.places.state().join("lock")) {
            return Found::Nothing;
        }
        self.find().await
    }

    /// Whether the daemon is to run as a service.
    fn is_service(&self) -> bool {
        self.service.as_ref().is_some_and(Service::is_installed)
    }

    /// Looks for the daemon, and connects to the socket of a service, which starts it.
    pub(crate) async fn find(&self) -> Found {
        // Who is silent elsewhere may be anybody.
        let named = self.places.named();
        let mut silent = None;
        for endpoint in self.places.to_find() {
            match Daemon::dial(&endpoint).await {
                Ok(daemon) if self.is_ours(&daemon) => return Found::Daemon(daemon),
                Ok(daemon) => self.notices.debug(format_args!(
                    "{daemon} serves {}, not {}: not used",
                    daemon.hello.state_folder,
                    self.places.state().display()
                )),
                Err(DialError::Absent) => {}
                Err(DialError::Silent) if named.as_ref() == Some(&endpoint) => {
                    silent = Some(endpoint);
                }
                Err(DialError::Silent) => self.notices.debug(format_args!(
                    "what listens on {endpoint} does not answer: not used"
                )),
            }
        }
        match silent {
            Some(endpoint) => Found::Silent(self.silent(&endpoint)),
            None => Found::Nothing,
        }
    }

    /// Returns a daemon that understands us; starts one if none runs.
    ///
    /// # Errors
    /// None can be started, or the one that runs does not understand us.
    pub(crate) async fn connect(&self) -> Result<Daemon, ShimError> {
        let mut daemon = self.find_or_start().await?;
        if handover::is_older(&daemon) {
            daemon = self.succeed(daemon).await?;
        }
        if daemon.hello.api_version != API_VERSION {
            return Err(mismatch(&daemon, ""));
        }
        let is_first = !self.met.swap(true, Ordering::Relaxed);
        if is_first && handover::is_newer(&daemon) {
            self.notices.info(format_args!(
                "this is mcp-remote {VERSION}, older than the daemon {} ({}), which it uses: update it",
                daemon.hello.version, daemon.hello.executable
            ));
        }
        Ok(daemon)
    }

    async fn find_or_start(&self) -> Result<Daemon, ShimError> {
        let deadline = Instant::now() + PATIENCE;
        let daemon = loop {
            match self.find().await {
                Found::Daemon(daemon) => {
                    self.notices.debug(format_args!("found {daemon}"));
                    return Ok(daemon);
                }
                // Whoever connects while a service is restarted waits in its socket.
                Found::Silent(_) if self.is_service() && Instant::now() < deadline => {
                    self.notices
                        .debug("the service does not answer yet: waiting");
                }
                Found::Silent(error) => return Err(error),
                Found::Nothing => break self.start().await?,
            }
        };
        self.notices.debug(format_args!("started {daemon}"));
        Ok(daemon)
    }

    async fn start(&self) -> Result<Daemon, ShimError> {
        let _start_lock = self.start_lock().await?;
        self.start_locked().await
    }

    /// Waits for its turn to start a daemon or to end one.
    pub(crate) async fn start_lock(&self) -> Result<File, ShimError> {
        let state = self.places.state();
        endpoint::private_folder(state).map_err(|error| {
            if error.is_open_to_others() {
                not_started(error.to_string()).with(Exit::UNSAFE_FOLDER)
            } else {
                not_started(format!(
                    "{error}: set MCP_REMOTE_STATE_DIR to a folder of your own"
                ))
            }
        })?;
        lock::exclusive(&state.join("start.lock"))
            .await
            .map_err(|error| not_started(format!("{} cannot be locked: {error}", state.display())))
    }

    /// Starts a daemon. The caller holds the start lock.
    async fn start_locked(&self) -> Result<Daemon, ShimError> {
        let deadline = Instant::now() + PATIENCE;
        let mut service = self.service.as_ref().filter(|_| self.is_service());
        let mut is_said_to_run = false;
        loop {
            // Another shim may have started it while this one waited its turn.
            match self.find().await {
                Found::Daemon(daemon) => return Ok(daemon),
                Found::Silent(error) => return Err(error),
                Found::Nothing => {}
            }
            if let Some(service) = service.take() {
                match service.start().await? {
                    Started::Yes => {
                        is_said_to_run = true;
                        continue;
                    }
                    Started::NoManager(why) => self.notices.info(format_args!(
                        "the service is installed and its manager cannot be asked ({why}): mcp-remote starts its daemon itself"
                    )),
                }
            }
            if std::mem::take(&mut is_said_to_run) {
                self.notices.info("the service's manager says that it has started it, and nothing answers: mcp-remote starts its daemon itself (mcp-remote service status says more)");
            }
            match start::run(&self.environment).await? {
                Report::Ready => {}
                Report::Running(pid) if Instant::now() >= deadline => return Err(unreachable(pid)),
                Report::Running(_) => self.others_turn(deadline).await,
                Report::Failed(code, sentence) => return Err(self.failed(code, &sentence)),
            }
            if Instant::now() >= deadline + PATIENCE {
                return Err(not_started(
                    "it says that it is ready, and nothing answers".to_owned(),
                ));
            }
        }
    }

    /// Waits until the daemon that holds the lock either answers, since it is
    /// starting, or has gone, since it was stopping.
    async fn others_turn(&self, deadline: Instant) {
        let held = self.places.state().join("lock");
        let gone = pin!(lock::shared(&held));
        let answers = async {
            while Instant::now() < deadline {
                sleep(INTERVAL).await;
                if !matches!(self.find().await, Found::Nothing) {
                    return;
                }
            }
        };
        tokio::select! {
            _gone = gone => {}
            () = answers => {}
        }
    }

    /// Says why the daemon ended, and where it says more.
    fn failed(&self, code: u8, sentence: &str) -> ShimError {
        let log = self.log_file();
        let more = if log.is_file() {
            format!(" (more in {})", log.display())
        } else {
            String::new()
        };
        not_started(format!("{sentence}{more}")).with(Exit::reported(code))
    }

    fn is_ours(&self, daemon: &Daemon) -> bool {
        // Whoever names a socket means the daemon behind it.
        self.places.explicit().is_some()
            || daemon.hello.api_version == 0
            || daemon.serves(self.places.state())
    }

    fn silent(&self, endpoint: &Endpoint) -> ShimError {
        let pid = std::fs::read_to_string(self.places.state().join("lock")).unwrap_or_default();
        let who = match pid.trim().parse::<u32>() {
            Ok(pid) => format!("mcp-remoted (pid {pid})"),
            Err(_) => "mcp-remoted".to_owned(),
        };
        ShimError::general(format!(
            "{who} listens on {endpoint} and does not answer: end that process and try again"
        ))
    }
}

/// Descriptors are not inherited there unless somebody asks for it.
#[cfg(not(unix))]
pub(crate) fn keep_from_children() {}

/// Waits until a daemon that was asked to end has ended; false: it takes longer
/// than `patience`.
pub(crate) async fn gone(mut daemon: Daemon, patience: Duration) -> bool {
    let file = daemon.lock_file();
    let ended = async {
        daemon.hung_up().await;
        // Its connections end before its process does; the lock ends with it, or
        // passes to a successor that was quicker than we are.
        tokio::select! {
            // A lock that cannot be taken for another reason tells nothing more.
            _waited = lock::shared(&file) => {}
            () = succeeded(&file, daemon.hello.pid) => {}
        }
    };
    timeout(patience, ended).await.is_ok()
}

/// Waits until another process than `pid` has the lock.
async fn succeeded(file: &Path, pid: u32) {
    loop {
        sleep(INTERVAL).await;
        let holder = std::fs::read_to_string(file).unwrap_or_default();
        if holder.trim().parse().is_ok_and(|holder: u32| holder != pid) {
            return;
        }
    }
}

fn mismatch(daemon: &Daemon, reason: &str) -> ShimError {
    let hello = &daemon.hello;
    let advice = if hello.api_version > API_VERSION {
        "update mcp-remote, or stop that daemon if its program was updated meanwhile"
    } else {
        "stop that daemon, so that the next mcp-remote starts a newer one"
    };
    let because = if reason.is_empty() {
        String::new()
    } else {
        format!(" ({reason})")
    };
    let sentence = format!(
        "mcp-remote {VERSION} (API {API_VERSION}) and the running mcp-remoted {} (API {}, pid {}, {}) do not understand each other{because}: {advice}",
        hello.version, hello.api_version, hello.pid, hello.executable
    );
    ShimError::new(Exit::VERSION_MISMATCH, sentence)
}

fn not_started(why: String) -> ShimError {
    ShimError::new(
        Exit::NOT_RUNNING,
        format!("mcp-remoted could not be started: {why}"),
    )
}

fn unreachable(pid: u32) -> ShimError {
    let who = match pid {
        0 => "another mcp-remoted".to_owned(),
        pid => format!("mcp-remoted with pid {pid}"),
    };
    ShimError::new(
        Exit::NOT_RUNNING,
        format!(
            "{who} runs for this user, but its socket cannot be reached: end that process and try again"
        ),
    )
}
