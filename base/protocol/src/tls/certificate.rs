//! What a certificate says: whose it is, and whom it holds good for.

use super::distinguished_name::{one_line, rfc_2253};
use sha2::{Digest, Sha256, Sha384, Sha512};
use std::net::IpAddr;
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use x509_cert::certificate::Version;
use x509_cert::der::asn1::AnyRef;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::oid::db::rfc4519::COMMON_NAME;
use x509_cert::der::{Decode, SliceReader, Tag, TagNumber, Tagged};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::{DirectoryString, GeneralName};
use x509_cert::name::Name;
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_cert::{Certificate, TbsCertificate};

/// The names and the number of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateNames {
    /// The subject as OpenSSL's one-line form has it (`/C=DE/CN=ann`), for pg_stat_ssl.
    pub subject: String,
    /// The issuer in the same form.
    pub issuer: String,
    /// The serial number in decimal digits.
    pub serial: String,
    /// The subject's first Common Name; None without one, or if it is no text.
    pub common_name: Option<String>,
    /// The subject as RFC 2253 writes it (`CN=ann,C=DE`).
    pub distinguished_name: String,
}

/// A big-endian number in decimal digits.
fn decimal(bytes: &[u8]) -> String {
    let mut digits = vec![0_u8];
    for byte in bytes {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            let value = u32::from(*digit) * 256 + carry;
            *digit = u8::try_from(value % 10).unwrap_or(0);
            carry = value / 10;
        }
        while carry > 0 {
            digits.push(u8::try_from(carry % 10).unwrap_or(0));
            carry /= 10;
        }
    }
    digits.iter().rev().map(|digit| char::from(b'0' + digit)).collect()
}

fn text(name: &DirectoryString) -> String {
    match name {
        DirectoryString::PrintableString(text) => text.to_string(),
        DirectoryString::TeletexString(text) => text.to_string(),
        DirectoryString::Utf8String(text) => text.clone(),
        DirectoryString::BmpString(text) => text.to_string(),
    }
}

fn common_name(name: &Name) -> Option<String> {
    let found = name.common_name().ok().flatten().map(|name| text(&name))?;
    // A name that ends early for one reader and not for another is nobody's.
    Some(found).filter(|name| !name.contains('\0'))
}

/// All Common Names that are text.
pub(super) fn common_names(name: &Name) -> Vec<String> {
    let all = name.iter().filter(|part| part.oid == COMMON_NAME);
    all.filter_map(|part| part.value.decode_as::<DirectoryString>().ok().map(|name| text(&name))).collect()
}

impl CertificateNames {
    /// Of a certificate; None if it cannot be read.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let certificate = Certificate::from_der(certificate).ok()?;
        let said = certificate.tbs_certificate();
        Some(Self {
            subject: one_line(said.subject()),
            issuer: one_line(said.issuer()),
            serial: decimal(said.serial_number().as_bytes()),
            common_name: common_name(said.subject()),
            distinguished_name: rfc_2253(said.subject()),
        })
    }
}

/// The hash function of an RSA-PSS signature (RFC 4055): the first of its parameters, or SHA-1 without it.
fn pss_hash(algorithm: &AlgorithmIdentifierOwned) -> Option<ObjectIdentifier> {
    const FIRST: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber(0) };
    let parameters = algorithm.parameters.as_ref().filter(|parameters| parameters.tag() == Tag::Sequence)?;
    let mut reader = SliceReader::new(parameters.value()).ok()?;
    let first = AnyRef::decode(&mut reader).ok().filter(|first| first.tag() == FIRST);
    match first {
        Some(first) => AlgorithmIdentifierOwned::from_der(first.value()).ok().map(|hash| hash.oid),
        None => ObjectIdentifier::new("1.3.14.3.2.26").ok(),
    }
}

