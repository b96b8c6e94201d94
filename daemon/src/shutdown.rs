//! Begins the end: signals, and the level that says it has come.
//!
//! The first SIGTERM or SIGINT stops gracefully, the second exits at once.

use tokio_util::sync::CancellationToken;

#[cfg(unix)]
pub(crate) use unix::listen;

#[cfg(unix)]
mod unix {
    use std::io;

    use futures_util::StreamExt as _;
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook_tokio::Signals;
    use tokio_util::sync::CancellationToken;
    use tokio_util::task::TaskTracker;

    /// Listens for signals: TERM and INT cancel `stop`, HUP calls `reload`.
    ///
    /// # Errors
    /// Whatever installing the handlers gives.
    pub(crate) fn listen(
        stop: CancellationToken,
        reload: impl Fn() + Send + 'static,
        tasks: &TaskTracker,
    ) -> io::Result<()> {
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
        tasks.spawn(async move {
            while let Some(signal) = signals.next().await {
                match signal {
                    SIGHUP => reload(),
                    _ if stop.is_cancelled() => exit_now(),
                    _ => {
                        tracing::info!(signal, "stopping");
                        stop.cancel();
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
    stop: CancellationToken,
    _reload: impl Fn() + Send + 'static,
    tasks: &tokio_util::task::TaskTracker,
) -> std::io::Result<()> {
    tasks.spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stop.cancel();
        }
    });
    Ok(())
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
