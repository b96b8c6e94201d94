//! One HTTP/1.1 connection to an MCP endpoint, over TCP or TLS. Knows of MCP
//! only the session id and that a reply is JSON or one event of a stream.

use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// What went wrong; there is nothing to do about it but to print it.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A session with one server.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    authority: String,
    path: String,
    session: Option<HeaderValue>,
    /// Drives the connection.
    _driver: JoinSet<()>,
}

impl Connection {
    /// Connects; with a certificate file by TLS, trusting only that.
    pub(crate) async fn open(url: &str, ca_file: Option<&str>) -> Result<Self, Failure> {
        let url: Uri = url.parse()?;
        let authority = url.authority().ok_or("the URL has no host")?.to_string();
        let path = url.path().to_owned();
        let stream = TcpStream::connect(&authority).await?;
        stream.set_nodelay(true)?;
        let mut driver = JoinSet::new();
        let sender = match ca_file {
            None => speak(stream, &mut driver).await?,
            Some(file) => {
                let host = url.host().ok_or("the URL has no host")?.to_owned();
                let connector = tokio_rustls::TlsConnector::from(Arc::new(trusting(file)?));
                let stream = connector
                    .connect(ServerName::try_from(host)?, stream)
                    .await?;
                speak(stream, &mut driver).await?
            }
        };
        Ok(Self {
            sender,
            authority,
            path,
            session: None,
            _driver: driver,
        })
    }

    /// Posts one message and returns the JSON of its answer; empty for none.
    pub(crate) async fn post(&mut self, message: &'static str) -> Result<Bytes, Failure> {
        let mut request = Request::post(&self.path)
            .header(HOST, &self.authority)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, text/event-stream");
        if let Some(session) = &self.session {
            request = request
                .header("mcp-session-id", session)
                .header("mcp-protocol-version", "2025-11-25");
        }
        let request = request.body(Full::from(message))?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        if !response.status().is_success() {
            return Err(format!("the server answered {}", response.status()).into());
        }
        if let Some(session) = response.headers().get("mcp-session-id") {
            self.session = Some(session.clone());
        }
        let body = response.into_body().collect().await?.to_bytes();
        Ok(data_of(&body))
    }
}

/// Returns the data of the last event, or the body itself if it is no stream.
pub(crate) fn data_of(body: &Bytes) -> Bytes {
    let data = body
        .split(|byte| *byte == b'\n')
        .rev()
        .find_map(|line| line.strip_prefix(b"data: "));
    match data {
        Some(data) => body.slice_ref(data),
        None => body.clone(),
    }
}

async fn speak<S>(stream: S, driver: &mut JoinSet<()>) -> Result<SendRequest<Full<Bytes>>, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // A failure reaches the caller through the request that it ends.
    driver.spawn(async move { drop(connection.await) });
    Ok(sender)
}

fn trusting(ca_file: &str) -> Result<rustls::ClientConfig, Failure> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca_file)? {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
