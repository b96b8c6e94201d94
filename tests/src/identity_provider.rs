//! An identity provider: an authorization server with ID tokens that says to others
//! who somebody is (RFC 8693, with an ID-JAG as what is asked for).
//!
//! An assertion is good once, for the authorization server and the resource that the
//! test names. What a conforming client would not do is a complaint of the server
//! below.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::json;
use url::form_urlencoded;

use crate::authorization_server::{Config, Device, FakeAuthorizationServer};
use crate::home::SECRET;
use crate::monitor::Monitor;
use crate::ports;
use crate::upstream::{Reply, Request};

/// The client that it knows.
pub const CLIENT: &str = "mcp-clients";

const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const REFRESH_TOKEN: &str = "urn:ietf:params:oauth:token-type:refresh_token";
const ID_JAG: &str = "urn:ietf:params:oauth:token-type:id-jag";

#[derive(Debug, Default)]
struct State {
    secret: String,
    redirect_uri: String,
    /// The issuers at which it vouches.
    audiences: BTreeSet<String>,
    /// Tokens that show who the user is, and their kinds.
    subjects: BTreeMap<String, &'static str>,
    /// Whether a refresh token that is shown is replaced.
    rotates: bool,
    minted: u64,
    /// Assertions that nobody has shown yet.
    assertions: BTreeSet<String>,
    /// What was wrong with requests.
    complaints: Vec<String>,
}

/// An identity provider on loopback.
#[expect(missing_debug_implementations, reason = "holds a closure")]
pub struct FakeIdentityProvider {
    /// The authorization server that it is.
    pub server: Arc<FakeAuthorizationServer>,
    state: Arc<Monitor<State>>,
}

impl Default for FakeIdentityProvider {
    fn default() -> Self {
        Self::start()
    }
}

impl FakeIdentityProvider {
    /// Starts one that vouches nowhere yet.
    pub fn start() -> Self {
        Self::offering(None)
    }

    /// The same where people may sign in by code.
    pub fn offering(device: Option<Device>) -> Self {
        let server = Arc::new(FakeAuthorizationServer::with(Config {
            registration: false,
            id_tokens: true,
            // There is no resource.
            resource_metadata: crate::authorization_server::ResourceMetadata::None,
            device,
            ..Config::default()
        }));
        let redirect_uri = format!("http://localhost:{}/oauth/callback", ports::free());
        let secret = server.register(CLIENT, &redirect_uri);
        let state = Arc::new(Monitor::new(State {
            secret,
            redirect_uri,
            ..State::default()
        }));
        let fake = Self { server, state };
        fake.behave();
        fake
    }

    /// Ends what a test has scripted.
    pub fn behave(&self) {
        let (state, server) = (self.state.clone(), Arc::downgrade(&self.server));
        self.server.script(move |label, request| {
            if label != "token exchange" {
                return None;
            }
            let server = server.upgrade()?;
            if server.client_of(request).as_deref() != Some(CLIENT) {
                let document = json!({ "error": "invalid_client" }).to_string();
                return Some(Reply::json(401, document));
            }
            let given = |token: &str| server.has_given(token);
            Some(exchange(&state, given, request))
        });
    }

    /// Answers exchanges with this error from now on.
    pub fn refuse(&self, status: u16, error: &'static str) {
        self.server.script(move |label, _| {
            let document = json!({ "error": error, "error_description": "so it is" });
            (label == "token exchange").then(|| Reply::json(status, document.to_string()))
        });
    }

    /// Answers exchanges with this document from now on.
    pub fn answer(&self, document: &serde_json::Value) {
        let text = document.to_string();
        self.server
            .script(move |label, _| (label == "token exchange").then(|| Reply::json(200, &*text)));
    }

    /// Returns its issuer.
    pub fn issuer(&self) -> String {
        self.server.origin()
    }

    /// Returns the client that it knows, as `--identity-provider-client` has it.
    pub fn client(&self) -> String {
        let document = |state: &State| {
            json!({
                "client_id": CLIENT,
                "client_secret": state.secret,
                "redirect_uris": [state.redirect_uri],
            })
        };
        self.state.look(document).to_string()
    }

