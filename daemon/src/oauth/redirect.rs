//! Where the redirect of a sign-in comes back to: a port of the loopback listener
//! and the URI that leads there, as the client's registration allows.

use url::{Host, Url};

use super::identity::{CallbackOptions, ClientChoice, Identity};
use super::loopback::{DEFAULT_PORT, ListenError, Listening, Loopback, PortChoice};
use super::registration::Client;

/// Why there is none. One sentence.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RedirectError {
    /// No port.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The client was registered by hand with addresses of other machines only.
    #[error(
        "none of the redirect_uris of --static-oauth-client-info leads to this machine: register http://localhost:{DEFAULT_PORT}/oauth/callback and name it there"
    )]
    Elsewhere,
}

/// A port that listens, and what leads there.
#[derive(Debug)]
pub(crate) struct Redirect {
    /// The port, as long as this lives.
    pub(crate) listening: Listening,
    /// The URI, byte for byte as it was or will be registered.
    pub(crate) uri: String,
    /// Its host.
    pub(crate) host: String,
    /// Its path.
    pub(crate) path: String,
    /// Whether the client given is registered with it.
    pub(crate) registered: bool,
}

/// Listens where the redirect may lead: to an address of the client's
/// registration if there is one and it is free, else to one to register.
pub(crate) fn listen(
    loopback: &Loopback,
    identity: &Identity,
    client: Option<&Client>,
) -> Result<Redirect, RedirectError> {
    let wanted = identity.callback.port;
    match &identity.client {
        ClientChoice::PreRegistered { redirect_uris, .. } if !redirect_uris.is_empty() => {
            let places = || redirect_uris.iter().filter_map(|uri| Place::read(uri));
            let asked_for = places().find(|place| place.fits(&identity.callback));
            // Nobody can register more of them here.
            let other = || places().find(|place| place.fits_port(wanted));
            let place = asked_for.or_else(other).ok_or(RedirectError::Elsewhere)?;
            return place.listen(loopback, wanted);
        }
        ClientChoice::PreRegistered { .. } | ClientChoice::MetadataUrl(_) => {
            // Their redirect URIs are fixed elsewhere, so no other port will do.
            let port = PortChoice::Strict(wanted.unwrap_or(DEFAULT_PORT));
            return Ok(fresh(loopback.listen(port)?, identity));
        }
        ClientChoice::Dynamic => {}
    }
    let uris = client.map_or(&[][..], |client| &client.redirect_uris);
    let mut places = uris.iter().filter_map(|uri| Place::read(uri));
    let place = places.find(|place| place.fits(&identity.callback));
    if let Some(place) = place
        && let Ok(redirect) = place.listen(loopback, wanted)
    {
        return Ok(redirect);
    }
    let port = match wanted {
        Some(port) => PortChoice::Strict(port),
        None => PortChoice::From(DEFAULT_PORT),
    };
    Ok(fresh(loopback.listen(port)?, identity))
}

/// Listens where the redirect of a sign-in that is under way leads.
pub(crate) fn listen_again(loopback: &Loopback, uri: &str) -> Result<Redirect, RedirectError> {
    let place = Place::read(uri).ok_or(RedirectError::Elsewhere)?;
    place.listen(loopback, None)
}

/// Returns what to register: the URI that is used, and the same by other names of
/// this machine, so that the registration still fits when `--host` changes.
pub(crate) fn to_register(redirect: &Redirect) -> Vec<String> {
    let port = redirect.listening.port();
    alike(redirect.uri.clone(), port, &redirect.path)
}

/// Returns what to register where nothing listens now: what the next sign-in in a
/// browser uses if its port is free then.
pub(crate) fn usual(callback: &CallbackOptions) -> Vec<String> {
    let port = callback.port.unwrap_or(DEFAULT_PORT);
    let first = uri(&callback.host, port, &callback.path);
    alike(first, port, &callback.path)
}

fn alike(first: String, port: u16, path: &str) -> Vec<String> {
    let mut uris = vec![first];
    for host in ["127.0.0.1", "localhost"] {
        let uri = uri(host, port, path);
        if !uris.contains(&uri) {
            uris.push(uri);
        }
    }
    uris
}

