//! A server's TLS: its certificate and key, and whose certificates it takes from clients.

use super::certificate::CertificateNames;
use super::files::{self, Owner};
use super::suites::{server_provider, versions};
use super::trust::ClientTrust;
use super::{Encryption, TlsError, handshake_error};
use host::Disk;
use host::net::TcpStream;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::server::NoServerSessionStorage;
use tokio_rustls::rustls::{Error, ServerConfig};

pub use tokio_rustls::server::TlsStream;

/// What a server's TLS is made of: the values of the `ssl_...` settings, with paths that are whole.
#[derive(Clone, Debug, Default)]
pub struct ServerTlsOptions {
    /// ssl_cert_file: the server's certificate and those between it and a root.
    pub certificate: PathBuf,
    /// ssl_key_file
    pub key: PathBuf,
    /// ssl_ca_file: the roots of clients' certificates. Without it no client is asked for one.
    pub roots: Option<PathBuf>,
    /// ssl_crl_file and ssl_crl_dir.
    pub revocations: Vec<PathBuf>,
    /// ssl_min_protocol_version
    pub version_min: String,
    /// ssl_max_protocol_version; empty is none.
    pub version_max: String,
    /// ssl_ciphers, for TLS 1.2.
    pub ciphers: String,
    /// ssl_ecdh_curve
    pub ecdh_curve: String,
    /// ssl_prefer_server_ciphers
    pub prefers_own_ciphers: bool,
}

/// A server's TLS, ready for handshakes. Shared by all connections that began while it was in force.
pub struct ServerTls {
    config: Arc<ServerConfig>,
    certificate: CertificateDer<'static>,
    asks_clients: bool,
}

impl fmt::Debug for ServerTls {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").field("asks_clients", &self.asks_clients).finish_non_exhaustive()
    }
}

impl ServerTls {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// If one of them is missing, malformed or open to others, the key is not the certificate's, or an option
    /// asks for what rustls has not.
    pub fn load(disk: &dyn Disk, options: &ServerTlsOptions) -> Result<Self, TlsError> {
        let chain = files::own_chain(disk, &options.certificate, "server certificate")?;
        let key = files::private_key(disk, &options.key, Owner::Server)?;
        let provider = Arc::new(server_provider(&options.ciphers, &options.ecdh_curve)?);
        let setting = |error: Error| TlsError::Setting(error.to_string());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions(&options.version_min, &options.version_max)?)
            .map_err(setting)?;
        let builder = match &options.roots {
            None => builder.with_no_client_auth(),
            Some(roots) => {
                let roots = files::certificates(disk, roots, "root certificate")?;
                let revoked = files::revocations(disk, &options.revocations)?;
                let trust = ClientTrust::new(roots, revoked, provider.clone());
                builder.with_client_cert_verifier(Arc::new(trust))
            }
        };
        let certificate =
            chain.first().cloned().ok_or_else(|| TlsError::Setting("no certificate".to_owned()))?;
        let mut config = builder.with_single_cert(chain, key).map_err(|error| {
            let (key, certificate) = (options.key.display(), options.certificate.display());
            let why = match error {
                Error::InconsistentKeys(_) => "it is not the certificate's key".to_owned(),
                other => other.to_string(),
            };
            TlsError::Pair(format!("private key file \"{key}\" does not go with \"{certificate}\": {why}"))
        })?;
        config.ignore_client_order = options.prefers_own_ciphers;
        // As PostgreSQL: each session shakes hands of its own, and none is kept for later.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { config: Arc::new(config), certificate, asks_clients: options.roots.is_some() })
    }

    /// Whether clients are asked for certificates.
    pub const fn asks_clients(&self) -> bool {
        self.asks_clients
    }

    /// Shakes hands with a client that has asked for TLS.
    ///
    /// # Errors
    ///
    /// If the connection breaks, the two have no version or cipher in common, or the client shows a
    /// certificate that does not count.
    pub async fn accept(
        &self,
        stream: TcpStream,
    ) -> Result<(Box<TlsStream<TcpStream>>, Encryption), TlsError> {
        let accepted = TlsAcceptor::from(self.config.clone()).accept(stream).await;
        let stream = accepted.map_err(|error| handshake_error(&error))?;
        let state = stream.get_ref().1;
        let shown = state.peer_certificates().and_then(<[_]>::first);
        let encryption = Encryption::of(state, Some(&self.certificate), shown.and_then(CertificateNames::of));
        Ok((Box::new(stream), encryption))
    }
}
