//! A client's connection: TCP in the clear or encrypted, or Unix, as one stream.

use super::ClientError;
use crate::conninfo::{Endpoint, Silence};
use crate::startup::encode_ssl_request;
use crate::tls::client::{ClientTls, TlsStream};
use crate::tls::{Encryption, TlsError};
use bytes::BytesMut;
use host::net::TcpStream;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::UnixStream;

#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    pub(super) async fn connect(endpoint: &Endpoint, port: u16, silence: Silence) -> io::Result<Self> {
        match endpoint {
            Endpoint::Unix(dir) => {
                UnixStream::connect(dir.join(format!(".s.PGSQL.{port}"))).await.map(Self::Unix)
            }
            Endpoint::Tcp(host) => {
                let stream = TcpStream::connect((host.as_str(), port)).await?;
                stream.set_nodelay(true)?;
                if let Some(keepalive) = silence.keepalive {
                    host::net::set_keepalive(&stream, keepalive)?;
                }
                if silence.user_timeout.is_some() {
                    host::net::set_user_timeout(&stream, silence.user_timeout)?;
                }
                Ok(Self::Tcp(stream))
            }
        }
    }

    /// Asks for TLS and shakes hands; without an encryption if the server has none.
    pub(super) async fn encrypt(self, tls: &ClientTls) -> Result<(Self, Option<Encryption>), ClientError> {
        let Self::Tcp(mut stream) = self else { return Ok((self, None)) };
        let mut packet = BytesMut::new();
        encode_ssl_request(&mut packet);
        stream.write_all(&packet).await?;
        // One byte and no more: what somebody has put behind it must not pass for the server's words.
        let mut answer = [0];
        match stream.read_exact(&mut answer).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(ClientError::Closed),
            other => other?,
        };
        match &answer {
            b"S" => {
                let (stream, encryption) = tls.connect(stream).await?;
                Ok((Self::Tls(stream), Some(encryption)))
            }
            b"N" => Ok((Self::Tcp(stream), None)),
            // An error in the clear may be anybody's: it is not shown.
            _ => {
                Err(TlsError::Handshake("server sent an error response during SSL exchange".to_owned())
                    .into())
            }
        }
    }

    /// Refuses a server behind a Unix socket that runs as another user than this one.
    pub(super) fn check_peer(&self, wanted: &str) -> Result<(), ClientError> {
        let Self::Unix(stream) = self else { return Ok(()) };
        let uid = nix::unistd::Uid::from_raw(stream.peer_cred()?.uid());
        let found = nix::unistd::User::from_uid(uid).ok().flatten();
        match found {
            Some(user) if user.name == wanted => Ok(()),
            _ => Err(ClientError::WrongServer("the server runs as another user than requirepeer names")),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(_) | Self::Unix(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
