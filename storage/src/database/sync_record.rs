//! Reading and writing what the log says of synchronous replication, and its primary of itself.

use super::Database;
use crate::Error;
use crate::changes::state_page::{STATE_PRIMARY, STATE_SYNC};
use crate::changes::store::Fault;
use crate::commit::primary_record::PrimaryRecord;
use crate::commit::sync_record::SyncRecord;
use crate::error::log_error;
use std::sync::Arc;

impl Database {
    /// What the log, as far as it is written or redone here, says of synchronous replication. Does I/O.
    ///
    /// # Errors
    /// Fails if the state page cannot be read or makes no sense.
    pub fn sync_record(&self) -> Result<SyncRecord, Error> {
        self.0.sync_record()
    }

    /// Puts it into the log, if it is new; durable here when it returns. Only on a primary.
    ///
    /// # Errors
    /// Fails in recovery, or if the log cannot be written.
    pub async fn put_sync_record(&self, state: SyncRecord) -> Result<(), Error> {
        self.put_field(STATE_SYNC, state.encode()).await
    }

    /// What the primary says of itself in the log, as far as that is written or redone here; None in a log
    /// that no program has written which says so. Does I/O.
    ///
    /// # Errors
    /// Fails if the state page cannot be read or makes no sense.
    pub fn primary_record(&self) -> Result<Option<PrimaryRecord>, Error> {
        self.0.primary_record()
    }

    /// Puts it into the log, if it is new; durable here when it returns. Only on a primary.
    ///
    /// # Errors
    /// Fails in recovery, or if the log cannot be written.
    pub async fn put_primary_record(&self, record: PrimaryRecord) -> Result<(), Error> {
        self.put_field(STATE_PRIMARY, record.encode()).await
    }

    async fn put_field(&self, field: u16, bytes: Vec<u8>) -> Result<(), Error> {
        let engine = Arc::clone(&self.0);
        let put = crate::blocking::run(move || {
            // If it is there, a flush that failed may have kept it from being durable.
            if engine.state_field(field)?.as_ref() != Some(&bytes) {
                engine.pipeline()?.at_rest(|writer| {
                    writer.allow_io(true);
                    let put = writer.put_state(field, &bytes);
                    writer.allow_io(false);
                    put.map_err(Fault::into_error)
                })?;
            }
            engine.wal()?.flush_all().map(drop).map_err(log_error)
        });
        put.await.map_err(|_| Error::Shutdown)?
    }
}