fn fresh(listening: Listening, identity: &Identity) -> Redirect {
    let callback = &identity.callback;
    Redirect {
        uri: uri(&callback.host, listening.port(), &callback.path),
        host: callback.host.clone(),
        path: callback.path.clone(),
        registered: false,
        listening,
    }
}

fn uri(host: &str, port: u16, path: &str) -> String {
    format!("http://{host}:{port}{path}")
}

/// A redirect URI that leads to this machine.
struct Place {
    uri: String,
    host: String,
    /// `None`: any (RFC 8252, section 7.3).
    port: Option<u16>,
    path: String,
}

impl Place {
    fn read(uri: &str) -> Option<Self> {
        let url = Url::parse(uri).ok()?;
        let is_loopback = match url.host()? {
            Host::Domain(name) => name == "localhost" || name.ends_with(".localhost"),
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => address.is_loopback(),
        };
        (url.scheme() == "http" && is_loopback).then(|| Self {
            uri: uri.to_owned(),
            host: url.host_str().unwrap_or_default().to_owned(),
            port: url.port(),
            path: url.path().to_owned(),
        })
    }

    fn fits_port(&self, wanted: Option<u16>) -> bool {
        wanted.is_none_or(|port| self.port.is_none_or(|own| own == port))
    }

    /// Says whether it is what the user asks for. What is as usual may be anything:
    /// a registration is kept where nobody asks for another.
    fn fits(&self, wanted: &CallbackOptions) -> bool {
        let usual = CallbackOptions::default();
        let host = wanted.host == usual.host || wanted.host == self.host;
        let path = wanted.path == usual.path || wanted.path == self.path;
        host && path && self.fits_port(wanted.port)
    }

