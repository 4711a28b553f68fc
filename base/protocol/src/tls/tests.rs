//! Both sides shake hands over a socket: who takes whom.

use super::client::ClientTls;
use super::server::{ServerTls, ServerTlsOptions};
use super::suites::DEFAULT_CIPHERS;
use super::*;
use crate::conninfo::{ConnInfo, TlsParameters};
use host::RealDisk;
use host::net::{TcpListener, TcpStream};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    NameConstraints, RevokedCertParams, SerialNumber, date_time_ymd,
};
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

/// A folder with a root, and what it and others have signed.
struct Files(tempfile::TempDir);

fn parameters(name: &str, hosts: &[&str], until: i32, is_root: bool) -> CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut made = CertificateParams::new(hosts).unwrap();
    made.distinguished_name.push(DnType::CommonName, name);
    made.not_before = date_time_ymd(2020, 1, 1);
    made.not_after = date_time_ymd(until, 1, 1);
    made.serial_number = Some(SerialNumber::from(u64::from(name.as_bytes()[0])));
    if is_root {
        made.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        made.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    }
    made
}

/// A list in force in these years that revokes the certificates whose names begin with these letters.
fn revocations(issuer: &Issuer<'_, KeyPair>, number: u64, years: Range<i32>, letters: &[u8]) -> String {
    let revoked = letters.iter().map(|letter| RevokedCertParams {
        serial_number: SerialNumber::from(u64::from(*letter)),
        revocation_time: date_time_ymd(2020, 1, 1),
        reason_code: None,
        invalidity_date: None,
    });
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(years.start, 1, 1),
        next_update: date_time_ymd(years.end, 1, 1),
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    list.signed_by(issuer).unwrap().pem().unwrap()
}

impl Files {
    fn make() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        let root = parameters("root", &[], 2100, true);
        let key = KeyPair::generate().unwrap();
        files.store("root", &root.self_signed(&key).unwrap().pem(), &key);
        let issuer = Issuer::new(root, key);
        for (file, name, hosts, until) in [
            ("server", "localhost", &["localhost", "127.0.0.1"][..], 2100),
            ("named", "db.example.com", &[], 2100),
            ("past", "localhost", &["localhost"], 2021),
            ("ann", "ann", &[], 2100),
            ("gone", "gone", &[], 2100),
        ] {
            let key = KeyPair::generate().unwrap();
            let signed = parameters(name, hosts, until, false).signed_by(&key, &issuer).unwrap();
            files.store(file, &signed.pem(), &key);
        }
        for (file, hosts) in [("own", &["localhost"][..]), ("stranger", &[])] {
            let key = KeyPair::generate().unwrap();
            let mut made = parameters(file, hosts, 2100, true);
            made.key_usages.clear();
            files.store(file, &made.self_signed(&key).unwrap().pem(), &key);
        }
        let newer = revocations(&issuer, 2, 2021..2100, b"gd");
        let older = revocations(&issuer, 1, 2020..2100, b"");
        let expired = revocations(&issuer, 1, 2020..2021, b"");
        let future = revocations(&issuer, 3, 2090..2100, b"");
        for (file, lists) in [
            ("root.crl", vec![&newer]),
            ("older.crl", vec![&older]),
            ("older_newer.crl", vec![&older, &newer]),
            ("newer_older.crl", vec![&newer, &older]),
            ("expired_newer.crl", vec![&expired, &newer]),
            ("newer_future.crl", vec![&newer, &future]),
            ("future.crl", vec![&future]),
        ] {
            std::fs::write(files.path(file), lists.into_iter().cloned().collect::<String>()).unwrap();
        }
        files
    }

    fn store(&self, file: &str, certificate: &str, key: &KeyPair) {
        std::fs::write(self.path(&format!("{file}.crt")), certificate).unwrap();
        let path = self.path(&format!("{file}.key"));
        std::fs::write(&path, key.serialize_pem()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn options(&self, certificate: &str) -> ServerTlsOptions {
        ServerTlsOptions {
            certificate: self.path(&format!("{certificate}.crt")),
            key: self.path(&format!("{certificate}.key")),
            version_min: "TLSv1.2".to_owned(),
            ciphers: DEFAULT_CIPHERS.to_owned(),
            ecdh_curve: "prime256v1".to_owned(),
            ..ServerTlsOptions::default()
        }
    }

    fn server(&self, certificate: &str) -> ServerTls {
        ServerTls::load(&RealDisk, &self.options(certificate)).unwrap()
    }

    fn asking(&self, revocations: &str) -> ServerTls {
        let (roots, revocations) = (Some(self.path("root.crt")), vec![self.path(revocations)]);
        let options = ServerTlsOptions { roots, revocations, ..self.options("server") };
        ServerTls::load(&RealDisk, &options).unwrap()
    }

    /// One more certificate for localhost, with this basicConstraints and keyUsage. `issuer` has signed it
    /// and stands behind it in its file, or else it has signed itself.
    fn sign<'i>(
        &self,
        file: &str,
        (is_ca, key_usages): (IsCa, &[KeyUsagePurpose]),
        issuer: Option<&(String, Issuer<'i, KeyPair>)>,
    ) -> (String, Issuer<'i, KeyPair>) {
        let key = KeyPair::generate().unwrap();
        let mut made = parameters("localhost", &["localhost"], 2100, false);
        made.distinguished_name.push(DnType::OrganizationName, file);
        (made.is_ca, made.key_usages) = (is_ca, key_usages.to_vec());
        let pem = match issuer {
            Some((_, issuer)) => made.signed_by(&key, issuer).unwrap().pem(),
            None => made.self_signed(&key).unwrap().pem(),
        };
        let behind = issuer.map(|(pem, _)| pem.as_str()).unwrap_or_default();
        self.store(file, &format!("{pem}{behind}"), &key);
        (pem, Issuer::new(made, key))
    }

    /// Parameters in whose text `%` stands for this folder.
    fn parameters(&self, text: &str) -> TlsParameters {
        let text = text.replace('%', &self.0.path().display().to_string());
        ConnInfo::parse_with(&text, |_| None).unwrap().tls
    }
}

/// What each side knows of the connection once a word has gone both ways.
async fn shake(server: &ServerTls, client: &TlsParameters, host: &str) -> Result<[Encryption; 2], String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = ClientTls::load(client, host).map_err(|error| error.to_string())?;
    let serving = async {
        let (stream, _) = listener.accept().await.unwrap();
        let (mut stream, encryption) =
            server.accept(stream).await.map_err(|error| format!("server: {error}"))?;
        stream.write_all(b"word").await.unwrap();
        stream.flush().await.unwrap();
        stream.shutdown().await.unwrap();
        Ok::<_, String>(encryption)
    };
    let asking = async {
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut stream, encryption) = client.connect(stream).await.map_err(|error| error.to_string())?;
        let mut heard = Vec::new();
        // With TLS 1.3 a client hears here that its certificate is not taken.
        stream.read_to_end(&mut heard).await.map_err(|error| error.to_string())?;
        assert_eq!(heard, b"word");
        Ok::<_, String>(encryption)
    };
    let (served, asked) = tokio::join!(serving, asking);
    Ok([asked?, served?])
}

