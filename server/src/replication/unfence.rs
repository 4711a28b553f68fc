//! Takes the fence off a stopped primary, for the disaster in which the server that replaced it is gone for
//! good.

use super::ledger;
use crate::error::ServerError;
use crate::log::Log;
use host::Host;
use replica::ReplicaError;
use replica::roster::file::{self, Loaded, ROSTER_FILE};
use replica::timeline::fence::{FenceRecord, FenceStore, NodeBranch};
use std::io;
use std::path::Path;
use wal::Lsn;
use wal::control::ControlFile;
use wal::history::{BranchId, TimelineHistory};

/// What the record of the fence says that holds for the branch of this directory; None if there is none. A
/// damaged one, which fences too, says that.
///
/// # Errors
///
/// Fails if the record cannot be read.
pub fn fence_of(host: &Host, data_dir: &Path) -> Result<Option<String>, ServerError> {
    let store = FenceStore::new(host, data_dir);
    let found = match branch_of(host, data_dir) {
        Some(ours) => store.holding(&ours),
        None => store.load(),
    };
    match found {
        Ok(record) => Ok(record.map(|record| record.to_string())),
        Err(ReplicaError::Fenced(damage)) => Ok(Some(damage)),
        Err(error) => Err(ServerError::new(error.to_string())),
    }
}

/// The branch of a directory by its control file, if its files say.
fn branch_of(host: &Host, data_dir: &Path) -> Option<NodeBranch> {
    let disk = host.disk.as_ref();
    let control = ControlFile::load(disk, data_dir).ok()?;
    let timeline = control.checkpoint_copy.timeline;
    let history = TimelineHistory::load(disk, &data_dir.join("pg_wal"), timeline).ok()?;
    Some(NodeBranch { system: control.system_id, history })
}

/// Removes the record of a fence, durably, once plimsoll/ledger has it that somebody did so, and the roster
/// that the branch is gone: others that were told of it pass it on. The server must not run. Gives what the
/// record said; None if there was none.
///
/// # Errors
///
/// Fails if a server has the directory, the ledger or the roster takes no entry, or the record cannot be
/// removed.
pub fn unfence(host: &Host, data_dir: &Path) -> Result<Option<String>, ServerError> {
    let failed = |error: &dyn std::fmt::Display| ServerError::new(error.to_string());
    let _lock = storage::lock_directory(host, data_dir).map_err(|error| failed(&error))?;
    let store = FenceStore::new(host, data_dir);
    let Some(said) = fence_of(host, data_dir)? else { return Ok(None) };
    let record = store.load().ok().flatten();
    let range = record.as_ref().map_or((Lsn::INVALID, Lsn::INVALID), |record| (record.fork, record.log_end));
    let log = Log::new(crate::log::stderr_sink(), host.clock.clone());
    let reason = format!("an administrator took the fence off: {said}");
    ledger::record_stopped((host, data_dir, &log), "unfenced", range, &reason)
        .map_err(|error| ServerError::new(format!("could not write plimsoll/ledger: {error}")))?;
    if let Some(record) = &record {
        give_up(host, data_dir, record)
            .map_err(|error| ServerError::new(format!("could not write file \"{ROSTER_FILE}\": {error}")))?;
    }
    store.remove().map_err(|error| failed(&error))?;
    Ok(Some(said))
}

/// Keeps that what the record names is gone for good, whoever passes on that it was there.
fn give_up(host: &Host, data_dir: &Path, record: &FenceRecord) -> io::Result<()> {
    let Some(ours) = branch_of(host, data_dir) else { return Ok(()) };
    let Loaded { roster, damaged } = file::load(host, data_dir, None)?;
    if damaged {
        // The next start says so.
        return Ok(());
    }
    let is_meant = |history: &TimelineHistory| {
        !record.holds_for(&NodeBranch { system: record.system, history: history.clone() })
    };
    let heard = roster.heard_branches(&ours.history).into_iter().find(is_meant);
    // One of before did not keep what had fenced it.
    let branch = record.branch.unwrap_or(BranchId::new(0));
    let named = || ours.history.fork(record.descendant, record.fork, "gone", branch);
    if let Some(gone) = heard.or_else(named) {
        roster.give_up(gone);
        file::save(host, data_dir, &roster)?;
    }
    Ok(())
}
