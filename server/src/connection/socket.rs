//! A client's connection: TCP, encrypted or not, or Unix, as one stream.
//!
//! An enum and no trait object: without TLS nothing is paid for it but an arm of a match.

use host::net::{Keepalive, TcpStream, kernel_socket};
use nix::sys::uio::pread;
use protocol::tls::server::{ServerTls, TlsStream};
use protocol::tls::{Encryption, TlsError};
use replica::driver::{FilePart, Outlet};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;

/// One connection.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Encrypted),
    /// Given up in the middle of a handshake: nothing can be said there any more.
    Closed,
}

/// A connection under TLS.
#[derive(Debug)]
pub(crate) struct Encrypted {
    stream: Box<TlsStream<TcpStream>>,
    encryption: Arc<Encryption>,
}

/// What of a file is encrypted at once: a TLS record has no more.
const RECORD_BYTES: usize = 16 << 10;

impl Encrypted {
    /// Some bytes are encrypted and not sent: rustls takes what it is given though the socket is full.
    fn holds_back(&self) -> bool {
        self.stream.get_ref().1.wants_write()
    }

    /// A read sends on first what is held back. Whoever streams log looks at its own queue alone, and turns
    /// to the standby's words when that is empty.
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.holds_back()
            && let Poll::Ready(Err(error)) = Pin::new(&mut self.stream).poll_flush(cx)
        {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }

    /// The kernel cannot encrypt what it sends from a file, so that goes by a copy.
    fn poll_send_file(&mut self, cx: &mut Context<'_>, part: &FilePart<'_>) -> Poll<io::Result<usize>> {
        if !part.head.is_empty() {
            return Pin::new(&mut self.stream).poll_write(cx, part.head);
        }
        let mut block = [0; RECORD_BYTES];
        let wanted = part.len.min(block.len());
        let offset = i64::try_from(part.offset).map_err(io::Error::other)?;
        let read = pread(part.file, block.get_mut(..wanted).unwrap_or_default(), offset)?;
        if read == 0 {
            let what = "the WAL segment's file has become shorter";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, what)));
        }
        Pin::new(&mut self.stream).poll_write(cx, block.get(..read).unwrap_or_default())
    }
}

fn closed() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

impl Socket {
    /// The TCP connection below, encrypted or not.
    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(stream) => Some(stream),
            Self::Tls(tls) => Some(tls.stream.get_ref().0),
            Self::Unix(_) | Self::Closed => None,
        }
    }
    /// What encrypts it.
    pub(crate) fn encryption(&self) -> Option<&Arc<Encryption>> {
        match self {
            Self::Tls(tls) => Some(&tls.encryption),
            _ => None,
        }
    }
    /// Some bytes that it has taken are still to be sent.
    #[inline]
    pub(crate) fn holds_back(&self) -> bool {
        match self {
            Self::Tls(tls) => tls.holds_back(),
            _ => false,
        }
    }

    /// Shakes hands with a client that was told to begin. What TLS keeps of a connection is not made before
    /// the client says something: who is silent takes no more than without TLS.
    pub(crate) async fn encrypt(self, tls: &ServerTls) -> Result<Self, TlsError> {
        let Self::Tcp(stream) = self else { return Ok(self) };
        if let Some(socket) = kernel_socket(&stream)
            && let Err(error) = socket.readable().await
        {
            return Err(TlsError::Handshake(host::os_message(&error)));
        }
        let (stream, encryption) = tls.accept(stream).await?;
        Ok(Self::Tls(Encrypted { stream, encryption: Arc::new(encryption) }))
    }

    /// The client's address; None on a Unix socket.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.tcp().and_then(|stream| stream.peer_addr().ok())
    }
    /// The address that the client has reached; None on a Unix socket.
    pub(crate) fn local(&self) -> Option<SocketAddr> {
        self.tcp().and_then(|stream| stream.local_addr().ok())
    }
    /// The user at the other end of a Unix socket.
    pub(crate) fn peer_user(&self) -> Option<u32> {
        match self {
            Self::Unix(stream) => stream.peer_cred().ok().map(|cred| cred.uid()),
            _ => None,
        }
    }
    /// Settings of a new connection: no delay, keepalives.
    pub(crate) fn configure(&self, config: &settings::Config) -> io::Result<()> {
        let Some(stream) = self.tcp() else { return Ok(()) };
        stream.set_nodelay(true)?;
        // Zero is the system's own value.
        let set = |time: Duration| Some(time).filter(|time| !time.is_zero());
        let keepalive = Keepalive {
            idle: set(config.tcp_keepalives_idle),
            interval: set(config.tcp_keepalives_interval),
            probes: u32::try_from(config.tcp_keepalives_count).ok().filter(|count| *count > 0),
        };
        host::net::set_keepalive(stream, keepalive)
    }

    /// How long the client may leave what was sent unacknowledged, as one does that reads nothing; None is
    /// the system's own limit.
    pub(crate) fn set_user_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        self.tcp().map_or(Ok(()), |stream| host::net::set_user_timeout(stream, limit))
    }
}

impl Outlet for Socket {
    fn poll_send_file(&mut self, cx: &mut Context<'_>, part: &FilePart<'_>) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => stream.poll_send_file(cx, part),
            Self::Unix(stream) => stream.poll_send_file(cx, part),
            Self::Tls(tls) => tls.poll_send_file(cx, part),
            Self::Closed => Poll::Ready(Err(closed())),
        }
    }
}

impl AsyncRead for Socket {
    #[inline]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(tls) => tls.poll_read(cx, buf),
            Self::Closed => Poll::Ready(Err(closed())),
        }
    }
}

impl AsyncWrite for Socket {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(tls) => Pin::new(&mut tls.stream).poll_write(cx, buf),
            Self::Closed => Poll::Ready(Err(closed())),
        }
    }
    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(tls) => Pin::new(&mut tls.stream).poll_flush(cx),
            _ => Poll::Ready(Ok(())),
        }
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(&mut tls.stream).poll_shutdown(cx),
            Self::Closed => Poll::Ready(Ok(())),
        }
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(tls) => Pin::new(&mut tls.stream).poll_write_vectored(cx, bufs),
            Self::Closed => Poll::Ready(Err(closed())),
        }
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
}
