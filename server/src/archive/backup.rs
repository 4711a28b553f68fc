//! The end of an online backup, once its log is in the archive.

use super::Archive;
use std::sync::Arc;
use storage::{BackupEnd, BackupStart, Database};

/// Ends a backup. If there is an archive and `wait` says so, waits until the backup's log is in it.
pub(crate) async fn stop_backup(
    archive: &Arc<Archive>,
    database: &Database,
    backup: BackupStart,
    wait: bool,
) -> Result<BackupEnd, storage::Error> {
    let ended = database.stop_backup(backup).await?;
    let marking = archive.clone();
    let noticed = host::task::blocking(move || marking.notice_segments()).await;
    noticed.map_err(|_| storage::Error::Shutdown)?;
    if let Some(archiver) = archive.archiver().filter(|_| wait) {
        let in_recovery = database.is_in_recovery();
        let size = database.control().segment_size;
        // Segments go in order, so the last one stands for all.
        let last = size.segment_before(ended.stop).file_name(ended.timeline, size);
        let history = ended.history_file.as_ref().map(|(name, _)| name.clone());
        archiver.wait_archived(std::iter::once(last).chain(history), in_recovery).await;
    }
    Ok(ended)
}
