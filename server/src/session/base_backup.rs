//! BASE_BACKUP: the data directory on its way to a client.

use super::replication::WalSender;
use super::{Failure, from_sql};
use crate::archive::{Archive, stop_backup};
use crate::connection::registry::{BackupProgress, SessionHandle};
use crate::connection::wire::{Exit, OUTPUT_BYTES, Wire};
use crate::log::Log;
use basebackup::send::{
    BackupEngine, BackupError, BackupEvent, BackupSink, BackupSource, Notes, send_backup, wire,
};
use protocol::replication::BaseBackupOptions;
use protocol::{Report, SqlState};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use storage::{BackupEnd, BackupStart, Database};

/// The client takes no more.
#[derive(Debug, thiserror::Error)]
#[error("the client has gone")]
struct Gone(Exit);

struct Sink<'a> {
    wire: &'a mut Wire,
    handle: &'a SessionHandle,
    log: &'a Log,
    /// The archive, and not the manifest, is being sent.
    in_archive: bool,
}

impl Sink<'_> {
    /// Notes for others how far the backup is.
    fn note(&mut self, event: &BackupEvent) {
        let mut progress = self.handle.backup_progress.lock();
        match event {
            BackupEvent::Start { .. } => progress.phase = "estimating backup size",
            BackupEvent::Size { kilobytes } => {
                progress.total_bytes = kilobytes.map(|kilobytes| kilobytes.saturating_mul(1024));
            }
            BackupEvent::Archive { .. } => {
                self.in_archive = true;
                progress.phase = "streaming database files";
            }
            BackupEvent::Data(bytes) if self.in_archive => {
                progress.sent_bytes += u64::try_from(bytes.len()).unwrap_or(0);
                // The files grow while they are sent.
                progress.total_bytes = progress.total_bytes.map(|total| total.max(progress.sent_bytes));
            }
            BackupEvent::Manifest => {
                self.in_archive = false;
                progress.is_sent = true;
                progress.phase = "transferring wal files";
            }
            BackupEvent::Data(_)
            | BackupEvent::Warning(_)
            | BackupEvent::Note(_)
            | BackupEvent::Progress { .. }
            | BackupEvent::End { .. }
            | BackupEvent::Sound => {}
        }
    }
}

impl BackupSink for Sink<'_> {
    type Error = Gone;
    async fn send(&mut self, event: BackupEvent) -> Result<(), Gone> {
        self.note(&event);
        let log = |report: &Report| self.log.write(Some(&self.handle.log_context()), report, None);
        match &event {
            BackupEvent::Warning(message) => log(&Report::warning(SqlState::WARNING, message)),
            BackupEvent::Note(report) => log(report),
            _ => {}
        }
        // The client shows its progress from the first two on, and nothing may follow a note for long.
        let waits =
            matches!(event, BackupEvent::Start { .. } | BackupEvent::Size { .. } | BackupEvent::Note(_));
        wire::encode(&event, &mut self.wire.out);
        if waits || self.wire.out.len() >= OUTPUT_BYTES {
            self.wire.flush().await.map_err(Gone)?;
        }
        Ok(())
    }

    async fn gone(&mut self) -> Gone {
        // What a client says before it has its backup is taken afterwards. One that says so much has to be
        // still there.
        while self.wire.input.len() < OUTPUT_BYTES {
            if let Err(exit) = self.wire.read_more().await {
                return Gone(exit);
            }
        }
        std::future::pending().await
    }
}

/// A backup that ends when its log is in the archive, if the client asks for that (WAIT) and there is one.
struct Archived<'a> {
    archive: &'a Arc<Archive>,
    database: &'a Database,
    wait: bool,
}

impl BackupEngine for Archived<'_> {
    async fn start(&self, label: &str, spread: Duration) -> Result<BackupStart, storage::Error> {
        self.database.start_backup(label, spread).await
    }

    async fn stop(&self, backup: BackupStart, notes: &Notes) -> Result<BackupEnd, storage::Error> {
        stop_backup(self.archive, self.database, backup, self.wait, notes).await
    }

    fn abort(&self, backup: BackupStart) {
        self.database.abort_backup(backup);
    }
}

impl WalSender {
    /// BASE_BACKUP
    pub(super) async fn base_backup(
        &self,
        wire: &mut Wire,
        options: &BaseBackupOptions,
    ) -> Result<(), Failure> {
        let database = self.database()?;
        let config = self.node.ground.config();
        let control = database.control();
        let mut source = BackupSource::new(
            self.node.ground.host.clone(),
            &self.node.ground.data_dir,
            control.segment_size,
            control.data_checksums,
        );
        source.store = Some(database.store().clone());
        source.checkpoint_spread =
            config.checkpoint_timeout.mul_f64(config.checkpoint_completion_target.clamp(0.0, 1.0));
        let mut sink = Sink { wire, handle: &self.handle, log: &self.node.ground.log, in_archive: false };
        *self.handle.backup_progress.lock() = BackupProgress::default();
        let engine = Archived { archive: &self.node.archive, database, wait: options.wait };
        self.handle.backing_up.store(true, Ordering::Release);
        let sent = self.handle.until_terminated(send_backup(&source, options, &engine, &mut sink)).await;
        self.handle.backing_up.store(false, Ordering::Release);
        match sent.ok_or(Exit::Terminated)? {
            Ok(_) => Ok(()),
            Err(BackupError::Sink(Gone(exit))) => Err(exit.into()),
            Err(BackupError::Engine(error)) => Err(from_sql(&error.into()).into()),
            Err(error) => {
                let code = error.sqlstate().unwrap_or(SqlState::INTERNAL_ERROR);
                Err(Report::error(code, error.to_string()).into())
            }
        }
    }
}
