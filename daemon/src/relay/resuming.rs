//! What the client of a shim that comes back has switched on: it holds in the
//! session that the shim gets, whether that is the one from before or another.
//!
//! The client has the answers already: those that come now are for nobody.

use super::open_lease::OpenLease;
use super::shim::Earlier;
use super::{Gone, Relay};
use crate::session::{Change, Found, Outbound, OutboundKind};

/// Takes over what needs no asking: what is in force in a session that goes on, and
/// what a new one is told that nobody else has, as soon as its client is initialized.
/// Returns the rest.
pub(super) fn adopt(lease: &OpenLease, earlier: Earlier) -> Vec<Change> {
    let adopted = match lease.found() {
        Found::Used => true,
        Found::New => !lease.is_shared(),
        Found::Warm => false,
    };
    if !adopted {
        return earlier.switched_on;
    }
    lease.membership().switches(|switches, member| {
        for change in &earlier.switched_on {
            switches.adopt(member, change);
        }
    });
    Vec::new()
}

impl Relay {
    /// Asks for changes as their client did, unless others have made them already.
    pub(super) async fn say_again(&mut self, changes: Vec<Change>) -> Result<(), Gone> {
        for change in changes {
            let Some(lease) = &self.lease else {
                return Ok(());
            };
            let minted = lease.session().next_id();
            lease.membership().own(minted);
            let kind = OutboundKind::Request(minted);
            let outbound = Outbound::new(change.message(minted), kind, self.replies());
            if let Some(outbound) = self.switch(minted, Some(change), outbound).await?
                && let Some(lease) = &self.lease
            {
                // A session that is being closed needs no more changes.
                drop(lease.session().send(outbound).await);
            }
        }
        Ok(())
    }
}
