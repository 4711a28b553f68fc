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

use std::sync::OnceLock;
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

/// Names the network in which this process's sockets are: no two servers listen on all addresses at one port
/// of it. It is a network namespace of one run of a machine, which no other machine has; in a simulation the
/// node. None if the system does not tell.
pub fn namespace() -> Option<String> {
    static NAMESPACE: OnceLock<Option<String>> = OnceLock::new();
    #[cfg(feature = "simulated")]
    if let Some(node) = simulated::fiber::current_node() {
        return Some(format!("node {}", node.0));
    }
    let read = || {
        let run = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let namespace = std::fs::read_link("/proc/self/ns/net").ok()?;
        Some(format!("{} {}", run.trim(), namespace.to_str()?))
    };
    NAMESPACE.get_or_init(read).clone()
}

/// How many descriptors this process may have, connections among them. None where nobody counts: in a
/// simulation nodes have no descriptors, and the process that they are in says nothing of them.
pub fn descriptors_max() -> Option<u64> {
    #[cfg(feature = "simulated")]
    if simulated::fiber::current_node().is_some() {
        return None;
    }
    nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_of_one_network_name_it_alike() {
        let own = namespace().unwrap();
        let run = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let other = std::process::Command::new("readlink").arg("/proc/self/ns/net").output().unwrap();
        assert_eq!(own, format!("{} {}", run.trim(), String::from_utf8(other.stdout).unwrap().trim()));
    }
}
