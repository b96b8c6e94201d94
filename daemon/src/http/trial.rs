//! The way to a server, one step at a time: its addresses, a connection, TLS. With
//! the trust, the names and the timeouts of every request, but nothing is asked.
//!
//! For finding out why a request does not get through; requests do not use it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::TokioIo;
use reqwest::dns::{Name, Resolve as _};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tower_service::Service as _;
use url::Url;

use super::certificate::Certificate;
use super::{HttpClients, HttpError, NetworkOptions, roots, tls, tls_cause};

/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;

/// What came of connecting to one address.
#[derive(Debug)]
pub(crate) struct Connected {
    /// Where.
    pub(crate) address: SocketAddr,
    /// Why not.
    pub(crate) outcome: io::Result<()>,
    /// How long it took.
    pub(crate) took: Duration,
}

/// What came of TLS.
#[derive(Debug)]
pub(crate) struct Shaken {
    /// The version, or why there is none.
    pub(crate) outcome: Result<&'static str, TlsRefusal>,
    /// What the server showed, if it got so far.
    pub(crate) certificate: Option<Certificate>,
    /// How long it took, connecting included.
    pub(crate) took: Duration,
}

/// Why there is no TLS.
#[derive(Debug)]
pub(crate) enum TlsRefusal {
    /// Nobody who is trusted has signed the certificate.
    UnknownIssuer,
    /// It has ended.
    Expired,
    /// It is another server's.
    OtherName,
    /// Something else, in words.
    Other(String),
}

impl HttpClients {
    /// Looks a name up as requests do.
    ///
    /// # Errors
    /// Why it leads nowhere.
    pub(crate) async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, String> {
        let name = name.parse::<Name>();
        let name = name.map_err(|_| "it is not a name that can be looked up".to_owned())?;
        let found = self.resolver.resolve(name).await;
        let mut addresses = Vec::new();
        for address in found.map_err(|error| unresolved(&error.to_string()))? {
            if !addresses.contains(&address.ip()) {
                addresses.push(address.ip());
            }
        }
        Ok(addresses)
    }
}

/// Says it as the system does, without how it comes to say it.
fn unresolved(error: &str) -> String {
    let bare = error.strip_prefix("failed to lookup address information: ");
    bare.unwrap_or(error).to_lowercase()
}

