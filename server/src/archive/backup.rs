//! The end of an online backup, once its log is in the archive.

use super::Archive;
use basebackup::send::Notes;
use host::Instant;
use protocol::{Report, SqlState};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use storage::{BackupEnd, BackupStart, Database};

/// How long a wait for the archive is silent.
const SILENT: Duration = Duration::from_secs(5);
/// After how long it is warned of for the first time; each further warning comes after twice the time.
const WARNED_AFTER: Duration = Duration::from_secs(60);

/// Ends a backup. If `wait` says so, waits until the backup's log is in the archive, and notes that as
/// PostgreSQL does.
pub(crate) async fn stop_backup(
    archive: &Arc<Archive>,
    database: &Database,
    backup: BackupStart,
    wait: bool,
    notes: &Notes,
) -> Result<BackupEnd, storage::Error> {
    let ended = database.stop_backup(backup).await?;
    let marking = archive.clone();
    let noticed = host::task::blocking(move || marking.notice_segments()).await;
    noticed.map_err(|_| storage::Error::Shutdown)?;
    if !wait {
        return Ok(ended);
    }
    let in_recovery = database.is_in_recovery();
    let Some(archiver) = archive.archiver().filter(|archiver| archiver.archives(in_recovery)) else {
        let what = "WAL archiving is not enabled; you must ensure that all required WAL segments are copied \
                    through other means to complete the backup";
        note(notes, Report::notice(what)).await;
        return Ok(ended);
    };
    let size = database.control().segment_size;
    // Segments go in order, so the last one stands for all.
    let last = size.segment_before(ended.stop).file_name(ended.timeline, size);
    let history = ended.history_file.as_ref().map(|(name, _)| name.clone());
    let archived = archiver.wait_archived(std::iter::once(last).chain(history));
    if tell_while(archived, notes).await {
        note(notes, Report::notice("all required WAL segments have been archived")).await;
    }
    Ok(ended)
}

/// Waits for the archive, and notes it now and then if that takes long.
async fn tell_while(archived: impl Future<Output = bool>, notes: &Notes) -> bool {
    let (mut archived, begun) = (pin!(archived), Instant::now());
    let mut next = SILENT;
    loop {
        if let Ok(archived) = tokio::time::timeout_at(begun + next, &mut archived).await {
            return archived;
        }
        if next == SILENT {
            next = WARNED_AFTER;
            let what = "base backup done, waiting for required WAL segments to be archived";
            note(notes, Report::notice(what)).await;
        } else {
            let seconds = next.as_secs();
            next = next.saturating_mul(2);
            note(notes, still_waiting(seconds)).await;
        }
    }
}

fn still_waiting(seconds: u64) -> Report {
    let what =
        format!("still waiting for all required WAL segments to be archived ({seconds} seconds elapsed)");
    Report::warning(SqlState::WARNING, what).with_hint(
        "Check that your archive_command is executing properly.  You can safely cancel this backup, but the \
         database backup will not be usable without all the WAL segments.",
    )
}

async fn note(notes: &Notes, report: Report) {
    // Nobody listens any more when the backup is given up.
    let _ = notes.send(report).await;
}
