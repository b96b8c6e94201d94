//! `mcp-remote status --watch`: the status again after every change, on a live
//! screen or as a line of JSON. The daemon says when something has changed; only
//! times go on by themselves.
//!
//! Outlives the daemon: while there is none it says so, and looks once a second
//! whether there is another.

use std::time::Duration;

use mcp_remote_proto::v1::{StatusResponse, WatchRequest};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::cli::StatusArguments;
use crate::daemon::Daemon;
use crate::exit::{Exit, ShimError};
use crate::launch::{Found, Launcher};
use crate::leave::{Leave, Reason};
use crate::terminal::Terminal;

use super::{NOT_RUNNING, document, now_ms, print, table};

/// How often times on the screen go on, and how often a daemon is looked for.
const SECOND: Duration = Duration::from_secs(1);

/// Watches until somebody ends it.
///
/// # Errors
/// The daemon does not serve it, or the terminal cannot be used.
pub(super) async fn run(
    arguments: StatusArguments,
    terminal: Option<Terminal>,
    daemon: Daemon,
    launcher: &Launcher,
) -> Result<Exit, ShimError> {
    let signals = |error| ShimError::general(format!("signals cannot be received: {error}"));
    let mut leave = Leave::new().map_err(signals)?;
    let mut view = View::new(&arguments, terminal)?;
    let server = arguments.server.unwrap_or_default();
    let mut daemon = Some(daemon);
    let watching = async {
        loop {
            if let Some(daemon) = daemon.take() {
                follow(&daemon, &server, &mut view).await?;
            }
            view.not_running()?;
            sleep(SECOND).await;
            if let Found::Daemon(found) = launcher.look().await {
                daemon = Some(found);
            }
        }
    };
    tokio::select! {
        reason = leave.reason() => Ok(match reason {
            Reason::Signal(exit) => exit,
            // Nobody reads any more.
            _ => Exit::OK,
        }),
        failed = watching => failed,
    }
}

/// Shows what one daemon says, until it goes.
async fn follow(daemon: &Daemon, server: &str, view: &mut View) -> Result<(), ShimError> {
    let request = WatchRequest {
        server: server.to_owned(),
    };
    let refused = |status: tonic::Status| {
        let said = status.message();
        ShimError::general(format!("{daemon} cannot be watched: {said}"))
    };
    let mut states = match daemon.follow(request).await {
        Ok(states) => states,
        Err(_) if daemon.is_hung_up() => return Ok(()),
        Err(status) => return Err(refused(status)),
    };
    let mut last: Option<(StatusResponse, Instant)> = None;
    let mut ticks = interval(SECOND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let state = tokio::select! {
            state = states.message() => match state {
                Ok(Some(state)) => state,
                // It stops, or has gone.
                Ok(None) | Err(_) => return Ok(()),
            },
            () = view.again(&mut ticks), if last.is_some() => {
                if let Some((state, since)) = &last {
                    view.redraw(state, since.elapsed())?;
                }
                continue;
            }
        };
        view.show(&state)?;
        last = Some((state, Instant::now()));
    }
}

/// Where it is shown.
enum View {
    /// A line of JSON a change.
    Lines { says_nothing_runs: bool },
    /// A screen.
    #[cfg(unix)]
    Screen(Box<Live>),
}

#[cfg(unix)]
struct Live {
    screen: crate::terminal::screen::Screen,
    terminal: Terminal,
    server: Option<String>,
    resized: tokio::signal::unix::Signal,
    suspended: tokio::signal::unix::Signal,
}

impl View {
    #[cfg(unix)]
    fn new(arguments: &StatusArguments, terminal: Option<Terminal>) -> Result<Self, ShimError> {
        use tokio::signal::unix::{SignalKind, signal};
        let Some(terminal) = terminal.filter(|_| !arguments.json) else {
            return Ok(Self::Lines {
                says_nothing_runs: false,
            });
        };
        let live = || {
            // SIGTSTP is the same number wherever there is a terminal to stop in.
            let suspend = SignalKind::from_raw(rustix::process::Signal::TSTP.as_raw());
            Ok(Live {
                resized: signal(SignalKind::window_change())?,
                suspended: signal(suspend)?,
                screen: crate::terminal::screen::Screen::take(terminal)?,
                terminal,
                server: arguments.server.clone(),
            })
        };
        let live = live().map_err(broken)?;
        Ok(Self::Screen(Box::new(live)))
    }

    #[cfg(not(unix))]
    fn new(arguments: &StatusArguments, _: Option<Terminal>) -> Result<Self, ShimError> {
        if !arguments.json {
            let sentence = "--watch has no screen on this system: use --watch --json";
            return Err(ShimError::new(Exit::USAGE, sentence));
        }
        Ok(Self::Lines {
            says_nothing_runs: false,
        })
    }

    /// Shows a state that the daemon has just told.
    fn show(&mut self, state: &StatusResponse) -> Result<(), ShimError> {
        match self {
            Self::Lines { says_nothing_runs } => {
                *says_nothing_runs = false;
                print(&document::document(state, now_ms())).map(drop)
            }
            #[cfg(unix)]
            Self::Screen(live) => live.draw(state),
        }
    }

    /// Shows a state again whose times have gone on.
    fn redraw(&mut self, state: &StatusResponse, for_so_long: Duration) -> Result<(), ShimError> {
        match self {
            Self::Lines { .. } => Ok(()),
            #[cfg(unix)]
            Self::Screen(live) => {
                let more = u64::try_from(for_so_long.as_millis()).unwrap_or(u64::MAX);
                live.draw(&StatusResponse {
                    uptime_ms: state.uptime_ms.saturating_add(more),
                    ..state.clone()
                })
            }
        }
    }

    /// Says that no daemon runs, once.
    fn not_running(&mut self) -> Result<(), ShimError> {
        match self {
            Self::Lines { says_nothing_runs } if *says_nothing_runs => Ok(()),
            Self::Lines { says_nothing_runs } => {
                *says_nothing_runs = true;
                print(NOT_RUNNING).map(drop)
            }
            #[cfg(unix)]
            Self::Screen(live) => {
                let sentence = "mcp-remoted is not running: the next mcp-remote URL starts it\n";
                live.screen.draw(sentence).map_err(broken)
            }
        }
    }

    /// Waits until the screen has to be drawn again though nothing has changed.
    async fn again(&mut self, ticks: &mut tokio::time::Interval) {
        match self {
            Self::Lines { .. } => std::future::pending().await,
            #[cfg(unix)]
            Self::Screen(live) => {
                tokio::select! {
                    _ = ticks.tick() => {}
                    _ = live.resized.recv() => {}
                    _ = live.suspended.recv() => {
                        // What is wrong with the terminal, the next drawing says.
                        drop(live.screen.suspend());
                    }
                }
            }
        }
    }
}

#[cfg(unix)]
impl Live {
    fn draw(&mut self, state: &StatusResponse) -> Result<(), ShimError> {
        let (server, terminal) = (self.server.as_deref(), Some(self.terminal));
        let text = table::table(state, server, now_ms(), terminal);
        self.screen.draw(&text).map_err(broken)
    }
}

#[cfg(unix)]
fn broken(error: std::io::Error) -> ShimError {
    ShimError::general(format!("the terminal cannot be used: {error}"))
}
