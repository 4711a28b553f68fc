//! Where the data of a directory becomes consistent in recovery: what the control file, backup_label and the
//! log say of it.

use wal::backup_label::BackupLabel;
use wal::control::ControlFile;
use wal::xlog::XlogRecord;
use wal::{Lsn, Record, Rmgr};

/// The point from which on nothing that lies on disk is newer than what was redone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsistencyPoint {
    /// The start of the backup whose end the log has still to tell.
    open_backup: Option<Lsn>,
    at_least: Lsn,
}

impl ConsistencyPoint {
    /// Of a directory as it is found; with a backup_label, recovery begins from the backup.
    pub fn found(control: &ControlFile, label: Option<&BackupLabel>) -> Self {
        let mut control = control.clone();
        if let Some(label) = label {
            note_backup(&mut control, label);
        }
        Self::of(&control)
    }

    /// Of a recovery under way.
    pub(crate) fn of(control: &ControlFile) -> Self {
        Self {
            open_backup: control.backup_end_required.then_some(control.backup_start_point),
            at_least: control.backup_end_point.max(control.min_recovery_point),
        }
    }

    /// Takes in a record of the log.
    pub fn note(&mut self, record: &Record) {
        if self.open_backup.is_some()
            && record.rmgr() == Rmgr::XLOG
            && let Ok(XlogRecord::BackupEnd { start }) = XlogRecord::parse(record)
            && self.open_backup == Some(start)
        {
            (self.open_backup, self.at_least) = (None, self.at_least.max(record.end()));
        }
    }

    /// Whether the data is consistent once the log is redone up to `at`.
    pub fn is_reached(&self, at: Lsn) -> bool {
        self.open_backup.is_none() && at >= self.at_least
    }
}

/// What a backup_label changes of what the control file, which was copied later, says of the begin of
/// recovery.
pub(crate) fn note_backup(control: &mut ControlFile, label: &BackupLabel) {
    control.backup_start_point = label.start;
    if label.from_standby {
        control.backup_end_point = control.min_recovery_point;
        control.backup_end_required = false;
    } else {
        control.backup_end_required = true;
    }
    if control.min_recovery_point < label.start {
        control.min_recovery_point = label.start;
        control.min_recovery_point_timeline = label.timeline;
    }
}
