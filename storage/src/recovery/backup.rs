//! Online backups: the copy of a running database together with the log that makes it whole.

use crate::Error;
use crate::engine::Engine;
use crate::error::log_error;
use host::Timestamp;
use wal::backup_label::{BackupLabel, BackupMethod, BackupStop};
use wal::xlog::XlogRecord;
use wal::{Lsn, TimelineId};

/// An online backup that has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupStart {
    /// The redo point of the backup's checkpoint: WAL from here on belongs to the backup (START WAL
    /// LOCATION).
    pub start: Lsn,
    /// The checkpoint record (CHECKPOINT LOCATION).
    pub checkpoint: Lsn,
    /// The timeline.
    pub timeline: TimelineId,
    /// The text of backup_label.
    pub label_file: String,
    /// When it began.
    pub started: Timestamp,
    /// The label given by the client.
    pub label: String,
    /// Taken on a standby: ends at its minRecoveryPoint and writes no end record.
    pub on_standby: bool,
}

/// An online backup that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupEnd {
    /// WAL up to here (exclusive) belongs to the backup (STOP WAL LOCATION).
    pub stop: Lsn,
    /// The timeline of `stop`.
    pub timeline: TimelineId,
    /// The text of the backup history file, and its name; None on a standby.
    pub history_file: Option<(String, String)>,
}

/// Forces page images from here until the backup's end: a page that is copied while it is written is made
/// whole by its image. Who gives the beginning up drops what this returns.
pub(crate) fn force_images(engine: &Engine) -> ForcedImages<'_> {
    engine.claim_images();
    ForcedImages(engine)
}

/// One backup's claim to page images, released on drop unless it is kept.
pub(crate) struct ForcedImages<'a>(&'a Engine);

impl ForcedImages<'_> {
    /// The backup has begun: its end releases them.
    pub(crate) fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for ForcedImages<'_> {
    fn drop(&mut self) {
        self.0.release_images();
    }
}

/// The label of a backup that begins at the last checkpoint (restartpoint of what is `on_standby` since
/// before that).
pub(crate) fn begin(engine: &Engine, label: &str, on_standby: bool) -> Result<BackupStart, Error> {
    let (checkpoint, start, timeline, size, has_images) = {
        let control = engine.control.lock();
        let contents = &control.checkpoint_copy;
        let has_images = contents.full_page_writes;
        (control.checkpoint, contents.redo, contents.timeline, control.segment_size, has_images)
    };
    if on_standby {
        check_still_standby(engine)?;
        if !has_images || engine.images_ended_since(start) {
            return Err(Error::NoPageImages { since: "since the last restartpoint" });
        }
    }
    let started = engine.host.clock.now();
    // A line of the label file.
    let label: String = label.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
    let mut backup =
        BackupStart { start, checkpoint, timeline, label_file: String::new(), started, label, on_standby };
    backup.label_file = label_of(&backup).format(size);
    Ok(backup)
}

/// A backup that began on a standby does not outlive its promotion.
fn check_still_standby(engine: &Engine) -> Result<(), Error> {
    match engine.is_in_recovery() {
        true => Ok(()),
        false => Err(Error::WrongState("the standby was promoted during online backup")),
    }
}

fn label_of(backup: &BackupStart) -> BackupLabel {
    BackupLabel {
        start: backup.start,
        checkpoint: backup.checkpoint,
        timeline: backup.timeline,
        method: BackupMethod::Streamed,
        from_standby: backup.on_standby,
        start_time: BackupLabel::time_text(backup.started),
        label: Some(backup.label.clone()),
    }
}

/// Writes the end record, switches segments and leaves the history file in pg_wal.
pub(crate) fn end_on_primary(engine: &Engine, backup: &BackupStart) -> Result<BackupEnd, Error> {
    let wal = engine.wal()?;
    let mut record = XlogRecord::BackupEnd { start: backup.start }
        .encode()
        .map_err(|error| Error::Log(error.to_string().into()))?;
    let placed = wal.insert(&mut record).map_err(log_error)?;
    wal.switch_segment().map_err(log_error)?;
    wal.flush_all().map_err(log_error)?;
    let (stop, timeline) = (placed.end, engine.timeline());
    let ended = BackupStop { stop, timeline, time: engine.host.clock.now() };
    let (name, text) = label_of(backup).history_file(wal.segment_size(), ended);
    let path = engine.wal_dir().join(&name);
    host::write_file_durably(&*engine.host.disk, &path, text.as_bytes())
        .map_err(|error| Error::io("write file", &path, error))?;
    let retention = engine.retention.read().clone();
    retention.made(&name);
    Ok(BackupEnd { stop, timeline, history_file: Some((name, text)) })
}

/// A backup of a standby ends at its minRecoveryPoint: no page that was copied is newer.
pub(crate) fn end_on_standby(engine: &Engine, backup: &BackupStart) -> Result<BackupEnd, Error> {
    check_still_standby(engine)?;
    if engine.images_ended_since(backup.start) {
        return Err(Error::NoPageImages { since: "during the online backup" });
    }
    let (stop, timeline): (Lsn, _) = {
        let control = engine.control.lock();
        (control.min_recovery_point, control.min_recovery_point_timeline)
    };
    Ok(BackupEnd {
        stop: stop.max(backup.start),
        timeline: timeline.max(backup.timeline),
        history_file: None,
    })
}
