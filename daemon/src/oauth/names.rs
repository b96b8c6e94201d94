//! Host names: looked up in one place, which remembers to what kinds of addresses
//! each has led. Knows no OAuth.
//!
//! Invariant: whoever connects to a server by its name has looked it up here, so that
//! a name that leads to this machine at one time and elsewhere at another is known.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::address::AddressClass;

/// How long a look-up may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Names remembered. Past it all are forgotten: there are as many as servers.
const MAX_NAMES: usize = 10_000;

/// Asks for the addresses of a name; the port is put in by who connects.
type LookUp = fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>;

/// The look-up of names. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Names(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    look_up: LookUp,
    led_to: Mutex<HashMap<String, Vec<AddressClass>>>,
}

impl Names {
    /// Asks the system.
    pub(crate) fn of_system() -> Self {
        Self::looked_up_by(|name| {
            Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) })
        })
    }

    /// Asks this function.
    pub(crate) fn looked_up_by(look_up: LookUp) -> Self {
        let led_to = Mutex::default();
        Self(Arc::new(Inner { look_up, led_to }))
    }

    /// Looks a name up.
    pub(crate) async fn look_up(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        let looking_up = (self.0.look_up)(name.to_owned());
        let found = tokio::time::timeout(TIMEOUT, looking_up).await;
        let found = found.map_err(io::Error::from)??;
        let mut all = self.lock();
        if all.len() >= MAX_NAMES {
            all.clear();
        }
        let led_to = all.entry(name.to_owned()).or_default();
        for address in &found {
            let class = AddressClass::of(address.ip());
            if !led_to.contains(&class) {
                led_to.push(class);
            }
        }
        drop(all);
        Ok(found)
    }

    /// Returns the kinds of addresses that a name has led to so far.
    pub(crate) fn led_to(&self, name: &str) -> Vec<AddressClass> {
        self.lock().get(name).cloned().unwrap_or_default()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Vec<AddressClass>>> {
        self.0
            .led_to
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let names = self.clone();
        Box::pin(async move {
            let found = names.look_up(name.as_str()).await?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
