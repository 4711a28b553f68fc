//! Clients' connections: the sockets that the server listens on, a connection with its buffers, those that
//! have not logged in, and the registry of all sessions.

mod activity;
pub(crate) mod listen;
pub(crate) mod lobby;
pub(crate) mod open_files;
pub(crate) mod registry;
pub(crate) mod socket;
pub(crate) mod wire;
