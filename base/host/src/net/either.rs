//! Sockets that are the system's, or in a simulation those of its network.

use super::{Keepalive, kernel};
use simulated::net::{Listener, Stream, here};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::ToSocketAddrs;

/// Connections that wait to be accepted if the caller has not said how many, as tokio's.
const BACKLOG: i32 = 1024;

/// A connection; see [`tokio::net::TcpStream`].
#[derive(Debug)]
pub struct TcpStream(Kind);

#[derive(Debug)]
enum Kind {
    Kernel(tokio::net::TcpStream),
    Virtual(Stream),
}

impl TcpStream {
    /// As tokio's. In a simulation the address is a number.
    ///
    /// # Errors
    ///
    /// As tokio's.
    pub async fn connect(to: impl ToSocketAddrs) -> io::Result<Self> {
        let Some((network, node)) = here() else {
            return tokio::net::TcpStream::connect(to).await.map(|stream| Self(Kind::Kernel(stream)));
        };
        let mut failed = None;
        for address in tokio::net::lookup_host(to).await? {
            match Stream::connect(network.clone(), node, address).await {
                Ok(stream) => return Ok(Self(Kind::Virtual(stream))),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(no_address))
    }

    /// As tokio's.
    ///
    /// # Errors
    ///
    /// As tokio's.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            Kind::Kernel(stream) => stream.peer_addr(),
            Kind::Virtual(stream) => Ok(stream.peer_addr()),
        }
    }

    /// As tokio's.
    ///
    /// # Errors
    ///
    /// As tokio's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            Kind::Kernel(stream) => stream.local_addr(),
            Kind::Virtual(stream) => Ok(stream.local_addr()),
        }
    }

    /// As tokio's. The virtual network never delays.
    ///
    /// # Errors
    ///
    /// As tokio's.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        match &self.0 {
            Kind::Kernel(stream) => stream.set_nodelay(nodelay),
            Kind::Virtual(_) => Ok(()),
        }
    }
}

fn no_address() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "could not resolve to any address")
}

impl AsyncRead for TcpStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Kind::Kernel(stream) => Pin::new(stream).poll_read(cx, buf),
            Kind::Virtual(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Kind::Kernel(stream) => Pin::new(stream).poll_write(cx, buf),
            Kind::Virtual(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Kind::Kernel(stream) => Pin::new(stream).poll_shutdown(cx),
            Kind::Virtual(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Kind::Kernel(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Kind::Virtual(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
}

/// A listening socket; see [`tokio::net::TcpListener`].
#[derive(Debug)]
pub struct TcpListener(Listening);

#[derive(Debug)]
enum Listening {
    Kernel(tokio::net::TcpListener),
    Virtual(Listener),
}

impl TcpListener {
    /// As tokio's. In a simulation the address is a number.
    ///
    /// # Errors
    ///
    /// As tokio's.
    pub async fn bind(to: impl ToSocketAddrs) -> io::Result<Self> {
        if here().is_none() {
            return tokio::net::TcpListener::bind(to).await.map(|listener| Self(Listening::Kernel(listener)));
        }
        let mut failed = None;
        for address in tokio::net::lookup_host(to).await? {
            match listen(address, BACKLOG) {
                Ok(listener) => return Ok(listener),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(no_address))
    }

    /// As tokio's.
    ///
    /// # Errors
    ///
    /// As tokio's.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        match &self.0 {
            Listening::Kernel(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((TcpStream(Kind::Kernel(stream)), peer))
            }
            Listening::Virtual(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((TcpStream(Kind::Virtual(stream)), peer))
            }
        }
    }

    /// As tokio's.
    ///
    /// # Errors
    ///
    /// As tokio's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            Listening::Kernel(listener) => listener.local_addr(),
            Listening::Virtual(listener) => Ok(listener.local_addr()),
        }
    }
}

/// As the system's.
///
/// # Errors
///
/// Fails if the address is not this machine's, or taken.
pub fn listen(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let listening = match here() {
        None => Listening::Kernel(kernel::listen(address, backlog)?),
        Some((network, node)) => {
            let backlog = usize::try_from(backlog).unwrap_or_default();
            Listening::Virtual(Listener::bind(network, node, address, backlog)?)
        }
    };
    Ok(TcpListener(listening))
}

/// As the system's.
///
/// # Errors
///
/// Fails if the system takes one of the values for impossible.
pub fn set_keepalive(stream: &TcpStream, keepalive: Keepalive) -> io::Result<()> {
    match &stream.0 {
        Kind::Kernel(stream) => kernel::set_keepalive(stream, keepalive),
        Kind::Virtual(stream) => {
            stream.set_keepalive(keepalive.idle, keepalive.interval, keepalive.probes);
            Ok(())
        }
    }
}

/// As the system's.
///
/// # Errors
///
/// Fails if the system takes the value for impossible.
pub fn set_user_timeout(stream: &TcpStream, limit: Option<Duration>) -> io::Result<()> {
    match &stream.0 {
        Kind::Kernel(stream) => kernel::set_user_timeout(stream, limit),
        Kind::Virtual(stream) => {
            stream.set_user_timeout(limit);
            Ok(())
        }
    }
}

/// The system's socket below a stream, for calls that only the kernel can do; None if it is a simulated one.
pub fn kernel_socket(stream: &TcpStream) -> Option<&tokio::net::TcpStream> {
    match &stream.0 {
        Kind::Kernel(stream) => Some(stream),
        Kind::Virtual(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use simulated::fiber::run_in;
    use simulated::net::{Network, address_of};
    use simulated::{NodeId, Schedule, World};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Connects to a port, says something and reads the answer.
    async fn ask(to: SocketAddr) -> Vec<u8> {
        let mut stream = TcpStream::connect((to.ip().to_string().as_str(), to.port())).await.unwrap();
        stream.set_nodelay(true).unwrap();
        set_keepalive(&stream, Keepalive::default()).unwrap();
        set_user_timeout(&stream, Some(Duration::from_secs(5))).unwrap();
        stream.write_all(b"question").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        answer
    }

    /// Answers one question with its own words; whether the kernel knows the socket.
    async fn answer(listener: TcpListener) -> bool {
        let (mut stream, peer) = listener.accept().await.unwrap();
        assert_eq!(peer, stream.peer_addr().unwrap());
        let mut question = Vec::new();
        stream.read_to_end(&mut question).await.unwrap();
        stream.write_all(&question).await.unwrap();
        kernel_socket(&stream).is_some()
    }

    #[tokio::test]
    async fn outside_of_a_simulation_sockets_are_the_systems() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (said, real) = tokio::join!(ask(listener.local_addr().unwrap()), answer(listener));
        assert_eq!((said.as_slice(), real), (&b"question"[..], true));
    }

    #[tokio::test(start_paused = true)]
    async fn nodes_of_a_simulation_meet_on_its_network() {
        let world = World::begin(1, Schedule::default());
        let network = Network::install(1);
        let (server, client) = (world.start(NodeId(1)), world.start(NodeId(2)));
        let listening = run_in(server, "server", async {
            answer(listen(SocketAddr::from(([0; 4], 5432)), 8).unwrap()).await
        });
        let asking = run_in(client, "client", async {
            // The server begins to listen first: it is the older fiber.
            ask(SocketAddr::new(address_of(NodeId(1)), 5432)).await
        });
        assert_eq!(asking.await.unwrap(), b"question");
        assert!(!listening.await.unwrap(), "the kernel knows nothing of it");
        assert_eq!(network.counters().connections, 1);
    }
}
