//! A far server on a near machine: a loopback proxy that terminates TLS with a
//! certificate of its own authority and holds every byte back for 40 ms each way.
//!
//! The kernel's own TCP handshake on loopback costs nothing, so the first bytes
//! of a connection are held back one more round trip: what they would have
//! waited for the handshake. The delay lies below TLS, whose handshake therefore
//! costs its round trips too. Bandwidth is not limited.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use crate::Failure;
use crate::proxy::Proxy;

/// From one end of the link to the other and back.
pub(crate) const ROUND_TRIP: Duration = Duration::from_millis(80);

/// Most pieces on their way in one direction; more than any message here needs.
const PIECES: usize = 1024;

/// The proxy, until dropped.
#[derive(Debug)]
pub(crate) struct Far {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The authority's certificate, in PEM.
    pub(crate) ca_file: PathBuf,
    _folder: tempfile::TempDir,
    _proxy: Proxy,
}

impl Far {
    /// Starts it in front of `server`.
    pub(crate) fn start(
        runtime: &tokio::runtime::Runtime,
        server: SocketAddr,
    ) -> Result<Self, Failure> {
        let (ca, config) = certificates()?;
        let folder = tempfile::tempdir()?;
        let ca_file = folder.path().join("ca.pem");
        std::fs::write(&ca_file, ca)?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let proxy = Proxy::start(runtime, listener, move |stream| {
            serve(stream, server, acceptor.clone())
        });
        Ok(Self {
            address,
            ca_file,
            _folder: folder,
            _proxy: proxy,
        })
    }
}

/// An authority's certificate in PEM, and a server's configuration under it.
fn certificates() -> Result<(String, ServerConfig), Failure> {
    let mut params = CertificateParams::new(Vec::new())?;
    // By default both certificates have one name, which OpenSSL takes for a loop.
    params
        .distinguished_name
        .push(DnType::CommonName, "benchmark authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    let ca = params.self_signed(&key)?;
    let issuer = Issuer::new(params, key);
    let leaf_key = KeyPair::generate()?;
    let leaf = CertificateParams::new(vec![Ipv4Addr::LOCALHOST.to_string()])?
        .signed_by(&leaf_key, &issuer)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivatePkcs8KeyDer::from(leaf_key.serialize_der()).into(),
        )?;
    Ok((ca.pem(), config))
}

async fn serve(client: TcpStream, server: SocketAddr, acceptor: TlsAcceptor) {
    let established = Instant::now() + ROUND_TRIP;
    let (near, far) = tokio::io::duplex(256 * 1024);
    let (client_read, client_write) = client.into_split();
    let (near_read, near_write) = tokio::io::split(near);
    let pass = async {
        let mut tls = acceptor.accept(far).await?;
        let mut upstream = TcpStream::connect(server).await?;
        upstream.set_nodelay(true)?;
        tokio::io::copy_bidirectional(&mut tls, &mut upstream).await
    };
    // Whoever goes away first ends all three; that is no failure of the proxy.
    drop(tokio::join!(
        delay(client_read, near_write, established),
        delay(near_read, client_write, established),
        pass
    ));
}

/// Hands on every byte half a round trip after it came, and after `established`.
async fn delay<R, W>(mut from: R, mut to: W, established: Instant)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (sender, mut pieces) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES);
    let take = async move {
        let mut chunk = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut chunk).await {
            let due = Instant::now().max(established) + ROUND_TRIP / 2;
            if sender.send((due, chunk[..length].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let give = async move {
        while let Some((due, piece)) = pieces.recv().await {
            tokio::time::sleep_until(due).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
        drop(to.shutdown().await);
    };
    tokio::join!(take, give);
}
