//! The certificate of a directory that is made secure: it signs itself, for this machine's names, so that a
//! client that has a copy of it can tell this server from others.

use crate::error::ServerError;
use host::{Host, Timestamp};
use jiff::tz::TimeZone;
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, PKCS_ECDSA_P256_SHA256, date_time_ymd,
};
use std::path::Path;

/// So long it is good.
const YEARS: i16 = 10;
/// The longest Common Name (RFC 5280, ub-common-name).
const COMMON_NAME_CHARS_MAX: usize = 64;

/// Writes server.crt and server.key into a new directory.
pub(super) fn write(host: &Host, dir: &Path) -> Result<(), ServerError> {
    let (certificate, key) = make(&names(host), host.clock.now())
        .map_err(|error| ServerError::new(format!("could not make a certificate: {error}")))?;
    for (name, text) in [("server.crt", certificate), ("server.key", key)] {
        let path = dir.join(name);
        // New files are their owner's alone.
        host::write_file_durably(host.disk.as_ref(), &path, text.as_bytes()).map_err(|error| {
            ServerError::new(format!("could not write file \"{}\": {error}", path.display()))
        })?;
    }
    Ok(())
}

/// What this machine is reached by: the name that it gives itself, the first one, and that of itself alone.
fn names(host: &Host) -> Vec<String> {
    let own = host.disk.read(Path::new("/proc/sys/kernel/hostname"), 256).ok();
    let own = own.map(|name| String::from_utf8_lossy(&name).trim().to_ascii_lowercase());
    let is_name = |name: &String| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
    };
    let local = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    own.filter(is_name).into_iter().filter(|name| name != "localhost").chain(local).collect()
}

fn make(names: &[String], now: Timestamp) -> Result<(String, String), rcgen::Error> {
    let mut parameters = CertificateParams::new(names.to_vec())?;
    let name = names.first().map_or("localhost", String::as_str);
    let name: String = name.chars().take(COMMON_NAME_CHARS_MAX).collect();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    // From the day before, since clocks differ.
    let day = jiff::Timestamp::from_microsecond(now.unix_micros()).unwrap_or_default();
    let day = day.to_zoned(TimeZone::UTC).date();
    let date = |day: jiff::civil::Date, years: i16| {
        let month = u8::try_from(day.month()).unwrap_or(1);
        // The last days of a month are not in every one.
        date_time_ymd(i32::from(day.year() + years), month, u8::try_from(day.day().min(28)).unwrap_or(1))
    };
    parameters.not_before = date(day.yesterday().unwrap_or(day), 0);
    parameters.not_after = date(day, YEARS);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let certificate = parameters.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::tls::server::{ServerTls, ServerTlsOptions};
    use protocol::tls::suites::DEFAULT_CIPHERS;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_new_directorys_certificate_serves_tls_and_its_key_is_the_owners_alone() {
        let (host, folder) = (Host::real(), tempfile::tempdir().unwrap());
        write(&host, folder.path()).unwrap();
        let key = folder.path().join("server.key");
        let mode = std::fs::metadata(&key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let options = ServerTlsOptions {
            certificate: folder.path().join("server.crt"),
            key,
            version_min: "TLSv1.2".to_owned(),
            ciphers: DEFAULT_CIPHERS.to_owned(),
            ecdh_curve: "prime256v1".to_owned(),
            ..ServerTlsOptions::default()
        };
        assert!(!ServerTls::load(host.disk.as_ref(), &options).unwrap().asks_clients());
    }
}
