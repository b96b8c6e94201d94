//! A grant: the tokens of one identity as they are kept in `{hash}_tokens.json`.
//! Pure; times are the wall clock's.
//!
//! Reads what the npm package wrote as well; numbers that make no sense are as
//! good as absent.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::Url;
use zeroize::Zeroizing;

use super::discovery::is_same_issuer;
use super::dpop::{self, Binding, ProofKey};
use super::identity::Identity;
use super::registration::Client;
use super::scope::Scope;
use super::token::TokenResponse;
use crate::secret::Secret;

/// Longer lives are cut to this: nobody can tell them from for ever, and sums
/// with them stay within every clock.
const LONGEST_LIFE: u64 = 10 * 365 * 24 * 3600;

/// The tokens of one identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    /// What the server wants to see.
    pub(crate) access_token: Secret<String>,
    /// What a new one is had for.
    pub(crate) refresh_token: Option<Secret<String>>,
    /// The ID token, if it is used.
    pub(crate) id_token: Option<Secret<String>>,
    /// The life that the server gave it.
    pub(crate) life: Option<Duration>,
    /// When that ends.
    pub(crate) expires_at: Option<SystemTime>,
    /// What was granted; `None`: the server did not say.
    pub(crate) scope: Option<Scope>,
    /// What was asked for.
    pub(crate) requested_scope: Option<Scope>,
    /// Who granted it; `None`: a file of an old npm package.
    pub(crate) issuer: Option<String>,
    /// The `resource` that it was asked for with, if any.
    pub(crate) resource: Option<String>,
    /// Where the server said that its metadata are, if it did.
    pub(crate) resource_metadata: Option<Url>,
    /// When somebody signed in for it, in ms since the epoch: stays when it is
    /// renewed, and with a sign-in for more access. `None`: the npm package's.
    pub(crate) signed_in_at: Option<u64>,
    /// Which MCP server they are for (see [`Identity::server_digits`]); `None`: the
    /// npm package's.
    pub(crate) server: Option<String>,
    /// The identity provider on whose word they were given, by what its own files are
    /// named; `None`: none, or not known.
    pub(crate) provider: Option<String>,
    /// The client that got it, as which alone it is renewed; `None`: not known.
    pub(crate) client: Option<Client>,
    /// What it is bound to; the refresh token may be even where the access token is
    /// not.
    pub(crate) binding: Option<Binding>,
    /// Whether the access token is.
    pub(crate) is_bound: bool,
}

/// The file. Unknown members are lost with the next write.
#[derive(Deserialize, Serialize)]
struct File {
    access_token: Zeroizing<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refresh_token: Option<Zeroizing<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id_token: Option<Zeroizing<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_in: Option<Value>,
    #[serde(default)]
    token_type: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    requested_scope: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resource: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resource_metadata: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signed_in_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    server: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
    /// In the same file, so that no crash tears it from its tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client: Option<Map<String, Value>>,
    /// Likewise: without its key a token is worth nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dpop_key: Option<Zeroizing<String>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    dpop_demanded: bool,
}

impl Grant {
    /// Makes one of what the token endpoint answered its client at `now`. What it
    /// did not repeat stays as it was before.
    pub(crate) fn new(
        response: TokenResponse,
        before: Option<&Self>,
        client: Client,
        resource: Option<String>,
        requested_scope: Option<Scope>,
        keep_id_token: bool,
        now: SystemTime,
    ) -> Self {
        let earlier = |of: fn(&Self) -> &Option<Secret<String>>| before.and_then(|b| of(b).clone());
        let life = response.expires_in.map(|given| life(given.as_secs()));
        Self {
            access_token: response.access_token,
            refresh_token: response
                .refresh_token
                .or_else(|| earlier(|b| &b.refresh_token)),
            id_token: response
                .id_token
                .or_else(|| earlier(|b| &b.id_token))
                .filter(|_| keep_id_token),
            life,
            expires_at: life.and_then(|life| now.checked_add(life)),
            scope: response
                .scope
                .or_else(|| before.and_then(|before| before.scope.clone()))
                .or_else(|| requested_scope.clone()),
            requested_scope,
            resource,
            issuer: Some(client.issuer.clone()),
            resource_metadata: before.and_then(|before| before.resource_metadata.clone()),
            signed_in_at: match before {
                Some(before) => before.signed_in_at,
                None => Some(milliseconds(now)),
            },
            server: before.and_then(|before| before.server.clone()),
            provider: before.and_then(|before| before.provider.clone()),
            client: Some(client),
            is_bound: response
                .is_bound
                .unwrap_or_else(|| before.is_some_and(|before| before.is_bound)),
            binding: before.and_then(|before| before.binding.clone()),
        }
    }

