//! Sockets that the server listens on.

use super::lobby::{Lobby, Visitor};
use super::socket::Socket;
use crate::error::ServerError;
use crate::lock_files::{PidLines, SocketLock};
use crate::log::Log;
use crate::tasks::Tasks;
use host::net::TcpListener;
use host::task::task;
use host::{Clock, Host};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// Pause after a failed accept, so that a lack of file descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// One listening socket.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, SocketLock),
}

impl Listener {
    pub(crate) async fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| Socket::Tcp(stream)),
            Self::Unix(listener, _) => listener.accept().await.map(|(stream, _)| Socket::Unix(stream)),
        }
    }
    /// The Unix socket's path.
    pub(crate) fn unix_path(&self) -> Option<&Path> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(_, lock) => Some(lock.path()),
        }
    }
    /// The TCP address.
    pub(crate) fn tcp_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(..) => None,
        }
    }
}

/// The words of a list between commas. One in double quotes may have commas and blanks, and a double quote
/// twice for one.
pub(crate) fn words(list: &str) -> impl Iterator<Item = String> {
    let (mut words, mut rest) = (Vec::new(), Some(list));
    while let Some(text) = rest {
        let text = text.trim_start();
        let (word, after) = match text.strip_prefix('"') {
            Some(quoted) => quoted_word(quoted),
            None => {
                let (plain, after) = text.split_at(text.find(',').unwrap_or(text.len()));
                (plain.trim_end().to_owned(), after)
            }
        };
        words.push(word);
        rest = after.split_once(',').map(|(_, rest)| rest);
    }
    words.into_iter().filter(|word| !word.is_empty())
}

/// A word up to its closing quote, and what lies behind that.
fn quoted_word(mut text: &str) -> (String, &str) {
    let mut word = String::new();
    while let Some((part, after)) = text.split_once('"') {
        word.push_str(part);
        let Some(more) = after.strip_prefix('"') else { return (word, after) };
        word.push('"');
        text = more;
    }
    word.push_str(text);
    (word, "")
}

/// The folders of unix_socket_directories; relative ones lie in the data directory.
pub(crate) fn socket_dirs(config: &settings::Config, data_dir: &Path) -> Vec<PathBuf> {
    words(&config.unix_socket_directories).map(|dir| data_dir.join(dir)).collect()
}

/// The name of a Unix socket in its folder, as PostgreSQL's clients look for it.
pub(crate) fn socket_path(dir: &Path, port: u64) -> PathBuf {
    dir.join(format!(".s.PGSQL.{port}"))
}

/// What postmaster.pid says of the sockets.
pub(crate) fn pid_lines(config: &settings::Config, data_dir: &Path, started_s: i64) -> PidLines {
    let socket_dir = socket_dirs(config, data_dir).first().map(|dir| dir.display().to_string());
    PidLines {
        started_s,
        port: config.port,
        socket_dir: socket_dir.unwrap_or_default(),
        listen_address: words(&config.listen_addresses).next().unwrap_or_default().to_owned(),
    }
}

