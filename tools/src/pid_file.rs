//! postmaster.pid: what a running server says of itself, one field a line, as PostgreSQL 15 lays it out.
//!
//! | line | field |
//! |---|---|
//! | 1 | process id |
//! | 2 | data directory, in as many lines as its name has |
//! | 3 | start time, Unix seconds |
//! | 4 | port |
//! | 5 | first socket directory |
//! | 6 | first listen address |
//! | 7 | shared memory key (unused) |
//! | 8 | status: `starting`, `stopping`, `ready`, `standby`, padded with blanks |

use host::{Disk, RealDisk};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::{fs, io};
use storage::SERVER_LOCK_FILE;

/// Bytes of this file and of the other small ones beside it, at most.
pub const TEXT_BYTES_MAX: u64 = 64 << 10;

/// What the server's lock file says; fields that are not written yet are None.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PidFile {
    /// The server's process.
    pub pid: Pid,
    /// The port it listens on.
    pub port: Option<u16>,
    /// The folder of its first socket.
    pub socket_dir: Option<PathBuf>,
    /// Its first listen address.
    pub listen_address: Option<String>,
    /// When it started, Unix seconds.
    pub started: Option<i64>,
    /// How far it is.
    pub status: Option<Status>,
}

/// The last line of the lock file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Recovering, or opening its sockets.
    Starting,
    /// Shutting down.
    Stopping,
    /// Takes connections.
    Ready,
    /// A standby that does not take connections.
    Standby,
}

impl PidFile {
    /// The lock file's path.
    pub fn path(data: &Path) -> PathBuf {
        data.join("postmaster.pid")
    }

    /// Reads the lock file; Ok(None) if there is none, an error if it holds no process id.
    pub fn read(data: &Path) -> io::Result<Option<Self>> {
        let path = Self::path(data);
        let text = match RealDisk.read_text(&path, TEXT_BYTES_MAX) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            // It was cut while it was read.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Self::read(data),
            Err(error) => {
                let (kind, why) = (error.kind(), host::os_message(&error));
                let what = format!("could not read PID file \"{}\": {why}", path.display());
                return Err(io::Error::new(kind, what));
            }
        };
        // Zero is nobody's number.
        if text.split_whitespace().next() == Some("0") {
            return Ok(None);
        }
        Self::parse(&text, lines_of_name(data)).map(Some).ok_or_else(|| {
            let path = path.display();
            let what = match text.is_empty() {
                true => format!("the PID file \"{path}\" is empty"),
                false => format!("invalid data in PID file \"{path}\""),
            };
            io::Error::new(io::ErrorKind::InvalidData, what)
        })
    }

    fn parse(text: &str, name_lines: usize) -> Option<Self> {
        let mut lines = text.split('\n').map(str::trim);
        let pid = lines.next()?.parse::<i32>().ok().filter(|pid| *pid > 0)?;
        let mut lines = lines.skip(name_lines);
        let started = lines.next().and_then(|line| line.parse().ok());
        let port = lines.next().and_then(|line| line.parse().ok());
        let filled = |line: &str| (!line.is_empty()).then(|| line.to_owned());
        let socket_dir = lines.next().and_then(filled).map(PathBuf::from);
        let listen_address = lines.next().and_then(filled);
        let _key = lines.next();
        let status = lines.next().and_then(|line| match line {
            "starting" => Some(Status::Starting),
            "stopping" => Some(Status::Stopping),
            "ready" => Some(Status::Ready),
            "standby" => Some(Status::Standby),
            _ => None,
        });
        Some(Self { pid: Pid::from_raw(pid), port, socket_dir, listen_address, started, status })
    }

    /// The lock file of a server that runs; a file left by one that is gone is None.
    pub fn of_running(data: &Path) -> io::Result<Option<Self>> {
        Ok(Self::read(data)?.filter(|file| file.is_of_running(data)))
    }

    /// Whether the server that wrote it runs. Its number may be another process's by now: a server of ours
    /// holds its lock as long as it lives; of others is known what pg_ctl asks, whether it may be signalled.
    pub fn is_of_running(&self, data: &Path) -> bool {
        match is_locked(&data.join(SERVER_LOCK_FILE)) {
            Some(locked) => locked && is_alive(self.pid),
            None => kill(self.pid, None).is_ok() && ![Pid::this(), Pid::parent()].contains(&self.pid),
        }
    }
}

/// How many lines the name of a data directory takes.
fn lines_of_name(data: &Path) -> usize {
    // A server names it from the root on.
    let whole = std::path::absolute(data).unwrap_or_else(|_| data.to_path_buf());
    1 + whole.to_string_lossy().matches('\n').count()
}

/// Whether a process has the lock on a file; None if that cannot be known.
fn is_locked(path: &Path) -> Option<bool> {
    let flags = nix::fcntl::OFlag::O_NONBLOCK.bits();
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        // Given up at once: a server that starts waits a little for it.
        Ok(_) => Some(false),
        Err((_, Errno::EWOULDBLOCK)) => Some(true),
        Err(_) => None,
    }
}

/// Whether a process of this id exists (also one that may not be signalled).
pub fn is_alive(pid: Pid) -> bool {
    !matches!(kill(pid, None), Err(Errno::ESRCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_file_is_read_as_far_as_it_is_written() {
        let full = "4711\n/data\n1700000000\n5433\n/tmp\nlocalhost\n  0 0\nready   \n";
        let file = PidFile::parse(full, 1).unwrap();
        assert_eq!(
            (file.pid, file.port, file.status),
            (Pid::from_raw(4711), Some(5433), Some(Status::Ready))
        );
        assert_eq!(file.socket_dir, Some(PathBuf::from("/tmp")));
        let odd = Path::new("/a\n\nb");
        assert_eq!(PidFile::parse(&full.replace("/data", "/a\n\nb"), lines_of_name(odd)), Some(file));
        let early = PidFile::parse("4711\n/data\n1700000000\n5433\n\n", 1).unwrap();
        assert_eq!((early.socket_dir, early.status), (None, None));
        for broken in ["", "\n", "x\n", "-4\n", "0\n"] {
            assert_eq!(PidFile::parse(broken, 1), None, "{broken:?}");
        }
    }
}
