//! Which certificates of the other side count.
//!
//! rustls judges the chain. Two things it does not have are judged here, as OpenSSL does: a certificate that
//! is trusted itself, which is how one that signed itself is used, and names in the subject's Common Name.

use super::TlsError;
use super::certificate::{holds_good_for, is_in_its_time};
use std::sync::Arc;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};

fn store<'c>(roots: impl Iterator<Item = &'c CertificateDer<'static>>) -> Arc<RootCertStore> {
    let mut store = RootCertStore::empty();
    // All of them can be read. One that rustls leaves out has an extension that no verification gets past.
    store.add_parsable_certificates(roots.cloned());
    Arc::new(store)
}

/// The roots whose time this is, if it is not that of all: to rustls a root has none.
fn still_good(roots: &[CertificateDer<'static>], now: UnixTime) -> Option<Arc<RootCertStore>> {
    let is_good = |root: &&CertificateDer<'static>| is_in_its_time(root, now);
    if roots.iter().all(|root| is_good(&root)) {
        return None;
    }
    Some(store(roots.iter().filter(is_good)))
}

fn expired() -> Error {
    Error::InvalidCertificate(CertificateError::Expired)
}

fn unusable(error: impl std::fmt::Display) -> TlsError {
    TlsError::Setting(format!("could not use the root certificates: {error}"))
}

/// Whether a certificate is trusted itself: it is one of the roots, to the byte, and this is its time.
fn is_root(roots: &[CertificateDer<'static>], certificate: &CertificateDer<'_>, now: UnixTime) -> bool {
    roots.iter().any(|root| root.as_ref() == certificate.as_ref()) && is_in_its_time(certificate, now)
}

/// Whether a judgement of rustls leaves room for a root that shows itself.
fn may_be_root(error: &Error) -> bool {
    !matches!(
        error,
        Error::InvalidCertificate(
            CertificateError::Revoked | CertificateError::Expired | CertificateError::ExpiredContext { .. }
        )
    )
}

/// A server's judge of its clients' certificates. A client that shows none is let through: whether one is
/// asked for, pg_hba.conf says later.
#[derive(Debug)]
pub(super) struct ClientTrust {
    roots: Vec<CertificateDer<'static>>,
    revoked: Vec<CertificateRevocationListDer<'static>>,
    provider: Arc<CryptoProvider>,
    chains: Arc<dyn ClientCertVerifier>,
}

impl ClientTrust {
    pub(super) fn new(
        roots: Vec<CertificateDer<'static>>,
        revoked: Vec<CertificateRevocationListDer<'static>>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<Self>, TlsError> {
        let chains = Self::chains(store(roots.iter()), &revoked, provider)?;
        Ok(Arc::new(Self { roots, revoked, provider: provider.clone(), chains }))
    }

    fn chains(
        roots: Arc<RootCertStore>,
        revoked: &[CertificateRevocationListDer<'static>],
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
            .with_crls(revoked.iter().cloned())
            .enforce_revocation_expiration()
            .allow_unauthenticated()
            .build()
            .map_err(unusable)
    }
}

impl ClientCertVerifier for ClientTrust {
    fn client_auth_mandatory(&self) -> bool {
        false
    }
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.root_hint_subjects()
    }
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let chains = match still_good(&self.roots, now) {
            None => self.chains.clone(),
            Some(roots) => Self::chains(roots, &self.revoked, &self.provider).map_err(|_| expired())?,
        };
        chains.verify_client_cert(end_entity, intermediates, now).or_else(|error| {
            let trusted = may_be_root(&error) && is_root(&self.roots, end_entity, now);
            if trusted { Ok(ClientCertVerified::assertion()) } else { Err(error) }
        })
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls12_signature(message, cert, dss)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls13_signature(message, cert, dss)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

/// What a client asks of a server's certificate beyond that the server has its key.
#[derive(Debug)]
enum Asked {
    Nothing,
    Chain {
        roots: Vec<CertificateDer<'static>>,
        revoked: Vec<CertificateRevocationListDer<'static>>,
        chains: Arc<WebPkiServerVerifier>,
    },
}

/// A client's judge of a server's certificate.
#[derive(Debug)]
pub(super) struct ServerTrust {
    asked: Asked,
    /// The host whose certificate it has to be.
    host: Option<String>,
    provider: Arc<CryptoProvider>,
}

/// A server's certificate is another host's.
#[derive(Debug, thiserror::Error)]
#[error("server certificate for \"{}\" does not match host name \"{host}\"", names.join("\", \""))]
pub(super) struct WrongHost {
    names: Vec<String>,
    host: String,
}

impl ServerTrust {
    /// One that takes any certificate: encryption against those who only listen.
    pub(super) fn any(provider: Arc<CryptoProvider>) -> Self {
        Self { asked: Asked::Nothing, host: None, provider }
    }

    /// One that takes certificates with a chain to these roots, and only those of `host` if one is given.
    pub(super) fn rooted(
        roots: Vec<CertificateDer<'static>>,
        revoked: Vec<CertificateRevocationListDer<'static>>,
        host: Option<String>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, TlsError> {
        let chains = Self::chains(store(roots.iter()), &revoked, &provider)?;
        Ok(Self { asked: Asked::Chain { roots, revoked, chains }, host, provider })
    }

    fn chains(
        roots: Arc<RootCertStore>,
        revoked: &[CertificateRevocationListDer<'static>],
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
        WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
            .with_crls(revoked.iter().cloned())
            .enforce_revocation_expiration()
            .build()
            .map_err(unusable)
    }
}

impl ServerCertVerifier for ServerTrust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Asked::Chain { roots, revoked, chains } = &self.asked else {
            return Ok(ServerCertVerified::assertion());
        };
        let chains = match still_good(roots, now) {
            None => chains.clone(),
            Some(roots) => Self::chains(roots, revoked, &self.provider).map_err(|_| expired())?,
        };
        match chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Ok(_) => {}
            // Names are looked at last, and here by rules of our own.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => {}
            Err(error) if may_be_root(&error) && is_root(roots, end_entity, now) => {}
            Err(error) => return Err(error),
        }
        if let Some(host) = &self.host {
            holds_good_for(end_entity, host).map_err(|names| {
                let wrong = WrongHost { names, host: host.clone() };
                Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(wrong))))
            })?;
        }
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
