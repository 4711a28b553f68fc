//! A data directory before it is opened: whether it is one, whose format it has, and what its last life left.

use crate::configuration::Ground;
use crate::error::ServerError;
use crate::log::{format_time, zone};
use host::{Host, Timestamp};
use std::path::{Path, PathBuf};
use wal::control::{ClusterState, ControlFile};
use wal::format::FORMATS;

/// Which recovery a signal file asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// standby.signal: follow until promoted.
    Standby,
    /// recovery.signal: recover up to the target, or the log's end.
    Recovery,
}

pub(super) fn absolute(dir: &Path) -> Result<PathBuf, ServerError> {
    std::path::absolute(dir)
        .map_err(|error| ServerError::new(format!("invalid data directory \"{}\": {error}", dir.display())))
}

pub(super) fn check(host: &Host, dir: &Path) -> Result<(), ServerError> {
    let found = match host.disk.metadata(dir) {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(ServerError::new(format!("data directory \"{}\" does not exist", dir.display()))
                .with_hint("Create it with: plimsoll init -D DIR"));
        }
        Err(error) => {
            let (dir, error) = (dir.display(), host::os_message(&error));
            return Err(ServerError::new(format!("could not access directory \"{dir}\": {error}")));
        }
    };
    if found.kind != host::FileKind::Directory {
        let what = format!("specified data directory \"{}\" is not a directory", dir.display());
        return Err(ServerError::new(what));
    }
    if found.permissions & 0o027 != 0 {
        return Err(ServerError::new(format!(
            "data directory \"{}\" has invalid permissions",
            dir.display()
        ))
        .with_hint("Permissions should be u=rwx (0700) or u=rwx,g=rx (0750)."));
    }
    let version = host.disk.read_text(&dir.join("PG_VERSION"), 64).map_err(|error| {
        let dir = dir.display();
        if error.kind() == std::io::ErrorKind::NotFound {
            ServerError::new(format!("\"{dir}\" is not a valid data directory"))
                .with_hint("It has no file PG_VERSION. Name another one, or create one with plimsoll init.")
        } else {
            let error = host::os_message(&error);
            ServerError::new(format!("could not read file \"{dir}/PG_VERSION\": {error}"))
        }
    })?;
    let version = version.trim();
    if version != "15" {
        return Err(ServerError::new("database files are incompatible with server").with_hint(format!(
            "The data directory was initialized by version {version}; \
             this server keeps the formats of PostgreSQL 15."
        )));
    }
    Ok(())
}

/// Which signal files are there: standby.signal outweighs recovery.signal.
///
/// # Errors
/// Fails if they cannot be looked for, and for a recovery.conf, whose settings nobody reads: without them a
/// directory that is to be recovered would take writes.
pub(super) fn signal_file(ground: &Ground) -> Result<Option<Signal>, ServerError> {
    if has_file(ground, "recovery.conf")? {
        let message = "using recovery command file \"recovery.conf\" is not supported";
        return Err(ServerError::new(message).with_hint(
            "Put its settings into postgresql.conf, make an empty recovery.signal or standby.signal, and \
             remove it.",
        ));
    }
    Ok(if has_file(ground, "standby.signal")? {
        Some(Signal::Standby)
    } else if has_file(ground, "recovery.signal")? {
        Some(Signal::Recovery)
    } else {
        None
    })
}

pub(super) fn has_file(ground: &Ground, name: &str) -> Result<bool, ServerError> {
    let found = ground.host.disk.exists(&ground.data_dir.join(name));
    found.map_err(|error| ServerError::new(format!("could not stat file \"{name}\": {error}")))
}

/// Refuses a directory of PostgreSQL, whose server may be running on it, and one of a format that this
/// program does not read, before anything in it changes.
pub(super) fn check_format(host: &Host, dir: &Path, control: &ControlFile) -> Result<(), ServerError> {
    // Told first: such a directory has no format number of ours.
    control.check_ours(dir).map_err(|error| ServerError::new(error.to_string()))?;
    let checked = FORMATS.check_directory(host.disk.as_ref(), dir).map(drop);
    checked.map_err(|error| ServerError::new(error.to_string()).with_hint(error.hint()))
}

/// What the control file says of the last life.
pub(super) fn log_last_state(ground: &Ground, control: &ControlFile) {
    let at = time(ground, control.time);
    ground.log.log(match control.state {
        ClusterState::ShutDown => format!("database system was shut down at {at}"),
        ClusterState::ShutDownInRecovery => format!("database system was shut down in recovery at {at}"),
        ClusterState::ShuttingDown => {
            format!("database system shutdown was interrupted; last known up at {at}")
        }
        ClusterState::InCrashRecovery => format!("database system was interrupted while in recovery at {at}"),
        ClusterState::InArchiveRecovery => {
            format!("database system was interrupted while in recovery at log time {at}")
        }
        _ => format!("database system was interrupted; last known up at {at}"),
    });
}

fn time(ground: &Ground, seconds: i64) -> String {
    let name = ground.settings().show("log_timezone").unwrap_or_default();
    let at = Timestamp::from_unix_micros(seconds.saturating_mul(1_000_000));
    format_time(at, &zone(&name), "%Y-%m-%d %H:%M:%S %Z")
}
