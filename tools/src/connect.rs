//! How the commands that ask a running server reach it.

use protocol::conninfo::ConnInfo;
use protocol::{Client, ClientError};

/// Connects with a connection string, completed as libpq does, but to the database `postgres` where neither
/// it nor the environment names one: these commands ask about the whole server, as pg_dumpall and pg_rewind
/// do.
///
/// # Errors
/// The string is not a connection string, or no server of it lets us in.
pub async fn connect(conninfo: &str) -> Result<Client, ClientError> {
    connect_as(ConnInfo::parse(conninfo)?).await
}

/// The same with a string that is read.
///
/// # Errors
/// No server of it lets us in.
pub async fn connect_as(mut info: ConnInfo) -> Result<Client, ClientError> {
    if info.dbname.is_empty() {
        "postgres".clone_into(&mut info.dbname);
    }
    Client::connect(&info).await
}