#[tokio::test]
async fn both_sides_know_the_same_channel() {
    let files = Files::make();
    for (more, version, cipher) in [
        ("", "TLSv1.3", "TLS_AES_256_GCM_SHA384"),
        ("ssl_max_protocol_version=TLSv1.2", "TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384"),
    ] {
        let parameters = files.parameters(&format!("host=h {more}"));
        let [client, server] = shake(&files.server("server"), &parameters, "localhost").await.unwrap();
        assert_eq!(client, server);
        assert_eq!((client.version, client.cipher, client.bits), (version, cipher, 256));
        assert_eq!(client.end_point.map(|hash| hash.len()), Some(32));
    }
}

#[tokio::test]
async fn a_client_takes_the_servers_that_its_sslmode_takes() {
    let files = Files::make();
    let full = "sslmode=verify-full sslrootcert=%/root.crt";
    for (certificate, host, text, taken) in [
        ("stranger", "localhost", "sslmode=require", Ok(())),
        ("stranger", "localhost", "sslmode=require sslrootcert=%/root.crt", Err("verify failed")),
        ("server", "elsewhere", "sslmode=verify-ca sslrootcert=%/root.crt", Ok(())),
        (
            "server",
            "elsewhere",
            full,
            Err("for \"localhost\", \"127.0.0.1\" does not match host name \"elsewhere\""),
        ),
        ("server", "LOCALHOST", full, Ok(())),
        ("server", "127.0.0.1", full, Ok(())),
        ("server", "127.0.0.2", full, Err("does not match host name")),
        ("named", "db.example.com", full, Ok(())),
        ("named", "localhost", full, Err("does not match host name")),
        ("past", "localhost", full, Err("verify failed")),
        ("own", "localhost", full, Err("verify failed")),
        ("own", "localhost", "sslmode=verify-full sslrootcert=%/own.crt", Ok(())),
        ("own", "elsewhere", "sslmode=verify-full sslrootcert=%/own.crt", Err("does not match host name")),
        ("server", "localhost", "sslmode=verify-full sslrootcert=%/none.crt", Err("does not exist")),
        ("server", "localhost", "sslmode=verify-ca", Err("root certificate file")),
        ("server", "localhost", "sslmode=verify-full sslrootcert=%/root.crt sslcrl=%/root.crl", Ok(())),
    ] {
        let got = shake(&files.server(certificate), &files.parameters(text), host).await;
        match taken {
            Ok(()) => assert!(got.is_ok(), "{certificate} for {host}, {text}: {got:?}"),
            Err(words) => {
                let said = got.unwrap_err();
                assert!(said.contains(words), "{certificate} for {host}, {text}: {said}");
            }
        }
    }
}