    /// Makes its client one that has no secret; returns it likewise.
    pub fn public_client(&self) -> String {
        let redirect_uri = self.state.look(|state| state.redirect_uri.clone());
        self.server.register_public(CLIENT, &redirect_uri);
        json!({ "client_id": CLIENT, "redirect_uris": [redirect_uri] }).to_string()
    }

    /// Makes its client one that shows who it is with this key of type ES256; returns it
    /// likewise.
    pub fn client_with_key(&self, public: &[u8]) -> String {
        self.server.service_key(CLIENT, "ES256", public);
        self.public_client()
    }

    /// Vouches at this authorization server, which takes its word.
    pub fn vouch_at(&self, server: &FakeAuthorizationServer) {
        self.state
            .update(|state| state.audiences.insert(server.origin()));
        let state = self.state.clone();
        server.trust(move |assertion| state.update(|state| state.assertions.remove(assertion)));
    }

    /// Returns an ID token of the user.
    pub fn id_token(&self) -> String {
        self.subject("id", ID_TOKEN)
    }

    /// Returns a refresh token of the user.
    pub fn refresh_token(&self) -> String {
        self.subject("refresh", REFRESH_TOKEN)
    }

    /// Replaces refresh tokens that are shown from now on; the old ones end.
    pub fn rotate(&self) {
        self.state.update(|state| state.rotates = true);
    }

    /// Ends every token that shows who the user is.
    pub fn end_subjects(&self) {
        self.state.update(|state| state.subjects.clear());
    }

    /// Takes the ID tokens that it has given by now no more.
    pub fn end_id_tokens(&self) {
        self.server.forget_id_tokens();
    }

    /// Counts the exchanges that it was asked for.
    pub fn exchanges(&self) -> usize {
        self.server.count("token exchange")
    }

    /// Returns what was wrong with exchanges.
    pub fn complaints(&self) -> Vec<String> {
        self.state.look(|state| state.complaints.clone())
    }

    fn subject(&self, name: &str, kind: &'static str) -> String {
        self.state.update(|state| {
            let token = state.mint(name);
            state.subjects.insert(token.clone(), kind);
            token
        })
    }
}

impl Drop for FakeIdentityProvider {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let complaints = self.complaints();
            assert!(
                complaints.is_empty(),
                "the provider complains: {complaints:#?}"
            );
        }
    }
}

impl State {
    /// Makes a token of the form of a JWT.
    fn mint(&mut self, kind: &str) -> String {
        self.minted += 1;
        format!("e30.{SECRET}{kind}-of-provider-{}.c2ln", self.minted)
    }
}

fn exchange(state: &Monitor<State>, has_given: impl Fn(&str) -> bool, request: &Request) -> Reply {
    let text = request.text();
    let form: BTreeMap<String, String> = form_urlencoded::parse(text.as_bytes())
        .into_owned()
        .collect();
    let get = |name: &str| form.get(name).cloned().unwrap_or_default();
    let refused = |error: &str| Reply::json(400, json!({ "error": error }).to_string());
    state.update(|state| {
        for (name, expected) in [("requested_token_type", ID_JAG)] {
            if get(name) != expected {
                state.complaints.push(format!("{name} is {:?}", get(name)));
            }
        }
        if !get("resource").ends_with("/mcp") {
            state
                .complaints
                .push(format!("resource is {:?}", get("resource")));
        }
        if !state.audiences.contains(&get("audience")) {
            return refused("invalid_target");
        }
        let subject = get("subject_token");
        let known = match state.subjects.get(&subject) {
            Some(kind) => get("subject_token_type") == *kind,
            None => has_given(&subject) && get("subject_token_type") == ID_TOKEN,
        };
        if !known {
            return refused("invalid_grant");
        }
        let assertion = state.mint("assertion");
        state.assertions.insert(assertion.clone());
        let mut document = json!({
            "issued_token_type": ID_JAG, "access_token": assertion, "token_type": "N_A",
            "expires_in": 300,
        });
        if state.rotates && get("subject_token_type") == REFRESH_TOKEN {
            state.subjects.remove(&subject);
            let next = state.mint("refresh");
            state.subjects.insert(next.clone(), REFRESH_TOKEN);
            document["refresh_token"] = next.into();
        }
        Reply::json(200, document.to_string())
    })
}
