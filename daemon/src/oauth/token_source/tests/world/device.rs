//! Sign-ins by code, as the authorization server of the tests answers them.

use std::time::Duration;

use serde_json::json;
use url::Url;

use super::super::*;
use super::{World, clock};
use crate::oauth::device::{self, DeviceAuthorization};
use crate::oauth::discovery::Discovered;
use crate::oauth::kept_device::KeptDevice;
use crate::oauth::registration::{self, Client, RegistrationError};
use crate::oauth::token::device::PollError;
use crate::oauth::token::{TokenEndpointError, TokenResponse};
use crate::secret::Secret;

/// How the token endpoint answers about codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Polled {
    Pending,
    SlowDown,
    /// It has been typed in.
    Entered,
    Denied,
    Expired,
    /// It does not know such a code.
    Unknown,
    Down,
    /// Codes are not even begun.
    Refuses,
    /// It has been typed in; the answer takes 15 s.
    EnteredSlowly,
}

impl World {
    pub(super) fn registered_for_codes(
        &self,
        identity: &Identity,
        discovered: &Discovered,
        scope: Option<&Scope>,
    ) -> Result<Client, RegistrationError> {
        if let Some(given) = registration::given(identity, &discovered.server) {
            return given;
        }
        let mut facts = self.facts();
        facts.registrations += 1;
        facts.asked_scopes.extend(scope.map(Scope::to_string));
        let document = json!({
            "client_id": format!("d{}", facts.registrations),
            "grant_types": [device::GRANT_TYPE],
        });
        let document = document.as_object().expect("an object").clone();
        let client = Client::from_document(&discovered.server.issuer, document);
        Ok(client.expect("a client"))
    }

    pub(super) fn code(&self) -> Result<DeviceAuthorization, TokenEndpointError> {
        let facts = self.facts();
        if facts.device == Some(Polled::Refuses) {
            return Err(TokenEndpointError::Refused {
                status: 400,
                error: "unauthorized_client".into(),
                description: String::new(),
            });
        }
        let url = |text: &str| Url::parse(text).expect("a URL");
        Ok(DeviceAuthorization {
            device_code: Secret::new("hidden".into()),
            user_code: "WDJB-MJHT".into(),
            page: url("https://as.example/device"),
            complete: Some(url("https://as.example/device?c=WDJB-MJHT")),
            interval: Duration::from_secs(5),
            life: facts.code_life.unwrap_or(Duration::from_secs(900)),
        })
    }

    pub(super) async fn polled(
        &self,
        client: &Client,
        kept: &KeptDevice,
    ) -> Result<TokenResponse, PollError> {
        let device = {
            let mut facts = self.facts();
            facts.polls.push(clock().0.elapsed());
            facts.client.clone_from(&client.client_id);
            facts.device
        };
        self.asked.send_modify(|asked| *asked += 1);
        if device == Some(Polled::EnteredSlowly) {
            tokio::time::sleep(Duration::from_secs(15)).await;
        }
        Err(match device {
            Some(Polled::Entered | Polled::EnteredSlowly) => {
                return Ok(TokenResponse {
                    scope: kept.scope.clone(),
                    ..self.issue()
                });
            }
            Some(Polled::SlowDown) => PollError::SlowDown,
            Some(Polled::Denied) => PollError::Denied(String::new()),
            Some(Polled::Expired) => PollError::Expired,
            Some(Polled::Unknown) => {
                PollError::Ended(TokenEndpointError::InvalidGrant("no such code".into()))
            }
            Some(Polled::Down) => PollError::Unanswered("it is down".into(), None),
            Some(Polled::Pending | Polled::Refuses) | None => PollError::Pending,
        })
    }
}
