//! A grant that an identity provider vouches for needs somebody after all, now and
//! then: whoever signs in there. That sign-in belongs to the provider's own grant; this
//! one says that it is under way, and goes on when it is over.

use tokio::sync::watch;

use super::Unattended;
use crate::oauth::obtain::ObtainError;
use crate::oauth::token_source::{AuthState, AuthStatus, Request, TokenSource, Wanting};

/// The provider's grant, as far as it is of interest.
#[derive(Debug)]
pub(super) struct Provider(Option<watch::Receiver<AuthStatus>>);

impl Provider {
    /// Watches it, if there is one.
    pub(super) fn of(source: Option<&TokenSource>) -> Self {
        Self(source.map(TokenSource::status))
    }

    /// Waits until it has changed. Cancel safe.
    pub(super) async fn changed(&mut self) {
        if let Some(status) = &mut self.0
            && status.changed().await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }

    fn now(&mut self) -> Option<AuthStatus> {
        Some(self.0.as_mut()?.borrow_and_update().clone())
    }

    /// Says whether somebody is signing in there.
    pub(super) fn is_signing_in(&self) -> bool {
        let status = self.0.as_ref();
        status.is_some_and(|status| status.borrow().state == AuthState::SigningIn)
    }
}

impl Unattended {
    /// Returns on whose behalf a token is obtained: of all who wait.
    pub(super) fn wanting(&self) -> Wanting {
        let any = |of: fn(&Wanting) -> bool| self.waiters.iter().any(|it| of(&it.wanting));
        Wanting {
            explicit: any(|wanting| wanting.explicit),
            may_sign_in: any(|wanting| wanting.may_sign_in),
            ..Wanting::default()
        }
    }

    /// Says whether somebody waits for whom a sign-in would have been begun, which it
    /// was not, since nobody did when the token was asked for.
    pub(super) fn is_worth_asking_for(&self, error: &ObtainError) -> bool {
        let is_missing = matches!(error, ObtainError::SignIn { sign_in: None, .. });
        let wants = |request: &Request| {
            (request.wanting.may_sign_in && !self.errand_wants.may_sign_in)
                || (request.wanting.explicit && !self.errand_wants.explicit)
        };
        is_missing && self.waiters.iter().any(wants)
    }

    /// Goes on with what waits for the provider's sign-in.
    pub(super) fn provider_changed(&mut self) {
        let Some(status) = self.provider.now() else {
            return;
        };
        let is_busy = self.obtaining.is_some() || !self.log_outs.is_empty();
        if !matches!(self.failure, Some(ObtainError::SignIn { .. })) || is_busy {
            return;
        }
        let (sign_in, why) = match status.state {
            AuthState::SignedIn => return self.obtain(self.in_use.is_some()),
            AuthState::SigningIn => (status.sign_in.map(Box::new), None),
            _ => {
                let said = |why| format!("the {}: {why}", self.account());
                (None, status.trouble.map(said))
            }
        };
        self.failure = Some(ObtainError::SignIn { sign_in, why });
    }

    /// Returns the state of who waits for that sign-in; `None`: nobody does.
    pub(super) fn state_of_sign_in(&self) -> Option<AuthState> {
        if !matches!(self.failure, Some(ObtainError::SignIn { .. })) {
            return None;
        }
        let is_going_on = self.provider.is_signing_in() || self.obtaining.is_some();
        Some(match is_going_on {
            true => AuthState::SigningIn,
            false => AuthState::NeedsLogin,
        })
    }
}
