//! The personality of pg_ctl: init, start, stop, restart, reload, status, promote, logrotate, kill.
//!
//! Exit codes and the words that scripts look for are pg_ctl's: 0 done, 1 failed, 3 not running, 4 no data
//! directory.

use crate::output::complain;
use crate::output::{self, say};
use crate::pid_file::{PidFile, Status, TEXT_BYTES_MAX};
use crate::process::{Launch, Readiness, StopMode, running, signal, stop, wait};
use crate::serve::{check_is_there, no_data_directory};
use anyhow::{Context, Result, anyhow, bail};
use host::{Disk, RealDisk};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Exit code of `status` for a server that does not run.
pub const NOT_RUNNING: u8 = 3;
/// Exit code of `status` for a folder that is no data directory.
pub const NO_DATA_DIRECTORY: u8 = 4;

const USAGE: &str = "usage: pg_ctl init[db]|start|stop|restart|reload|status|promote|kill [-D DATADIR] [-s] [-w|-W] \
                     [-t SECS] [-l FILE] [-o OPTIONS] [-m MODE] [-c] [-p PATH]";

#[derive(Debug, Default)]
struct Options {
    command: Option<String>,
    data: Option<PathBuf>,
    silent: bool,
    no_wait: bool,
    seconds: Option<u64>,
    log: Option<PathBuf>,
    options: Vec<String>,
    mode: StopMode,
    positional: Vec<String>,
}

/// Runs pg_ctl with its arguments after the program's name; returns the exit code.
pub fn main(arguments: &[OsString]) -> u8 {
    match parse(arguments).and_then(|options| run(&options)) {
        Ok(code) => code,
        Err(error) => {
            complain!("pg_ctl: {}", output::error_text(&error));
            1
        }
    }
}

fn parse(arguments: &[OsString]) -> Result<Options> {
    let mut options = Options::default();
    let mut rest = arguments.iter().map(|argument| argument.to_string_lossy().into_owned());
    while let Some(argument) = rest.next() {
        let (name, mut inline) = match argument.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name.to_owned(), Some(value.to_owned())),
            _ if argument.len() > 2 && argument.starts_with('-') && !argument.starts_with("--") => {
                // A short option: its value or further letters follow in the same word.
                let (name, value) = argument.split_at(2);
                (name.to_owned(), Some(value.to_owned()))
            }
            _ => (argument.clone(), None),
        };
        let mut value = |what: &str| -> Result<String> {
            inline
                .take()
                .or_else(|| rest.next())
                .ok_or_else(|| anyhow!("option {name} needs {what}\n{USAGE}"))
        };
        match name.as_str() {
            "-D" | "--pgdata" => options.data = Some(PathBuf::from(value("a folder")?)),
            "-l" | "--log" => options.log = Some(PathBuf::from(value("a file")?)),
            "-o" | "--options" => options.options.push(value("options")?),
            "-p" => drop(value("a path")?),
            "-t" | "--timeout" => {
                let text = value("seconds")?;
                options.seconds = Some(text.parse().map_err(|_| anyhow!("invalid timeout \"{text}\""))?);
            }
            "-m" | "--mode" => {
                let text = value("a mode")?;
                options.mode =
                    StopMode::parse(&text).ok_or_else(|| anyhow!("unrecognized shutdown mode \"{text}\""))?;
            }
            "-s" | "--silent" => options.silent = true,
            "-w" | "--wait" => options.no_wait = false,
            "-W" | "--no-wait" => options.no_wait = true,
            "-c" | "--core-files" => {}
            "-V" | "--version" => options.command = Some("version".to_owned()),
            "-?" | "--help" => options.command = Some("help".to_owned()),
            name if name.starts_with('-') => bail!("unrecognized option \"{name}\"\n{USAGE}"),
            _ if options.command.is_none() => options.command = Some(argument),
            _ => options.positional.push(argument),
        }
    }
    Ok(options)
}

