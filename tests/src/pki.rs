//! Certificates of a scenario: a root, what it signs, and what it does not.

use crate::node::scratch_dir;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What a certificate is for.
#[derive(Clone, Copy, Debug)]
struct Leaf<'a> {
    /// The name of its files.
    file: &'static str,
    common_name: &'a str,
    hosts: &'a [&'a str],
    serial: u64,
    /// The year in which it ends.
    until: i32,
}

/// A folder of certificates and keys in PEM files: `NAME.crt` and `NAME.key`.
///
/// - `root.crt` signs `server` (localhost and 127.0.0.1), `named` (only a Common Name, localhost),
///   `elsewhere` (another host), `past` (expired), `app` and `bob` (clients of these names), `app_past`
///   (expired) and `app_revoked`, which the second and newer list of `root.crl` revokes;
/// - `other_root.crt` signs `rogue`, a client named app;
/// - `own.crt` has signed itself, for localhost.
#[derive(Debug)]
pub struct Pki {
    folder: tempfile::TempDir,
}

struct Root {
    issuer: Issuer<'static, KeyPair>,
}

impl Root {
    fn make(folder: &Path, file: &str, name: &str) -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).expect("no names");
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.self_signed(&key).expect("a root");
        fs::write(folder.join(file), certificate.pem()).expect("written");
        Self { issuer: Issuer::new(parameters, key) }
    }

    fn sign(&self, folder: &Path, leaf: Leaf<'_>) {
        let hosts: Vec<String> = leaf.hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut parameters = CertificateParams::new(hosts).expect("names");
        parameters.distinguished_name.push(DnType::OrganizationName, "Ships");
        parameters.distinguished_name.push(DnType::CommonName, leaf.common_name);
        parameters.serial_number = Some(SerialNumber::from(leaf.serial));
        parameters.not_before = date_time_ymd(2020, 1, 1);
        parameters.not_after = date_time_ymd(leaf.until, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.signed_by(&key, &self.issuer).expect("signed");
        store(folder, leaf.file, &certificate.pem(), &key);
    }

    /// Writes a list that revokes nothing and, behind it, the next one: a file that lists are appended to.
    fn revoke(&self, folder: &Path, serial: u64) {
        let list = |number: u64, revoked_certs| {
            let list = CertificateRevocationListParams {
                this_update: date_time_ymd(2020, 1, u8::try_from(number).expect("a day")),
                next_update: date_time_ymd(2120, 1, 1),
                crl_number: SerialNumber::from(number),
                issuing_distribution_point: None,
                revoked_certs,
                key_identifier_method: KeyIdMethod::Sha256,
            };
            list.signed_by(&self.issuer).expect("a list").pem().expect("text")
        };
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: date_time_ymd(2020, 1, 2),
            reason_code: None,
            invalidity_date: None,
        };
        let lists = list(1, Vec::new()) + &list(2, vec![revoked]);
        fs::write(folder.join("root.crl"), lists).expect("written");
    }
}

fn store(folder: &Path, file: &str, certificate: &str, key: &KeyPair) {
    fs::write(folder.join(format!("{file}.crt")), certificate).expect("written");
    let path = folder.join(format!("{file}.key"));
    fs::write(&path, key.serialize_pem()).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("changed");
}

impl Pki {
    /// Makes all of them.
    pub fn make() -> Self {
        let folder = scratch_dir();
        let path = folder.path();
        let root = Root::make(path, "root.crt", "Root of the scenario");
        let leaf = |file, common_name, hosts, serial, until| Leaf { file, common_name, hosts, serial, until };
        for leaf in [
            leaf("server", "localhost", &["localhost", "127.0.0.1"][..], 11, 2100),
            leaf("named", "localhost", &[], 12, 2100),
            leaf("elsewhere", "elsewhere", &["elsewhere.example"], 13, 2100),
            leaf("past", "localhost", &["localhost", "127.0.0.1"], 14, 2021),
            leaf("app", "app", &[], 21, 2100),
            leaf("bob", "bob", &[], 22, 2100),
            leaf("app_past", "app", &[], 23, 2021),
            leaf("app_revoked", "app", &[], 24, 2100),
        ] {
            root.sign(path, leaf);
        }
        root.revoke(path, 24);
        let other = Root::make(path, "other_root.crt", "Root of somebody else");
        other.sign(path, leaf("rogue", "app", &[], 21, 2100));
        let mut parameters = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        parameters.distinguished_name.push(DnType::CommonName, "localhost");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.self_signed(&key).expect("its own");
        store(path, "own", &certificate.pem(), &key);
        Self { folder }
    }

    /// The path of a file.
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// The same as text, for settings and connection strings.
    pub fn text(&self, file: &str) -> String {
        self.path(file).display().to_string()
    }

    /// Copies a certificate and its key into a server's data folder as server.crt and server.key.
    pub fn install(&self, name: &str, data: &Path) {
        for end in ["crt", "key"] {
            let target = data.join(format!("server.{end}"));
            // A new file: one that is there may be somebody else's.
            let _ = fs::remove_file(&target);
            fs::copy(self.path(&format!("{name}.{end}")), &target).expect("copied");
        }
    }
}
