//! BASE_BACKUP: the data directory on its way to a client.

use super::replication::Replication;
use super::wire::{Exit, OUTPUT_BYTES, Wire};
use super::{Failure, from_sql};
use basebackup::out::{BackupError, BackupEvent, BackupSink, BackupSource, send_backup, wire};
use protocol::replication::BaseBackupOptions;
use protocol::{Report, SqlState};

/// The client takes no more.
#[derive(Debug, thiserror::Error)]
#[error("the client has gone")]
struct Gone(Exit);

struct Sink<'a> {
    wire: &'a mut Wire,
}

impl BackupSink for Sink<'_> {
    type Error = Gone;
    async fn send(&mut self, event: BackupEvent) -> Result<(), Gone> {
        let waits = matches!(event, BackupEvent::Start { .. } | BackupEvent::Size { .. });
        wire::encode(&event, &mut self.wire.out);
        // The client shows its progress from these on.
        if waits || self.wire.out.len() >= OUTPUT_BYTES {
            self.wire.flush().await.map_err(Gone)?;
        }
        Ok(())
    }
}

impl Replication {
    /// BASE_BACKUP
    pub(super) async fn base_backup(
        &self,
        wire: &mut Wire,
        options: &BaseBackupOptions,
    ) -> Result<(), Failure> {
        let database = self.database()?;
        let config = self.node.config();
        let control = database.control();
        let mut source = BackupSource::new(
            self.node.host.clone(),
            &self.node.data_dir,
            control.segment_size,
            control.data_checksums,
        );
        source.checkpoint_spread =
            config.checkpoint_timeout.mul_f64(config.checkpoint_completion_target.clamp(0.0, 1.0));
        let mut sink = Sink { wire };
        match send_backup(&source, options, database, &mut sink).await {
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
