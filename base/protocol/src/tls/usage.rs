//! What a certificate's key may be used for (keyUsage, basicConstraints and extKeyUsage, RFC 5280, sections
//! 4.2.1.3, 4.2.1.9 and 4.2.1.12). webpki does not look at all where OpenSSL refuses a certificate for it:
//! keyUsage it does not read, and of a root it takes the name and the key alone.

use x509_cert::TbsCertificate;
use x509_cert::certificate::Version;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::oid::db::rfc5280::{ID_KP_CLIENT_AUTH, ID_KP_SERVER_AUTH};
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage};

/// Whose certificate one is that shakes hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Server,
    Client,
}

impl End {
    /// The purpose that its certificates have to be for, if they are for some alone.
    const fn purpose(self) -> ObjectIdentifier {
        match self {
            Self::Server => ID_KP_SERVER_AUTH,
            Self::Client => ID_KP_CLIENT_AUTH,
        }
    }
}

/// The keyUsage of a certificate, which need not have any; Err if it cannot be read.
fn key_usage(said: &TbsCertificate) -> Result<Option<KeyUsage>, ()> {
    said.get_extension::<KeyUsage>().map(|found| found.map(|(_, usage)| usage)).map_err(drop)
}

/// Whether an end may shake hands with its certificate's key.
pub(super) fn may_shake_hands(said: &TbsCertificate, end: End) -> bool {
    match key_usage(said) {
        Ok(None) => true,
        Ok(Some(usage)) => {
            let agrees = usage.digital_signature() || usage.key_agreement();
            agrees || (end == End::Server && usage.key_encipherment())
        }
        Err(()) => false,
    }
}

/// Whether the owner of a certificate may sign those of such ends.
pub(super) fn may_sign(said: &TbsCertificate, end: End) -> bool {
    let is_for_others = match said.get_extension::<ExtendedKeyUsage>() {
        Ok(purposes) => purposes.is_some_and(|(_, purposes)| !purposes.0.contains(&end.purpose())),
        Err(_) => true,
    };
    if is_for_others {
        return false;
    }
    let Ok(usage) = key_usage(said) else { return false };
    if usage.is_some_and(|usage| !usage.key_cert_sign()) {
        return false;
    }
    match said.get_extension::<BasicConstraints>() {
        Ok(Some((_, constraints))) => constraints.ca,
        // From the time before there were extensions, or by its keyUsage.
        Ok(None) => usage.is_some() || said.version() == Version::V1,
        Err(_) => false,
    }
}

/// Whether a certificate names itself as its issuer.
pub(super) fn is_self_issued(said: &TbsCertificate) -> bool {
    said.issuer() == said.subject()
}
