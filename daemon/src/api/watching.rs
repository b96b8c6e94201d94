//! The status again after every change: as often as somebody can read it, four
//! times a second at most. Looks at nothing while nothing changes.

use std::time::Duration;

use futures_util::stream::{self, Stream};
use mcp_remote_proto::v1::StatusResponse;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tonic::Status;

use super::{Api, status};

/// Changes within this time are told as one.
const INTERVAL: Duration = Duration::from_millis(250);

/// How often to look for what nobody announces (a storage that has failed).
const UNANNOUNCED: Duration = Duration::from_secs(10);

struct Watch {
    api: Api,
    server: String,
    ticks: Interval,
    last: Option<StatusResponse>,
}

/// Returns the status now, and after every change. Nothing is computed before
/// there is room for it in the stream.
pub(super) fn states(
    api: Api,
    server: String,
) -> impl Stream<Item = Result<StatusResponse, Status>> {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let watch = Watch {
        api,
        server,
        ticks,
        last: None,
    };
    stream::unfold(watch, |mut watch| async move {
        let state = watch.next().await;
        Some((Ok(state), watch))
    })
}

impl Watch {
    async fn next(&mut self) -> StatusResponse {
        let mut shims = self.api.shims.subscribe();
        loop {
            self.ticks.tick().await;
            // Before the look, so that no change falls between the two.
            let changed = self.api.changes.next();
            shims.mark_unchanged();
            let now = status::now(&self.api, &self.server);
            let same = |last: &StatusResponse| !status::differs(last, &now);
            if !self.last.as_ref().is_some_and(same) {
                return self.last.insert(now).clone();
            }
            let something = async {
                tokio::select! {
                    () = changed => {}
                    _ = shims.changed() => {}
                }
            };
            // Without news in that time it is looked all the same.
            drop(timeout(UNANNOUNCED, something).await);
        }
    }
}
