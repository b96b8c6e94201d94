//! Builds the HTTP clients and sends requests: TLS, proxy, timeouts, redirects,
//! and what went wrong in words. Knows no MCP.
//!
//! Redirects are followed by hand: only within the origin, so that no header
//! ever reaches another one, and with the method and body unchanged.

pub(crate) mod certificate;
mod cookies;
mod payload;
mod proxy;
mod response;
pub(crate) mod trial;
mod trust;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use reqwest::dns::{Name, Resolve, Resolving};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use url::Url;

use crate::secret::Secret;

pub(crate) use cookies::CookieJar;
pub(crate) use payload::Payload;
pub(crate) use proxy::ProxySettings;
pub(crate) use response::Response;
use trust::Trust;

/// How long connecting may take, unless the user says.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Unused connections are kept a little longer than idle sessions are, so that
/// a warm session does not pay for a handshake.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// The same to OAuth servers, which close them when they like: a code or a refresh
/// token that went into one that is just being closed could not be sent again.
const GUARDED_IDLE_TIMEOUT: Duration = Duration::from_secs(1);

/// Unused connections kept for one host; each costs some 20 KiB.
const POOL_IDLE_PER_HOST: usize = 16;

/// Finds connections that died silently (sleep, NAT) before a request does.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Redirects followed within one origin before giving up.
const MAX_REDIRECTS: usize = 5;

/// Clients kept, one for each set of network options. Past it all are built
/// anew; sessions keep the one they have.
const MAX_CLIENTS: usize = 64;

/// Everything that decides over which network a server is reached. Part of what
/// decides who may share a session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct NetworkOptions {
    /// PEM file trusted besides the system's certificates.
    pub(crate) ca_file: Option<PathBuf>,
    /// PEM file trusted instead of the system's certificates.
    pub(crate) ssl_cert_file: Option<PathBuf>,
    /// The proxy for this server's URL, credentials included.
    pub(crate) proxy: Option<Secret<String>>,
    /// How long is waited for what.
    pub(crate) timeouts: Timeouts,
    /// Whether only IPv4 addresses are connected to.
    pub(crate) ipv4: bool,
}

/// How long connections and responses may take; `None`: as usual, which is for
/// ever but for connecting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Timeouts {
    /// Until there is a connection, TLS included, in one attempt.
    pub(crate) connect: Option<Duration>,
    /// From the request to the beginning of its response, connecting included.
    pub(crate) headers: Option<Duration>,
    /// Between the pieces of a response.
    pub(crate) body: Option<Duration>,
}

impl Timeouts {
    fn connecting(self) -> Duration {
        self.connect.unwrap_or(CONNECT_TIMEOUT)
    }
}

/// Why no client could be built, or a request got no response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HttpError {
    /// A certificate file or the proxy URL cannot be used; nothing was sent.
    #[error("{0}")]
    Setup(String),
    /// No connection; nothing was sent.
    #[error("{0}")]
    Connect(String),
    /// The connection broke after the request may have been sent.
    #[error("{0}")]
    Broken(String),
    /// A redirect that is not followed; the request was not handled.
    #[error("it redirects to {0}")]
    Redirect(String),
    /// No response began in this time; the request may have been sent.
    #[error("it did not answer within {} s", .0.as_secs_f64())]
    Silent(Duration),
    /// The body is longer than the limit, in bytes.
    #[error("its answer is longer than {0} bytes")]
    TooLarge(usize),
}

/// Who looks host names up; the system, unless said otherwise.
#[derive(Clone, Default)]
struct Resolver(Option<Arc<dyn Resolve>>);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        match &self.0 {
            Some(resolver) => resolver.resolve(name),
            None => Box::pin(std::future::ready(Err("nobody looks names up".into()))),
        }
    }
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

/// The clients in use, by network options.
#[derive(Debug, Default)]
pub(crate) struct HttpClients {
    built: Mutex<HashMap<NetworkOptions, HttpClient>>,
    resolver: Resolver,
}

impl HttpClients {
    /// Has names looked up by `resolver`.
    pub(crate) fn new(resolver: Arc<dyn Resolve>) -> Self {
        Self {
            built: Mutex::default(),
            resolver: Resolver(Some(resolver)),
        }
    }

    /// Returns the client for these options, building it if needed (reads
    /// certificate files on a blocking thread).
    pub(crate) async fn client(&self, options: &NetworkOptions) -> Result<HttpClient, HttpError> {
        if let Some(client) = self.lock().get(options) {
            return Ok(client.clone());
        }
        let (wanted, resolver) = (options.clone(), self.resolver.clone());
        let built = tokio::task::spawn_blocking(move || build(&wanted, &resolver)).await;
        let client = built.map_err(|_| HttpError::Setup("the daemon is stopping".into()))??;
        let mut clients = self.lock();
        if clients.len() >= MAX_CLIENTS {
            clients.clear();
        }
        Ok(clients.entry(options.clone()).or_insert(client).clone())
    }

