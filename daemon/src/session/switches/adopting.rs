//! What a member had switched on under an earlier daemon.
//!
//! Pure. It is in force already, or will be before anything else is said: nobody is
//! asked. Another member may have been quicker, so what is under way stays so.

use super::{Change, MAX_URIS, Switches};

impl<W> Switches<W> {
    /// Takes a change for done; then [`Switches::rebalance`].
    pub(crate) fn adopt(&mut self, member: u64, change: &Change) {
        match change {
            Change::Level(level) => {
                self.members.insert(member, Some(*level));
                if self.level_lane.busy.is_none() {
                    self.level.get_or_insert(*level);
                }
            }
            Change::Subscribe(uri) if self.uris.len() < MAX_URIS => {
                let subscription = self.subscription(uri);
                subscription.upstream = true;
                subscription.holders.insert(member);
            }
            Change::Subscribe(_) => self.overflowed = true,
            Change::Unsubscribe(_) => {}
        }
    }
}