/// The hash of a server's certificate that SCRAM binds a channel to (RFC 5929, section 4.1): that of its
/// signature, SHA-256 in place of MD5 and SHA-1; None if its signature has none of its own.
pub(super) fn end_point_hash(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    const SHA256: [&str; 6] = [
        "1.2.840.113549.1.1.4",   // RSA with MD5
        "1.2.840.113549.1.1.5",   // RSA with SHA-1
        "1.2.840.113549.1.1.11",  // RSA with SHA-256
        "1.2.840.10045.4.1",      // ECDSA with SHA-1
        "1.2.840.10045.4.3.2",    // ECDSA with SHA-256
        "2.16.840.1.101.3.4.3.2", // DSA with SHA-256
    ];
    const SHA384: [&str; 2] = ["1.2.840.113549.1.1.12", "1.2.840.10045.4.3.3"];
    const SHA512: [&str; 2] = ["1.2.840.113549.1.1.13", "1.2.840.10045.4.3.4"];
    // What RSA-PSS hashes with.
    const OF_PSS: [(&str, &str); 4] = [
        ("1.3.14.3.2.26", SHA256[1]),
        ("2.16.840.1.101.3.4.2.1", SHA256[2]),
        ("2.16.840.1.101.3.4.2.2", SHA384[0]),
        ("2.16.840.1.101.3.4.2.3", SHA512[0]),
    ];
    let parsed = Certificate::from_der(certificate).ok()?;
    let mut oid = parsed.signature_algorithm().oid;
    if ObjectIdentifier::new("1.2.840.113549.1.1.10") == Ok(oid) {
        let hash = pss_hash(parsed.signature_algorithm())?;
        let alike = OF_PSS.iter().find(|(known, _)| ObjectIdentifier::new(known) == Ok(hash));
        oid = ObjectIdentifier::new(alike?.1).ok()?;
    }
    let is_one_of = |oids: &[&str]| oids.iter().any(|known| ObjectIdentifier::new(known) == Ok(oid));
    if is_one_of(&SHA256) {
        Some(Sha256::digest(certificate).to_vec())
    } else if is_one_of(&SHA384) {
        Some(Sha384::digest(certificate).to_vec())
    } else if is_one_of(&SHA512) {
        Some(Sha512::digest(certificate).to_vec())
    } else {
        None
    }
}

/// Whether a certificate can be read to its end; Err says what is wrong with it.
pub(super) fn check_form(certificate: &CertificateDer<'_>) -> Result<(), String> {
    Certificate::from_der(certificate).map(drop).map_err(|error| error.to_string())
}

/// Whether a certificate is of a version that rustls takes. `openssl x509 -req` makes one of version 1 where
/// it is told of no extension.
pub(super) fn is_version_3(certificate: &CertificateDer<'_>) -> bool {
    Certificate::from_der(certificate).is_ok_and(|parsed| parsed.tbs_certificate().version() == Version::V3)
}

/// Whether `now` lies within a certificate's time.
pub(super) fn is_in_its_time(said: &TbsCertificate, now: UnixTime) -> bool {
    let validity = said.validity();
    let seconds = |time: x509_cert::time::Time| time.to_unix_duration().as_secs();
    (seconds(validity.not_before)..=seconds(validity.not_after)).contains(&now.as_secs())
}

/// Whether a certificate holds good for a host, as libpq judges it: by the alternative names of the host's
/// kind if it has any, else by its Common Name. Err has what it holds good for.
pub(super) fn holds_good_for(certificate: &CertificateDer<'_>, host: &str) -> Result<(), Vec<String>> {
    let Ok(certificate) = Certificate::from_der(certificate) else { return Err(Vec::new()) };
    let said = certificate.tbs_certificate();
    let address = host.parse::<IpAddr>().ok();
    let mut names = Vec::new();
    let mut of_the_kind = false;
    let alternative = said.get_extension::<SubjectAltName>().ok().flatten().map(|(_, names)| names.0);
    for name in alternative.iter().flatten() {
        match name {
            GeneralName::DnsName(name) => {
                of_the_kind |= address.is_none();
                if name_fits(name.as_str(), host) {
                    return Ok(());
                }
                names.push(name.to_string());
            }
            GeneralName::IpAddress(bytes) => {
                of_the_kind |= address.is_some();
                let bytes = bytes.as_bytes();
                let named = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
                let named = named.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
                if named.is_ok_and(|named| Some(named) == address) {
                    return Ok(());
                }
                names.extend(named.map(|named| named.to_string()));
            }
            _ => {}
        }
    }
    if !of_the_kind && let Some(name) = common_name(said.subject()) {
        if name_fits(&name, host) {
            return Ok(());
        }
        names.push(name);
    }
    Err(names)
}

/// Whether a name in a certificate is that of the host; `*.` at its head stands for one label.
fn name_fits(name: &str, host: &str) -> bool {
    if name.eq_ignore_ascii_case(host) {
        return true;
    }
    let Some(domain) = name.strip_prefix('*').filter(|domain| domain.starts_with('.') && domain.len() > 1)
    else {
        return false;
    };
    host.find('.').is_some_and(|dot| {
        dot > 0 && host.get(dot..).is_some_and(|of_host| of_host.eq_ignore_ascii_case(domain))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_one_label() {
        for (name, host, fits) in [
            ("db.example.com", "DB.example.com", true),
            ("*.example.com", "db.example.com", true),
            ("*.example.com", "a.db.example.com", false),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("d*.example.com", "db.example.com", false),
            ("*", "db", false),
            ("*.", "db.", false),
        ] {
            assert_eq!(name_fits(name, host), fits, "{name} for {host}");
        }
    }

    #[test]
    fn serial_numbers_are_decimal() {
        for (bytes, text) in
            [(&[][..], "0"), (&[0], "0"), (&[1, 0], "256"), (&[0xff; 8], "18446744073709551615")]
        {
            assert_eq!(decimal(bytes), text);
        }
    }
}
