//! How the commands that ask a running server reach it.

use crate::process;
use anyhow::{Result, bail};
use protocol::conninfo::{ConnInfo, join};
use protocol::{Client, ClientError};
use std::path::Path;

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

/// How the server that runs on a directory is reached from this machine, as a connection string.
///
/// # Errors
/// No server runs on it, or it does not say where it listens.
pub fn of_directory(data: &Path) -> Result<String> {
    let file = process::running(data)?;
    let host = file.socket_dir.map(|folder| folder.display().to_string()).or(file.listen_address);
    let (Some(host), Some(port)) = (host, file.port) else {
        bail!(
            "the server of \"{}\" does not say where it listens: give its conninfo with -d",
            data.display()
        );
    };
    let host = if host == "*" { "localhost".to_owned() } else { host };
    Ok(join([("host", host.as_str()), ("port", &port.to_string())]))
}
