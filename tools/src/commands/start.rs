//! `plimsoll start`: a server in the foreground or, with -d, in the background.

use super::check_data_directory;
use crate::cli::StartArgs;
use crate::output::say;
use crate::pid_file::{PidFile, Status};
use crate::process::{Launch, Readiness};
use crate::programs::postgres;
use crate::serve;
use anyhow::{Context, Result, bail};
use host::{Access, RealDisk};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;
use storage::SERVER_LOG_FILE;

/// Starts it; gives the exit code.
pub fn run(arguments: &StartArgs) -> Result<u8> {
    let data = &arguments.data.data;
    check_data_directory(data)?;
    let mut words: Vec<OsString> = Vec::new();
    for text in &arguments.settings {
        postgres::setting(text)?;
        words.extend(["-c".into(), text.into()]);
    }
    if let Some(port) = arguments.port {
        words.extend(["-p".into(), port.to_string().into()]);
    }
    if !arguments.detach {
        let mut all: Vec<OsString> = vec!["-D".into(), data.into()];
        all.extend(words);
        return Ok(serve::main(&all));
    }
    detached(data, words, arguments.log.clone(), arguments.timeout)
}

/// Starts a server in the background with these words behind its data directory, and waits for it; gives the
/// exit code.
pub fn detached(data: &Path, arguments: Vec<OsString>, log: Option<PathBuf>, timeout_s: u64) -> Result<u8> {
    let log = log.map_or_else(|| own_log(data), Ok)?;
    let launch = Launch {
        data: data.to_owned(),
        arguments,
        shell_options: Vec::new(),
        log: Some(log.clone()),
        program: None,
    };
    let limit = Duration::from_secs(timeout_s);
    match launch.spawn()?.wait(&[Status::Ready, Status::Standby], limit, || {})? {
        Readiness::Ready => {
            let pid = PidFile::read(data)?.map(|file| file.pid.to_string()).unwrap_or_default();
            say!("server started (PID: {pid}, log: {})", log.display());
            Ok(0)
        }
        Readiness::Ended(Some(cause)) => bail!("{cause}"),
        Readiness::Ended(None) => bail!("the server ended while it started: see {}", log.display()),
        Readiness::TimedOut => bail!(
            "the server did not start within {timeout_s} seconds and goes on trying: see {}",
            log.display()
        ),
    }
}

/// The log of a detached server for which none is named, in a folder that no copy of the directory has.
fn own_log(data: &Path) -> Result<PathBuf> {
    let log = data.join(SERVER_LOG_FILE);
    let own = log.parent().unwrap_or(data);
    // Whatever the caller allows what it makes.
    let disk = Access::of(&RealDisk, data).host().disk;
    disk.create_dir_all(own).with_context(|| format!("could not create directory \"{}\"", own.display()))?;
    Ok(log)
}
