//! Where recovery begins: at the checkpoint that the control file or backup_label names.
//!
//! A standby's log may have to come first, from its primary or the archive: then redo begins at the redo
//! point nevertheless, nobody reads, and no promotion happens, before the checkpoint's record has come
//! ([`crate::recovery::replay::Replay::await_checkpoint`]).

use crate::error::read_error;
use crate::{DatabaseOptions, Error, StartMode};
use host::Host;
use std::path::Path;
use wal::backup_label::{BACKUP_LABEL_FILE, BackupLabel, LabelError};
use wal::control::{ClusterState, ControlFile};
use wal::history::TimelineHistory;
use wal::reader::{Next, SegmentFiles, WalReader};
use wal::timelines::RecoveryStart;
use wal::xlog::{CheckPoint, XlogRecord};
use wal::{BranchRecord, Lsn, SegmentSize};

pub(crate) fn load_label(host: &Host, dir: &Path, size: SegmentSize) -> Result<Option<BackupLabel>, Error> {
    if host::planted!("a backup_label is ignored") {
        return Ok(None);
    }
    BackupLabel::load(&*host.disk, dir, size).map_err(|error| match error {
        LabelError::Io { error, .. } => Error::io("read file", &dir.join(BACKUP_LABEL_FILE), error),
        unreadable => Error::corrupt(BACKUP_LABEL_FILE, None, unreadable.to_string()),
    })
}

/// What is where a checkpoint's record should be.
pub(crate) enum Found {
    /// The record.
    Checkpoint {
        /// The record's end, exclusive.
        end: Lsn,
        /// What it says.
        contents: CheckPoint,
    },
    /// Another record.
    Other,
    /// The log ends before it, for this reason.
    Nothing(String),
}

/// Reads the record of a checkpoint.
pub(crate) fn find_checkpoint(reader: &mut WalReader<SegmentFiles>, at: Lsn) -> Result<Found, Error> {
    reader.seek(at, None);
    Ok(match reader.next().map_err(read_error)? {
        Next::Record(record) => match XlogRecord::parse(&record) {
            Ok(XlogRecord::CheckpointShutdown(contents) | XlogRecord::CheckpointOnline(contents)) => {
                Found::Checkpoint { end: record.end(), contents }
            }
            _ => Found::Other,
        },
        Next::End(end) => Found::Nothing(end.reason.to_string()),
    })
}

/// Turns the control file of a backup to the backup's checkpoint, in memory. If its record `may_come` later,
/// it need not be here.
pub(crate) fn begin_from_backup(
    control: &mut ControlFile,
    label: &BackupLabel,
    reader: &mut WalReader<SegmentFiles>,
    may_come: bool,
) -> Result<(), Error> {
    let of_standby =
        matches!(control.state, ClusterState::InArchiveRecovery | ClusterState::ShutDownInRecovery);
    if label.from_standby && !of_standby {
        let why = "backup_label contains data inconsistent with control file: it names a standby, and pg_control \
                   is that of a server which was none; the backup is damaged, and another one is needed";
        return Err(Error::Unusable(why.to_owned()));
    }
    let missing = |why: String| {
        Error::Unusable(format!(
            "could not find the checkpoint record at {} that backup_label names ({why}); \
             the backup's WAL must be in pg_wal, or come from an archive, by restore_command, \
             if there is a recovery.signal or a standby.signal",
            label.checkpoint
        ))
    };
    let contents =
        match find_checkpoint(reader, label.checkpoint).map_err(|error| missing(error.to_string()))? {
            Found::Checkpoint { contents, .. } => contents,
            // The control file was copied after that checkpoint, so its counters are no less than the
            // checkpoint's. The record sets them right.
            Found::Nothing(_) if may_come => CheckPoint {
                redo: label.start,
                timeline: label.timeline,
                previous_timeline: label.timeline,
                ..control.checkpoint_copy
            },
            Found::Nothing(why) => return Err(missing(why)),
            Found::Other => return Err(missing("another record is there".to_owned())),
        };
    if contents.redo != label.start {
        return Err(missing(format!("its redo point is {}, the label says {}", contents.redo, label.start)));
    }
    control.checkpoint = label.checkpoint;
    control.checkpoint_copy = contents;
    crate::recovery::consistency::note_backup(control, label);
    Ok(())
}

/// The history along which the log is read: a primary's own, or the one that was chosen for a standby. With
/// the one to follow once the own log is redone, for a server that was not stopped and is a standby now.
pub(super) fn histories(
    host: &Host,
    options: &DatabaseOptions,
    control: &ControlFile,
    label: Option<&BackupLabel>,
    record: Option<BranchRecord>,
    mode: StartMode,
) -> Result<(TimelineHistory, Option<TimelineHistory>), Error> {
    let unusable = |error: &dyn std::fmt::Display| Error::Unusable(error.to_string());
    let start = RecoveryStart::found(control, label, record);
    let pg_wal = options.dir.join("pg_wal");
    let own = || start.own_history(&*host.disk, &pg_wal).map_err(|error| unusable(&error));
    let StartMode::Standby { timeline } = mode else {
        if start.lacks_record(&*host.disk, &pg_wal).map_err(|error| unusable(&error))? {
            return Err(Error::Unusable(
                "this standby's directory has histories of later timelines and no plimsoll/branch, which says on \
                 which of them its log is; start it as a standby once (standby.signal), and promote it"
                    .to_owned(),
            ));
        }
        return Ok((own()?, None));
    };
    let chosen = TimelineHistory::load(&*host.disk, &pg_wal, timeline).map_err(|error| unusable(&error))?;
    start.check(&chosen).map_err(|error| unusable(&error))?;
    if start.redoes_own_log_first() {
        return Ok((own()?, Some(chosen)));
    }
    Ok((chosen, None))
}
