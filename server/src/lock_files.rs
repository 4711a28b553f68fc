//! The small files by which other programs know a server: postmaster.pid, postmaster.opts, socket lock files.

use crate::error::ServerError;
use host::sync::Mutex;
use host::{File, Host, LockGuard, OpenMode, SharedFile};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use storage::SERVER_LOCK_FILE;

/// The eighth line of postmaster.pid, which pg_ctl reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Recovery has not come to a point where connections are taken.
    Starting,
    /// A standby that serves no reads yet (or is told not to).
    Standby,
    /// Taking connections.
    Ready,
    /// Stopping.
    Stopping,
}

impl Status {
    /// Padded to one width, so that the file can be overwritten in place.
    const fn line(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Standby => "standby ",
            Self::Ready => "ready   ",
            Self::Stopping => "stopping",
        }
    }
}

/// postmaster.pid of this server, removed on drop. Holds the node's own lock, which keeps a second server
/// out.
#[derive(Debug)]
pub(crate) struct PidFile {
    host: Host,
    path: PathBuf,
    contents: Mutex<Contents>,
    _lock: Box<dyn LockGuard>,
}

#[derive(Debug)]
struct Contents {
    file: SharedFile,
    head: String,
}

/// What the first seven lines say.
#[derive(Clone, Debug, Default)]
pub(crate) struct PidLines {
    /// Seconds since 1970.
    pub(crate) started_s: i64,
    pub(crate) port: u64,
    /// The first folder with a socket of ours; empty if there is none.
    pub(crate) socket_dir: String,
    /// The first listen address; empty if there is none.
    pub(crate) listen_address: String,
}

impl PidFile {
    /// Takes the data directory for this process.
    pub(crate) fn create(host: &Host, data_dir: &Path, lines: &PidLines) -> Result<Self, ServerError> {
        let path = data_dir.join("postmaster.pid");
        let failed = |error: io::Error| {
            ServerError::new(format!("could not create lock file \"{}\": {error}", path.display()))
        };
        host.disk.create_dir_all(&data_dir.join("plimsoll")).map_err(failed)?;
        let lock = match take_lock(host, &data_dir.join(SERVER_LOCK_FILE), &path) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(in_use(host, &path, data_dir));
            }
            Err(error) => return Err(failed(error)),
        };
        // With the lock in hand, a file that is there was left behind by a server that died.
        match host.disk.remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let file = host.disk.open(&path, OpenMode::CreateNew).map_err(failed)?;
        let pid_file = Self {
            host: host.clone(),
            path: path.clone(),
            contents: Mutex::new(Contents { file, head: head(data_dir, lines) }),
            _lock: lock,
        };
        pid_file.set_status(Status::Starting).map_err(failed)?;
        Ok(pid_file)
    }

    /// The server begins a new life in place. The file is there all the time: nobody takes it for stopped.
    pub(crate) fn begin_again(self, data_dir: &Path, lines: &PidLines) -> Result<Self, ServerError> {
        self.contents.lock().head = head(data_dir, lines);
        match self.set_status(Status::Starting) {
            // What stands there names this process, too.
            Err(error) if !host::is_disk_full(&error) => Err(ServerError::new(format!(
                "could not write lock file \"{}\": {error}",
                self.path.display()
            ))),
            _ => Ok(self),
        }
    }

    /// Writes the eighth line.
    pub(crate) fn set_status(&self, status: Status) -> io::Result<()> {
        let contents = self.contents.lock();
        let text = format!("{}{}\n", contents.head, status.line());
        contents.file.write_all_at(text.as_bytes(), 0)?;
        let written = text.len() as u64;
        if contents.file.len()? > written { contents.file.truncate(written) } else { Ok(()) }
    }

    /// Whether the file is still ours: a server whose directory was taken away must stop. `log` gets a line
    /// where it is not, and where nobody can say: without a free file descriptor, or with a disk that does
    /// not read for once, the server goes on, as PostgreSQL does.
    pub(crate) fn is_ours(&self, log: impl FnOnce(String)) -> bool {
        let name = "postmaster.pid";
        let text = match self.host.disk.read(&self.path, 64 << 10) {
            Ok(text) => text,
            Err(error) => {
                let gone = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
                let what = host::os_message(&error);
                let then = if gone { "" } else { "; continuing anyway" };
                log(format!("could not open file \"{name}\": {what}{then}"));
                return !gone;
            }
        };
        let (text, own) = (String::from_utf8_lossy(&text), host::process_id().to_string());
        let found = text.lines().next().unwrap_or_default();
        if found == own {
            return true;
        }
        log(format!("lock file \"{name}\" contains wrong PID: \"{found}\" instead of {own}"));
        false
    }
}

