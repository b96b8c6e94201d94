//! Sign-ins that were under way when the last daemon ended: gone on with, so that
//! neither a crash nor an upgrade costs a person a second one.

use tokio::sync::watch;

use super::{Actor, SigningIn};
use crate::oauth::grant::Grant;
use crate::oauth::kept_device::KeptDevice;
use crate::oauth::kept_sign_in::KeptSignIn;
use crate::oauth::sign_in::{self, Ended, PATIENCE, Progress};

impl Actor {
    /// Goes on with a sign-in, unless it is over: these tokens are kept now.
    pub(super) fn resume_sign_in(&mut self, sign_in: Option<KeptSignIn>, kept: Option<&Grant>) {
        let Some(sign_in) = sign_in else {
            return;
        };
        let too_old = sign_in.age((self.tools.now)()) >= PATIENCE;
        if too_old || sign_in.is_over(kept) {
            return self.forget_sign_in();
        }
        tracing::info!("going on with the sign-in that was under way");
        let (say, progress) = watch::channel(Progress::default());
        let (tools, identity) = (self.tools.clone(), self.identity.clone());
        self.go_on(progress, sign_in::resume(tools, identity, sign_in, say));
    }

    /// Likewise with one by code. Where both are kept the page has been answered.
    pub(super) fn resume_device(&mut self, device: Option<KeptDevice>, kept: Option<&Grant>) {
        let Some(device) = device.filter(|_| self.signing_in.is_none()) else {
            return;
        };
        if device.left((self.tools.now)()).is_zero() || device.is_over(kept) {
            return self.forget_sign_in();
        }
        tracing::info!("going on with the sign-in by code that was under way");
        let (say, progress) = watch::channel(Progress::default());
        let (tools, identity) = (self.tools.clone(), self.identity.clone());
        self.go_on(
            progress,
            sign_in::resume_device(tools, identity, device, say),
        );
    }

    fn go_on(
        &mut self,
        progress: watch::Receiver<Progress>,
        resuming: impl Future<Output = Ended> + Send + 'static,
    ) {
        let abort = self
            .tasks
            .spawn(async move { super::Done::SignedIn(Box::new(resuming.await)) });
        self.signing_in = Some(SigningIn {
            progress,
            lack: None,
            abort,
            waiters: Vec::new(),
        });
    }

    fn forget_sign_in(&mut self) {
        let (store, hash) = (self.tools.store.clone(), self.identity.hash());
        self.tasks.spawn(async move {
            if let Err(error) = store.remove_sign_in(&hash).await {
                tracing::warn!(%error, "the files of a sign-in that is over are still there");
            }
            super::Done::Aside
        });
    }
}
