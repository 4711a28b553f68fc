//! Which certificates of the other side count.
//!
//! rustls judges the chain. What it does not have is judged here, as OpenSSL does: a certificate that is
//! trusted itself, which is how one that signed itself is used, what keys may be used for ([`super::usage`]),
//! the times of roots, and names in the subject's Common Name.

use super::TlsError;
use super::authority::{as_no_authority, for_chains};
use super::certificate::{holds_good_for, is_in_its_time};
use super::usage::{End, is_self_issued, may_shake_hands, may_sign};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};

type Certificates = Vec<CertificateDer<'static>>;
type RevocationLists = Vec<CertificateRevocationListDer<'static>>;

fn store<'c>(roots: impl Iterator<Item = &'c CertificateDer<'static>>) -> RootCertStore {
    let mut store = RootCertStore::empty();
    // All of them can be read. One that rustls leaves out has an extension that no verification gets past.
    store.add_parsable_certificates(roots.cloned());
    store
}

fn unusable(error: &VerifierBuilderError) -> TlsError {
    TlsError::Setting(match error {
        // Its head could be read, and the rest of it is not said in words.
        VerifierBuilderError::InvalidCrl(_) => "a certificate revocation list is damaged".to_owned(),
        other => format!("could not use the root certificates: {other}"),
    })
}

const fn refused(why: CertificateError) -> Error {
    Error::InvalidCertificate(why)
}

/// rustls' judge of chains, for one end.
trait Judge: Sized {
    /// Whom it judges.
    const END: End;