/// The judgements are those of PostgreSQL 15 and psql with OpenSSL 3.0 on certificates of the same kinds.
#[tokio::test]
async fn both_sides_take_the_certificates_that_openssl_takes() {
    use IsCa::{Ca, ExplicitNoCa, NoCa};
    use KeyUsagePurpose::{CrlSign, DigitalSignature, KeyAgreement, KeyCertSign, KeyEncipherment};
    let files = Files::make();
    let ca = || Ca(BasicConstraints::Unconstrained);
    let root = files.sign("ca", (ca(), &[]), None);
    let between = files.sign("between", (ca(), &[KeyCertSign]), Some(&root));
    let no_signer = files.sign("no_signer", (ca(), &[DigitalSignature]), Some(&root));
    let own_end = files.sign("own_end", (ExplicitNoCa, &[]), None);
    let own_key = files.sign("own_key", (ca(), &[DigitalSignature]), None);
    files.sign("own_signer", (ca(), &[KeyCertSign, CrlSign]), None);
    files.sign("own_both", (ca(), &[KeyCertSign, DigitalSignature]), None);
    let authority = files.sign("authority", (ca(), &[]), Some(&root));
    files.sign("limited", (Ca(BasicConstraints::Constrained(0)), &[]), Some(&root));
    files.sign("signer", (NoCa, &[KeyCertSign]), Some(&root));
    files.sign("digital", (NoCa, &[DigitalSignature]), Some(&root));
    files.sign("agrees", (NoCa, &[KeyAgreement]), Some(&root));
    files.sign("enciphers", (NoCa, &[KeyEncipherment]), Some(&root));
    files.sign("of_between", (NoCa, &[]), Some(&between));
    files.sign("authority_of_between", (ca(), &[]), Some(&between));
    files.sign("of_no_signer", (NoCa, &[]), Some(&no_signer));
    files.sign("of_own_end", (NoCa, &[]), Some(&own_end));
    files.sign("of_own_key", (NoCa, &[]), Some(&own_key));
    files.sign("of_authority", (NoCa, &[]), Some(&authority));
    for (file, alone) in [("between_alone.crt", &between.0), ("authority_alone.crt", &authority.0)] {
        std::fs::write(files.path(file), alone).unwrap();
    }
    std::fs::write(files.path("both.crt"), format!("{}{}", root.0, own_end.0)).unwrap();
    for (certificate, roots, by_client, by_server) in [
        ("authority", "ca", true, true),
        ("limited", "ca", true, true),
        ("authority_of_between", "ca", true, true),
        ("signer", "ca", false, false),
        ("digital", "ca", true, true),
        ("agrees", "ca", true, true),
        ("enciphers", "ca", true, false),
        ("of_between", "ca", true, true),
        ("of_no_signer", "ca", false, false),
        ("own_end", "own_end", true, true),
        ("own_end", "both", true, true),
        ("own_end", "ca", false, false),
        ("own_key", "own_key", true, true),
        ("own_both", "own_both", true, true),
        ("own_signer", "own_signer", false, false),
        // Who is trusted as an end signs nobody in.
        ("of_own_end", "own_end", false, false),
        ("of_own_key", "own_key", false, false),
        ("of_own_end", "both", false, false),
        // A chain ends with one that has signed itself.
        ("authority", "authority_alone", false, false),
        ("of_authority", "authority_alone", false, false),
        ("of_between", "between_alone", false, false),
        ("of_between", "between", true, true),
    ] {
        let text = format!("sslmode=verify-full sslrootcert=%/{roots}.crt");
        let got = shake(&files.server(certificate), &files.parameters(&text), "localhost").await;
        assert_eq!(got.is_ok(), by_client, "server {certificate} to {roots}: {got:?}");
        let options =
            ServerTlsOptions { roots: Some(files.path(&format!("{roots}.crt"))), ..files.options("server") };
        let server = ServerTls::load(&RealDisk, &options).unwrap();
        let text = format!("sslmode=require sslcert=%/{certificate}.crt sslkey=%/{certificate}.key");
        let got = shake(&server, &files.parameters(&text), "localhost").await;
        assert_eq!(got.is_ok(), by_server, "client {certificate} to {roots}: {got:?}");
    }
}

