//! TCP: the system's sockets, as tokio has them, and what tokio does not set on them.
//!
//! In a simulation they are those of its virtual network. Unix sockets are always the system's.

#[cfg(feature = "simulated")]
mod either;
mod kernel;

#[cfg(feature = "simulated")]
pub use either::{TcpListener, TcpStream, kernel_socket, listen, set_keepalive, set_user_timeout};
#[cfg(not(feature = "simulated"))]
pub use kernel::{kernel_socket, listen, set_keepalive, set_user_timeout};
#[cfg(not(feature = "simulated"))]
pub use tokio::net::{TcpListener, TcpStream};

use std::time::Duration;

/// When the system asks a peer that has said nothing whether it is still there. None is the system's own
/// value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keepalive {
    /// After this silence it asks first.
    pub idle: Option<Duration>,
    /// The time between two questions.
    pub interval: Option<Duration>,
    /// After this many without an answer the connection is over.
    pub probes: Option<u32>,
}
