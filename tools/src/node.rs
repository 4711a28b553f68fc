//! `plimsoll start`, `stop` and `status`

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, ValueEnum};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use server::ServerOptions;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Pause between two looks at a server that starts or stops.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Start a server
#[derive(Debug, Args)]
pub struct StartArguments {
    /// The data directory
    #[arg(short = 'D', long = "pgdata", env = "PGDATA")]
    data_dir: PathBuf,
    /// Run in the background; returns when connections are taken
    #[arg(short, long)]
    detach: bool,
    /// File for the log of a server in the background
    #[arg(short, long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// TCP port
    #[arg(short, long)]
    port: Option<u16>,
    /// Setting that outweighs the files
    #[arg(short = 'c', value_name = "NAME=VALUE")]
    settings: Vec<String>,
    /// Seconds to wait for a server in the background
    #[arg(short, long, default_value_t = 60)]
    timeout: u64,
}

/// Stop a server
#[derive(Debug, Args)]
pub struct StopArguments {
    /// The data directory
    #[arg(short = 'D', long = "pgdata", env = "PGDATA")]
    data_dir: PathBuf,
    /// How: wait for the sessions to end, end them, or end at once
    #[arg(short, long, value_enum, default_value_t = Mode::Fast)]
    mode: Mode,
    /// Seconds to wait
    #[arg(short, long, default_value_t = 60)]
    timeout: u64,
}

/// Say whether a server runs
#[derive(Debug, Args)]
pub struct StatusArguments {
    /// The data directory
    #[arg(short = 'D', long = "pgdata", env = "PGDATA")]
    data_dir: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Mode {
    Smart,
    Fast,
    Immediate,
}

/// Reads `name=value` texts.
pub fn parse_settings(texts: &[String]) -> Result<Vec<(String, String)>> {
    let pair = |text: &String| {
        let (name, value) = text.split_once('=').ok_or_else(|| anyhow!("\"{text}\" is not NAME=VALUE"))?;
        Ok((name.trim().to_owned(), value.trim().to_owned()))
    };
    texts.iter().map(pair).collect()
}

/// What postmaster.pid says of a server.
struct Running {
    pid: Pid,
    status: String,
}

fn running(data_dir: &Path) -> Option<Running> {
    let text = std::fs::read_to_string(data_dir.join("postmaster.pid")).ok()?;
    let mut lines = text.lines();
    let pid = Pid::from_raw(lines.next()?.trim().parse().ok()?);
    kill(pid, None).ok()?;
    Some(Running { pid, status: lines.nth(6).unwrap_or_default().trim().to_owned() })
}

/// Runs `start`.
pub fn start(arguments: StartArguments) -> Result<ExitCode> {
    if arguments.detach {
        return start_detached(&arguments);
    }
    let mut settings = parse_settings(&arguments.settings)?;
    settings.extend(arguments.port.map(|port| ("port".to_owned(), port.to_string())));
    let options = ServerOptions { settings, signals: true, ..ServerOptions::new(&arguments.data_dir) };
    match server::run(options) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        // The log has said it already.
        Err(_) => Ok(ExitCode::FAILURE),
    }
}

fn start_detached(arguments: &StartArguments) -> Result<ExitCode> {
    if let Some(found) = running(&arguments.data_dir) {
        bail!("another server (PID {}) runs on {}", found.pid, arguments.data_dir.display());
    }
    let program = std::env::current_exe().context("could not find this program")?;
    let log_path = arguments.log.clone().unwrap_or_else(|| arguments.data_dir.join("server.log"));
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log_path)
        .with_context(|| format!("could not open log file {}", log_path.display()))?;
    let mut command = Command::new(program);
    command.arg("start").arg("-D").arg(std::path::absolute(&arguments.data_dir)?);
    if let Some(port) = arguments.port {
        command.arg("-p").arg(port.to_string());
    }
    for setting in &arguments.settings {
        command.arg("-c").arg(setting);
    }
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
    let mut child = command.spawn().context("could not start the server")?;
    let end = Instant::now() + Duration::from_secs(arguments.timeout);
    loop {
        if let Some(status) = child.try_wait()? {
            bail!("the server did not start ({status}); its log is {}", log_path.display());
        }
        match running(&arguments.data_dir) {
            Some(found) if matches!(found.status.as_str(), "ready" | "standby") => {
                println!("started server (PID {}), log in {}", found.pid, log_path.display());
                return Ok(ExitCode::SUCCESS);
            }
            _ if Instant::now() > end => {
                bail!(
                    "the server is still starting after {} s; its log is {}",
                    arguments.timeout,
                    log_path.display()
                );
            }
            _ => std::thread::sleep(LOOK_INTERVAL),
        }
    }
}

/// Runs `stop`.
pub fn stop(arguments: &StopArguments) -> Result<ExitCode> {
    let Some(found) = running(&arguments.data_dir) else {
        bail!("no server runs on {}", arguments.data_dir.display());
    };
    let signal = match arguments.mode {
        Mode::Smart => Signal::SIGTERM,
        Mode::Fast => Signal::SIGINT,
        Mode::Immediate => Signal::SIGQUIT,
    };
    kill(found.pid, signal).with_context(|| format!("could not signal PID {}", found.pid))?;
    let end = Instant::now() + Duration::from_secs(arguments.timeout);
    while running(&arguments.data_dir).is_some_and(|now| now.pid == found.pid) {
        if Instant::now() > end {
            bail!("the server did not stop in {} s", arguments.timeout);
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
    println!("stopped server (PID {})", found.pid);
    Ok(ExitCode::SUCCESS)
}

/// Runs `status`.
pub fn status(arguments: &StatusArguments) -> Result<ExitCode> {
    match running(&arguments.data_dir) {
        Some(found) => {
            println!("server is running (PID {}), {}", found.pid, found.status);
            Ok(ExitCode::SUCCESS)
        }
        None => {
            println!("no server running");
            Ok(ExitCode::from(3))
        }
    }
}