    fn of(
        roots: Arc<RootCertStore>,
        revoked: &RevocationLists,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, VerifierBuilderError>;

    /// Whether a chain leads from an end's certificate to a root.
    fn verify(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error>;
}

/// The judge of clients' certificates.
#[derive(Debug)]
struct OfClients(Arc<dyn ClientCertVerifier>);

impl Judge for OfClients {
    const END: End = End::Client;

    fn of(
        roots: Arc<RootCertStore>,
        revoked: &RevocationLists,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, VerifierBuilderError> {
        let builder = WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
        builder.with_crls(revoked.iter().cloned()).enforce_revocation_expiration().build().map(Self)
    }

    fn verify(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        self.0.verify_client_cert(certificate, between, now).map(drop)
    }
}

/// The judge of servers' certificates, whatever their names.
#[derive(Debug)]
struct OfServers(Arc<WebPkiServerVerifier>);

impl Judge for OfServers {
    const END: End = End::Server;

    fn of(
        roots: Arc<RootCertStore>,
        revoked: &RevocationLists,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, VerifierBuilderError> {
        let builder = WebPkiServerVerifier::builder_with_provider(roots, provider.clone());
        builder.with_crls(revoked.iter().cloned()).enforce_revocation_expiration().build().map(Self)
    }

    fn verify(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let anybody = ServerName::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        match self.0.verify_server_cert(certificate, between, &anybody, &[], now) {
            // Names are looked at last, and by rules of our own elsewhere.
            Ok(_)
            | Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The certificates that are trusted, with the judge of chains to them.
#[derive(Debug)]
struct Roots<J> {
    /// Those that name themselves as their issuers. A chain ends with one, as with OpenSSL.
    roots: Certificates,
    /// The others, which may stand between.
    between: Certificates,
    revoked: RevocationLists,
    provider: Arc<CryptoProvider>,
    /// None if none of the roots may sign others.
    judge: Option<J>,
}

impl<J: Judge> Roots<J> {
    fn new(
        trusted: Certificates,
        revoked: RevocationLists,
        provider: &CryptoProvider,
    ) -> Result<Self, TlsError> {
        let provider = Arc::new(for_chains(provider));
        let (roots, others): (Certificates, Certificates) = trusted.into_iter().partition(is_self_issued);
        let between = others.into_iter().filter(may_sign).collect();
        let judge = Self::judge_of(roots.iter().filter(|root| may_sign(root)), &revoked, &provider)
            .map_err(|error| unusable(&error))?;
        Ok(Self { roots, between, revoked, provider, judge })
    }

    fn judge_of<'c>(
        roots: impl Iterator<Item = &'c CertificateDer<'static>>,
        revoked: &RevocationLists,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Option<J>, VerifierBuilderError> {
        let roots = store(roots);
        if roots.is_empty() { Ok(None) } else { J::of(Arc::new(roots), revoked, provider).map(Some) }
    }

    fn judge(
        &self,
        certificate: &CertificateDer<'_>,
        sent: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        if !may_shake_hands(certificate, J::END) {
            return Err(refused(CertificateError::InvalidPurpose));
        }
        let as_end = as_no_authority(certificate);
        let as_end = as_end.as_ref().unwrap_or(certificate);
        if let Some(root) = self.roots.iter().find(|root| root.as_ref() == certificate.as_ref()) {
            return self.judge_root(root, as_end, now);
        }
        let between: Vec<_> =
            sent.iter().filter(|one| may_sign(one)).chain(&self.between).map(CertificateDer::clone).collect();
        let is_good = |root: &&CertificateDer<'static>| is_in_its_time(root, now);
        let unknown = || refused(CertificateError::UnknownIssuer);
        if self.roots.iter().all(|root| is_good(&root)) {
            return self.judge.as_ref().ok_or_else(unknown)?.verify(as_end, &between, now);
        }
        // To rustls a root has no time.
        let roots = self.roots.iter().filter(is_good).filter(|root| may_sign(root));
        let judge = Self::judge_of(roots, &self.revoked, &self.provider);
        let judge = judge.map_err(|_| refused(CertificateError::Expired))?;
        judge.ok_or_else(unknown)?.verify(as_end, &between, now)
    }

    /// Judges a certificate that is trusted itself: it is a chain of one, whomever else it may sign.
    fn judge_root(
        &self,
        root: &CertificateDer<'static>,
        as_end: &CertificateDer<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let judge = Self::judge_of([root].into_iter(), &self.revoked, &self.provider);
        let judge = judge.ok().flatten().ok_or_else(|| refused(CertificateError::BadEncoding))?;
        match judge.verify(as_end, &[], now) {
            // Its own signature says nothing of it.
            Err(Error::InvalidCertificate(
                CertificateError::UnsupportedSignatureAlgorithmContext { .. }
                | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. },
            )) if self.revoked.is_empty() => Ok(()),
            judged => judged,
        }
    }
}

/// A server's judge of its clients' certificates. A client that shows none is let through: whether one is
/// asked for, pg_hba.conf says later.
#[derive(Debug)]
pub(super) struct ClientTrust {
    roots: Roots<OfClients>,
    /// What clients are told of whose certificates are taken.
    names: Vec<DistinguishedName>,
    provider: Arc<CryptoProvider>,
}

impl ClientTrust {
    pub(super) fn new(
        trusted: Certificates,
        revoked: RevocationLists,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<Self>, TlsError> {
        let names = store(trusted.iter()).subjects();
        let roots = Roots::new(trusted, revoked, provider)?;
        Ok(Arc::new(Self { roots, names, provider: provider.clone() }))
    }
}

impl ClientCertVerifier for ClientTrust {
    fn client_auth_mandatory(&self) -> bool {
        false
    }
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.names
    }
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.roots.judge(end_entity, intermediates, now).map(|()| ClientCertVerified::assertion())
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

/// A client's judge of a server's certificate.
#[derive(Debug)]
pub(super) struct ServerTrust {
    /// Without roots only that the server has its certificate's key is asked for.
    roots: Option<Roots<OfServers>>,
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
    pub(super) const fn any(provider: Arc<CryptoProvider>) -> Self {
        Self { roots: None, host: None, provider }
    }

    /// One that takes certificates with a chain to these roots, and only those of `host` if one is given.
    pub(super) fn rooted(
        trusted: Certificates,
        revoked: RevocationLists,
        host: Option<String>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, TlsError> {
        Ok(Self { roots: Some(Roots::new(trusted, revoked, &provider)?), host, provider })
    }
}

impl ServerCertVerifier for ServerTrust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(roots) = &self.roots else { return Ok(ServerCertVerified::assertion()) };
        roots.judge(end_entity, intermediates, now)?;
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
