//! Fakes and handles for the behaviour tests in `it`.
//!
//! Servers are played by [`upstream::FakeUpstream`]; the two programs are always
//! the real ones, started from the folder of the test executable. Everything
//! here blocks on events with one deadline, [`monitor::PATIENCE`]; nothing sleeps.

pub mod authorization_server;
pub mod browser;
pub mod daemon;
pub mod fake_daemon;
pub mod fake_relay;
pub mod home;
pub mod identity_provider;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub mod lease;
pub mod manager;
pub mod monitor;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod rpc;
pub mod shim;
pub mod simulator;
pub mod terminal;
pub mod tls;
pub mod upstream;
