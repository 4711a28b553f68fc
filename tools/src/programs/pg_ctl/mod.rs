//! The personality of pg_ctl: init, start, stop, restart, reload, status, promote, logrotate, kill.
//!
//! Exit codes and the words that scripts look for are pg_ctl's: 0 done, 1 failed, 3 not running, 4 no data
//! directory.

mod options;

use crate::output::{self, complain, say};
use crate::pid_file::{PidFile, Status, TEXT_BYTES_MAX};
use crate::process::{
    Launch, Readiness, StopMode, ask_to_rotate, options_of_last_start, running, signal, stop, wait,
};
use crate::serve::no_data_directory;
use anyhow::{Context, Result, anyhow, bail};
use host::{Disk, RealDisk};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use options::{Command, Options, Request, misused};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// Exit code of `status` for a server that does not run.
pub const NOT_RUNNING: u8 = 3;
/// Exit code of `status` for a folder that is no data directory.
pub const NO_DATA_DIRECTORY: u8 = 4;
/// Seconds that are waited where nobody says how many.
const WAIT_S: u64 = 60;

/// Runs pg_ctl with its arguments after the program's name; returns the exit code.
pub fn main(arguments: &[OsString]) -> u8 {
    let done = options::parse(arguments).and_then(|request| match request {
        Request::Version => {
            say!("pg_ctl (PostgreSQL) {}", crate::serve::long_version());
            Ok(0)
        }
        Request::Help => {
            output::text(options::HELP);
            Ok(0)
        }
        Request::Run(options) => run(&options),
    });
    done.unwrap_or_else(|error| {
        complain!("pg_ctl: {}", output::error_text(&error));
        1
    })
}

fn run(options: &Options) -> Result<u8> {
    match options.command {
        Command::Kill => send(options)?,
        Command::Init => init(options)?,
        Command::Start => start(options, Vec::new())?,
        Command::Stop => end(options, &data(options)?)?,
        Command::Restart => restart(options)?,
        Command::Reload => {
            signal(&running(&data(options)?)?, Signal::SIGHUP)?;
            say(options, "server signaled\n");
        }
        Command::Logrotate => {
            ask_to_rotate(&data(options)?)?;
            say(options, "server signaled to rotate log file\n");
        }
        Command::Status => return status(options),
        Command::Promote => become_primary(options)?,
    }
    Ok(0)
}

fn say(options: &Options, text: &str) {
    if !options.silent {
        output::text(text);
    }
}

/// The data directory, which is there.
fn data(options: &Options) -> Result<PathBuf> {
    let data = options.named()?;
    no_data_directory(&data).map_or(Ok(data), |why| Err(anyhow!(why)))
}

/// How long to wait; None: not at all.
fn limit(options: &Options) -> Result<Option<Duration>> {
    if options.no_wait {
        return Ok(None);
    }
    let seconds = match (options.seconds, std::env::var("PGCTLTIMEOUT")) {
        (Some(seconds), _) => seconds,
        (None, Ok(text)) if !text.is_empty() => {
            let wrong = |_| anyhow!("invalid PGCTLTIMEOUT \"{text}\": it is a number of seconds");
            text.trim().parse().map_err(wrong)?
        }
        (None, _) => WAIT_S,
    };
    Ok(Some(Duration::from_secs(seconds)))
}

fn init(options: &Options) -> Result<()> {
    let mut command = std::process::Command::new("/bin/sh");
    command.arg("-c").arg(format!("exec \"$0\" \"$@\" {}", options.options.join(" ")));
    match &options.program {
        Some(program) => command.arg(program),
        None => command.arg(std::env::current_exe()?).arg("initdb"),
    };
    command.arg("-D").arg(options.named()?);
    if options.silent {
        command.stdout(Stdio::null());
    }
    let status = command.status().context("could not run initdb")?;
    if !status.success() {
        bail!("database system initialization failed");
    }
    Ok(())
}

/// Lets the server leave core files, as far as the system allows it.
fn allow_core_files() -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_CORE).context("could not ask for the limit of core files")?;
    if hard == 0 {
        complain!("pg_ctl: cannot set core file size limit; disallowed by hard limit");
        return Ok(());
    }
    setrlimit(Resource::RLIMIT_CORE, hard, hard).context("could not set the limit of core files")
}

/// Starts a server; `before` are the options of its last start, in whose place those given now stand.
fn start(options: &Options, before: Vec<OsString>) -> Result<()> {
    let data = data(options)?;
    let limit = limit(options)?;
    if PidFile::of_running(&data)?.is_some() {
        complain!("pg_ctl: another server might be running; trying to start server anyway");
    }
    if options.core_files {
        allow_core_files()?;
    }
    let launch = Launch {
        data,
        arguments: if options.options.is_empty() { before } else { Vec::new() },
        shell_options: options.options.clone(),
        log: options.log.clone(),
        program: options.program.clone(),
    };
    let mut launched = launch.spawn()?;
    let Some(limit) = limit else {
        say(options, "server starting\n");
        return Ok(());
    };
    say(options, "waiting for server to start...");
    match launched.wait(&[Status::Ready, Status::Standby], limit, || say(options, "."))? {
        Readiness::Ready => {
            say(options, " done\nserver started\n");
            Ok(())
        }
        Readiness::Ended(_) => {
            say(options, " stopped waiting\n");
            bail!("could not start server\nExamine the log output.")
        }
        Readiness::TimedOut => {
            say(options, " stopped waiting\n");
            bail!("server did not start in time")
        }
    }
}

