//! Tokens for a workload that another issuer vouches for (RFC 7523, section 2.1), with
//! the token that its platform mounts for it.
//!
//! Whoever gets that token can use it, so it is shown to those alone whom it names
//! (`aud`), or whom the user does.

use std::path::Path;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::vouched::{Failed, Hearing, in_brackets};
use super::{Errand, ObtainError};
use crate::oauth::discovery::{AuthorizationServer, is_same_issuer};
use crate::oauth::federation::Workload;
use crate::oauth::grant::Grant;
use crate::oauth::secret_file::{self, Access};
use crate::oauth::text::printable;
use crate::oauth::token::{TokenEndpointError, is_jwt};
use crate::secret::Secret;

/// Obtains a token.
pub(super) async fn obtain(errand: &Errand, workload: &Workload) -> Result<Grant, ObtainError> {
    let token = Mounted::read(&workload.file).await?;
    let hearing = Hearing::find(errand, &workload.account).await?;
    if workload.account.token_endpoint.is_none() {
        token.check_audience(hearing.server())?;
    }
    match hearing.show(&token.text).await {
        Ok(grant) => Ok(grant),
        Err((Failed::Here(error), _)) => Err(error),
        Err((Failed::There(error), hearing)) => {
            Err(token.refused(error, hearing.server(), (errand.tools.now)()))
        }
    }
}

/// A token as it is mounted now: it is replaced long before it ends.
struct Mounted {
    text: Secret<String>,
    /// The file, for people.
    shown: String,
    claims: Map<String, Value>,
}

impl Mounted {
    async fn read(path: &Path) -> Result<Self, ObtainError> {
        let content = secret_file::read(path, Access::AnyReader).await;
        let content = content.map_err(|error| {
            ObtainError::Here(format!("the workload token cannot be used: {error}"))
        })?;
        let text = std::str::from_utf8(content.trim_ascii()).unwrap_or_default();
        let shown = printable(&path.to_string_lossy());
        let claims = Some(text).filter(|text| is_jwt(text)).and_then(claims);
        let Some(claims) = claims else {
            return Err(ObtainError::Here(format!(
                "the workload token file {shown} holds no JWT: it has to be what the platform mounts, one token and nothing else"
            )));
        };
        Ok(Self {
            text: Secret::new(text.to_owned()),
            shown,
            claims,
        })
    }

    /// A server's metadata may name any authorization server, which could use the token
    /// elsewhere if it is meant for others.
    fn check_audience(&self, server: &AuthorizationServer) -> Result<(), ObtainError> {
        let named: Vec<&str> = match self.claims.get("aud") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let endpoint = server.token_endpoint.as_str();
        let is_it = |name: &&str| is_same_issuer(name, &server.issuer) || *name == endpoint;
        if named.iter().any(is_it) {
            return Ok(());
        }
        let named = match named.as_slice() {
            [] => "nobody".to_owned(),
            named => printable(&named.join(", ")),
        };
        Err(ObtainError::Here(format!(
            "the workload token of {} is meant for {named} (aud), not for the authorization server {} that the server names: have it made for that one, or name the place with --token-endpoint",
            self.shown,
            printable(&server.issuer)
        )))
    }

    /// Returns for how long it has ended, by what it says itself.
    fn ended_for(&self, now: SystemTime) -> Option<Duration> {
        let end = Duration::from_secs(self.claims.get("exp")?.as_u64()?);
        let end = SystemTime::UNIX_EPOCH.checked_add(end)?;
        now.duration_since(end).ok()
    }

    fn refused(
        &self,
        error: TokenEndpointError,
        server: &AuthorizationServer,
        now: SystemTime,
    ) -> ObtainError {
        let issuer = printable(&server.issuer);
        let said = match &error {
            TokenEndpointError::InvalidGrant(said) => said,
            TokenEndpointError::Refused { error, .. } if error == "unsupported_grant_type" => {
                return ObtainError::Refused(format!(
                    "the authorization server {issuer} takes no workload tokens (it does not offer the JWT bearer grant): ask who runs it, or do without --workload-token-file"
                ));
            }
            _ => return error.into(),
        };
        let why = match self.ended_for(now) {
            Some(age) => format!(
                "by this machine's clock it ended {} s ago, so either that is wrong or nobody renews the file",
                age.as_secs()
            ),
            None => "who runs it has to trust the token's issuer and subject".into(),
        };
        ObtainError::Refused(format!(
            "the authorization server {issuer} does not accept the workload token of {}{}; {why}",
            self.shown,
            in_brackets(said)
        ))
    }
}

fn claims(token: &str) -> Option<Map<String, Value>> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&claims).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use url::Url;

    fn mounted(claims: Value) -> Mounted {
        Mounted {
            text: Secret::new("hidden".into()),
            shown: "/token".into(),
            claims: claims.as_object().cloned().expect("an object"),
        }
    }

    #[test]
    fn a_token_that_has_ended_says_for_how_long() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let ended = |claims: Value| mounted(claims).ended_for(now);
        assert_eq!(ended(json!({"exp": 900})), Some(Duration::from_secs(100)));
        for alive in [
            json!({"exp": 1001}),
            json!({}),
            json!({"exp": "900"}),
            json!({"exp": -1}),
            json!({"exp": u64::MAX}),
        ] {
            assert_eq!(ended(alive.clone()), None, "{alive}");
        }
    }

    #[test]
    fn a_token_is_shown_to_those_alone_whom_it_names() {
        let endpoint = Url::parse("https://as.example/token").expect("valid");
        let mut server = AuthorizationServer::at_token_endpoint(&endpoint);
        server.issuer = "https://as.example".into();
        let may = |audience: Value| {
            let token = mounted(json!({ "aud": audience }));
            token
                .check_audience(&server)
                .map_err(|error| error.to_string())
        };
        for audience in [
            json!("https://as.example"),
            json!("https://as.example/"),
            json!("https://as.example/token"),
            json!(["sts.example", "https://as.example/"]),
        ] {
            assert_eq!(may(audience.clone()), Ok(()), "{audience}");
        }
        for audience in [
            json!("https://as.example.evil/"),
            json!("https://as.example/tokens"),
            json!(["sts.example", 1]),
            json!([]),
            json!(null),
        ] {
            let why = may(audience.clone()).expect_err("refused");
            assert!(why.contains("--token-endpoint"), "{why}");
            assert!(!why.contains("hidden"), "{why}");
        }
    }
}
