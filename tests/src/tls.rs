//! A certificate authority for the tests, and TLS for the fakes.
//!
//! Certificates are made anew for each test; nothing is trusted by default.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// The server's end of a connection, with or without TLS.
pub(crate) type Wire = Box<dyn ReadWrite>;

/// Reads and writes.
pub trait ReadWrite: Read + Write + Send {}

impl<T: Read + Write + Send> ReadWrite for T {}

/// A certificate authority that signs for `localhost`, 127.0.0.1 and
/// `mcp.invalid`, a name that only a proxy can reach.
#[expect(missing_debug_implementations, reason = "holds a private key")]
pub struct TestCa {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// What a fake needs to serve TLS.
#[derive(Debug, Clone)]
pub struct ServerTls(Arc<ServerConfig>);

impl TestCa {
    /// Makes an authority.
    ///
    /// # Panics
    /// If keys cannot be made.
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "mcp-remote test authority");
        let key = KeyPair::generate().expect("a key can be made");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate can be made");
        Self { issuer }
    }

    /// Writes the authority's certificate into `folder`; returns the file.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn write(&self, folder: &Path) -> PathBuf {
        let file = folder.join("test-authority.pem");
        std::fs::write(&file, self.issuer.pem()).expect("the test folder can be written");
        file
    }

    /// Makes a server's side that this authority vouches for.
    ///
    /// # Panics
    /// If keys cannot be made.
    pub fn server(&self) -> ServerTls {
        let names = ["localhost", "127.0.0.1", "mcp.invalid"].map(str::to_owned);
        let params = CertificateParams::new(names).expect("the names are valid");
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params
            .signed_by(&key, &self.issuer)
            .expect("a certificate can be made");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder
                    .with_no_client_auth()
                    .with_single_cert(vec![certificate.der().clone()], key)
            })
            .expect("the certificate fits its key");
        ServerTls(Arc::new(config))
    }
}

impl Default for TestCa {
    fn default() -> Self {
        Self::new()
    }
}

impl ServerTls {
    /// Wraps an accepted connection; the handshake happens with the first bytes.
    pub(crate) fn accept(&self, socket: TcpStream) -> io::Result<Wire> {
        let connection = ServerConnection::new(self.0.clone()).map_err(io::Error::other)?;
        Ok(Box::new(StreamOwned::new(connection, socket)))
    }
}
