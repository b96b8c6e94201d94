//! Begins the end: signals, and the level that says it has come.
//!
//! The first SIGTERM or SIGINT stops gracefully, the second exits at once. SIGUSR2
//! asks for the place of a daemon that a shim started, for one that a service manager
//! runs.

use tokio_util::sync::CancellationToken;

#[cfg(unix)]
pub(crate) use unix::listen;

#[cfg(unix)]
mod unix {
    use std::io;

    use futures_util::StreamExt as _;
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};
    use signal_hook_tokio::Signals;
    use tokio_util::task::TaskTracker;

    use super::Begin;

    /// Listens for signals: TERM and INT begin the end, HUP calls `reload`, USR2 begins
    /// a handover.
    ///
    /// # Errors
    /// Whatever installing the handlers gives.
    pub(crate) fn listen(
        begin: Begin,
        reload: impl Fn() + Send + 'static,
        tasks: &TaskTracker,
    ) -> io::Result<()> {
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR2])?;
        tasks.spawn(async move {
            while let Some(signal) = signals.next().await {
                match signal {
                    SIGHUP => reload(),
                    SIGUSR2 => begin.make_place(),
                    _ if begin.stop.is_cancelled() => exit_now(),
                    _ => {
                        tracing::info!(signal, "stopping");
                        begin.stop.cancel();
                    }
                }
            }
        });
        Ok(())
    }

    #[expect(clippy::exit, reason = "the second signal means: now")]
    fn exit_now() {
        std::process::exit(1);
    }
}

/// Listens for Ctrl-C and the like.
#[cfg(windows)]
pub(crate) fn listen(
    begin: Begin,
    _reload: impl Fn() + Send + 'static,
    tasks: &tokio_util::task::TaskTracker,
) -> std::io::Result<()> {
    tasks.spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            begin.stop.cancel();
        }
    });
    Ok(())
}

/// What begins the end.
#[derive(Debug, Clone)]
pub(crate) struct Begin {
    /// The end.
    pub(crate) stop: CancellationToken,
    /// Said before it to make place; none: this daemon stays for a service.
    pub(crate) handover: Option<CancellationToken>,
}

#[cfg(unix)]
impl Begin {
    fn make_place(&self) {
        match &self.handover {
            Some(handover) => {
                tracing::info!("making place for the service");
                handover.cancel();
                self.stop.cancel();
            }
            None => tracing::warn!(
                "asked to make place for a service: not started by mcp-remote, it stays"
            ),
        }
    }
}

/// The levels of the end, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shutdown {
    /// A newer daemon takes over: said to the shims when they are told to go.
    pub(crate) handover: CancellationToken,
    /// No new shims; relays finish.
    pub(crate) stop: CancellationToken,
    /// Sessions end.
    pub(crate) end_sessions: CancellationToken,
    /// Grants end, which sessions use to the last.
    pub(crate) end_grants: CancellationToken,
}
