//! A client's TLS, as libpq's `ssl...` parameters ask for it.

use super::files::{self, Owner};
use super::suites::versions;
use super::trust::{ServerTrust, WrongHost};
use super::{Encryption, TlsError, cause, handshake_error};
use crate::conninfo::{SslMode, TlsParameters};
use host::RealDisk;
use host::net::TcpStream;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{CertificateError, ClientConfig, Error, OtherError};

pub use tokio_rustls::client::TlsStream;

/// A client's TLS towards one host.
#[derive(Clone, Debug)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl ClientTls {
    /// Reads the files that the parameters name. `host` is the name that the user gave, which verify-full
    /// compares.
    ///
    /// # Errors
    ///
    /// If a file is missing that the mode needs, is malformed, or is open to others, or no version lies
    /// within the limits.
    pub fn load(parameters: &TlsParameters, host: &str) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let setting = |error: Error| TlsError::Setting(error.to_string());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions(&parameters.version_min, &parameters.version_max)?)
            .map_err(setting)?;
        let trust = match roots(parameters)? {
            None => ServerTrust::any(provider),
            Some(roots) => {
                let revoked = files::revocations(&RealDisk, &parameters.revocations())?;
                let host = (parameters.mode == SslMode::VerifyFull).then(|| host.to_owned());
                let roots = files::certificates(&RealDisk, &roots, "root certificate")?;
                ServerTrust::rooted(roots, revoked, host, provider)
            }
        };
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(trust));
        let mut config = match own_certificate(parameters)? {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(setting)?,
        };
        config.resumption = Resumption::disabled();
        let name = ServerName::try_from(host.to_owned()).ok();
        config.enable_sni = parameters.sni && matches!(name, Some(ServerName::DnsName(_)));
        // A host without a name that TLS can send is connected to without one.
        let nameless = || ServerName::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        Ok(Self { config: Arc::new(config), name: name.unwrap_or_else(nameless) })
    }

    /// Shakes hands with a server that has agreed to TLS.
    ///
    /// # Errors
    ///
    /// If the connection breaks, the two have no version or cipher in common, or the server's certificate is
    /// not one that the parameters ask for.
    pub async fn connect(
        &self,
        stream: TcpStream,
    ) -> Result<(Box<TlsStream<TcpStream>>, Encryption), TlsError> {
        let connected = TlsConnector::from(self.config.clone()).connect(self.name.clone(), stream).await;
        let stream = connected.map_err(|error| refusal(&error))?;
        let state = stream.get_ref().1;
        let server = state.peer_certificates().and_then(<[_]>::first);
        let encryption = Encryption::of(state, server, None);
        Ok((Box::new(stream), encryption))
    }
}

type OwnCertificate = (
    Vec<tokio_rustls::rustls::pki_types::CertificateDer<'static>>,
    tokio_rustls::rustls::pki_types::PrivateKeyDer<'static>,
);

/// The file of root certificates, if the server's certificate is to be verified. As in libpq one that is
/// there is used in every mode.
fn roots(parameters: &TlsParameters) -> Result<Option<std::path::PathBuf>, TlsError> {
    let verifies = matches!(parameters.mode, SslMode::VerifyCa | SslMode::VerifyFull);
    match &parameters.roots {
        Some(path) if path.exists() => Ok(Some(path.clone())),
        Some(path) if verifies => Err(TlsError::Setting(format!(
            "root certificate file \"{}\" does not exist\n\
             Either provide the file or change sslmode to disable server certificate verification.",
            path.display()
        ))),
        None if verifies => Err(TlsError::Setting(
            "could not get home directory to locate root certificate file\n\
             Either provide the file or change sslmode to disable server certificate verification."
                .to_owned(),
        )),
        _ => Ok(None),
    }
}

/// The client's own certificate, if there is one.
fn own_certificate(parameters: &TlsParameters) -> Result<Option<OwnCertificate>, TlsError> {
    let Some(path) = parameters.certificate.as_deref().filter(|path| path.exists()) else { return Ok(None) };
    let chain = files::own_chain(&RealDisk, path, "certificate")?;
    let key = parameters.key.as_deref().filter(|path| path.exists()).ok_or_else(|| {
        let key = parameters.key.as_deref().unwrap_or(Path::new("")).display();
        TlsError::Setting(format!("certificate present, but not private key file \"{key}\""))
    })?;
    Ok(Some((chain, files::private_key(&RealDisk, key, Owner::Client)?)))
}

/// What a failed handshake says to a user: the rules of our own have their own words.
fn refusal(error: &std::io::Error) -> TlsError {
    let Some(Error::InvalidCertificate(why)) = cause(error) else { return handshake_error(error) };
    let wrong_host = match why {
        CertificateError::Other(OtherError(own)) => own.downcast_ref::<WrongHost>(),
        _ => None,
    };
    TlsError::Handshake(match wrong_host {
        Some(wrong) => wrong.to_string(),
        None => format!("SSL error: certificate verify failed ({why})"),
    })
}
