//! Takes the fence off a stopped primary, for the disaster in which the server that replaced it is gone for
//! good.

use super::ledger;
use crate::error::ServerError;
use crate::log::Log;
use host::Host;
use replica::ReplicaError;
use replica::directory_id::DirectoryId;
use replica::roster::Roster;
use replica::roster::heard_file::{self, HEARD_FILE};
use replica::timeline::fence::{FenceRecord, FenceStore, NodeBranch};
use replica::timeline::heard::Gone;
use std::path::Path;
use wal::Lsn;
use wal::control::ControlFile;
use wal::history::TimelineHistory;
use wal::reader::{Next, ReaderOptions, SegmentFiles, WalReader};

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

/// Removes the record of a fence, durably, once plimsoll/ledger has it that somebody did so, and
/// plimsoll/heard that what replaced the branch is gone: others that were told of it pass it on. The server
/// must not run. Gives what the record said; None if there was none.
///
/// # Errors
///
/// Fails if a server has the directory, the ledger or plimsoll/heard takes no entry, or the record cannot be
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
    // What cannot be read ends it before anything says that it was done.
    let roster = told_before(host, data_dir, &log)?;
    ledger::record_stopped((host, data_dir, &log), "unfenced", range, &reason)
        .map_err(|error| ServerError::new(format!("could not write plimsoll/ledger: {error}")))?;
    give_up(host, data_dir, &roster, record.as_ref())?;
    store.remove().map_err(|error| failed(&error))?;
    Ok(Some(said))
}

fn heard_failed(what: &str, error: &std::io::Error) -> ServerError {
    ServerError::new(format!("could not {what} file \"{HEARD_FILE}\": {error}"))
}

/// What this node was told of timelines, as a roster that has nothing else.
fn told_before(host: &Host, data_dir: &Path, log: &Log) -> Result<Roster, ServerError> {
    let roster = Roster::new(DirectoryId::new(0));
    if heard_file::load(host, data_dir, &roster).map_err(|error| heard_failed("read", &error))? {
        log.warning(format!("file \"{HEARD_FILE}\" is damaged: it is written anew"));
    }
    Ok(roster)
}

/// Keeps that what replaced this branch is gone for good, whoever passes on that it was there: all of which
/// others told, and what the record names. If that is damaged nobody can know what it named: then all that
/// left before the end of the log.
fn give_up(
    host: &Host,
    data_dir: &Path,
    roster: &Roster,
    record: Option<&FenceRecord>,
) -> Result<(), ServerError> {
    let Some(NodeBranch { history: ours, .. }) = branch_of(host, data_dir) else { return Ok(()) };
    let (timeline, branch) = (ours.target(), ours.branch());
    let unseen = match record {
        Some(&FenceRecord { timeline, fork, descendant, branch, .. }) => {
            Gone::Named { timeline, fork, descendant, branch }
        }
        None => Gone::UpTo { timeline, branch, end: end_of_log(host, data_dir, &ours) },
    };
    roster.give_up(&ours, unseen);
    heard_file::save(host, data_dir, roster).map_err(|error| heard_failed("write", &error))
}

/// The end of the log that is here, as far as it can be read.
fn end_of_log(host: &Host, data_dir: &Path, ours: &TimelineHistory) -> Lsn {
    let Ok(control) = ControlFile::load(host.disk.as_ref(), data_dir) else { return Lsn::INVALID };
    let (size, mut end) = (control.segment_size, control.checkpoint);
    let files = SegmentFiles::new(host.disk.clone(), data_dir.join("pg_wal"), size, ours.clone());
    let options = ReaderOptions { system_id: Some(control.system_id), ..ReaderOptions::new(size) };
    let mut reader = WalReader::new(files, options, end);
    while let Ok(Next::Record(record)) = reader.next() {
        end = record.end();
    }
    end
}