    /// Notes what it is bound to, which need not be what those before it were.
    #[must_use]
    pub(crate) fn bound_to(mut self, binding: Option<&Binding>) -> Self {
        self.is_bound &= binding.is_some();
        self.binding = binding.cloned();
        self
    }

    /// Notes which MCP server they are for, and who vouched for whom they are.
    #[must_use]
    pub(crate) fn for_server_of(mut self, identity: &Identity) -> Self {
        self.server = Some(identity.server_digits());
        let provider = identity.provider_hash();
        self.provider = provider.map(|provider| provider.as_str().to_owned());
        self
    }

    /// Notes that it is for whoever signed in then, who wanted more access.
    #[must_use]
    pub(crate) fn stepped_up(mut self, signed_in_at: Option<u64>) -> Self {
        self.signed_in_at = signed_in_at.or(self.signed_in_at);
        self
    }

    /// Uses the very key of another one, if they have the same, with what it has heard
    /// from servers.
    #[must_use]
    pub(crate) fn with_key_of(mut self, other: &Self) -> Self {
        if self.binding == other.binding {
            self.binding.clone_from(&other.binding);
        }
        self
    }

    /// Notes where the server said that its metadata are.
    #[must_use]
    pub(crate) fn told_of(mut self, resource_metadata: Option<&Url>) -> Self {
        if resource_metadata.is_some() {
            self.resource_metadata = resource_metadata.cloned();
        }
        self
    }

    /// Says which client got it, if that is of the issuer that gave it.
    #[must_use]
    pub(crate) fn got_by(mut self, client: Option<Client>) -> Self {
        let issuer = self.issuer.clone();
        self.client = client.filter(|client| {
            let of = |issuer: String| is_same_issuer(&client.issuer, &issuer);
            client.issuer.is_empty() || issuer.is_none_or(of)
        });
        self
    }

    /// Reads a file that was written at `written`; `None` if it holds no token, or not
    /// the key that goes with it.
    pub(crate) fn read(content: &[u8], written: Option<SystemTime>) -> Option<Self> {
        let file: File = serde_json::from_slice(content).ok()?;
        let secret = |text: &Zeroizing<String>| Secret::new(text.to_string());
        let given = |text: Option<Zeroizing<String>>| {
            text.filter(|text| !text.is_empty())
                .map(|text| secret(&text))
        };
        let binding = match &file.dpop_key {
            Some(kept) => Some(Binding {
                key: ProofKey::of_kept(kept)?,
                demanded: file.dpop_demanded,
            }),
            None => None,
        };
        let token_type = file.token_type.as_ref().and_then(Value::as_str);
        let is_bound = token_type.is_some_and(|it| it.eq_ignore_ascii_case(dpop::SCHEME));
        if is_bound && binding.is_none() {
            return None;
        }
        let life = file.expires_in.as_ref().and_then(number).map(life);
        let expires_at = match file.expires_at.as_ref().and_then(number) {
            Some(at) => UNIX_EPOCH.checked_add(Duration::from_millis(at)),
            None => written
                .zip(life)
                .and_then(|(written, life)| written.checked_add(life)),
        };
        Some(Self {
            access_token: Some(secret(&file.access_token))
                .filter(|token| !token.reveal().is_empty())?,
            refresh_token: given(file.refresh_token),
            id_token: given(file.id_token),
            life,
            expires_at,
            scope: file.scope.as_deref().and_then(Scope::parse),
            requested_scope: file.requested_scope.as_deref().and_then(Scope::parse),
            issuer: file.issuer,
            resource: file.resource,
            resource_metadata: file.resource_metadata.and_then(|url| Url::parse(&url).ok()),
            signed_in_at: file.signed_in_at,
            server: file.server,
            provider: file.provider,
            client: file.client.and_then(Client::of_kept),
            binding,
            is_bound,
        })
    }

