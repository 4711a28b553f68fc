//! A server or a client with the certificate of an authority (basicConstraints CA:TRUE).
//!
//! `openssl req -x509` makes such a one unless it is told otherwise, and OpenSSL lets its owner shake hands.
//! webpki does not, and nobody can tell it to. So it is shown the same certificate with CA:FALSE, which is
//! one byte that differs, and where it then asks whether the issuer has signed that, the question goes on
//! with the byte as it was. All else is judged as it is for any certificate.
//!
//! What this lets in is no more than that: who has been signed as an authority can be taken for one that is
//! none, but nobody for an authority who was not signed as one.

use std::sync::OnceLock;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm,
};
use x509_cert::der::oid::{AssociatedOid, ObjectIdentifier};
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::BasicConstraints;
use x509_cert::{Certificate, TbsCertificate};

/// BOOLEAN of one byte.
const BOOLEAN: [u8; 2] = [1, 1];
const TRUE: u8 = 0xff;
const FALSE: u8 = 0;

/// The certificate as that of one that is no authority; None if it is that anyway.
pub(super) fn as_no_authority(certificate: &CertificateDer<'_>) -> Option<CertificateDer<'static>> {
    let parsed = Certificate::from_der(certificate).ok()?;
    with_ca(certificate, parsed.tbs_certificate(), TRUE, FALSE).map(CertificateDer::from)
}

/// The bytes, in which `said` is written, with another value of cA; None if it is not `from` in them.
fn with_ca(bytes: &[u8], said: &TbsCertificate, from: u8, to: u8) -> Option<Vec<u8>> {
    const OID: ObjectIdentifier = BasicConstraints::OID;
    let extension = said.extensions()?.iter().find(|extension| extension.extn_id == OID)?;
    // SEQUENCE { cA BOOLEAN, .. }, which is never long.
    let value = extension.extn_value.as_bytes();
    if value.get(2..4) != Some(&BOOLEAN[..]) || value.get(4) != Some(&from) {
        return None;
    }
    let written = extension.to_der().ok()?;
    let mut places = bytes.windows(written.len()).enumerate().filter(|(_, window)| *window == written);
    let (Some((at, _)), None) = (places.next(), places.next()) else { return None };
    let ca = at + written.len() - value.len() + 4;
    let mut changed = bytes.to_vec();
    *changed.get_mut(ca)? = to;
    Some(changed)
}

/// A way to check signatures that finds those of authorities under what [`as_no_authority`] has made, too.
#[derive(Debug)]
struct OfBoth(&'static dyn SignatureVerificationAlgorithm);

impl SignatureVerificationAlgorithm for OfBoth {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let as_written = self.0.verify_signature(public_key, message, signature);
        as_written.or_else(|error| {
            let said = TbsCertificate::from_der(message).map_err(|_| error)?;
            let signed = with_ca(message, &said, FALSE, TRUE).ok_or(error)?;
            self.0.verify_signature(public_key, &signed, signature)
        })
    }
    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.0.public_key_alg_id()
    }
    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.0.signature_alg_id()
    }
    fn fips(&self) -> bool {
        self.0.fips()
    }
}

/// How signatures are checked in chains that may begin at what [`as_no_authority`] has made.
pub(super) fn algorithms() -> &'static [&'static dyn SignatureVerificationAlgorithm] {
    static ALGORITHMS: OnceLock<Vec<&'static dyn SignatureVerificationAlgorithm>> = OnceLock::new();
    ALGORITHMS.get_or_init(|| {
        let known = ring::default_provider().signature_verification_algorithms;
        // They are as long-lived as the process, and made once in it.
        let both = known.all.iter().map(|one| {
            let one: &'static dyn SignatureVerificationAlgorithm = Box::leak(Box::new(OfBoth(*one)));
            one
        });
        both.collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints as Made, CertificateParams, IsCa, KeyPair};

    fn signed(is_ca: IsCa) -> (CertificateDer<'static>, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::default();
        parameters.is_ca = is_ca;
        (parameters.self_signed(&key).unwrap().der().clone(), key)
    }

    #[test]
    fn an_authority_can_be_shown_as_none_and_nobody_as_one() {
        let verifies = |certificate: &CertificateDer<'_>, key: &KeyPair, message: &[u8]| {
            let parsed = Certificate::from_der(certificate).unwrap();
            let signature = parsed.signature().as_bytes().unwrap();
            algorithms()
                .iter()
                .any(|one| one.verify_signature(key.public_key_raw(), message, signature).is_ok())
        };
        let said = |certificate: &CertificateDer<'_>| {
            Certificate::from_der(certificate).unwrap().tbs_certificate().to_der().unwrap()
        };
        for constraints in [Made::Unconstrained, Made::Constrained(3)] {
            let (authority, key) = signed(IsCa::Ca(constraints));
            let shown = as_no_authority(&authority).unwrap();
            let differing = authority.iter().zip(shown.iter()).filter(|(one, other)| one != other);
            assert_eq!((authority.len(), differing.count()), (shown.len(), 1));
            assert!(verifies(&authority, &key, &said(&authority)));
            assert!(verifies(&authority, &key, &said(&shown)));
            assert!(as_no_authority(&shown).is_none());
            let mut damaged = said(&shown);
            *damaged.last_mut().unwrap() ^= 1;
            assert!(!verifies(&authority, &key, &damaged));
        }
        let (plain, key) = signed(IsCa::ExplicitNoCa);
        assert!(as_no_authority(&plain).is_none());
        assert!(as_no_authority(&signed(IsCa::NoCa).0).is_none());
        // With the byte turned round by hand the signature is broken.
        let (authority, _) = signed(IsCa::Ca(Made::Unconstrained));
        let parsed = Certificate::from_der(&authority).unwrap();
        let raised = said(&authority);
        assert!(!verifies(&plain, &key, &raised));
        assert!(with_ca(&authority, parsed.tbs_certificate(), FALSE, TRUE).is_none());
    }
}
