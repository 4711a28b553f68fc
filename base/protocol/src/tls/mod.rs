//! TLS of both sides, by rustls: configurations from files and settings, and what a session knows of the
//! encryption that it runs under.
//!
//! - [`server::ServerTls`]: a certificate with its key, and whom clients' certificates must come from.
//! - [`client::ClientTls`]: what libpq's `ssl...` parameters ask for.
//! - [`trust`]: which certificates of the other side count; [`usage`]: what their keys are for;
//!   [`constraints`]: what may be signed by whom; [`authority`]: those of authorities; [`certificate`]:
//!   names, numbers and hashes in them; [`revocation`]: which of several revocation lists counts.
//! - [`suites`]: versions, ciphers and curves by the names that PostgreSQL's settings have.
//!
//! A stream is rustls' own over the runtime's socket; whoever reads and writes holds it as one arm of an
//! enum, so that connections without TLS pay nothing for it.

mod authority;
pub mod certificate;
pub mod client;
mod constraints;
mod distinguished_name;
mod files;
mod revocation;
pub mod server;
pub mod suites;
mod trust;
mod usage;

use certificate::{CertificateNames, end_point_hash};
use std::io::ErrorKind;
use std::path::PathBuf;
use tokio_rustls::rustls::{CommonState, Error, PeerMisbehaved, pki_types::CertificateDer};

/// Why TLS cannot be set up or a handshake failed.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("could not load {what} file \"{}\": {problem}", path.display())]
    File {
        /// What it was to hold.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A private key that others can read.
    #[error("{message}")]
    Permissions {
        /// Which file, and what is wrong.
        message: String,
        /// What its permissions have to be.
        detail: &'static str,
    },
    /// A private key of another certificate, or one that rustls cannot use.
    #[error("{0}")]
    Pair(String),
    /// A setting that rustls cannot honour.
    #[error("{0}")]
    Setting(String),
    /// The handshake failed, or the other side's certificate does not count.
    #[error("{0}")]
    Handshake(String),
}

/// The encryption that a connection runs under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encryption {
    /// The protocol as OpenSSL names it (`TLSv1.3`).
    pub version: &'static str,
    /// The cipher as OpenSSL names it.
    pub cipher: &'static str,
    /// Bits of the cipher's key.
    pub bits: u16,
    /// Names of the other side's certificate, if it showed one and that was verified.
    pub peer: Option<CertificateNames>,
    /// The hash of the server's certificate for SCRAM's `tls-server-end-point` (RFC 5929); None if the
    /// certificate's signature has no hash to take.
    pub end_point: Option<Box<[u8]>>,
}

impl Encryption {
    /// Of a connection whose handshake is over; `server` is the server's certificate.
    fn of(state: &CommonState, server: Option<&CertificateDer<'_>>, peer: Option<CertificateNames>) -> Self {
        let suite = state.negotiated_cipher_suite().map(|suite| suite.suite());
        let (cipher, bits) = suite.map_or(("", 0), suites::openssl_name);
        Self {
            version: suites::version_name(state.protocol_version()),
            cipher,
            bits,
            peer,
            end_point: server.and_then(|server| end_point_hash(server)).map(Vec::into_boxed_slice),
        }
    }
}

/// rustls' own error in one of I/O, into which it is wrapped.
fn cause(error: &std::io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref::<Error>()
}

/// A handshake's failure in one line.
fn handshake_error(error: &std::io::Error) -> TlsError {
    // libpq sends whatever stands in host, be it a socket's folder, and rustls insists on a name.
    const NO_NAME: &str = "the server name that the client has sent is no DNS name \
                           (it can connect with a name in host, or with sslsni=0)";
    TlsError::Handshake(match (cause(error), error.kind()) {
        (Some(Error::PeerMisbehaved(PeerMisbehaved::ServerNameMustContainOneHostName)), _) => {
            NO_NAME.to_owned()
        }
        (_, ErrorKind::UnexpectedEof) => "the connection was closed during the handshake".to_owned(),
        _ => host::os_message(error),
    })
}

#[cfg(test)]
mod tests;