    /// Returns the file's content.
    pub(crate) fn write(&self) -> Zeroizing<Vec<u8>> {
        let text = |secret: &Secret<String>| Zeroizing::new(secret.reveal().clone());
        let file = File {
            access_token: text(&self.access_token),
            refresh_token: self.refresh_token.as_ref().map(text),
            id_token: self.id_token.as_ref().map(text),
            expires_in: self.life.map(|life| life.as_secs().into()),
            token_type: Some(
                if self.is_bound {
                    dpop::SCHEME
                } else {
                    "Bearer"
                }
                .into(),
            ),
            scope: self.scope.as_ref().map(Scope::to_string),
            expires_at: self.expires_at.map(|at| milliseconds(at).into()),
            issuer: self.issuer.clone(),
            requested_scope: self.requested_scope.as_ref().map(Scope::to_string),
            resource: self.resource.clone(),
            resource_metadata: self.resource_metadata.as_ref().map(Url::to_string),
            signed_in_at: self.signed_in_at,
            server: self.server.clone(),
            provider: self.provider.clone(),
            client: self.client.as_ref().map(Client::to_keep),
            dpop_key: self.binding.as_ref().map(|it| it.key.to_keep()),
            dpop_demanded: self.binding.as_ref().is_some_and(|it| it.demanded),
        };
        Zeroizing::new(serde_json::to_vec_pretty(&file).expect("strings and numbers are JSON"))
    }

    /// Says whether the clock has passed its end.
    pub(crate) fn has_expired(&self, now: SystemTime) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// Returns when it is best renewed: `part` of its life, of which the rest
    /// remains for trying again.
    pub(crate) fn renew_at(&self, part: f64) -> Option<SystemTime> {
        let rest = self.life?.mul_f64(1.0 - part);
        self.expires_at?.checked_sub(rest)
    }
}

/// Returns a time in ms since the epoch.
pub(crate) fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Returns a life that can be reckoned with.
pub(crate) fn life(seconds: u64) -> Duration {
    Duration::from_secs(seconds.min(LONGEST_LIFE))
}

