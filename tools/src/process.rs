//! Starting a server in the background, ending it, and telling how it fares, by its lock file and by signals.

use crate::pid_file::{PidFile, Status, TEXT_BYTES_MAX, is_alive};
use anyhow::{Context, Result, anyhow, bail};
use host::{Access, Disk, RealDisk};
use nix::sys::signal::{Signal, kill};
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How a server is asked to stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum StopMode {
    /// Waits until the clients have gone (SIGTERM).
    Smart,
    /// Ends the sessions, writes a checkpoint (SIGINT).
    #[default]
    Fast,
    /// Ends at once; the next start recovers (SIGQUIT).
    Immediate,
}

impl StopMode {
    fn signal(self) -> Signal {
        match self {
            Self::Smart => Signal::SIGTERM,
            Self::Fast => Signal::SIGINT,
            Self::Immediate => Signal::SIGQUIT,
        }
    }

    /// Reads the mode names and letters of pg_ctl -m.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "s" | "smart" => Some(Self::Smart),
            "f" | "fast" => Some(Self::Fast),
            "i" | "immediate" => Some(Self::Immediate),
            _ => None,
        }
    }
}

/// Time between looks at a condition that another process brings about.
const POLL: Duration = Duration::from_millis(20);
/// The first of them, which doubles from look to look: what takes a moment is seen at once.
const POLL_FIRST: Duration = Duration::from_millis(1);

/// How a server is started in the background.
#[derive(Debug)]
pub struct Launch {
    /// The data directory.
    pub data: PathBuf,
    /// Arguments of the postgres personality after -D.
    pub arguments: Vec<OsString>,
    /// Options in shell syntax, as pg_ctl -o takes them.
    pub shell_options: Vec<String>,
    /// Where the server's log goes; None leaves it on this process's standard error.
    pub log: Option<PathBuf>,
    /// The program that is the server; None is this one.
    pub program: Option<PathBuf>,
}

/// A server that was started and is not known to be ready.
#[derive(Debug)]
pub struct Launched {
    child: Child,
    data: PathBuf,
    log: Option<(PathBuf, u64)>,
}

impl Launch {
    /// Starts the server in a session of its own.
    pub fn spawn(&self) -> Result<Launched> {
        // The server, and whoever restarts it by postmaster.opts, may be in another folder.
        let data = std::path::absolute(&self.data)
            .with_context(|| format!("invalid data directory \"{}\"", self.data.display()))?;
        // The shell splits the -o texts, as users of pg_ctl expect; all else is passed as it is.
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(format!("exec \"$0\" \"$@\" {}", self.shell_options.join(" ")));
        match &self.program {
            Some(program) => command.arg(program),
            None => command
                .arg(std::env::current_exe().context("could not find this program's own file")?)
                .arg("run"),
        };
        command.arg("-D").arg(&data).args(&self.arguments);
        let access = Access::of(&RealDisk, &data);
        access.limit_process();
        let log = match &self.log {
            None => None,
            Some(path) => {
                let file = fs::OpenOptions::new()
                    .create(true)
                    .append(true)
                    .mode(access.file_mode())
                    .open(path)
                    .with_context(|| format!("could not open log file \"{}\"", path.display()))?;
                let start = file.metadata()?.len();
                command.stdout(file.try_clone()?).stderr(file);
                Some((path.clone(), start))
            }
        };
        let child = command
            .stdin(Stdio::null())
            .process_group(0)
            .env("PLIMSOLL_DETACHED", "1")
            .spawn()
            .context("could not start the server's process")?;
        Ok(Launched { child, data: self.data.clone(), log })
    }
}

/// What became of a launched server.
#[derive(Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It takes connections, or is a standby that follows its settings and takes none.
    Ready,
    /// It ended; the text is the cause from its log, if that could be read.
    Ended(Option<String>),
    /// It still starts.
    TimedOut,
}

