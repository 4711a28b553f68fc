//! Versions, ciphers and curves: PostgreSQL's settings name them as OpenSSL does.

use super::TlsError;
use tokio_rustls::rustls::crypto::ring::{self, kx_group};
use tokio_rustls::rustls::crypto::{CryptoProvider, SupportedKxGroup};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{CipherSuite, ProtocolVersion, SupportedCipherSuite, SupportedProtocolVersion};

/// The default of ssl_ciphers, which asks for every cipher that there is here.
pub const DEFAULT_CIPHERS: &str = "HIGH:MEDIUM:+3DES:!aNULL";

/// OpenSSL's name and the bits of the key of each cipher.
const NAMES: &[(CipherSuite, &str, u16)] = &[
    (CipherSuite::TLS13_AES_256_GCM_SHA384, "TLS_AES_256_GCM_SHA384", 256),
    (CipherSuite::TLS13_AES_128_GCM_SHA256, "TLS_AES_128_GCM_SHA256", 128),
    (CipherSuite::TLS13_CHACHA20_POLY1305_SHA256, "TLS_CHACHA20_POLY1305_SHA256", 256),
    (CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, "ECDHE-ECDSA-AES256-GCM-SHA384", 256),
    (CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, "ECDHE-ECDSA-AES128-GCM-SHA256", 128),
    (CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-ECDSA-CHACHA20-POLY1305", 256),
    (CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, "ECDHE-RSA-AES256-GCM-SHA384", 256),
    (CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, "ECDHE-RSA-AES128-GCM-SHA256", 128),
    (CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-RSA-CHACHA20-POLY1305", 256),
];

/// Whether a cipher, by OpenSSL's name, belongs to a group.
type Belongs = fn(&str) -> bool;

/// OpenSSL's words for groups of ciphers, and how a cipher of ours belongs to one.
const GROUPS: &[(&str, Belongs)] = &[
    ("ALL", |_| true),
    ("DEFAULT", |_| true),
    ("HIGH", |_| true),
    ("ECDHE", |_| true),
    ("EECDH", |_| true),
    ("kECDHE", |_| true),
    ("kEECDH", |_| true),
    ("TLSv1.2", |_| true),
    ("AEAD", |_| true),
    ("AES", |name| name.contains("-AES")),
    ("AESGCM", |name| name.contains("-GCM-")),
    ("AES128", |name| name.contains("AES128")),
    ("AES256", |name| name.contains("AES256")),
    ("CHACHA20", |name| name.contains("CHACHA20")),
    ("ECDSA", |name| name.contains("-ECDSA-")),
    ("aECDSA", |name| name.contains("-ECDSA-")),
    ("RSA", |_| false),
    ("aRSA", |name| name.contains("-RSA-")),
    ("SHA256", |_| false),
    ("SHA384", |_| false),
    // What rustls has nothing of.
    ("MEDIUM", |_| false),
    ("LOW", |_| false),
    ("EXP", |_| false),
    ("EXPORT", |_| false),
    ("aNULL", |_| false),
    ("eNULL", |_| false),
    ("NULL", |_| false),
    ("ADH", |_| false),
    ("AECDH", |_| false),
    ("DH", |_| false),
    ("DHE", |_| false),
    ("EDH", |_| false),
    ("kRSA", |_| false),
    ("PSK", |_| false),
    ("SRP", |_| false),
    ("DSS", |_| false),
    ("3DES", |_| false),
    ("DES", |_| false),
    ("RC4", |_| false),
    ("IDEA", |_| false),
    ("SEED", |_| false),
    ("CAMELLIA", |_| false),
    ("ARIA", |_| false),
    ("MD5", |_| false),
    ("SHA", |_| false),
    ("SHA1", |_| false),
];

/// OpenSSL's name of a cipher, and the bits of its key.
pub(super) fn openssl_name(suite: CipherSuite) -> (&'static str, u16) {
    let known = NAMES.iter().find(|(known, ..)| *known == suite);
    known.map_or((suite.as_str().unwrap_or(""), 0), |(_, name, bits)| (name, *bits))
}

/// OpenSSL's name of a version.
pub(super) fn version_name(version: Option<ProtocolVersion>) -> &'static str {
    match version {
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "",
    }
}

/// The versions from `min` to `max` by the names of ssl_min_protocol_version; an empty `max` is no limit.
///
/// # Errors
///
/// If no version that there is here lies between them, or a name is none.
pub fn versions(min: &str, max: &str) -> Result<Vec<&'static SupportedProtocolVersion>, TlsError> {
    let number = |name: &str| match name {
        "TLSv1" => Ok(0),
        "TLSv1.1" => Ok(1),
        "TLSv1.2" => Ok(2),
        "TLSv1.3" => Ok(3),
        _ => Err(TlsError::Setting(format!("invalid TLS protocol version \"{name}\""))),
    };
    let least = if min.is_empty() { 0 } else { number(min)? };
    let most = if max.is_empty() { 3 } else { number(max)? };
    let all = [(3, &TLS13), (2, &TLS12)];
    let between = all.into_iter().filter(|(version, _)| (least..=most).contains(version));
    let found: Vec<_> = between.map(|(_, version)| version).collect();
    if found.is_empty() {
        let range =
            if least > most { "the highest lies below the lowest" } else { "there are TLSv1.2 and TLSv1.3" };
        return Err(TlsError::Setting(format!("could not set SSL protocol version range: {range}")));
    }
    Ok(found)
}