/// Opens every socket that the settings name, possibly none. Of the TCP addresses at least one must, if any
/// is named; every Unix socket must.
pub(crate) fn open(
    host: &Host,
    log: &Log,
    config: &settings::Config,
    data_dir: &Path,
    lines: &PidLines,
) -> Result<Vec<Listener>, ServerError> {
    super::open_files::warn_of_limit(log, config);
    let mut listeners = Vec::new();
    let port = u16::try_from(config.port).map_err(|_| ServerError::new("invalid port"))?;
    let addresses: Vec<String> = words(&config.listen_addresses).collect();
    let mut last_problem = None;
    for name in &addresses {
        let opened = match open_tcp(name, port) {
            Ok(opened) => opened,
            Err(error) => {
                let message = format!(
                    "could not translate host name \"{name}\", service \"{port}\" to address: {}",
                    lookup_message(&error)
                );
                log.warning(message.clone());
                last_problem = Some(ServerError::new(message));
                continue;
            }
        };
        for (opened, address) in opened {
            match opened {
                Ok(listener) => {
                    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
                    let port = listener.local_addr().map_or(port, |address| address.port());
                    log.log(format!("listening on {family} address \"{}\", port {port}", address.ip()));
                    listeners.push(Listener::Tcp(listener));
                }
                Err(error) => {
                    let in_use = error.kind() == io::ErrorKind::AddrInUse;
                    let message = format!("could not bind address \"{}\": {error}", address.ip());
                    let mut problem = ServerError::new(format!("port {port}: {message}"));
                    if in_use {
                        problem = problem.with_hint(format!(
                            "Is another server already running on port {port}? \
                             If not, wait a few seconds and retry."
                        ));
                    }
                    log.warning(message);
                    last_problem = Some(problem);
                }
            }
        }
    }
    if !addresses.is_empty() && listeners.is_empty() {
        let problem = last_problem.unwrap_or_else(|| ServerError::new("no address to listen on"));
        let message = format!("could not create any TCP/IP sockets: {}", problem.message);
        return Err(ServerError { message, hint: problem.hint });
    }
    for dir in socket_dirs(config, data_dir) {
        let path = socket_path(&dir, config.port);
        let lock = SocketLock::take(host, path.clone(), data_dir, lines)?;
        let failed = |error: io::Error| {
            ServerError::new(format!("could not create Unix socket \"{}\": {error}", path.display()))
        };
        let listener = UnixListener::bind(&path).map_err(failed)?;
        let mode = u32::try_from(config.unix_socket_permissions).unwrap_or(0o777);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
        log.log(format!("listening on Unix socket \"{}\"", path.display()));
        listeners.push(Listener::Unix(listener, lock));
    }
    Ok(listeners)
}

/// The resolver's words without those that Rust puts before them.
fn lookup_message(error: &io::Error) -> String {
    let text = error.to_string();
    text.strip_prefix("failed to lookup address information: ").unwrap_or(&text).to_owned()
}

/// An address, and the socket on it or why there is none.
type Opened = (io::Result<TcpListener>, SocketAddr);

/// Opens a socket on each address of a name; fails if the name has none.
fn open_tcp(name: &str, port: u16) -> io::Result<Vec<Opened>> {
    let mut addresses: Vec<SocketAddr> = match name {
        "*" => vec![SocketAddr::from(([0; 4], port)), SocketAddr::from(([0_u16; 8], port))],
        name => (name, port).to_socket_addrs()?.collect(),
    };
    addresses.dedup();
    Ok(addresses.into_iter().map(|address| (host::net::listen(address, BACKLOG), address)).collect())
}

/// What the tasks that take connections use.
pub(crate) struct Entrance {
    pub(crate) lobby: Arc<Lobby>,
    pub(crate) log: Arc<Log>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tasks: Arc<Tasks>,
}

/// Takes connections on one socket, and gives each to `serve`.
pub(crate) async fn accept<F>(
    entrance: Arc<Entrance>,
    listener: Listener,
    serve: impl Fn(Socket, Visitor) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let Entrance { lobby, log, clock, tasks } = &*entrance;
    loop {
        let socket = tokio::select! {
            biased;
            () = tasks.background.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match socket {
            Ok(socket) => {
                let visitor = lobby.enter();
                if let Some(count) = lobby.to_tell(clock.monotonic()) {
                    log.log(format!(
                        "closed {count} connections that had not logged in, to make room for newer ones"
                    ));
                }
                let abort = tasks.abort_sessions.clone();
                let serve = serve(socket, visitor);
                tasks.sessions.spawn(task(async move {
                    tokio::select! {
                        biased;
                        () = serve => {}
                        () = abort.cancelled() => {}
                    }
                }));
            }
            Err(error) => {
                log.log(format!("could not accept new connection: {error}"));
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_plain_and_quoted_words() {
        let words = |list: &str| words(list).collect::<Vec<_>>();
        assert_eq!(words(" a , b c,,"), ["a", "b c"]);
        assert_eq!(words("\"/x/a, b\",\" sp \" , \"q\"\"r\""), ["/x/a, b", " sp ", "q\"r"]);
        assert_eq!(words("q\"r, z"), ["q\"r", "z"], "a quote within a plain word is its own");
        assert!(words("").is_empty() && words(" , ").is_empty());
    }
}