#[tokio::test]
async fn a_server_name_that_is_none_is_told_in_words() {
    let files = Files::make();
    let (server, listener) = (files.server("server"), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let address = listener.local_addr().unwrap();
    let client = ClientTls::load(&files.parameters("sslmode=require"), "localhost").unwrap();
    let asking = async { client.connect(TcpStream::connect(address).await.unwrap()).await.is_err() };
    // What libpq sends for a socket's folder, a client of rustls' cannot be brought to say.
    let between = async {
        let (mut from, _) = listener.accept().await.unwrap();
        let mut hello = vec![0; 4096];
        let len = from.read(&mut hello).await.unwrap();
        hello.truncate(len);
        let at = hello.windows(9).position(|window| window == b"localhost").unwrap();
        hello[at] = b'/';
        let mut to = TcpStream::connect(address).await.unwrap();
        to.write_all(&hello).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        server.accept(stream).await.map(drop).unwrap_err().to_string()
    };
    let (failed, said) = tokio::join!(asking, between);
    assert!(failed && said.contains("is no DNS name") && said.contains("sslsni=0"), "{said}");
}

#[tokio::test]
async fn a_server_takes_clients_of_its_root_and_those_without_a_certificate() {
    let files = Files::make();
    let server = files.asking("root.crl");
    let of = async |name: &str| {
        let text = format!("sslmode=require sslcert=%/{name}.crt sslkey=%/{name}.key");
        shake(&server, &files.parameters(&text), "localhost").await.map(|[_, server]| server.peer)
    };
    assert_eq!(of("nobody").await, Ok(None));
    let ann = of("ann").await.unwrap().unwrap();
    assert_eq!((ann.common_name.as_deref(), ann.serial.as_str()), (Some("ann"), "97"));
    assert_eq!((ann.subject.as_str(), ann.issuer.as_str()), ("/CN=ann", "/CN=root"));
    for refused in ["gone", "stranger", "past"] {
        assert!(of(refused).await.is_err(), "{refused}");
    }
    let (server, shows) = (files.server("server"), files.parameters("sslcert=%/ann.crt sslkey=%/ann.key"));
    let unasked = shake(&server, &shows, "h");
    assert_eq!(unasked.await.unwrap()[1].peer, None);
}

#[tokio::test]
async fn a_clients_key_may_be_plain_der_and_roots_may_be_a_groups() {
    let files = Files::make();
    let server = files.asking("root.crl");
    let pem = std::fs::read(files.path("ann.key")).unwrap();
    std::fs::write(files.path("der.key"), PrivateKeyDer::from_pem_slice(&pem).unwrap().secret_der()).unwrap();
    std::fs::write(files.path("empty.key"), "").unwrap();
    let is_root = nix::unistd::geteuid().is_root();
    for (key, mode, taken) in [
        ("der", 0o600, true),
        ("empty", 0o600, false),
        ("ann", 0o640, is_root),
        ("ann", 0o660, false),
        ("ann", 0o604, false),
    ] {
        let path = files.path(&format!("{key}.key"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let text = format!("sslmode=require sslcert=%/ann.crt sslkey=%/{key}.key");
        let got = shake(&server, &files.parameters(&text), "localhost").await;
        assert_eq!(got.is_ok(), taken, "{key} {mode:o}: {got:?}");
    }
}

#[tokio::test]
async fn of_several_lists_of_one_issuer_the_newest_counts() {
    let files = Files::make();
    for (lists, revokes) in [
        ("root.crl", true),
        ("older.crl", false),
        ("older_newer.crl", true),
        ("newer_older.crl", true),
        ("expired_newer.crl", true),
        ("newer_future.crl", true),
    ] {
        let server = files.asking(lists);
        for (client, revoked) in [("ann", false), ("gone", revokes)] {
            let text = format!("sslmode=require sslcert=%/{client}.crt sslkey=%/{client}.key");
            let got = shake(&server, &files.parameters(&text), "localhost").await;
            assert_eq!(got.is_err(), revoked, "{client} with {lists}: {got:?}");
        }
        for (certificate, revoked) in [("server", false), ("named", revokes)] {
            let text = format!("sslmode=verify-ca sslrootcert=%/root.crt sslcrl=%/{lists}");
            let got = shake(&files.server(certificate), &files.parameters(&text), "localhost").await;
            assert_eq!(got.is_err(), revoked, "{certificate} with {lists}: {got:?}");
        }
    }
}

#[tokio::test]
async fn a_list_before_its_time_tells_of_nobody() {
    let files = Files::make();
    let text = "sslmode=require sslcert=%/ann.crt sslkey=%/ann.key";
    let got = shake(&files.asking("future.crl"), &files.parameters(text), "localhost").await;
    assert!(got.is_err(), "{got:?}");
}

/// The judgements are those of `openssl verify` of 3.0, with the end's purpose.
#[tokio::test]
async fn what_a_root_says_of_itself_counts() {
    fn with_path_len(root: &mut CertificateParams, longest: u8) {
        root.is_ca = IsCa::Ca(BasicConstraints::Constrained(longest));
    }
    fn with_extension(root: &mut CertificateParams, critical: bool) {
        let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
        extension.set_criticality(critical);
        root.custom_extensions = vec![extension];
    }
    fn with_subtrees(root: &mut CertificateParams, permitted: &[&str], excluded: &[&str]) {
        let subtrees =
            |names: &[&str]| names.iter().map(|name| GeneralSubtree::DnsName((*name).to_owned())).collect();
        let (permitted_subtrees, excluded_subtrees) = (subtrees(permitted), subtrees(excluded));
        root.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees });
    }
    type Change = fn(&mut CertificateParams);
    let files = Files::make();
    let cases: [(&str, Change, &str, bool, bool, bool); 12] = [
        ("no length", |_| {}, "ann", true, true, true),
        ("length 0", |root| with_path_len(root, 0), "ann", false, false, false),
        ("length 0", |root| with_path_len(root, 0), "ann", true, true, true),
        ("length 1", |root| with_path_len(root, 1), "ann", false, true, true),
        (
            "for clients",
            |root| root.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
            "ann",
            true,
            false,
            true,
        ),
        ("must understand", |root| with_extension(root, true), "ann", true, false, false),
        ("may understand", |root| with_extension(root, false), "ann", true, true, true),
        ("within", |root| with_subtrees(root, &["example.com"], &[]), "db.example.com", true, true, true),
        ("outside", |root| with_subtrees(root, &["example.com"], &[]), "db.example.org", true, false, false),
        ("no host", |root| with_subtrees(root, &["example.com"], &[]), "ann", true, true, true),
        ("excluded", |root| with_subtrees(root, &[], &["example.com"]), "db.example.com", true, false, false),
        (
            "not excluded",
            |root| with_subtrees(root, &[], &["example.com"]),
            "db.example.org",
            true,
            true,
            true,
        ),
    ];
    for (what, change, name, direct, by_client, by_server) in cases {
        let [root_key, between_key, key] = [(); 3].map(|()| KeyPair::generate().unwrap());
        let mut made = parameters("r", &[], 2100, true);
        change(&mut made);
        files.store("r", &made.self_signed(&root_key).unwrap().pem(), &root_key);
        let root = Issuer::new(made, root_key);
        let made = parameters("between", &[], 2100, true);
        let behind = made.signed_by(&between_key, &root).unwrap().pem();
        let between = Issuer::new(made, between_key);
        let issuer = if direct { &root } else { &between };
        let end = parameters(name, &[], 2100, false).signed_by(&key, issuer).unwrap().pem();
        files.store("end", &format!("{end}{behind}"), &key);
        let text = "sslmode=verify-ca sslrootcert=%/r.crt";
        let got = shake(&files.server("end"), &files.parameters(text), "localhost").await;
        assert_eq!(got.is_ok(), by_client, "server, {what}, {name}, {direct}: {got:?}");
        let options = ServerTlsOptions { roots: Some(files.path("r.crt")), ..files.options("server") };
        let server = ServerTls::load(&RealDisk, &options).unwrap();
        let text = "sslmode=require sslcert=%/end.crt sslkey=%/end.key";
        let got = shake(&server, &files.parameters(text), "localhost").await;
        assert_eq!(got.is_ok(), by_server, "client, {what}, {name}, {direct}: {got:?}");
    }
}

#[tokio::test]
async fn a_damaged_certificate_anywhere_makes_a_file_refused() {
    let files = Files::make();
    let text = |file: &str| std::fs::read_to_string(files.path(file)).unwrap();
    let (good, root) = (text("server.crt"), text("root.crt"));
    let without = |lines: Range<usize>| -> String {
        let kept = root.lines().enumerate().filter(|(at, _)| !lines.contains(at));
        kept.map(|(_, line)| format!("{line}\n")).collect()
    };
    let last = root.lines().count() - 1;
    for (damaged, words) in [
        (without(3..5), "is damaged: "),
        (without(last..last + 1), "is damaged: its END line is missing"),
        (root.replacen('M', "*", 1), "is damaged: its text is not base64"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(), "is damaged: "),
    ] {
        std::fs::write(files.path("bad.crt"), format!("{good}{damaged}")).unwrap();
        let words = format!("bad.crt\": certificate 2 in it {words}");
        let mut options = files.options("server");
        options.certificate = files.path("bad.crt");
        let roots = ServerTlsOptions { roots: Some(files.path("bad.crt")), ..files.options("server") };
        for options in [options, roots] {
            let said = ServerTls::load(&RealDisk, &options).map(drop).unwrap_err().to_string();
            assert!(said.contains(&words), "{damaged}: {said}");
        }
        for text in [
            "sslmode=verify-ca sslrootcert=%/bad.crt",
            "sslmode=require sslcert=%/bad.crt sslkey=%/server.key",
        ] {
            let said =
                shake(&files.server("server"), &files.parameters(text), "localhost").await.unwrap_err();
            assert!(said.contains(&words), "{damaged}, {text}: {said}");
        }
    }
}

#[test]
fn a_damaged_revocation_list_is_named() {
    let files = Files::make();
    let list = std::fs::read_to_string(files.path("root.crl")).unwrap();
    let damaged = "-----BEGIN X509 CRL-----\nMIIB\n-----END X509 CRL-----\n";
    std::fs::write(files.path("bad.crl"), format!("{list}{damaged}")).unwrap();
    let (roots, revocations) = (Some(files.path("root.crt")), vec![files.path("bad.crl")]);
    let options = ServerTlsOptions { roots, revocations, ..files.options("server") };
    let said = ServerTls::load(&RealDisk, &options).map(drop).unwrap_err().to_string();
    assert!(said.contains("bad.crl\": revocation list 2 in it is damaged: "), "{said}");
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let files = Files::make();
    std::fs::write(files.path("empty.crt"), "nothing").unwrap();
    std::fs::write(files.path("locked.key"), "-----BEGIN ENCRYPTED PRIVATE KEY-----\n").unwrap();
    std::fs::set_permissions(files.path("locked.key"), std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::copy(files.path("server.key"), files.path("open.key")).unwrap();
    std::fs::set_permissions(files.path("open.key"), std::fs::Permissions::from_mode(0o640)).unwrap();
    let with = |certificate: &str, key: &str, change: fn(&mut ServerTlsOptions, &Path)| {
        let mut options = files.options("server");
        options.certificate = files.path(certificate);
        options.key = files.path(key);
        change(&mut options, files.0.path());
        ServerTls::load(&RealDisk, &options).map(drop).map_err(|error| error.to_string())
    };
    let as_is: fn(&mut ServerTlsOptions, &Path) = |_, _| {};
    assert_eq!(with("server.crt", "server.key", as_is), Ok(()));
    for (certificate, key, change, words) in [
        ("none.crt", "server.key", as_is, "none.crt\": No such file"),
        ("empty.crt", "server.key", as_is, "no certificate in PEM form"),
        ("server.crt", "none.key", as_is, "could not access private key file"),
        ("server.crt", "open.key", as_is, "has group or world access"),
        ("server.crt", "locked.key", as_is, "requires a passphrase"),
        ("server.crt", "ann.key", as_is, "does not go with"),
        ("server.crt", "server.key", |options, _| options.ciphers = "RC4-MD5".to_owned(), "no cipher"),
        ("server.crt", "server.key", |options, _| options.version_max = "TLSv1".to_owned(), "version range"),
        (
            "server.crt",
            "server.key",
            |options, folder| options.roots = Some(folder.join("none.crt")),
            "could not load root certificate file",
        ),
    ] {
        let said = with(certificate, key, change).unwrap_err();
        assert!(said.contains(words), "{certificate} {key}: {said}");
    }
}