/// The ciphers of TLS 1.2 that a list of OpenSSL's form (ssl_ciphers) leaves, in its order of preference.
///
/// # Errors
///
/// If a word of it is no cipher that there is here and no name of a group, or nothing is left.
fn tls12_ciphers(list: &str) -> Result<Vec<CipherSuite>, TlsError> {
    let all = || NAMES.iter().filter(|(_, name, _)| name.starts_with("ECDHE-"));
    let mut left: Vec<(CipherSuite, &str)> = Vec::new();
    for word in list.split([':', ',', ' ']).filter(|word| !word.is_empty()) {
        let (sign, name) = match word.split_at_checked(1) {
            Some((sign @ ("!" | "-" | "+"), name)) => (sign, name),
            _ if word.starts_with('@') => continue,
            _ => ("", word),
        };
        let belongs = |cipher: &str| {
            name.split('+').all(|part| {
                let group = GROUPS.iter().find(|(group, _)| *group == part);
                group.map_or(cipher == part, |(_, contains)| contains(cipher))
            })
        };
        let is_known = |part: &str| {
            GROUPS.iter().any(|(group, _)| *group == part) || all().any(|(_, cipher, _)| *cipher == part)
        };
        if sign.is_empty() && !name.split('+').all(is_known) {
            return Err(TlsError::Setting(format!(
                "could not set the cipher list: there is no cipher \"{name}\" here"
            )));
        }
        match sign {
            "!" | "-" => left.retain(|(_, cipher)| !belongs(cipher)),
            "+" => left.sort_by_key(|(_, cipher)| belongs(cipher)),
            _ => {
                for (suite, cipher, _) in all().filter(|(_, cipher, _)| belongs(cipher)) {
                    if !left.iter().any(|(known, _)| known == suite) {
                        left.push((*suite, cipher));
                    }
                }
            }
        }
    }
    if left.is_empty() {
        return Err(TlsError::Setting(
            "could not set the cipher list (no valid ciphers available)".to_owned(),
        ));
    }
    Ok(left.into_iter().map(|(suite, _)| suite).collect())
}

/// The curve of a name as ssl_ecdh_curve has it.
fn curve(name: &str) -> Result<&'static dyn SupportedKxGroup, TlsError> {
    match name {
        "prime256v1" | "secp256r1" | "P-256" => Ok(kx_group::SECP256R1),
        "secp384r1" | "P-384" => Ok(kx_group::SECP384R1),
        "X25519" | "x25519" => Ok(kx_group::X25519),
        _ => Err(TlsError::Setting(format!(
            "ECDH: unrecognized curve name: {name} (there are prime256v1, secp384r1 and X25519)"
        ))),
    }
}

/// The cryptography of a server with these values of ssl_ciphers and ssl_ecdh_curve.
///
/// # Errors
///
/// If one of them names what is not there.
pub(super) fn server_provider(ciphers: &str, ecdh_curve: &str) -> Result<CryptoProvider, TlsError> {
    let wanted = tls12_ciphers(ciphers)?;
    let provider = ring::default_provider();
    let (mut suites, older): (Vec<SupportedCipherSuite>, Vec<_>) =
        provider.cipher_suites.iter().partition(|suite| suite.tls13().is_some());
    let of_list = wanted.iter().filter_map(|wanted| older.iter().find(|suite| suite.suite() == *wanted));
    suites.extend(of_list.copied());
    Ok(CryptoProvider { cipher_suites: suites, kx_groups: vec![curve(ecdh_curve)?], ..provider })
}

/// Whether a server takes these values of ssl_ciphers and ssl_ecdh_curve; Err says why not.
///
/// # Errors
///
/// As above.
pub fn check_server_ciphers(ciphers: &str, ecdh_curve: &str) -> Result<(), TlsError> {
    server_provider(ciphers, ecdh_curve).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &str) -> Result<Vec<&'static str>, String> {
        let suites = tls12_ciphers(list).map_err(|error| error.to_string())?;
        Ok(suites.into_iter().map(|suite| openssl_name(suite).0).collect())
    }

    #[test]
    fn a_list_of_ciphers_means_what_openssl_reads() {
        assert_eq!(names(DEFAULT_CIPHERS).unwrap().len(), 6);
        assert_eq!(
            names("ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256").unwrap(),
            ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"]
        );
        assert_eq!(
            names("HIGH:!aECDSA:!AES128:!aNULL:!MD5").unwrap(),
            ["ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-CHACHA20-POLY1305"]
        );
        assert_eq!(names("ECDHE+CHACHA20:+aECDSA").unwrap()[0], "ECDHE-RSA-CHACHA20-POLY1305");
        assert!(names("AES256-SHA").unwrap_err().contains("no cipher \"AES256-SHA\" here"));
        assert!(names("HIGH:!ALL").unwrap_err().contains("no valid ciphers"));
        assert!(names("3DES").unwrap_err().contains("no valid ciphers"));
    }

    #[test]
    fn versions_lie_between_the_lowest_and_the_highest() {
        let count = |min, max| versions(min, max).map(|found| found.len()).ok();
        for (min, max, found) in [
            ("TLSv1.2", "", Some(2)),
            ("TLSv1", "TLSv1.2", Some(1)),
            ("TLSv1.3", "TLSv1.3", Some(1)),
            ("TLSv1.3", "TLSv1.2", None),
            ("TLSv1", "TLSv1.1", None),
            ("SSLv3", "", None),
        ] {
            assert_eq!(count(min, max), found, "{min} to {max}");
        }
    }
}