impl Launched {
    /// Waits until the server says one of `enough`, has ended, or `limit` is over; calls `tick` when it
    /// begins to wait, and about every second then.
    pub fn wait(&mut self, enough: &[Status], limit: Duration, mut tick: impl FnMut()) -> Result<Readiness> {
        let begun = Instant::now();
        let mut ticks = 0;
        loop {
            if self.child.try_wait()?.is_some() {
                return Ok(Readiness::Ended(self.cause()));
            }
            let pid = i32::try_from(self.child.id()).unwrap_or(-1);
            let file = PidFile::read(&self.data).ok().flatten().filter(|file| file.pid.as_raw() == pid);
            if file.and_then(|file| file.status).is_some_and(|status| enough.contains(&status)) {
                return Ok(Readiness::Ready);
            }
            if begun.elapsed() > limit {
                return Ok(Readiness::TimedOut);
            }
            if begun.elapsed().as_secs() >= ticks {
                ticks += 1;
                tick();
            }
            std::thread::park_timeout(POLL);
        }
    }

    /// The first fatal message that this start wrote to its log, with its hint, as one line.
    fn cause(&self) -> Option<String> {
        let (path, start) = self.log.as_ref()?;
        let mut file = fs::File::open(path).ok()?;
        file.seek(SeekFrom::Start(*start)).ok()?;
        let mut text = Vec::new();
        file.take(1 << 20).read_to_end(&mut text).ok()?;
        cause_in_log(&String::from_utf8_lossy(&text))
    }
}

fn cause_in_log(text: &str) -> Option<String> {
    let after = |line: &str, tag: &str| line.split_once(tag).map(|(_, message)| message.trim().to_owned());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(mut cause) = after(line, "FATAL:").or_else(|| after(line, "PANIC:")) else { continue };
        for more in lines.by_ref() {
            match after(more, "DETAIL:").or_else(|| after(more, "HINT:")) {
                Some(text) => {
                    cause.push_str(if cause.ends_with('.') { " " } else { ". " });
                    cause.push_str(&text);
                }
                None => break,
            }
        }
        return Some(cause);
    }
    text.lines().last().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty())
}

/// The lock file of the server that runs on `data`; an error in pg_ctl's words if none does.
pub fn running(data: &Path) -> Result<PidFile> {
    let path = PidFile::path(data);
    let Some(file) = PidFile::read(data)? else {
        bail!("PID file \"{}\" does not exist. Is server running?", path.display());
    };
    if !file.is_of_running(data) {
        bail!(
            "PID file \"{}\" is stale: old server process (PID: {}) seems to be gone. Is server running?",
            path.display(),
            file.pid
        );
    }
    Ok(file)
}

/// Signals a process.
pub fn signal(file: &PidFile, signal: Signal) -> Result<()> {
    kill(file.pid, signal)
        .with_context(|| format!("could not send {signal} to the server (PID: {})", file.pid))
}

/// The options of the last start, which postmaster.opts keeps: each word in double quotes, as it is, behind
/// the program's path. The data directory is not among them.
pub fn options_of_last_start(data: &Path) -> Vec<OsString> {
    let line = RealDisk.read_text(&data.join("postmaster.opts"), TEXT_BYTES_MAX).unwrap_or_default();
    let Some((_, words)) = line.trim_end().split_once(" \"") else { return Vec::new() };
    let words = words.strip_suffix('"').unwrap_or(words).split("\" \"");
    // Of a start in the foreground, the command is another one.
    let mut words = words.skip_while(|word| matches!(*word, "run" | "start"));
    let mut options = Vec::new();
    while let Some(word) = words.next() {
        match word {
            "-D" | "--pgdata" => _ = words.next(),
            word if word.starts_with("-D") || word.starts_with("--pgdata=") => {}
            word => options.push(word.into()),
        }
    }
    options
}

