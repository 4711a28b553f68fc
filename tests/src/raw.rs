//! A client that speaks the protocol byte by byte, in the clear or under TLS, to do what no driver does.

use crate::pki::Pki;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
};

/// Longer than any answer takes on a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);
/// SSLRequest.
pub const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
/// GSSENCRequest.
pub const GSS_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 48];

enum Line {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    Closed,
}

impl Line {
    fn io(&mut self) -> io::Result<&mut dyn ReadWrite> {
        match self {
            Self::Tcp(stream) => Ok(stream),
            Self::Unix(stream) => Ok(stream),
            Self::Tls(stream) => Ok(stream),
            Self::Closed => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

/// Takes every certificate: these scenarios look at what the server does.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// How a client shakes hands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Handshake<'a> {
    /// The certificate that it shows, by the name of its files.
    pub certificate: Option<(&'a Pki, &'a str)>,
    /// It speaks TLS 1.2 alone.
    pub old: bool,
}

impl Handshake<'_> {
    fn config(self) -> ClientConfig {
        let provider = Arc::new(ring::default_provider());
        let versions = if self.old { vec![&TLS12] } else { vec![&TLS13, &TLS12] };
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions)
            .expect("versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyServer(provider)));
        match self.certificate {
            None => builder.with_no_client_auth(),
            Some((pki, name)) => {
                let certificate = CertificateDer::from_pem_file(pki.path(&format!("{name}.crt")));
                let key = PrivateKeyDer::from_pem_file(pki.path(&format!("{name}.key")));
                builder
                    .with_client_auth_cert(vec![certificate.expect("a certificate")], key.expect("a key"))
                    .expect("they go together")
            }
        }
    }
}

/// A connection.
pub struct Raw {
    line: Line,
}

impl Raw {
    /// Over TCP.
    pub fn tcp(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
        Self { line: Line::Tcp(stream) }
    }

    /// Over a Unix socket.
    pub fn unix(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).expect("the server listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
        Self { line: Line::Unix(stream) }
    }

    /// Over TCP under TLS; Err if the handshake is refused.
    pub fn tls(port: u16, handshake: Handshake<'_>) -> Result<Self, String> {
        let mut raw = Self::tcp(port);
        raw.write(&SSL_REQUEST);
        match raw.byte() {
            Some(b'S') => raw.encrypt(handshake).map(|()| raw),
            other => Err(format!("answer {other:?} to SSLRequest")),
        }
    }

    /// Shakes hands on this connection.
    pub fn encrypt(&mut self, handshake: Handshake<'_>) -> Result<(), String> {
        let Line::Tcp(stream) = std::mem::replace(&mut self.line, Line::Closed) else {
            return Err("no TCP".to_owned());
        };
        let name = ServerName::try_from("localhost").expect("a name");
        let connection = ClientConnection::new(Arc::new(handshake.config()), name).expect("a configuration");
        let mut stream = StreamOwned::new(connection, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).map_err(|error| error.to_string())?;
        }
        self.line = Line::Tls(Box::new(stream));
        Ok(())
    }

    /// The server's certificate.
    pub fn server_certificate(&self) -> Option<Vec<u8>> {
        match &self.line {
            Line::Tls(stream) => Some(stream.conn.peer_certificates()?.first()?.to_vec()),
            _ => None,
        }
    }

    /// Sends bytes. That the server may have closed the connection is seen by what it said.
    pub fn write(&mut self, bytes: &[u8]) {
        if let Ok(io) = self.line.io() {
            let _ = io.write_all(bytes).and_then(|()| io.flush());
        }
    }

    /// Sends a message of a kind.
    pub fn send(&mut self, kind: u8, body: &[u8]) {
        let length = u32::try_from(body.len() + 4).expect("short");
        self.write(&[&[kind][..], &length.to_be_bytes(), body].concat());
    }

    /// Sends a startup packet.
    pub fn startup(&mut self, parameters: &[(&str, &str)]) {
        self.write(&startup_packet(3 << 16, parameters));
    }

    /// One byte; None at the end.
    pub fn byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        self.line.io().ok()?.read_exact(&mut byte).ok().map(|()| byte[0])
    }

    /// The next message; None at the end of the connection.
    pub fn message(&mut self) -> Option<(u8, Vec<u8>)> {
        let io = self.line.io().ok()?;
        let mut head = [0; 5];
        io.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let mut body = vec![0; length.checked_sub(4)?];
        io.read_exact(&mut body).ok()?;
        Some((head[0], body))
    }

    /// The next message that matters: no notice, no parameter, no key.
    pub fn answer(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            match self.message()? {
                (b'N' | b'S' | b'K' | b'v', _) => {}
                other => return Some(other),
            }
        }
    }

    /// Reads to ReadyForQuery or to the end: `ready`, `closed`, or the first error's SQLSTATE and message.
    pub fn outcome(&mut self) -> String {
        let mut failed = None;
        loop {
            match self.answer() {
                Some((b'E', body)) => failed = failed.or(Some(error(&body))),
                Some((b'Z', _)) => return failed.unwrap_or_else(|| "ready".to_owned()),
                // A session that streams or copies is one that was let in.
                Some((b'W' | b'H' | b'G', _)) => return "copy".to_owned(),
                Some(_) => {}
                None => return failed.unwrap_or_else(|| "closed".to_owned()),
            }
        }
    }

    /// Runs a simple query to its end.
    pub fn query(&mut self, sql: &str) -> String {
        self.send(b'Q', format!("{sql}\0").as_bytes());
        self.outcome()
    }
}

/// A startup packet of any version.
pub fn startup_packet(version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend(format!("{name}\0{value}\0").bytes());
    }
    body.push(0);
    let length = u32::try_from(body.len() + 4).expect("short");
    [&length.to_be_bytes()[..], &body].concat()
}

/// SQLSTATE and message of an error.
fn error(body: &[u8]) -> String {
    let field = |kind: u8| {
        let mut fields = body.split(|byte| *byte == 0).filter(|field| field.first() == Some(&kind));
        fields.next().map(|field| String::from_utf8_lossy(&field[1..]).into_owned()).unwrap_or_default()
    };
    format!("{} {}", field(b'C'), field(b'M'))
}