fn end(options: &Options, data: &Path) -> Result<()> {
    let limit = limit(options)?;
    running(data)?;
    if limit.is_some() {
        say(options, "waiting for server to shut down...");
    }
    match stop(data, options.mode, limit, || say(options, ".")) {
        Ok(()) if limit.is_some() => say(options, " done\nserver stopped\n"),
        Ok(()) => say(options, "server shutting down\n"),
        Err(error) => {
            if limit.is_some() {
                say(options, " failed\n");
            }
            return Err(match options.mode {
                StopMode::Smart if limit.is_some() => {
                    anyhow!(
                        "{error:#}\nHINT: The option \"-m fast\" ends the sessions instead of waiting for them."
                    )
                }
                _ => error,
            });
        }
    }
    Ok(())
}

fn restart(options: &Options) -> Result<()> {
    let data = data(options)?;
    match running(&data) {
        Ok(_) => {
            // There is no restart without waiting for the old server's end.
            let waiting = Options { no_wait: false, options: Vec::new(), ..Options::clone(options) };
            end(&waiting, &data)?;
        }
        Err(why) => complain!("pg_ctl: {why:#}\nstarting server anyway"),
    }
    start(options, options_of_last_start(&data))
}

fn status(options: &Options) -> Result<u8> {
    let data = options.named()?;
    if let Some(why) = no_data_directory(&data) {
        complain!("pg_ctl: {why}");
        return Ok(NO_DATA_DIRECTORY);
    }
    let Some(file) = PidFile::of_running(&data)? else {
        say!("pg_ctl: no server running");
        return Ok(NOT_RUNNING);
    };
    say!("pg_ctl: server is running (PID: {})", file.pid);
    if let Ok(line) = RealDisk.read_text(&data.join("postmaster.opts"), TEXT_BYTES_MAX) {
        output::text(line);
    }
    Ok(0)
}

fn become_primary(options: &Options) -> Result<()> {
    let (data, limit) = (data(options)?, limit(options)?);
    running(&data)?;
    check_standby(&data)?;
    if limit.is_some() {
        say(options, "waiting for server to promote...");
    }
    let done = promote(&data, limit, || say(options, "."));
    if done.is_err() && limit.is_some() {
        say(options, " stopped waiting\n");
    }
    done?;
    say(options, if limit.is_some() { " done\nserver promoted\n" } else { "server promoting\n" });
    Ok(())
}

/// Asks a standby to become a primary; with a limit, returns once its control file says so.
pub fn promote(data: &Path, limit: Option<Duration>, tick: impl FnMut()) -> Result<()> {
    let file = running(data)?;
    check_standby(data)?;
    let request = data.join("promote");
    let refusal = data.join(server::PROMOTION_REFUSED);
    match fs::remove_file(&refusal) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("could not remove \"{}\"", refusal.display()));
        }
        _ => {}
    }
    fs::write(&request, "")
        .with_context(|| format!("could not create promote signal file \"{}\"", request.display()))?;
    if let Err(error) = signal(&file, Signal::SIGUSR1) {
        let _ = fs::remove_file(&request);
        return Err(error);
    }
    let Some(limit) = limit else { return Ok(()) };
    let promoted = wait(limit, tick, || {
        if PidFile::of_running(data)?.is_none() {
            bail!("the server ended while it was promoted: see its log");
        }
        if let Ok(why) = RealDisk.read_text(&refusal, TEXT_BYTES_MAX) {
            let _ = fs::remove_file(&refusal);
            bail!("server did not promote: {why}");
        }
        Ok(!is_standby(data)? && PidFile::read(data)?.and_then(|file| file.status) == Some(Status::Ready))
    })?;
    if promoted { Ok(()) } else { Err(anyhow!("server did not promote in time")) }
}

fn check_standby(data: &Path) -> Result<()> {
    if is_standby(data)? { Ok(()) } else { bail!("cannot promote server; server is not in standby mode") }
}

fn is_standby(data: &Path) -> Result<bool> {
    Ok(crate::serve::control_file(data)?.state == wal::control::ClusterState::InArchiveRecovery)
}

/// The signals of `pg_ctl kill`.
const SIGNALS: [(&str, Signal); 8] = [
    ("ABRT", Signal::SIGABRT),
    ("HUP", Signal::SIGHUP),
    ("INT", Signal::SIGINT),
    ("KILL", Signal::SIGKILL),
    ("QUIT", Signal::SIGQUIT),
    ("TERM", Signal::SIGTERM),
    ("USR1", Signal::SIGUSR1),
    ("USR2", Signal::SIGUSR2),
];

fn send(options: &Options) -> Result<()> {
    let Some((name, pid)) = &options.kill else { bail!(misused("missing arguments for kill mode")) };
    let known = SIGNALS.iter().find(|(known, _)| known == name);
    let (_, number) = known.ok_or_else(|| misused(format!("unrecognized signal name \"{name}\"")))?;
    let pid: i32 =
        pid.parse().ok().filter(|pid| *pid > 0).ok_or_else(|| misused(format!("invalid PID \"{pid}\"")))?;
    kill(Pid::from_raw(pid), *number)
        .with_context(|| format!("could not send signal {} (PID: {pid})", *number as i32))
}