fn head(data_dir: &Path, lines: &PidLines) -> String {
    let PidLines { started_s, port, socket_dir, listen_address } = lines;
    let (pid, folder) = (host::process_id(), data_dir.display());
    format!("{pid}\n{folder}\n{started_s}\n{port}\n{socket_dir}\n{listen_address}\n\n")
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // A file that stays is recognised as stale at the next start.
        let _ = self.host.disk.remove_file(&self.path);
    }
}

/// How long a lock is waited for whose holder is already dead.
const DYING_LIMIT: Duration = Duration::from_secs(5);

/// Takes a lock. A holder that was killed keeps it until its last thread has gone: that is waited for.
fn take_lock(host: &Host, path: &Path, pid_file: &Path) -> io::Result<Box<dyn LockGuard>> {
    let begun = host.clock.monotonic();
    loop {
        match host.disk.lock(path) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if !is_dying(host, pid_file) || host.clock.monotonic() - begun > DYING_LIMIT {
                    return Err(error);
                }
                host::thread::yield_now();
            }
            other => return other,
        }
    }
}

/// Whether the process that a lock file names has ended, except for what the kernel still clears away.
fn is_dying(host: &Host, pid_file: &Path) -> bool {
    let text = host.disk.read(pid_file, 64 << 10).unwrap_or_default();
    let pid = String::from_utf8_lossy(&text).lines().next().and_then(|line| line.trim().parse().ok());
    pid.is_some_and(|pid| !process_lives(pid))
}

fn in_use(host: &Host, path: &Path, data_dir: &Path) -> ServerError {
    let text = host.disk.read(path, 64 << 10).unwrap_or_default();
    let pid = String::from_utf8_lossy(&text).lines().next().unwrap_or("unknown").to_owned();
    ServerError::new(format!("lock file \"{}\" already exists", path.display())).with_hint(format!(
        "Is another server (PID {pid}) running in data directory \"{}\"?",
        data_dir.display()
    ))
}

/// Writes postmaster.opts: the command line that `pg_ctl restart` repeats.
pub(crate) fn write_opts(host: &Host, data_dir: &Path) -> io::Result<()> {
    let mut arguments = host::command_line().into_iter();
    let mut text = arguments.next().unwrap_or_else(|| "plimsoll".to_owned());
    for argument in arguments {
        text.push_str(&format!(" \"{argument}\""));
    }
    text.push('\n');
    let path = data_dir.join("postmaster.opts");
    // A further life in place has nothing new to write, and perhaps no room for it.
    if host.disk.read(&path, 64 << 10).is_ok_and(|written| written == text.as_bytes()) {
        return Ok(());
    }
    host::write_file_durably(host.disk.as_ref(), &path, text.as_bytes())
}

/// The lock file beside a Unix socket; both are removed on drop.
#[derive(Debug)]
pub(crate) struct SocketLock {
    host: Host,
    socket: PathBuf,
    lock: PathBuf,
    _guard: Box<dyn LockGuard>,
}

