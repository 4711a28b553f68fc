//! The sockets that programs hold.

use super::Network;
use super::agenda::Side;
use super::connection::Keepalive;
use super::state::Made;
use crate::world::NodeId;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Linux's own keepalive times: idle, interval, probes.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(7200), Duration::from_secs(75), 9);

/// An end of a connection.
#[derive(Debug)]
pub struct Stream {
    network: Network,
    connection: u64,
    side: Side,
    local: SocketAddr,
    peer: SocketAddr,
}

/// Waits until a connection is made; dropped, it gives up.
struct Attempt {
    network: Network,
    id: u64,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.network.with(|state| state.give_up(self.id));
    }
}

impl Stream {
    /// Connects from a machine to an address.
    ///
    /// # Errors
    ///
    /// Fails if nobody listens there, or after 127 s without an answer.
    pub async fn connect(network: Network, from: NodeId, to: SocketAddr) -> io::Result<Self> {
        let id = network.with(|state| state.connect(from, to))?;
        let attempt = Attempt { network: network.clone(), id };
        let made = poll_fn(|cx| network.with(|state| state.poll_connect(attempt.id, cx))).await?;
        drop(attempt);
        Ok(Self::new(network, made, 0))
    }

    fn new(network: Network, made: Made, side: Side) -> Self {
        Self { network, connection: made.connection, side, local: made.local, peer: made.peer }
    }

    /// This end's address.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The other end's address.
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// As TCP_USER_TIMEOUT.
    pub fn set_user_timeout(&self, limit: Option<Duration>) {
        self.network.with(|state| {
            state.with(self.connection, |connection, around| {
                connection.set_user_timeout(self.side, limit, around);
            })
        });
    }

    /// As SO_KEEPALIVE with its three options; None is Linux's own value.
    pub fn set_keepalive(&self, idle: Option<Duration>, interval: Option<Duration>, probes: Option<u32>) {
        let keepalive = Keepalive {
            idle: idle.unwrap_or(KEEPALIVE.0),
            interval: interval.unwrap_or(KEEPALIVE.1),
            probes: probes.unwrap_or(KEEPALIVE.2),
        };
        self.network.with(|state| {
            state.with(self.connection, |connection, around| {
                connection.set_keepalive(self.side, keepalive, around);
            })
        });
    }

    /// As [`AsyncWrite::poll_write_vectored`].
    fn write(&self, cx: &Context<'_>, buffers: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = self.network.with(|state| {
            state.with(self.connection, |connection, around| {
                connection.poll_write(self.side, around, cx, buffers)
            })
        });
        written.unwrap_or_else(not_connected)
    }
}

fn not_connected<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.network.with(|state| state.close(self.connection, self.side));
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = self.network.with(|state| {
            state.with(self.connection, |connection, around| {
                connection.poll_read(self.side, around, cx, buffer)
            })
        });
        read.unwrap_or_else(not_connected)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        self.write(cx, &[io::IoSlice::new(buffer)])
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let finished = self.network.with(|state| {
            state.with(self.connection, |connection, around| connection.finish(self.side, around))
        });
        finished.map_or_else(not_connected, Poll::Ready)
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(cx, buffers)
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
}

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    network: Network,
    id: u64,
    address: SocketAddr,
}

impl Listener {
    /// Listens on a machine; up to `backlog` connections wait to be accepted.
    ///
    /// # Errors
    ///
    /// Fails if the address is another machine's, or taken.
    pub fn bind(network: Network, node: NodeId, address: SocketAddr, backlog: usize) -> io::Result<Self> {
        let (id, address) = network.with(|state| state.listen(node, address, backlog))?;
        Ok(Self { network, id, address })
    }

    /// The next connection, and who has opened it.
    ///
    /// # Errors
    ///
    /// Fails if the process that listens was killed.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let made = poll_fn(|cx| self.network.with(|state| state.poll_accept(self.id, cx))).await?;
        let stream = Stream::new(self.network.clone(), made, 1);
        let peer = stream.peer;
        Ok((stream, peer))
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.network.with(|state| state.stop_listening(self.id));
    }
}
