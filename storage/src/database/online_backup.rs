//! Online backups: their begin and their end.

use super::Database;
use crate::error::LABEL_BYTES_MAX;
use crate::recovery::backup;
use crate::{BackupEnd, BackupStart, CheckpointKind, Error};
use std::sync::Arc;
use std::time::Duration;

impl Database {
    /// Begins an online backup: forces page images, then a checkpoint, paced over `spread` unless that is
    /// zero. Many may run at once. Each ends by [`Database::stop_backup`] or [`Database::abort_backup`].
    ///
    /// # Errors
    /// Fails if the label is too long, its checkpoint fails, or a standby's log lacks page images. Nothing
    /// has begun then, nor if the caller waits no longer.
    pub async fn start_backup(&self, label: &str, spread: Duration) -> Result<BackupStart, Error> {
        if label.len() > LABEL_BYTES_MAX {
            return Err(Error::LabelTooLong);
        }
        let (images, on_standby) = (backup::force_images(&self.0), self.is_in_recovery());
        let kind = if spread.is_zero() { CheckpointKind::Immediate } else { CheckpointKind::Paced(spread) };
        let done = self.checkpoint(kind).await?;
        if done.skipped && !on_standby {
            // What was changed between the last redo point and its checkpoint's record may have no images.
            self.checkpoint(CheckpointKind::Immediate).await?;
        }
        let begun = backup::begin(&self.0, label, on_standby)?;
        images.keep();
        Ok(begun)
    }

    /// Ends an online backup: on a primary with a backup-end record and a segment switch.
    ///
    /// # Errors
    /// Fails if the log or the history file cannot be written, or if the standby was promoted or redid log
    /// without page images meanwhile.
    pub async fn stop_backup(&self, backup: BackupStart) -> Result<BackupEnd, Error> {
        self.0.release_images();
        if backup.on_standby {
            return backup::end_on_standby(&self.0, &backup);
        }
        let engine = Arc::clone(&self.0);
        let end = crate::blocking::run(move || backup::end_on_primary(&engine, &backup));
        end.await.map_err(|_| Error::Shutdown)?
    }

    /// Gives up an online backup.
    pub fn abort_backup(&self, backup: BackupStart) {
        drop(backup);
        self.0.release_images();
    }
}