fn run(options: &Options) -> Result<u8> {
    let Some(command) = options.command.as_deref() else { bail!("no operation specified\n{USAGE}") };
    match command {
        "version" => say!("pg_ctl (PostgreSQL) {}", crate::serve::long_version()),
        "help" => say!("{USAGE}"),
        "kill" => return send(options),
        "init" | "initdb" => {
            let mut command = std::process::Command::new("/bin/sh");
            command.arg("-c").arg(format!("exec \"$0\" \"$@\" {}", options.options.join(" ")));
            command.arg(std::env::current_exe()?).args(["initdb", "-D"]).arg(named(options)?);
            let status = command.status().context("could not run initdb")?;
            if !status.success() {
                bail!("database system initialization failed");
            }
        }
        "start" => return start(options),
        "stop" => end(options)?,
        "restart" => {
            if PidFile::of_running(&data(options)?)?.is_some() {
                end(options)?;
            } else {
                complain!(
                    "pg_ctl: PID file does not exist or is stale\nIs server running?\nstarting server anyway"
                );
            }
            return start(options);
        }
        "reload" => {
            signal(&running(&data(options)?)?, Signal::SIGHUP)?;
            say(options, "server signaled\n");
        }
        "logrotate" => {
            signal(&running(&data(options)?)?, Signal::SIGUSR1)?;
            say(options, "server signaled to rotate log file\n");
        }
        "status" => return status(options),
        "promote" => {
            let limit = limit(options, "PGCTLTIMEOUT");
            let data = data(options)?;
            running(&data)?;
            if !is_standby(&data)? {
                bail!("cannot promote server; server is not in standby mode");
            }
            if !options.no_wait {
                say(options, "waiting for server to promote...");
            }
            let done = promote(&data, (!options.no_wait).then_some(limit), || say(options, "."));
            if done.is_err() && !options.no_wait {
                say(options, " stopped waiting\n");
            }
            done?;
            say(options, if options.no_wait { "server promoting\n" } else { " done\nserver promoted\n" });
        }
        other => bail!("unrecognized operation mode \"{other}\"\n{USAGE}"),
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
    let data = named(options)?;
    check_is_there(&data)?;
    Ok(data)
}

fn named(options: &Options) -> Result<PathBuf> {
    options
        .data
        .clone()
        .or_else(|| std::env::var_os("PGDATA").map(PathBuf::from))
        .ok_or_else(|| anyhow!("no database directory specified and environment variable PGDATA unset"))
}

fn limit(options: &Options, variable: &str) -> Duration {
    let from_environment = || std::env::var(variable).ok().and_then(|text| text.parse().ok());
    Duration::from_secs(options.seconds.or_else(from_environment).unwrap_or(60))
}

fn start(options: &Options) -> Result<u8> {
    let data = data(options)?;
    if PidFile::of_running(&data)?.is_some() {
        complain!("pg_ctl: another server might be running; trying to start server anyway");
    }
    let mut launch = Launch {
        data,
        arguments: Vec::new(),
        shell_options: options.options.clone(),
        log: options.log.clone(),
    };
    if launch.shell_options.is_empty() && options.command.as_deref() == Some("restart") {
        // postmaster.opts keeps what the last start was given, each word in double quotes.
        launch.shell_options = RealDisk
            .read_text(&launch.data.join("postmaster.opts"), TEXT_BYTES_MAX)
            .ok()
            .and_then(|line| line.trim_end().split_once(' ').map(|(_, rest)| rest.to_owned()))
            .map(|rest| rest.strip_prefix("\"run\"").unwrap_or(&rest).trim_start().to_owned())
            .into_iter()
            .collect();
    }
    let mut launched = launch.spawn()?;
    if options.no_wait {
        say(options, "server starting\n");
        return Ok(0);
    }
    say(options, "waiting for server to start...");
    match launched
        .wait(&[Status::Ready, Status::Standby], limit(options, "PGCTLTIMEOUT"), || say(options, "."))?
    {
        Readiness::Ready => {
            say(options, " done\nserver started\n");
            Ok(0)
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

fn end(options: &Options) -> Result<()> {
    let limit = (!options.no_wait).then(|| limit(options, "PGCTLTIMEOUT"));
    if limit.is_some() {
        running(&data(options)?)?;
        say(options, "waiting for server to shut down...");
    }
    match stop(&data(options)?, options.mode, limit, || say(options, ".")) {
        Ok(()) => {
            say(options, if limit.is_some() { " done\nserver stopped\n" } else { "server shutting down\n" })
        }
        Err(error) => {
            if limit.is_some() {
                say(options, " failed\n");
            }
            return Err(error);
        }
    }
    Ok(())
}

fn status(options: &Options) -> Result<u8> {
    let data = named(options)?;
    if let Some(why) = no_data_directory(&data) {
        complain!("pg_ctl: {why}");
        return Ok(NO_DATA_DIRECTORY);
    }
    match PidFile::of_running(&data)? {
        Some(file) => {
            say(options, &format!("pg_ctl: server is running (PID: {})\n", file.pid));
            if let Ok(line) = RealDisk.read_text(&data.join("postmaster.opts"), TEXT_BYTES_MAX) {
                say(options, &line);
            }
            Ok(0)
        }
        None => {
            say(options, "pg_ctl: no server running\n");
            Ok(NOT_RUNNING)
        }
    }
}

/// Asks a standby to become a primary; with a limit, returns once its control file says so.
pub fn promote(data: &Path, limit: Option<Duration>, tick: impl FnMut()) -> Result<()> {
    let file = running(data)?;
    if !is_standby(data)? {
        bail!("cannot promote server; server is not in standby mode");
    }
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

fn is_standby(data: &Path) -> Result<bool> {
    Ok(crate::serve::control_file(data)?.state == wal::control::ClusterState::InArchiveRecovery)
}

fn send(options: &Options) -> Result<u8> {
    let [name, pid] = options.positional.as_slice() else {
        bail!("missing arguments for kill mode\n{USAGE}")
    };
    let signal: Signal =
        format!("SIG{name}").parse().map_err(|_| anyhow!("unrecognized signal name \"{name}\""))?;
    let pid: i32 = pid.parse().ok().filter(|pid| *pid > 0).ok_or_else(|| anyhow!("invalid PID \"{pid}\""))?;
    kill(Pid::from_raw(pid), signal).with_context(|| format!("could not send signal {name} (PID: {pid})"))?;
    Ok(0)
}
