//! Ports for those who cannot take just any: tests run side by side, and the usual port
//! of a sign-in may be another test's.

use std::net::{Ipv4Addr, TcpListener};

/// Returns a port of this machine on which nobody listens at the moment.
///
/// # Panics
/// If there is none.
pub fn free() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    listener.local_addr().expect("it is bound").port()
}
