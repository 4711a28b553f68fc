//! Certificates, keys and revocation lists in PEM files.

use super::TlsError;
use super::certificate::{check_form, is_version_3};
use super::revocation::{RevocationList, RevocationLists};
use host::Disk;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The largest file of certificates that is read.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Whose key a file holds, which decides how the rules for it are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Server,
    Client,
}

fn failed(what: &'static str, path: &Path) -> impl Fn(String) -> TlsError {
    move |problem| TlsError::File { what, path: path.to_owned(), problem }
}

fn read(disk: &dyn Disk, path: &Path, what: &'static str) -> Result<Vec<u8>, TlsError> {
    disk.read(path, FILE_BYTES_MAX).map_err(|error| failed(what, path)(host::os_message(&error)))
}

/// What is wrong with a file's text; rustls shows lines of it as lists of bytes.
fn in_words(error: pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "its END line is missing".to_owned(),
        pem::Error::IllegalSectionStart { .. } => "its BEGIN line is not whole".to_owned(),
        pem::Error::Base64Decode(_) => "its text is not base64".to_owned(),
        other => other.to_string(),
    }
}

/// What `read` makes of the parts of one kind in a text. An error says which of them it is about.
fn parts<T: PemObject, P>(
    text: &[u8],
    kind: &str,
    read: impl Fn(T) -> Result<P, String>,
) -> Result<Vec<P>, String> {
    let mut found = Vec::new();
    for part in T::pem_slice_iter(text) {
        let place = found.len() + 1;
        let part = part.map_err(in_words).and_then(&read);
        found.push(part.map_err(|problem| format!("{kind} {place} in it is damaged: {problem}"))?);
    }
    Ok(found)
}

/// The certificates of a file, at least one. All of them can be read: the other side refuses a chain with a
/// damaged one behind the first, and a root that is left out shuts out all that it has signed.
pub(super) fn certificates(
    disk: &dyn Disk,
    path: &Path,
    what: &'static str,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(disk, path, what)?;
    let readable = |found: CertificateDer<'static>| check_form(&found).map(|()| found);
    let found = parts(&text, "certificate", readable).map_err(failed(what, path))?;
    if found.is_empty() {
        return Err(failed(what, path)("it has no certificate in PEM form".to_owned()));
    }
    Ok(found)
}

/// The certificate of one side, with those between it and its root behind it.
pub(super) fn own_chain(
    disk: &dyn Disk,
    path: &Path,
    what: &'static str,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain = certificates(disk, path, what)?;
    if !chain.first().is_some_and(is_version_3) {
        let problem = "it is not of X.509 version 3: sign it with an extension, such as basicConstraints";
        return Err(failed(what, path)(problem.to_owned()));
    }
    Ok(chain)
}

/// The revocation lists of files and of folders' files, of which each has at least one.
pub(super) fn revocations(disk: &dyn Disk, paths: &[PathBuf]) -> Result<RevocationLists, TlsError> {
    let mut found = Vec::new();
    for path in paths {
        found.extend(revocations_of(disk, path)?);
    }
    Ok(RevocationLists::new(found))
}

/// The revocation lists of a file, or of every file of a folder; at least one.
fn revocations_of(disk: &dyn Disk, path: &Path) -> Result<Vec<RevocationList>, TlsError> {
    let what = "SSL certificate revocation list";
    let is_folder = disk.metadata(path).is_ok_and(|found| found.kind == host::FileKind::Directory);
    let paths: Vec<PathBuf> = match is_folder {
        false => vec![path.to_owned()],
        true => {
            let entries = disk.list(path).map_err(|error| failed(what, path)(host::os_message(&error)))?;
            entries.iter().map(|entry| path.join(&entry.name)).collect()
        }
    };
    let mut found = Vec::new();
    for path in &paths {
        let text = read(disk, path, what)?;
        let lists = parts(&text, "revocation list", RevocationList::read);
        found.extend(lists.map_err(failed(what, path))?);
    }
    if found.is_empty() {
        return Err(failed(what, path)("it has no revocation list in PEM form".to_owned()));
    }
    Ok(found)
}

/// The private key of a file that nobody else can read.
pub(super) fn private_key(
    disk: &dyn Disk,
    path: &Path,
    owner: Owner,
) -> Result<PrivateKeyDer<'static>, TlsError> {
    check_permissions(path, owner)?;
    let pem = read(disk, path, "private key")?;
    if pem.windows(9).any(|window| window == b"ENCRYPTED") {
        return Err(TlsError::Setting(format!(
            "private key file \"{}\" cannot be loaded because it requires a passphrase, which is not supported: \
             store the key without one",
            path.display()
        )));
    }
    match PrivateKeyDer::from_pem_slice(&pem) {
        Ok(key) => Ok(key),
        // libpq takes a key without the dress of PEM, too.
        Err(pem::Error::NoItemsFound) if owner == Owner::Client && PrivateKeyDer::try_from(&*pem).is_ok() => {
            let whole = PrivateKeyDer::try_from(pem);
            whole.map_err(|problem| failed("private key", path)(problem.to_owned()))
        }
        Err(error) => Err(failed("private key", path)(in_words(error))),
    }
}

fn check_permissions(path: &Path, owner: Owner) -> Result<(), TlsError> {
    let shown = path.display();
    let refuse = |message: String, detail| Err(TlsError::Permissions { message, detail });
    let found = match std::fs::metadata(path) {
        Ok(found) => found,
        Err(error) => {
            let why = host::os_message(&error);
            return refuse(format!("could not access private key file \"{shown}\": {why}"), "");
        }
    };
    if !found.is_file() {
        return refuse(format!("private key file \"{shown}\" is not a regular file"), "");
    }
    let (uid, own) = (found.uid(), nix::unistd::geteuid().as_raw());
    if owner == Owner::Server && uid != own && uid != 0 {
        return refuse(
            format!("private key file \"{shown}\" must be owned by the database user or root"),
            "",
        );
    }
    // A key of root's is for a group, too, but for the server that runs as root.
    let others = if uid == 0 && (owner == Owner::Client || uid != own) { 0o037 } else { 0o077 };
    let is_open = found.mode() & others != 0;
    if is_open {
        let detail = match owner {
            Owner::Server => {
                "File must have permissions u=rw (0600) or less if owned by the database user, \
                 or permissions u=rw,g=r (0640) or less if owned by root."
            }
            Owner::Client => {
                "File must have permissions u=rw (0600) or less if owned by the current user, \
                 or permissions u=rw,g=r (0640) or less if owned by root."
            }
        };
        return refuse(format!("private key file \"{shown}\" has group or world access"), detail);
    }
    Ok(())
}
