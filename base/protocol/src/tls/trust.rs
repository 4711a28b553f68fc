//! Which certificates of the other side count.
//!
//! webpki finds the chain. What it does not look at is judged here, as OpenSSL does: a certificate that is
//! trusted itself, which is how one that signed itself is used, what keys may be used for ([`super::usage`]),
//! what a root says of itself, and names in the subject's Common Name ([`super::constraints`]).

use super::authority::{algorithms, as_no_authority};
use super::certificate::{holds_good_for, is_in_its_time};
use super::constraints::{allows_name, has_room_for, is_understood};
use super::revocation::RevocationLists;
use super::usage::{End, is_self_issued, may_shake_hands, may_sign};
use std::sync::Arc;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use webpki::{EndEntityCert, RevocationOptionsBuilder, VerifiedPath, anchor_from_trusted_cert};
use x509_cert::der::Decode;
use x509_cert::{Certificate, TbsCertificate};

type Certificates = Vec<CertificateDer<'static>>;
/// Judges a chain that webpki has found.
type OnPath<'j> = &'j dyn Fn(&VerifiedPath<'_>) -> Result<(), webpki::Error>;

const fn refused(why: CertificateError) -> Error {
    Error::InvalidCertificate(why)
}

/// What rustls says of the same, and tells the other side.
fn refusal(why: webpki::Error) -> Error {
    use webpki::Error as Why;
    refused(match why {
        Why::BadDer | Why::BadDerTime | Why::TrailingData(_) => CertificateError::BadEncoding,
        Why::CertNotValidYet { time, not_before } => {
            CertificateError::NotValidYetContext { time, not_before }
        }
        Why::CertExpired { time, not_after } => CertificateError::ExpiredContext { time, not_after },
        Why::InvalidCertValidity => CertificateError::Expired,
        Why::UnknownIssuer => CertificateError::UnknownIssuer,
        Why::CertRevoked => CertificateError::Revoked,
        Why::UnknownRevocationStatus => CertificateError::UnknownRevocationStatus,
        Why::CrlExpired { time, next_update } => {
            CertificateError::ExpiredRevocationListContext { time, next_update }
        }
        Why::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        Why::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    })
}

/// The certificates that are trusted.
#[derive(Debug)]
struct Roots {
    /// Who shows the certificates that are judged.
    end: End,
    /// Those that name themselves as their issuers. A chain ends with one, as with OpenSSL.
    roots: Vec<(CertificateDer<'static>, Certificate)>,
    /// Of each of them the name and the key, which is all that webpki knows of it.
    anchors: Vec<TrustAnchor<'static>>,
    /// The others, which may stand between.
    between: Certificates,
    revoked: RevocationLists,
}

impl Roots {
    fn new(end: End, trusted: Certificates, revoked: RevocationLists) -> Self {
        let (mut roots, mut anchors, mut between) = (Vec::new(), Vec::new(), Vec::new());
        // All of them can be read. One that webpki leaves out has a form that no verification gets past.
        for one in trusted {
            let parsed = Certificate::from_der(&one).ok();
            let Some(parsed) = parsed.filter(|parsed| is_self_issued(parsed.tbs_certificate())) else {
                between.push(one);
                continue;
            };
            if let Some(anchor) = anchor_from_trusted_cert(&one).ok().map(|anchor| anchor.to_owned()) {
                anchors.push(anchor);
                roots.push((one, parsed));
            }
        }
        Self { end, roots, anchors, between, revoked }
    }

    fn judge(
        &self,
        certificate: &CertificateDer<'_>,
        sent: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let parsed =
            Certificate::from_der(certificate).map_err(|_| refused(CertificateError::BadEncoding))?;
        let said = parsed.tbs_certificate();
        if !may_shake_hands(said, self.end) {
            return Err(refused(CertificateError::InvalidPurpose));
        }
        let as_end = as_no_authority(certificate);
        let as_end = EndEntityCert::try_from(as_end.as_ref().unwrap_or(certificate)).map_err(refusal)?;
        // One that is trusted itself is a chain of one, whomever else it may sign.
        let own = self.roots.iter().position(|(root, _)| root.as_ref() == certificate.as_ref());
        if let Some(anchor) = own.and_then(|at| self.anchors.get(at)) {
            return match self.verify(&as_end, std::slice::from_ref(anchor), &[], now, None) {
                // Its own signature says nothing of it.
                Err(
                    webpki::Error::UnsupportedSignatureAlgorithmContext(_)
                    | webpki::Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_),
                ) if self.revoked.is_empty() => Ok(()),
                judged => judged.map_err(refusal),
            };
        }
        let between: Vec<_> = sent.iter().chain(&self.between).map(CertificateDer::clone).collect();
        let signers = |path: &VerifiedPath<'_>| self.judge_signers(said, path, now);
        self.verify(&as_end, &self.anchors, &between, now, Some(&signers)).map_err(refusal)
    }

    fn verify(
        &self,
        end: &EndEntityCert<'_>,
        anchors: &[TrustAnchor<'_>],
        between: &[CertificateDer<'_>],
        now: UnixTime,
        signers: Option<OnPath<'_>>,
    ) -> Result<(), webpki::Error> {
        let usage = match self.end {
            End::Client => webpki::KeyUsage::client_auth(),
            End::Server => webpki::KeyUsage::server_auth(),
        };
        let lists = self.revoked.in_force(now);
        let revocation = match RevocationOptionsBuilder::new(&lists) {
            Ok(options) => Some(options.with_expiration_policy(webpki::ExpirationPolicy::Enforce).build()),
            Err(_) if self.revoked.is_empty() => None,
            Err(_) => return Err(webpki::Error::UnknownRevocationStatus),
        };
        end.verify_for_usage(algorithms(), anchors, between, now, usage, revocation, signers).map(drop)
    }

    /// Judges what webpki does not look at in those who have signed a chain. Where another chain leads to a
    /// root, too, that one is tried next.
    fn judge_signers(
        &self,
        said: &TbsCertificate,
        path: &VerifiedPath<'_>,
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        let at = self.anchors.iter().position(|anchor| std::ptr::eq(anchor, path.anchor()));
        let (_, root) = at.and_then(|at| self.roots.get(at)).ok_or(webpki::Error::UnknownIssuer)?;
        let root = root.tbs_certificate();
        let between = path.intermediate_certificates().map(|one| Certificate::from_der(&one.der()));
        let between: Vec<_> = between.collect::<Result<_, _>>().map_err(|_| webpki::Error::BadDer)?;
        let between: Vec<_> = between.iter().map(Certificate::tbs_certificate).collect();
        if !is_in_its_time(root, now) {
            return Err(webpki::Error::InvalidCertValidity);
        }
        if !is_understood(root) {
            return Err(webpki::Error::UnsupportedCriticalExtension);
        }
        if !has_room_for(root, &between) {
            return Err(webpki::Error::PathLenConstraintViolated);
        }
        let mut signers = between.into_iter().chain([root]);
        if !signers.clone().all(|signer| may_sign(signer, self.end)) {
            return Err(webpki::Error::UnknownIssuer);
        }
        if !signers.all(|signer| allows_name(signer, said)) {
            return Err(webpki::Error::NameConstraintViolation);
        }
        Ok(())
    }
}

/// A server's judge of its clients' certificates. A client that shows none is let through: whether one is
/// asked for, pg_hba.conf says later.
#[derive(Debug)]
pub(super) struct ClientTrust {
    roots: Roots,
    /// What clients are told of whose certificates are taken.
    names: Vec<DistinguishedName>,
    provider: Arc<CryptoProvider>,
}

impl ClientTrust {
    pub(super) fn new(
        trusted: Certificates,
        revoked: RevocationLists,
        provider: Arc<CryptoProvider>,
    ) -> Self {
        let subject =
            |one| anchor_from_trusted_cert(one).map(|one| DistinguishedName::in_sequence(&one.subject));
        let names = trusted.iter().filter_map(|one| subject(one).ok()).collect();
        Self { roots: Roots::new(End::Client, trusted, revoked), names, provider }
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
    roots: Option<Roots>,
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
    ) -> Self {
        Self { roots: Some(Roots::new(End::Server, trusted, revoked)), host, provider }
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
