//! The log as the storage engine uses it: `wal`'s writer behind the tree side's trait, with errors of this crate.

use crate::Error;
use crate::store::{Log, Logged, WriteBarrier};
use wal::{EncodedRecord, Lsn, WalError, WalWriter};

/// A primary's log.
#[derive(Clone, Debug)]
pub(crate) struct EngineLog(pub(crate) WalWriter);

/// A log error as this crate tells it: a full disk apart from a log that has failed for good.
pub(crate) fn log_error(error: WalError) -> Error {
    match error {
        WalError::DiskFull { path, .. } => Error::DiskFull { path },
        WalError::Closed { .. } => Error::Shutdown,
        other => Error::Log(other.to_string().into()),
    }
}

impl Log for EngineLog {
    fn insert(&self, record: &mut EncodedRecord) -> Result<Logged, Error> {
        let inserted = self.0.insert(record).map_err(log_error)?;
        Ok(Logged { start: inserted.start, end: inserted.end })
    }
    fn redo_point(&self) -> Lsn {
        self.0.redo_point()
    }
}

impl WriteBarrier for EngineLog {
    fn before_page_write(&self, lsn: Lsn) -> Result<Lsn, Error> {
        self.0.flush(lsn).map_err(log_error)
    }
}