/// Asks the server of a directory to go on in a new log file.
pub fn ask_to_rotate(data: &Path) -> Result<()> {
    let file = running(data)?;
    let request = data.join(server::LOGROTATE_SIGNAL_FILE);
    fs::write(&request, "")
        .with_context(|| format!("could not create log rotation signal file \"{}\"", request.display()))?;
    signal(&file, Signal::SIGUSR1).inspect_err(|_| {
        // Nobody looks for it then.
        let _ = fs::remove_file(&request);
    })
}

/// Asks a server to stop; returns once it is gone, or with an error after `limit`.
pub fn stop(data: &Path, mode: StopMode, limit: Option<Duration>, tick: impl FnMut()) -> Result<()> {
    let file = running(data)?;
    signal(&file, mode.signal())?;
    let Some(limit) = limit else { return Ok(()) };
    let gone = wait(limit, tick, || Ok(!still_runs(&file)))?;
    if gone { Ok(()) } else { Err(anyhow!("server does not shut down within {} seconds", limit.as_secs())) }
}

/// The server that runs on a directory now.
#[derive(Debug)]
pub struct Running {
    data: PathBuf,
    file: PidFile,
}

impl Running {
    /// An error in pg_ctl's words if none does.
    pub fn on(data: &Path) -> Result<Self> {
        Ok(Self { data: data.to_owned(), file: running(data)? })
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Whether its process has ended, and no other server runs on the directory. Between two lives in one
    /// process the lock file may be gone: it alone says nothing.
    pub fn has_ended(&self) -> bool {
        let other = || {
            let file = PidFile::of_running(&self.data);
            file.is_ok_and(|file| file.is_some_and(|file| still_runs(&file)))
        };
        !still_runs(&self.file) && !other()
    }
}

/// Whether a process is there and not only waiting for its parent to take note of its end.
fn still_runs(file: &PidFile) -> bool {
    is_alive(file.pid) && !is_zombie(file)
}

fn is_zombie(file: &PidFile) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", file.pid)).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
}

/// Polls `probe` until it is true; false after `limit`. Calls `tick` when it begins to wait, and about every
/// second then.
pub fn wait(
    limit: Duration,
    mut tick: impl FnMut(),
    mut probe: impl FnMut() -> Result<bool>,
) -> Result<bool> {
    let begun = Instant::now();
    let mut ticks = 0;
    let mut pause = POLL_FIRST;
    loop {
        if probe()? {
            return Ok(true);
        }
        if begun.elapsed() > limit {
            return Ok(false);
        }
        if begun.elapsed().as_secs() >= ticks {
            ticks += 1;
            tick();
        }
        std::thread::park_timeout(pause);
        pause = (pause * 2).min(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_of_the_last_start_are_known_without_a_shell() {
        let folder = tempfile::tempdir().unwrap();
        let of = |line: &str| {
            fs::write(folder.path().join("postmaster.opts"), line).unwrap();
            options_of_last_start(folder.path())
        };
        let line =
            "/a b/plimsoll \"run\" \"-D\" \"/x y\" \"-c\" \"primary_conninfo=password='$(id)'\" \"-F\"\n";
        assert_eq!(of(line), ["-c", "primary_conninfo=password='$(id)'", "-F"]);
        assert_eq!(of("/bin/postgres \"-D\" \"/x\" \"-p\" \"1\"\n"), ["-p", "1"]);
        assert!(of("/bin/postgres\n").is_empty() && of("").is_empty());
    }

    #[test]
    fn the_cause_of_a_failed_start_is_its_first_fatal_message_with_the_hint() {
        let log = "LOG:  starting\n2026-01-01 UTC [7] FATAL:  could not bind\n[7] HINT:  Is it in use?\nLOG:  bye\n";
        assert_eq!(cause_in_log(log).unwrap(), "could not bind. Is it in use?");
        assert_eq!(cause_in_log("sh: 1: no such program\n").unwrap(), "sh: 1: no such program");
        assert_eq!(cause_in_log(""), None);
    }
}