/// Numbers, and numbers in quotes.
fn number(value: &Value) -> Option<u64> {
    let float = |number: f64| {
        let fits = number.is_finite() && number >= 0.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a cast saturates, which is what is wanted"
        )]
        fits.then_some(number as u64)
    };
    match value {
        Value::Number(number) => number.as_u64().or_else(|| number.as_f64().and_then(float)),
        Value::String(text) => text.trim().parse().ok().and_then(float),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let client = serde_json::json!({
            "client_id": "c", "client_secret": "s", "issuer": "https://as.example", "more": [1],
        });
        let client = client.as_object().expect("an object").clone();
        let grant = Grant {
            access_token: Secret::new("a".into()),
            refresh_token: Some(Secret::new("r".into())),
            id_token: None,
            life: Some(Duration::from_secs(3600)),
            expires_at: UNIX_EPOCH.checked_add(Duration::from_millis(1_700_000_000_123)),
            scope: Scope::parse("read write"),
            requested_scope: Scope::parse("read"),
            issuer: Some("https://as.example".into()),
            resource: Some("https://h.example/mcp".into()),
            resource_metadata: Url::parse("https://h.example/metadata").ok(),
            signed_in_at: Some(1_700_000_000_000),
            server: Some("digits".into()),
            provider: Some("more digits".into()),
            client: Client::of_kept(client.clone()),
            binding: None,
            is_bound: false,
        };
        let content = grant.write();
        assert_eq!(Grant::read(&content, None), Some(grant));
        let file: Value = serde_json::from_slice(&content).expect("JSON");
        let expected = serde_json::json!({
            "access_token": "a", "refresh_token": "r", "expires_in": 3600, "token_type": "Bearer",
            "scope": "read write", "expires_at": 1_700_000_000_123_u64,
            "issuer": "https://as.example", "requested_scope": "read",
            "resource": "https://h.example/mcp",
            "resource_metadata": "https://h.example/metadata", "client": client,
            "signed_in_at": 1_700_000_000_000_u64, "server": "digits",
            "provider": "more digits",
        });
        assert_eq!(file, expected);
    }

    #[test]
    fn files_of_others_are_read_with_what_makes_sense_in_them() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let check = |text: &str, expected: Option<Option<u64>>| {
            let grant = Grant::read(text.as_bytes(), Some(now));
            let expires = grant.map(|grant| grant.expires_at.map(|at| milliseconds(at) / 1000));
            assert_eq!(expires, expected, "{text}");
        };
        check(r#"{"access_token":"a"}"#, Some(None));
        check(
            r#"{"access_token":"a","expires_in":10}"#,
            Some(Some(1_000_010)),
        );
        check(
            r#"{"access_token":"a","expires_in":"10","token_type":7}"#,
            Some(Some(1_000_010)),
        );
        check(r#"{"access_token":"a","expires_in":-1}"#, Some(None));
        check(
            r#"{"access_token":"a","expires_in":1e18}"#,
            Some(Some(1_000_000 + LONGEST_LIFE)),
        );
        check(
            r#"{"access_token":"a","expires_in":1,"expires_at":2000}"#,
            Some(Some(2)),
        );
        check(r#"{"access_token":""}"#, None);
        check(r#"{"access_token":5}"#, None);
        check(r#"{"access_token":"a""#, None);
        check("[]", None);
        check("", None);
    }

    #[test]
    fn bound_tokens_are_kept_with_their_key_and_worth_nothing_without() {
        let key = ProofKey::generate();
        let plain = Grant::read(br#"{"access_token":"a"}"#, None).expect("a token");
        let grant = Grant {
            is_bound: true,
            binding: Some(Binding {
                key: key.clone(),
                demanded: true,
            }),
            ..plain.clone()
        };
        assert_eq!(Grant::read(&grant.write(), None), Some(grant.clone()));
        let file: Value = serde_json::from_slice(&grant.write()).expect("JSON");
        assert_eq!(file["token_type"], "DPoP");
        let kept = key.to_keep();
        assert!(!format!("{grant:?}").contains(&*kept));
        // A refresh token may be bound where the access token is not.
        let half = Grant {
            is_bound: false,
            ..grant.clone()
        };
        assert_eq!(Grant::read(&half.write(), None), Some(half));
        for key in [
            Value::Null,
            "".into(),
            "AAAA".into(),
            kept[1..].into(),
            7.into(),
        ] {
            let mut file = file.clone();
            file["dpop_key"] = key.clone();
            assert_eq!(
                Grant::read(file.to_string().as_bytes(), None),
                None,
                "{key}"
            );
        }
        let unbound = serde_json::from_slice::<Value>(&plain.write()).expect("JSON");
        assert!(unbound.get("dpop_key").is_none() && unbound["token_type"] == "Bearer");
    }

    #[test]
    fn tokens_are_not_shown() {
        let grant = Grant::read(
            br#"{"access_token":"hidden1","refresh_token":"hidden2"}"#,
            None,
        );
        assert!(grant.is_some() && !format!("{grant:?}").contains("hidden"));
    }

    #[test]
    fn a_grant_is_renewed_before_it_expires() {
        let grant = |text: &str| Grant::read(text.as_bytes(), Some(UNIX_EPOCH)).expect("a token");
        let hour = grant(r#"{"access_token":"a","expires_in":3600}"#);
        assert_eq!(
            hour.renew_at(0.75),
            Some(UNIX_EPOCH + Duration::from_secs(2700))
        );
        assert!(!hour.has_expired(UNIX_EPOCH + Duration::from_secs(3599)));
        assert!(hour.has_expired(UNIX_EPOCH + Duration::from_secs(3600)));
        assert_eq!(grant(r#"{"access_token":"a"}"#).renew_at(0.75), None);
    }
}
