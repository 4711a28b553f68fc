//! Takes the fence off a stopped primary, for the disaster in which the server that replaced it is gone for
//! good.

use super::ledger;
use crate::error::ServerError;
use crate::log::Log;
use host::Host;
use replica::ReplicaError;
use replica::timeline::fence::{FenceStore, NodeBranch};
use std::path::Path;
use wal::Lsn;
use wal::control::ControlFile;
use wal::history::TimelineHistory;

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

/// Removes the record of a fence, durably, once plimsoll/ledger has it that somebody did so. The server
/// must not run. Gives what the record said; None if there was none.
///
/// # Errors
///
/// Fails if a server has the directory, the ledger takes no entry, or the record cannot be removed.
pub fn unfence(host: &Host, data_dir: &Path) -> Result<Option<String>, ServerError> {
    let failed = |error: &dyn std::fmt::Display| ServerError::new(error.to_string());
    let _lock = storage::lock_directory(host, data_dir).map_err(|error| failed(&error))?;
    let store = FenceStore::new(host, data_dir);
    let Some(said) = fence_of(host, data_dir)? else { return Ok(None) };
    let record = store.load().ok().flatten();
    let range = record.map_or((Lsn::INVALID, Lsn::INVALID), |record| (record.fork, record.log_end));
    let log = Log::new(crate::log::stderr_sink(), host.clock.clone());
    let reason = format!("an administrator took the fence off: {said}");
    ledger::record_stopped((host, data_dir, &log), "unfenced", range, &reason)
        .map_err(|error| ServerError::new(format!("could not write plimsoll/ledger: {error}")))?;
    store.remove().map_err(|error| failed(&error))?;
    Ok(Some(said))
}
