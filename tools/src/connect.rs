//! How the commands that ask a running server reach it.

use crate::process;
use anyhow::{Result, bail};
use protocol::conninfo::{ConnInfo, ConnInfoError, TargetSession, join, server_at, split};
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

/// How the place at which a client was reached is reached again, whatever kind of server is there by then: of
/// several that a connection string names, each connection may take another one.
///
/// # Errors
/// The text is no connection string.
pub fn same_place(conninfo: &str, reached: &Client) -> Result<ConnInfo, ConnInfoError> {
    let place = server_at(conninfo, &reached.place());
    let mut info = ConnInfo::parse(place.as_deref().unwrap_or(conninfo))?;
    info.target_session = TargetSession::Any;
    Ok(info)
}

/// A connection string that leads where it says itself: neither the environment nor a service, which may be
/// meant for another server, adds a place or a kind of server.
///
/// # Errors
/// The text is no connection string.
pub fn leading_there(conninfo: &str) -> Result<String, ConnInfoError> {
    let mut pairs = split(conninfo)?;
    for (keyword, nothing) in [("hostaddr", ""), ("target_session_attrs", "any")] {
        if !pairs.iter().any(|(name, _)| name == keyword) {
            pairs.push((keyword.to_owned(), nothing.to_owned()));
        }
    }
    Ok(join(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))))
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
    Ok(leading_there(&join([("host", host.as_str()), ("port", &port.to_string())]))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::conninfo::Endpoint;

    #[test]
    fn the_environment_leads_nowhere_else() {
        let elsewhere = |variable: &str| match variable {
            "PGHOSTADDR" => Some("10.0.0.1".to_owned()),
            "PGTARGETSESSIONATTRS" => Some("read-write".to_owned()),
            "PGUSER" => Some("somebody".to_owned()),
            _ => None,
        };
        for text in ["host=one port=5433", "postgresql://one:5433"] {
            let info = ConnInfo::parse_with(&leading_there(text).unwrap(), elsewhere).unwrap();
            assert_eq!(info.endpoints, [(Endpoint::Tcp("one".to_owned()), 5433)], "{text}");
            assert_eq!((info.target_session, info.user.as_str()), (TargetSession::Any, "somebody"));
        }
        let own = "host=one hostaddr=10.0.0.2 target_session_attrs=standby";
        let info = ConnInfo::parse_with(&leading_there(own).unwrap(), elsewhere).unwrap();
        assert_eq!(info.endpoints, [(Endpoint::Tcp("10.0.0.2".to_owned()), 5432)]);
        assert_eq!(info.target_session, TargetSession::Standby);
    }
}
