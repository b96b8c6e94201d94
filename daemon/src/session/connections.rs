//! Whether kept connections may still be used.
//!
//! A machine that slept wakes with connections whose other end has long forgotten
//! them; a request on one would wait until the system gives it up. While it slept,
//! the wall clock went on and the monotonic clock did not: that is how it shows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use crate::http::{HttpClients, NetworkOptions};

/// A wall clock that went ahead of the monotonic one by more than this between two
/// uses: the machine slept (or was set, which costs a handshake).
const SLEPT: Duration = Duration::from_secs(10);

/// What both clocks say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clocks {
    wall: SystemTime,
    monotonic: Instant,
}

impl Clocks {
    /// Reads them.
    pub(crate) fn now() -> Self {
        Self {
            wall: SystemTime::now(),
            monotonic: Instant::now(),
        }
    }

    /// Says whether the machine slept between `earlier` and these readings.
    fn slept_since(self, earlier: Self) -> bool {
        let wall = self.wall.duration_since(earlier.wall).unwrap_or_default();
        let awake = self.monotonic.saturating_duration_since(earlier.monotonic);
        wall.saturating_sub(awake) > SLEPT
    }
}

/// Which connections may be used: those made at this count or later.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Freshness {
    /// Counts the times that the HTTP clients were given up.
    pub(crate) clients: u64,
    /// Counts those that were because of a sleep: streams are as old.
    pub(crate) sleeps: u64,
}

/// The HTTP clients, and how fresh their connections are.
#[derive(Debug)]
pub(crate) struct Connections {
    clients: Arc<HttpClients>,
    state: Mutex<(Option<Clocks>, Freshness)>,
    /// Counts the times that the clients of these options were given up besides.
    replaced: Mutex<HashMap<NetworkOptions, u64>>,
}

impl Connections {
    /// Begins with these clients.
    pub(crate) fn new(clients: Arc<HttpClients>) -> Self {
        Self {
            clients,
            state: Mutex::default(),
            replaced: Mutex::default(),
        }
    }

    /// Returns the clients.
    pub(crate) fn clients(&self) -> &HttpClients {
        &self.clients
    }

    /// Returns how fresh connections over this network have to be for use at this
    /// time.
    pub(crate) fn check(&self, now: Clocks, network: &NetworkOptions) -> Freshness {
        let replaced = self.lock_replaced().get(network).copied();
        let freshness = self.check_all(now);
        Freshness {
            clients: freshness.clients + replaced.unwrap_or_default(),
            ..freshness
        }
    }

    fn check_all(&self, now: Clocks) -> Freshness {
        let mut state = self.lock();
        let (last, freshness) = &mut *state;
        if last.replace(now).is_some_and(|last| now.slept_since(last)) {
            tracing::info!("the machine slept, using no connection from before");
            self.clients.forget();
            freshness.clients += 1;
            freshness.sleeps += 1;
        }
        *freshness
    }

    /// Gives up the clients whose certificates have changed: the next use of each of
    /// their sessions makes new connections.
    pub(crate) async fn renew_changed(&self) {
        let changed = self.clients.forget_changed().await;
        if !changed.is_empty() {
            tracing::info!("certificates have changed, using no connection from before");
        }
        let mut replaced = self.lock_replaced();
        for network in changed {
            *replaced.entry(network).or_default() += 1;
        }
    }

    fn lock_replaced(&self) -> std::sync::MutexGuard<'_, HashMap<NetworkOptions, u64>> {
        self.replaced
            .lock()
            .expect("nothing panics while it holds the lock")
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (Option<Clocks>, Freshness)> {
        self.state
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_that_ran_ahead_is_a_sleep() {
        let start = Clocks::now();
        let later = |wall: i64, monotonic: u64| Clocks {
            wall: match u64::try_from(wall) {
                Ok(wall) => start.wall + Duration::from_secs(wall),
                Err(_) => start.wall - Duration::from_secs(wall.unsigned_abs()),
            },
            monotonic: start.monotonic + Duration::from_secs(monotonic),
        };
        for (wall, monotonic, slept) in [
            (0, 0, false),
            (3600, 3600, false),
            (10, 0, false),
            (11, 0, true),
            (3600, 30, true),
            (-3600, 30, false),
        ] {
            assert_eq!(
                later(wall, monotonic).slept_since(start),
                slept,
                "{wall} {monotonic}"
            );
        }
    }

    #[test]
    fn a_sleep_counts_once_for_everybody() {
        let connections = Connections::new(Arc::default());
        let start = Clocks::now();
        let woken = Clocks {
            wall: start.wall + Duration::from_secs(60),
            ..start
        };
        let network = NetworkOptions::default();
        let before = connections.check(start, &network);
        let after = connections.check(woken, &network);
        assert_eq!(
            (after.clients, after.sleeps),
            (before.clients + 1, before.sleeps + 1)
        );
        assert_eq!(connections.check(woken, &network), after);
    }

    #[tokio::test]
    async fn only_those_whose_certificates_changed_get_new_connections() {
        let connections = Connections::new(Arc::default());
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, include_str!("connections/ca.pem")).expect("written");
        let with_file = NetworkOptions {
            ca_file: Some(file.clone()),
            ..NetworkOptions::default()
        };
        let without = NetworkOptions::default();
        for network in [&with_file, &without] {
            connections.clients().client(network).await.expect("built");
        }
        let now = Clocks::now();
        let check = |network| connections.check(now, network).clients;
        let before = (check(&with_file), check(&without));
        connections.renew_changed().await;
        assert_eq!((check(&with_file), check(&without)), before);
        std::fs::remove_file(&file).expect("it can be removed");
        connections.renew_changed().await;
        let after = (check(&with_file), check(&without));
        assert_eq!(after, (before.0 + 1, before.1));
    }
}