/// Connects to each of these addresses at the same time, and hangs up.
pub(crate) async fn connect(
    addresses: &[IpAddr],
    port: u16,
    options: &NetworkOptions,
) -> Vec<Connected> {
    let usable = |address: &&IpAddr| address.is_ipv4() || !options.ipv4;
    let addresses = addresses.iter().filter(usable).take(MAX_ADDRESSES);
    let patience = options.timeouts.connecting();
    join_all(addresses.map(|address| async move {
        let address = SocketAddr::new(*address, port);
        let begun = Instant::now();
        let outcome = match timeout(patience, TcpStream::connect(address)).await {
            Ok(connected) => connected.map(drop),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        Connected {
            address,
            outcome,
            took: begun.elapsed(),
        }
    }))
    .await
}

/// Shakes hands with the server of an https URL at this address, or where `proxy`
/// (http only) leads.
///
/// # Errors
/// There is no connection to shake hands on, or certificate files cannot be read.
pub(crate) async fn shake_hands(
    url: &Url,
    address: Option<SocketAddr>,
    proxy: Option<&Url>,
    options: &NetworkOptions,
) -> Result<Shaken, HttpError> {
    let patience = options.timeouts.connecting();
    let begun = Instant::now();
    let slow = || HttpError::Connect(format!("no TLS within {} s", patience.as_secs_f64()));
    let handshake = handshake(url, address, proxy, options);
    let (outcome, certificate) = timeout(patience, handshake).await.map_err(|_| slow())??;
    Ok(Shaken {
        outcome,
        certificate,
        took: begun.elapsed(),
    })
}

type Outcome = (Result<&'static str, TlsRefusal>, Option<Certificate>);

async fn handshake(
    url: &Url,
    address: Option<SocketAddr>,
    proxy: Option<&Url>,
    options: &NetworkOptions,
) -> Result<Outcome, HttpError> {
    let wanted = options.clone();
    let prepared = tokio::task::spawn_blocking(move || prepare(&wanted)).await;
    let stopping = |_| HttpError::Setup("the daemon is stopping".into());
    let (config, seen) = prepared.map_err(stopping)??;
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(bare.to_owned());
    let name = name.map_err(|_| HttpError::Connect("its name cannot be checked".into()))?;
    let socket = match (proxy, address) {
        (Some(proxy), _) => tunnel(url, proxy).await?,
        (None, Some(address)) => TcpStream::connect(address).await.map_err(unconnected)?,
        (None, None) => return Err(HttpError::Connect("it has no address".into())),
    };
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let outcome = match connector.connect(name, socket).await {
        Ok(stream) => {
            let (_, connection) = stream.get_ref();
            Ok(match connection.protocol_version() {
                Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
                _ => "TLS 1.2",
            })
        }
        Err(error) => Err(refusal(&error)),
    };
    let seen = seen
        .lock()
        .expect("nothing panics while it holds the lock")
        .take();
    Ok((outcome, seen.and_then(|der| Certificate::read(&der))))
}

fn unconnected(error: io::Error) -> HttpError {
    HttpError::Connect(error.to_string())
}

/// Asks a proxy for a connection, as every request through it does.
async fn tunnel(url: &Url, proxy: &Url) -> Result<TcpStream, HttpError> {
    let unusable = |_| HttpError::Setup("the proxy setting is not a valid proxy URL".into());
    let mut bare = proxy.clone();
    // Both fail only for URLs without a host.
    let _no_host = bare.set_username("");
    let _no_host = bare.set_password(None);
    let mut tunnel = Tunnel::new(
        bare.as_str().parse().map_err(unusable)?,
        HttpConnector::new(),
    );
    if let Some(credentials) = super::proxy::authorization(proxy, url) {
        tunnel = tunnel.with_auth(credentials);
    }
    let target = url.as_str().parse().map_err(unusable)?;
    let tunnelled = tunnel.call(target).await;
    let refused = |error| HttpError::Connect(format!("the proxy gives no connection: {error}"));
    Ok(TokioIo::into_inner(tunnelled.map_err(refused)?))
}

/// The certificate of whoever was talked to, trusted or not.
type Seen = Arc<Mutex<Option<CertificateDer<'static>>>>;

fn prepare(options: &NetworkOptions) -> Result<(rustls::ClientConfig, Seen), HttpError> {
    let (mut config, _) = tls(options)?;
    let (roots, _) = roots(options)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    let inner = verifier.map_err(|error| HttpError::Setup(error.to_string()))?;
    let seen = Seen::default();
    let verifier = Arc::new(Witness {
        inner,
        seen: seen.clone(),
    });
    config.dangerous().set_certificate_verifier(verifier);
    Ok((config, seen))
}

/// Decides as the usual verifier does, and keeps what it was shown.
#[derive(Debug)]
struct Witness {
    inner: Arc<WebPkiServerVerifier>,
    seen: Seen,
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self
            .seen
            .lock()
            .expect("nothing panics while it holds the lock") =
            Some(end_entity.clone().into_owned());
        self.inner
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

fn refusal(error: &io::Error) -> TlsRefusal {
    let inner = error.get_ref();
    let Some(error) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return TlsRefusal::Other(match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                "it ended the connection instead of answering in TLS".into()
            }
            _ => error.to_string(),
        });
    };
    use CertificateError::{
        Expired, ExpiredContext, NotValidForName, NotValidForNameContext, UnknownIssuer,
    };
    match error {
        rustls::Error::InvalidCertificate(UnknownIssuer) => TlsRefusal::UnknownIssuer,
        rustls::Error::InvalidCertificate(Expired | ExpiredContext { .. }) => TlsRefusal::Expired,
        rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }) => {
            TlsRefusal::OtherName
        }
        error => TlsRefusal::Other(tls_cause(error)),
    }
}