    fn listen(self, loopback: &Loopback, wanted: Option<u16>) -> Result<Redirect, RedirectError> {
        let choice = match (self.port, wanted) {
            (Some(port), _) | (None, Some(port)) => PortChoice::Strict(port),
            (None, None) => PortChoice::From(DEFAULT_PORT),
        };
        let listening = loopback.listen(choice)?;
        Ok(Redirect {
            uri: match self.port {
                Some(_) => self.uri,
                None => uri(&self.host, listening.port(), &self.path),
            },
            host: self.host,
            path: self.path,
            registered: true,
            listening,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::http::NetworkOptions;
    use crate::server_url::ServerUrl;

    fn identity(client: ClientChoice) -> Identity {
        let server = ServerUrl::parse("https://h/mcp", false).expect("valid");
        Identity {
            client,
            ..Identity::new(server, NetworkOptions::default())
        }
    }

    fn pre_registered(redirect_uris: &[&str]) -> ClientChoice {
        ClientChoice::PreRegistered {
            client_id: "c".into(),
            client_secret: None,
            auth_method: None,
            redirect_uris: redirect_uris.iter().map(|&uri| uri.into()).collect(),
            issuer: None,
        }
    }

    fn registered(uri: &str) -> Client {
        let document = json!({ "client_id": "c", "redirect_uris": [uri] });
        let document = document.as_object().expect("an object").clone();
        Client::from_document("https://as", document).expect("a client")
    }

    fn free_port() -> u16 {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("free");
        listener.local_addr().expect("bound").port()
    }

    #[tokio::test]
    async fn a_registered_address_is_kept_while_its_port_is_free() {
        let loopback = Loopback::new(TaskTracker::new());
        let identity = identity(ClientChoice::Dynamic);
        let port = free_port();
        let uri = format!("http://127.0.0.1:{port}/old/path");
        let client = registered(&uri);
        let redirect = listen(&loopback, &identity, Some(&client)).expect("free");
        assert_eq!((&redirect.uri, redirect.registered), (&uri, true));
        assert_eq!(redirect.path, "/old/path");
        drop(redirect);

        let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("free");
        let port = taken.local_addr().expect("bound").port();
        let client = registered(&format!("http://127.0.0.1:{port}/old/path"));
        let redirect = listen(&loopback, &identity, Some(&client)).expect("another");
        assert!(!redirect.registered);
        assert_ne!(redirect.listening.port(), port);
        let port = redirect.listening.port();
        let expected = ["localhost", "127.0.0.1"];
        let expected = expected.map(|host| format!("http://{host}:{port}/oauth/callback"));
        assert_eq!(to_register(&redirect), expected);
    }

    #[tokio::test]
    async fn a_port_that_the_user_names_is_the_only_one() {
        let loopback = Loopback::new(TaskTracker::new());
        let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("free");
        let port = taken.local_addr().expect("bound").port();
        let mut identity = identity(ClientChoice::Dynamic);
        identity.callback.port = Some(port);
        let refused = listen(&loopback, &identity, None);
        assert!(matches!(
            refused,
            Err(RedirectError::Listen(ListenError::Taken(..)))
        ));
        let port = free_port();
        identity.callback.port = Some(port);
        let other = registered("http://localhost:1/oauth/callback");
        let redirect = listen(&loopback, &identity, Some(&other)).expect("free");
        assert_eq!(
            (redirect.listening.port(), redirect.registered),
            (port, false)
        );
    }

    #[tokio::test]
    async fn a_host_or_path_that_the_user_names_is_the_one_that_is_used() {
        let loopback = Loopback::new(TaskTracker::new());
        let held = loopback
            .listen(PortChoice::From(DEFAULT_PORT))
            .expect("free");
        let port = held.port();
        let uris = ["localhost", "127.0.0.1"].map(|host| format!("http://{host}:{port}/old"));
        let document = json!({ "client_id": "c", "redirect_uris": uris });
        let document = document.as_object().expect("an object").clone();
        let client = Client::from_document("https://as", document).expect("a client");
        let check = |host: &str, path: &str, expected: (&str, bool)| {
            let mut identity = identity(ClientChoice::Dynamic);
            identity.callback.host = host.into();
            identity.callback.path = path.into();
            let redirect = listen(&loopback, &identity, Some(&client)).expect("free");
            let url = Url::parse(&redirect.uri).expect("a URL");
            let found = format!("{}{}", url.host_str().expect("a host"), url.path());
            assert_eq!((found.as_str(), redirect.registered), expected);
        };
        let usual = CallbackOptions::default();
        check(&usual.host, &usual.path, ("localhost/old", true));
        check("127.0.0.1", &usual.path, ("127.0.0.1/old", true));
        check("127.0.0.1", "/old", ("127.0.0.1/old", true));
        check("127.0.0.1", "/new", ("127.0.0.1/new", false));
        check("a.localhost", "/old", ("a.localhost/old", false));

        let by_hand = pre_registered(&[&uris[0], &uris[1]]);
        for (host, expected) in [("127.0.0.1", &uris[1]), ("a.localhost", &uris[0])] {
            let mut identity = identity(by_hand.clone());
            identity.callback.host = host.into();
            let redirect = listen(&loopback, &identity, None).expect("free");
            assert_eq!(&redirect.uri, expected);
        }
    }

    #[tokio::test]
    async fn a_client_registered_by_hand_is_led_where_it_was_registered() {
        let loopback = Loopback::new(TaskTracker::new());
        let port = free_port();
        let uri = format!("http://localhost:{port}/cb");
        let client = pre_registered(&["https://elsewhere.example/cb", &uri]);
        let redirect = listen(&loopback, &identity(client), None).expect("free");
        assert_eq!(redirect.uri, uri);
        drop(redirect);
        let any_port = pre_registered(&["http://127.0.0.1/cb"]);
        let redirect = listen(&loopback, &identity(any_port), None).expect("free");
        let port = redirect.listening.port();
        assert_eq!(redirect.uri, format!("http://127.0.0.1:{port}/cb"));
        let elsewhere = pre_registered(&["https://elsewhere.example/cb"]);
        let refused = listen(&loopback, &identity(elsewhere), None);
        assert!(matches!(refused, Err(RedirectError::Elsewhere)));
    }
}
