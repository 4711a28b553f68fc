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
    let mut info = ConnInfo::parse(conninfo)?;
    if info.dbname.is_empty() {
        "postgres".clone_into(&mut info.dbname);
    }
    Client::connect(&info).await
}
