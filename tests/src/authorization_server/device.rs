//! Sign-ins by code (RFC 8628): the endpoint that gives codes, the token endpoint's
//! part, and the person who types a code in. Who asks too often is complained about.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::endpoints::{authenticate, check_resource, form, refused, tokens};
use super::{FakeAuthorizationServer, Grant, Shared, proofs};
use crate::upstream::{Reply, Request};

/// The grant by its registered name.
pub(super) const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// How sign-ins by code are offered.
#[derive(Debug, Clone)]
pub struct Device {
    /// Whether the grant is listed among those that the server gives.
    pub listed: bool,
    /// `interval` in seconds.
    pub interval: u64,
    /// How often who asks about a code hears first that this is too often.
    pub slow_downs: u32,
    /// Members to change in the answer that begins a sign-in; null removes one.
    pub patch: Map<String, Value>,
}

impl Default for Device {
    fn default() -> Self {
        Self {
            listed: true,
            interval: 1,
            slow_downs: 0,
            patch: Map::new(),
        }
    }
}

/// What the person has done about a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Person {
    Away,
    Agreed,
    Refused,
    TooLate,
}

/// A code that was given.
#[derive(Debug, Clone)]
pub(super) struct DeviceCode {
    user_code: String,
    client: String,
    resource: Option<String>,
    scope: Option<String>,
    person: Person,
    interval: Duration,
    asked: Instant,
    /// How often it is still answered that this is too often.
    slow_downs: u32,
}

impl FakeAuthorizationServer {
    /// Types a code in, as a person who agrees does.
    ///
    /// # Panics
    /// If it was not given.
    pub fn enter(&self, user_code: &str) {
        self.decide(user_code, Person::Agreed);
    }

    /// The same as one who refuses.
    ///
    /// # Panics
    /// If it was not given.
    pub fn deny(&self, user_code: &str) {
        self.decide(user_code, Person::Refused);
    }

    /// Lets a code end.
    ///
    /// # Panics
    /// If it was not given.
    pub fn end_code(&self, user_code: &str) {
        self.decide(user_code, Person::TooLate);
    }

    fn decide(&self, user_code: &str, person: Person) {
        self.shared.state.update(|state| {
            let mut codes = state.device_codes.values_mut();
            let code = codes.find(|code| code.user_code == user_code);
            code.expect("the code was given").person = person;
        });
    }
}

/// Gives a code.
pub(super) fn begin(shared: &Shared, origin: &str, request: &Request) -> Option<Reply> {
    let config = shared.config.device.as_ref()?;
    let form = form(request);
    let client = match authenticated(shared, request) {
        Ok(client) => client,
        Err(refusal) => return Some(refusal),
    };
    let interval = Duration::from_secs(config.interval);
    let (device_code, user_code) = shared.state.update(|state| {
        let device_code = state.mint("device");
        let given = state.requests.iter().filter(|(label, _)| label == "device");
        let user_code = format!("CODE-{:04}", given.count());
        let code = DeviceCode {
            user_code: user_code.clone(),
            client,
            resource: form.get("resource").cloned(),
            scope: form.get("scope").cloned(),
            person: Person::Away,
            interval,
            asked: Instant::now(),
            slow_downs: config.slow_downs,
        };
        state.device_codes.insert(device_code.clone(), code);
        (device_code, user_code)
    });
    let mut document = json!({
        "device_code": device_code,
        "user_code": user_code,
        "verification_uri": format!("{origin}/enter"),
        "verification_uri_complete": format!("{origin}/enter?code={user_code}"),
        "expires_in": 600,
        "interval": config.interval,
    });
    for (name, value) in &config.patch {
        match value {
            Value::Null => drop(document.as_object_mut().map(|object| object.remove(name))),
            value => document[name] = value.clone(),
        }
    }
    Some(Reply::json(200, document.to_string()).with("Cache-Control", "no-store"))
}

/// Says who asks, if they may.
fn authenticated(shared: &Shared, request: &Request) -> Result<String, Reply> {
    let basic = request.header("Authorization").is_some();
    let form = form(request);
    let id = match form.get("client_id") {
        Some(id) => id.clone(),
        // Those with a secret; there is one at a time.
        None if basic => shared.state.look(|state| {
            let mut clients = state.clients.iter();
            let client = clients.find(|(_, client)| client.secret.is_some());
            client.map(|(id, _)| id.clone()).unwrap_or_default()
        }),
        None => String::new(),
    };
    if let Some(refusal) = authenticate(shared, &id, request) {
        return Err(refusal);
    }
    let may = shared
        .state
        .look(|state| state.clients.get(&id).is_some_and(|client| client.device));
    match may {
        true => Ok(id),
        false => Err(refused("unauthorized_client")),
    }
}

/// Answers who asks about a code.
pub(super) fn poll(shared: &Shared, request: &Request) -> Reply {
    let form = form(request);
    let asked = form.get("device_code").cloned().unwrap_or_default();
    let found = shared.state.update(|state| {
        let code = state.device_codes.get_mut(&asked)?;
        // A timer may be early by what clocks cannot tell.
        let early = code.asked.elapsed() + Duration::from_millis(20) < code.interval;
        code.asked = Instant::now();
        let slow_down = code.slow_downs > 0;
        if slow_down {
            code.slow_downs -= 1;
            code.interval += Duration::from_secs(5);
        }
        Some((code.clone(), early, slow_down))
    });
    let Some((code, early, slow_down)) = found else {
        return refused("invalid_grant");
    };
    if let Some(refusal) = authenticate(shared, &code.client, request) {
        return refusal;
    }
    if early {
        shared.complain(format!("{} was asked about too early", code.user_code));
    }
    check_resource(shared, &code.resource, form.get("resource"));
    if slow_down {
        return refused("slow_down");
    }
    match code.person {
        Person::Away => refused("authorization_pending"),
        Person::Refused => refused("access_denied"),
        Person::TooLate => refused("expired_token"),
        Person::Agreed => shared.state.update(|state| {
            state.device_codes.remove(&asked);
            let grant = Grant {
                client: code.client,
                resource: code.resource,
                scope: code.scope.or_else(|| shared.config.scopes.clone()),
                jkt: proofs::thumbprint(request),
                revoked: false,
            };
            state.grants.push(grant);
            tokens(shared, state, state.grants.len() - 1, None)
        }),
    }
}
