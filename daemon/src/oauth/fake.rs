//! A server for the tests of the modules that ask one: answers with what a test
//! says, and keeps what it was asked.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use url::Url;

use super::discovery::AuthorizationServer;
use super::http::OAuthHttp;
use super::identity::Identity;
use super::names::Names;
use crate::http::{HttpClients, NetworkOptions};
use crate::server_url::ServerUrl;

/// Metadata that have a page, a token endpoint, and nothing else to say.
pub(super) fn authorization_server(origin: &str) -> AuthorizationServer {
    AuthorizationServer {
        issuer: origin.to_owned(),
        authorization_endpoint: Ok(endpoint(origin, "/authorize")),
        token_endpoint: endpoint(origin, "/token"),
        registration_endpoint: None,
        revocation_endpoint: None,
        device_authorization_endpoint: None,
        scopes_supported: None,
        token_endpoint_auth_methods: Vec::new(),
        grant_types: Vec::new(),
        client_id_metadata_document_supported: false,
        iss_parameter_supported: false,
        takes_proofs: None,
        takes_id_jags: None,
        is_assumed: false,
    }
}

/// A URL of that server.
pub(super) fn endpoint(origin: &str, path: &str) -> Url {
    Url::parse(&format!("{origin}{path}")).expect("valid")
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) method: String,
    /// Path and query.
    pub(super) target: String,
    /// Lines, in lower case.
    pub(super) head: String,
    pub(super) body: String,
}

impl Asked {
    /// Returns a field of a form.
    pub(super) fn field(&self, name: &str) -> Option<String> {
        let mut fields = url::form_urlencoded::parse(self.body.as_bytes());
        let found = fields.find(|(found, _)| found == name);
        found.map(|(_, value)| value.into_owned())
    }
}

/// What is answered: status, header lines, body.
pub(super) struct Answer(pub(super) u16, pub(super) String, pub(super) Vec<u8>);

impl Answer {
    pub(super) fn json(status: u16, document: &Value) -> Self {
        let head = "content-type: application/json\r\n".to_owned();
        Self(status, head, document.to_string().into_bytes())
    }

    pub(super) fn html(status: u16) -> Self {
        let head = "content-type: text/html\r\n".to_owned();
        Self(status, head, b"<html>s3cret</html>".to_vec())
    }

    pub(super) fn redirect(status: u16, target: &str) -> Self {
        Self(status, format!("location: {target}\r\n"), Vec::new())
    }
}

/// A server on this machine.
pub(super) struct Fake {
    pub(super) origin: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    _task: JoinSet<()>,
}

impl Fake {
    /// Starts one; `answer` gets its origin and a request.
    pub(super) async fn start(
        answer: impl Fn(&str, &Asked) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let origin = format!("http://{address}");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (kept, own) = (asked.clone(), origin.clone());
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.expect("it listens");
                let Some(request) = read(&mut stream).await else {
                    continue;
                };
                kept.lock().expect("nothing panics").push(request.clone());
                let Answer(status, head, body) = answer(&own, &request);
                let length = body.len();
                let head = format!(
                    "HTTP/1.1 {status} x\r\n{head}content-length: {length}\r\nconnection: close\r\n\r\n"
                );
                // A client may have left.
                let _left = stream.write_all(head.as_bytes()).await;
                let _left = stream.write_all(&body).await;
            }
        });
        Self {
            origin,
            asked,
            _task: task,
        }
    }

    /// Starts one that answers documents by target, 404 else. `{origin}` in them
    /// is its own.
    pub(super) async fn with_documents(documents: &'static [(&'static str, &'static str)]) -> Self {
        Self::start(move |origin, asked| {
            let found = documents.iter().find(|(target, _)| *target == asked.target);
            match found {
                Some((_, text)) => {
                    let text = text.replace("{origin}", origin).into_bytes();
                    Answer(200, "content-type: application/json\r\n".into(), text)
                }
                None => Answer::html(404),
            }
        })
        .await
    }

    /// Returns what it was asked.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("nothing panics").clone()
    }

    /// Returns the targets that it was asked for, in order.
    pub(super) fn targets(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.target).collect()
    }

    /// Returns the identity of an MCP server at a path of it.
    pub(super) fn identity(&self, path: &str) -> Identity {
        identity(&format!("{}{path}", self.origin))
    }

    /// Returns what asks it, as the configured server.
    pub(super) async fn http(&self) -> OAuthHttp {
        http_of(&self.origin).await
    }
}

/// Returns the identity of an MCP server without any option.
pub(super) fn identity(url: &str) -> Identity {
    let server = ServerUrl::parse(url, true).expect("valid");
    Identity::new(server, NetworkOptions::default())
}

/// Returns what asks the authorization servers of a configured server.
pub(super) async fn http_of(url: &str) -> OAuthHttp {
    let names = Names::of_system();
    OAuthHttp::new(&HttpClients::default(), &names, &identity(url))
        .await
        .expect("it needs no look-up")
}

async fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut text = Vec::new();
    let (head, body_at) = loop {
        let end = text.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(at) = end {
            break (String::from_utf8_lossy(&text[..at]).into_owned(), at + 4);
        }
        (stream.read_buf(&mut text).await.ok()? > 0).then_some(())?;
    };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_it = name.eq_ignore_ascii_case("content-length");
        is_it.then(|| value.trim().parse::<usize>().ok())?
    });
    while text.len() < body_at + length.unwrap_or(0) {
        (stream.read_buf(&mut text).await.ok()? > 0).then_some(())?;
    }
    let mut words = head.split(' ');
    Some(Asked {
        method: words.next()?.to_owned(),
        target: words.next()?.to_owned(),
        body: String::from_utf8_lossy(&text[body_at..]).into_owned(),
        head: head.to_ascii_lowercase(),
    })
}