    /// Forgets all clients, so that certificate files are read again.
    pub(crate) fn forget(&self) {
        self.lock().clear();
    }

    /// Forgets the clients that would be built with other certificates now; returns
    /// their options.
    pub(crate) async fn forget_changed(&self) -> Vec<NetworkOptions> {
        let clients = self.lock().clone();
        let looking = tokio::task::spawn_blocking(move || changed(&clients));
        let changed = looking.await.unwrap_or_default();
        self.lock().retain(|options, _| !changed.contains(options));
        changed
    }

    /// Forgets the client for these options, so that new connections are made.
    pub(crate) fn forget_one(&self, options: &NetworkOptions) {
        self.lock().remove(options);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<NetworkOptions, HttpClient>> {
        self.built
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

/// Returns the options of clients that would be built with other certificates now.
fn changed(clients: &HashMap<NetworkOptions, HttpClient>) -> Vec<NetworkOptions> {
    let the_systems = clients.values().any(|client| client.trust.is_the_systems());
    let system = the_systems.then(|| rustls_native_certs::load_native_certs().certs);
    let differs = |client: &HttpClient| !client.trust.still_holds(system.as_deref());
    let changed = clients.iter().filter(|(_, client)| differs(client));
    changed.map(|(options, _)| options.clone()).collect()
}

fn build(options: &NetworkOptions, resolver: &Resolver) -> Result<HttpClient, HttpError> {
    let (tls, trust) = tls(options)?;
    let build = || {
        let builder = builder(options, tls.clone())?;
        finish(match resolver.0 {
            Some(_) => builder.dns_resolver(Arc::new(resolver.clone())),
            None => builder,
        })
    };
    Ok(HttpClient {
        requests: build()?,
        streams: build()?,
        options: options.clone(),
        tls,
        trust: Arc::new(trust),
    })
}

fn builder(
    options: &NetworkOptions,
    tls: rustls::ClientConfig,
) -> Result<reqwest::ClientBuilder, HttpError> {
    let mut builder = reqwest::Client::builder()
        .use_preconfigured_tls(tls)
        .user_agent(concat!("mcp-remoted/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(options.timeouts.connecting())
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .pool_max_idle_per_host(POOL_IDLE_PER_HOST)
        .tcp_keepalive(KEEP_ALIVE)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .http2_keep_alive_while_idle(true)
        .no_proxy();
    if options.ipv4 {
        // Where connections come from decides to which addresses they may go.
        builder = builder.local_address(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    }
    if let Some(proxy) = &options.proxy {
        let unusable = |_| HttpError::Setup("the proxy setting is not a valid proxy URL".into());
        builder = builder.proxy(reqwest::Proxy::all(proxy.reveal()).map_err(unusable)?);
    }
    Ok(builder)
}

fn finish(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, HttpError> {
    builder
        .build()
        .map_err(|error| HttpError::Setup(cause(&error)))
}

fn tls(options: &NetworkOptions) -> Result<(rustls::ClientConfig, Trust), HttpError> {
    let (roots, trust) = roots(options)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| HttpError::Setup(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((config, trust))
}

/// Returns the authorities that are trusted, and where they come from.
fn roots(options: &NetworkOptions) -> Result<(rustls::RootCertStore, Trust), HttpError> {
    let mut trust = Trust::default();
    for file in options.ssl_cert_file.iter().chain(&options.ca_file) {
        trust.note_file(file);
    }
    let mut roots = rustls::RootCertStore::empty();
    // Certificates that rustls cannot use are left out, as other clients do.
    let _counts = match &options.ssl_cert_file {
        Some(file) => roots.add_parsable_certificates(certificates("SSL_CERT_FILE", file)?),
        None => {
            let system = rustls_native_certs::load_native_certs().certs;
            trust.note_system(&system);
            roots.add_parsable_certificates(system)
        }
    };
    if let Some(file) = &options.ca_file {
        let _counts = roots.add_parsable_certificates(certificates("--ca-file", file)?);
    }
    Ok((roots, trust))
}

fn certificates(source: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, HttpError> {
    let unreadable = |why: String| {
        HttpError::Setup(format!(
            "the certificates of {source} cannot be read from {}: {why}",
            file.display()
        ))
    };
    let pem = std::fs::read(file).map_err(|error| unreadable(error.to_string()))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => {
            Err(unreadable("it holds no PEM certificate".into()))
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(unreadable(error.to_string())),
    }
}

/// Sends requests over one set of network options. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct HttpClient {
    requests: reqwest::Client,
    /// For GET, whose streams stay: they must not take the connection that a
    /// request has just left warm.
    streams: reqwest::Client,
    options: NetworkOptions,
    tls: rustls::ClientConfig,
    trust: Arc<Trust>,
}

impl HttpClient {
    /// Builds a client over the same network, but for the proxy, whose connections go
    /// only where a resolver leads. It is not kept, and shares no connections.
    pub(crate) fn guarded(
        &self,
        proxy: Option<Secret<String>>,
        resolver: impl Resolve + 'static,
    ) -> Result<reqwest::Client, HttpError> {
        let options = NetworkOptions {
            proxy,
            ..self.options.clone()
        };
        let builder = builder(&options, self.tls.clone())?;
        let builder = builder.dns_resolver(Arc::new(resolver));
        let builder = builder.pool_idle_timeout(GUARDED_IDLE_TIMEOUT);
        finish(builder.pool_max_idle_per_host(1))
    }

    /// Sends a request and returns the head of its response. Follows redirects
    /// within the origin, with the `headers` for each URL, and takes cookies along.
    /// Dropping the future abandons the request.
    pub(crate) async fn send(
        &self,
        method: &Method,
        url: &Url,
        headers: impl Fn(&Url) -> HeaderMap,
        body: Option<&Payload>,
        cookies: Option<&CookieJar>,
    ) -> Result<Response, HttpError> {
        let mut url = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let client = if *method == Method::GET {
                &self.streams
            } else {
                &self.requests
            };
            let mut headers = headers(&url);
            if let Some(cookies) = cookies.and_then(|cookies| cookies.header(&url, &headers)) {
                headers.insert(http::header::COOKIE, cookies);
            }
            let mut request = client.request(method.clone(), url.clone()).headers(headers);
            if let Some(body) = body {
                request = request.body(body.body());
            }
            let response = self.answered(request).await?;
            if let Some(cookies) = cookies {
                cookies.take(&url, response.headers());
            }
            if !is_redirect(response.status()) {
                return Ok(Response {
                    response,
                    patience: self.options.timeouts.body,
                });
            }
            let target = response
                .headers()
                .get(http::header::LOCATION)
                .and_then(|location| location.to_str().ok());
            let target = target.and_then(|location| url.join(location).ok());
            match target {
                Some(target) if target.origin() == url.origin() => url = target,
                Some(target) => {
                    return Err(HttpError::Redirect(target.origin().ascii_serialization()));
                }
                None => return Err(HttpError::Redirect("an unreadable address".into())),
            }
        }
        Err(HttpError::Redirect("itself, again and again".into()))
    }

    async fn answered(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<reqwest::Response, HttpError> {
        let answered = match self.options.timeouts.headers {
            Some(patience) => tokio::time::timeout(patience, request.send())
                .await
                .map_err(|_| HttpError::Silent(patience))?,
            None => request.send().await,
        };
        answered.map_err(|error| {
            if error.is_connect() && error.is_timeout() {
                let seconds = self.options.timeouts.connecting().as_secs_f64();
                HttpError::Connect(format!("no connection within {seconds} s"))
            } else {
                no_response(&error)
            }
        })
    }
}

/// 303 would turn a POST into a GET, which answers nothing here.
fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 307 | 308)
}

/// Says why a request got no response.
pub(crate) fn no_response(error: &reqwest::Error) -> HttpError {
    if error.is_connect() {
        HttpError::Connect(cause(error))
    } else if error.is_builder() {
        HttpError::Setup(cause(error))
    } else {
        HttpError::Broken(cause(error))
    }
}

/// Says in words what is at the bottom of an error; never the URL.
fn cause(error: &reqwest::Error) -> String {
    if error.is_timeout() && error.is_connect() {
        return "no connection in time".into();
    }
    let mut deepest: &dyn std::error::Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
        if let Some(io) = source.downcast_ref::<std::io::Error>() {
            match io.kind() {
                std::io::ErrorKind::ConnectionRefused => return "connection refused".into(),
                std::io::ErrorKind::ConnectionReset => return "connection reset".into(),
                std::io::ErrorKind::TimedOut => return "connection timed out".into(),
                _ => {}
            }
        }
        if let Some(tls) = source.downcast_ref::<rustls::Error>() {
            return tls_cause(tls);
        }
    }
    let text = deepest.to_string();
    if text.contains("failed to lookup address") || text.contains("dns error") {
        return "its host name could not be resolved".into();
    }
    if std::ptr::addr_eq(deepest, error) {
        "the request failed".into()
    } else {
        text
    }
}

fn tls_cause(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer) => {
            "its TLS certificate is not signed by an authority that this system trusts (see --ca-file)".into()
        }
        rustls::Error::InvalidMessage(_) => "it does not speak TLS on this port".into(),
        other => format!("TLS failed: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificate_files_are_checked() {
        let missing = NetworkOptions {
            ca_file: Some("/nonexistent/ca.pem".into()),
            ..NetworkOptions::default()
        };
        let error = build(&missing, &Resolver::default())
            .expect_err("there is no such file")
            .to_string();
        assert!(
            error.contains("--ca-file") && error.contains("/nonexistent/ca.pem"),
            "{error}"
        );
        let empty = NetworkOptions {
            ssl_cert_file: Some("/dev/null".into()),
            ..NetworkOptions::default()
        };
        assert!(
            build(&empty, &Resolver::default())
                .expect_err("it is empty")
                .to_string()
                .contains("no PEM certificate")
        );
    }
}