impl SocketLock {
    /// Takes the socket's path for this process; a socket file that a dead server left is removed.
    pub(crate) fn take(
        host: &Host,
        socket: PathBuf,
        data_dir: &Path,
        lines: &PidLines,
    ) -> Result<Self, ServerError> {
        let lock = PathBuf::from(format!("{}.lock", socket.display()));
        let failed = |error: io::Error| {
            ServerError::new(format!("could not create lock file \"{}\": {error}", lock.display()))
        };
        let busy = || {
            ServerError::new(format!("lock file \"{}\" already exists", lock.display()))
                .with_hint(format!("Is another server using socket file \"{}\"?", socket.display()))
        };
        let guard = match take_lock(host, &lock, &lock) {
            Ok(guard) => guard,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(busy()),
            Err(error) => return Err(failed(error)),
        };
        // A real PostgreSQL holds no lock on its file: the process named in it is asked.
        let file = guard.file();
        if let Some(pid) = first_pid(file).map_err(failed)?
            && pid != host::process_id().cast_signed()
            && process_lives(pid)
        {
            return Err(busy());
        }
        let text = format!(
            "{}\n{}\n{}\n{}\n{}\n",
            host::process_id(),
            data_dir.display(),
            lines.started_s,
            lines.port,
            socket.parent().map(|dir| dir.display().to_string()).unwrap_or_default()
        );
        // Never opened again by its name, which others may have given to something else meanwhile.
        file.truncate(0).and_then(|()| file.write_all_at(text.as_bytes(), 0)).map_err(failed)?;
        match host.disk.remove_file(&socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        Ok(Self { host: host.clone(), socket, lock, _guard: guard })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.socket
    }
}

impl Drop for SocketLock {
    fn drop(&mut self) {
        // What stays is recognised as stale at the next start.
        let _ = self.host.disk.remove_file(&self.socket);
        let _ = self.host.disk.remove_file(&self.lock);
    }
}

/// The process that a lock file names in its first line.
fn first_pid(file: &dyn File) -> io::Result<Option<i32>> {
    let mut head = [0; 32];
    let len = file.read_at(&mut head, 0)?;
    let text = String::from_utf8_lossy(head.get(..len).unwrap_or_default()).into_owned();
    Ok(text.lines().next().and_then(|line| line.trim().parse().ok()))
}

/// Whether a process runs; one that has ended and waits for its parent to notice does not.
fn process_lives(pid: i32) -> bool {
    // The state follows the name, which stands in parentheses and may hold anything.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X', 'x']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::Disk;
    use simulation::{Call, Fault, FaultKind, VirtualDisk};
    use std::os::unix::fs::symlink;
    use std::sync::Arc;

    fn take(dir: &Path) -> Result<SocketLock, ServerError> {
        SocketLock::take(&Host::real(), dir.join("s"), dir, &PidLines::default())
    }

    #[test]
    fn a_pid_file_that_cannot_be_read_for_once_is_nobody_elses() {
        let disk = VirtualDisk::new();
        let host = Host { disk: Arc::new(disk.clone()), ..Host::real() };
        disk.create_dir_all(Path::new("/data")).unwrap();
        let file = PidFile::create(&host, Path::new("/data"), &PidLines::default()).unwrap();
        let told = |file: &PidFile| {
            let mut line = String::new();
            (file.is_ours(|told| line = told), line)
        };
        assert_eq!(told(&file), (true, String::new()));
        // EIO stands for EMFILE, EACCES and whatever else is not about the file being there.
        for call in [Call::Open, Call::Read] {
            disk.inject(Fault::once(call, "postmaster.pid", 1, FaultKind::Io));
            let (ours, line) = told(&file);
            assert!(ours && line.starts_with("could not open file \"postmaster.pid\": "), "{line}");
            assert!(line.ends_with("; continuing anyway"), "{line}");
            assert_eq!(told(&file), (true, String::new()));
        }
        let path = Path::new("/data/postmaster.pid");
        let put = |text: &str| {
            let other = disk.open(path, OpenMode::Create).unwrap();
            other.truncate(0).and_then(|()| other.write_all_at(text.as_bytes(), 0)).unwrap();
        };
        for (text, named) in [("", ""), ("4294967295\n/data\n", "4294967295")] {
            put(text);
            let (ours, line) = told(&file);
            assert!(!ours && line.contains(&format!("contains wrong PID: \"{named}\" instead")), "{line}");
        }
        disk.remove_file(path).unwrap();
        let (ours, line) = told(&file);
        assert!(!ours && !line.contains("continuing"), "{line}");
    }

    #[test]
    fn what_others_put_in_the_place_of_a_socket_lock_is_neither_followed_nor_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let (precious, lock) = (dir.path().join("precious"), dir.path().join("s.lock"));
        let missing = dir.path().join("missing");
        std::fs::write(&precious, "mine\n").unwrap();
        let put: [(&str, &dyn Fn()); 4] = [
            ("symbolic link", &|| symlink(&precious, &lock).unwrap()),
            ("symbolic link", &|| symlink(&missing, &lock).unwrap()),
            ("another name", &|| std::fs::hard_link(&precious, &lock).unwrap()),
            ("regular file", &|| nix::unistd::mkfifo(&lock, nix::sys::stat::Mode::S_IRWXU).unwrap()),
        ];
        for (word, put) in put {
            put();
            let refused = take(dir.path()).unwrap_err().message;
            assert!(refused.contains("s.lock") && refused.contains(word), "{refused}");
            assert_eq!(std::fs::read_to_string(&precious).unwrap(), "mine\n");
            assert!(!missing.exists());
            std::fs::remove_file(&lock).unwrap();
        }
        let taken = take(dir.path()).unwrap();
        assert!(take(dir.path()).unwrap_err().message.contains("already exists"));
        let own = std::process::id().to_string();
        assert_eq!(std::fs::read_to_string(&lock).unwrap().lines().next(), Some(own.as_str()));
        drop(taken);
        assert!(!lock.exists());
        // One that a dead server left is taken over; one that names a living process is not.
        std::fs::write(&lock, "2147483646\n/data\nand more lines than the new file will have, much more\n")
            .unwrap();
        drop(take(dir.path()).unwrap());
        std::fs::write(&lock, "1\n").unwrap();
        assert!(take(dir.path()).unwrap_err().message.contains("already exists"));
        assert_eq!(std::fs::read_to_string(&lock).unwrap(), "1\n");
    }
}
