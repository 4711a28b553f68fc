//! What the system's sockets can do beyond tokio's interface.

use super::Keepalive;
use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// Listens on an address, an IPv6 one for IPv6 alone; up to `backlog` connections wait to be accepted.
///
/// # Errors
///
/// Fails if the address is not this machine's, or taken.
pub fn listen(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    TcpListener::from_std(socket.into())
}

/// Switches keepalives on.
///
/// # Errors
///
/// Fails if the system takes one of the values for impossible.
pub fn set_keepalive(stream: &TcpStream, keepalive: Keepalive) -> io::Result<()> {
    let mut options = TcpKeepalive::new();
    if let Some(idle) = keepalive.idle {
        options = options.with_time(idle);
    }
    if let Some(interval) = keepalive.interval {
        options = options.with_interval(interval);
    }
    if let Some(probes) = keepalive.probes {
        options = options.with_retries(probes);
    }
    SockRef::from(stream).set_tcp_keepalive(&options)
}

/// How long what was sent may stay unacknowledged before the connection is over; None is the system's own
/// limit.
///
/// # Errors
///
/// Fails if the system takes the value for impossible.
pub fn set_user_timeout(stream: &TcpStream, limit: Option<Duration>) -> io::Result<()> {
    SockRef::from(stream).set_tcp_user_timeout(limit)
}

/// The system's socket below a stream, for calls that only the kernel can do; None if it is a simulated one.
#[cfg(not(feature = "simulated"))]
#[inline(always)]
pub fn kernel_socket(stream: &TcpStream) -> Option<&TcpStream> {
    Some(stream)
}
